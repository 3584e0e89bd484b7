//! The scheduler's picture of the cluster: nodes, the pods on them, and those it has just decided about.
//!
//! Invariants:
//! - One owner, one task: decisions read it directly, so there is no snapshot to copy per decision.
//! - An assumed pod counts as running on its node until the API shows it (it is confirmed) or binding fails (it is
//!   forgotten); a pod is never counted twice.
//! - Node numbers are stable while the node is known, and reused after.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::api::{self, Labels};
use crate::counters::{Carried, Counters, Subject};
use crate::info::{NodeInfo, PodInfo};
use crate::plugins::pod_topology_spread::ZONE;

#[derive(Debug)]
struct Placed {
    pod: Arc<PodInfo>,
    node: Arc<str>,
    assumed: bool,
}

#[derive(Debug, Default)]
pub struct Cluster {
    nodes: Vec<Option<NodeInfo>>,
    by_name: HashMap<Arc<str>, usize>,
    free: Vec<usize>,
    /// The numbers of all nodes, for going through them; rebuilt when nodes come or go.
    pub order: Vec<usize>,
    placed: HashMap<Arc<str>, Placed>,
    /// Uids by namespace.
    by_namespace: HashMap<Arc<str>, HashSet<Arc<str>>>,
    pub namespaces: HashMap<Box<str>, Labels>,
    pub counters: Counters,
    /// Required anti-affinity of pods on nodes.
    pub anti: Carried,
    /// Preferred terms of pods on nodes, weighted, and their required affinity with weight one.
    pub preferences: Carried,
    /// Pods that wait for victims to leave, by uid, with the node they wait for.
    pub nominated: BTreeMap<Arc<str>, (Arc<PodInfo>, usize)>,
    /// How many nodes have a taint `PreferNoSchedule`.
    pub soft_taints: usize,
    zones: OnceCell<usize>,
    /// On how many nodes each image is.
    pub images: HashMap<Box<str>, usize>,
    pub claims: HashMap<(Box<str>, Box<str>), api::Claim>,
    pub volumes: HashMap<Box<str>, api::PersistentVolume>,
    pub storage_classes: HashMap<Box<str>, api::StorageClass>,
    pub budgets: HashMap<(Box<str>, Box<str>), api::Budget>,
}

impl Cluster {
    pub fn node_count(&self) -> usize {
        self.order.len()
    }

    pub fn node(&self, index: usize) -> Option<&NodeInfo> {
        self.nodes.get(index)?.as_ref()
    }

