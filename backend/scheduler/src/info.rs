//! Pods and nodes in the form that decisions use: numbers added up, selectors compiled, once per change.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use pilothouse_api::selector::LabelSelector;
use serde_json::{Value, json};

use crate::api::{self, Labels};
use crate::plugins::node_affinity::NodeTerm;
use crate::resources::{Resources, pod_requests, pod_requests_for_scores};

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: Box<str>,
    pub port: u16,
    pub ip: Box<str>,
}

impl HostPort {
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// Which namespaces' pods a term is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespaces {
    pub names: BTreeSet<Box<str>>,
    /// Additionally those whose labels match.
    pub selector: Option<LabelSelector>,
}

/// A set of pods, together with the node label whose values are the places.
#[derive(Clone, Debug)]
pub struct Term {
    /// Equal terms have equal ids.
    pub id: Arc<str>,
    pub namespaces: Namespaces,
    pub selector: LabelSelector,
    pub topology_key: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct Spread {
    pub term: Term,
    pub max_skew: i64,
    pub required: bool,
    pub min_domains: i64,
    /// Nodes the pod's own node selector or affinity excludes do not count.
    pub honor_affinity: bool,
    /// Nodes with taints the pod does not tolerate do not count.
    pub honor_taints: bool,
}

#[derive(Clone, Debug, Default)]
pub struct PodInfo {
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub resource_version: u64,
    pub labels: Labels,
    /// The uid of the controlling owner.
    pub owner: Option<Arc<str>>,
    pub node_name: Option<Arc<str>>,
    pub nominated_node: Option<Arc<str>>,
    pub priority: i32,
    pub never_preempts: bool,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub deleting: bool,
    pub gates: Vec<String>,
    pub scheduler_name: String,
    pub requests: Resources,
    /// CPU and memory with defaults, for scores.
    pub score_requests: (i64, i64),
    pub host_ports: Vec<HostPort>,
    pub tolerations: Vec<api::Toleration>,
    pub node_selector: Labels,
    pub required_nodes: Option<Vec<NodeTerm>>,
    pub preferred_nodes: Vec<(i64, NodeTerm)>,
    pub affinity: Vec<Term>,
    pub anti_affinity: Vec<Term>,
    /// Weights of anti-affinity are negative.
    pub preferred: Vec<(i64, Term)>,
    pub spread: Vec<Spread>,
    pub images: Vec<Box<str>>,
    pub containers: usize,
    pub claims: Vec<Box<str>>,
    /// Reason and message of a False `PodScheduled` condition.
    pub not_scheduled: Option<(String, String)>,
    /// A selector that cannot be understood: such a pod fits nowhere.
    pub broken: Option<String>,
}

impl PodInfo {
    pub fn new(pod: &api::Pod) -> Self {
        let (meta, spec, status) = (&pod.metadata, &pod.spec, &pod.status);
        let mut broken = None;
        let mut term = |t: &api::PodTerm| match Term::new(t, meta) {
            Ok(term) => Some(term),
            Err(why) => {
                broken.get_or_insert(why);
                None
            }
        };
        let affinity = &spec.affinity;
        let required: Vec<Term> = affinity.pod_affinity.required.iter().filter_map(&mut term).collect();
        let anti: Vec<Term> = affinity.pod_anti_affinity.required.iter().filter_map(&mut term).collect();
        let mut preferred = Vec::new();
        for (sign, list) in [(1, &affinity.pod_affinity.preferred), (-1, &affinity.pod_anti_affinity.preferred)] {
            preferred.extend(list.iter().filter_map(|w| Some((sign * w.weight, term(&w.pod_affinity_term)?))));
        }
        let mut spread = Vec::new();
        for constraint in &spec.topology_spread_constraints {
            match Spread::new(constraint, meta) {
                Ok(constraint) => spread.push(constraint),
                Err(why) => drop(broken.get_or_insert(why)),
            }
        }
        let name = |s: &str| (!s.is_empty()).then(|| Arc::from(s));
        let not_scheduled = status.conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
        let all = || spec.init_containers.iter().chain(&spec.containers);
        Self {
            uid: meta.uid.as_str().into(),
            namespace: meta.namespace.as_str().into(),
            name: meta.name.as_str().into(),
            resource_version: meta.resource_version.parse().unwrap_or(0),
            labels: meta.labels.clone(),
            owner: meta.owner_references.iter().find(|o| o.controller).map(|o| o.uid.as_str().into()),
            node_name: name(&spec.node_name),
            nominated_node: name(&status.nominated_node_name),
            priority: spec.priority,
            never_preempts: spec.preemption_policy == "Never",
            created: meta.creation_timestamp.unwrap_or_default(),
            started: status.start_time,
            deleting: meta.deletion_timestamp.is_some(),
            gates: spec.scheduling_gates.iter().map(|g| g.name.clone()).collect(),
            scheduler_name: spec.scheduler_name.clone(),
            requests: pod_requests(spec),
            score_requests: pod_requests_for_scores(spec),
            host_ports: host_ports(spec),
            tolerations: spec.tolerations.clone(),
            node_selector: spec.node_selector.clone(),
            required_nodes: affinity.node_affinity.required.as_ref().map(NodeTerm::list),
            preferred_nodes: affinity
                .node_affinity
                .preferred
                .iter()
                .filter(|p| p.weight != 0)
                .map(|p| (p.weight, NodeTerm::new(&p.preference)))
                .collect(),
            affinity: required,
            anti_affinity: anti,
            preferred,
            spread,
            images: all().map(|c| normalized_image(&c.image)).collect(),
            containers: all().count(),
            claims: claims(pod),
            not_scheduled: not_scheduled.map(|c| (c.reason.clone(), c.message.clone())),
            broken,
        }
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(|v| &**v)
    }

