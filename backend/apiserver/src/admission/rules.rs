//! The rules of webhooks and admission policies: which operations on which resources they are about.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules>

use pilothouse_access::admission::{Operation, Request};
use serde_json::Value;

/// The group of webhook configurations and policies: none of them is ever asked about these, or nobody could take a
/// broken one away.
const EXEMPT_GROUP: &str = "admissionregistration.k8s.io";

/// A resource as a rule names it, and the request about it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub operation: Operation,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

impl<'a> Asked<'a> {
    pub fn of(request: &'a Request) -> Self {
        Self {
            operation: request.operation,
            group: &request.group,
            version: &request.version,
            resource: &request.resource,
            subresource: &request.subresource,
            namespace: &request.namespace,
            name: &request.name,
        }
    }

    pub fn is_exempt(&self) -> bool {
        self.group == EXEMPT_GROUP
    }

    /// A Namespace counts as cluster-scoped, although a request about one is in it.
    fn is_namespaced(&self) -> bool {
        !(self.namespace.is_empty() || self.group.is_empty() && self.resource == "namespaces")
    }
}

pub fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
}

#[derive(Debug)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<(String, String)>,
    /// Of policies only; empty is every name.
    names: Vec<String>,
    scope: Scope,
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|own| own == "*" || own == text)
}

impl Rule {
    pub fn of(rule: &Value) -> Self {
        let split = |text: String| match text.split_once('/') {
            Some((resource, sub)) => (resource.to_owned(), sub.to_owned()),
            None => (text, String::new()),
        };
        Self {
            operations: texts(&rule["operations"]),
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]).into_iter().map(split).collect(),
            names: texts(&rule["resourceNames"]),
            scope: match rule["scope"].as_str() {
                Some("Cluster") => Scope::Cluster,
                Some("Namespaced") => Scope::Namespaced,
                _ => Scope::All,
            },
        }
    }

    pub fn all(list: &Value) -> Vec<Self> {
        list.as_array().into_iter().flatten().map(Self::of).collect()
    }

    pub fn matches(&self, asked: &Asked<'_>) -> bool {
        let scope = match self.scope {
            Scope::All => true,
            Scope::Cluster => !asked.is_namespaced(),
            Scope::Namespaced => asked.is_namespaced(),
        };
        scope
            && has(&self.operations, operation_name(asked.operation))
            && has(&self.groups, asked.group)
            && has(&self.versions, asked.version)
            && self.resources.iter().any(|(resource, sub)| {
                (resource == "*" || resource == asked.resource) && (sub == "*" || sub == asked.subresource)
            })
            && (self.names.is_empty() || self.names.iter().any(|name| name == asked.name))
    }

    /// The groups, versions and resources it names, for who wants to know what an object will be.
    pub fn named(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.groups.iter().flat_map(move |group| {
            self.versions.iter().flat_map(move |version| {
                self.resources
                    .iter()
                    .filter(|(_, sub)| sub.is_empty())
                    .map(move |(resource, _)| (group.as_str(), version.as_str(), resource.as_str()))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(text: &str) -> Asked<'_> {
        // OPERATION group/version resource/subresource namespace
        let parts: Vec<&str> = text.split(' ').collect();
        let (group, version) = parts[1].split_once('/').unwrap();
        let (resource, subresource) = parts[2].split_once('/').unwrap_or((parts[2], ""));
        let operation = match parts[0] {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "DELETE" => Operation::Delete,
            _ => Operation::Connect,
        };
        Asked { operation, group, version, resource, subresource, namespace: parts.get(3).unwrap_or(&""), name: "x" }
    }

    fn check(rule: Value, request: &str, expected: bool) {
        assert_eq!(Rule::of(&rule).matches(&asked(request)), expected, "{request} under {rule}");
    }

    #[test]
    fn rules() {
        let rule = |operations: &[&str], groups: &[&str], resources: &[&str], scope: &str| json!({"operations": operations, "apiGroups": groups, "apiVersions": ["v1"], "resources": resources, "scope": scope});
        let pods = rule(&["CREATE", "UPDATE"], &[""], &["pods"], "*");
        check(pods.clone(), "CREATE /v1 pods a", true);
        check(pods.clone(), "UPDATE /v1 pods a", true);
        check(pods.clone(), "DELETE /v1 pods a", false);
        check(pods.clone(), "CREATE /v2 pods a", false);
        check(pods.clone(), "CREATE apps/v1 pods a", false);
        check(pods, "UPDATE /v1 pods/status a", false);
        let stars = rule(&["*"], &["*"], &["*"], "*");
        check(stars.clone(), "CONNECT apps/v1 deployments a", true);
        check(stars, "CONNECT apps/v1 deployments/scale a", false);
        for (resources, resource, expected) in [
            ("*/*", "pods/exec", true),
            ("*/*", "pods", true),
            ("pods/*", "pods/exec", true),
            ("pods/*", "pods", true),
            ("*/scale", "deployments/scale", true),
            ("*/scale", "deployments", false),
            ("pods/attach", "pods/exec", false),
        ] {
            check(rule(&["*"], &["*"], &[resources], "*"), &format!("CREATE /v1 {resource} a"), expected);
        }
        for (scope, request, expected) in [
            ("Namespaced", "CREATE /v1 pods a", true),
            ("Namespaced", "CREATE /v1 namespaces a", false),
            ("Namespaced", "CREATE /v1 nodes ", false),
            ("Cluster", "CREATE /v1 pods a", false),
            ("Cluster", "CREATE /v1 namespaces a", true),
            ("Cluster", "CREATE /v1 nodes ", true),
        ] {
            check(rule(&["*"], &["*"], &["*"], scope), request, expected);
        }
        let mut named = rule(&["*"], &["*"], &["*"], "*");
        named["resourceNames"] = json!(["x"]);
        check(named.clone(), "CREATE /v1 pods a", true);
        named["resourceNames"] = json!(["y"]);
        check(named, "CREATE /v1 pods a", false);
    }
}
