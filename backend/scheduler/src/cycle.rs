//! One decision: filter the nodes, score those that fit, pick the best.
//!
//! Invariants:
//! - Pure: the pod, the cluster and a source of randomness in; a node or the reasons out.
//! - In a big cluster not all nodes are looked at: enough that fit, taking turns in where to start, as upstream.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;

use crate::cluster::Cluster;
use crate::counters::Subject;
use crate::info::{NodeInfo, PodInfo};
use crate::plugins::node_affinity::NodeTerm;
use crate::plugins::node_resources_fit::Strategy;
use crate::plugins::{ALL, Plugin, Prepared, Reason, Verdict, inter_pod_affinity, pod_topology_spread};
use crate::queue::Happened;

/// Below this many nodes all are looked at; above, at least this many that fit are found.
const MIN_FEASIBLE: usize = 100;
const MIN_PERCENT: usize = 5;

/// What the plugins see.
pub struct Cycle<'a> {
    pub pod: &'a PodInfo,
    pub cluster: &'a Cluster,
    pub strategy: Strategy,
    pub inter_pod: inter_pod_affinity::Lookup<'a>,
    pub spread: pod_topology_spread::Lookup<'a>,
    /// The node terms of each volume that has any.
    pub volumes: Vec<Vec<NodeTerm>>,
    filters: Vec<&'static Plugin>,
    scorers: Vec<&'static Plugin>,
}

/// Why a pod fits nowhere.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    pub nodes: usize,
    /// Says what is wrong when it is not the nodes.
    pub rejected: Option<String>,
    pub reasons: Vec<(usize, Vec<Reason>)>,
    pub helped_by: Happened,
}

#[derive(Debug)]
pub enum Decision {
    /// The node's number.
    Node(usize),
    Nowhere(Diagnosis),
}

impl Diagnosis {
    /// Upstream's sentence, which people and tests know.
    pub fn message(&self) -> String {
        if self.nodes == 0 && self.rejected.is_none() {
            return "no nodes available to schedule pods".into();
        }
        let head = format!("0/{} nodes are available:", self.nodes);
        if let Some(why) = &self.rejected {
            return format!("{head} {why}.");
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for reason in self.reasons.iter().flat_map(|(_, reasons)| reasons) {
            *counts.entry(reason.text.to_string()).or_default() += 1;
        }
        let mut parts: Vec<String> = counts.into_iter().map(|(text, count)| format!("{count} {text}")).collect();
        parts.sort();
        format!("{head} {}.", parts.join(", "))
    }
}

/// The counters that deciding about this pod will ask for.
fn subjects(pod: &PodInfo) -> Vec<(Subject, Arc<str>)> {
    let mut subjects = Vec::new();
    for term in &pod.affinity {
        subjects.push((Subject::All(pod.affinity.clone()), term.topology_key.clone()));
    }
    for term in pod.anti_affinity.iter().chain(pod.preferred.iter().map(|(_, t)| t)) {
        subjects.push((Subject::All(vec![term.clone()]), term.topology_key.clone()));
    }
    for spread in &pod.spread {
        subjects.push((Subject::Staying(spread.term.clone()), spread.term.topology_key.clone()));
    }
    if let (true, Some(owner)) = (pod.spread.is_empty(), &pod.owner) {
        for (key, _) in pod_topology_spread::DEFAULTS {
            subjects.push((Subject::Owner(owner.clone()), key.into()));
        }
    }
    subjects
}

/// Makes sure that everything a decision looks up is counted. To be called before [`Cycle::new`].
pub fn prepare(cluster: &mut Cluster, pod: &PodInfo) {
    for (subject, key) in subjects(pod) {
        cluster.ensure_counter(&subject, &key);
    }
}

impl<'a> Cycle<'a> {
    /// Asks every plugin what it has to say about the pod; the refusal of one ends it.
    pub fn new(cluster: &'a Cluster, pod: &'a PodInfo, strategy: Strategy) -> Result<Self, Diagnosis> {
        let (filters, scorers) = (Vec::with_capacity(ALL.len()), Vec::with_capacity(ALL.len()));
        let (inter_pod, spread) = (Default::default(), Default::default());
        let mut cycle = Self { pod, cluster, strategy, inter_pod, spread, volumes: Vec::new(), filters, scorers };
        let reject = |why: String, helped_by| {
            Err(Diagnosis { nodes: cluster.node_count(), rejected: Some(why), reasons: Vec::new(), helped_by })
        };
        if let Some(why) = &pod.broken {
            return reject(why.clone(), Happened::NOTHING);
        }
        for plugin in ALL {
            match (plugin.prepare)(&mut cycle) {
                Prepared::Skip => {}
                Prepared::Filter => cycle.filters.push(plugin),
                Prepared::Score => cycle.scorers.push(plugin),
                Prepared::Both => {
                    cycle.filters.push(plugin);
                    cycle.scorers.push(plugin);
                }
                Prepared::Reject(why) => return reject(why, plugin.helped_by),
            }
        }
        Ok(cycle)
    }

