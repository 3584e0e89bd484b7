//! Counts of pods by place: how many pods that a term is about run where.
//!
//! Invariants:
//! - A counter is built by one pass over the pods when it is first asked for, then kept right by every change.
//! - At most `MAX_COUNTERS` are kept; the one not asked for the longest goes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::Labels;
use crate::info::{NodeInfo, PodInfo, Term};

/// More distinct terms than that in use at once are rebuilt now and then.
const MAX_COUNTERS: usize = 512;

/// Which pods are counted.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Those that all terms are about.
    All(Vec<Term>),
    /// As `All`, without those being deleted.
    Staying(Term),
    /// Those with this controlling owner, without those being deleted.
    Owner(Arc<str>),
}

impl Subject {
    fn matches(&self, pod: &PodInfo, namespaces: &HashMap<Box<str>, Labels>) -> bool {
        let about = |term: &Term| term.matches(pod, |ns| namespaces.get(ns));
        match self {
            Self::All(terms) => terms.iter().all(about),
            Self::Staying(term) => !pod.deleting && about(term),
            Self::Owner(uid) => !pod.deleting && pod.owner.as_ref() == Some(uid),
        }
    }

    pub fn id(&self) -> String {
        match self {
            Self::All(terms) => terms.iter().fold("all".to_owned(), |id, t| format!("{id} & {}", t.id)),
            Self::Staying(term) => format!("staying {}", term.id),
            Self::Owner(uid) => format!("owner {uid}"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Counter {
    subject: Subject,
    topology_key: Arc<str>,
    pub by_value: HashMap<Box<str>, i64>,
    /// By the node's number; all nodes with such pods, those without the label too.
    pub by_node: HashMap<usize, i64>,
    used: u64,
}

impl Counter {
    pub fn of(&self, node: &NodeInfo) -> i64 {
        node.label(&self.topology_key).map_or(0, |value| self.value(value))
    }

    pub fn value(&self, value: &str) -> i64 {
        self.by_value.get(value).copied().unwrap_or(0)
    }

    fn change(&mut self, index: usize, node: &NodeInfo, by: i64) {
        change(&mut self.by_node, index, by);
        if let Some(value) = node.labels.get(&*self.topology_key) {
            change(&mut self.by_value, value.clone(), by);
        }
    }
}

fn change<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, i64>, key: K, by: i64) {
    use std::collections::hash_map::Entry;
    match counts.entry(key) {
        Entry::Occupied(mut entry) => {
            *entry.get_mut() += by;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        Entry::Vacant(entry) => {
            entry.insert(by);
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Counters {
    counters: HashMap<String, Counter>,
    clock: u64,
}

impl Counters {
    pub fn key(subject: &Subject, topology_key: &str) -> String {
        format!("{topology_key} of {}", subject.id())
    }

    /// Makes sure that a counter is there; `pods` gives every pod that might match, with its node.
    pub fn ensure<'a>(
        &mut self,
        subject: &Subject,
        topology_key: &Arc<str>,
        namespaces: &HashMap<Box<str>, Labels>,
        pods: impl Iterator<Item = (&'a PodInfo, usize, &'a NodeInfo)>,
    ) -> String {
        self.clock += 1;
        let key = Self::key(subject, topology_key);
        if let Some(counter) = self.counters.get_mut(&key) {
            counter.used = self.clock;
            return key;
        }
        if self.counters.len() >= MAX_COUNTERS
            && let Some(oldest) = self.counters.iter().min_by_key(|(_, c)| c.used).map(|(k, _)| k.clone())
        {
            self.counters.remove(&oldest);
        }
        let mut counter = Counter {
            subject: subject.clone(),
            topology_key: topology_key.clone(),
            by_value: HashMap::new(),
            by_node: HashMap::new(),
            used: self.clock,
        };
        for (_, index, node) in pods.filter(|(pod, ..)| subject.matches(pod, namespaces)) {
            counter.change(index, node, 1);
        }
        self.counters.insert(key.clone(), counter);
        key
    }

    pub fn get(&self, key: &str) -> Option<&Counter> {
        self.counters.get(key)
    }

    /// A pod came to (`by` 1) or left (-1) a node.
    pub fn pod(
        &mut self,
        pod: &PodInfo,
        index: usize,
        node: &NodeInfo,
        by: i64,
        namespaces: &HashMap<Box<str>, Labels>,
    ) {
        for counter in self.counters.values_mut() {
            if counter.subject.matches(pod, namespaces) {
                counter.change(index, node, by);
            }
        }
    }

    /// Namespaces' labels changed: everything is counted anew when asked for.
    pub fn clear(&mut self) {
        self.counters.clear();
    }
}

/// The terms that pods on nodes bring with them, with the places they hold for: what an incoming pod must respect
/// (required anti-affinity) or may like (the rest).
#[derive(Clone, Debug, Default)]
pub struct Carried {
    terms: HashMap<Arc<str>, (Term, HashMap<Box<str>, i64>)>,
}

impl Carried {
    pub fn change(&mut self, term: &Term, node: &NodeInfo, by: i64) {
        let Some(value) = node.labels.get(&*term.topology_key) else { return };
        let (_, places) = self.terms.entry(term.id.clone()).or_insert_with(|| (term.clone(), HashMap::new()));
        change(places, value.clone(), by);
        if places.is_empty() {
            self.terms.remove(&term.id);
        }
    }

    /// The terms about this pod.
    pub fn about<'a>(
        &'a self,
        pod: &PodInfo,
        namespaces: &HashMap<Box<str>, Labels>,
    ) -> Vec<(&'a str, &'a HashMap<Box<str>, i64>)> {
        let about = self.terms.values().filter(|(term, _)| term.matches(pod, |ns| namespaces.get(ns)));
        about.map(|(term, places)| (&*term.topology_key, places)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}
