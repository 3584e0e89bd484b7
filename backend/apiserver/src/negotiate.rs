//! What the client can read (`Accept`) and what it sends (`Content-Type`).

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use pilothouse_api::Status;
use pilothouse_schema::Schema;
use pilothouse_schema::decode::{self, Decoded, FieldValidation, Format};
use serde_json::Value;

use crate::{cbor, protobuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Json,
    Yaml,
    Protobuf,
    Cbor,
}

/// In what shape objects are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Object,
    Table { version: &'static str },
    PartialObjectMetadata,
    PartialObjectMetadataList,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub media: Media,
    pub shape: Shape,
    pub pretty: bool,
}

impl Wanted {
    pub const JSON: Self = Self { media: Media::Json, shape: Shape::Object, pretty: false };
}

/// One alternative of an `Accept` header.
struct Alternative<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn alternatives(header: &str) -> Vec<Alternative<'_>> {
    let mut all: Vec<Alternative<'_>> = header
        .split(',')
        .filter_map(|part| {
            let mut words = part.split(';').map(str::trim);
            let media = words.next().filter(|media| !media.is_empty())?;
            let parameters: Vec<_> = words.filter_map(|word| word.split_once('=')).collect();
            let quality =
                parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
            Some(Alternative { media, parameters, quality })
        })
        .collect();
    // Stable: equal qualities keep the client's order.
    all.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    all
}

impl Alternative<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    fn wanted(&self) -> Option<Wanted> {
        let media = match self.media {
            "application/json" | "*/*" | "application/*" => Media::Json,
            "application/yaml" => Media::Yaml,
            cbor::MEDIA | cbor::SEQUENCE => Media::Cbor,
            _ => return None,
        };
        let (kind, group, version) = (self.parameter("as"), self.parameter("g"), self.parameter("v"));
        let shape = match (kind, group, version) {
            ("", ..) => Shape::Object,
            ("Table", "meta.k8s.io", "v1") => Shape::Table { version: "v1" },
            ("Table", "meta.k8s.io", "v1beta1") => Shape::Table { version: "v1beta1" },
            ("PartialObjectMetadata", "meta.k8s.io", "v1") => Shape::PartialObjectMetadata,
            ("PartialObjectMetadataList", "meta.k8s.io", "v1") => Shape::PartialObjectMetadataList,
            _ => return None,
        };
        Some(Wanted { media, shape, pretty: self.parameter("pretty") == "1" })
    }
}

/// The best of what the client accepts and we offer, laid out for people where it asks for that or where people look
/// at it: in a terminal, in a browser's own view.
///
/// # Errors
/// 406 when there is none.
pub fn accept(parts: &Parts) -> Result<Wanted, Status> {
    laid_out(parts, |_| true)
}

/// As [`accept`], for answers that are not stored objects: without metadata they have no other shape than their own.
///
/// # Errors
/// 406 when there is none.
pub fn accept_object(parts: &Parts) -> Result<Wanted, Status> {
    laid_out(parts, |wanted| wanted.shape == Shape::Object)
}

fn laid_out(parts: &Parts, serves: impl Fn(&Wanted) -> bool) -> Result<Wanted, Status> {
    let wanted = best(&parts.headers, serves)?;
    if matches!(wanted.shape, Shape::Table { .. }) {
        check_rows(parts)?;
    }
    Ok(Wanted { pretty: wanted.pretty || is_pretty(parts), ..wanted })
}

/// What a table's rows may bring with them.
fn check_rows(parts: &Parts) -> Result<(), Status> {
    let query = parts.uri.query().unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "includeObject");
    let Some((_, include)) = asked else { return Ok(()) };
    if matches!(&*include, "" | "None" | "Metadata" | "Object") {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "Unable to convert to Table as requested: includeObject: Invalid value: {include:?}: must be 'Metadata', \
         'Object', 'None', or empty"
    )))
}

/// How a failure is told: as objects are wanted, as far as that can be.
pub fn for_failures(accept: Option<&http::HeaderValue>) -> Wanted {
    let text = accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    choose(&alternatives(text), |wanted| wanted.shape == Shape::Object).unwrap_or(Wanted::JSON)
}

/// Whether the answer is for people, by the query or else by who asks.
pub fn is_pretty(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "pretty");
    if let Some((_, asked)) = asked {
        return crate::request::is_true(&asked);
    }
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agent = header("user-agent");
    agent.starts_with("curl/") || agent.starts_with("Wget/") || header("sec-fetch-dest") == "document"
}

fn best(headers: &HeaderMap, serves: impl Fn(&Wanted) -> bool) -> Result<Wanted, Status> {
    let Some(header) = headers.get(ACCEPT) else { return Ok(Wanted::JSON) };
    let text = header.to_str().unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(Wanted::JSON);
    }
    choose(&alternatives(text), serves)
}

fn choose(all: &[Alternative<'_>], serves: impl Fn(&Wanted) -> bool) -> Result<Wanted, Status> {
    // Who reads JSON too gets JSON: it is what the store holds.
    let fallback = || {
        let protobuf = all.iter().any(|one| one.media == protobuf::MEDIA && one.parameter("as").is_empty());
        protobuf.then_some(Wanted { media: Media::Protobuf, shape: Shape::Object, pretty: false })
    };
    all.iter().filter_map(Alternative::wanted).find(serves).or_else(fallback).ok_or_else(|| {
        Status::not_acceptable(format!(
            "only the following media types are accepted: application/json, application/yaml, {}, {}",
            protobuf::MEDIA,
            cbor::MEDIA
        ))
    })
}

/// Custom resources have no protobuf form: who reads or sends nothing else is refused before anything is done.
///
/// # Errors
/// 406 and 415.
pub fn without_protobuf(headers: &HeaderMap) -> Result<(), Status> {
    if best(headers, |_| true).is_ok_and(|wanted| wanted.media == Media::Protobuf) {
        return Err(Status::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml, application/cbor",
        ));
    }
    if content_type(headers) == protobuf::MEDIA {
        return Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, \
             application/cbor",
        ));
    }
    Ok(())
}

