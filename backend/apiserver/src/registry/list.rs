//! Lists: a picture of the cache, streamed. Source:
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
//!
//! Invariants: a page is exact to one revision, and every further page of the same list is of that revision; a list
//! copies no object, whatever its length.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use jiff::Timestamp;
use pilothouse_api::Status;
use pilothouse_api::field::{Error as FieldError, Path};
use pilothouse_api::selector::{FieldSelector, LabelSelector};
use pilothouse_kinds::Kind;
use pilothouse_storage::{Entry, Error as StoreError, Obj, View};
use serde_json::{Value, json};

use super::{options, read, render};
use crate::body::{self, BoxError};
use crate::custom;
use crate::error::{EXPIRED, from_store};
use crate::negotiate::{self, Shape, Wanted};
use crate::server::{Answer, Call, Query, Server, ok};

/// A chunk of a streamed list: large enough for TLS, small enough to keep memory flat.
const CHUNK_BYTES: usize = 64 * 1024;
/// Pages of one moment are to be had for as long as upstream keeps them, whatever the log would still allow: who lets
/// more time pass between two pages is to know that the moment is over.
const TOKEN_SECONDS: i64 = 5 * 60;
/// Custom resources that are brought into their served form at once, while a limit may still be reached.
const SERVED_AT_ONCE: usize = 256;
/// How a list ends.
const TAIL: &[u8] = b"]}\n";

/// Which objects of a kind are asked for.
#[derive(Clone, Debug)]
pub struct Selection {
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Selection {
    pub fn new(call: &Call, kind: &Kind) -> Result<Self, Status> {
        let labels = LabelSelector::parse(call.query.text("labelSelector")).map_err(Status::bad_request)?;
        let mut fields = FieldSelector::parse(call.query.text("fieldSelector")).map_err(Status::bad_request)?;
        for requirement in fields.requirements() {
            let field = requirement.field.as_str();
            let known = field == "metadata.name"
                || (field == "metadata.namespace" && kind.namespaced)
                || kind.selectable_names().iter().any(|name| name == field);
            if !known {
                return Err(Status::bad_request(if kind.selectable_names().is_empty() {
                    format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
                } else {
                    format!("field label not supported: {field}")
                }));
            }
        }
        fields.rename(|field| kind.stored_field(field).to_owned());
        let name =
            fields.requirements().iter().find(|r| r.equal && r.field == "metadata.name").map(|r| r.value.clone());
        let namespace = (kind.namespaced && !call.info.namespace.is_empty()).then(|| call.info.namespace.clone());
        Ok(Self { namespace, name, labels, fields })
    }
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything() && self.name.is_none()
    }
    /// Whether a custom resource has to be in its served form before the selection can judge it.
    pub fn needs_served(&self, kind: &Kind) -> bool {
        let own = |field: &str| !matches!(field, "metadata.name" | "metadata.namespace");
        kind.is_custom() && self.fields.requirements().iter().any(|requirement| own(&requirement.field))
    }
    /// A field that picks few of all objects, such as a pod's node: the store tells their changes apart from the others',
    /// so that a thousand agents do not each look at everybody's pods.
    pub fn narrow_field(&self, kind: &Kind) -> Option<(&str, &str)> {
        if self.namespace.is_some() || self.name.is_some() || kind.is_custom() {
            return None;
        }
        let own = |field: &str| !matches!(field, "metadata.name" | "metadata.namespace");
        let mut wanted = self.fields.requirements().iter();
        // What is empty may also be absent, and then it is in no index.
        let found = wanted.find(|wanted| wanted.equal && !wanted.value.is_empty() && own(&wanted.field))?;
        Some((&found.field, &found.value))
    }
    /// As far as names and labels tell.
    pub fn may_match(&self, entry: &Entry) -> bool {
        self.name.as_deref().is_none_or(|name| name == &*entry.key.name)
            && self.labels.matches(|name| entry.label(name))
    }
    pub fn matches(&self, entry: &Entry) -> bool {
        self.name.as_deref().is_none_or(|name| name == &*entry.key.name)
            && self.labels.matches(|name| entry.label(name))
            && self.fields.matches(|field| match field {
                "metadata.name" => Some(&*entry.key.name),
                "metadata.namespace" => Some(&*entry.key.namespace),
                field => entry.field(field),
            })
    }
}