    pub fn node_index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn nodes(&self) -> impl Iterator<Item = (usize, &NodeInfo)> {
        self.order.iter().filter_map(|i| Some((*i, self.node(*i)?)))
    }

    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.placed.get(uid).map(|p| &p.pod)
    }

    pub fn is_assumed(&self, uid: &str) -> bool {
        self.placed.get(uid).is_some_and(|p| p.assumed)
    }

    /// Of all pods on nodes.
    pub fn uids(&self) -> Vec<Arc<str>> {
        self.placed.keys().cloned().collect()
    }

    #[cfg(test)]
    pub fn placed_count(&self) -> usize {
        self.placed.len()
    }

    /// Adds or updates a node; true when it might now fit pods that it did not fit before.
    pub fn put_node(&mut self, node: &api::Node) -> bool {
        let name: Arc<str> = node.metadata.name.as_str().into();
        let mut after = NodeInfo::default();
        after.update(node);
        let (index, new) = match self.by_name.get(&name) {
            Some(index) => (*index, false),
            None => (self.new_node(&name), true),
        };
        let Some(before) = self.node(index) else { return false };
        let relabelled = before.labels != after.labels;
        let changed = relabelled
            || before.allocatable != after.allocatable
            || before.max_pods != after.max_pods
            || before.taints != after.taints
            || before.unschedulable != after.unschedulable
            || before.images != after.images;
        if !changed && !new {
            return false;
        }
        if relabelled && !new {
            self.count_pods(index, -1);
        }
        self.count_node(index, -1);
        if let Some(info) = self.nodes.get_mut(index).and_then(Option::as_mut) {
            info.update(node);
        }
        self.count_node(index, 1);
        if relabelled || new {
            self.count_pods(index, 1);
            self.zones = OnceCell::new();
        }
        true
    }

    fn new_node(&mut self, name: &Arc<str>) -> usize {
        let mut info = NodeInfo { name: name.clone(), ..Default::default() };
        // Pods may have been seen before their node.
        let mut waiting: Vec<_> = self.placed.values().filter(|p| p.node == *name).map(|p| p.pod.clone()).collect();
        waiting.sort_by(|a, b| a.uid.cmp(&b.uid));
        waiting.into_iter().for_each(|pod| info.add(pod));
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.nodes.push(None);
                self.nodes.len() - 1
            }
        };
        self.nodes[index] = Some(info);
        self.by_name.insert(name.clone(), index);
        self.order.push(index);
        index
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(index) = self.by_name.remove(name) else { return };
        self.count_node(index, -1);
        self.count_pods(index, -1);
        self.nodes[index] = None;
        self.order.retain(|i| *i != index);
        self.free.push(index);
        self.nominated.retain(|_, (_, node)| *node != index);
        self.zones = OnceCell::new();
    }

    fn count_node(&mut self, index: usize, by: isize) {
        let Some(node) = self.nodes.get(index).and_then(Option::as_ref) else { return };
        let soft = node.taints.iter().any(|t| t.effect == "PreferNoSchedule");
        self.soft_taints = self.soft_taints.saturating_add_signed(if soft { by } else { 0 });
        for (image, _) in &node.images {
            let count = self.images.entry(image.clone()).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.images.remove(image);
            }
        }
    }

    /// Takes the node's pods into or out of what is counted by place.
    fn count_pods(&mut self, index: usize, by: i64) {
        for pod in self.node(index).map(|n| n.pods.clone()).unwrap_or_default() {
            self.carry(&pod, index, by);
            if let Some(node) = self.nodes.get(index).and_then(Option::as_ref) {
                self.counters.pod(&pod, index, node, by, &self.namespaces);
            }
        }
    }

    /// How many zones the nodes are in.
    pub fn zones(&self) -> usize {
        *self.zones.get_or_init(|| self.nodes().filter_map(|(_, n)| n.label(ZONE)).collect::<HashSet<_>>().len())
    }

    fn carry(&mut self, pod: &PodInfo, index: usize, by: i64) {
        let Some(node) = self.nodes.get(index).and_then(Option::as_ref) else { return };
        pod.anti_affinity.iter().for_each(|term| self.anti.change(term, node, by));
        pod.affinity.iter().for_each(|term| self.preferences.change(term, node, by));
        pod.preferred.iter().for_each(|(weight, term)| self.preferences.change(term, node, by * weight));
    }

    pub fn put_namespace(&mut self, name: &str, labels: Option<&Labels>) {
        let same = match labels {
            Some(labels) => self.namespaces.insert(name.into(), labels.clone()).as_ref() == Some(labels),
            None => self.namespaces.remove(name).is_none(),
        };
        if !same {
            self.counters.clear();
        }
    }

    /// A pod on a node as the API shows it.
    pub fn put_pod(&mut self, pod: Arc<PodInfo>) {
        let Some(node) = pod.node_name.clone() else { return };
        self.place(pod, node, false);
    }

    /// Counts a pod as running on a node from now on.
    pub fn assume(&mut self, pod: &Arc<PodInfo>, index: usize) {
        if let Some(node) = self.node(index).map(|n| n.name.clone()) {
            self.place(pod.clone(), node, true);
        }
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: Arc<str>, assumed: bool) {
        self.remove_pod(&pod.uid);
        self.nominated.remove(&pod.uid);
        if let Some(index) = self.node_index(&node) {
            if let Some(info) = self.nodes.get_mut(index).and_then(Option::as_mut) {
                info.add(pod.clone());
                self.counters.pod(&pod, index, info, 1, &self.namespaces);
            }
            self.carry(&pod, index, 1);
        }
        self.by_namespace.entry(pod.namespace.clone()).or_default().insert(pod.uid.clone());
        self.placed.insert(pod.uid.clone(), Placed { pod, node, assumed });
    }

    /// Takes a pod off its node, whether assumed or confirmed.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let Placed { pod, node, .. } = self.placed.remove(uid)?;
        if let Some(uids) = self.by_namespace.get_mut(&pod.namespace) {
            uids.remove(uid);
            if uids.is_empty() {
                self.by_namespace.remove(&pod.namespace);
            }
        }
        if let Some(index) = self.node_index(&node) {
            self.carry(&pod, index, -1);
            if let Some(info) = self.nodes.get_mut(index).and_then(Option::as_mut) {
                info.remove(uid);
                self.counters.pod(&pod, index, info, -1, &self.namespaces);
            }
        }
        Some(pod)
    }

    /// Makes sure a counter is there and returns its key.
    pub fn ensure_counter(&mut self, subject: &Subject, topology_key: &Arc<str>) -> String {
        let (placed, by_name, nodes) = (&self.placed, &self.by_name, &self.nodes);
        let locate = |p: &'_ Placed| by_name.get(&p.node).copied();
        // Most subjects are about one namespace: only its pods are looked at.
        let only = match subject {
            Subject::All(terms) => terms.first(),
            Subject::Staying(term) => Some(term),
            Subject::Owner(_) => None,
        };
        let only = only.filter(|t| t.namespaces.selector.is_none()).map(|t| &t.namespaces.names);
        let uids: Vec<&Arc<str>> = match only {
            Some(names) => names.iter().filter_map(|n| self.by_namespace.get(&**n)).flatten().collect(),
            None => placed.keys().collect(),
        };
        let pods = uids.into_iter().filter_map(|uid| {
            let placed = placed.get(uid)?;
            let index = locate(placed)?;
            Some((&*placed.pod, index, nodes.get(index)?.as_ref()?))
        });
        self.counters.ensure(subject, topology_key, &self.namespaces, pods)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    fn placed(name: &str, on: &str) -> Arc<PodInfo> {
        let mut pod = pod(name).requests("100m", "1Mi").build();
        pod.node_name = Some(on.into());
        Arc::new(pod)
    }

    #[test]
    fn a_pod_is_counted_once_from_assumption_to_deletion() {
        let mut cluster = Cluster::default();
        cluster.put_node(&node("n").build());
        let index = cluster.node_index("n").unwrap();
        let waiting = Arc::new(pod("a").requests("100m", "1Mi").build());
        cluster.assume(&waiting, index);
        assert!(cluster.is_assumed("uid-a"));
        assert_eq!(cluster.node(index).unwrap().requested.milli_cpu, 100);
        cluster.put_pod(placed("a", "n"));
        assert!(!cluster.is_assumed("uid-a"));
        assert_eq!(cluster.node(index).unwrap().requested.milli_cpu, 100);
        cluster.remove_pod("uid-a");
        assert!(cluster.node(index).unwrap().requested.is_zero());
        assert!(cluster.by_namespace.is_empty());
    }

    #[test]
    fn pods_may_be_seen_before_their_node_and_outlive_it() {
        let mut cluster = Cluster::default();
        cluster.put_pod(placed("a", "n"));
        cluster.put_node(&node("n").build());
        let index = cluster.node_index("n").unwrap();
        assert_eq!(cluster.node(index).unwrap().requested.milli_cpu, 100);
        cluster.remove_node("n");
        cluster.put_node(&node("n").build());
        assert_eq!(cluster.node(cluster.node_index("n").unwrap()).unwrap().requested.milli_cpu, 100);
        assert_eq!(cluster.node_count(), 1);
    }

    #[test]
    fn counters_follow_pods_and_labels() {
        let mut cluster = Cluster::default();
        cluster.put_node(&node("n1").label("zone", "a").build());
        cluster.put_node(&node("n2").label("zone", "a").build());
        let web = |name: &str, on: &str| {
            let mut pod = pod(name).label("app", "web").build();
            pod.node_name = Some(on.into());
            Arc::new(pod)
        };
        cluster.put_pod(web("a", "n1"));
        let selector = pilothouse_api::selector::LabelSelector::parse("app=web").unwrap();
        let term = crate::info::Term::within("ns", selector, "zone");
        let subject = Subject::Staying(term.clone());
        let key = cluster.ensure_counter(&subject, &term.topology_key);
        assert_eq!(cluster.counters.get(&key).unwrap().value("a"), 1);
        cluster.put_pod(web("b", "n2"));
        assert_eq!(cluster.counters.get(&key).unwrap().value("a"), 2);
        cluster.remove_pod("uid-a");
        assert_eq!(cluster.counters.get(&key).unwrap().value("a"), 1);
        cluster.put_node(&node("n2").label("zone", "b").build());
        let key = cluster.ensure_counter(&subject, &term.topology_key);
        assert_eq!(cluster.counters.get(&key).unwrap().value("a"), 0);
        assert_eq!(cluster.counters.get(&key).unwrap().value("b"), 1);
    }
}
