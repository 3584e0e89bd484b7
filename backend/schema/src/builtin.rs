//! The built-in kinds' schemas, built once from the raw definitions and the facts.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::Discriminant;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::facts::{self, Fact, Facts};
use crate::schema::{Field, Gvk, List, ListKind, Node, Ref, Schema, Slot, Struct};
use crate::{raw, roots};

static BUILTIN: LazyLock<Schemas> = LazyLock::new(Schemas::build);

/// All built-in schemas.
pub fn builtin() -> &'static Schemas {
    &BUILTIN
}

/// Schemas by definition name and by kind.
pub struct Schemas {
    definitions: HashMap<String, Slot>,
    kinds: HashMap<Gvk, String>,
}

impl Schemas {
    /// The schema of a kind, `("apps", "v1", "Deployment")`; the core group is `""`.
    pub fn gvk(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Schema>> {
        self.definition(self.definition_name(group, version, kind)?)
    }
    /// The schema of a definition, `io.k8s.api.core.v1.PodSpec`.
    pub fn definition(&self, name: &str) -> Option<&Arc<Schema>> {
        self.definitions.get(name)?.get()
    }
    /// The definition of a kind, `io.k8s.api.apps.v1.Deployment`.
    pub fn definition_name(&self, group: &str, version: &str, kind: &str) -> Option<&str> {
        self.kinds.get(&Gvk::new(group, version, kind)).map(String::as_str)
    }

    fn build() -> Self {
        let kinds: HashMap<Gvk, String> =
            roots::ALL.iter().map(|r| (Gvk::new(r.group, r.version, r.kind), (r.name)().into_owned())).collect();
        let by_name: HashMap<&str, &Gvk> = kinds.iter().map(|(gvk, name)| (name.as_str(), gvk)).collect();
        let builder = Builder { facts: Facts::load(), slots: RefCell::default(), scalars: RefCell::default() };
        raw::each(
            |_| true,
            |name, value| {
                let mut schema = builder.definition(name, &value);
                schema.gvk = by_name.get(name).map(|gvk| (*gvk).clone());
                // Each name comes once, so the slot is empty.
                let _ = builder.slot(name).set(Arc::new(schema));
            },
        );
        Self { definitions: builder.slots.into_inner(), kinds }
    }
}

struct Builder {
    facts: Facts,
    /// By definition; references make slots before what they refer to is there.
    slots: RefCell<HashMap<String, Slot>>,
    scalars: RefCell<HashMap<Discriminant<Node>, Arc<Schema>>>,
}

/// Definitions whose shape their JSON schema does not tell.
fn special(name: &str) -> Option<Node> {
    Some(match name {
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => Node::Quantity,
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => Node::MicroTime,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time" => Node::Time,
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => Node::IntOrString,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch" => Node::Any { atomic: true },
        "io.k8s.apimachinery.pkg.runtime.RawExtension" => Node::Any { atomic: true },
        // Granular, as upstream's schema for field ownership has them.
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
        | "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1" => Node::Any { atomic: false },
        _ => return None,
    })
}

impl Builder {
    fn slot(&self, name: &str) -> Slot {
        self.slots.borrow_mut().entry(name.to_owned()).or_default().clone()
    }

    /// The schema of an unnamed type. Thousands of fields are plain strings: they share one.
    fn inline(&self, node: Node) -> Arc<Schema> {
        let scalar =
            matches!(node, Node::String | Node::Boolean | Node::Int32 | Node::Int64 | Node::Number | Node::Bytes);
        if !scalar {
            return Arc::new(Schema::of(node));
        }
        let mut scalars = self.scalars.borrow_mut();
        let shared = scalars.entry(std::mem::discriminant(&node)).or_insert_with(|| Arc::new(Schema::of(node)));
        shared.clone()
    }

    fn definition(&self, name: &str, value: &Value) -> Schema {
        let short = facts::short(name);
        let node = special(name).unwrap_or_else(|| self.node(short, value, None));
        let atomic = self.facts.merge(short, "*").is_some_and(|f| f.map_type == "atomic");
        Schema { name: Some(name.into()), node, atomic, ..Schema::default() }
    }