    fn check(&self, node: &NodeInfo) -> Result<(), (Vec<Reason>, Happened)> {
        for plugin in &self.filters {
            let verdict: Verdict = (plugin.filter)(self, node);
            verdict.map_err(|reasons| (reasons, plugin.helped_by))?;
        }
        Ok(())
    }

    /// Whether the pod fits the node, also beside those that wait for room there and come first.
    pub fn fits(&self, index: usize) -> Result<(), (Vec<Reason>, Happened)> {
        let Some(node) = self.cluster.node(index) else { return Err((Vec::new(), Happened::NOTHING)) };
        if !self.cluster.nominated.is_empty() {
            let mut crowded: Option<NodeInfo> = None;
            for (pod, on) in self.cluster.nominated.values() {
                if *on == index && pod.priority >= self.pod.priority && pod.uid != self.pod.uid {
                    crowded.get_or_insert_with(|| node.clone()).add(pod.clone());
                }
            }
            if let Some(crowded) = crowded {
                self.check(&crowded)?;
            }
        }
        self.check(node)
    }

    /// Picks a node. `turn` is where to begin looking and moves on.
    pub fn decide(&self, turn: &mut usize, rng: &mut impl Rng) -> Decision {
        let order = &self.cluster.order;
        let mut diagnosis = Diagnosis { nodes: order.len(), ..Default::default() };
        let waiting = self.cluster.nominated.get(&self.pod.uid).map(|(_, node)| *node);
        if let Some(index) = waiting.filter(|index| self.fits(*index).is_ok()) {
            return Decision::Node(index);
        }
        let enough = enough(order.len());
        let mut feasible: Vec<usize> = Vec::with_capacity(enough.min(order.len()));
        let start = if order.is_empty() { 0 } else { *turn % order.len() };
        let mut looked_at = 0;
        for index in order.iter().cycle().skip(start).take(order.len()) {
            looked_at += 1;
            match self.fits(*index) {
                Ok(()) => feasible.push(*index),
                Err((reasons, helped_by)) => {
                    diagnosis.helped_by = diagnosis.helped_by.or(helped_by);
                    diagnosis.reasons.push((*index, reasons));
                }
            }
            if feasible.len() >= enough {
                break;
            }
        }
        *turn = start + looked_at;
        match feasible.as_slice() {
            [] => {
                diagnosis.helped_by = diagnosis.helped_by.or(Happened::NODE_ADDED);
                Decision::Nowhere(diagnosis)
            }
            [only] => Decision::Node(*only),
            _ => Decision::Node(self.best(&feasible, rng)),
        }
    }

    fn best(&self, feasible: &[usize], rng: &mut impl Rng) -> usize {
        let nodes: Vec<&NodeInfo> = feasible.iter().filter_map(|i| self.cluster.node(*i)).collect();
        let mut totals = vec![0i64; nodes.len()];
        let mut scores = Vec::with_capacity(nodes.len());
        for plugin in &self.scorers {
            scores.clear();
            scores.extend(nodes.iter().map(|node| (plugin.score)(self, node)));
            (plugin.normalize)(&mut scores);
            for (total, score) in totals.iter_mut().zip(&scores) {
                *total += score * plugin.weight;
            }
        }
        let best = totals.iter().copied().max().unwrap_or(0);
        let ties = totals.iter().filter(|t| **t == best).count().max(1);
        let chosen = rng.random_range(0..ties);
        let at = totals.iter().enumerate().filter(|(_, t)| **t == best).nth(chosen).map_or(0, |(i, _)| i);
        feasible[at]
    }
}

/// How many nodes that fit are enough to choose from.
fn enough(nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE {
        return nodes.max(1);
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(MIN_PERCENT);
    (nodes * percent / 100).max(MIN_FEASIBLE)
}

#[cfg(test)]
mod tests;
