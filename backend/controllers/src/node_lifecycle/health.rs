//! A node's conditions, and the taints that follow from them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const READY: &str = "Ready";
/// What a node reports on itself; without reports nothing of it is known.
const CONDITIONS: [&str; 4] = [READY, "MemoryPressure", "DiskPressure", "PIDPressure"];

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Condition that is True, and its taint.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
/// Taints that this controller sets and removes; others are people's.
const OURS: [&str; 7] = [
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/network-unavailable",
];

fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == type_)
}

pub fn is_ready(node: &Node) -> bool {
    condition(node, READY).is_some_and(|c| c.status == "True")
}

/// When the node last reported its status, by its own clock.
pub fn heartbeat(node: &Node) -> Option<Timestamp> {
    condition(node, READY)?.last_heartbeat_time.as_ref().map(|t| t.0)
}

/// Sets what the node reports to Unknown; false if it is so already.
pub fn mark_unknown(node: &mut Node, now: Timestamp) -> bool {
    let created = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    let mut changed = false;
    for type_ in CONDITIONS {
        match conditions.iter_mut().find(|c| c.type_ == type_) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(Time(now));
                changed = true;
            }
            None => {
                conditions.push(NodeCondition {
                    type_: type_.into(),
                    status: "Unknown".into(),
                    reason: Some("NodeStatusNeverUpdated".into()),
                    message: Some("Kubelet never posted node status.".into()),
                    last_heartbeat_time: created.clone(),
                    last_transition_time: Some(Time(now)),
                });
                changed = true;
            }
        }
    }
    changed
}

/// The taints the node should have. `evict` false leaves out those of ours that would drive pods away.
pub fn taints(node: &Node, evict: bool, now: Timestamp) -> Vec<Taint> {
    let mut have = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    // People set taints without a time; without one, the time a pod tolerates it would never run out.
    for taint in have.iter_mut().filter(|t| t.effect == "NoExecute") {
        taint.time_added.get_or_insert(Time(now));
    }
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match condition(node, READY).map(|c| c.status.as_str()) {
        Some("True") => {}
        Some("False") => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        Some(_) => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        // Just registered: its own taint holds until its first report.
        None => return have,
    }
    wanted.retain(|(_, effect)| evict || *effect != "NoExecute");
    let is_true = |type_: &&(&str, &str)| condition(node, type_.0).is_some_and(|c| c.status == "True");
    wanted.extend(PRESSURES.iter().filter(is_true).map(|(_, taint)| (*taint, "NoSchedule")));
    if node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_wanted = |t: &Taint| wanted.contains(&(t.key.as_str(), t.effect.as_str()));
    let mut taints: Vec<Taint> =
        have.iter().filter(|t| !OURS.contains(&t.key.as_str()) || is_wanted(t)).cloned().collect();
    for (key, effect) in &wanted {
        if !taints.iter().any(|t| t.key == *key && t.effect == *effect) {
            let time_added = Some(Time(now));
            taints.push(Taint { key: (*key).into(), effect: (*effect).into(), time_added, value: None });
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeSpec, NodeStatus};

    use super::*;

    pub fn node(ready: &str) -> Node {
        let condition = NodeCondition {
            type_: READY.into(),
            status: ready.into(),
            last_heartbeat_time: Some(Time(Timestamp::UNIX_EPOCH)),
            ..Default::default()
        };
        let status = NodeStatus { conditions: Some(vec![condition]), ..Default::default() };
        Node { status: Some(status), ..Default::default() }
    }

    fn names(node: &Node, evict: bool) -> Vec<String> {
        taints(node, evict, Timestamp::UNIX_EPOCH).iter().map(|t| format!("{}:{}", t.key, t.effect)).collect()
    }

    #[test]
    fn taints_follow_conditions() {
        assert!(names(&node("True"), true).is_empty());
        let expect = ["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"];
        assert_eq!(names(&node("False"), true), expect);
        let expect = ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
        assert_eq!(names(&node("Unknown"), true), expect);
        assert_eq!(names(&node("Unknown"), false), ["node.kubernetes.io/unreachable:NoSchedule"]);
    }

    #[test]
    fn the_taints_of_people_stay_and_ours_go_with_their_cause() {
        let mut node = node("Unknown");
        let own = Taint { key: "dedicated".into(), effect: "NoSchedule".into(), ..Default::default() };
        node.spec = Some(NodeSpec { taints: Some(vec![own]), unschedulable: Some(true), ..Default::default() });
        node.spec.as_mut().unwrap().taints = Some(taints(&node, true, Timestamp::UNIX_EPOCH));
        assert_eq!(names(&node, true).len(), 4);
        node.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "True".into();
        assert_eq!(names(&node, true), ["dedicated:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"]);
    }

    #[test]
    fn what_drives_pods_away_has_a_time_that_stays() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(60));
        for ready in [None, Some("True"), Some("False")] {
            let mut node = ready.map(node).unwrap_or_default();
            let own = |effect: &str| Taint { key: "own".into(), effect: effect.into(), ..Default::default() };
            let own = vec![own("NoExecute"), own("NoSchedule")];
            node.spec = Some(NodeSpec { taints: Some(own), ..Default::default() });
            let first = taints(&node, true, early);
            assert_eq!(first[0].time_added, Some(Time(early)), "{ready:?}");
            assert_eq!(first[1].time_added, None, "{ready:?}");
            node.spec.as_mut().unwrap().taints = Some(first.clone());
            assert_eq!(taints(&node, true, late), first, "{ready:?}");
        }
    }

    #[test]
    fn unknown_is_set_once() {
        let mut node = node("True");
        assert!(mark_unknown(&mut node, Timestamp::UNIX_EPOCH));
        assert!(!is_ready(&node));
        assert!(!mark_unknown(&mut node, Timestamp::UNIX_EPOCH));
        let conditions = node.status.unwrap().conditions.unwrap();
        assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
    }
}
