//! The plugins: each decides one thing about a pod and a node. One file each, one line in the table.
//!
//! Invariants:
//! - A plugin is pure; `prepare` says whether it has anything to say about this pod, so that most pods cost only what
//!   they use.
//! - Filters run in the table's order and stop at the first that refuses.

pub mod balanced_allocation;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod taint_toleration;
pub mod volume_binding;

use std::fmt;

use crate::cycle::Cycle;
use crate::info::NodeInfo;
use crate::queue::Happened;

pub const MAX_SCORE: i64 = 100;

/// Why a node does not fit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    pub text: Text,
    /// Removing pods from the node may help.
    pub resolvable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Text {
    Is(&'static str),
    Insufficient(Box<str>),
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(text) => f.write_str(text),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
        }
    }
}

impl Reason {
    /// Removing pods may help.
    pub const fn of(text: &'static str) -> Self {
        Self { text: Text::Is(text), resolvable: true }
    }

    /// Removing pods cannot help.
    pub const fn fixed(text: &'static str) -> Self {
        Self { text: Text::Is(text), resolvable: false }
    }
}

/// Everything one plugin has against a node.
pub type Verdict = Result<(), Vec<Reason>>;

/// What `prepare` found.
pub enum Prepared {
    /// Nothing to say about this pod.
    Skip,
    Filter,
    Score,
    Both,
    /// The pod fits nowhere, whatever the node.
    Reject(String),
}

pub struct Plugin {
    /// Of its score in the sum.
    pub weight: i64,
    /// What may turn its refusal.
    pub helped_by: Happened,
    pub prepare: fn(&mut Cycle<'_>) -> Prepared,
    pub filter: fn(&Cycle<'_>, &NodeInfo) -> Verdict,
    /// Any number; `normalize` brings it to 0..=100.
    pub score: fn(&Cycle<'_>, &NodeInfo) -> i64,
    pub normalize: fn(&mut [i64]),
}

impl Plugin {
    const NONE: Self = Self {
        weight: 1,
        helped_by: Happened::ANYTHING,
        prepare: |_| Prepared::Skip,
        filter: |_, _| Ok(()),
        score: |_, _| 0,
        normalize: |_| {},
    };
}

/// Cheap and decisive filters first.
pub const ALL: &[Plugin] = &[
    node_unschedulable::PLUGIN,
    node_name::PLUGIN,
    taint_toleration::PLUGIN,
    node_affinity::PLUGIN,
    node_ports::PLUGIN,
    node_resources_fit::PLUGIN,
    volume_binding::PLUGIN,
    pod_topology_spread::PLUGIN,
    inter_pod_affinity::PLUGIN,
    balanced_allocation::PLUGIN,
    image_locality::PLUGIN,
];

/// The highest score becomes 100, the rest in proportion; `reverse` for counts of what is bad.
pub fn proportional(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let part = if max == 0 { 0 } else { *score * MAX_SCORE / max };
        *score = if reverse { MAX_SCORE - part } else { part };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_in_proportion() {
        for (scores, reverse, expect) in [
            ([0, 5, 10], false, [0, 50, 100]),
            ([0, 5, 10], true, [100, 50, 0]),
            ([0, 0, 0], false, [0, 0, 0]),
            ([0, 0, 0], true, [100, 100, 100]),
        ] {
            let mut got = scores;
            proportional(&mut got, reverse);
            assert_eq!(got, expect, "{scores:?} {reverse}");
        }
    }
}
