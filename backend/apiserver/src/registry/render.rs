//! Objects and lists in the shape and encoding the client asked for.

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use pilothouse_storage::{Entry, Obj};
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::cbor;
use crate::error;
use crate::negotiate::{Media, Shape, Wanted};
use crate::protobuf;
use crate::server::{Answer, Query, with_status};

/// Whether the stored bytes are what this kind serves: its own version, as their beginning says.
pub fn is_plain(kind: &Kind, entry: &Entry) -> bool {
    let rest = entry.bytes.strip_prefix(b"{\"apiVersion\":\"").unwrap_or_default();
    let rest = if kind.group.is_empty() {
        rest
    } else {
        let Some(rest) = rest.strip_prefix(kind.group.as_bytes()).and_then(|rest| rest.strip_prefix(b"/")) else {
            return false;
        };
        rest
    };
    rest.strip_prefix(kind.version.as_bytes()).is_some_and(|rest| rest.starts_with(b"\""))
}

/// The object in the version that is served.
pub fn value(kind: &Kind, entry: &Entry) -> Value {
    if is_plain(kind, entry) { entry.value() } else { kind.from_storage(entry.value()) }
}

pub fn bytes(kind: &Kind, entry: &Entry) -> Bytes {
    if is_plain(kind, entry) { entry.bytes.clone() } else { kind.from_storage(entry.value()).to_string().into() }
}

pub fn object(kind: &Kind, object: &Obj, wanted: Wanted, query: &Query) -> Answer {
    with(kind, object, wanted, query, StatusCode::OK)
}

pub fn with(kind: &Kind, object: &Obj, wanted: Wanted, query: &Query, status: StatusCode) -> Answer {
    if wanted == Wanted::JSON {
        return Ok(with_status(status, "application/json", body::full(bytes(kind, object))));
    }
    encoded(kind, value(kind, object), wanted, query, status)
}

/// An object that is not (or not in this form) in the store.
pub fn encoded(kind: &Kind, value: Value, wanted: Wanted, query: &Query, status: StatusCode) -> Answer {
    let value = match wanted.shape {
        Shape::Object => value,
        Shape::Table { version } => {
            let revision = value["metadata"]["resourceVersion"].clone();
            table(kind, version, &[value], query, json!({"resourceVersion": revision}), true)
        }
        Shape::PartialObjectMetadata => partial(value),
        Shape::PartialObjectMetadataList => {
            let of = go_type(kind, &kind.kind);
            return Err(Status::not_acceptable(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({of})"
            )));
        }
    };
    Ok(document(&value, wanted, status))
}

/// How upstream calls the type of what is asked for.
pub fn go_type(kind: &Kind, name: &str) -> String {
    if kind.is_custom() {
        let list = if name == kind.kind { "" } else { "List" };
        return format!("*unstructured.Unstructured{list}");
    }
    let package = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    format!("*{package}.{name}")
}

pub fn document(value: &Value, wanted: Wanted, status: StatusCode) -> Response<Body> {
    match wanted.media {
        Media::Protobuf => match protobuf::object(value) {
            Some(bytes) => with_status(status, protobuf::MEDIA, body::full(bytes)),
            None => error::response(&Status::not_acceptable("this kind has no protobuf form")),
        },
        Media::Cbor => with_status(status, cbor::MEDIA, body::full(cbor::encode(value))),
        Media::Yaml => {
            let text = serde_norway::to_string(value).unwrap_or_default();
            with_status(status, "application/yaml", body::full(text))
        }
        Media::Json => {
            let pretty = wanted.pretty.then(|| serde_json::to_vec_pretty(value).ok()).flatten();
            with_status(
                status,
                "application/json",
                body::full(pretty.unwrap_or_else(|| value.to_string().into_bytes())),
            )
        }
    }
}

pub fn partial(mut value: Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"].take()})
}

/// [`partial`] as JSON, cut out of the stored bytes; none when the kind serves another version than is stored.
pub fn partial_bytes(kind: &Kind, entry: &Entry) -> Option<Vec<u8>> {
    /// What comes before the metadata.
    const HEAD: &[u8] = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;
    let metadata = is_plain(kind, entry).then(|| entry.metadata()).flatten()?;
    Some([HEAD, metadata, b"}"].concat())
}

/// What of the object goes into a table's row besides the cells (`includeObject`).
fn row_object(value: &Value, version: &str, include: &str) -> Value {
    match include {
        "None" => Value::Null,
        "Object" => value.clone(),
        _ => {
            let mut metadata = value["metadata"].clone();
            if let Some(map) = metadata.as_object_mut() {
                map.remove("managedFields");
            }
            let version = format!("meta.k8s.io/{version}");
            json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": metadata})
        }
    }
}

pub fn row(kind: &Kind, version: &str, value: &Value, query: &Query, now: Timestamp) -> Value {
    json!({"cells": kind.row(value, now), "object": row_object(value, version, query.text("includeObject"))})
}

pub fn column_definitions(kind: &Kind) -> Value {
    let columns = kind.columns().iter().map(|column| {
        json!({"name": column.name, "type": column.type_, "format": column.format,
               "description": column.description, "priority": column.priority})
    });
    Value::Array(columns.collect())
}

pub fn table(kind: &Kind, version: &str, values: &[Value], query: &Query, metadata: Value, headed: bool) -> Value {
    let now = Timestamp::now();
    let rows: Vec<Value> = values.iter().map(|value| row(kind, version, value, query, now)).collect();
    let columns = if headed { column_definitions(kind) } else { json!([]) };
    json!({"kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
           "columnDefinitions": columns, "rows": rows})
}