/// A continue token: where the list stands, and at which revision (none: the newest).
pub struct Token {
    revision: Option<u64>,
    /// When the list began, in seconds; each further page keeps it.
    begun: i64,
    namespace: String,
    name: String,
}

impl Token {
    fn parse(text: &str) -> Result<Self, Status> {
        let bad = |why: String| Status::bad_request(format!("invalid continue token: continue key is not valid{why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| bad(not_base64(&error)))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| bad(format!(": {error}")))?;
        match value["v"].as_str().unwrap_or_default() {
            "meta.k8s.io/v1" => {}
            other => return Err(bad(format!(": server does not recognize this encoded version {other}"))),
        }
        let revision = value["rv"]
            .as_i64()
            .filter(|revision| *revision != 0)
            .ok_or_else(|| bad(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()))?;
        let start = value["start"].as_str().unwrap_or_default();
        if start.is_empty() {
            return Err(bad(": encoded start key empty (version meta.k8s.io/v1)".into()));
        }
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        Ok(Self {
            // Below zero, as upstream, the list goes on without consistency.
            revision: u64::try_from(revision).ok(),
            begun: value["begun"].as_i64().unwrap_or_default(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
    fn render(&self) -> String {
        let start = format!("{}/{}", self.namespace, self.name);
        let revision = self.revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(-1);
        URL_SAFE_NO_PAD
            .encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "begun": self.begun, "start": start}).to_string())
    }
    /// The place behind `last`, in the list that `earlier` is of.
    fn behind(revision: u64, last: &Entry, earlier: Option<&Self>) -> Self {
        let earlier = earlier.filter(|earlier| earlier.revision.is_some());
        Self {
            revision: Some(revision),
            begun: earlier.map_or_else(|| Timestamp::now().as_second(), |earlier| earlier.begun),
            namespace: last.key.namespace.to_string(),
            name: last.key.name.to_string(),
        }
    }
    fn is_over(&self) -> bool {
        self.revision.is_some() && Timestamp::now().as_second() - self.begun > TOKEN_SECONDS
    }
}

/// Why a token is no base64, in Go's words.
fn not_base64(error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(length) => length - length % 4,
        base64::DecodeError::InvalidPadding => 0,
    };
    format!(": illegal base64 data at input byte {at}")
}

/// The objects of one answer.
pub struct Found {
    pub revision: u64,
    pub items: Vec<Obj>,
    pub next: Option<String>,
    pub remaining: Option<usize>,
}

/// The options of a list that exclude each other.
fn check_options(call: &Call) -> Result<(), Status> {
    let mut errors = Vec::new();
    let (version, rule) = (call.query.text("resourceVersion"), call.query.text("resourceVersionMatch"));
    let field = || Path::new("resourceVersionMatch");
    if !rule.is_empty() {
        if version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(FieldError::forbidden(field(), why));
        }
        if !call.query.text("continue").is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(field(), why));
        }
        if !matches!(rule, "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(field(), rule, &["Exact", "NotOlderThan", ""]));
        }
        if rule == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(field(), why));
        }
    }
    if call.query.get("sendInitialEvents").is_some() {
        let why = "sendInitialEvents is forbidden for list";
        errors.push(FieldError::forbidden(Path::new("sendInitialEvents"), why));
    }
    if errors.is_empty() { Ok(()) } else { Err(options::invalid_all(call, errors)) }
}

/// What a list, or the deletion of one, asks for.
pub struct Asked {
    pub selection: Selection,
    pub limit: Option<usize>,
    pub token: Option<Token>,
}

