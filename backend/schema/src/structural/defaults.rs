//! Defaults of custom resources, and the nulls that stand for nothing.

use serde_json::{Map, Value};

use crate::schema::{Node, Schema};

/// Takes out nulls where none is allowed and no default could take their place: they say that there is nothing. In lists
/// they stay, for validation to refuse.
pub fn drop_nulls(schema: &Schema, value: &mut Value) {
    match (&schema.node, value) {
        (Node::Struct(of), Value::Object(object)) => object.retain(|name, value| {
            let inner = match (of.field(name), &of.rest) {
                (Some(field), _) => field.schema.get(),
                (None, Some(rest)) => rest.get(),
                (None, None) => return true,
            };
            kept(inner, value)
        }),
        (Node::Map(of), Value::Object(object)) => object.retain(|_, value| kept(of.get(), value)),
        (Node::List(list), Value::Array(items)) => items.iter_mut().for_each(|item| drop_nulls(list.of.get(), item)),
        _ => {}
    }
}

fn kept(schema: &Schema, value: &mut Value) -> bool {
    if value.is_null() {
        return schema.rules.as_ref().is_none_or(|rules| rules.nullable || rules.default.is_some());
    }
    drop_nulls(schema, value);
    true
}

/// Fills in defaults. A null where none is allowed counts as absent if there is a default.
pub fn apply_defaults(schema: &Schema, value: &mut Value) {
    match (&schema.node, value) {
        (Node::Struct(of), Value::Object(object)) => {
            for field in &of.fields {
                let inner: &Schema = field.schema.get();
                fill(inner, &field.name, object);
            }
            for (name, value) in object.iter_mut() {
                let inner = match (of.field(name), &of.rest) {
                    (Some(field), _) => field.schema.get(),
                    (None, Some(rest)) => rest.get(),
                    (None, None) => continue,
                };
                apply_defaults(inner, value);
            }
        }
        (Node::Map(of), Value::Object(object)) => object.values_mut().for_each(|value| entry(of.get(), value)),
        (Node::List(list), Value::Array(items)) => items.iter_mut().for_each(|item| entry(list.of.get(), item)),
        _ => {}
    }
}

fn fill(schema: &Schema, name: &str, object: &mut Map<String, Value>) {
    let Some(rules) = &schema.rules else { return };
    let Some(default) = &rules.default else { return };
    match object.get_mut(name) {
        None => {
            object.insert(name.to_owned(), default.clone());
        }
        Some(value) if value.is_null() && !rules.nullable => value.clone_from(default),
        Some(_) => {}
    }
}

/// An item or an entry: it is there, so only a null can be defaulted.
fn entry(schema: &Schema, value: &mut Value) {
    if let Some(rules) = &schema.rules
        && let Some(default) = &rules.default
        && value.is_null()
        && !rules.nullable
    {
        value.clone_from(default);
    }
    apply_defaults(schema, value);
}
