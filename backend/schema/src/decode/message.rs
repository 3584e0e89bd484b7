//! Upstream's words, as clients and tests look for them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Format;
use super::path::Path;
use crate::schema::{Gvk, Node, Schema};

/// What the Go type of what is at `path` is called, `[]v1.Container`; fields know the names of scalars' types.
pub fn go_type_at(schema: &Schema, path: &Path) -> String {
    match path.shape() {
        (shape, true) if !shape.is.is_empty() => shape.is.into(),
        (shape, _) => go_type(schema, shape.of),
    }
}

fn go_type(schema: &Schema, scalar: &str) -> String {
    match &schema.node {
        Node::Boolean | Node::Int32 | Node::Int64 | Node::String if !scalar.is_empty() => scalar.into(),
        Node::Boolean => "bool".into(),
        Node::Int32 | Node::IntOrString => "int32".into(),
        Node::Int64 => "int64".into(),
        Node::Number => "float64".into(),
        Node::Bytes => "[]uint8".into(),
        Node::Map(of) => format!("map[string]{}", go_type(of.get(), scalar)),
        Node::List(list) => format!("[]{}", go_type(list.of.get(), scalar)),
        Node::Any { .. } => "interface {}".into(),
        Node::Struct(_) | Node::OneOf(_) => go_name(schema),
        Node::String | Node::Quantity | Node::Time | Node::MicroTime => "string".into(),
    }
}

/// `io.k8s.api.core.v1.PodSpec` → `v1.PodSpec`.
fn go_name(schema: &Schema) -> String {
    let name = schema.name.as_deref().unwrap_or("struct");
    let mut parts: Vec<&str> = name.rsplitn(3, '.').take(2).collect();
    parts.reverse();
    parts.join(".")
}

/// Kind and version as the schema has them.
fn expected(schema: &Schema) -> (String, String) {
    match &schema.gvk {
        Some(gvk) => (gvk.kind.to_string(), gvk.version.to_string()),
        None => {
            let name = go_name(schema);
            let (version, kind) = name.split_once('.').unwrap_or(("v1", &name));
            (kind.to_owned(), version.to_owned())
        }
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// `apps/v1` → (`apps`, `v1`).
fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// `Pod in version "v1" cannot be handled as a Pod: …`; kind and version are those of the body.
pub fn cannot_handle(schema: &Schema, body: &Value, why: &str) -> String {
    let (kind, version) = expected(schema);
    let named = text(body, "kind");
    let named = if named.is_empty() { &kind } else { named };
    let (_, stated) = split(text(body, "apiVersion"));
    let stated = if stated.is_empty() { &version } else { stated };
    format!("{named} in version {stated:?} cannot be handled as a {kind}: {why}")
}

/// The message for a body that could not be read at all.
pub fn unrecognized(schema: &Schema, body: &[u8], format: Format, why: &str) -> String {
    let (kind, _) = expected(schema);
    let why = match format {
        Format::Json => format!("couldn't get version/kind; json parse error: {why}"),
        Format::Yaml => format!("error converting YAML to JSON: yaml: {why}"),
    };
    format!("the object provided is unrecognized (must be of type {kind}): {why} ({})", summary(body))
}

/// The beginning of a body: as text if it looks like JSON, else as hexadecimal digits.
fn summary(body: &[u8]) -> String {
    const MAX: usize = 30;
    let more = if body.len() > MAX { " ..." } else { "" };
    let start = body.get(..MAX).unwrap_or(body);
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => {
            let digits: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{digits}{more}")
        }
    }
}

/// `apiVersion` and `kind` of a body that was not decoded.
pub fn head(body: &[u8], format: Format) -> Value {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Head {
        api_version: String,
        kind: String,
    }
    let head: Head = match format {
        Format::Json => serde_json::from_slice(body).unwrap_or_default(),
        Format::Yaml => serde_norway::from_slice(body).unwrap_or_default(),
    };
    json!({"apiVersion": head.api_version, "kind": head.kind})
}

fn not_registered(kind: &str, api_version: &str) -> String {
    // The place in upstream's code is part of what clients see.
    format!(
        "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    )
}

/// Why a body is of another kind than the request's.
pub enum Misfit {
    /// It cannot become one of that kind.
    Unconvertible(String),
    /// It could, but this is not the place.
    OtherVersion(String),
}

impl Misfit {
    pub fn text(&self) -> &str {
        match self {
            Self::Unconvertible(text) | Self::OtherVersion(text) => text,
        }
    }
}

/// None if the body is of the request's kind or does not say.
pub fn misfit(schema: &Schema, body: &Value) -> Option<Misfit> {
    let gvk = schema.gvk.as_ref()?;
    let (kind, api_version) = (text(body, "kind"), text(body, "apiVersion"));
    let (group, version) = split(api_version);
    if !kind.is_empty() && kind != &*gvk.kind {
        let known = crate::builtin().gvk(group, version, kind).is_some();
        return Some(Misfit::Unconvertible(if known {
            let package = gvk.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
            format!("converting ({version}.{kind}) to ({package}.{}): unknown conversion", gvk.kind)
        } else {
            not_registered(kind, api_version)
        }));
    }
    if api_version.is_empty() || (group, version) == (&*gvk.group, &*gvk.version) {
        return None;
    }
    let kind = if kind.is_empty() { &gvk.kind } else { kind };
    if crate::builtin().gvk(group, version, kind).is_none() {
        return Some(Misfit::Unconvertible(not_registered(kind, api_version)));
    }
    let expected = gvk.api_version();
    let why =
        format!("the API version in the data ({api_version}) does not match the expected API version ({expected})");
    Some(Misfit::OtherVersion(why))
}

/// The message for a body of another kind than the request's; none if it is of that kind or does not say.
pub fn mismatch(schema: &Schema, body: &Value) -> Option<String> {
    Some(match misfit(schema, body)? {
        Misfit::Unconvertible(why) => cannot_handle(schema, body, &why),
        Misfit::OtherVersion(why) => why,
    })
}

/// Fills in `apiVersion` and `kind` where they are missing; an error is the message for a body of another kind.
pub fn complete(schema: &Schema, object: &mut Value) -> Result<(), String> {
    let Some(gvk) = &schema.gvk else { return Ok(()) };
    if let Some(message) = mismatch(schema, object) {
        return Err(message);
    }
    match object.as_object_mut() {
        Some(fields) => {
            let Gvk { kind, .. } = gvk;
            if fields.get("kind").and_then(Value::as_str).is_none_or(str::is_empty) {
                fields.insert("kind".into(), Value::from(&**kind));
            }
            if fields.get("apiVersion").and_then(Value::as_str).is_none_or(str::is_empty) {
                fields.insert("apiVersion".into(), Value::from(gvk.api_version()));
            }
            Ok(())
        }
        None => Err(cannot_handle(schema, object, "the body is not an object")),
    }
}

/// What kind a body says it is of: `apps/v1, Kind=Deployment`.
pub fn stated_type(body: &Value) -> String {
    let (group, version) = split(text(body, "apiVersion"));
    format!("{group}/{version}, Kind={}", text(body, "kind"))
}

/// How server-side apply names what it was given: `default/web; apps/v1, Kind=Deployment`.
pub fn subject(config: &Value) -> String {
    let (namespace, name) = (text(&config["metadata"], "namespace"), text(&config["metadata"], "name"));
    format!("{namespace}/{name}; {}", stated_type(config))
}

/// A type in the words of Go's JSON decoder.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) | Value::Null => "number",
    }
}
