//! Tells the API about a pod: its status, and that it may be removed.
//!
//! Invariants: a status is written onto the version of the pod that it was computed from, so nobody else's change is
//! lost; a pod is removed only by its uid.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Map, Value, json};
use tracing::warn;

use super::context::Context;
use crate::client::{is_conflict, is_not_found};

#[derive(Debug)]
pub enum Reported {
    /// The status was written, and this is the pod with it.
    Written(Box<Pod>),
    /// The pod as the API has it now.
    Pod(Box<Pod>),
    /// Its deletion is accepted; somebody's finalizers keep it for now.
    Deleting,
    /// The API has it no more.
    Gone,
    Failed,
}

fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Whether `pod` is an older version than `known`.
#[must_use]
pub fn is_older(pod: &Pod, known: &Pod) -> bool {
    version(pod) < version(known)
}

/// The JSON merge patch that turns `from` into `to`.
#[must_use]
pub fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (from, to) else { return to.clone() };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(former) if former == value => {}
            Some(former @ Value::Object(_)) if value.is_object() => {
                patch.insert(key.clone(), difference(former, value));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// The merge patch from the status that the API has to `status`, as both are written; `None` if there is no difference.
#[must_use]
pub fn status_difference(former: Option<&PodStatus>, status: &PodStatus) -> Option<Value> {
    let former = former.cloned().unwrap_or_default();
    let (from, to) = (serde_json::to_value(&former).ok()?, serde_json::to_value(status).ok()?);
    (from != to).then(|| difference(&from, &to))
}

/// Writes the change of the status if there is one, then deletes the pod if told so. After a failure it waits for `pause`.
pub async fn report(context: &Context, pod: &Pod, status: Option<Value>, delete: bool, pause: Duration) -> Reported {
    let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
    let (Some(namespace), Some(name)) = (namespace, name) else { return Reported::Failed };
    let api: Api<Pod> = Api::namespaced(context.client(), namespace);
    let written = status.is_some() && !delete;
    let answer = try_report(&api, name, pod, status, delete).await;
    match answer {
        Ok(Some(_)) if delete => Reported::Deleting,
        Ok(Some(mut pod)) if written => {
            pod.metadata.managed_fields = None;
            Reported::Written(Box::new(pod))
        }
        Ok(Some(mut pod)) => {
            pod.metadata.managed_fields = None;
            Reported::Pod(Box::new(pod))
        }
        Ok(None) => Reported::Gone,
        Err(error) if is_not_found(&error) => Reported::Gone,
        Err(error) if is_conflict(&error) => match api.get_opt(name).await {
            Ok(Some(mut found)) if found.metadata.uid == pod.metadata.uid => {
                found.metadata.managed_fields = None;
                Reported::Pod(Box::new(found))
            }
            Ok(_) => Reported::Gone,
            Err(_) => fail(pause).await,
        },
        Err(error) => {
            warn!(pod = name, namespace, %error, "the pod's status was not written; trying again");
            fail(pause).await
        }
    }
}

async fn fail(pause: Duration) -> Reported {
    tokio::time::sleep(pause).await;
    Reported::Failed
}

async fn try_report(
    api: &Api<Pod>,
    name: &str,
    pod: &Pod,
    status: Option<Value>,
    delete: bool,
) -> kube::Result<Option<Pod>> {
    let mut latest = None;
    if let Some(status) = status {
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
            "status": status,
        });
        latest = Some(api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await?);
    }
    if delete {
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        // Finalizers may keep it: then the watch tells when it goes.
        if let Some(still) = api.delete(name, &parameters).await?.left()
            && still.metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
        {
            return Ok(Some(still));
        }
        return Ok(None);
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_only_what_changed() {
        let from = json!({"a": 1, "b": {"x": 1, "y": 2}, "c": [1], "d": 4});
        let to = json!({"a": 1, "b": {"x": 1, "y": 3}, "c": [1, 2], "e": {"f": null}});
        let patch = difference(&from, &to);
        assert_eq!(patch, json!({"b": {"y": 3}, "c": [1, 2], "d": null, "e": {"f": null}}));
        assert_eq!(difference(&to, &to), json!({}));
    }
}
