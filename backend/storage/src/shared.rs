//! What the store's tasks and handles have in common.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgPool;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::database::Database;
use crate::hub::RingLimits;
use crate::metrics::Metrics;
use crate::seal::Sealer;
use crate::sole::Sole;
use crate::{Config, Indexer, Result};

/// Replays of the log at a time: a storm of reconnecting watchers must not crowd out writes.
const REPLAYS: usize = 3;

pub(crate) struct Shared {
    pub config: Config,
    pub indexer: Indexer,
    pub sealer: Sealer,
    pub database: Database,
    pub pool: PgPool,
    pub cache: Cache,
    pub metrics: Metrics,
    pub closing: CancellationToken,
    /// Calls the sequencer to look at the log.
    pub wake: Notify,
    pub replays: Semaphore,
    pub sole: Sole,
    pub watchers: AtomicUsize,
    /// The server process of the writer's session, whose own notifications are no news.
    pub writer_process: AtomicI32,
    available: AtomicBool,
    compacted: AtomicU64,
    /// The last revision for which the log has room.
    edge: AtomicU64,
    opened: Instant,
    /// When the cache was last known to equal the database, in microseconds since `opened`.
    verified: AtomicU64,
}

impl Shared {
    pub fn new(config: Config, indexer: Indexer) -> Result<Self> {
        let database = Database::new(&config)?;
        Ok(Self {
            pool: database.pool(),
            cache: Cache::new(RingLimits { events: config.ring_events.max(1), bytes: config.ring_bytes }),
            indexer,
            sealer: config.sealing.as_ref().map(Sealer::new).transpose()?.unwrap_or_default(),
            database,
            metrics: Metrics::default(),
            closing: CancellationToken::new(),
            wake: Notify::new(),
            replays: Semaphore::new(REPLAYS.min(config.pool.max(2) as usize - 1)),
            sole: Sole::new(config.sole_trust),
            watchers: AtomicUsize::new(0),
            writer_process: AtomicI32::new(0),
            available: AtomicBool::new(false),
            compacted: AtomicU64::new(0),
            edge: AtomicU64::new(0),
            opened: Instant::now(),
            verified: AtomicU64::new(0),
            config,
        })
    }

    pub fn is_available(&self) -> bool {
        self.available.load(Ordering::Acquire)
    }

    pub fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::Release);
    }

    pub fn compacted(&self) -> u64 {
        self.compacted.load(Ordering::Acquire)
    }

    pub fn set_compacted(&self, compacted: u64) {
        self.compacted.fetch_max(compacted, Ordering::AcqRel);
    }

    pub fn edge(&self) -> u64 {
        self.edge.load(Ordering::Acquire)
    }

    pub fn set_edge(&self, edge: u64) {
        self.edge.store(edge, Ordering::Release);
    }

    /// Notes that the cache was seen to equal the database at an instant.
    pub fn verified_at(&self, instant: Instant) {
        let micros = instant.saturating_duration_since(self.opened).as_micros();
        self.verified.fetch_max(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// How long ago the cache was last known to equal the database.
    pub fn lag(&self) -> Duration {
        self.opened.elapsed().saturating_sub(Duration::from_micros(self.verified.load(Ordering::Acquire)))
    }
}
