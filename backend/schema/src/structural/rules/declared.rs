//! The type that expressions see of a schema, with how much of everything there may be.

use std::collections::BTreeMap;
use std::sync::Arc;

use pilothouse_cel::{Field, ListKind, ObjectType, Size, Type, escape};

use crate::schema::{self, Node, Schema};
use crate::structural::Rules;

/// Requests are no longer than this, so nothing in them is.
const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;
/// `YYYY-MM-DDThh:mm:ssZ` in quotes, and `0s`.
const MIN_DATE_TIME: u64 = 22;
const MIN_DURATION: u64 = 3;

pub(super) struct Known {
    pub of: Type,
    /// The fewest bytes that a value takes in a request.
    pub min_bytes: u64,
}

/// None for what expressions cannot see: values of any type.
pub(super) fn of(schema: &Schema) -> Option<Known> {
    let Some(rules) = &schema.rules else { return Some(metadata()) };
    let known = |of: Type, min_bytes: u64| Some(Known { of, min_bytes });
    match &schema.node {
        Node::IntOrString => known(Type::Dyn, 1),
        Node::Boolean => known(Type::Bool, 4),
        Node::Int32 | Node::Int64 => known(Type::Int, 1),
        Node::Number => known(Type::Double, 1),
        Node::String | Node::Bytes => Some(text(rules)),
        Node::List(list) => {
            let item = of(list.of.get())?;
            let most = (MAX_REQUEST_BYTES - 2) / (item.min_bytes + 1);
            let most = rules.max_items.map_or(most, |max| max.min(most));
            let kind = match &list.kind {
                schema::ListKind::Atomic => ListKind::Atomic,
                schema::ListKind::Set => ListKind::Set,
                schema::ListKind::Map(keys) => ListKind::Map(keys.iter().map(|key| key.to_string()).collect()),
            };
            known(Type::List(Arc::new(item.of), kind, Size(Some(most))), 2)
        }
        Node::Map(value) => {
            let value = of(value.get())?;
            let most = (MAX_REQUEST_BYTES - 2) / (value.min_bytes + 6);
            let most = rules.max_properties.map_or(most, |max| max.min(most));
            let key = Type::String(Size(Some(MAX_REQUEST_BYTES)));
            known(Type::Map(Arc::new(key), Arc::new(value.of), Size(Some(most))), 2)
        }
        Node::Struct(object) => {
            let mut fields = BTreeMap::new();
            let mut min_bytes = 2;
            for field in &object.fields {
                let Some(inner) = of(field.schema.get()) else { continue };
                let Some(name) = escape(&field.name) else { continue };
                if field.required {
                    min_bytes += inner.min_bytes + field.name.len() as u64 + 4;
                }
                fields.insert(name, Field { name: field.name.to_string(), of: inner.of });
            }
            known(Type::Object(Arc::new(ObjectType { name: "object".into(), fields })), min_bytes)
        }
        _ => None,
    }
}

fn text(rules: &Rules) -> Known {
    let known = |of: Type, min_bytes: u64| Known { of, min_bytes };
    match &*rules.format {
        "duration" => return known(Type::Duration, MIN_DURATION),
        "date" => return known(Type::Timestamp, 12),
        "date-time" => return known(Type::Timestamp, MIN_DATE_TIME),
        _ => {}
    }
    let longest = rules.choices.iter().filter_map(|choice| choice.as_str()).map(str::len).max();
    let most = match (longest, rules.max_length) {
        (Some(longest), _) => longest as u64,
        // Lengths are of characters, requests of bytes.
        (None, Some(max)) => max.saturating_mul(4),
        (None, None) => MAX_REQUEST_BYTES - 2,
    };
    let min_bytes = rules.min_length.unwrap_or_default() + 2;
    match &*rules.format {
        "byte" => known(Type::Bytes(Size(Some(most))), min_bytes),
        _ => known(Type::String(Size(Some(most))), min_bytes),
    }
}

/// Of metadata, expressions see the names only.
fn metadata() -> Known {
    let name = |name: &str| (name.to_owned(), Field { name: name.to_owned(), of: Type::String(Size(Some(253))) });
    let fields = [name("name"), name("generateName")].into();
    Known { of: Type::Object(Arc::new(ObjectType { name: "object".into(), fields })), min_bytes: 2 }
}
