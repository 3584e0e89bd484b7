//! The operations of the resources, before they are written as v2 or v3.

use std::collections::BTreeMap;

use super::definitions::{Names, list_kind};
use super::parameters::{self, Parameter};
use super::{ApiResource, ApiSubresource, group_path};

/// One path and what can be done there.
pub struct PathItem {
    pub parameters: Vec<&'static Parameter>,
    pub operations: Vec<Operation>,
}

pub struct Operation {
    pub method: &'static str,
    pub id: String,
    pub description: String,
    /// `x-kubernetes-action`; empty for what is about no resource.
    pub action: &'static str,
    pub tag: String,
    /// Group, version, kind of what is sent and received.
    pub gvk: Option<(String, String, String)>,
    pub parameters: &'static [&'static Parameter],
    pub body: Option<Body>,
    /// The answers' codes, and the definition they follow; none for text.
    pub codes: &'static [u16],
    pub response: Option<String>,
    /// The answer may be a stream of watch events.
    pub watch: bool,
}

pub struct Body {
    pub definition: String,
    pub required: bool,
    pub patch: bool,
}

pub const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub const RESOURCE_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";

/// The media types of a patch body; strategic merge is not for custom resources.
pub const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// `rbac.authorization.k8s.io` → `RbacAuthorization`, as operations are named after their groups.
fn camel(group: &str) -> String {
    if group.is_empty() {
        return "Core".into();
    }
    group.strip_suffix(".k8s.io").unwrap_or(group).split(['.', '-']).map(title).collect()
}

/// `a Pod`, `an Event`.
fn article(kind: &str) -> String {
    let an = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{} {kind}", if an { "an" } else { "a" })
}

fn title(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn tag(group: &str, version: &str) -> String {
    let camel = camel(group);
    let mut chars = camel.chars();
    let lower: String = chars.next().into_iter().flat_map(char::to_lowercase).chain(chars).collect();
    format!("{lower}_{version}")
}

/// All paths of the resources, by path.
pub fn paths<'r>(resources: impl Iterator<Item = &'r ApiResource>, names: &Names) -> BTreeMap<String, PathItem> {
    let mut out = BTreeMap::new();
    for resource in resources {
        let writer = Writer {
            resource,
            names,
            root: format!("/{}/", group_path(&resource.group, &resource.version)),
            tag: tag(&resource.group, &resource.version),
            prefix: format!("{}{}", camel(&resource.group), title(&resource.version)),
        };
        writer.write(&mut out);
    }
    out
}

struct Writer<'a> {
    resource: &'a ApiResource,
    names: &'a Names,
    root: String,
    tag: String,
    prefix: String,
}

