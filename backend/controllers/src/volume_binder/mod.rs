//! Binds claims to volumes, and says of both what state they are in.
//!
//! Invariants:
//! - A volume is bound to one claim at most: the reference to the claim, written first and on the version it was decided
//!   on, is what binds.
//! - One worker: two claims never look for a volume at the same time.
//! - Volumes are not made and not removed here: that is their provisioners' work.
//!
//! Source: <https://kubernetes.io/docs/concepts/storage/persistent-volumes/>

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use kube::Api;

use self::plan::{BIND_COMPLETED, BOUND_BY_CONTROLLER, ClaimStep, VolumeStep, claim_ref, claim_step, volume_step};
use crate::cache::revision_of;
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::events::{Type, reference};
use crate::expectations::LOOK_AGAIN;
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "persistent-volume-binder", workers: 1, start };

const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const BETA_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";

struct State {
    cx: Context,
    /// Revisions of this controller's last writes: nothing is decided before the caches show them.
    written: parking_lot::Mutex<(u64, u64)>,
}

fn start(cx: Context) -> Reconcile {
    let caches = &cx.caches;
    caches.persistent_volume_claims.on({
        let (queue, volumes) = (cx.queue.clone(), caches.persistent_volumes.clone());
        move |change| {
            queue.add(change.key.clone());
            // The volume's state follows from its claim's.
            let name = |c: &Arc<PersistentVolumeClaim>| c.spec.as_ref().and_then(|s| s.volume_name.clone());
            for name in [change.old, change.new].into_iter().flatten().filter_map(name) {
                queue.add(Key::cluster(&name));
            }
            if change.new.is_none() {
                let named = |v: &Arc<PersistentVolume>| claim_ref(v).is_some_and(|r| claim_key(r) == *change.key);
                for volume in volumes.list(None).iter().filter(|v| named(v)) {
                    queue.add(Key::of(&volume.metadata));
                }
            }
        }
    });
    caches.persistent_volumes.on({
        let (queue, claims) = (cx.queue.clone(), caches.persistent_volume_claims.clone());
        move |change| {
            queue.add(change.key.clone());
            enqueue_waiting(&queue, &claims);
            for volume in [change.old, change.new].into_iter().flatten() {
                claim_ref(volume).into_iter().for_each(|r| queue.add(claim_key(r)));
            }
        }
    });
    caches.storage_classes.on({
        let (queue, claims) = (cx.queue.clone(), caches.persistent_volume_claims.clone());
        move |_| enqueue_waiting(&queue, &claims)
    });
    reconciler(State { cx, written: parking_lot::Mutex::default() }, reconcile)
}

fn enqueue_waiting(queue: &crate::queue::Queue, claims: &crate::cache::Store<PersistentVolumeClaim>) {
    let phase = |c: &PersistentVolumeClaim| c.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
    for claim in claims.list(None).iter().filter(|c| phase(c) != "Bound") {
        queue.add(Key::of(&claim.metadata));
    }
}

fn claim_key(reference: &ObjectReference) -> Key {
    Key::new(reference.namespace.as_deref().unwrap_or_default(), reference.name.as_deref().unwrap_or_default())
}

/// The key is a claim's, or a volume's, which has no namespace.
async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let caches = &state.cx.caches;
    let (volume, claim) = *state.written.lock();
    if caches.persistent_volumes.revision() < volume || caches.persistent_volume_claims.revision() < claim {
        return Ok(Some(LOOK_AGAIN / 20));
    }
    if key.namespace.is_empty() { volume_turn(&state, &key).await } else { claim_turn(&state, &key).await }
}

