//! OpenAPI v2 and v3, made by `pilothouse_schema` from the kinds that are served, and kept until those change.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use pilothouse_kinds::Kind;
use pilothouse_schema::openapi::{ApiResource, ApiSubresource, Definition, Document, OpenApi};
use sha2::{Digest, Sha256};

use crate::body;
use crate::negotiate::accepts;
use crate::registry::Kinds;
use crate::server::{Answer, Call, Server, with_status};

/// What clients ask for; old ones with a sign that is not allowed in a media type, so it is not answered.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTOBUF_OF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The documents of the kinds that are served, made when they are asked for.
#[derive(Default)]
pub struct Documents {
    own: Mutex<Option<(u64, Arc<OpenApi>)>>,
    /// v2 with what extension servers publish, as JSON and protobuf; by our kinds' stamp and theirs.
    joined: Mutex<Option<((u64, u64), (Document, Document))>>,
}

impl Documents {
    fn of(&self, kinds: &Kinds) -> Arc<OpenApi> {
        let mut kept = self.own.lock();
        let stamp = kinds.stamp();
        match &*kept {
            Some((of, documents)) if *of == stamp => Arc::clone(documents),
            _ => {
                let documents = Arc::new(OpenApi::new(kinds.all().iter().map(|kind| described(kinds, kind)).collect()));
                *kept = Some((stamp, Arc::clone(&documents)));
                documents
            }
        }
    }
}

fn definition(kinds: &Kinds, kind: &Kind) -> Definition {
    let Some(schema) = kind.written_schema() else { return Definition::Builtin };
    let digest = kinds.definition(&kind.storage).map(|served| served.digest).unwrap_or_default();
    let seal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Definition::Custom { schema: Arc::clone(schema), seal: seal.into() }
}

fn described(kinds: &Kinds, kind: &Kind) -> ApiResource {
    ApiResource {
        group: kind.group.clone(),
        version: kind.version.clone(),
        kind: kind.kind.clone(),
        list_kind: if kind.is_custom() { kind.list_kind.clone() } else { "".into() },
        name: kind.plural.clone(),
        namespaced: kind.namespaced,
        verbs: kind.verbs.clone(),
        definition: definition(kinds, kind),
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

/// The index with the documents of extension servers, which they serve themselves.
fn with_remote(server: &Server, index: Document) -> Document {
    let listed = server.aggregator.listed(&server.store);
    let remote: Vec<_> = listed.into_iter().filter_map(|l| Some((l.remote, l.offer.openapi?))).collect();
    if remote.is_empty() {
        return index;
    }
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(&index.bytes) else { return index };
    for (remote, entry) in remote {
        value["paths"][format!("apis/{}/{}", remote.group, remote.version)] = entry;
    }
    let bytes: bytes::Bytes = value.to_string().into();
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02X}")).collect();
    Document { bytes, hash: hash.into() }
}

/// The v2 document, extension servers' included: JSON and protobuf.
fn v2(server: &Server, documents: &OpenApi, protobuf: bool) -> Document {
    let listed = server.aggregator.listed(&server.store).into_iter();
    let foreign: Vec<(String, Arc<serde_json::Value>)> = listed
        .filter(|one| one.remote.available)
        .filter_map(|one| {
            let prefix = format!("/apis/{}/{}", one.remote.group, one.remote.version);
            Some((prefix, one.offer.swagger?))
        })
        .collect();
    if foreign.is_empty() {
        return if protobuf { documents.v2_protobuf() } else { documents.v2_json() };
    }
    let stamp = (server.kinds.stamp(), server.aggregator.stamp(&server.store));
    let mut kept = server.openapi.joined.lock();
    let (json, message) = match &*kept {
        Some((of, both)) if *of == stamp => both.clone(),
        _ => {
            let both = documents.v2_with(&foreign);
            *kept = Some((stamp, both.clone()));
            both
        }
    };
    if protobuf { message } else { json }
}

pub fn answer(server: &Server, call: &Call) -> Option<Answer> {
    let path = call.info.path.strip_prefix("/openapi/")?.trim_end_matches('/');
    let documents = server.openapi.of(&server.kinds);
    match path {
        "v2" if [PROTOBUF, PROTOBUF_OF_OLD].iter().any(|media| accepts(&call.parts.headers, media, &[])) => {
            Some(respond(call, v2(server, &documents, true), PROTOBUF, false))
        }
        "v2" => Some(respond(call, v2(server, &documents, false), "application/json", false)),
        "v3" => Some(respond(call, with_remote(server, documents.v3_index()), "application/json", false)),
        path => {
            let document = documents.v3_document(path.strip_prefix("v3/")?)?;
            // A document asked for by its hash never changes under that name.
            let immutable = call.query.get("hash").is_some_and(|hash| hash == &*document.hash);
            Some(respond(call, document, "application/json", immutable))
        }
    }
}
