//! Watches: what is there, then every change, in order, without a gap.
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
//!
//! Invariants: a watcher sees an object appear when it starts to match and disappear when it ceases to; a watcher that
//! cannot keep up is told 410 and ended, never given a gap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pilothouse_api::Status;
use pilothouse_api::field::{Error as FieldError, Path};
use pilothouse_kinds::Kind;
use pilothouse_storage::{Entry, Error as StoreError, Event, EventKind, Obj, WatchItem, Watcher};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::list::Selection;
use super::{options, read, render};
use crate::body::{self, BoxError};
use crate::cbor;
use crate::custom;
use crate::error::from_store;
use crate::negotiate::{self, Media, Shape, Wanted};
use crate::protobuf;
use crate::server::{Answer, Call, Query, Server, ok};

/// Watches without a timeout of their own end after this long, spread so that they do not come back at once.
const SHORTEST: u64 = 30 * 60;
const STREAM_OF_PROTOBUF: &str = "application/vnd.kubernetes.protobuf;stream=watch";
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Bytes gathered into one write while more events are at hand.
const GATHER_BYTES: usize = 32 * 1024;

/// Turns events into lines of the shape the client asked for.
struct Lines {
    kind: Arc<Kind>,
    selection: Selection,
    wanted: Wanted,
    query: Query,
    headed: bool,
}

impl Lines {
    fn plain(&self, entry: &Entry) -> bool {
        self.wanted.shape == Shape::Object && self.wanted.media == Media::Json && render::is_plain(&self.kind, entry)
    }

    fn shaped(&mut self, event: &str, entry: &Entry) -> Bytes {
        let partial = matches!(self.wanted.shape, Shape::PartialObjectMetadata | Shape::PartialObjectMetadataList);
        // The garbage collector watches everything in this shape, so its cost is part of every write's.
        if partial
            && self.wanted.media == Media::Json
            && let Some(object) = render::partial_bytes(&self.kind, entry)
        {
            return [b"{\"type\":\"", event.as_bytes(), b"\",\"object\":", &object, b"}\n"].concat().into();
        }
        let value = render::value(&self.kind, entry);
        self.shaped_value(event, value)
    }

    fn shaped_value(&mut self, event: &str, value: Value) -> Bytes {
        let object = match self.wanted.shape {
            Shape::Object => value,
            Shape::Table { version } => {
                let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
                let headed = !std::mem::replace(&mut self.headed, true);
                render::table(&self.kind, version, &[value], &self.query, metadata, headed)
            }
            Shape::PartialObjectMetadata | Shape::PartialObjectMetadataList => render::partial(value),
        };
        self.line(event, &object)
    }

    fn line(&self, event: &str, object: &Value) -> Bytes {
        line(self.wanted, event, object)
    }

    /// An object that was there before the watch began.
    fn initial(&mut self, entry: &Entry) -> Bytes {
        if self.plain(entry) {
            let mut line = Vec::with_capacity(entry.bytes.len() + 32);
            line.extend_from_slice(br#"{"type":"ADDED","object":"#);
            line.extend_from_slice(&entry.bytes);
            line.extend_from_slice(b"}\n");
            return line.into();
        }
        self.shaped("ADDED", entry)
    }

    /// The line of a change, if this watcher sees it.
    fn event(&mut self, event: &Event) -> Option<Bytes> {
        let everything = self.selection.is_everything();
        let is = everything || self.selection.matches(&event.object);
        let was = match &event.previous {
            Some(previous) => everything || self.selection.matches(previous),
            None => event.kind == EventKind::Deleted && is,
        };
        let seen = match (event.kind, was, is) {
            (EventKind::Deleted, true, _) => EventKind::Deleted,
            (EventKind::Deleted, false, true) if event.previous.is_none() => EventKind::Deleted,
            (EventKind::Deleted, ..) => return None,
            (_, true, true) if event.kind == EventKind::Modified => EventKind::Modified,
            (_, true, true) | (_, false, true) => EventKind::Added,
            (_, true, false) => EventKind::Deleted,
            (_, false, false) => return None,
        };
        if self.plain(&event.object) {
            return Some(match seen {
                EventKind::Added => event.json_line_added(),
                EventKind::Modified => event.json_line(),
                EventKind::Deleted => event.json_line_deleted(),
            });
        }
        if seen == EventKind::Deleted && event.kind != EventKind::Deleted {
            // The last state that matched, at the revision that took it away.
            let last = event.previous.as_ref().unwrap_or(&event.object);
            let mut value = render::value(&self.kind, last);
            value["metadata"]["resourceVersion"] = json!(event.revision.to_string());
            return Some(self.shaped_value("DELETED", value));
        }
        Some(self.shaped(seen.as_str(), &event.object))
    }

    /// [`Lines::event`] of a custom resource, which may have to be converted first.
    async fn custom_event(&mut self, server: &Server, event: &Event) -> Result<Option<Bytes>, Status> {
        let (kind, everything) = (Arc::clone(&self.kind), self.selection.is_everything());
        let fields = self.selection.needs_served(&kind);
        let served = async |object: &Obj| -> Result<Obj, Status> {
            if !fields {
                return custom::serve_one(server, &kind, Arc::clone(object)).await;
            }
            let mut served = custom::serve_selectable(server, &kind, vec![Arc::clone(object)]).await?;
            served.pop().ok_or_else(|| Status::internal("a conversion gave no object"))
        };
        let may = |object: &Obj| everything || self.selection.may_match(object);
        let previous = event.previous.as_ref().filter(|_| !everything);
        if !may(&event.object) && !previous.is_some_and(may) {
            return Ok(None);
        }
        let object = served(&event.object).await?;
        let previous = match previous {
            Some(previous) => Some(served(previous).await?),
            None => None,
        };
        let is = everything || self.selection.matches(&object);
        let was = match &previous {
            Some(previous) => self.selection.matches(previous),
            None if event.kind == EventKind::Added => false,
            None => is,
        };
        let seen = match (event.kind, was, is) {
            (EventKind::Deleted, true, _) => EventKind::Deleted,
            (EventKind::Deleted, false, _) | (_, false, false) => return Ok(None),
            (_, true, true) => event.kind,
            (_, false, true) => EventKind::Added,
            (_, true, false) => EventKind::Deleted,
        };
        if Arc::ptr_eq(&object, &event.object) && self.plain(&event.object) && seen == event.kind {
            return Ok(Some(event.json_line()));
        }
        let last = if seen == EventKind::Deleted { previous.as_ref().unwrap_or(&object) } else { &object };
        let mut value = render::value(&self.kind, last);
        value["metadata"]["resourceVersion"] = json!(event.revision.to_string());
        Ok(Some(self.shaped_value(seen.as_str(), value)))
    }

    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.wanted.shape {
            Shape::Object => {
                json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata})
            }
            Shape::Table { version } => {
                json!({"kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
                       "columnDefinitions": [], "rows": []})
            }
            _ => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
        };
        self.line("BOOKMARK", &object)
    }
}