impl Writer<'_> {
    fn write(&self, out: &mut BTreeMap<String, PathItem>) {
        let resource = self.resource;
        out.entry(self.root.clone()).or_insert_with(|| self.discovery());
        let scope = if resource.namespaced { "Namespaced" } else { "" };
        let (base, mut parameters) = if resource.namespaced {
            (format!("{}namespaces/{{namespace}}/{}", self.root, resource.name), vec![parameters::NAMESPACE])
        } else {
            (format!("{}{}", self.root, resource.name), Vec::new())
        };
        parameters.push(parameters::PRETTY);
        let collection = self.collection(scope);
        if !collection.is_empty() {
            out.insert(base.clone(), PathItem { parameters: parameters.clone(), operations: collection });
        }
        if resource.namespaced && self.has("list") {
            let name = format!("list{}{}ForAllNamespaces", self.prefix, resource.kind);
            let all = PathItem { parameters: vec![parameters::PRETTY], operations: vec![self.list(name)] };
            out.insert(format!("{}{}", self.root, resource.name), all);
        }
        parameters.insert(0, parameters::NAME);
        let one = format!("{base}/{{name}}");
        let item = self.item(scope);
        if !item.is_empty() {
            out.insert(one.clone(), PathItem { parameters: parameters.clone(), operations: item });
        }
        for sub in &resource.subresources {
            let operations = self.subresource(sub, scope);
            let path = format!("{one}/{}", sub.name);
            if sub.name == "proxy" {
                let mut parameters = parameters.clone();
                parameters.push(parameters::PATH);
                let operations = self.connect(sub, scope, "WithPath");
                out.insert(format!("{path}/{{path}}"), PathItem { parameters, operations });
            }
            out.insert(path, PathItem { parameters: parameters.clone(), operations });
        }
    }

    fn has(&self, verb: &str) -> bool {
        self.resource.verbs.iter().any(|v| v == verb)
    }
    fn definition(&self) -> Option<String> {
        let r = self.resource;
        self.names.of(&r.group, &r.version, &r.kind)
    }
    fn list_definition(&self) -> Option<String> {
        let r = self.resource;
        self.names.of(&r.group, &r.version, &list_kind(r))
    }
    fn operation(&self, method: &'static str, id: String, description: String, action: &'static str) -> Operation {
        let r = self.resource;
        Operation {
            method,
            id,
            description,
            action,
            tag: self.tag.clone(),
            gvk: Some((r.group.to_string(), r.version.to_string(), r.kind.to_string())),
            parameters: parameters::READ,
            body: None,
            codes: &[200],
            response: self.definition(),
            watch: false,
        }
    }
    fn discovery(&self) -> PathItem {
        let id = format!("get{}APIResources", self.prefix);
        let get = self.operation("get", id, "get available resources".into(), "");
        let get = Operation { gvk: None, response: Some(RESOURCE_LIST.into()), ..get };
        PathItem { parameters: Vec::new(), operations: vec![get] }
    }
    fn list(&self, id: String) -> Operation {
        let description = format!("list or watch objects of kind {}", self.resource.kind);
        let operation = self.operation("get", id, description, "list");
        Operation {
            parameters: parameters::LIST,
            response: self.list_definition(),
            watch: self.has("watch"),
            ..operation
        }
    }
    fn body(definition: Option<String>, required: bool) -> Option<Body> {
        definition.map(|definition| Body { definition, required, patch: false })
    }

    fn collection(&self, scope: &str) -> Vec<Operation> {
        let (kind, prefix) = (&self.resource.kind, &self.prefix);
        let mut out = Vec::new();
        if self.has("list") {
            out.push(self.list(format!("list{prefix}{scope}{kind}")));
        }
        if self.has("create") {
            let id = format!("create{prefix}{scope}{kind}");
            out.push(Operation {
                parameters: parameters::WRITE,
                body: Self::body(self.definition(), true),
                codes: &[200, 201, 202],
                ..self.operation("post", id, format!("create {}", article(kind)), "post")
            });
        }
        if self.has("deletecollection") {
            let id = format!("delete{prefix}Collection{scope}{kind}");
            let description = format!("delete collection of {kind}");
            out.push(Operation {
                parameters: parameters::DELETE_COLLECTION,
                body: Self::body(Some(DELETE_OPTIONS.into()), false),
                response: Some(STATUS.into()),
                ..self.operation("delete", id, description, "deletecollection")
            });
        }
        out
    }

    fn item(&self, scope: &str) -> Vec<Operation> {
        let (kind, prefix) = (&self.resource.kind, &self.prefix);
        let mut out =
            self.read_write(&self.resource.verbs, &format!("{prefix}{scope}{kind}"), &format!("the specified {kind}"));
        if self.has("delete") {
            let id = format!("delete{prefix}{scope}{kind}");
            out.push(Operation {
                parameters: parameters::DELETE,
                body: Self::body(Some(DELETE_OPTIONS.into()), false),
                codes: &[200, 202],
                response: Some(STATUS.into()),
                ..self.operation("delete", id, format!("delete {}", article(kind)), "delete")
            });
        }
        out
    }

    /// get, put and patch of an object or a subresource.
    fn read_write(&self, verbs: &[super::Text], id: &str, what: &str) -> Vec<Operation> {
        let mut out = Vec::new();
        for verb in verbs {
            out.push(match &**verb {
                "get" => self.operation("get", format!("read{id}"), format!("read {what}"), "get"),
                "update" => Operation {
                    parameters: parameters::WRITE,
                    body: Self::body(self.definition(), true),
                    codes: &[200, 201],
                    ..self.operation("put", format!("replace{id}"), format!("replace {what}"), "put")
                },
                "patch" => Operation {
                    parameters: parameters::PATCH,
                    body: Some(Body { definition: PATCH.into(), required: true, patch: true }),
                    codes: &[200, 201],
                    ..self.operation("patch", format!("patch{id}"), format!("partially update {what}"), "patch")
                },
                _ => continue,
            });
        }
        out
    }

    fn subresource(&self, sub: &ApiSubresource, scope: &str) -> Vec<Operation> {
        if sub.kind.ends_with("Options") {
            return self.connect(sub, scope, "");
        }
        let (kind, prefix) = (&self.resource.kind, &self.prefix);
        let id = format!("{prefix}{scope}{kind}{}", title(&sub.name));
        let definition = self.names.of(&sub.group, &sub.version, &sub.kind);
        let mut out = self.read_write(&sub.verbs, &id, &format!("{} of the specified {kind}", sub.name));
        if sub.verbs.iter().any(|v| v == "create") {
            out.push(Operation {
                parameters: parameters::WRITE,
                codes: &[200, 201, 202],
                ..self.operation(
                    "post",
                    format!("create{id}"),
                    format!("create {} of {}", sub.name, article(kind)),
                    "post",
                )
            });
        }
        for operation in &mut out {
            operation.gvk = Some((sub.group.to_string(), sub.version.to_string(), sub.kind.to_string()));
            operation.response.clone_from(&definition);
            if matches!(operation.method, "put" | "post") {
                operation.body = Self::body(definition.clone(), true);
            }
            if sub.name == "log" {
                operation.parameters = parameters::LOG;
                operation.response = None;
            }
        }
        out
    }

    fn connect(&self, sub: &ApiSubresource, scope: &str, suffix: &str) -> Vec<Operation> {
        let (kind, prefix) = (&self.resource.kind, &self.prefix);
        let parameters: &[&Parameter] = match &*sub.name {
            "attach" => parameters::ATTACH,
            "exec" => parameters::EXEC,
            _ => parameters::READ,
        };
        let methods = sub.verbs.iter().filter_map(|verb| match &**verb {
            "get" => Some("get"),
            "create" => Some("post"),
            "update" => Some("put"),
            "patch" => Some("patch"),
            "delete" => Some("delete"),
            _ => None,
        });
        methods
            .map(|method| {
                let id = format!("connect{prefix}{}{scope}{kind}{}{suffix}", title(method), title(&sub.name));
                let description = format!("connect {} requests to {} of {kind}", method.to_uppercase(), sub.name);
                let operation = self.operation(method, id, description, "connect");
                let gvk = Some((sub.group.to_string(), sub.version.to_string(), sub.kind.to_string()));
                Operation { gvk, parameters, response: None, ..operation }
            })
            .collect()
    }
}
