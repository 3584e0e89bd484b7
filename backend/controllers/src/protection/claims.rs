//! A claim is in use while a pod that has a node names it.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;

use super::{is_held, let_go};
use crate::error::{Next, Result};
use crate::key::Key;
use crate::pods;
use crate::run::{Context, Controller, Reconcile, reconciler};

pub const CONTROLLER: Controller = Controller { name: "pvc-protection-controller", workers: 1, start };

const FINALIZER: &str = "kubernetes.io/pvc-protection";

fn start(cx: Context) -> Reconcile {
    cx.caches.persistent_volume_claims.on(cx.enqueue());
    cx.caches.pods.on({
        let queue = cx.queue.clone();
        move |change| {
            // Only the end of a use can set a claim free.
            let Some(old) = change.old.filter(|old| change.new.is_none_or(|new| !uses_same(old, new))) else { return };
            for claim in claims(old) {
                queue.add(Key::new(&change.key.namespace, &claim));
            }
        }
    });
    reconciler(cx, reconcile)
}

fn uses_same(old: &Pod, new: &Pod) -> bool {
    claims(old).is_subset(&claims(new))
}

/// The names of the claims a pod uses; none before it has a node: then no kubelet can start with it any more.
fn claims(pod: &Pod) -> BTreeSet<String> {
    if pods::node_name(pod).is_empty() {
        return BTreeSet::new();
    }
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{name}-{}", volume.name)),
            _ => None,
        })
        .collect()
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(claim) = cx.caches.persistent_volume_claims.get(&key) else { return Ok(None) };
    if !is_held(&claim.metadata, FINALIZER) {
        return Ok(None);
    }
    let uses = |pod: &Pod| claims(pod).contains(&*key.name);
    if cx.caches.pods.list(Some(&key.namespace)).iter().any(|pod| uses(pod)) {
        return Ok(None);
    }
    // The cache may not show a pod that was scheduled a moment ago.
    let live: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    if live.list(&ListParams::default()).await?.items.iter().any(uses) {
        return Ok(Some(crate::expectations::LOOK_AGAIN));
    }
    let api: Api<PersistentVolumeClaim> = Api::namespaced(cx.client.clone(), &key.namespace);
    let_go(&api, &*claim, FINALIZER).await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_pod_uses() {
        let volumes = json!([
            {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "b", "ephemeral": {}},
            {"name": "c", "emptyDir": {}},
        ]);
        let pod = |node: &str| -> Pod {
            let spec = json!({"containers": [], "nodeName": node, "volumes": volumes});
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
        };
        assert_eq!(claims(&pod("n1")), ["data".to_owned(), "p-b".to_owned()].into());
        assert!(claims(&pod("")).is_empty());
        assert!(uses_same(&pod(""), &pod("n1")) && !uses_same(&pod("n1"), &pod("")));
    }
}
