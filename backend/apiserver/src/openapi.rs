//! OpenAPI v2 and v3, made by `pilothouse_schema` from the kinds that are served, and kept until those change.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderValue, StatusCode};
use pilothouse_kinds::Kind;
use pilothouse_schema::openapi::{ApiResource, ApiSubresource, Definition, Document, OpenApi};

use crate::body;
use crate::negotiate::accepts;
use crate::server::{Answer, Call, Server, with_status};

/// What clients ask for; old ones with a sign that is not allowed in a media type, so it is not answered.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTOBUF_OF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

pub struct Documents(ArcSwap<OpenApi>);

impl Documents {
    pub fn new(kinds: &[Arc<Kind>]) -> Self {
        Self(ArcSwap::from_pointee(OpenApi::new(kinds.iter().map(|kind| described(kind)).collect())))
    }
    pub fn replace(&self, kinds: &[Arc<Kind>]) {
        self.0.store(Arc::new(OpenApi::new(kinds.iter().map(|kind| described(kind)).collect())));
    }
}

fn described(kind: &Kind) -> ApiResource {
    ApiResource {
        group: kind.group.clone(),
        version: kind.version.clone(),
        kind: kind.kind.clone(),
        name: kind.plural.clone(),
        namespaced: kind.namespaced,
        verbs: kind.verbs.clone(),
        definition: Definition::Builtin,
        subresources: kind
            .subresources
            .iter()
            .map(|sub| ApiSubresource {
                name: sub.name.clone(),
                group: sub.group.clone(),
                version: sub.version.clone(),
                kind: sub.kind.clone(),
                verbs: sub.verbs.clone(),
            })
            .collect(),
    }
}

fn respond(call: &Call, document: Document, media: &'static str, immutable: bool) -> Answer {
    let etag = format!("\"{}\"", document.hash);
    let known = call.parts.headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = if known {
        with_status(StatusCode::NOT_MODIFIED, media, body::empty())
    } else {
        with_status(StatusCode::OK, media, body::full(document.bytes))
    };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    if immutable {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
}

pub fn answer(server: &Server, call: &Call) -> Option<Answer> {
    let path = call.info.path.strip_prefix("/openapi/")?.trim_end_matches('/');
    let documents = server.openapi.0.load_full();
    match path {
        "v2" if [PROTOBUF, PROTOBUF_OF_OLD].iter().any(|media| accepts(&call.parts.headers, media, &[])) => {
            Some(respond(call, documents.v2_protobuf(), PROTOBUF, false))
        }
        "v2" => Some(respond(call, documents.v2_json(), "application/json", false)),
        "v3" => Some(respond(call, documents.v3_index(), "application/json", false)),
        path => {
            let document = documents.v3_document(path.strip_prefix("v3/")?)?;
            // A document asked for by its hash never changes under that name.
            let immutable = call.query.get("hash").is_some_and(|hash| hash == &*document.hash);
            Some(respond(call, document, "application/json", immutable))
        }
    }
}
