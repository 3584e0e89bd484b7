//! Every knob of the store, with the reason for its default.

use std::time::Duration;

use crate::Sealing;

/// How a [`crate::Store`] is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path`, or
    /// `postgres:///database?host=/socket/dir&user=name`. It must reach PostgreSQL itself, not a transaction pooler:
    /// the store holds sessions (LISTEN, prepared statements). Several servers, `host,host` with their ports, are a
    /// primary and its replicas: whichever takes writes is used, and found again after a failover.
    pub url: String,
    /// Connections for the log, history and maintenance, opened on demand, beside the writer and the listener.
    pub pool: u32,
    /// A write is answered within this time, with an error if need be.
    pub write_timeout: Duration,
    /// The log and history are read within this time. A connection that says nothing for longer leads nowhere any more,
    /// without ever telling so.
    pub read_timeout: Duration,
    /// How long writes may wait for PostgreSQL to come back before they are refused.
    pub outage_grace: Duration,
    /// How often the log is looked at without having been woken: bounds the staleness when notifications are lost.
    pub poll_interval: Duration,
    /// Whether to LISTEN. Off, other backends' changes are seen by polling only.
    pub listen: bool,
    /// For how long a backend that has seen itself to be the only writer answers reads without asking the database
    /// again. The first write of a session waits half as long again. Zero asks every time.
    pub sole_trust: Duration,
    /// Units waiting for the sequencer; more are refused.
    pub queue_units: usize,
    /// One batch takes at most so many units and bytes: bounds the latency that one commit adds to the next.
    pub batch_units: usize,
    pub batch_bytes: usize,
    /// The largest object, in encoded bytes; etcd's default request limit.
    pub max_object_bytes: usize,
    /// The largest unit of [`crate::Store::write_all`].
    pub max_unit_mutations: usize,
    /// Events kept in memory for watches, per resource. Older starting points are served from PostgreSQL.
    pub ring_events: usize,
    pub ring_bytes: usize,
    /// Events older than this leave the memory even when the ring has room.
    pub ring_age: Duration,
    /// An idle watcher reports its progress this often.
    pub progress_interval: Duration,
    /// Revisions per partition of the log.
    pub partition_revisions: u64,
    pub compaction: Compaction,
    pub history: History,
    /// Encryption at rest; none stores everything plainly.
    pub sealing: Option<Sealing>,
}

/// What the log keeps for watches and exact lists. Both conditions must allow a revision to go.
#[derive(Clone, Debug)]
pub struct Compaction {
    /// How often to look. Zero turns automatic compaction off.
    pub interval: Duration,
    pub keep_time: Duration,
    /// At least 1: the newest change always stays.
    pub keep_revisions: u64,
}

/// What the time machine keeps beyond compaction.
#[derive(Clone, Debug)]
pub struct History {
    pub keep_time: Duration,
    /// Resources whose past is noise; only what exact lists need is kept of them.
    pub except: Vec<String>,
}

impl Config {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            pool: 4,
            write_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(20),
            outage_grace: Duration::from_millis(1500),
            poll_interval: Duration::from_secs(1),
            listen: true,
            // Twenty questions a second cost nothing, and a start is not noticeably later.
            sole_trust: Duration::from_millis(50),
            queue_units: 8192,
            batch_units: 512,
            batch_bytes: 4 << 20,
            max_object_bytes: 3 << 19,
            max_unit_mutations: 1000,
            // A second of what the sequencer can write: a thousand agents that are held up for a moment must find their
            // place in memory again. Those that do not read the log, all at once, and the rest is held up by them.
            ring_events: 32_768,
            ring_bytes: 32 << 20,
            ring_age: Duration::from_secs(180),
            progress_interval: Duration::from_secs(10),
            partition_revisions: 100_000,
            compaction: Compaction::default(),
            history: History::default(),
            sealing: None,
        }
    }
}

impl Default for Compaction {
    /// Kubernetes compacts etcd every five minutes; pagination over a big cluster deserves more.
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), keep_time: Duration::from_secs(15 * 60), keep_revisions: 10_000 }
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            keep_time: Duration::from_secs(7 * 24 * 3600),
            except: vec!["events".to_owned(), "leases.coordination.k8s.io".to_owned()],
        }
    }
}
