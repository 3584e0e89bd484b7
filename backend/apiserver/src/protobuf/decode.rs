//! From a document to a JSON value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use pilothouse_api::limits::MAX_JSON_DEPTH;
use serde_json::{Map, Value, json};

use super::facts::{Field, Shape, Type, table};
use super::wire::{Fields, Raw, Wrong, packed};
use super::{MAGIC, message_name};

const SCHEMA: &str = "apiextensions.v1.JSONSchemaProps";

/// The object in the envelope: magic, then `{1: {1: apiVersion, 2: kind}, 2: bytes, …}`.
pub fn document(document: &[u8], depth: usize) -> Result<Value, Wrong> {
    let envelope = document.strip_prefix(MAGIC).ok_or("it does not begin with k8s")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(envelope) {
        match field? {
            (1, Raw::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field? {
                        (1, Raw::Bytes(text)) => api_version = string(text)?,
                        (2, Raw::Bytes(text)) => kind = string(text)?,
                        _ => {}
                    }
                }
            }
            (2, Raw::Bytes(bytes)) => raw = bytes,
            (3, Raw::Bytes(encoding)) if !encoding.is_empty() => return Err("it has a content encoding"),
            _ => {}
        }
    }
    let index = table().find(&message_name(&api_version, &kind)).ok_or("its kind has no protobuf form")?;
    let mut object = message(index, raw, depth)?;
    object.insert("apiVersion".into(), json!(api_version));
    object.insert("kind".into(), json!(kind));
    Ok(Value::Object(object))
}

fn string(bytes: &[u8]) -> Result<String, Wrong> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a text is not UTF-8")
}

