//! Feeds the authorizer's index: first everything, then every change.
//!
//! Invariant: the first fill is complete before a request is answered; a feed that lost its place starts over with a
//! list, so that no grant outlives its binding for longer than that takes.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_access::authz::Authorizer;
use pilothouse_storage::{EventKind, Store, WatchItem, Watcher};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::warn;

const RETRY: Duration = Duration::from_millis(200);

/// Fills the index from the cache; gives the revision it is at, for each resource.
fn fill(store: &Store, authorizer: &Authorizer, resource: &str) -> u64 {
    let snapshot = store.list(resource, None);
    let objects: Vec<Value> = snapshot.items.iter().map(|object| object.value()).collect();
    authorizer.reset(resource, &objects);
    snapshot.revision
}

/// Fills the index now, and keeps it up to date until `shutdown`.
pub fn start(store: &Store, authorizer: &Arc<Authorizer>, shutdown: &CancellationToken) {
    for resource in Authorizer::WATCHED {
        let revision = fill(store, authorizer, resource);
        let (store, authorizer, shutdown) = (store.clone(), Arc::clone(authorizer), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = follow(&store, &authorizer, resource, revision) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

async fn follow(store: &Store, authorizer: &Authorizer, resource: &str, mut revision: u64) {
    loop {
        match store.watch(resource, None, None, revision) {
            Ok(watcher) => {
                if !carry(watcher, authorizer, resource).await {
                    return;
                }
            }
            Err(error) => {
                warn!(resource, %error, "cannot watch for the authorizer");
                tokio::time::sleep(RETRY).await;
            }
        }
        revision = fill(store, authorizer, resource);
    }
}

/// False when the store is closed; true when the watch has lost its place.
async fn carry(mut watcher: Watcher, authorizer: &Authorizer, resource: &str) -> bool {
    loop {
        match watcher.next().await {
            WatchItem::Event(event) => {
                let key = &event.object.key;
                match event.kind {
                    EventKind::Deleted => authorizer.delete(resource, &key.namespace, &key.name),
                    EventKind::Added | EventKind::Modified => authorizer.apply(resource, &event.object.value()),
                }
            }
            WatchItem::Progress(_) => {}
            WatchItem::Gone => return true,
            WatchItem::Closed => return false,
        }
    }
}
