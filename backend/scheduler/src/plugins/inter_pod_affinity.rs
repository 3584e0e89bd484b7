//! Pods that must, must not, would or would rather not run near other pods, "near" being the same value of a node label.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>
//!
//! Counting is done by `counters`, incrementally; a decision only looks counts up.

use std::collections::HashMap;

use super::{MAX_SCORE, Plugin, Prepared, Reason, Verdict};
use crate::counters::{Counters, Subject};
use crate::cycle::Cycle;
use crate::info::{NodeInfo, Term};
use crate::queue::Happened;

pub const PLUGIN: Plugin = Plugin {
    weight: 2,
    helped_by: Happened::NODE_ADDED.or(Happened::NODE_CHANGED).or(Happened::POD_LEFT).or(Happened::POD_PLACED),
    prepare,
    filter,
    score,
    normalize,
};

/// What one decision looks up. Keys are of counters in `Cluster::counters`.
#[derive(Default)]
pub struct Lookup<'a> {
    /// Required affinity: topology key and counter of the pods that all terms are about.
    affinity: Vec<(&'a str, String)>,
    /// The pod is the first of those it wants to be near to.
    first_of_its_kind: bool,
    anti: Vec<String>,
    /// Places that pods there keep this pod away from.
    kept_away: Vec<(&'a str, &'a HashMap<Box<str>, i64>)>,
    preferred: Vec<(i64, String)>,
    /// Places that pods there like or dislike this pod to be near, by weight.
    liked: Vec<(&'a str, &'a HashMap<Box<str>, i64>)>,
}

fn prepare(cycle: &mut Cycle<'_>) -> Prepared {
    let (pod, cluster) = (cycle.pod, cycle.cluster);
    if pod.affinity.is_empty()
        && pod.anti_affinity.is_empty()
        && pod.preferred.is_empty()
        && cluster.anti.is_empty()
        && cluster.preferences.is_empty()
    {
        return Prepared::Skip;
    }
    let kept_away = cluster.anti.about(pod, &cluster.namespaces);
    let liked = cluster.preferences.about(pod, &cluster.namespaces);
    let affinity: Vec<(&str, String)> = pod
        .affinity
        .iter()
        .map(|t| (&*t.topology_key, Counters::key(&Subject::All(pod.affinity.clone()), &t.topology_key)))
        .collect();
    let anywhere = affinity.iter().any(|(_, key)| cluster.counters.get(key).is_some_and(|c| !c.by_value.is_empty()));
    let own = pod.affinity.iter().all(|t| t.matches(pod, |ns| cluster.namespaces.get(ns)));
    let anti = pod.anti_affinity.iter().map(term_counter).collect();
    let preferred = pod.preferred.iter().map(|(w, t)| (*w, term_counter(t))).collect();
    let lookup = Lookup { affinity, first_of_its_kind: !anywhere && own, anti, kept_away, preferred, liked };
    let filters = !lookup.affinity.is_empty() || !lookup.anti.is_empty() || !lookup.kept_away.is_empty();
    let scores = !lookup.preferred.is_empty() || !lookup.liked.is_empty();
    cycle.inter_pod = lookup;
    match (filters, scores) {
        (false, false) => Prepared::Skip,
        (true, false) => Prepared::Filter,
        (false, true) => Prepared::Score,
        (true, true) => Prepared::Both,
    }
}

fn term_counter(term: &Term) -> String {
    Counters::key(&Subject::All(vec![term.clone()]), &term.topology_key)
}

fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    let lookup = &cycle.inter_pod;
    let count = |key: &str| cycle.cluster.counters.get(key).map_or(0, |c| c.of(node));
    if !lookup.affinity.is_empty() {
        let labelled = lookup.affinity.iter().all(|(key, _)| node.labels.contains_key(*key));
        let near = labelled && lookup.affinity.iter().all(|(_, counter)| count(counter) > 0);
        if !(near || labelled && lookup.first_of_its_kind) {
            return Err(vec![Reason::fixed("node(s) didn't match pod affinity rules")]);
        }
    }
    if lookup.anti.iter().any(|counter| count(counter) > 0) {
        return Err(vec![Reason::of("node(s) didn't match pod anti-affinity rules")]);
    }
    let away = |(key, places): &(&str, &HashMap<Box<str>, i64>)| {
        node.label(key).is_some_and(|value| places.get(value).is_some_and(|n| *n > 0))
    };
    if lookup.kept_away.iter().any(away) {
        return Err(vec![Reason::of("node(s) didn't satisfy existing pods anti-affinity rules")]);
    }
    Ok(())
}

fn score(cycle: &Cycle<'_>, node: &NodeInfo) -> i64 {
    let lookup = &cycle.inter_pod;
    let own = lookup
        .preferred
        .iter()
        .map(|(weight, counter)| weight * cycle.cluster.counters.get(counter).map_or(0, |c| c.of(node)));
    let others = lookup.liked.iter().filter_map(|(key, places)| places.get(node.label(key)?).copied());
    own.chain(others).sum()
}

/// The lowest becomes 0, the highest 100.
fn normalize(scores: &mut [i64]) {
    let (min, max) = (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
    for score in scores {
        *score = if max == min { 0 } else { MAX_SCORE * (*score - min) / (max - min) };
    }
}
