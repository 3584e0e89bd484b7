//! The claims of a StatefulSet's pods: made before the pods, owned as the set's retention policy says.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::PostParams;

use super::identity::{claims, is_stale, ordinal_of, owners};
use crate::error::{Error, Result, ignore_not_found};
use crate::expectations::Expectations;
use crate::key::Key;
use crate::run::Context;
use crate::write;

/// Makes what is missing of an ordinal's claims. `pod` is none when it is still to be created.
pub async fn make(
    cx: &Context,
    expect: &Expectations,
    set: &StatefulSet,
    key: &Key,
    ordinal: i32,
    pod: Option<&Pod>,
) -> Result<()> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(cx.client.clone(), &key.namespace);
    for (_, mut claim) in claims(set, ordinal) {
        let name = claim.metadata.name.clone().unwrap_or_default();
        if let Some(there) = cx.caches.persistent_volume_claims.get(&Key::new(&key.namespace, &name)) {
            if there.metadata.deletion_timestamp.is_some() || is_stale(set, ordinal, pod, &there) {
                return Err(Error::stale(format!("pvc {name} is being deleted")));
            }
            continue;
        }
        claim.metadata.owner_references = owners(set, ordinal, pod, &claim);
        let what = format!("Claim {name} Pod {} in StatefulSet {}", super::identity::pod_name(set, ordinal), key.name);
        match api.create(&PostParams::default(), &claim).await.map_err(Error::from) {
            Ok(created) => {
                expect.written(key, &created.metadata);
                cx.events.normal(set, "SuccessfulCreate", format!("create {what} success"));
            }
            Err(error) if error.is_already_exists() => {}
            Err(error) => {
                if !error.is_namespace_terminating() {
                    cx.events.warning(set, "FailedCreate", format!("create {what} failed error: {error}"));
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Hands the claims of all pods to those owners with whom they are to go.
pub async fn keep_owners(
    cx: &Context,
    expect: &Expectations,
    set: &StatefulSet,
    key: &Key,
    pods: &[Arc<Pod>],
) -> Result<()> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(cx.client.clone(), &key.namespace);
    for pod in pods {
        let Some(ordinal) = ordinal_of(set, pod) else { continue };
        for (_, claim) in claims(set, ordinal) {
            let name = claim.metadata.name.unwrap_or_default();
            let there = cx.caches.persistent_volume_claims.get(&Key::new(&key.namespace, &name));
            let Some(there) = there.filter(|c| c.metadata.deletion_timestamp.is_none()) else { continue };
            let Some(wanted) = owners(set, ordinal, Some(pod), &there) else { continue };
            let mut new = (*there).clone();
            new.metadata.owner_references = (!wanted.is_empty()).then_some(wanted);
            if let Some(Some(written)) = ignore_not_found(write::update(&api, &*there, &new).await)? {
                expect.written(key, &written.metadata);
            }
        }
    }
    Ok(())
}
