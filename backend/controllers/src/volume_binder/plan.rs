//! Which volume a claim gets, and what state a volume is in. Pure.
//! Source: <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding>

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ObjectMeta;
use pilothouse_api::quantity::Quantity;

use crate::selector::Selector;

pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The provisioner of classes for volumes made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

pub fn has(meta: &ObjectMeta, annotation: &str) -> bool {
    meta.annotations.as_ref().is_some_and(|a| a.contains_key(annotation))
}

fn class_of<'a>(meta: &'a ObjectMeta, field: Option<&'a String>) -> &'a str {
    let beta = meta.annotations.as_ref().and_then(|a| a.get(BETA_CLASS));
    beta.or(field).map(String::as_str).unwrap_or_default()
}

pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    class_of(&claim.metadata, claim.spec.as_ref().and_then(|s| s.storage_class_name.as_ref()))
}

fn volume_class(volume: &PersistentVolume) -> &str {
    class_of(&volume.metadata, volume.spec.as_ref().and_then(|s| s.storage_class_name.as_ref()))
}

pub fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Whether a volume's reference names this claim; one without a uid was written by hand before there was a claim.
pub fn refers_to(reference: &ObjectReference, claim: &PersistentVolumeClaim) -> bool {
    reference.namespace == claim.metadata.namespace
        && reference.name == claim.metadata.name
        && reference.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref())
}

#[derive(Debug, PartialEq)]
pub enum ClaimStep {
    Nothing,
    /// Claim and volume belong together; what of that is not written yet is to be written.
    Bind(Arc<PersistentVolume>),
    /// It stays pending, for the reason in an event.
    Pending(&'static str, String),
    /// A provisioner elsewhere is asked for a volume.
    Provision(String),
    /// The volume it was bound to is gone, or somebody else's.
    Lost(&'static str, &'static str),
}

/// `named`: the volume the claim names, if there is one of that name.
pub fn claim_step(
    claim: &PersistentVolumeClaim,
    named: Option<&Arc<PersistentVolume>>,
    volumes: &[Arc<PersistentVolume>],
    class: Option<&StorageClass>,
) -> ClaimStep {
    if claim.metadata.deletion_timestamp.is_some() {
        return ClaimStep::Nothing;
    }
    let name = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).filter(|n| !n.is_empty());
    let completed = has(&claim.metadata, BIND_COMPLETED);
    match (name, named) {
        (None, _) if completed => ClaimStep::Lost(
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        ),
        (None, _) => match find(claim, volumes, class) {
            Some(volume) => ClaimStep::Bind(volume.clone()),
            None => without_volume(claim, class),
        },
        (Some(_), None) if completed => {
            ClaimStep::Lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
        }
        (Some(_), None) => ClaimStep::Nothing,
        (Some(_), Some(volume)) => match claim_ref(volume) {
            Some(reference) if !refers_to(reference, claim) && completed => ClaimStep::Lost(
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            ),
            Some(reference) if !refers_to(reference, claim) => ClaimStep::Pending(
                "FailedBinding",
                format!("volume {:?} already bound to a different claim.", name.unwrap_or_default()),
            ),
            None if !suits(claim, volume) => ClaimStep::Pending(
                "VolumeMismatch",
                format!("Cannot bind to requested volume {:?}: it does not fit the claim", name.unwrap_or_default()),
            ),
            _ => ClaimStep::Bind(volume.clone()),
        },
    }
}

fn waits_for_consumer(claim: &PersistentVolumeClaim, class: Option<&StorageClass>) -> bool {
    class.is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
        && !has(&claim.metadata, SELECTED_NODE)
}

fn without_volume(claim: &PersistentVolumeClaim, class: Option<&StorageClass>) -> ClaimStep {
    if waits_for_consumer(claim, class) {
        let message = "waiting for first consumer to be created before binding";
        return ClaimStep::Pending("WaitForFirstConsumer", message.into());
    }
    match (claim_class(claim), class) {
        ("", _) => {
            let message = "no persistent volumes available for this claim and no storage class is set";
            ClaimStep::Pending("FailedBinding", message.into())
        }
        (name, None) => {
            let message = format!("storageclass.storage.k8s.io {name:?} not found");
            ClaimStep::Pending("ProvisioningFailed", message)
        }
        (name, Some(class)) if class.provisioner == NO_PROVISIONER => {
            let message = format!("storageclass.storage.k8s.io {name:?} has no provisioner, and no volume of it fits");
            ClaimStep::Pending("ProvisioningFailed", message)
        }
        (_, Some(class)) => ClaimStep::Provision(class.provisioner.clone()),
    }
}

