use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::identity::{claims, is_stale, owners, pod as new_pod};
use super::plan::{Action, Plan, Revision, plan};
use crate::pods::make;

fn set(spec: Value) -> StatefulSet {
    let mut all = json!({"replicas": 3, "serviceName": "svc", "selector": {"matchLabels": {"a": "b"}}, "template": {}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let metadata = json!({"name": "web", "namespace": "ns", "uid": "set", "generation": 2});
    serde_json::from_value(json!({"metadata": metadata, "spec": all})).unwrap()
}

/// `ordinal/revision`, available unless the mark says otherwise: `-` not ready, `x` failed, `~` on its way out.
fn pod(text: &str) -> Arc<Pod> {
    let plain = text.trim_end_matches(['-', 'x', '~']);
    let mark = &text[plain.len()..];
    let (ordinal, revision) = plain.split_once('/').unwrap();
    let phase = if mark == "x" { "Failed" } else { "Running" };
    let name = format!("web-{ordinal}");
    let mut pod = make::pod(&name, phase, (mark != "-" && mark != "x").then_some(Timestamp::UNIX_EPOCH));
    let labels = [
        ("controller-revision-hash", revision),
        ("statefulset.kubernetes.io/pod-name", &name),
        ("apps.kubernetes.io/pod-index", ordinal),
    ];
    pod.metadata.labels = Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    if mark == "~" {
        pod.metadata.deletion_timestamp = Some(Timestamp::UNIX_EPOCH.into());
    }
    Arc::new(pod)
}

fn planned(set: &StatefulSet, pods: &[&str]) -> Plan {
    let template = PodTemplateSpec::default();
    let (current, update) =
        (Revision { name: "old", template: &template }, Revision { name: "new", template: &template });
    let pods: Vec<_> = pods.iter().map(|p| pod(p)).collect();
    plan(set, &current, &update, &pods, true, Timestamp::UNIX_EPOCH + Duration::from_secs(60))
}

fn text(plan: &Plan) -> String {
    let name = |p: &Pod| p.metadata.name.clone().unwrap_or_default().replace("web-", "");
    let one = |action: &Action| match action {
        Action::Create(_, pod) => {
            format!("+{}/{}", name(pod), pod.metadata.labels.as_ref().unwrap()["controller-revision-hash"])
        }
        Action::Delete(pod) => format!("-{}", name(pod)),
        Action::Claims(ordinal, _) => format!("claims {ordinal}"),
        Action::Correct(old, _) => format!("correct {}", name(old)),
    };
    plan.actions.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn ordered_management() {
    let rolling = |rest: Value| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rest}});
    let none = || json!({});
    for (spec, pods, expect) in [
        (none(), vec![], "+0/new"),
        (none(), vec!["0/new"], "+1/new"),
        (none(), vec!["0/new-"], ""),
        (none(), vec!["0/new~"], ""),
        (none(), vec!["0/new", "2/new"], "+1/new"),
        (none(), vec!["0/newx", "1/new", "2/new"], "-0"),
        (none(), vec!["0/new", "1/new", "2/new", "3/new", "4/new"], "-4"),
        (none(), vec!["0/new", "1/new", "2/new", "3/new", "4/new~"], ""),
        (none(), vec!["0/new", "1/new", "2/new", "3/new-", "4/new-"], ""),
        (none(), vec!["0/new", "1/new", "2/new", "3/new", "4/new-"], "-4"),
        (none(), vec!["0/new", "1/new-", "2/new", "3/new"], ""),
        // From the highest ordinal down, one at a time.
        (none(), vec!["0/old", "1/old", "2/old"], "-2"),
        (none(), vec!["0/old", "1/old", "2/new-"], ""),
        (none(), vec!["0/old", "1/old", "2/new"], "-1"),
        (rolling(json!({"partition": 2})), vec!["0/old", "1/old", "2/new"], ""),
        (rolling(json!({"partition": 2})), vec!["0/old", "2/new"], "+1/old"),
        (rolling(json!({"maxUnavailable": 2})), vec!["0/old", "1/old", "2/old"], "-2 -1"),
        (json!({"updateStrategy": {"type": "OnDelete"}}), vec!["0/old", "1/old", "2/old"], ""),
        (json!({"updateStrategy": {"type": "OnDelete"}}), vec!["0/old", "1/old"], "+2/new"),
        (json!({"ordinals": {"start": 1}}), vec!["0/new", "1/new", "2/new", "3/new"], "-0"),
        (json!({"replicas": 0}), vec!["0/new", "1/new"], "-1"),
    ] {
        assert_eq!(text(&planned(&set(spec.clone()), &pods)), expect, "{spec} {pods:?}");
    }
}

