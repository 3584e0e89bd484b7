//! From a CRD's `openAPIV3Schema` to a [`Schema`].

use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::rules::Validations;
use super::{Bound, Rules};
use crate::builtin;
use crate::schema::{Field, Gvk, List, ListKind, Node, Ref, Schema, Shape, Struct};

/// Largest compiled pattern, in bytes: patterns come from users.
const MAX_PATTERN_BYTES: usize = 1 << 20;
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

type Fields = Map<String, Value>;

impl Schema {
    /// The schema of a custom resource from the `openAPIV3Schema` of its version; null stands for none (everything
    /// is kept). Errors: what is wrong with the schema, such as a pattern that is no regular expression.
    pub fn from_structural(gvk: Gvk, schema: &Value) -> Result<Arc<Self>, String> {
        let empty = Map::new();
        let fields = schema.as_object().unwrap_or(&empty);
        let mut out = convert(fields)?;
        if !matches!(out.node, Node::Struct(_)) {
            out.node = Node::Struct(Struct { preserve_unknown: true, ..Struct::default() });
        }
        if let Node::Struct(of) = &mut out.node {
            of.preserve_unknown |= schema.is_null();
            add_object_fields(of);
        }
        out.gvk = Some(gvk);
        if let Some(rules) = &mut out.rules {
            rules.has_validations = mentions(schema, "x-kubernetes-validations");
            rules.has_embedded = mentions(schema, "x-kubernetes-embedded-resource");
        }
        let metadata = fields.get("properties").and_then(|p| p.get("metadata")).and_then(Value::as_object);
        if let (Some(rules), Some(metadata)) = (&mut out.rules, metadata) {
            rules.metadata = Some(Arc::new(convert(metadata)?));
        }
        Ok(Arc::new(out))
    }
}

/// Whether a key occurs anywhere.
fn mentions(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(fields) => fields.contains_key(key) || fields.values().any(|value| mentions(value, key)),
        Value::Array(items) => items.iter().any(|value| mentions(value, key)),
        _ => false,
    }
}

/// `apiVersion`, `kind` and `metadata`, which every object has whether its schema says so or not.
fn add_object_fields(of: &mut Struct) {
    let text = || Ref::Inline(Arc::new(Schema { rules: Some(Box::default()), ..Schema::of(Node::String) }));
    let metadata = builtin().definition(OBJECT_META).cloned().map_or_else(text, Ref::Inline);
    of.fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
    of.fields.push(plain_field("apiVersion", text()));
    of.fields.push(plain_field("kind", text()));
    of.fields.push(Field { by_value: true, ..plain_field("metadata", metadata) });
    of.fields.sort_by(|a, b| a.name.cmp(&b.name));
}

fn plain_field(name: &str, schema: Ref) -> Field {
    Field {
        name: name.into(),
        schema,
        required: false,
        atomic: None,
        retain_keys: false,
        replace: false,
        by_value: false,
        default: None,
        shape: Shape::default(),
    }
}

fn text<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn on(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_some_and(|value| value == true)
}

fn inner(value: &Value) -> Result<Arc<Schema>, String> {
    match value {
        Value::Object(fields) => Ok(Arc::new(convert(fields)?)),
        // `additionalProperties: true` and its like: anything.
        _ => Ok(Arc::new(Schema { rules: Some(Box::default()), ..Schema::of(Node::Any { atomic: false }) })),
    }
}

fn convert(fields: &Fields) -> Result<Schema, String> {
    let preserve = on(fields, "x-kubernetes-preserve-unknown-fields");
    let embedded = on(fields, "x-kubernetes-embedded-resource");
    let node = if on(fields, "x-kubernetes-int-or-string") {
        Node::IntOrString
    } else {
        match text(fields, "type") {
            "string" => Node::String,
            "boolean" => Node::Boolean,
            "integer" => Node::Int64,
            "number" => Node::Number,
            "array" => Node::List(list(fields)?),
            "object" => object(fields, preserve, embedded)?,
            // Without a type: the branches of `anyOf` and its like, or a value that may be anything.
            _ if fields.contains_key("properties") => object(fields, true, embedded)?,
            _ if fields.contains_key("items") => Node::List(list(fields)?),
            _ => Node::Any { atomic: false },
        }
    };
    let atomic = text(fields, "x-kubernetes-map-type") == "atomic";
    Ok(Schema { node, atomic, rules: Some(Box::new(rules(fields, embedded)?)), ..Schema::default() })
}

