//! Feeds the configuration from the watch cache, and lends seats from time to time.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_storage::{Store, WatchItem};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Fairness;

pub const LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";
pub const SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";

const RETRY: Duration = Duration::from_millis(200);
/// How often seats are lent and taken back.
const PERIOD: Duration = Duration::from_secs(10);

pub fn objects(store: &Store, resource: &str) -> Vec<Value> {
    store.list(resource, None).items.iter().map(|object| object.value()).collect()
}

fn take_over(fairness: &Fairness, store: &Store) {
    fairness.configure(&objects(store, LEVELS), &objects(store, SCHEMAS));
    fairness.changed.notify_one();
}

/// Takes over what there is now, and every change until `shutdown`.
pub fn start(store: &Store, fairness: &Arc<Fairness>, shutdown: &CancellationToken) {
    let revision = store.revision();
    take_over(fairness, store);
    for resource in [LEVELS, SCHEMAS] {
        let (store, fairness, shutdown) = (store.clone(), Arc::clone(fairness), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = follow(&store, &fairness, resource, revision) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
    let (fairness, shutdown) = (Arc::clone(fairness), shutdown.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => fairness.borrow(),
                () = shutdown.cancelled() => return,
            }
        }
    });
}

async fn follow(store: &Store, fairness: &Fairness, resource: &str, mut revision: u64) {
    loop {
        match store.watch(resource, None, None, revision) {
            Ok(mut watcher) => loop {
                match watcher.next().await {
                    WatchItem::Event(_) => take_over(fairness, store),
                    WatchItem::Progress(_) => {}
                    WatchItem::Gone => break,
                    WatchItem::Closed => return,
                }
            },
            Err(error) => {
                warn!(resource, %error, "cannot watch the configuration of flow control");
                tokio::time::sleep(RETRY).await;
            }
        }
        revision = store.revision();
        take_over(fairness, store);
    }
}
