//! The type by which expressions see the objects of a kind, for policies that want to know whether they make sense.

use std::collections::BTreeMap;
use std::sync::Arc;

use pilothouse_cel::{Field, ObjectType, Type, escape};

use crate::schema::{Node, Ref, Schema};

/// Types refer to themselves (a schema of schemas): what lies deeper may be anything.
const MAX_DEPTH: usize = 16;

/// The type of a schema's values, built-in or custom. What has no fixed type is dynamic.
pub fn expression_type(schema: &Schema) -> Type {
    of(schema, 0)
}

fn of(schema: &Schema, depth: usize) -> Type {
    let inner = |of_: &Ref| of(of_.get(), depth + 1);
    if depth > MAX_DEPTH {
        return Type::Dyn;
    }
    match &schema.node {
        Node::String => Type::STRING,
        Node::Boolean => Type::Bool,
        Node::Int32 | Node::Int64 => Type::Int,
        Node::Number => Type::Double,
        Node::Bytes => Type::BYTES,
        Node::Time | Node::MicroTime => Type::Timestamp,
        Node::List(list) => Type::list(inner(&list.of)),
        Node::Map(value) => Type::map(Type::STRING, inner(value)),
        Node::Struct(object) if object.preserve_unknown => Type::Dyn,
        Node::Struct(object) => {
            let field = |field: &crate::Field| {
                Some((escape(&field.name)?, Field { name: field.name.to_string(), of: inner(&field.schema) }))
            };
            let fields: BTreeMap<String, Field> = object.fields.iter().filter_map(field).collect();
            let name = schema.name.as_deref().unwrap_or("object").to_owned();
            Type::Object(Arc::new(ObjectType { name, fields }))
        }
        Node::Any { .. } | Node::IntOrString | Node::Quantity | Node::OneOf(_) => Type::Dyn,
    }
}