/// The smallest volume that fits; one reserved for this claim comes first.
fn find<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
    class: Option<&StorageClass>,
) -> Option<&'a Arc<PersistentVolume>> {
    let reserved = |v: &&Arc<PersistentVolume>| claim_ref(v).is_some_and(|r| refers_to(r, claim));
    if let Some(volume) = volumes.iter().find(reserved) {
        return suits(claim, volume).then_some(volume);
    }
    if waits_for_consumer(claim, class) {
        return None;
    }
    let free = |v: &&Arc<PersistentVolume>| {
        let available = v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available");
        claim_ref(v).is_none() && available && v.metadata.deletion_timestamp.is_none()
    };
    let fitting = volumes.iter().filter(free).filter(|v| suits(claim, v) && selects(claim, v));
    fitting.min_by(|a, b| capacity(a).cmp(&capacity(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name)))
}

fn capacity(volume: &PersistentVolume) -> Quantity {
    let storage = volume.spec.as_ref().and_then(|s| s.capacity.as_ref()?.get("storage"));
    storage.and_then(|q| Quantity::parse(&q.0).ok()).unwrap_or_default()
}

fn selects(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let selector = claim.spec.as_ref().and_then(|s| s.selector.as_ref());
    selector.is_none_or(|s| Selector::new(s).is_ok_and(|s| s.matches_meta(&volume.metadata)))
}

/// Class, mode, size and access are as the claim wants them.
fn suits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let (Some(wanted), Some(has)) = (&claim.spec, &volume.spec) else { return false };
    let mode = |m: &Option<String>| m.clone().unwrap_or_else(|| "Filesystem".into());
    let request = wanted.resources.as_ref().and_then(|r| r.requests.as_ref()?.get("storage"));
    let request = request.and_then(|q| Quantity::parse(&q.0).ok()).unwrap_or_default();
    let offers = |access: &String| has.access_modes.iter().flatten().any(|a| a == access);
    let attributes = |name: &Option<String>| name.clone().unwrap_or_default();
    volume_class(volume) == claim_class(claim)
        && mode(&wanted.volume_mode) == mode(&has.volume_mode)
        && attributes(&wanted.volume_attributes_class_name) == attributes(&has.volume_attributes_class_name)
        && capacity(volume) >= request
        && wanted.access_modes.iter().flatten().all(offers)
}

#[derive(Debug, PartialEq)]
pub enum VolumeStep {
    Nothing,
    Phase(&'static str, Option<String>),
    /// The controller reserved it for a claim that has taken another: it is free again.
    Unbind,
}

/// `claim`: the one the volume's reference names, if there is one of that name.
pub fn volume_step(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> VolumeStep {
    let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let to = |wanted: &'static str| {
        if phase == wanted { VolumeStep::Nothing } else { VolumeStep::Phase(wanted, None) }
    };
    let Some(reference) = claim_ref(volume) else { return to("Available") };
    if reference.uid.as_ref().is_none_or(String::is_empty) {
        // Reserved by hand: the claim's own look binds it.
        return to("Available");
    }
    let Some(claim) = claim.filter(|c| refers_to(reference, c)) else { return released(volume, phase) };
    match claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).filter(|n| !n.is_empty()) {
        // The claim's own look goes on with the binding.
        None => VolumeStep::Nothing,
        Some(name) if Some(name) == volume.metadata.name.as_deref() => to("Bound"),
        Some(_) if has(&volume.metadata, BOUND_BY_CONTROLLER) => VolumeStep::Unbind,
        Some(_) => released(volume, phase),
    }
}

/// The claim is gone: what becomes of the volume says its reclaim policy.
fn released(volume: &PersistentVolume, phase: &str) -> VolumeStep {
    let policy = volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    let external = has(&volume.metadata, PROVISIONED_BY) || volume.spec.as_ref().is_some_and(|s| s.csi.is_some());
    match policy {
        _ if phase == "Failed" => VolumeStep::Nothing,
        Some("Delete" | "Recycle") if !external && phase == "Released" => {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let message = format!("error getting deleter volume plugin for volume {name:?}: no volume plugin matched");
            VolumeStep::Phase("Failed", Some(message))
        }
        // Those who provisioned it delete it, or it is kept for people to look at.
        _ if phase == "Released" => VolumeStep::Nothing,
        _ => VolumeStep::Phase("Released", None),
    }
}
