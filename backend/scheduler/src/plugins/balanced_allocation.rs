//! Prefers nodes whose CPU and memory would be used to a similar degree, so that neither is stranded.

use super::{MAX_SCORE, Plugin, Prepared};
use crate::cycle::Cycle;
use crate::info::NodeInfo;

pub const PLUGIN: Plugin = Plugin {
    prepare: |cycle| match cycle.pod.requests.milli_cpu == 0 && cycle.pod.requests.memory == 0 {
        // A pod that asks for nothing changes no balance.
        true => Prepared::Skip,
        false => Prepared::Score,
    },
    score,
    ..Plugin::NONE
};

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score of two digits")]
fn score(cycle: &Cycle<'_>, node: &NodeInfo) -> i64 {
    let fraction = |capacity: i64, used: i64, more: i64| {
        if capacity <= 0 { 1.0 } else { (used.saturating_add(more) as f64 / capacity as f64).min(1.0) }
    };
    let (have, used, pod) = (&node.allocatable, &node.requested, &cycle.pod.requests);
    let cpu = fraction(have.milli_cpu, used.milli_cpu, pod.milli_cpu);
    let memory = fraction(have.memory, used.memory, pod.memory);
    let deviation = (cpu - memory).abs() / 2.0;
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}
