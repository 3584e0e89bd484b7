//! From a JSON value to a document.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::facts::{Shape, Type, table};
use super::wire::{put_bytes, put_double, put_number};
use super::{MAGIC, message_name};

const SCHEMA: &str = "apiextensions.v1.JSONSchemaProps";

/// The object as a document; none where its kind has no protobuf form.
pub fn object(object: &Value) -> Option<Vec<u8>> {
    let (api_version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    let index = table().find(&message_name(api_version, kind))?;
    let (mut meta, mut raw) = (Vec::new(), Vec::new());
    put_bytes(&mut meta, 1, api_version.as_bytes());
    put_bytes(&mut meta, 2, kind.as_bytes());
    message(&mut raw, index, object);
    let mut out = Vec::with_capacity(raw.len() + meta.len() + 24);
    out.extend_from_slice(MAGIC);
    put_bytes(&mut out, 1, &meta);
    put_bytes(&mut out, 2, &raw);
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    Some(out)
}

/// One event of a watch: its length in four bytes, then the event, whose object is a document.
pub fn watch_frame(event: &str, changed: &Value) -> Option<Vec<u8>> {
    let (mut extension, mut out) = (Vec::new(), vec![0; 4]);
    put_bytes(&mut extension, 1, &object(changed)?);
    put_bytes(&mut out, 1, event.as_bytes());
    put_bytes(&mut out, 2, &extension);
    let length = u32::try_from(out.len() - 4).ok()?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Some(out)
}

fn message(out: &mut Vec<u8>, index: usize, object: &Value) {
    for field in &table().message(index).fields {
        if field.json.is_empty() {
            if let Type::Message(inner) = field.of {
                let mut bytes = Vec::new();
                message(&mut bytes, inner, object);
                put_bytes(out, field.number, &bytes);
            }
            continue;
        }
        let Some(value) = object.get(field.json).filter(|value| !value.is_null()) else { continue };
        match (field.shape, value) {
            (Shape::List, Value::Array(list)) => list.iter().for_each(|item| put(out, field.number, field.of, item)),
            (Shape::Map, Value::Object(map)) => {
                for (key, value) in map {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key.as_bytes());
                    put(&mut entry, 2, field.of, value);
                    put_bytes(out, field.number, &entry);
                }
            }
            (Shape::One, value) => put(out, field.number, field.of, value),
            _ => {}
        }
    }
}

fn put(out: &mut Vec<u8>, number: u32, of: Type, value: &Value) {
    let text = || value.as_str().unwrap_or_default();
    let mut inner = Vec::new();
    match of {
        Type::String => return put_bytes(out, number, text().as_bytes()),
        Type::Bytes => return put_bytes(out, number, &STANDARD.decode(text()).unwrap_or_default()),
        Type::Bool => return put_number(out, number, u64::from(value.as_bool().unwrap_or_default())),
        // Two's complement, as int32 and int64 are on the wire.
        Type::Integer => return put_number(out, number, value.as_i64().unwrap_or_default() as u64),
        Type::Double => return put_double(out, number, value.as_f64().unwrap_or_default()),
        Type::Message(index) => message(&mut inner, index, value),
        Type::Time | Type::MicroTime => {
            if let Ok(time) = text().parse::<Timestamp>() {
                put_number(&mut inner, 1, time.as_second() as u64);
                put_number(&mut inner, 2, u64::from(time.subsec_nanosecond().unsigned_abs()));
            }
        }
        Type::Quantity => {
            let number = value.as_number().map(ToString::to_string);
            put_bytes(&mut inner, 1, number.as_deref().unwrap_or_else(text).as_bytes());
        }
        Type::IntOrString => match value.as_i64() {
            Some(number) => {
                put_number(&mut inner, 1, 0);
                put_number(&mut inner, 2, number as u64);
            }
            None => {
                put_number(&mut inner, 1, 1);
                put_bytes(&mut inner, 3, text().as_bytes());
            }
        },
        Type::Raw => put_bytes(&mut inner, 1, value.to_string().as_bytes()),
        Type::Strings => strings(&mut inner, 1, value),
        Type::SchemaOrArray => match value.as_array() {
            Some(all) => all.iter().for_each(|one| schema(&mut inner, 2, one)),
            None => schema(&mut inner, 1, value),
        },
        Type::SchemaOrBool => match value.as_bool() {
            Some(allows) => put_number(&mut inner, 1, u64::from(allows)),
            None => {
                put_number(&mut inner, 1, 1);
                schema(&mut inner, 2, value);
            }
        },
        Type::SchemaOrStrings if value.is_array() => strings(&mut inner, 2, value),
        Type::SchemaOrStrings => schema(&mut inner, 1, value),
    }
    put_bytes(out, number, &inner);
}

fn strings(out: &mut Vec<u8>, number: u32, value: &Value) {
    for text in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
        put_bytes(out, number, text.as_bytes());
    }
}

fn schema(out: &mut Vec<u8>, number: u32, value: &Value) {
    let mut inner = Vec::new();
    if let Some(index) = table().find(SCHEMA) {
        message(&mut inner, index, value);
    }
    put_bytes(out, number, &inner);
}
