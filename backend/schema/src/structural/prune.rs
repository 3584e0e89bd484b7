//! Dropping what a structural schema does not specify.

use serde_json::Value;

use crate::schema::{Node, Schema};

/// Removes the fields that the schema of a custom resource neither names nor preserves. The built-in parts, such as
/// `metadata`, are cut to their types too.
pub fn prune(schema: &Schema, value: &mut Value) {
    match (&schema.node, value) {
        (Node::Struct(of), Value::Object(object)) => object.retain(|name, value| {
            let inner = match (of.field(name), &of.rest) {
                (Some(field), _) => field.schema.get(),
                (None, Some(rest)) => rest.get(),
                (None, None) => return of.preserve_unknown,
            };
            prune(inner, value);
            true
        }),
        (Node::Map(of), Value::Object(object)) => object.values_mut().for_each(|value| prune(of.get(), value)),
        (Node::List(list), Value::Array(items)) => items.iter_mut().for_each(|item| prune(list.of.get(), item)),
        _ => {}
    }
}