async fn claim_turn(state: &State, key: &Key) -> Result<Next> {
    let (cx, caches) = (&state.cx, &state.cx.caches);
    let Some(claim) = caches.persistent_volume_claims.get(key) else { return Ok(None) };
    let name = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default();
    let named = caches.persistent_volumes.get(&Key::cluster(name));
    let class = caches.storage_classes.get(&Key::cluster(plan::claim_class(&claim)));
    match claim_step(&claim, named.as_ref(), &caches.persistent_volumes.list(None), class.as_deref()) {
        ClaimStep::Nothing => Ok(None),
        ClaimStep::Bind(volume) => bind(state, key, &volume, &claim).await.map(|()| None),
        ClaimStep::Pending(reason, message) => {
            let kind =
                if reason.contains("Failed") || reason == "VolumeMismatch" { Type::Warning } else { Type::Normal };
            // Waiting without a class is nothing to be warned of.
            let kind = if reason == "FailedBinding" { Type::Normal } else { kind };
            cx.events.event(&*claim, kind, reason, message);
            set_claim_phase(state, key, &claim, "Pending").await.map(|_| None)
        }
        ClaimStep::Provision(provisioner) => {
            let mut new = (*claim).clone();
            let annotations = new.metadata.annotations.get_or_insert_default();
            for annotation in [PROVISIONER, BETA_PROVISIONER] {
                annotations.insert(annotation.into(), provisioner.clone());
            }
            write_claim(state, key, &claim, &new).await?;
            let message = format!(
                "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
            );
            cx.events.normal(&*claim, "ExternalProvisioning", message);
            Ok(None)
        }
        ClaimStep::Lost(reason, message) => {
            if set_claim_phase(state, key, &claim, "Lost").await? {
                cx.events.warning(&*claim, reason, message);
            }
            Ok(None)
        }
    }
}

