use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::plan::{ClaimStep, VolumeStep, claim_step, volume_step};

fn merged(mut all: Value, more: &Value) -> Value {
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn volume(name: &str, size: &str, spec: Value) -> Arc<PersistentVolume> {
    let all = json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]});
    let metadata = json!({"name": name, "labels": {"name": name}});
    let object = json!({"metadata": metadata, "spec": merged(all, &spec), "status": {"phase": "Available"}});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn claim(spec: Value, completed: bool) -> PersistentVolumeClaim {
    let all = json!({"resources": {"requests": {"storage": "5Gi"}}, "accessModes": ["ReadWriteOnce"]});
    let annotations = if completed { json!({"pv.kubernetes.io/bind-completed": "yes"}) } else { json!({}) };
    let metadata = json!({"name": "c", "namespace": "ns", "uid": "claim", "annotations": annotations});
    serde_json::from_value(json!({"metadata": metadata, "spec": merged(all, &spec)})).unwrap()
}

fn class(provisioner: &str, mode: &str) -> StorageClass {
    serde_json::from_value(json!({"metadata": {}, "provisioner": provisioner, "volumeBindingMode": mode})).unwrap()
}

fn said(step: &ClaimStep) -> String {
    match step {
        ClaimStep::Nothing => "nothing".into(),
        ClaimStep::Bind(volume) => format!("bind {}", volume.metadata.name.as_deref().unwrap()),
        ClaimStep::Pending(reason, _) => format!("pending {reason}"),
        ClaimStep::Provision(by) => format!("provision {by}"),
        ClaimStep::Lost(reason, _) => format!("lost {reason}"),
    }
}

#[test]
fn which_volume_a_claim_gets() {
    let mine = json!({"claimRef": {"namespace": "ns", "name": "c"}});
    let other = json!({"claimRef": {"namespace": "ns", "name": "other", "uid": "other"}});
    let volumes = [
        volume("small", "1Gi", json!({})),
        volume("large", "50Gi", json!({})),
        volume("right", "10Gi", json!({})),
        volume("taken", "5Gi", other),
        volume("block", "5Gi", json!({"volumeMode": "Block"})),
        volume("gold", "20Gi", json!({"storageClassName": "gold"})),
    ];
    let immediate = class("kubernetes.io/no-provisioner", "Immediate");
    let waiting = class("kubernetes.io/no-provisioner", "WaitForFirstConsumer");
    let external = class("disks.example.com", "Immediate");
    for (spec, class, expect) in [
        (json!({}), None, "bind right"),
        (json!({"accessModes": ["ReadWriteMany"]}), None, "pending FailedBinding"),
        (json!({"selector": {"matchLabels": {"name": "large"}}}), None, "bind large"),
        (json!({"volumeMode": "Block"}), None, "bind block"),
        (json!({"storageClassName": "gold"}), Some(&immediate), "bind gold"),
        (json!({"storageClassName": "gold"}), Some(&waiting), "pending WaitForFirstConsumer"),
        (json!({"storageClassName": "none"}), None, "pending ProvisioningFailed"),
        (json!({"storageClassName": "none"}), Some(&immediate), "pending ProvisioningFailed"),
        (json!({"storageClassName": "none"}), Some(&external), "provision disks.example.com"),
        (json!({"volumeName": "large"}), None, "bind large"),
        (json!({"volumeName": "small"}), None, "pending VolumeMismatch"),
        (json!({"volumeName": "taken"}), None, "pending FailedBinding"),
        (json!({"volumeName": "absent"}), None, "nothing"),
    ] {
        let claim = claim(spec.clone(), false);
        let named = claim.spec.as_ref().unwrap().volume_name.as_deref();
        let named = volumes.iter().find(|v| v.metadata.name.as_deref() == named);
        assert_eq!(said(&claim_step(&claim, named, &volumes, class)), expect, "{spec}");
    }
    let reserved = [volumes[2].clone(), volume("mine", "40Gi", mine)];
    assert_eq!(said(&claim_step(&claim(json!({}), false), None, &reserved, None)), "bind mine");
    let bound = claim(json!({"volumeName": "absent"}), true);
    assert_eq!(said(&claim_step(&bound, None, &volumes, None)), "lost ClaimLost");
    let bound = claim(json!({"volumeName": "taken"}), true);
    assert_eq!(said(&claim_step(&bound, Some(&volumes[3]), &volumes, None)), "lost ClaimMisbound");
}

#[test]
fn what_state_a_volume_is_in() {
    let reference = |uid: &str| json!({"claimRef": {"namespace": "ns", "name": "c", "uid": uid}});
    let set = |phase: &'static str| VolumeStep::Phase(phase, None);
    let bound = claim(json!({"volumeName": "v"}), true);
    let elsewhere = claim(json!({"volumeName": "w"}), true);
    let unbound = claim(json!({}), false);
    for (spec, phase, claim, expect) in [
        (json!({}), "Pending", None, set("Available")),
        (json!({}), "Available", None, VolumeStep::Nothing),
        (reference(""), "Pending", Some(&unbound), set("Available")),
        (reference("claim"), "Available", Some(&bound), set("Bound")),
        (reference("claim"), "Bound", Some(&bound), VolumeStep::Nothing),
        (reference("claim"), "Available", Some(&unbound), VolumeStep::Nothing),
        (reference("claim"), "Bound", None, set("Released")),
        (reference("earlier"), "Bound", Some(&bound), set("Released")),
        (reference("claim"), "Bound", Some(&elsewhere), set("Released")),
        (reference("claim"), "Released", None, VolumeStep::Nothing),
        (
            merged(
                reference("claim"),
                &json!({"csi": {"driver": "d", "volumeHandle": "h"},
            "persistentVolumeReclaimPolicy": "Delete"}),
            ),
            "Released",
            None,
            VolumeStep::Nothing,
        ),
    ] {
        let mut volume = (*volume("v", "1Gi", spec.clone())).clone();
        volume.status.as_mut().unwrap().phase = Some(phase.into());
        assert_eq!(volume_step(&volume, claim), expect, "{spec} {phase}");
    }
    let mut surplus = (*volume("v", "1Gi", reference("claim"))).clone();
    let yes = [("pv.kubernetes.io/bound-by-controller".to_owned(), "yes".to_owned())];
    surplus.metadata.annotations = Some(yes.into());
    assert_eq!(volume_step(&surplus, Some(&elsewhere)), VolumeStep::Unbind);
    let mut deletable =
        (*volume("v", "1Gi", merged(reference("claim"), &json!({"persistentVolumeReclaimPolicy": "Delete"})))).clone();
    deletable.status.as_mut().unwrap().phase = Some("Released".into());
    assert!(matches!(volume_step(&deletable, None), VolumeStep::Phase("Failed", Some(_))));
}
