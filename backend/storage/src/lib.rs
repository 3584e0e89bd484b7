//! The store: Kubernetes objects in PostgreSQL, behind a cache that answers every read.
//!
//! The only crate that knows SQL. A write goes: caller's task (checks, parses) → [`sequencer`] (one task: plans a batch,
//! commits it, publishes it) → [`cache`] → watchers. A read goes to the cache and nowhere else, except for what lies
//! further back than the memory: [`log`] and [`history`].
//!
//! Invariants:
//! - `resourceVersion` is the revision: dense, in commit order, the same on all backends.
//! - An acknowledged write is committed, and visible in this backend's cache before the answer is.
//! - A notification carries no data and may be lost; the log in PostgreSQL is the truth.
//! - A watch delivers every change once and in order, or ends with `Gone`.

mod address;
mod cache;
mod config;
mod database;
mod entry;
mod error;
mod event;
mod history;
mod hub;
mod inspect;
mod key;
mod log;
mod lookout;
mod maintenance;
mod metrics;
mod migrations;
mod mutation;
mod plan;
mod seal;
mod sequencer;
mod shared;
#[cfg(test)]
mod simulation;
mod sole;
mod sql;
#[cfg(feature = "testing")]
pub mod testing;
mod view;
mod watch;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::migrate::MigrateError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::DropGuard;
use tracing::{Instrument, Span, field, trace_span};

pub use config::{Compaction, Config, History};
pub use entry::{Entry, Indexer, Lazy, Obj, encode, no_fields};
pub use error::{Error, Result};
pub use event::{Event, EventKind, WatchItem};
pub use history::Version;
pub use inspect::{Inspection, Replica, Slot, Table, inspect};
pub use key::Key;
pub use mutation::{Change, Durability, Expect, Mutation};
pub use seal::Sealing;
pub use view::{Items, Page, Snapshot, View};
pub use watch::Watcher;

use hub::Scope;
use plan::Unit;
use sequencer::Sequencer;
use shared::Shared;

/// What the spans of writes and batches are filed under, for those who collect traces.
pub const TRACES: &str = "pilothouse_traces";

/// The store. A cheap handle; all clones are one. Dropping the last one closes it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Unit>,
    questions: mpsc::UnboundedSender<lookout::Question>,
    tasks: Arc<Tasks>,
}

struct Tasks {
    running: Mutex<JoinSet<()>>,
    _close: DropGuard,
}

/// A runtime of one thread, for as long as this lives: everybody waits for the sequencer, so it waits for nobody, as it
/// would for what happens to be ready before it on a thread that does other work.
struct OwnThread {
    handle: tokio::runtime::Handle,
    /// Dropped, it ends.
    ends: oneshot::Sender<()>,
}

impl OwnThread {
    fn start() -> Result<Self> {
        let failed = |error: std::io::Error| Error::Internal(format!("the sequencer's thread: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (ends, ended) = oneshot::channel::<()>();
        let work = move || drop(runtime.block_on(ended));
        std::thread::Builder::new().name("sequencer".to_owned()).spawn(work).map_err(failed)?;
        Ok(Self { handle, ends })
    }
}

/// How the store is doing.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// Whether writes are accepted.
    pub available: bool,
    /// The cache's revision.
    pub revision: u64,
    /// Watches and exact lists must not start before it.
    pub compacted: u64,
    /// How long ago the cache was last known to equal the database.
    pub lag: Duration,
    /// Objects in the cache.
    pub objects: usize,
    /// Open watches.
    pub watchers: usize,
    /// Units waiting to be written.
    pub queued: usize,
    /// Events held in memory for watches, and their bytes.
    pub ring_events: usize,
    pub ring_bytes: usize,
}

impl Store {
    /// Connects, migrates the schema, loads the cache.
    ///
    /// # Errors
    /// `Unavailable` when PostgreSQL cannot be reached within the write timeout, `Internal` when it cannot be used.
    /// Boxed: an `async fn` is compiled where it is first polled, and that should be this crate.
    pub fn open(config: Config, indexer: Indexer) -> Pin<Box<dyn Future<Output = Result<Store>> + Send>> {
        Box::pin(Self::opened(config, indexer))
    }

