//! How the controllers are doing, under the names of upstream's work queues.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Name {
    name: &'static str,
}

struct Families {
    depth: Family<Name, Gauge<i64, AtomicI64>>,
    adds: Family<Name, Counter<u64, AtomicU64>>,
    retries: Family<Name, Counter<u64, AtomicU64>>,
    queued: Family<Name, Histogram, fn() -> Histogram>,
    worked: Family<Name, Histogram, fn() -> Histogram>,
}

/// Upstream's buckets: from ten microseconds to a thousand seconds, by tens, and a few in between.
fn seconds() -> Histogram {
    Histogram::new([0.00001, 0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1000.0])
}

/// A process has one set of controllers.
static FAMILIES: LazyLock<Families> = LazyLock::new(|| Families {
    depth: Family::default(),
    adds: Family::default(),
    retries: Family::default(),
    queued: Family::new_with_constructor(seconds),
    worked: Family::new_with_constructor(seconds),
});

/// Puts the controllers' metrics into a registry.
pub fn register(registry: &mut Registry) {
    let all = &*FAMILIES;
    registry.register("workqueue_depth", "Keys that wait for a worker", all.depth.clone());
    registry.register("workqueue_adds", "Keys added", all.adds.clone());
    registry.register("workqueue_retries", "Keys added again after a failure", all.retries.clone());
    registry.register("workqueue_queue_duration_seconds", "How long keys wait for a worker", all.queued.clone());
    registry.register("workqueue_work_duration_seconds", "How long a key is worked on", all.worked.clone());
}

/// One queue's metrics.
#[derive(Clone)]
pub struct Meter {
    pub depth: Gauge<i64, AtomicI64>,
    pub adds: Counter<u64, AtomicU64>,
    pub retries: Counter<u64, AtomicU64>,
    pub queued: Histogram,
    pub worked: Histogram,
}

impl Meter {
    pub fn of(name: &'static str) -> Self {
        let (all, name) = (&*FAMILIES, Name { name });
        Self {
            depth: all.depth.get_or_create(&name).clone(),
            adds: all.adds.get_or_create(&name).clone(),
            retries: all.retries.get_or_create(&name).clone(),
            queued: all.queued.get_or_create(&name).clone(),
            worked: all.worked.get_or_create(&name).clone(),
        }
    }
}
