//! Removes pods nobody else can remove: those of nodes that are gone, and deleted ones that never had a node.
//!
//! Invariant: a node counts as gone only after it has been missing for `QUARANTINE`: the pod cache may be ahead of the
//! node cache.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;

use crate::error::{Next, Result};
use crate::key::Key;
use crate::node_lifecycle::{delete, disrupt};
use crate::pods;
use crate::run::{Context, Controller, Reconcile, reconciler};

pub const CONTROLLER: Controller = Controller { name: "pod-garbage-collector", workers: 2, start };

const QUARANTINE: Duration = Duration::from_secs(40);
/// Ended pods beyond this number are removed, oldest first. Upstream's default.
const MAX_ENDED: usize = 12_500;
const LOOK: Duration = Duration::from_secs(60);
/// The key of the look at ended pods; no node has such a name.
const ENDED: &str = "(ended)";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

fn start(cx: Context) -> Reconcile {
    cx.caches.nodes.on({
        let queue = cx.queue.clone();
        move |change| {
            if change.new.is_none() {
                queue.add_after(change.key.clone(), QUARANTINE);
            }
        }
    });
    cx.caches.pods.on({
        let (queue, nodes) = (cx.queue.clone(), cx.caches.nodes.clone());
        move |change| {
            let Some(pod) = change.new else { return };
            let node = Key::cluster(pods::node_name(pod));
            if node.name.is_empty() {
                if pods::is_deleting(pod) {
                    queue.add(Key::of(&pod.metadata));
                }
            } else if nodes.get(&node).is_none_or(|n| pods::is_deleting(pod) && is_out_of_service(&n)) {
                queue.add_after(node, QUARANTINE);
            }
        }
    });
    cx.queue.add_after(Key::cluster(ENDED), LOOK);
    reconciler(cx, reconcile)
}

fn is_out_of_service(node: &Node) -> bool {
    node.spec.iter().flat_map(|s| s.taints.iter().flatten()).any(|t| t.key == OUT_OF_SERVICE)
}

/// The key is a node's, or a pod's that has no node.
async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    if !key.namespace.is_empty() {
        if let Some(pod) = cx.caches.pods.get(&key).filter(|p| pods::is_deleting(p) && pods::node_name(p).is_empty()) {
            remove(&cx, &pod, None).await?;
        }
        return Ok(None);
    }
    if &*key.name == ENDED {
        return remove_ended(&cx).await;
    }
    let pods = cx.caches.pods.with(&key.name);
    if let Some(node) = cx.caches.nodes.get(&key) {
        if is_out_of_service(&node) && !node_is_ready(&node) {
            for pod in pods.iter().filter(|p| pods::is_deleting(p)) {
                remove(&cx, pod, None).await?;
            }
        }
        return Ok(None);
    }
    if pods.is_empty() {
        return Ok(None);
    }
    let api: Api<Node> = Api::all(cx.client.clone());
    if api.get_opt(&key.name).await?.is_some() {
        return Ok(None);
    }
    for pod in &pods {
        remove(&cx, pod, Some("PodGC: node no longer exists")).await?;
    }
    Ok(None)
}

fn node_is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Deletes at once; with a message, the pod is marked failed before, so that its owner sees an end.
async fn remove(cx: &Context, pod: &Pod, why: Option<&str>) -> Result<()> {
    let now = Timestamp::now();
    if let Some(why) = why.filter(|_| !pods::is_finished(pod)) {
        disrupt(cx, pod, "DeletionByPodGC", why, Some("Failed"), now).await?;
    }
    delete(cx, pod, Some(0)).await
}

async fn remove_ended(cx: &Context) -> Result<Next> {
    let mut ended: Vec<Arc<Pod>> = cx.caches.pods.list(None).into_iter().filter(|p| pods::is_finished(p)).collect();
    if ended.len() > MAX_ENDED {
        ended.sort_by_key(|p| p.metadata.creation_timestamp.as_ref().map(|t| t.0));
        for pod in &ended[..ended.len() - MAX_ENDED] {
            delete(cx, pod, Some(0)).await?;
        }
    }
    Ok(Some(LOOK))
}