fn object(fields: &Fields, preserve: bool, embedded: bool) -> Result<Node, String> {
    let rest = match fields.get("additionalProperties") {
        None | Some(Value::Bool(false)) => None,
        Some(of) => Some(Ref::Inline(inner(of)?)),
    };
    let properties = fields.get("properties").and_then(Value::as_object);
    if let (Some(rest), None, false) = (&rest, properties, embedded) {
        return Ok(Node::Map(rest.clone()));
    }
    let required = strings(fields, "required");
    let mut out = Struct { fields: Vec::new(), preserve_unknown: preserve, rest };
    for (name, value) in properties.into_iter().flatten() {
        let schema = inner(value)?;
        let default = schema.rules.as_ref().and_then(|rules| rules.default.clone());
        let field = plain_field(name, Ref::Inline(schema));
        out.fields.push(Field { required: required.contains(&field.name), default, ..field });
    }
    out.fields.sort_by(|a, b| a.name.cmp(&b.name));
    if embedded {
        add_object_fields(&mut out);
    }
    Ok(Node::Struct(out))
}

fn list(fields: &Fields) -> Result<List, String> {
    let of = match fields.get("items") {
        Some(items) => Ref::Inline(inner(items)?),
        None => Ref::Inline(inner(&Value::Null)?),
    };
    let kind = match text(fields, "x-kubernetes-list-type") {
        "set" => ListKind::Set,
        "map" => ListKind::Map(strings(fields, "x-kubernetes-list-map-keys")),
        _ => ListKind::Atomic,
    };
    Ok(List { of, kind, patch_merge: false, patch_merge_key: None, retain_keys: false })
}

fn strings(fields: &Fields, name: &str) -> Vec<Box<str>> {
    let list = fields.get(name).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(Into::into).collect()
}

fn rules(fields: &Fields, embedded_resource: bool) -> Result<Rules, String> {
    let number = |name: &str| fields.get(name).and_then(Value::as_number).cloned();
    let count = |name: &str| fields.get(name).and_then(Value::as_u64);
    let bound =
        |name: &str, exclusive: &str| number(name).map(|value| Bound { value, exclusive: on(fields, exclusive) });
    let schemas = |name: &str| -> Result<Vec<Arc<Schema>>, String> {
        fields.get(name).and_then(Value::as_array).into_iter().flatten().map(inner).collect()
    };
    let of = if on(fields, "x-kubernetes-int-or-string") { "int-or-string" } else { text(fields, "type") };
    Ok(Rules {
        default: fields.get("default").filter(|value| !value.is_null()).cloned(),
        nullable: on(fields, "nullable"),
        embedded_resource,
        required: strings(fields, "required"),
        of: of.into(),
        format: text(fields, "format").into(),
        pattern: Some(text(fields, "pattern")).filter(|p| !p.is_empty()).map(pattern).transpose()?,
        choices: fields.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        minimum: bound("minimum", "exclusiveMinimum"),
        maximum: bound("maximum", "exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        unique_items: on(fields, "uniqueItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        all_of: schemas("allOf")?,
        any_of: schemas("anyOf")?,
        one_of: schemas("oneOf")?,
        not: fields.get("not").map(inner).transpose()?,
        validations: Validations::parse(fields),
        has_validations: false,
        has_embedded: false,
        metadata: None,
    })
}

pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build();
    built.map_err(|error| format!("must be a valid regular expression, but isn't: {error}"))
}
