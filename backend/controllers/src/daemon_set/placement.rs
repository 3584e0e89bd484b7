//! Which nodes a DaemonSet's pods belong on, and what ties a pod to its node. Pure.

use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};

use crate::node_lifecycle::tolerates;

const NAME: &str = "metadata.name";

/// The taints every daemon's pod tolerates, with their effects.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK_UNAVAILABLE: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// A new pod belongs there.
    pub run: bool,
    /// A pod that is there may stay.
    pub stay: bool,
}

/// Adds the tolerations of every daemon to a pod's own.
pub fn tolerate(spec: &mut PodSpec) {
    let host_network = (spec.host_network == Some(true)).then_some(NETWORK_UNAVAILABLE);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.iter().copied().chain(host_network) {
        let new = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Default::default()
        };
        if !tolerations.contains(&new) {
            tolerations.push(new);
        }
    }
}

/// Ties the pod to a node, for the scheduler to bind it there: its own terms hold, but for that node only.
pub fn tie(spec: &mut PodSpec, node: &str) {
    let only = NodeSelectorRequirement { key: NAME.into(), operator: "In".into(), values: Some(vec![node.to_owned()]) };
    let affinity = spec.affinity.get_or_insert_with(Affinity::default);
    let affinity = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
    let required =
        affinity.required_during_scheduling_ignored_during_execution.get_or_insert_with(NodeSelector::default);
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields = Some(vec![only.clone()]);
    }
}

/// The node a pod runs on, or is tied to while it waits for the scheduler.
pub fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|n| !n.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut tied = fields.filter(|f| f.key == NAME && f.operator == "In").flat_map(|f| f.values.iter().flatten());
    tied.next().map(String::as_str)
}

/// `spec` is the template's with the tolerations of every daemon.
pub fn fit(spec: &PodSpec, node: &Node) -> Fit {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let named = spec.node_name.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == name);
    if !named || !selects(spec, node) {
        return Fit { run: false, stay: false };
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    let (mut run, mut stay) = (true, true);
    for taint in taints.filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint))) {
        run &= !matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        stay &= taint.effect != "NoExecute";
    }
    Fit { run, stay }
}

fn selects(spec: &PodSpec, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|l| l.get(key)).map(String::as_str);
    if !spec.node_selector.iter().flatten().all(|(key, value)| label(key) == Some(value)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| holds(term, node)))
}

fn holds(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions: Vec<_> = term.match_expressions.iter().flatten().collect();
    let fields: Vec<_> = term.match_fields.iter().flatten().collect();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|l| l.get(key)).map(String::as_str);
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == NAME);
    expressions.into_iter().all(|e| admits(e, label(&e.key))) && fields.into_iter().all(|f| admits(f, field(&f.key)))
}

fn admits(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = |v: &str| values.iter().any(|wanted| wanted == v);
    let compared = |holds: fn(&i64, &i64) -> bool| {
        let limit = values.first().and_then(|v| v.parse().ok());
        value.and_then(|v| v.parse().ok()).zip(limit).is_some_and(|(have, limit)| holds(&have, &limit))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> PodSpec {
        let mut all = json!({"containers": []});
        all.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        let mut spec = serde_json::from_value(all).unwrap();
        tolerate(&mut spec);
        spec
    }

    #[test]
    fn where_a_daemon_runs() {
        let node = |taints: Value| -> Node {
            let metadata = json!({"name": "n1", "labels": {"disk": "ssd", "cores": "8"}});
            serde_json::from_value(json!({"metadata": metadata, "spec": {"taints": taints}})).unwrap()
        };
        let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
        let affinity = |requirement: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}}}})
        };
        for (wanted, taints, run, stay) in [
            (json!({}), json!([]), true, true),
            (json!({"nodeName": "n2"}), json!([]), false, false),
            (json!({"nodeSelector": {"disk": "ssd"}}), json!([]), true, true),
            (json!({"nodeSelector": {"disk": "hdd"}}), json!([]), false, false),
            (affinity(json!({"key": "cores", "operator": "Gt", "values": ["4"]})), json!([]), true, true),
            (affinity(json!({"key": "cores", "operator": "Lt", "values": ["4"]})), json!([]), false, false),
            (affinity(json!({"key": "gpu", "operator": "DoesNotExist"})), json!([]), true, true),
            (affinity(json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]})), json!([]), false, false),
            (json!({}), taint("node.kubernetes.io/unschedulable", "NoSchedule"), true, true),
            (json!({}), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), false, true),
            (json!({"hostNetwork": true}), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), true, true),
            (json!({}), taint("mine", "NoSchedule"), false, true),
            (json!({}), taint("mine", "PreferNoSchedule"), true, true),
            (json!({}), taint("mine", "NoExecute"), false, false),
            (json!({"tolerations": [{"key": "mine", "operator": "Exists"}]}), taint("mine", "NoExecute"), true, true),
        ] {
            let fit = fit(&spec(wanted.clone()), &node(taints.clone()));
            assert_eq!(fit, Fit { run, stay }, "{wanted} on {taints}");
        }
    }

    #[test]
    fn a_pod_is_tied_to_its_node() {
        let terms = json!([{"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"matchFields": []}]);
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        for wanted in [json!({}), json!({"affinity": {"nodeAffinity": required}})] {
            let mut spec = spec(wanted);
            tie(&mut spec, "n7");
            let mut pod = Pod { spec: Some(spec), ..Default::default() };
            assert_eq!(node_of(&pod), Some("n7"));
            pod.spec.as_mut().unwrap().node_name = Some("n8".into());
            assert_eq!(node_of(&pod), Some("n8"));
        }
    }
}
