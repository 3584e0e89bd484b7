//! Keeps a ReplicationController's number of pods. See `replication`.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::cache::Store;
use crate::error::{Error, Result};
use crate::replication::{self, Counts, Failure, Replicated, non_zero};
use crate::run::{Context, Controller, reconciler};
use crate::selector::Selector;

pub const CONTROLLER: Controller = Controller {
    name: "replication-controller",
    workers: 2,
    start: |cx| {
        reconciler(replication::start::<ReplicationController>(cx), replication::reconcile::<ReplicationController>)
    },
};

const FAILURE: &str = "ReplicaFailure";

impl Replicated for ReplicationController {
    fn store(cx: &Context) -> &Store<Self> {
        &cx.caches.replication_controllers
    }

    fn wanted(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    fn selector(&self) -> Result<Selector> {
        match self.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty()) {
            Some(labels) => Selector::equality(labels),
            // Defaulted from the template's labels on creation; without them it would select every pod.
            None => Err(Error::invalid("spec.selector is empty")),
        }
    }

    fn template(&self) -> Option<Cow<'_, PodTemplateSpec>> {
        self.spec.as_ref().and_then(|s| s.template.as_ref()).map(Cow::Borrowed)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }

    fn siblings(&self, cx: &Context) -> Vec<Arc<Pod>> {
        cx.caches.pods.owned_by(self.metadata.uid.as_deref().unwrap_or_default())
    }

    fn with_status(&self, counts: Counts, failure: Option<Failure>, now: Timestamp) -> Self {
        let old = self.status.clone().unwrap_or_default();
        let mut conditions = old.conditions.unwrap_or_default();
        let before = conditions.iter().position(|c| c.type_ == FAILURE).map(|i| conditions.remove(i));
        if let Some(Failure { reason, message }) = failure {
            let same = before.filter(|c| c.status == "True" && c.reason.as_deref() == Some(&reason));
            conditions.push(same.unwrap_or_else(|| ReplicationControllerCondition {
                type_: FAILURE.into(),
                status: "True".into(),
                reason: Some(reason),
                message: Some(message),
                last_transition_time: Some(Time(now)),
            }));
        }
        let status = ReplicationControllerStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: non_zero(counts.fully_labeled),
            ready_replicas: non_zero(counts.ready),
            available_replicas: non_zero(counts.available),
            observed_generation: self.metadata.generation,
            conditions: (!conditions.is_empty()).then_some(conditions),
        };
        Self { status: Some(status), ..self.clone() }
    }

    fn failure(&self) -> Option<Failure> {
        let condition = self.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == FAILURE)?;
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        Some(Failure { reason: text(&condition.reason), message: text(&condition.message) })
    }
}
