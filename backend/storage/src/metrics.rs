//! What the store tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From a fast flush to the write timeout.
const SECONDS: [f64; 12] = [0.0003, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 5.0];
const UNITS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

pub(crate) struct Metrics {
    pub commit_seconds: Histogram,
    pub write_seconds: Histogram,
    pub batch_units: Histogram,
    pub changes: Counter,
    pub refused: Counter,
    pub contended: Counter,
    pub connects: Counter,
    pub doubts: Counter,
    pub resets: Counter,
    pub replays: Counter,
    pub gone: Counter,
    pub questions: Counter,
    pub retired: Counter,
    pub revision: Gauge,
    pub compacted: Gauge,
    pub available: Gauge,
    pub objects: Gauge,
    pub watchers: Gauge,
    pub ring_events: Gauge,
    pub ring_bytes: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            commit_seconds: Histogram::new(SECONDS),
            write_seconds: Histogram::new(SECONDS),
            batch_units: Histogram::new(UNITS),
            changes: Counter::default(),
            refused: Counter::default(),
            contended: Counter::default(),
            connects: Counter::default(),
            doubts: Counter::default(),
            resets: Counter::default(),
            replays: Counter::default(),
            gone: Counter::default(),
            questions: Counter::default(),
            retired: Counter::default(),
            revision: Gauge::default(),
            compacted: Gauge::default(),
            available: Gauge::default(),
            objects: Gauge::default(),
            watchers: Gauge::default(),
            ring_events: Gauge::default(),
            ring_bytes: Gauge::default(),
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("pilothouse_storage");
        r.register("commit_seconds", "Time of one batch in PostgreSQL", self.commit_seconds.clone());
        r.register("write_seconds", "Time from handing in a unit to its answer", self.write_seconds.clone());
        r.register("batch_units", "Units committed together", self.batch_units.clone());
        r.register("changes", "Changes committed by this backend", self.changes.clone());
        r.register("units_refused", "Units that failed a precondition", self.refused.clone());
        r.register(
            "batches_contended",
            "Batches that met another backend's and were prepared anew",
            self.contended.clone(),
        );
        r.register("connects", "Sessions the writer has opened", self.connects.clone());
        r.register("doubts", "Commits whose outcome had to be found out", self.doubts.clone());
        r.register("resets", "Times the cache was rebuilt because history was lost or missed", self.resets.clone());
        r.register(
            "log_replays",
            "Pages of the log read for watches that started before the memory",
            self.replays.clone(),
        );
        r.register("watches_gone", "Watches ended because they were too slow or started too early", self.gone.clone());
        r.register("revision_questions", "Times the database was asked for its revision", self.questions.clone());
        r.register("partitions_retired", "Partitions of the log dropped", self.retired.clone());
        r.register("revision", "The cache's revision", self.revision.clone());
        r.register("compacted_revision", "The compacted revision", self.compacted.clone());
        r.register("available", "1 when writes are accepted", self.available.clone());
        r.register("objects", "Objects in the cache", self.objects.clone());
        r.register("watchers", "Open watches", self.watchers.clone());
        r.register("ring_events", "Events in memory for watches", self.ring_events.clone());
        r.register("ring_bytes", "Bytes of the events in memory for watches", self.ring_bytes.clone());
    }
}
