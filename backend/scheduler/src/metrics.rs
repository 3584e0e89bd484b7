//! How the scheduler is doing, under upstream's names.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
    profile: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Place {
    queue: &'static str,
}

pub struct Metrics {
    attempts: Family<Outcome, Counter<u64, AtomicU64>>,
    pending: Family<Place, Gauge<i64, AtomicI64>>,
    /// Seconds of deciding about one pod.
    pub deciding: Histogram,
    /// Seconds from a decision to its binding's answer.
    pub binding: Histogram,
}

/// A process has one scheduler.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    attempts: Family::default(),
    pending: Family::default(),
    deciding: Histogram::new([0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0]),
    binding: Histogram::new([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
});

impl Metrics {
    /// `result`: `scheduled`, `unschedulable` or `error`.
    pub fn attempt(&self, result: &'static str) {
        self.attempts.get_or_create(&Outcome { result, profile: crate::scheduler::NAME }).inc();
    }

    /// `queue`: `active`, `backoff`, `unschedulable` or `gated`.
    pub fn pending(&self, queue: &'static str, pods: usize) {
        self.pending.get_or_create(&Place { queue }).set(i64::try_from(pods).unwrap_or(i64::MAX));
    }
}

/// Puts the scheduler's metrics into a registry.
pub fn register(registry: &mut Registry) {
    let all = &*METRICS;
    registry.register("scheduler_schedule_attempts", "Decisions by what came of them", all.attempts.clone());
    registry.register("scheduler_pending_pods", "Pods that wait, by where", all.pending.clone());
    let (deciding, binding) = (all.deciding.clone(), all.binding.clone());
    registry.register("scheduler_scheduling_algorithm_duration_seconds", "Time of one decision", deciding);
    registry.register("scheduler_binding_duration_seconds", "Time until a binding is answered", binding);
}
