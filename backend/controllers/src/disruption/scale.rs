//! How many pods the controllers of some pods want.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::DynamicObject;

use crate::cache::{Cached, Store};
use crate::discovery;
use crate::error::{Error, Result, ignore_not_found};
use crate::key::Key;
use crate::owner::controller_of;
use crate::run::Context;

/// The sum over the pods' controllers, and whether there were pods without one, which count for nothing.
pub async fn expected(cx: &Context, namespace: &str, pods: &[Arc<Pod>]) -> Result<(i32, bool)> {
    let mut scales: BTreeMap<String, i32> = BTreeMap::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut unmanaged = false;
    for pod in pods {
        let Some(owner) = controller_of(&pod.metadata) else {
            unmanaged = true;
            continue;
        };
        if !seen.insert(&owner.uid) {
            continue;
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let (uid, scale) = scale_of(cx, namespace, owner)
            .await?
            .ok_or_else(|| Error::invalid(format!("found no controllers for pod {name:?}")))?;
        scales.insert(uid, scale);
    }
    Ok((scales.values().fold(0, |sum: i32, scale| sum.saturating_add(*scale)), unmanaged))
}

fn is_of(owner: &OwnerReference, group: &str, kind: &str) -> bool {
    let of = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    of == group && owner.kind == kind
}

fn cached<K: Cached>(store: &Store<K>, namespace: &str, owner: &OwnerReference) -> Option<Arc<K>> {
    let object = store.get(&Key::new(namespace, &owner.name))?;
    (object.meta().uid.as_deref() == Some(&owner.uid)).then_some(object)
}

/// The uid of what decides on the number of pods (for a ReplicaSet its Deployment) and that number.
async fn scale_of(cx: &Context, namespace: &str, owner: &OwnerReference) -> Result<Option<(String, i32)>> {
    let caches = &cx.caches;
    if is_of(owner, "apps", "ReplicaSet") {
        let Some(set) = cached(&caches.replica_sets, namespace, owner) else { return Ok(None) };
        let parent = controller_of(&set.metadata);
        return match parent {
            Some(parent) if is_of(parent, "apps", "Deployment") => {
                let deployment = cached(&caches.deployments, namespace, parent);
                Ok(deployment.map(|d| (parent.uid.clone(), d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1))))
            }
            // Something else decides on this set's size.
            Some(parent) => scale_subresource(cx, namespace, parent).await,
            None => Ok(Some((owner.uid.clone(), set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)))),
        };
    }
    if is_of(owner, "apps", "StatefulSet") {
        let set = cached(&caches.stateful_sets, namespace, owner);
        return Ok(set.map(|s| (owner.uid.clone(), s.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1))));
    }
    if is_of(owner, "", "ReplicationController") {
        let rc = cached(&caches.replication_controllers, namespace, owner);
        return Ok(rc.map(|r| (owner.uid.clone(), r.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1))));
    }
    scale_subresource(cx, namespace, owner).await
}

async fn scale_subresource(cx: &Context, namespace: &str, owner: &OwnerReference) -> Result<Option<(String, i32)>> {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let served = discovery::discover(&cx.client).await?.resources;
    let Some(resource) = served.iter().find(|r| r.group == group && r.kind == owner.kind && r.namespaced) else {
        return Ok(None);
    };
    let api: Api<DynamicObject> = Api::namespaced_with(cx.client.clone(), namespace, &resource.api_resource());
    let scale: kube::Result<Scale> = match api.get_scale(&owner.name).await {
        Ok(scale) => serde_json::to_value(scale).and_then(serde_json::from_value).map_err(kube::Error::SerdeError),
        Err(error) => Err(error),
    };
    match ignore_not_found(scale.map_err(Error::from))? {
        Some(scale) if scale.metadata.uid.as_deref() == Some(&owner.uid) => {
            let replicas = scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
            Ok(Some((owner.uid.clone(), replicas)))
        }
        Some(_) => Ok(None),
        None => {
            let what = resource.group_resource();
            Err(Error::invalid(format!("{what} does not implement the scale subresource")))
        }
    }
}
