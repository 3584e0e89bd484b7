//! Definitions as they are published: the raw ones with facts, lists and kinds added.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::operations::{DELETE_OPTIONS, RESOURCE_LIST, STATUS};
use super::{ApiResource, Definition, custom};
use crate::facts::{self, Fact, Facts};
use crate::{builtin, raw, roots};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    V2,
    V3,
}

impl Dialect {
    pub fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

/// How the definition of each kind is called.
pub struct Names(BTreeMap<(String, String, String), String>);

impl Names {
    pub fn new(resources: &[ApiResource]) -> Self {
        let mut names = BTreeMap::new();
        let mut put = |group: &str, version: &str, kind: &str, name: String| {
            names.insert((group.to_owned(), version.to_owned(), kind.to_owned()), name);
        };
        for root in roots::ALL {
            let name = (root.name)();
            put(root.group, root.version, root.kind, name.to_string());
            if !root.list_kind.is_empty() {
                put(root.group, root.version, root.list_kind, sibling(&name, root.list_kind));
            }
        }
        for resource in resources.iter().filter(|r| matches!(r.definition, Definition::Custom { .. })) {
            let reversed: Vec<&str> = resource.group.rsplit('.').collect();
            let name = format!("{}.{}.{}", reversed.join("."), resource.version, resource.kind);
            let list = list_kind(resource);
            put(&resource.group, &resource.version, &list, sibling(&name, &list));
            put(&resource.group, &resource.version, &resource.kind, name);
        }
        Self(names)
    }
    pub fn of(&self, group: &str, version: &str, kind: &str) -> Option<String> {
        self.0.get(&(group.to_owned(), version.to_owned(), kind.to_owned())).cloned()
    }
}

/// Another definition of the same package.
fn sibling(name: &str, kind: &str) -> String {
    name.rsplit_once('.').map_or_else(|| kind.to_owned(), |(package, _)| format!("{package}.{kind}"))
}

/// The kind of the list of a kind.
pub fn list_kind(resource: &ApiResource) -> String {
    if !resource.list_kind.is_empty() {
        return resource.list_kind.to_string();
    }
    let ApiResource { group, version, kind, .. } = resource;
    let root = roots::ALL.iter().find(|r| r.group == group && r.version == version && r.kind == kind);
    root.map(|r| r.list_kind).filter(|list| !list.is_empty()).map_or_else(|| format!("{kind}List"), str::to_owned)
}

/// The definitions that some resources need; `all` are all that are served.
pub fn of<'r>(
    resources: impl Iterator<Item = &'r ApiResource>,
    all: &[ApiResource],
    names: &Names,
    dialect: Dialect,
) -> Map<String, Value> {
    let mut wanted: BTreeSet<String> = [STATUS, RESOURCE_LIST].into_iter().map(str::to_owned).collect();
    let mut out = Map::new();
    for resource in resources {
        let (group, version) = (&*resource.group, &*resource.version);
        let gvk = |kind: &str| json!([{"group": group, "version": version, "kind": kind}]);
        let Some(name) = names.of(group, version, &resource.kind) else { continue };
        for sub in &resource.subresources {
            wanted.extend(names.of(&sub.group, &sub.version, &sub.kind));
        }
        if resource.verbs.iter().any(|v| v == "list") {
            let kind = list_kind(resource);
            let mut list = list(&resource.kind, &dialect.reference(&name), dialect);
            put(&mut list, "x-kubernetes-group-version-kind", gvk(&kind));
            out.insert(sibling(&name, &kind), list);
        }
        match &resource.definition {
            Definition::Builtin => {
                wanted.insert(name);
            }
            Definition::Custom { schema, .. } => {
                let mut schema = custom::definition(schema, dialect, &dialect.reference(OBJECT_META));
                put(&mut schema, "x-kubernetes-group-version-kind", gvk(&resource.kind));
                out.insert(name, schema);
            }
        }
    }
    let publisher = Publisher { facts: Facts::load(), dialect };
    raw::each(
        |root| wanted.contains(&*(root.name)()),
        |name, raw| {
            let mut schema = publisher.definition(name, &raw);
            if let Some(gvks) = kinds(name, all) {
                put(&mut schema, "x-kubernetes-group-version-kind", gvks);
            }
            out.insert(name.to_owned(), schema);
        },
    );
    out
}

