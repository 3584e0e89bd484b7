//! What the scheduler writes: bindings, conditions, nominations, the deletion of victims. Dull on purpose.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use pilothouse_controllers::events::{Recorder, Type};
use serde_json::{Value, json};

use crate::info::PodInfo;

#[derive(Clone)]
pub struct Writer {
    pub client: Client,
    pub events: Recorder,
}

/// What came of a binding.
#[derive(Debug)]
pub enum Bound {
    Done,
    /// The pod is gone, or somebody else has bound it.
    Moot,
    /// It may work later.
    Failed(String),
}

fn reference(pod: &PodInfo) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some(pod.name.to_string()),
        namespace: Some(pod.namespace.to_string()),
        uid: Some(pod.uid.to_string()),
        resource_version: Some(pod.resource_version.to_string()),
        ..Default::default()
    }
}

impl Writer {
    fn pods(&self, pod: &PodInfo) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace)
    }

    pub async fn bind(&self, pod: &PodInfo, node: &str) -> Bound {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.name.to_string()),
                namespace: Some(pod.namespace.to_string()),
                uid: Some(pod.uid.to_string()),
                ..Default::default()
            },
            target: ObjectReference { kind: Some("Node".into()), name: Some(node.into()), ..Default::default() },
        };
        let created: kube::Result<Value> =
            self.pods(pod).create_subresource("binding", &pod.name, &PostParams::default(), &binding).await;
        match created {
            Ok(_) => {
                let message = format!("Successfully assigned {} to {node}", pod.full_name());
                self.events.about(reference(pod), Type::Normal, "Scheduled", message);
                Bound::Done
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Bound::Moot,
            Err(error) => {
                let message = format!("binding rejected: {}", text(&error));
                self.events.about(reference(pod), Type::Warning, "FailedScheduling", message.clone());
                Bound::Failed(message)
            }
        }
    }

    /// Tells people why the pod waits: an event and the condition `PodScheduled`.
    pub async fn report(&self, pod: &PodInfo, reason: &'static str, message: String, nominated: Option<Arc<str>>) {
        self.events.about(reference(pod), Type::Warning, "FailedScheduling", message.clone());
        let told = pod.not_scheduled.as_ref().is_some_and(|(r, m)| r == reason && *m == message);
        if told && (nominated.is_none() || nominated == pod.nominated_node) {
            return;
        }
        let now = Time(Timestamp::now());
        let mut condition = json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
        if pod.not_scheduled.is_none() {
            condition["lastTransitionTime"] = json!(now);
        }
        let mut status = json!({"conditions": [condition]});
        if let Some(node) = nominated {
            status["nominatedNodeName"] = json!(&*node);
        }
        self.patch_status(pod, &status).await;
    }

    async fn patch_status(&self, pod: &PodInfo, status: &Value) {
        let patch = json!({"metadata": {"uid": &*pod.uid}, "status": status});
        let params = PatchParams::default();
        if let Err(error) = self.pods(pod).patch_status(&pod.name, &params, &Patch::Strategic(&patch)).await {
            tracing::debug!(pod = pod.full_name(), error = text(&error), "a pod's status could not be written");
        }
    }

    /// Deletes a pod in favour of another.
    pub async fn preempt(&self, victim: &PodInfo, preemptor: &PodInfo, node: &str) {
        if victim.deleting {
            return;
        }
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
            "lastTransitionTime": Time(Timestamp::now()),
        });
        self.patch_status(victim, &json!({"conditions": [condition]})).await;
        let preconditions = Some(Preconditions { uid: Some(victim.uid.to_string()), resource_version: None });
        let params = DeleteParams { preconditions, ..Default::default() };
        match self.pods(victim).delete(&victim.name, &params).await {
            Ok(_) => {
                let message = format!("Preempted by pod {} on node {node}", preemptor.uid);
                self.events.about(reference(victim), Type::Normal, "Preempted", message);
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => {
                tracing::warn!(pod = victim.full_name(), error = text(&error), "a pod could not be preempted");
            }
        }
    }
}

fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