/// Whether the client names this media type (with these parameters) at all.
pub fn accepts(headers: &HeaderMap, media: &str, parameters: &[(&str, &str)]) -> bool {
    let text = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A plain JSON alternative that the client prefers comes first in the sorted list.
    for alternative in alternatives(text) {
        if alternative.media == media && parameters.iter().all(|(name, value)| alternative.parameter(name) == *value) {
            return true;
        }
        if alternative.media == "application/json" && alternative.parameter("as").is_empty() {
            return media == "application/json" && parameters.is_empty();
        }
    }
    false
}

/// The media type of the body, without parameters.
pub fn content_type(headers: &HeaderMap) -> Cow<'_, str> {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text.split(';').next().unwrap_or_default().trim() {
        // Parameters of nothing.
        "" => text.into(),
        media if media.bytes().any(|byte| byte.is_ascii_uppercase()) => media.to_ascii_lowercase().into(),
        media => media.into(),
    }
}

/// What upstream reads kind and version of a body into.
const TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// The object in the body of a create, an update or an action, checked against its schema.
///
/// # Errors
/// 415 for a format we do not read, 400 in upstream's words for what does not fit.
pub fn decode(
    headers: &HeaderMap,
    body: &[u8],
    schema: &Schema,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let format = match &*content_type(headers) {
        "" | "application/json" => Format::Json,
        "application/yaml" => Format::Yaml,
        // Clients that speak it cannot send unknown fields.
        protobuf::MEDIA => return decode::check(schema, protobuf::value(body)?, FieldValidation::Ignore),
        cbor::MEDIA => return decode::check(schema, cbor::decode(body)?, validation),
        other => {
            return Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml, {}, {} (got {other:?})",
                protobuf::MEDIA,
                cbor::MEDIA
            )));
        }
    };
    decode::decode(schema, body, format, validation)
}

/// A body that need not be there, such as `DeleteOptions`: `Null` when it is not.
///
/// # Errors
/// 415 for a format we do not read, 400 for what cannot be read.
pub fn decode_options(headers: &HeaderMap, body: &[u8]) -> Result<Value, Status> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let format = match &*content_type(headers) {
        protobuf::MEDIA => return protobuf::value(body),
        cbor::MEDIA => return cbor::decode(body),
        "application/yaml" => Format::Yaml,
        "" | "application/json" => Format::Json,
        _ => {
            return Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml, {}, {}",
                protobuf::MEDIA,
                cbor::MEDIA
            )));
        }
    };
    let unknown = |why: &str| Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"));
    let sent = decode::parse(body, format, FieldValidation::Ignore).map_err(|status| {
        let why = status.message.strip_prefix("error decoding patch: ").map(str::to_owned);
        why.map_or(status, |why| unknown(&why))
    })?;
    let options = sent.object;
    // Not what was meant, whatever it was: nothing is deleted by guessing.
    if !matches!(options, Value::Object(_) | Value::Null) {
        let of = decode::json_type(&options);
        return Err(unknown(&format!("json: cannot unmarshal {of} into Go value of type {TYPE_META}")));
    }
    for field in ["apiVersion", "kind"] {
        if !matches!(options[field], Value::Null | Value::String(_)) {
            let of = decode::json_type(&options[field]);
            return Err(unknown(&format!("json: cannot unmarshal {of} into Go struct field .{field} of type string")));
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        headers
    }

    #[test]
    fn accept_headers_of_real_clients() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (text, shape) in [
            (table, Some(Shape::Table { version: "v1" })),
            ("application/json", Some(Shape::Object)),
            ("*/*", Some(Shape::Object)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(Shape::Object)),
            ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Some(Shape::PartialObjectMetadata)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(Shape::Object)),
            ("application/vnd.kubernetes.protobuf", Some(Shape::Object)),
            ("application/cbor", Some(Shape::Object)),
            ("application/cbor;as=Table;v=v1;g=meta.k8s.io", Some(Shape::Table { version: "v1" })),
            ("application/xml", None),
            ("application/json;as=Nonsense;g=meta.k8s.io;v=v1", None),
        ] {
            assert_eq!(best(&headers(text), |_| true).ok().map(|wanted| wanted.shape), shape, "{text}");
        }
        assert_eq!(best(&headers("application/yaml"), |_| true).unwrap().media, Media::Yaml);
        assert_eq!(best(&headers("application/cbor,application/json;q=0.5"), |_| true).unwrap().media, Media::Cbor);
        assert_eq!(best(&HeaderMap::new(), |_| true).unwrap(), Wanted::JSON);
    }

    #[test]
    fn laid_out_for_people() {
        for (uri, agent, pretty) in [
            ("/api/v1/pods", "kubectl/v1.33.1 (linux/amd64)", false),
            ("/api/v1/pods", "curl/7.88.1", true),
            ("/api/v1/pods?pretty=false", "curl/7.88.1", false),
            ("/api/v1/pods?limit=1&pretty=true", "", true),
            ("/api/v1/pods?pretty", "", true),
        ] {
            let request = http::Request::builder().uri(uri).header("user-agent", agent).body(()).unwrap();
            let wanted = accept(&request.into_parts().0).unwrap();
            assert_eq!(wanted.pretty, pretty, "{uri} {agent}");
        }
    }
}