fn line(wanted: Wanted, event: &str, object: &Value) -> Bytes {
    match wanted.media {
        Media::Protobuf => protobuf::watch_frame(event, object).unwrap_or_default().into(),
        Media::Cbor => cbor::watch_frame(event, object).into(),
        Media::Json | Media::Yaml => format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").into(),
    }
}

fn error_line(wanted: Wanted, status: &Status) -> Bytes {
    line(wanted, "ERROR", &json!(status))
}

fn gone() -> Status {
    Status::expired("The resourceVersion for the provided watch is too old.")
}

/// Where a watch begins.
struct Start {
    watcher: Watcher,
    initial: Vec<Obj>,
    /// A bookmark that says that all initial events have been sent.
    end_bookmark: bool,
    /// Events up to this revision are not the watcher's.
    silent_until: u64,
}

async fn start(server: &Server, call: &Call, kind: &Kind, selection: &Selection) -> Result<Start, Status> {
    check_options(call)?;
    let version = call.query.text("resourceVersion");
    let asked = call.query.get("sendInitialEvents").map(crate::request::is_true);
    let subject = read::subject(kind, "");
    // Who does not say where to begin gets the state too, as if it had been asked for.
    let with_state = asked.unwrap_or(matches!(version, "" | "0"));
    let scope = |from: u64| {
        let (store, resource) = (&server.store, &kind.storage);
        let watcher = match selection.narrow_field(kind) {
            Some((field, value)) => store.watch_field(resource, field, value, from),
            None => store.watch(resource, selection.namespace.as_deref(), selection.name.as_deref(), from),
        };
        watcher.map_err(|error| match error {
            StoreError::Compacted { .. } => gone(),
            error => from_store(error, subject),
        })
    };
    if !with_state {
        let asked = match version {
            "" | "0" => 0,
            text => read::parse_version(text)?,
        };
        if asked == 0 {
            read::wait_for_version(server, version, subject).await?;
        }
        // A watch from a revision that is still to come is silent until then.
        let now = server.store.revision();
        let from = if asked == 0 { now } else { asked.min(now) };
        return Ok(Start { watcher: scope(from)?, initial: Vec::new(), end_bookmark: false, silent_until: asked });
    }
    read::wait_for_version(server, version, subject).await?;
    let view = server.store.view(&kind.storage);
    let initial = super::list::selected(server, kind, &view, selection).await?;
    Ok(Start { watcher: scope(view.revision)?, initial, end_bookmark: true, silent_until: 0 })
}

/// The options of a watch that exclude each other.
fn check_options(call: &Call) -> Result<(), Status> {
    let mut errors = Vec::new();
    let asked = call.query.get("sendInitialEvents").is_some();
    let rule = call.query.text("resourceVersionMatch");
    let field = || Path::new("resourceVersionMatch");
    if asked && rule != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(field(), why));
    }
    if !rule.is_empty() {
        if !asked {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(field(), why));
        }
        if rule != "NotOlderThan" {
            errors.push(FieldError::not_supported(field(), rule, &["NotOlderThan"]));
        }
    }
    if !call.query.text("continue").is_empty() {
        let why = "resourceVersionMatch is forbidden when continue is provided";
        errors.push(FieldError::forbidden(field(), why));
    }
    if errors.is_empty() { Ok(()) } else { Err(options::invalid_all(call, errors)) }
}

