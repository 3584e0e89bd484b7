//! A VolumeAttributesClass is in use while a claim or a volume names it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::Api;

use super::{is_held, let_go};
use crate::error::{Next, Result};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};

pub const CONTROLLER: Controller =
    Controller { name: "volumeattributesclass-protection-controller", workers: 1, start };

const FINALIZER: &str = "kubernetes.io/vac-protection";

fn start(cx: Context) -> Reconcile {
    cx.caches.volume_attributes_classes.on(cx.enqueue());
    cx.caches.persistent_volume_claims.on({
        let queue = cx.queue.clone();
        move |change| {
            let names = change.old.into_iter().flat_map(|claim| of_claim(claim));
            names.for_each(|name| queue.add(Key::cluster(name)));
        }
    });
    cx.caches.persistent_volumes.on({
        let queue = cx.queue.clone();
        move |change| {
            if let Some(name) = change.old.and_then(|volume| of_volume(volume)) {
                queue.add(Key::cluster(name));
            }
        }
    });
    reconciler(cx, reconcile)
}

fn of_claim(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
    let status = claim.status.as_ref();
    let wanted = claim.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref());
    let current = status.and_then(|s| s.current_volume_attributes_class_name.as_deref());
    let target = status.and_then(|s| s.modify_volume_status.as_ref());
    let target = target.and_then(|m| m.target_volume_attributes_class_name.as_deref());
    [wanted, current, target].into_iter().flatten()
}

fn of_volume(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.volume_attributes_class_name.as_deref()
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(class) = cx.caches.volume_attributes_classes.get(&key) else { return Ok(None) };
    if !is_held(&class.metadata, FINALIZER) {
        return Ok(None);
    }
    let claimed = |claim: &Arc<PersistentVolumeClaim>| of_claim(claim).any(|name| *name == *key.name);
    let used = cx.caches.persistent_volume_claims.list(None).iter().any(claimed)
        || cx.caches.persistent_volumes.list(None).iter().any(|volume| of_volume(volume) == Some(&*key.name));
    if !used {
        let_go(&Api::<VolumeAttributesClass>::all(cx.client.clone()), &*class, FINALIZER).await?;
    }
    Ok(None)
}
