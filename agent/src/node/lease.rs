//! The node's heartbeat: its Lease in `kube-node-lease`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Handle;
use crate::client::is_not_found;
use crate::retry::Retry;

const NAMESPACE: &str = "kube-node-lease";
/// Upstream's: renewed four times before it runs out.
const DURATION_SECONDS: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);
/// Upstream waits as long at most before it tries again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7));
const PATIENCE: Duration = Duration::from_secs(10);

fn new_lease(handle: &Handle, now: Timestamp) -> Lease {
    let (name, node) = (&handle.config.node_name, handle.node.read());
    let owner = node.metadata.uid.clone().map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid,
        ..Default::default()
    });
    Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..Default::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..Default::default()
        }),
    }
}

async fn renew(handle: &Handle, api: &Api<Lease>) -> kube::Result<()> {
    let (name, now) = (&handle.config.node_name, Timestamp::now());
    let patch = json!({"spec": {
        "holderIdentity": name,
        "leaseDurationSeconds": DURATION_SECONDS,
        "renewTime": MicroTime(now),
    }});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => {
            api.create(&PostParams::default(), &new_lease(handle, now)).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Renews the lease until `shutdown`.
pub async fn keep(handle: Arc<Handle>, client: kube::Client, shutdown: CancellationToken) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let mut retry = Retry::new(RETRY.0, RETRY.1);
    loop {
        let wait = match tokio::time::timeout(PATIENCE, renew(&handle, &api)).await {
            Ok(Ok(())) => {
                retry.reset();
                RENEW
            }
            Ok(Err(error)) => {
                warn!(%error, "the node's lease was not renewed; trying again");
                retry.wait()
            }
            Err(_) => {
                warn!("the node's lease was not renewed within {PATIENCE:?}; trying again");
                retry.wait()
            }
        };
        tokio::select! { () = tokio::time::sleep(wait) => {}, () = shutdown.cancelled() => return }
    }
}