    async fn opened(config: Config, indexer: Indexer) -> Result<Store> {
        let (queue, units) = mpsc::channel(config.queue_units.max(1));
        let (questions, asked) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(config, indexer)?);
        migrate(&shared).await?;
        let OwnThread { handle, ends } = OwnThread::start()?;
        let starting = handle.spawn(Sequencer::start(shared.clone(), units));
        let sequencer = starting.await.map_err(|error| Error::Internal(error.to_string()))??;
        let mut running = JoinSet::new();
        running.spawn(async move {
            // That it has ended is all there is to know.
            let _ = handle.spawn(sequencer.run()).await;
            drop(ends);
        });
        running.spawn(lookout::run(shared.clone(), asked));
        running.spawn(maintenance::run(shared.clone()));
        let tasks = Tasks { running: Mutex::new(running), _close: shared.closing.clone().drop_guard() };
        Ok(Self { shared, queue, questions, tasks: Arc::new(tasks) })
    }

    /// Writes one mutation; answers when it is committed and visible in this backend's cache.
    ///
    /// # Errors
    /// Those of the precondition (`AlreadyExists`, `NotFound`, `Conflict`), `TooLarge`, `Unavailable`.
    pub async fn write(&self, mutation: Mutation) -> Result<Obj> {
        let mut written = self.write_all(vec![mutation]).await?;
        written.pop().ok_or_else(|| Error::Internal("a write gave no object".to_owned()))
    }

    /// Writes a unit: all of it or nothing. Gives the new states in the order of the mutations; of a deletion the last
    /// state at the revision of the deletion.
    ///
    /// # Errors
    /// Those of [`Store::write`], of the first mutation that fails.
    pub async fn write_all(&self, unit: Vec<Mutation>) -> Result<Vec<Obj>> {
        self.submit(unit, None).await
    }

    /// Takes the mandate for the background work: everyone who held it before is fenced off.
    pub async fn fence(&self) -> Result<u64> {
        let asking = async { Ok(sqlx::query_scalar(sql::TAKE_FENCE).fetch_one(&self.shared.pool).await?) };
        Ok(log::unsigned(self.bounded(asking).await?))
    }

    /// [`Store::write_all`] that fails with `Fenced` unless `fence` is the newest mandate at the moment of the commit.
    pub async fn write_fenced(&self, fence: u64, unit: Vec<Mutation>) -> Result<Vec<Obj>> {
        self.submit(unit, Some(fence)).await
    }

    async fn submit(&self, unit: Vec<Mutation>, fence: Option<u64>) -> Result<Vec<Obj>> {
        let shared = &self.shared;
        let config = &shared.config;
        if unit.is_empty() {
            return Ok(Vec::new());
        }
        if unit.len() > config.max_unit_mutations {
            return Err(Error::TooLarge { what: "the unit", size: unit.len(), limit: config.max_unit_mutations });
        }
        if !shared.is_available() {
            return Err(Error::Unavailable("PostgreSQL is out of reach".to_owned()));
        }
        let span = trace_span!(
            target: TRACES,
            "store.commit",
            mutations = unit.len(),
            bytes = field::Empty,
            revision = field::Empty,
            refused = field::Empty,
        );
        self.commit(unit, fence, span.clone()).instrument(span).await
    }

