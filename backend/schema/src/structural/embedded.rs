//! Objects within objects: `x-kubernetes-embedded-resource`.

use pilothouse_api::field::Path;
use serde_json::Value;

use crate::schema::{Node, Schema};

/// Shows every resource that a custom resource has in it, with its place.
pub fn embedded(schema: &Schema, value: &Value, visit: &mut dyn FnMut(&Path, &Value)) {
    if schema.rules.as_ref().is_some_and(|rules| rules.has_embedded) {
        walk(schema, value, &Path::root(), visit);
    }
}

fn walk(schema: &Schema, value: &Value, path: &Path, visit: &mut dyn FnMut(&Path, &Value)) {
    let Some(rules) = &schema.rules else { return };
    if rules.embedded_resource && value.is_object() {
        visit(path, value);
    }
    match (&schema.node, value) {
        (Node::Struct(of), Value::Object(fields)) => {
            for (name, value) in fields {
                match (of.field(name), &of.rest) {
                    (Some(field), _) => walk(field.schema.get(), value, &path.child(name), visit),
                    (None, Some(rest)) => walk(rest.get(), value, &path.key(name), visit),
                    (None, None) => {}
                }
            }
        }
        (Node::Map(of), Value::Object(fields)) => {
            for (name, value) in fields {
                walk(of.get(), value, &path.key(name), visit);
            }
        }
        (Node::List(list), Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                walk(list.of.get(), item, &path.index(at), visit);
            }
        }
        _ => {}
    }
}