#[test]
fn parallel_management() {
    for (pods, expect) in [
        (vec![], "+0/new +1/new +2/new"),
        (vec!["0/new-", "1/new~"], "+2/new"),
        (vec!["0/newx", "1/new"], "-0 +2/new"),
        (vec!["0/new", "1/new-", "2/new", "3/new", "4/new-"], "-4 -3"),
        (vec!["0/old", "1/old-", "2/old"], ""),
    ] {
        let set = set(json!({"podManagementPolicy": "Parallel"}));
        assert_eq!(text(&planned(&set, &pods)), expect, "{pods:?}");
    }
}

#[test]
fn the_status_counts_pods_and_ends_a_rollout() {
    let status = planned(&set(json!({})), &["0/old", "1/new-", "2/new"]).status;
    assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (3, Some(2), Some(2)));
    assert_eq!((status.current_replicas, status.updated_replicas), (Some(1), Some(2)));
    assert_eq!((status.current_revision.as_deref(), status.update_revision.as_deref()), (Some("old"), Some("new")));
    let status = planned(&set(json!({})), &["0/new", "1/new", "2/new"]).status;
    assert_eq!((status.current_replicas, status.current_revision.as_deref()), (Some(3), Some("new")));
}

#[test]
fn a_pod_knows_who_it_is() {
    let template: PodTemplateSpec = serde_json::from_value(json!({
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [], "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]},
    }))
    .unwrap();
    let set = set(json!({"volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"c": "d"}}, "spec": {}}]}));
    let pod = new_pod(&set, &template, "rev", 7);
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!((pod.metadata.name.as_deref(), pod.metadata.generate_name.as_deref()), (Some("web-7"), None));
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-7"), Some("svc")));
    let volumes: Vec<_> = spec.volumes.iter().flatten().map(|v| v.name.as_str()).collect();
    assert_eq!(volumes, ["tmp", "data"]);
    let claim = &spec.volumes.as_ref().unwrap()[1].persistent_volume_claim;
    assert_eq!(claim.as_ref().unwrap().claim_name, "data-web-7");
    let labels = claims(&set, 7)[0].1.metadata.labels.clone().unwrap();
    assert_eq!((labels["a"].as_str(), labels["c"].as_str()), ("b", "d"));
}

#[test]
fn claims_go_with_whom_the_policy_says() {
    let policy = |deleted: &str, scaled: &str| {
        set(json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}))
    };
    let claim = PersistentVolumeClaim::default();
    let kinds = |set: &StatefulSet, ordinal: i32| {
        let pod = pod(&format!("{ordinal}/new"));
        let owners = owners(set, ordinal, Some(&pod), &claim).unwrap_or_default();
        owners.iter().map(|o| o.kind.clone()).collect::<Vec<_>>().join(" ")
    };
    // Ordinal 1 is wanted, 5 is scaled down.
    for (deleted, scaled, kept, condemned) in [
        ("Retain", "Retain", "", ""),
        ("Delete", "Retain", "StatefulSet", "StatefulSet"),
        ("Retain", "Delete", "", "Pod"),
        ("Delete", "Delete", "StatefulSet", "Pod"),
    ] {
        let set = policy(deleted, scaled);
        assert_eq!((kinds(&set, 1).as_str(), kinds(&set, 5).as_str()), (kept, condemned), "{deleted} {scaled}");
    }
    let mut held = claim.clone();
    held.metadata.owner_references = owners(&policy("Retain", "Delete"), 5, Some(&pod("5/new")), &claim);
    assert!(is_stale(&set(json!({})), 5, None, &held), "a new pod must not take the old one's claim");
    assert!(!is_stale(&set(json!({})), 5, Some(&pod("5/new")), &held));
    assert_eq!(owners(&set(json!({})), 5, Some(&pod("5/new")), &held), Some(vec![]), "the policy is Retain now");
}

proptest! {
    /// Ordered management does one thing at a time, whatever it finds.
    #[test]
    fn one_thing_at_a_time(replicas in 0i32..6, kinds in prop::collection::vec(0u8..6, 0..8)) {
        let text = |(i, kind): (usize, &u8)| match kind {
            0 => Some(format!("{i}/old")),
            1 => Some(format!("{i}/new")),
            2 => Some(format!("{i}/new-")),
            3 => Some(format!("{i}/old~")),
            4 => Some(format!("{i}/newx")),
            _ => None,
        };
        let pods: Vec<String> = kinds.iter().enumerate().filter_map(text).collect();
        let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
        let plan = planned(&set(json!({"replicas": replicas})), &pods);
        let changes = plan.actions.iter().filter(|a| matches!(a, Action::Create(..) | Action::Delete(_))).count();
        prop_assert!(changes <= 1);
        for action in &plan.actions {
            if let Action::Create(ordinal, _) = action {
                let before = usize::try_from(*ordinal).unwrap();
                prop_assert!(kinds[..before.min(kinds.len())].iter().all(|k| *k < 2), "those before are available");
            }
        }
    }
}
