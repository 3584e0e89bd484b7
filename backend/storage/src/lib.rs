//! The store: Kubernetes objects in PostgreSQL, behind a cache that answers every read.
//!
//! The only crate that knows SQL.

mod config;
mod entry;
mod error;
mod event;
mod key;
mod mutation;
mod view;
mod watch;

use std::sync::Arc;
use std::time::Duration;

pub use config::{Compaction, Config, History};
pub use entry::{Entry, Indexer, Obj, encode, no_fields};
pub use error::{Error, Result};
pub use event::{Event, EventKind, WatchItem};
pub use key::Key;
pub use mutation::{Change, Durability, Expect, Mutation};
pub use view::{Items, Page, Snapshot, View};
pub use watch::Watcher;

/// The store. A cheap handle; all clones are one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<()>,
}

/// How the store is doing.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// Whether writes are accepted.
    pub available: bool,
    /// The cache's revision.
    pub revision: u64,
    /// Revisions below this are no longer in the log.
    pub compacted: u64,
    /// How long ago the cache was last known to equal the database.
    pub lag: Duration,
    /// Objects in the cache.
    pub objects: usize,
    /// Open watches.
    pub watchers: usize,
    /// Units waiting to be written.
    pub queued: usize,
}

impl Store {
    /// Connects, migrates the schema, loads the cache.
    pub async fn open(_config: Config, _indexer: Indexer) -> Result<Store> {
        Err(not_yet())
    }

    /// Writes one mutation; answers when it is committed and visible in this backend's cache.
    pub async fn write(&self, _mutation: Mutation) -> Result<Obj> {
        Err(not_yet())
    }

    /// Writes a unit: all of it or nothing.
    pub async fn write_all(&self, _unit: Vec<Mutation>) -> Result<Vec<Obj>> {
        Err(not_yet())
    }

    /// The object as the cache has it.
    pub fn get(&self, key: &Key) -> Option<Obj> {
        self.view(&key.resource).get(&key.namespace, &key.name).cloned()
    }

    /// The cache's revision.
    pub fn revision(&self) -> u64 {
        Arc::strong_count(&self.inner) as u64
    }

    /// Waits until the cache has what the database had committed when this was called; gives the revision it has then.
    pub async fn fresh(&self) -> Result<u64> {
        Err(not_yet())
    }

    /// Waits until the cache has reached a revision.
    ///
    /// # Errors
    /// `FutureRevision` when the time is over.
    pub async fn wait_for(&self, _revision: u64, _timeout: Duration) -> Result<()> {
        Err(not_yet())
    }

    /// A picture of a resource, free of charge.
    pub fn view(&self, _resource: &str) -> View {
        View { revision: self.revision(), objects: Default::default() }
    }

    /// A picture of a resource at an exact past revision.
    ///
    /// # Errors
    /// `Compacted`, `FutureRevision`, `Unavailable`.
    pub async fn view_at(&self, _resource: &str, _revision: u64) -> Result<View> {
        Err(not_yet())
    }

    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Snapshot {
        self.view(resource).snapshot(namespace)
    }

    pub fn list_page(
        &self,
        resource: &str,
        namespace: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Page {
        self.view(resource).page(namespace, after, limit)
    }

    /// The list as of an exact revision.
    pub async fn list_at(&self, resource: &str, namespace: Option<&str>, revision: u64) -> Result<Snapshot> {
        Ok(self.view_at(resource, revision).await?.snapshot(namespace))
    }

    /// The changes of a resource (of one namespace, of one object) behind a revision.
    ///
    /// # Errors
    /// `Compacted` when the log no longer reaches back so far, `FutureRevision`.
    pub fn watch(&self, _resource: &str, _namespace: Option<&str>, _name: Option<&str>, _from: u64) -> Result<Watcher> {
        Err(not_yet())
    }

    pub fn is_available(&self) -> bool {
        false
    }

    pub fn status(&self) -> StoreStatus {
        StoreStatus {
            available: false,
            revision: self.revision(),
            compacted: 0,
            lag: Duration::MAX,
            objects: 0,
            watchers: 0,
            queued: 0,
        }
    }

    /// Puts the store's metrics into a registry.
    pub fn register_metrics(&self, _registry: &mut prometheus_client::registry::Registry) {}

    /// Takes the mandate for the background work: everyone who held it before is fenced off.
    pub async fn fence(&self) -> Result<u64> {
        Err(not_yet())
    }

    /// [`Store::write_all`] that fails with `Fenced` unless `fence` is the newest mandate.
    pub async fn write_fenced(&self, _fence: u64, _unit: Vec<Mutation>) -> Result<Vec<Obj>> {
        Err(not_yet())
    }

    /// Ends the tasks and connections; queued writes are refused, watchers get `Closed`.
    pub async fn close(self) {}
}

fn not_yet() -> Error {
    Error::Unavailable("the store is not open".to_owned())
}