fn message(index: usize, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Wrong> {
    if depth > MAX_JSON_DEPTH {
        return Err("it is nested too deeply");
    }
    let shape = table().message(index);
    let mut out = Map::new();
    for item in Fields(bytes) {
        let (number, raw) = item?;
        let Some(field) = shape.field(number) else { continue };
        match field.shape {
            Shape::One if field.json.is_empty() => {
                let (Type::Message(inner), Raw::Bytes(bytes)) = (field.of, raw) else { continue };
                out.append(&mut message(inner, bytes, depth + 1)?);
            }
            Shape::One => {
                let value = value(field.of, raw, depth)?;
                if is_kept(field, &value) {
                    out.insert(field.json.to_owned(), value);
                }
            }
            Shape::List => {
                let list = out.entry(field.json).or_insert_with(|| json!([]));
                let Value::Array(list) = list else { continue };
                match (field.of, raw) {
                    (Type::Integer, Raw::Bytes(bytes)) => {
                        list.extend(packed(bytes)?.into_iter().map(|number| json!(number as i64)));
                    }
                    (of, raw) => list.push(value(of, raw, depth)?),
                }
            }
            Shape::Map => {
                let Raw::Bytes(bytes) = raw else { return Err("a map is no message") };
                let (key, value) = entry(field.of, bytes, depth)?;
                if let Value::Object(map) = out.entry(field.json).or_insert_with(|| json!({})) {
                    map.insert(key, value);
                }
            }
        }
    }
    Ok(out)
}

/// Whether Go's JSON would have it. Structs that are not pointers are there anyway; empty ones say nothing.
fn is_kept(field: &Field, value: &Value) -> bool {
    let zero = match value {
        Value::Null => return false,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Object(map) => return field.pointer || !map.is_empty(),
        Value::Array(_) => false,
    };
    field.pointer || field.always || !zero
}

fn entry(of: Type, bytes: &[u8], depth: usize) -> Result<(String, Value), Wrong> {
    let (mut key, mut held) = (String::new(), None);
    for field in Fields(bytes) {
        match field? {
            (1, Raw::Bytes(text)) => key = string(text)?,
            (2, raw) => held = Some(value(of, raw, depth)?),
            _ => {}
        }
    }
    let empty = || match of {
        Type::String | Type::Bytes | Type::Quantity => json!(""),
        Type::Strings => json!([]),
        _ => json!({}),
    };
    Ok((key, held.unwrap_or_else(empty)))
}

fn value(of: Type, raw: Raw<'_>, depth: usize) -> Result<Value, Wrong> {
    Ok(match (of, raw) {
        (Type::String, Raw::Bytes(bytes)) => json!(string(bytes)?),
        (Type::Bytes, Raw::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        (Type::Bool, Raw::Varint(number)) => json!(number != 0),
        (Type::Integer, Raw::Varint(number)) => json!(number as i64),
        (Type::Double, Raw::Fixed64(bits)) => json!(f64::from_bits(bits)),
        (Type::Message(index), Raw::Bytes(bytes)) => Value::Object(message(index, bytes, depth + 1)?),
        (Type::Time, Raw::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%SZ")?,
        (Type::MicroTime, Raw::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%S%.6fZ")?,
        (Type::Quantity, Raw::Bytes(bytes)) => match first(bytes, 1)? {
            Some(Raw::Bytes(text)) => json!(string(text)?),
            _ => json!("0"),
        },
        (Type::IntOrString, Raw::Bytes(bytes)) => int_or_string(bytes)?,
        (Type::Raw, Raw::Bytes(bytes)) => match first(bytes, 1)? {
            Some(Raw::Bytes(inner)) if inner.starts_with(MAGIC) => document(inner, depth + 1)?,
            Some(Raw::Bytes(inner)) if !inner.is_empty() => {
                serde_json::from_slice(inner).map_err(|_| "an embedded document is not JSON")?
            }
            _ => Value::Null,
        },
        (Type::Strings, Raw::Bytes(bytes)) => strings(bytes, 1)?,
        (Type::SchemaOrArray, Raw::Bytes(bytes)) => match first(bytes, 1)? {
            Some(Raw::Bytes(inner)) => schema(inner, depth)?,
            _ => Value::Array(all(bytes, 2)?.into_iter().map(|inner| schema(inner, depth)).collect::<Result<_, _>>()?),
        },
        (Type::SchemaOrBool, Raw::Bytes(bytes)) => match first(bytes, 2)? {
            Some(Raw::Bytes(inner)) => schema(inner, depth)?,
            _ => json!(matches!(first(bytes, 1)?, Some(Raw::Varint(1)))),
        },
        (Type::SchemaOrStrings, Raw::Bytes(bytes)) => match first(bytes, 1)? {
            Some(Raw::Bytes(inner)) => schema(inner, depth)?,
            _ => strings(bytes, 2)?,
        },
        _ => return Err("a field is of another type than its number says"),
    })
}

fn schema(bytes: &[u8], depth: usize) -> Result<Value, Wrong> {
    let index = table().find(SCHEMA).ok_or("schemas are not known")?;
    Ok(Value::Object(message(index, bytes, depth + 1)?))
}

/// The last value of a field, as protobuf wants.
fn first(bytes: &[u8], wanted: u32) -> Result<Option<Raw<'_>>, Wrong> {
    let mut found = None;
    for field in Fields(bytes) {
        let (number, raw) = field?;
        if number == wanted {
            found = Some(raw);
        }
    }
    Ok(found)
}

fn all(bytes: &[u8], wanted: u32) -> Result<Vec<&[u8]>, Wrong> {
    let mut found = Vec::new();
    for field in Fields(bytes) {
        if let (number, Raw::Bytes(inner)) = field?
            && number == wanted
        {
            found.push(inner);
        }
    }
    Ok(found)
}

fn strings(bytes: &[u8], field: u32) -> Result<Value, Wrong> {
    all(bytes, field)?
        .into_iter()
        .map(|text| string(text).map(Value::String))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

/// `{1: seconds, 2: nanoseconds}`; an empty message is no time.
fn time(bytes: &[u8], format: &str) -> Result<Value, Wrong> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let number = |field| match first(bytes, field)? {
        Some(Raw::Varint(number)) => Ok::<_, Wrong>(number as i64),
        _ => Ok(0),
    };
    let nanoseconds = i32::try_from(number(2)?).map_err(|_| "a time is out of range")?;
    let time = Timestamp::new(number(1)?, nanoseconds).map_err(|_| "a time is out of range")?;
    Ok(json!(time.strftime(format).to_string()))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Wrong> {
    match first(bytes, 1)? {
        Some(Raw::Varint(1)) => Ok(match first(bytes, 3)? {
            Some(Raw::Bytes(text)) => json!(string(text)?),
            _ => json!(""),
        }),
        _ => Ok(match first(bytes, 2)? {
            Some(Raw::Varint(number)) => json!(number as i64),
            _ => json!(0),
        }),
    }
}
