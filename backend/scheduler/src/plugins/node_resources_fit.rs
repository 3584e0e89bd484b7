//! A pod's requests must fit what its node has left; the emptier node is preferred.

use super::{MAX_SCORE, Plugin, Prepared, Reason, Text, Verdict};
use crate::cycle::Cycle;
use crate::info::NodeInfo;
use crate::queue::Happened;

pub const PLUGIN: Plugin = Plugin {
    helped_by: Happened::NODE_ADDED.or(Happened::NODE_CHANGED).or(Happened::POD_LEFT),
    prepare: |_| Prepared::Both,
    filter,
    score: |cycle, node| cycle.strategy.score(cycle, node),
    ..Plugin::NONE
};

/// Which nodes to prefer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The emptier ones: load spreads.
    #[default]
    LeastAllocated,
    /// The fuller ones: bin packing.
    MostAllocated,
}

impl std::str::FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "LeastAllocated" => Ok(Self::LeastAllocated),
            "MostAllocated" => Ok(Self::MostAllocated),
            _ => Err("expected LeastAllocated or MostAllocated".to_owned()),
        }
    }
}

impl Strategy {
    fn score(self, cycle: &Cycle<'_>, node: &NodeInfo) -> i64 {
        let requested = |have: i64, more: i64| have.saturating_add(more);
        let one = |capacity: i64, requested: i64| {
            if capacity <= 0 || requested > capacity {
                return 0;
            }
            let part = match self {
                Self::LeastAllocated => capacity - requested,
                Self::MostAllocated => requested,
            };
            i64::try_from(i128::from(part) * i128::from(MAX_SCORE) / i128::from(capacity)).unwrap_or(0)
        };
        let (cpu, memory) = cycle.pod.score_requests;
        let cpu = one(node.allocatable.milli_cpu, requested(node.score_requested.0, cpu));
        let memory = one(node.allocatable.memory, requested(node.score_requested.1, memory));
        i64::midpoint(cpu, memory)
    }
}

fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    let (pod, have, used) = (&cycle.pod.requests, &node.allocatable, &node.requested);
    let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
    let fits = |want: i64, capacity: i64, used: i64| want == 0 || want <= capacity - used;
    let basics = pods < node.max_pods
        && fits(pod.milli_cpu, have.milli_cpu, used.milli_cpu)
        && fits(pod.memory, have.memory, used.memory)
        && fits(pod.ephemeral_storage, have.ephemeral_storage, used.ephemeral_storage);
    if basics && pod.scalars.is_empty() {
        return Ok(());
    }
    let mut reasons = Vec::new();
    if pods >= node.max_pods {
        reasons.push(Reason::of("Too many pods"));
    }
    let mut check = |name: &str, want: i64, capacity: i64, used: i64| {
        if !fits(want, capacity, used) {
            // More than the whole node: no pod's removal helps.
            reasons.push(Reason { text: Text::Insufficient(name.into()), resolvable: want <= capacity });
        }
    };
    check("cpu", pod.milli_cpu, have.milli_cpu, used.milli_cpu);
    check("memory", pod.memory, have.memory, used.memory);
    check("ephemeral-storage", pod.ephemeral_storage, have.ephemeral_storage, used.ephemeral_storage);
    for (name, want) in &pod.scalars {
        check(name, *want, have.scalar(name), used.scalar(name));
    }
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}