    fn reference(&self, value: &Value) -> Ref {
        match raw::referenced(value) {
            Some(name) => Ref::Named(self.slot(name)),
            None => Ref::Inline(self.inline(self.node("", value, None))),
        }
    }

    fn node(&self, owner: &str, value: &Value, fact: Option<Fact>) -> Node {
        if let Some(Value::Array(choices)) = value.get("oneOf") {
            return Node::OneOf(choices.iter().map(|choice| self.reference(choice)).collect());
        }
        let format = value.get("format").and_then(Value::as_str).unwrap_or_default();
        match (value.get("type").and_then(Value::as_str).unwrap_or_default(), format) {
            ("boolean", _) => Node::Boolean,
            ("integer", "int32") => Node::Int32,
            ("integer", _) => Node::Int64,
            ("number", _) => Node::Number,
            ("string", "byte") => Node::Bytes,
            ("string", "date-time") => Node::Time,
            ("string", _) => Node::String,
            ("array", _) => {
                let of = value.get("items").map_or_else(|| Ref::Inline(Schema::any().clone()), |i| self.reference(i));
                Node::List(self.list(of, fact))
            }
            ("object", _) if value.get("properties").is_some() => Node::Struct(self.fields(owner, value)),
            ("object", _) => match value.get("additionalProperties") {
                Some(of) => Node::Map(self.reference(of)),
                // A type without fields, such as `NetworkPolicyStatus` once was: nothing may be in it.
                None if !owner.is_empty() => Node::Struct(Struct::default()),
                None => Node::Any { atomic: true },
            },
            _ => Node::Any { atomic: true },
        }
    }

    fn list(&self, of: Ref, fact: Option<Fact>) -> List {
        let Some(fact) = fact else {
            let kind = ListKind::Atomic;
            return List { of, kind, patch_merge: false, patch_merge_key: None, retain_keys: false };
        };
        let patch_merge = fact.patch_strategy.split(',').any(|s| s == "merge");
        let patch_merge_key = (!fact.patch_merge_key.is_empty()).then(|| fact.patch_merge_key.into());
        let kind = match fact.list_type {
            "map" => ListKind::Map(fact.list_map_keys.split(',').map(Into::into).collect()),
            "set" => ListKind::Set,
            "atomic" => ListKind::Atomic,
            // Without a list type the patch strategy decides, as upstream's conversion has it.
            _ if patch_merge && patch_merge_key.is_some() => {
                ListKind::Map(patch_merge_key.clone().into_iter().collect())
            }
            _ if patch_merge => ListKind::Set,
            _ => ListKind::Atomic,
        };
        let retain_keys = fact.patch_strategy.split(',').any(|s| s == "retainKeys");
        List { of, kind, patch_merge, patch_merge_key, retain_keys }
    }

    fn fields(&self, owner: &str, value: &Value) -> Struct {
        let required: Vec<&str> =
            value.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = value.get("properties").and_then(Value::as_object);
        // A JSON object iterates in the order of its keys, so the fields are sorted.
        let fields = properties.into_iter().flatten().map(|(name, of)| {
            let fact = self.facts.merge(owner, name);
            let schema = match raw::referenced(of) {
                Some(name) => Ref::Named(self.slot(name)),
                None => Ref::Inline(self.inline(self.node("", of, fact))),
            };
            let strategy = fact.map_or("", |f| f.patch_strategy);
            let default = self.facts.default(owner, name);
            let required = required.contains(&name.as_str());
            Field {
                name: name.as_str().into(),
                schema,
                required,
                atomic: match fact.map_or("", |f| f.map_type) {
                    "atomic" => Some(true),
                    "granular" => Some(false),
                    _ => None,
                },
                retain_keys: strategy.split(',').any(|s| s == "retainKeys"),
                replace: strategy.split(',').any(|s| s == "replace"),
                by_value: false,
                default,
                shape: self.facts.shape(owner, name),
            }
        });
        let mut fields: Vec<Field> = fields.collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        Struct { fields, preserve_unknown: false, rest: None }
    }
}

#[cfg(test)]
#[path = "builtin_tests.rs"]
mod tests;