    pub fn has_node_constraints(&self) -> bool {
        !self.node_selector.is_empty() || self.required_nodes.is_some()
    }

    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn host_ports(spec: &api::PodSpec) -> Vec<HostPort> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().filter(|c| c.restart_policy == "Always"));
    let ports = containers.flat_map(|c| &c.ports).filter(|p| p.host_port > 0);
    let or = |text: &str, default: &str| if text.is_empty() { default.into() } else { text.into() };
    let port = |p: &api::ContainerPort| HostPort {
        protocol: or(&p.protocol, "TCP"),
        port: p.host_port,
        ip: or(&p.host_ip, "0.0.0.0"),
    };
    ports.map(port).collect()
}

fn claims(pod: &api::Pod) -> Vec<Box<str>> {
    let claim = |v: &api::Volume| match (&v.persistent_volume_claim, &v.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.as_str().into()),
        // The claim of an ephemeral volume is named after pod and volume.
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name, v.name).into()),
        (None, None) => None,
    };
    pod.spec.volumes.iter().filter_map(claim).collect()
}

/// Nodes report images with a tag; without one, `latest` is meant.
pub fn normalized_image(image: &str) -> Box<str> {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') { image.into() } else { format!("{image}:latest").into() }
}

/// The selector with the requirements that `matchLabelKeys` derive from the pod's own labels.
fn selector(json: &Value, meta: &api::Meta, same: &[String], different: &[String]) -> Result<LabelSelector, String> {
    let mut json = json.clone();
    let derived = [("In", same), ("NotIn", different)].into_iter().flat_map(|(operator, keys)| {
        keys.iter().filter_map(move |key| {
            let value = meta.labels.get(key.as_str())?;
            Some(json!({"key": key, "operator": operator, "values": [value]}))
        })
    });
    let derived: Vec<Value> = derived.collect();
    if let (false, Some(object)) = (derived.is_empty(), json.as_object_mut()) {
        let expressions = object.entry("matchExpressions").or_insert_with(|| json!([]));
        if expressions.is_null() {
            *expressions = json!([]);
        }
        expressions.as_array_mut().into_iter().for_each(|e| e.extend(derived.iter().cloned()));
    }
    LabelSelector::from_json(&json)
}

impl Term {
    fn build(namespaces: Namespaces, selector: LabelSelector, topology_key: &str) -> Self {
        let all = namespaces.selector.as_ref().map(ToString::to_string);
        let nothing = if selector.is_nothing() { "!" } else { "" };
        let id = format!("{topology_key}|{:?}|{all:?}|{nothing}{selector}", namespaces.names);
        Self { id: id.into(), namespaces, selector, topology_key: topology_key.into() }
    }