    async fn commit(&self, unit: Vec<Mutation>, fence: Option<u64>, span: Span) -> Result<Vec<Obj>> {
        let shared = &self.shared;
        let config = &shared.config;
        let started = Instant::now();
        let deadline = started + config.write_timeout;
        let mut mutations = Vec::with_capacity(unit.len());
        for mut mutation in unit {
            mutation.key = shared.cache.interned(mutation.key);
            mutations.push(plan::prepare(mutation, config, &shared.indexer, &shared.sealer)?);
        }
        let bytes: usize = mutations.iter().map(|mutation| mutation.bytes.len()).sum();
        span.record("bytes", bytes);
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Unit { mutations, fence, bytes, deadline, answer, span: span.clone() }).map_err(
            |error| match error {
                mpsc::error::TrySendError::Full(_) => Error::Unavailable("too many writes are waiting".to_owned()),
                mpsc::error::TrySendError::Closed(_) => Error::Unavailable("the store is closed".to_owned()),
            },
        )?;
        let answer = timeout_at(deadline, answered).await.map_err(|_| {
            let waited = config.write_timeout;
            Error::Unavailable(format!("no answer within {waited:?}: it is unknown whether the change was applied"))
        })?;
        shared.metrics.write_seconds.observe(started.elapsed().as_secs_f64());
        let answer = answer.map_err(|_| Error::Unavailable("the store is closed".to_owned()))?;
        match &answer {
            Ok(objects) => span.record("revision", objects.last().map_or(0, |object| object.revision)),
            Err(error) => span.record("refused", field::display(error)),
        };
        answer
    }

    /// The object as the cache has it.
    pub fn get(&self, key: &Key) -> Option<Obj> {
        self.shared.cache.get(key)
    }

    /// The cache's revision.
    pub fn revision(&self) -> u64 {
        self.shared.cache.revision()
    }

    /// Waits until the cache has what the database had committed when this was called; gives the cache's revision then.
    /// One query is shared by all who wait, and a backend that is the only writer asks only now and then.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn fresh(&self) -> Result<u64> {
        let cached = self.revision();
        if self.shared.sole.knows(cached) {
            return Ok(cached);
        }
        let lost = |_| Error::Unavailable("the store is closed".to_owned());
        let (question, answer) = oneshot::channel();
        self.questions.send(question).map_err(|_| Error::Unavailable("the store is closed".to_owned()))?;
        let limit = self.shared.config.write_timeout;
        let deadline = Instant::now() + limit;
        let revision = timeout_at(deadline, answer)
            .await
            .map_err(|_| Error::Unavailable("the database does not answer".to_owned()))?
            .map_err(lost)??;
        match self.shared.cache.wait_for(revision, limit).await {
            Ok(()) => Ok(self.revision()),
            Err(_) => Err(Error::Unavailable(format!("the cache has not reached revision {revision} in time"))),
        }
    }

    /// Waits until the cache has reached a revision.
    ///
    /// # Errors
    /// `FutureRevision` when the time is over.
    pub async fn wait_for(&self, revision: u64, timeout: Duration) -> Result<()> {
        self.shared.cache.wait_for(revision, timeout).await
    }

    /// A picture of a resource, free of charge.
    pub fn view(&self, resource: &str) -> View {
        self.shared.cache.view(resource)
    }

    /// A picture of a resource at an exact past revision.
    ///
    /// # Errors
    /// `Compacted`, `FutureRevision`, `Unavailable`.
    pub async fn view_at(&self, resource: &str, revision: u64) -> Result<View> {
        self.bounded(log::view_at(&self.shared, resource, revision)).await
    }

    /// The objects of a resource, of one namespace or all.
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Snapshot {
        self.view(resource).snapshot(namespace)
    }

    /// A piece of a list: at most `limit` objects behind `after` (namespace, name). With filters, iterate over
    /// [`Store::view`] instead; for the later pages of one list, over [`Store::view_at`].
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
    ///
    /// # Errors
    /// Those of [`Store::view_at`].
    pub async fn list_at(&self, resource: &str, namespace: Option<&str>, revision: u64) -> Result<Snapshot> {
        Ok(self.view_at(resource, revision).await?.snapshot(namespace))
    }

    /// The changes behind a revision of a resource, of one namespace, of one object.
    ///
    /// # Errors
    /// `Compacted` when the log no longer reaches back so far, `FutureRevision`.
    pub fn watch(&self, resource: &str, namespace: Option<&str>, name: Option<&str>, from: u64) -> Result<Watcher> {
        let scope = match (namespace, name) {
            (None, None) => Scope::All,
            (Some(namespace), None) => Scope::Namespace(namespace.into()),
            (None, Some(name)) => Scope::Name(name.into()),
            (Some(namespace), Some(name)) => Scope::Object(namespace.into(), name.into()),
        };
        Watcher::new(self.shared.clone(), resource, scope, from)
    }

    /// The changes behind a revision of the objects whose selectable field has a value, before or after the change: an
    /// agent's pods cost an agent's share, not the cluster's.
    ///
    /// # Errors
    /// Those of [`Store::watch`].
    pub fn watch_field(&self, resource: &str, field: &str, value: &str, from: u64) -> Result<Watcher> {
        Watcher::new(self.shared.clone(), resource, Scope::Field(field.into(), value.into()), from)
    }

    /// The versions of an object that are still known, newest first.
    pub async fn history(&self, key: &Key, limit: u32) -> Result<Vec<Version>> {
        self.bounded(history::versions(&self.shared, key, limit)).await
    }

    /// One change, if it is still known.
    pub async fn version(&self, revision: u64) -> Result<Option<Version>> {
        self.bounded(history::version(&self.shared, revision)).await
    }

    /// The recycle bin: deletions of a resource, newest first.
    pub async fn deleted(&self, resource: &str, namespace: Option<&str>, limit: u32) -> Result<Vec<Version>> {
        self.bounded(history::deleted(&self.shared, resource, namespace, limit)).await
    }

    /// The newest revision at an instant.
    ///
    /// # Errors
    /// `Compacted` when nothing so old is known.
    pub async fn revision_at(&self, time: jiff::Timestamp) -> Result<u64> {
        self.bounded(history::revision_at(&self.shared, time)).await
    }

    /// A resource as of a past revision, as far back as history reaches.
    ///
    /// # Errors
    /// `Compacted`, `FutureRevision`, `TooLarge`, `Unavailable`.
    pub async fn past(&self, resource: &str, namespace: Option<&str>, revision: u64) -> Result<Snapshot> {
        self.bounded(history::past(&self.shared, resource, namespace, revision)).await
    }

    /// Compacts the log up to a revision, as the policy does by itself from time to time. The newest change always
    /// stays.
    pub async fn compact(&self, revision: u64) -> Result<()> {
        maintenance::compact(&self.shared, revision.min(self.revision().saturating_sub(1))).await?;
        maintenance::retire(&self.shared).await
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        database::bounded(self.shared.config.read_timeout, work).await
    }

    /// Whether writes are accepted.
    pub fn is_available(&self) -> bool {
        self.shared.is_available()
    }

    pub fn status(&self) -> StoreStatus {
        let cache = &self.shared.cache;
        let weights = cache.hubs().iter().map(|hub| hub.weight()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        StoreStatus {
            available: self.is_available(),
            revision: self.revision(),
            compacted: self.shared.compacted(),
            lag: self.shared.lag(),
            objects: cache.objects(),
            watchers: self.shared.watchers.load(Ordering::Relaxed),
            queued: self.queue.max_capacity() - self.queue.capacity(),
            ring_events: weights.0,
            ring_bytes: weights.1,
        }
    }

    /// Puts the store's metrics into a registry.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.shared.metrics.register(registry);
    }

    /// Ends the tasks and connections; queued writes are refused, watchers get `Closed`.
    pub async fn close(self) {
        self.shared.closing.cancel();
        self.shared.cache.wake_all();
        let mut running = std::mem::take(&mut *self.tasks.running.lock());
        while running.join_next().await.is_some() {}
        self.shared.pool.close().await;
    }
}

/// Brings the schema up to date; waits for a database that is still starting.
async fn migrate(shared: &Shared) -> Result<()> {
    let started = Instant::now();
    loop {
        let error = match shared.database.locate().await {
            Ok(()) => match migrations::all().run(&shared.pool).await {
                Ok(()) => return Ok(()),
                Err(MigrateError::Execute(error)) => Error::from(error),
                Err(other) => return Err(Error::Internal(format!("migrating the schema: {other}"))),
            },
            Err(error) => error,
        };
        if !matches!(error, Error::Unavailable(_)) || started.elapsed() > shared.config.write_timeout {
            return Err(error);
        }
        sleep(Duration::from_millis(50)).await;
    }
}