/// Counts a watch for as long as it is open.
struct Counted(Arc<Server>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.watches.dec();
    }
}

pub async fn watch(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> Answer {
    let wanted = negotiate::accept(&call.parts)?;
    if wanted.media == Media::Yaml {
        return Err(Status::not_acceptable("there are no streams of YAML: watches are application/json"));
    }
    let media = match wanted.media {
        Media::Protobuf => STREAM_OF_PROTOBUF,
        Media::Cbor => cbor::SEQUENCE,
        Media::Json | Media::Yaml => "application/json",
    };
    let mut selection = Selection::new(call, kind)?;
    if selection.name.is_none() && !call.info.name.is_empty() {
        selection.name = Some(call.info.name.clone());
    }
    let timeout = match call.query.number::<i64>("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) if seconds > 0 => seconds,
        _ => SHORTEST + rand::random::<u64>() % SHORTEST,
    };
    let deadline = Instant::now() + Duration::from_secs(timeout.min(24 * 3600));
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let begun = match start(server, call, kind, &selection).await {
        Ok(begun) => begun,
        // A watch from too long ago is a stream with one error in it, as upstream's.
        Err(status) if status.code == 410 => return Ok(ok(media, body::full(error_line(wanted, &status)))),
        Err(status) => return Err(status),
    };
    let mut lines = Lines { kind: Arc::clone(kind), selection, wanted, query: call.query.clone(), headed: false };
    server.metrics.watches.inc();
    let sent = server.metrics.watch_events(&kind.group, &kind.version, &kind.plural);
    let counted = Counted(Arc::clone(server));
    let (shutdown, life) = (server.shutdown.clone(), server.kinds.life(kind));
    let server = Arc::clone(server);
    let Start { mut watcher, initial, end_bookmark, silent_until } = begun;
    let stream = async_stream::stream! {
        let _counted = counted;
        let mut out: Vec<u8> = Vec::new();
        let mut initial: VecDeque<Obj> = initial.into();
        while let Some(object) = initial.pop_front() {
            out.extend_from_slice(&lines.initial(&object));
            if out.len() >= GATHER_BYTES {
                yield Ok::<Bytes, BoxError>(std::mem::take(&mut out).into());
            }
        }
        if end_bookmark && bookmarks {
            out.extend_from_slice(&lines.bookmark(watcher.revision(), true));
        }
        if !out.is_empty() {
            yield Ok(std::mem::take(&mut out).into());
        }
        let mut next_bookmark = Instant::now() + BOOKMARK_EVERY;
        loop {
            let item = if let Some(event) = watcher.next_ready() {
                WatchItem::Event(event)
            } else {
                if !out.is_empty() {
                    yield Ok(std::mem::take(&mut out).into());
                }
                tokio::select! {
                    biased;
                    item = watcher.next() => item,
                    () = sleep_until(next_bookmark), if bookmarks => {
                        next_bookmark = Instant::now() + BOOKMARK_EVERY;
                        yield Ok(lines.bookmark(watcher.revision(), false));
                        continue;
                    }
                    () = sleep_until(deadline) => {
                        if bookmarks {
                            yield Ok(lines.bookmark(watcher.revision(), false));
                        }
                        break;
                    }
                    () = shutdown.cancelled() => break,
                    // The definition has changed: the client comes back and gets what is served now.
                    () = life.cancelled() => break,
                }
            };
            match item {
                WatchItem::Event(event) if event.revision <= silent_until => {}
                WatchItem::Event(event) => {
                    let line = if lines.kind.is_custom() {
                        lines.custom_event(&server, &event).await
                    } else {
                        Ok(lines.event(&event))
                    };
                    match line {
                        Ok(Some(line)) => {
                            sent.inc();
                            if out.is_empty() && !watcher.has_ready() {
                                yield Ok(line);
                                continue;
                            }
                            // What is at hand goes into one write.
                            out.extend_from_slice(&line);
                            if out.len() >= GATHER_BYTES {
                                yield Ok(std::mem::take(&mut out).into());
                                // A watch that never comes to rest ends in time all the same.
                                if Instant::now() >= deadline || shutdown.is_cancelled() || life.is_cancelled() {
                                    break;
                                }
                            }
                        }
                        // Events that are not this watcher's are no reason to stay beyond the end.
                        Ok(None) if Instant::now() >= deadline || shutdown.is_cancelled() || life.is_cancelled() => break,
                        Ok(None) => {}
                        Err(status) => {
                            if !out.is_empty() {
                                yield Ok(std::mem::take(&mut out).into());
                            }
                            yield Ok(error_line(wanted, &status));
                            break;
                        }
                    }
                }
                WatchItem::Progress(_) => {}
                WatchItem::Gone => {
                    yield Ok(error_line(wanted, &gone()));
                    break;
                }
                WatchItem::Closed => break,
            }
        }
    };
    Ok(ok(media, body::stream(stream)))
}