    pub fn new(term: &api::PodTerm, meta: &api::Meta) -> Result<Self, String> {
        let selector = selector(&term.label_selector, meta, &term.match_label_keys, &term.mismatch_label_keys)?;
        let by_labels = term.namespace_selector.as_ref().map(LabelSelector::from_json).transpose()?;
        let mut names: BTreeSet<Box<str>> = term.namespaces.iter().map(|n| n.as_str().into()).collect();
        if names.is_empty() && by_labels.is_none() {
            names.insert(meta.namespace.as_str().into());
        }
        Ok(Self::build(Namespaces { names, selector: by_labels }, selector, &term.topology_key))
    }

    /// The pods of one namespace that `selector` matches.
    pub fn within(namespace: &str, selector: LabelSelector, topology_key: &str) -> Self {
        let names = BTreeSet::from([Box::from(namespace)]);
        Self::build(Namespaces { names, selector: None }, selector, topology_key)
    }

    /// `namespace` gives a namespace's labels.
    pub fn matches<'a>(&self, pod: &PodInfo, namespace: impl Fn(&str) -> Option<&'a Labels>) -> bool {
        let here = self.namespaces.names.contains(&*pod.namespace)
            || self.namespaces.selector.as_ref().is_some_and(|s| {
                s.is_everything() || {
                    let labels = namespace(&pod.namespace);
                    s.matches(|key| labels.and_then(|l| l.get(key)).map(|v| &**v))
                }
            });
        here && self.selector.matches(|key| pod.label(key))
    }
}

impl Spread {
    fn new(constraint: &api::SpreadConstraint, meta: &api::Meta) -> Result<Self, String> {
        let selector = selector(&constraint.label_selector, meta, &constraint.match_label_keys, &[])?;
        Ok(Self {
            term: Term::within(&meta.namespace, selector, &constraint.topology_key),
            max_skew: constraint.max_skew.max(1),
            required: constraint.when_unsatisfiable != "ScheduleAnyway",
            min_domains: constraint.min_domains.unwrap_or(1),
            honor_affinity: constraint.node_affinity_policy != "Ignore",
            honor_taints: constraint.node_taints_policy == "Honor",
        })
    }
}

/// A node with what runs on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub name: Arc<str>,
    pub labels: Labels,
    pub taints: Vec<api::Taint>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    pub max_pods: i64,
    pub requested: Resources,
    /// CPU and memory with defaults for containers that ask for nothing.
    pub score_requested: (i64, i64),
    pub images: Vec<(Box<str>, i64)>,
    pub pods: Vec<Arc<PodInfo>>,
    pub host_ports: Vec<HostPort>,
}

impl NodeInfo {
    /// Takes over what the API says of the node; what runs on it stays.
    pub fn update(&mut self, node: &api::Node) {
        self.name = node.metadata.name.as_str().into();
        self.labels = node.metadata.labels.clone();
        self.taints = node.spec.taints.clone();
        self.unschedulable = node.spec.unschedulable;
        self.allocatable = Resources::from_amounts(&node.status.allocatable);
        let pods = node.status.allocatable.get("pods").cloned().unwrap_or_default();
        self.max_pods = Resources::from_amounts(&[("n".into(), pods)].into()).scalar("n");
        let images = node.status.images.iter();
        self.images = images.flat_map(|i| i.names.iter().map(|n| (normalized_image(n), i.size_bytes))).collect();
        self.images.sort();
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(|v| &**v)
    }

    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.score_requested.0 += pod.score_requests.0;
        self.score_requested.1 += pod.score_requests.1;
        self.host_ports.extend(pod.host_ports.iter().cloned());
        self.pods.push(pod);
    }

    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|p| &*p.uid == uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.sub(&pod.requests);
        self.score_requested.0 -= pod.score_requests.0;
        self.score_requested.1 -= pod.score_requests.1;
        for port in &pod.host_ports {
            if let Some(at) = self.host_ports.iter().position(|p| p == port) {
                self.host_ports.swap_remove(at);
            }
        }
        Some(pod)
    }
}
