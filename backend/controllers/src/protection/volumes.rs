//! A volume is in use while it is bound to a claim.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;

use super::{is_held, let_go};
use crate::error::{Next, Result};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};

pub const CONTROLLER: Controller = Controller { name: "pv-protection-controller", workers: 1, start };

const FINALIZER: &str = "kubernetes.io/pv-protection";

fn start(cx: Context) -> Reconcile {
    cx.caches.persistent_volumes.on(cx.enqueue());
    reconciler(cx, reconcile)
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(volume) = cx.caches.persistent_volumes.get(&key) else { return Ok(None) };
    let bound = volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    if is_held(&volume.metadata, FINALIZER) && !bound {
        let_go(&Api::<PersistentVolume>::all(cx.client.clone()), &*volume, FINALIZER).await?;
    }
    Ok(None)
}
