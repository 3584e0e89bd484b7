//! Spreads pods evenly over places (zones, nodes): `maxSkew` is the most a place may be ahead of the emptiest.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>
//!
//! Pods of one owner without constraints of their own are spread softly over nodes and zones.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{MAX_SCORE, Plugin, Prepared, Reason, Verdict, node_affinity, taint_toleration};
use crate::cluster::Cluster;
use crate::counters::{Counters, Subject};
use crate::cycle::Cycle;
use crate::info::{NodeInfo, PodInfo, Spread};
use crate::queue::Happened;

pub const HOSTNAME: &str = "kubernetes.io/hostname";
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Upstream's system defaults: key and maxSkew.
pub const DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), (ZONE, 5)];

pub const PLUGIN: Plugin = Plugin {
    weight: 2,
    helped_by: Happened::NODE_ADDED.or(Happened::NODE_CHANGED).or(Happened::POD_LEFT).or(Happened::POD_PLACED),
    prepare,
    filter,
    score,
    normalize,
};

/// One constraint as a decision sees it.
struct Constraint<'a> {
    key: &'a str,
    max_skew: i64,
    /// Pods by place.
    counts: Cow<'a, HashMap<Box<str>, i64>>,
    min: i64,
    /// The pod itself is one of those counted.
    counts_itself: bool,
    weight: f64,
}

#[derive(Default)]
pub struct Lookup<'a> {
    required: Vec<Constraint<'a>>,
    preferred: Vec<Constraint<'a>>,
    /// The pod's own constraints leave nodes without the label out of the soft scores.
    own: bool,
}

fn prepare(cycle: &mut Cycle<'_>) -> Prepared {
    let (pod, cluster) = (cycle.pod, cycle.cluster);
    let mut lookup = Lookup { own: !pod.spread.is_empty(), ..Default::default() };
    for spread in &pod.spread {
        let constraint = own_constraint(pod, cluster, spread);
        if spread.required { lookup.required.push(constraint) } else { lookup.preferred.push(constraint) }
    }
    if let (true, Some(owner)) = (pod.spread.is_empty(), &pod.owner) {
        for (key, max_skew) in DEFAULTS {
            let counter = Counters::key(&Subject::Owner(owner.clone()), key);
            // The first of its kind scores the same everywhere.
            if let Some(counts) = cluster.counters.get(&counter).map(|c| &c.by_value).filter(|c| !c.is_empty()) {
                let weight = weight(if key == HOSTNAME { cluster.node_count() } else { cluster.zones() });
                let counts = Cow::Borrowed(counts);
                lookup.preferred.push(Constraint { key, max_skew, counts, min: 0, counts_itself: true, weight });
            }
        }
    }
    let found = (lookup.required.is_empty(), lookup.preferred.is_empty());
    cycle.spread = lookup;
    match found {
        (true, true) => Prepared::Skip,
        (false, true) => Prepared::Filter,
        (true, false) => Prepared::Score,
        (false, false) => Prepared::Both,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of nodes")]
fn weight(places: usize) -> f64 {
    // The more places, the more a difference between them means.
    (places as f64 + 2.0).ln()
}

fn own_constraint<'a>(pod: &'a PodInfo, cluster: &'a Cluster, spread: &'a Spread) -> Constraint<'a> {
    let key = &*spread.term.topology_key;
    let counter = Counters::key(&Subject::Staying(spread.term.clone()), key);
    let counted = cluster.counters.get(&counter);
    // Nodes that count: labelled for every constraint of its kind, and as the policies say.
    let same_kind: Vec<&str> =
        pod.spread.iter().filter(|s| s.required == spread.required).map(|s| &*s.term.topology_key).collect();
    let counts_node = |node: &NodeInfo| {
        same_kind.iter().all(|key| node.labels.contains_key(*key))
            && (!spread.honor_affinity || node_affinity::matches(pod, node))
            && (!spread.honor_taints || taint_toleration::untolerated(pod, node).is_none())
    };
    let mut counts: HashMap<Box<str>, i64> = HashMap::new();
    for (index, node) in cluster.nodes().filter(|(_, node)| counts_node(node)) {
        if let Some(value) = node.labels.get(key) {
            let here = counted.and_then(|c| c.by_node.get(&index)).copied().unwrap_or(0);
            match counts.get_mut(value) {
                Some(count) => *count += here,
                None => drop(counts.insert(value.clone(), here)),
            }
        }
    }
    let few = i64::try_from(counts.len()).unwrap_or(i64::MAX) < spread.min_domains;
    let min = if few { 0 } else { counts.values().copied().min().unwrap_or(0) };
    let counts_itself = spread.term.matches(pod, |ns| cluster.namespaces.get(ns));
    let weight = weight(counts.len());
    Constraint { key, max_skew: spread.max_skew, counts: Cow::Owned(counts), min, counts_itself, weight }
}

fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    for constraint in &cycle.spread.required {
        let Some(value) = node.labels.get(constraint.key) else {
            let missing = "node(s) didn't match pod topology spread constraints (missing required label)";
            return Err(vec![Reason::fixed(missing)]);
        };
        let here = constraint.counts.get(value).copied().unwrap_or(0);
        if here + i64::from(constraint.counts_itself) - constraint.min > constraint.max_skew {
            return Err(vec![Reason::of("node(s) didn't match pod topology spread constraints")]);
        }
    }
    Ok(())
}

/// Nodes that the pod's own constraints do not know are worst.
const IGNORED: i64 = i64::MAX;

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts of pods")]
fn score(cycle: &Cycle<'_>, node: &NodeInfo) -> i64 {
    let mut sum = 0.0;
    for constraint in &cycle.spread.preferred {
        match node.labels.get(constraint.key) {
            Some(value) => {
                let count = constraint.counts.get(value).copied().unwrap_or(0);
                sum += count as f64 * constraint.weight + (constraint.max_skew - 1) as f64;
            }
            None if cycle.spread.own => return IGNORED,
            None => {}
        }
    }
    sum.round() as i64
}

/// Fewer is better.
fn normalize(scores: &mut [i64]) {
    let known = || scores.iter().copied().filter(|s| *s != IGNORED);
    let (min, max) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    for score in scores {
        *score = match *score {
            IGNORED => 0,
            _ if max == 0 => MAX_SCORE,
            score => MAX_SCORE * (max + min - score) / max,
        };
    }
}
