//! Takes back the mark of an eviction that came to nothing: a pod that was to be disrupted and is still there.
//! Source: <https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions>

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::plan::DELETION_TIMEOUT;
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::key::Key;
use crate::pods;
use crate::run::{Context, Controller, Reconcile, reconciler};

/// Acts as the disruption controller.
pub const CONTROLLER: Controller = Controller { name: "disruption-controller", workers: 1, start };

const TARGET: &str = "DisruptionTarget";

fn start(cx: Context) -> Reconcile {
    cx.caches.pods.on({
        let queue = cx.queue.clone();
        move |change| {
            if change.new.is_some_and(|pod| marked(pod).is_some()) {
                queue.add(change.key.clone());
            }
        }
    });
    reconciler(cx, reconcile)
}

/// Since when a pod that could still go on has been marked.
fn marked(pod: &Pod) -> Option<Timestamp> {
    let condition = pods::condition(pod, TARGET).filter(|c| c.status == "True" && pods::is_active(pod))?;
    condition.last_transition_time.as_ref().map(|t| t.0)
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(pod) = cx.caches.pods.get(&key) else { return Ok(None) };
    let Some(since) = marked(&pod) else { return Ok(None) };
    let now = Timestamp::now();
    let left = Duration::try_from((since + DELETION_TIMEOUT).duration_since(now)).unwrap_or_default();
    if !left.is_zero() {
        return Ok(Some(left));
    }
    let condition = json!({"type": TARGET, "status": "False", "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now)});
    let patch = json!({
        "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": [condition]},
    });
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    let patched = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
    ignore_not_found(patched.map_err(Error::from))?;
    Ok(None)
}
