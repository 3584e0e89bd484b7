//! Custom resources: what of the CustomResourceDefinitions is served, and what becomes of definitions over time.
//!
//! ```text
//! definitions in the store ─► feed: kinds served, discovery, OpenAPI ─► status: names accepted, established
//!                                                                  └► cleanup: instances of a deleted definition
//! ```
//!
//! Invariants: a request is answered by what the definition in this backend's cache says, never by an older state of it;
//! every backend does all of this by itself, and whatever two of them do at once comes to the same.

mod cleanup;
mod convert;
mod naming;
mod status;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use pilothouse_storage::{EventKind, Key, Obj, WatchItem, Watcher};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tracing::warn;

use crate::registry::kinds::Served;
use crate::server::{ApiServer, Server};

pub use cleanup::{FINALIZER, mark_deleted};
pub use convert::{is_of_old, serve, serve_one, serve_selectable, to_storage};

pub const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
const RETRY: Duration = Duration::from_millis(200);
/// How long a write that was begun under an older definition may take to arrive.
const GRACE: Duration = Duration::from_secs(5);

/// Definitions whose instances are being removed by this backend.
#[derive(Default)]
pub struct Cleaning(Mutex<HashSet<String>>);

/// Whether a condition of the definition is true.
fn holds(definition: &Value, condition: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == condition && c["status"] == "True")
}

/// What in a definition makes its kinds.
fn digest(definition: &Value) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(definition["spec"].to_string());
    digest.update(definition["status"]["acceptedNames"].to_string());
    digest.update([u8::from(holds(definition, "Established"))]);
    digest.finalize().into()
}

/// Serves what a definition says, if that is news.
fn follow(server: &Server, stored: &Obj) {
    let name = &*stored.key.name;
    let before = server.kinds.definition(name);
    if before.as_ref().is_some_and(|before| before.revision >= stored.revision) {
        return;
    }
    let definition = stored.value();
    let digest = digest(&definition);
    let terminating = definition["metadata"]["deletionTimestamp"].is_string();
    let mut served = Served { revision: stored.revision, digest, terminating, ..Served::default() };
    match before {
        Some(before) if before.digest == digest => {
            served.kinds.clone_from(&before.kinds);
            served.settled_at = AtomicU64::new(before.settled_at.load(Ordering::Relaxed));
            served.life = before.life.clone();
        }
        before => {
            // What was written under the definition's former state may be on its way still.
            let settled = if before.is_some() { u64::MAX } else { stored.revision };
            served.settled_at = AtomicU64::new(settled);
            if holds(&definition, "Established") {
                match Kind::from_crd(&definition) {
                    Ok(kinds) => {
                        let kinds = kinds.into_iter().filter(|(_, served)| *served);
                        served.kinds = kinds.map(|(kind, _)| Arc::new(kind)).collect();
                    }
                    Err(why) => warn!(definition = name, why, "a definition cannot be served"),
                }
            }
        }
    }
    let group = definition["spec"]["group"].as_str().unwrap_or_default();
    server.kinds.put(name, group, served);
}

/// The kind of a request's path. What this backend has not heard of yet may exist already, so before it is denied the
/// cache is brought up to date.
pub async fn find(server: &Server, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
    // Definitions are of groups with a dot.
    if server.kinds.is_builtin(group, version, plural) || !group.contains('.') {
        return server.kinds.get(group, version, plural);
    }
    let key = Key::new(DEFINITIONS, "", format!("{plural}.{group}"));
    let known = || {
        follow(server, &server.store.get(&key)?);
        server.kinds.get(group, version, plural)
    };
    if let Some(kind) = known() {
        return Some(kind);
    }
    server.store.fresh().await.ok()?;
    known()
}

/// Whether new objects of the kind may come into being.
///
/// # Errors
/// 405 while the definition is being deleted.
pub fn accepts_new(server: &Server, kind: &Kind, verb: &str) -> Result<(), Status> {
    if kind.is_custom() && server.kinds.definition(&kind.storage).is_some_and(|served| served.terminating) {
        let mut status = Status::method_not_supported(&kind.group, &kind.plural, verb);
        status.message = format!("{verb} not allowed while custom resource definition is terminating");
        return Err(status);
    }
    Ok(())
}

/// Serves all definitions now, and follows them until the server's shutdown.
pub fn start(api: &ApiServer) {
    let server = &api.0;
    let snapshot = server.store.list(DEFINITIONS, None);
    snapshot.items.iter().for_each(|stored| follow(server, stored));
    let (changed, changes) = mpsc::unbounded_channel();
    for stored in &snapshot.items {
        let _ = changed.send(stored.key.name.to_string());
    }
    let stop = server.shutdown.clone();
    let (api, feed) = (api.clone(), Arc::clone(server));
    tokio::spawn(async move {
        tokio::select! {
            () = feed_from(&feed, snapshot.revision, &changed) => {}
            () = status::run(&api, changes) => {}
            () = stop.cancelled() => {}
        }
    });
}

async fn feed_from(server: &Arc<Server>, mut revision: u64, changed: &mpsc::UnboundedSender<String>) {
    loop {
        match server.store.watch(DEFINITIONS, None, None, revision) {
            Ok(watcher) => {
                if !carry(server, watcher, changed).await {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "cannot watch custom resource definitions");
                tokio::time::sleep(RETRY).await;
            }
        }
        // The place in the log is lost: compare with all there is.
        let snapshot = server.store.list(DEFINITIONS, None);
        for name in server.kinds.definitions() {
            if server.store.get(&Key::new(DEFINITIONS, "", name.as_str())).is_none() {
                server.kinds.remove(&name);
                let _ = changed.send(name);
            }
        }
        for stored in &snapshot.items {
            follow(server, stored);
            let _ = changed.send(stored.key.name.to_string());
        }
        revision = snapshot.revision;
    }
}

/// False when the store is closed; true when the watch has lost its place.
async fn carry(server: &Arc<Server>, mut watcher: Watcher, changed: &mpsc::UnboundedSender<String>) -> bool {
    loop {
        match watcher.next().await {
            WatchItem::Event(event) => {
                let name = event.object.key.name.to_string();
                if event.kind == EventKind::Deleted {
                    server.kinds.remove(&name);
                } else {
                    follow(server, &event.object);
                    settle(server, &name);
                }
                let _ = changed.send(name);
            }
            WatchItem::Progress(_) => {}
            WatchItem::Gone => return true,
            WatchItem::Closed => return false,
        }
    }
}

/// After a while, whatever is written is written under the definition's present state.
fn settle(server: &Arc<Server>, name: &str) {
    let Some(served) = server.kinds.definition(name) else { return };
    if served.settled_at.load(Ordering::Relaxed) != u64::MAX {
        return;
    }
    let (server, stop) = (Arc::clone(server), served.life.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(GRACE) => {
                served.settled_at.store(server.store.revision(), Ordering::Relaxed);
            }
            () = stop.cancelled() => {}
        }
    });
}
