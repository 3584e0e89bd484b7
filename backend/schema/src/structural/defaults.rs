//! Defaults of custom resources, and the nulls that stand for nothing.

use serde_json::{Map, Value};

use crate::schema::{Node, Schema};

/// Takes out nulls where none is allowed and no default could take their place: they say that there is nothing. In lists
/// they stay, for validation to refuse.
pub fn drop_nulls(schema: &Schema, value: &mut Value) {
    match (&schema.node, value) {
        (Node::Struct(of), Value::Object(object)) => object.retain(|name, value| {
            // Metadata of nothing is metadata without anything.
            if value.is_null() && name == "metadata" && schema.rules.as_ref().is_some_and(|r| r.embedded_resource) {
                *value = Value::Object(Map::new());
            }
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

/// Writes whole numbers as such, as Go does: `1.0` is `1` for whoever reads it next.
pub fn settle_numbers(value: &mut Value) {
    /// From here on not all whole numbers are told apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= EXACT);
            if let Some(whole) = whole {
                *number = (whole as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(settle_numbers),
        Value::Object(fields) => fields.values_mut().for_each(settle_numbers),
        _ => {}
    }
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