/// The options of a list, looked at before anything is done.
///
/// # Errors
/// 400 and 422 for those that cannot be.
pub fn asked(call: &Call, kind: &Kind) -> Result<Asked, Status> {
    check_options(call)?;
    let selection = Selection::new(call, kind)?;
    let limit =
        call.query.number::<i64>("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    call.query.number::<i64>("timeoutSeconds")?;
    let token = match call.query.text("continue") {
        "" => None,
        text => Some(Token::parse(text)?),
    };
    Ok(Asked { selection, limit, token })
}

/// The picture that a list asks for. Without a rule, a page is of exactly the revision it names, as upstream.
pub async fn view(
    server: &Server,
    call: &Call,
    kind: &Kind,
    token: Option<&Token>,
    limit: Option<usize>,
) -> Result<View, Status> {
    let version = call.query.text("resourceVersion");
    if let Some(token) = token {
        if !matches!(version, "" | "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        return match token.revision {
            Some(revision) => at(server, kind, revision).await,
            None => newest(server, kind, "").await,
        };
    }
    let exact = match call.query.text("resourceVersionMatch") {
        "" => limit.is_some() && !matches!(version, "" | "0"),
        rule => rule == "Exact",
    };
    if !version.is_empty() {
        // Of a list this is the client's fault, and said so.
        let wrong = |status: Status| Status::bad_request(format!("invalid resource version: {}", status.message));
        read::parse_version(version).map_err(wrong)?;
    }
    if exact { at(server, kind, read::parse_version(version)?).await } else { newest(server, kind, version).await }
}

async fn newest(server: &Server, kind: &Kind, version: &str) -> Result<View, Status> {
    read::wait_for_version(server, version, read::subject(kind, "")).await?;
    Ok(server.store.view(&kind.storage))
}

async fn at(server: &Server, kind: &Kind, revision: u64) -> Result<View, Status> {
    let subject = read::subject(kind, "");
    server.store.wait_for(revision, read::REVISION_PATIENCE).await.map_err(|error| from_store(error, subject))?;
    server.store.view_at(&kind.storage, revision).await.map_err(|error| match error {
        StoreError::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        error => from_store(error, subject),
    })
}

/// Selects the objects of one answer.
pub async fn find(server: &Server, call: &Call, kind: &Kind) -> Result<Found, Status> {
    let Asked { selection, limit, token } = asked(call, kind)?;
    if let Some(token) = token.as_ref().filter(|token| token.is_over()) {
        return Err(inconsistent(token));
    }
    let view = match (view(server, call, kind, token.as_ref(), limit).await, &token) {
        (Err(status), Some(token)) if status.code == 410 => return Err(inconsistent(token)),
        (view, _) => view?,
    };
    if let Some(name) = &selection.name
        && (selection.namespace.is_some() || !kind.namespaced)
        && token.is_none()
        && !selection.needs_served(kind)
    {
        let one = view.get(selection.namespace.as_deref().unwrap_or_default(), name).filter(|o| selection.matches(o));
        let items = custom::serve(server, kind, one.cloned().into_iter().collect()).await?;
        return Ok(Found { revision: view.revision, items, next: None, remaining: None });
    }
    let after = token.as_ref().map(|token| (token.namespace.as_str(), token.name.as_str()));
    if selection.needs_served(kind) {
        return find_served(server, kind, &view, &selection, token.as_ref(), limit).await;
    }
    let mut rest = view.iter(selection.namespace.as_deref(), after);
    let (everything, revision) = (selection.is_everything(), view.revision);
    let mut items = Vec::new();
    let mut more = false;
    for object in rest.by_ref() {
        if everything || selection.matches(object) {
            if limit.is_some_and(|limit| items.len() >= limit) {
                more = true;
                break;
            }
            items.push(Arc::clone(object));
        }
    }
    let next = items.last().filter(|_| more).map(|last| Token::behind(view.revision, last, token.as_ref()).render());
    // Counting what is left is cheap only where nothing has to be matched; upstream does the same.
    let remaining = (more && everything).then(|| rest.count() + 1);
    let items = custom::serve(server, kind, items).await?;
    Ok(Found { revision, items, next, remaining })
}

/// Selects custom resources by fields, which only their served form has.
async fn find_served(
    server: &Server,
    kind: &Kind,
    view: &View,
    selection: &Selection,
    token: Option<&Token>,
    limit: Option<usize>,
) -> Result<Found, Status> {
    let after = token.map(|token| (token.namespace.as_str(), token.name.as_str()));
    let rest = view.iter(selection.namespace.as_deref(), after);
    let candidates: Vec<Obj> = rest.filter(|object| selection.may_match(object)).cloned().collect();
    let mut items = Vec::new();
    let mut more = false;
    for piece in candidates.chunks(SERVED_AT_ONCE) {
        let served = custom::serve_selectable(server, kind, piece.to_vec()).await?;
        items.extend(served.into_iter().filter(|object| selection.matches(object)));
        if let Some(limit) = limit.filter(|limit| items.len() > *limit) {
            items.truncate(limit);
            more = true;
            break;
        }
    }
    let next = items.last().filter(|_| more).map(|last| Token::behind(view.revision, last, token).render());
    Ok(Found { revision: view.revision, items, next, remaining: None })
}

/// All objects of a picture that are selected, as the kind serves them.
pub async fn selected(server: &Server, kind: &Kind, view: &View, selection: &Selection) -> Result<Vec<Obj>, Status> {
    if selection.needs_served(kind) {
        return Ok(find_served(server, kind, view, selection, None, None).await?.items);
    }
    let all = view.iter(selection.namespace.as_deref(), None);
    custom::serve(server, kind, all.filter(|object| selection.matches(object)).cloned().collect()).await
}

/// 410 with a token that goes on from the same place without consistency.
fn inconsistent(token: &Token) -> Status {
    let fresh = Token { revision: None, begun: 0, namespace: token.namespace.clone(), name: token.name.clone() };
    Status::expired(EXPIRED).with_continue(&fresh.render())
}

fn list_metadata(kind: &Kind, found: &Found) -> Value {
    let mut metadata = json!({"resourceVersion": found.revision.to_string()});
    // Lists of custom resources say so when nothing follows.
    if kind.is_custom() {
        metadata["continue"] = json!("");
    }
    if let Some(next) = &found.next {
        metadata["continue"] = json!(next);
    }
    if let Some(remaining) = found.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

pub async fn list(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> Answer {
    let wanted = negotiate::accept(&call.parts)?;
    let found = find(server, call, kind).await?;
    rendered(kind, found, wanted, &call.query)
}

/// The list as it is wanted.
///
/// # Errors
/// 406 for the shape of a single object.
pub fn rendered(kind: &Arc<Kind>, found: Found, wanted: Wanted, query: &Query) -> Answer {
    if wanted == Wanted::JSON {
        return Ok(streamed(kind, found));
    }
    shaped(kind, &found, wanted, query)
}

fn shaped(kind: &Kind, found: &Found, wanted: Wanted, query: &Query) -> Answer {
    let values = found.items.iter().map(|object| render::value(kind, object));
    let metadata = list_metadata(kind, found);
    let value = match wanted.shape {
        Shape::Table { version } => {
            let now = Timestamp::now();
            let rows: Vec<Value> = values.map(|value| render::row(kind, version, &value, query, now)).collect();
            json!({"kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
                   "columnDefinitions": render::column_definitions(kind), "rows": rows})
        }
        Shape::PartialObjectMetadata => {
            let of = render::go_type(kind, &kind.list_kind);
            return Err(Status::not_acceptable(format!(
                "you requested PartialObjectMetadata, but the requested object is a list ({of})"
            )));
        }
        Shape::PartialObjectMetadataList => {
            let items: Vec<Value> = values.map(render::partial).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        Shape::Object => {
            let items: Vec<Value> = values.collect();
            json!({"kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": metadata, "items": items})
        }
    };
    Ok(render::document(&value, wanted, StatusCode::OK))
}

/// The list as JSON, chunk by chunk, out of the objects' own bytes.
fn streamed(kind: &Arc<Kind>, found: Found) -> http::Response<crate::body::Body> {
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
        json!(kind.list_kind),
        json!(kind.api_version()),
        list_metadata(kind, &found)
    );
    let plain = found.items.iter().all(|object| render::is_plain(kind, object));
    let length = plain.then(|| {
        let items: usize = found.items.iter().map(|object| object.bytes.len()).sum();
        let commas = found.items.len().saturating_sub(1);
        (head.len() + items + commas + TAIL.len()) as u64
    });
    let kind = Arc::clone(kind);
    let mut items = found.items.into_iter();
    let (mut first, mut ended, mut head) = (true, false, Some(head));
    let chunks = std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES / 4);
        if let Some(head) = head.take() {
            chunk.extend_from_slice(head.as_bytes());
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(object) = items.next() else {
                chunk.extend_from_slice(TAIL);
                ended = true;
                break;
            };
            if !first {
                chunk.extend_from_slice(b",");
            }
            first = false;
            if plain {
                chunk.extend_from_slice(&object.bytes);
            } else {
                chunk.extend_from_slice(&render::bytes(&kind, &object));
            }
        }
        Some(Ok::<Bytes, BoxError>(chunk.freeze()))
    });
    let chunks = futures::stream::iter(chunks);
    ok(
        "application/json",
        match length {
            Some(length) => body::sized(chunks, length),
            None => body::stream(chunks),
        },
    )
}
