use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{Plan, Seen, plan};
use super::{FIRST_PAUSE, Pauses};
use crate::key::Key;
use crate::pods::{self, make};

const NEW: &str = "new";

fn set(strategy: Value) -> DaemonSet {
    let spec = json!({"selector": {}, "template": {}, "updateStrategy": strategy});
    serde_json::from_value(json!({"metadata": {"name": "d", "generation": 4}, "spec": spec})).unwrap()
}

fn rolling(unavailable: Value, surge: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

fn node(name: &str) -> Arc<Node> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap())
}

/// `node/name/hash`, ready unless the phase says otherwise: `-` not ready, `x` failed, `~` on its way out.
fn pod(text: &str) -> Arc<Pod> {
    let (text, mark) = match text.trim_end_matches(['-', 'x', '~']) {
        plain if plain.len() < text.len() => (plain, &text[plain.len()..]),
        plain => (plain, ""),
    };
    let parts: Vec<&str> = text.split('/').collect();
    let phase = if mark == "x" { "Failed" } else { "Running" };
    let mut pod = make::pod(parts[1], phase, mark.is_empty().then_some(Timestamp::UNIX_EPOCH));
    pod.spec.as_mut().unwrap().node_name = Some(parts[0].into());
    pod.metadata.labels = Some([("controller-revision-hash".to_owned(), parts[2].to_owned())].into());
    if mark == "~" {
        pod.metadata.deletion_timestamp = Some(Timestamp::UNIX_EPOCH.into());
    }
    Arc::new(pod)
}

fn planned(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Plan {
    let spec = PodSpec::default();
    plan(&Seen { set, spec: &spec, hash: NEW, nodes, pods, now: Timestamp::UNIX_EPOCH + Duration::from_secs(60) })
}

#[test]
fn plans() {
    let nodes: Vec<_> = ["n1", "n2", "n3"].map(node).into();
    let one = || rolling(json!(1), json!(0));
    let surge = || rolling(json!(0), json!(1));
    let on_delete = || json!({"type": "OnDelete"});
    for (strategy, pods, create, delete) in [
        (one(), vec![], "n1 n2 n3", ""),
        (one(), vec!["n1/a/new", "n2/b/new"], "n3", ""),
        // A pod on its way out keeps its place.
        (one(), vec!["n1/a/new", "n2/b/new", "n3/c/old~"], "", ""),
        (one(), vec!["n1/a/new", "n1/b/new", "n2/c/new", "n3/d/new"], "", "b"),
        (one(), vec!["n1/a/old", "n2/b/old", "n3/c/old"], "", "a"),
        (one(), vec!["n1/a/new-", "n2/b/old", "n3/c/old"], "", ""),
        (one(), vec!["n1/a/old", "n2/b/old-", "n3/c/old-"], "", "b c a"),
        (rolling(json!("60%"), json!(0)), vec!["n1/a/old", "n2/b/old", "n3/c/old"], "", "a b"),
        (on_delete(), vec!["n1/a/old", "n2/b/old", "n3/c/old"], "", ""),
        (surge(), vec!["n1/a/old", "n2/b/old", "n3/c/old"], "n1", ""),
        (surge(), vec!["n1/a/old", "n1/z/new-", "n2/b/old", "n3/c/old"], "", ""),
        (surge(), vec!["n1/a/old", "n1/z/new", "n2/b/old", "n3/c/old"], "", "a"),
        (surge(), vec!["n1/a/old-", "n2/b/old", "n3/c/old"], "n1 n2", ""),
    ] {
        let seen: Vec<_> = pods.iter().map(|p| pod(p)).collect();
        let plan = planned(&set(strategy.clone()), &nodes, &seen);
        let deleted: Vec<_> = plan.delete.iter().map(|p| p.metadata.name.as_deref().unwrap()).collect();
        assert_eq!((plan.create.join(" "), deleted.join(" ")), (create.into(), delete.into()), "{strategy} {pods:?}");
    }
}

#[test]
fn the_status_counts_nodes() {
    let nodes: Vec<_> = ["n1", "n2", "n3"].map(node).into();
    let pods: Vec<_> = ["n1/a/new", "n2/b/old-", "n9/c/new"].map(pod).into();
    let status = planned(&set(json!({"type": "OnDelete"})), &nodes, &pods).status;
    assert_eq!((status.desired_number_scheduled, status.current_number_scheduled, status.number_ready), (3, 2, 1));
    assert_eq!((status.updated_number_scheduled, status.number_available), (Some(1), Some(1)));
    assert_eq!((status.number_unavailable, status.observed_generation), (Some(2), Some(4)));
}

#[test]
fn ended_pods_are_replaced_with_growing_pauses() {
    let plan = planned(&set(json!({})), &[node("n1")], &[pod("n1/a/new-x")]);
    assert_eq!(plan.ended.len(), 0, "a pod that is not ready has not ended");
    let plan = planned(&set(json!({})), &[node("n1")], &[pod("n1/a/newx")]);
    assert_eq!((plan.ended.len(), plan.create.len()), (1, 0));
    let (mut pauses, key, start) = (Pauses::default(), Key::new("ns", "d"), Instant::now());
    assert_eq!(pauses.wait(&key, "n1", start), None);
    assert_eq!(pauses.wait(&key, "n1", start), Some(FIRST_PAUSE));
    assert_eq!(pauses.wait(&key, "n2", start), None, "another node");
    assert_eq!(pauses.wait(&key, "n1", start + FIRST_PAUSE), None);
    assert_eq!(pauses.wait(&key, "n1", start + FIRST_PAUSE), Some(2 * FIRST_PAUSE));
}

proptest! {
    /// Nodes with an old, a new, an unready or no pod: a rollout stays within its limits and goes on.
    #[test]
    fn a_rollout_stays_within_its_limits(kinds in prop::collection::vec(0u8..4, 1..30), unavailable in 1usize..5) {
        let names: Vec<String> = (0..kinds.len()).map(|i| format!("n{i:02}")).collect();
        let nodes: Vec<_> = names.iter().map(|n| node(n)).collect();
        let text = |(i, kind): (usize, &u8)| match kind {
            0 => Some(format!("{}/p{i}/old", names[i])),
            1 => Some(format!("{}/p{i}/new", names[i])),
            2 => Some(format!("{}/p{i}/new-", names[i])),
            _ => None,
        };
        let there: Vec<_> = kinds.iter().enumerate().filter_map(text).map(|t| pod(&t)).collect();
        let plan = planned(&set(rolling(json!(unavailable), json!(0))), &nodes, &there);
        prop_assert_eq!(plan.create.len(), kinds.iter().filter(|k| **k == 3).count());
        let without = kinds.iter().filter(|k| **k >= 2).count();
        prop_assert!(plan.delete.len() + without <= unavailable.max(without));
        prop_assert!(plan.delete.iter().all(|p| pods::is_ready(p)), "only old ones that are available");
        let old = kinds.contains(&0);
        prop_assert!(!(old && without < unavailable && plan.create.is_empty() && plan.delete.is_empty()));
    }
}