fn put(schema: &mut Value, name: &str, value: Value) {
    if let Some(fields) = schema.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// The kinds that follow a definition. Options and events exist in every group.
fn kinds(name: &str, all: &[ApiResource]) -> Option<Value> {
    let short = name.rsplit('.').next().unwrap_or(name);
    if matches!(name, DELETE_OPTIONS | WATCH_EVENT) {
        let groups: BTreeSet<(&str, &str)> = all.iter().map(|r| (&*r.group, &*r.version)).collect();
        return Some(
            groups.iter().map(|(group, version)| json!({"group": group, "version": version, "kind": short})).collect(),
        );
    }
    let schema = builtin().definition(name)?;
    let gvk = schema.gvk.as_ref()?;
    Some(json!([{"group": gvk.group, "version": gvk.version, "kind": gvk.kind}]))
}

/// What `apiVersion` and `kind` are, in the words of every kind that has them.
pub fn type_meta() -> [(&'static str, Value); 2] {
    [
        (
            "apiVersion",
            json!({"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"}),
        ),
        (
            "kind",
            json!({"type": "string", "description": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"}),
        ),
    ]
}

fn list(kind: &str, reference: &str, dialect: Dialect) -> Value {
    let description = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
    let metadata = refer(&dialect.reference(LIST_META), description, Some(json!({})), dialect);
    let mut properties: Map<String, Value> = type_meta().into_iter().map(|(name, v)| (name.to_owned(), v)).collect();
    properties.insert("metadata".into(), metadata);
    let items =
        json!({"type": "array", "description": format!("The objects of kind {kind}."), "items": {"$ref": reference}});
    properties.insert("items".into(), items);
    json!({"type": "object", "description": format!("A list of objects of kind {kind}."), "required": ["items"], "properties": properties})
}

/// A property that is another definition, with words of its own.
pub fn refer(reference: &str, description: &str, default: Option<Value>, dialect: Dialect) -> Value {
    let mut out = match dialect {
        Dialect::V2 => json!({"$ref": reference}),
        Dialect::V3 => json!({"allOf": [{"$ref": reference}]}),
    };
    if !description.is_empty() {
        put(&mut out, "description", description.into());
    }
    if let (Some(default), Dialect::V3) = (default, dialect) {
        put(&mut out, "default", default);
    }
    out
}

struct Publisher {
    facts: Facts,
    dialect: Dialect,
}

impl Publisher {
    fn definition(&self, name: &str, raw: &Value) -> Value {
        let short = facts::short(name);
        let mut out = self.schema(short, raw);
        if let Some(shape) = shape(short, self.dialect) {
            let description = raw.get("description").cloned().unwrap_or_default();
            out = shape;
            put(&mut out, "description", description);
        }
        if let Some(fact) = self.facts.merge(short, "*")
            && !fact.map_type.is_empty()
        {
            put(&mut out, "x-kubernetes-map-type", fact.map_type.into());
        }
        out
    }

    /// `owner` is the type whose properties are meant; empty for anything without name.
    fn schema(&self, owner: &str, raw: &Value) -> Value {
        let Value::Object(fields) = raw else { return raw.clone() };
        let mut out = Map::new();
        for (key, value) in fields {
            let value = match key.as_str() {
                "$ref" => {
                    let name = raw::referenced(raw).unwrap_or_default();
                    self.dialect.reference(name).into()
                }
                "items" | "additionalProperties" => self.schema("", value),
                "properties" => {
                    let properties = value.as_object().into_iter().flatten();
                    properties.map(|(name, of)| (name.clone(), self.property(owner, name, of))).collect()
                }
                // Only shapes that are written otherwise have these.
                "oneOf" | "x-kubernetes-int-or-string" => continue,
                _ => value.clone(),
            };
            out.insert(key.clone(), value);
        }
        Value::Object(out)
    }

    fn property(&self, owner: &str, name: &str, raw: &Value) -> Value {
        let default = self.facts.default(owner, name);
        let mut out = match raw::referenced(raw) {
            Some(target) => {
                let description = raw.get("description").and_then(Value::as_str).unwrap_or_default();
                let reference = self.dialect.reference(target);
                if description.is_empty() && default.is_none() {
                    json!({ "$ref": reference })
                } else {
                    refer(&reference, description, default, self.dialect)
                }
            }
            None => {
                let mut out = self.schema("", raw);
                if let (Some(default), Dialect::V3) = (default, self.dialect) {
                    put(&mut out, "default", default);
                }
                out
            }
        };
        if let Some(fact) = self.facts.merge(owner, name) {
            extend(&mut out, fact);
        }
        out
    }
}

fn extend(schema: &mut Value, fact: Fact) {
    let mut text = |name: &str, value: &str| {
        if !value.is_empty() {
            put(schema, name, value.into());
        }
    };
    text("x-kubernetes-list-type", fact.list_type);
    text("x-kubernetes-map-type", fact.map_type);
    text("x-kubernetes-patch-merge-key", fact.patch_merge_key);
    text("x-kubernetes-patch-strategy", fact.patch_strategy);
    if !fact.list_map_keys.is_empty() {
        put(schema, "x-kubernetes-list-map-keys", fact.list_map_keys.split(',').collect());
    }
}

/// Types whose JSON is not what their fields say.
fn shape(short: &str, dialect: Dialect) -> Option<Value> {
    Some(match (short, dialect) {
        ("util.intstr.IntOrString", Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        ("util.intstr.IntOrString", Dialect::V3) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        ("api.resource.Quantity", Dialect::V2) => json!({"type": "string"}),
        ("api.resource.Quantity", Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (
            "apiextensions.v1.JSON"
            | "apiextensions.v1.JSONSchemaPropsOrArray"
            | "apiextensions.v1.JSONSchemaPropsOrBool"
            | "apiextensions.v1.JSONSchemaPropsOrStringArray",
            _,
        ) => json!({}),
        _ => return None,
    })
}
