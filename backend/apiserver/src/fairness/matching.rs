//! Which requests a FlowSchema is about, compiled once so that asking costs a few comparisons.

use pilothouse_access::UserInfo;
use serde_json::Value;

use crate::request::RequestInfo;

/// A list of words, or all words.
#[derive(Debug)]
enum Words {
    All,
    These(Vec<Box<str>>),
}

impl Words {
    fn of(list: &Value) -> Self {
        let all: Vec<Box<str>> = texts(list).map(Into::into).collect();
        if all.len() == 1 && &*all[0] == "*" { Self::All } else { Self::These(all) }
    }
    fn has(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(words) => words.iter().any(|known| &**known == word),
        }
    }
    /// `pods`, `pods/status`.
    fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(words) if subresource.is_empty() => words.iter().any(|known| &**known == resource),
            Self::These(words) => words.iter().any(|known| {
                let rest = known.strip_prefix(resource).and_then(|rest| rest.strip_prefix('/'));
                rest == Some(subresource)
            }),
        }
    }
}

#[derive(Debug)]
enum Subject {
    Everybody,
    User(Box<str>),
    Group(Box<str>),
    /// Namespace and name; no name is every name.
    ServiceAccount(Box<str>, Option<Box<str>>),
}

impl Subject {
    fn of(subject: &Value) -> Option<Self> {
        let name = |field: &str| subject[field]["name"].as_str();
        Some(match subject["kind"].as_str()? {
            "User" if name("user")? == "*" => Self::Everybody,
            "User" => Self::User(name("user")?.into()),
            "Group" if name("group")? == "*" => Self::Everybody,
            "Group" => Self::Group(name("group")?.into()),
            "ServiceAccount" => {
                let namespace = subject["serviceAccount"]["namespace"].as_str()?;
                let name = name("serviceAccount").filter(|name| *name != "*");
                Self::ServiceAccount(namespace.into(), name.map(Into::into))
            }
            _ => return None,
        })
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::Everybody => true,
            Self::User(name) => **name == *user.name,
            Self::Group(group) => user.groups.iter().any(|own| **own == **group),
            Self::ServiceAccount(namespace, name) => user.service_account_name().is_some_and(|(own, account)| {
                own == &**namespace && name.as_ref().is_none_or(|name| &**name == account)
            }),
        }
    }
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Words,
    groups: Words,
    resources: Words,
    namespaces: Words,
    cluster_scope: bool,
}

impl ResourceRule {
    fn of(rule: &Value) -> Self {
        Self {
            verbs: Words::of(&rule["verbs"]),
            groups: Words::of(&rule["apiGroups"]),
            resources: Words::of(&rule["resources"]),
            namespaces: Words::of(&rule["namespaces"]),
            cluster_scope: rule["clusterScope"] == true,
        }
    }

    fn is(&self, info: &RequestInfo) -> bool {
        self.verbs.has(&info.verb)
            && self.resources.has_resource(&info.resource, &info.subresource)
            && self.groups.has(&info.group)
            && if info.namespace.is_empty() { self.cluster_scope } else { self.namespaces.has(&info.namespace) }
    }
}

#[derive(Debug)]
enum Paths {
    All,
    Exact(Box<str>),
    /// Everything below, the final slash included.
    Below(Box<str>),
}

impl Paths {
    fn of(url: &str) -> [Self; 2] {
        let prefix = url.strip_suffix('*').unwrap_or(url);
        let below = if prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
        if url == "*" { [Self::All, Self::All] } else { [Self::Exact(url.into()), Self::Below(below.into())] }
    }
    fn is(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(own) => **own == *path,
            Self::Below(prefix) => path.starts_with(&**prefix),
        }
    }
}

#[derive(Debug)]
struct PathRule {
    verbs: Words,
    paths: Vec<Paths>,
}

/// One of a schema's rules.
#[derive(Debug)]
pub struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    items(list).filter_map(Value::as_str)
}

impl Rule {
    pub fn of(rule: &Value) -> Self {
        let path_rule = |rule: &Value| PathRule {
            verbs: Words::of(&rule["verbs"]),
            paths: texts(&rule["nonResourceURLs"]).flat_map(Paths::of).collect(),
        };
        Self {
            subjects: items(&rule["subjects"]).filter_map(Subject::of).collect(),
            resources: items(&rule["resourceRules"]).map(ResourceRule::of).collect(),
            paths: items(&rule["nonResourceRules"]).map(path_rule).collect(),
        }
    }

    pub fn is(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && if info.is_resource {
                self.resources.iter().any(|rule| rule.is(info))
            } else {
                self.paths
                    .iter()
                    .any(|rule| rule.verbs.has(&info.verb) && rule.paths.iter().any(|path| path.is(&info.path)))
            }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;

    fn check(rule: Value, user: &UserInfo, asked: &str, expected: bool) {
        let (method, path) = asked.split_once(' ').unwrap();
        let info = RequestInfo::new(&method.parse::<Method>().unwrap(), path, "");
        assert_eq!(Rule::of(&rule).is(user, &info), expected, "{asked} by {} under {rule}", user.name);
    }

    fn by(subject: Value) -> Value {
        json!({"subjects": [subject],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]})
    }

    #[test]
    fn subjects() {
        let jane = UserInfo::new("jane", &["staff"]);
        let robot = UserInfo::service_account("apps", "robot", "");
        let user = |name: &str| by(json!({"kind": "User", "user": {"name": name}}));
        let group = |name: &str| by(json!({"kind": "Group", "group": {"name": name}}));
        let account = |namespace: &str, name: &str| {
            by(json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}))
        };
        for (rule, who, expected) in [
            (user("jane"), &jane, true),
            (user("john"), &jane, false),
            (user("*"), &robot, true),
            (group("staff"), &jane, true),
            (group("*"), &jane, true),
            (group("system:serviceaccounts"), &robot, true),
            (group("staff"), &robot, false),
            (account("apps", "robot"), &robot, true),
            (account("apps", "*"), &robot, true),
            (account("app", "*"), &robot, false),
            (account("apps", "rob"), &robot, false),
            (account("apps", "*"), &jane, false),
            (by(json!({"kind": "Alien"})), &jane, false),
        ] {
            check(rule.clone(), who, "GET /api/v1/pods", expected);
            check(rule, who, "GET /version", expected);
        }
    }

    #[test]
    fn resources_and_paths() {
        let jane = UserInfo::new("jane", &[]);
        let rule = |resource: Value, path: Value| json!({"subjects": [{"kind": "User", "user": {"name": "*"}}], "resourceRules": resource, "nonResourceRules": path});
        let pods = rule(
            json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/status"], "namespaces": ["a"]}]),
            json!([]),
        );
        for (asked, expected) in [
            ("GET /api/v1/namespaces/a/pods/x", true),
            ("GET /api/v1/namespaces/a/pods/x/status", true),
            ("GET /api/v1/namespaces/a/pods/x/log", false),
            ("GET /api/v1/namespaces/b/pods/x", false),
            ("GET /api/v1/pods", false),
            ("DELETE /api/v1/namespaces/a/pods/x", false),
            ("GET /apis/apps/v1/namespaces/a/pods/x", false),
            ("GET /version", false),
        ] {
            check(pods.clone(), &jane, asked, expected);
        }
        let paths = rule(json!([]), json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"]}]));
        for (asked, expected) in [
            ("GET /healthz", true),
            ("GET /healthz/ping", true),
            ("GET /healthzz", false),
            ("GET /apis/apps", true),
            ("POST /healthz", false),
            ("GET /api/v1/pods", false),
        ] {
            check(paths.clone(), &jane, asked, expected);
        }
    }
}