/// Writes what is missing of a binding, in the order in which each half can be finished by a later look.
async fn bind(state: &State, key: &Key, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<()> {
    let mut new = volume.clone();
    let spec = new.spec.get_or_insert_default();
    let bound = spec.claim_ref.as_ref().and_then(|r| r.uid.as_ref()).is_some_and(|uid| !uid.is_empty());
    if !bound {
        let by_hand = spec.claim_ref.is_some();
        spec.claim_ref = Some(reference(claim));
        if !by_hand {
            new.metadata.annotations.get_or_insert_default().insert(BOUND_BY_CONTROLLER.into(), "yes".into());
        }
    }
    let volume = write_volume(state, volume, &new).await?;
    set_volume_phase(state, &volume, "Bound", None).await?;

    let mut new = claim.clone();
    let spec = new.spec.get_or_insert_default();
    let annotations = new.metadata.annotations.get_or_insert_default();
    if spec.volume_name.as_ref().is_none_or(String::is_empty) {
        spec.volume_name = volume.metadata.name.clone();
        annotations.insert(BOUND_BY_CONTROLLER.into(), "yes".into());
    }
    annotations.insert(BIND_COMPLETED.into(), "yes".into());
    let claim = write_claim(state, key, claim, &new).await?;
    let mut new = claim.clone();
    let status = new.status.get_or_insert_default();
    status.phase = Some("Bound".into());
    if let Some(spec) = &volume.spec {
        status.access_modes = spec.access_modes.clone();
        // What a resize has reached stays.
        if status.capacity.is_none() {
            status.capacity = spec.capacity.clone();
        }
        if status.current_volume_attributes_class_name.is_none() {
            status.current_volume_attributes_class_name = spec.volume_attributes_class_name.clone();
        }
    }
    write_claim_status(state, key, &claim, &new).await.map(drop)
}

async fn volume_turn(state: &State, key: &Key) -> Result<Next> {
    let caches = &state.cx.caches;
    let Some(volume) = caches.persistent_volumes.get(key) else { return Ok(None) };
    let claim = claim_ref(&volume).and_then(|r| caches.persistent_volume_claims.get(&claim_key(r)));
    if claim.is_none()
        && let Some(reference) = claim_ref(&volume)
    {
        // The cache of claims may be behind: a volume must not be released because of that.
        let (namespace, name) = (reference.namespace.as_deref(), reference.name.as_deref());
        let api: Api<PersistentVolumeClaim> = Api::namespaced(state.cx.client.clone(), namespace.unwrap_or_default());
        let live = api.get_opt(name.unwrap_or_default()).await?;
        if live.is_some_and(|c| c.metadata.uid == reference.uid) {
            return Ok(Some(LOOK_AGAIN));
        }
    }
    match volume_step(&volume, claim.as_deref()) {
        VolumeStep::Nothing => Ok(None),
        VolumeStep::Phase(phase, message) => {
            if let Some(message) = &message {
                state.cx.events.warning(&*volume, "VolumeFailedDelete", message.clone());
            }
            set_volume_phase(state, &volume, phase, message).await.map(|()| None)
        }
        VolumeStep::Unbind => {
            let mut new = (*volume).clone();
            new.spec.get_or_insert_default().claim_ref = None;
            if let Some(annotations) = &mut new.metadata.annotations {
                annotations.remove(BOUND_BY_CONTROLLER);
            }
            let written = write_volume(state, &volume, &new).await?;
            set_volume_phase(state, &written, "Available", None).await.map(|()| None)
        }
    }
}

fn volumes(state: &State) -> Api<PersistentVolume> {
    Api::all(state.cx.client.clone())
}

fn claims(state: &State, key: &Key) -> Api<PersistentVolumeClaim> {
    Api::namespaced(state.cx.client.clone(), &key.namespace)
}

fn gone() -> Error {
    Error::stale("one of the two is gone")
}

async fn write_volume(state: &State, old: &PersistentVolume, new: &PersistentVolume) -> Result<PersistentVolume> {
    let written = ignore_not_found(write::update(&volumes(state), old, new).await)?.ok_or_else(gone)?;
    Ok(remember_volume(state, written).unwrap_or_else(|| new.clone()))
}

fn remember_volume(state: &State, written: Option<PersistentVolume>) -> Option<PersistentVolume> {
    let written = written?;
    let mut last = state.written.lock();
    last.0 = last.0.max(revision_of(&written.metadata));
    Some(written)
}

async fn set_volume_phase(state: &State, old: &PersistentVolume, phase: &str, message: Option<String>) -> Result<()> {
    let mut new = old.clone();
    let status = new.status.get_or_insert_default();
    if status.phase.as_deref() != Some(phase) {
        status.phase = Some(phase.to_owned());
        status.last_phase_transition_time = Some(jiff::Timestamp::now().into());
        status.message = message;
    }
    let written = ignore_not_found(write::update_status(&volumes(state), old, &new).await)?;
    remember_volume(state, written.flatten());
    Ok(())
}

async fn write_claim(
    state: &State,
    key: &Key,
    old: &PersistentVolumeClaim,
    new: &PersistentVolumeClaim,
) -> Result<PersistentVolumeClaim> {
    let written = ignore_not_found(write::update(&claims(state, key), old, new).await)?.ok_or_else(gone)?;
    Ok(remember_claim(state, written).unwrap_or_else(|| new.clone()))
}

/// True if something was written.
async fn write_claim_status(
    state: &State,
    key: &Key,
    old: &PersistentVolumeClaim,
    new: &PersistentVolumeClaim,
) -> Result<bool> {
    let written = ignore_not_found(write::update_status(&claims(state, key), old, new).await)?;
    Ok(remember_claim(state, written.flatten()).is_some())
}

fn remember_claim(state: &State, written: Option<PersistentVolumeClaim>) -> Option<PersistentVolumeClaim> {
    let written = written?;
    let mut last = state.written.lock();
    last.1 = last.1.max(revision_of(&written.metadata));
    Some(written)
}

async fn set_claim_phase(state: &State, key: &Key, old: &PersistentVolumeClaim, phase: &str) -> Result<bool> {
    let mut new = old.clone();
    new.status.get_or_insert_default().phase = Some(phase.to_owned());
    write_claim_status(state, key, old, &new).await
}
