//! A Deployment's status: counts, whether it is available, and whether the roll-out moves, is done, or is stuck.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{Limits, Sets};
use crate::replication::non_zero;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const DONE: &str = "NewReplicaSetAvailable";

pub fn condition(type_: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

pub fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == type_)
}

/// Sets a condition; one with the same status and reason stays as it is.
pub fn set_condition(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = find(status, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
    }
    remove_condition(status, &new.type_);
    status.conditions.get_or_insert_default().push(new);
}

fn remove_condition(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_ != type_);
    }
}

pub fn spec_has_deadline(spec: &DeploymentSpec) -> bool {
    spec.progress_deadline_seconds.is_some_and(|s| s != i32::MAX)
}

pub fn has_deadline(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().is_some_and(spec_has_deadline)
}

fn reason_is(condition: Option<&DeploymentCondition>, reason: &str) -> bool {
    condition.is_some_and(|c| c.reason.as_deref() == Some(reason))
}

/// Says that the Deployment is paused, or resumed: the clock of the progress deadline stands still meanwhile.
pub fn mark_paused(deployment: &mut Deployment, paused: bool, now: Timestamp) {
    if !has_deadline(deployment) {
        return;
    }
    let status = deployment.status.get_or_insert_default();
    let current = find(status, PROGRESSING);
    // A verdict is not taken back by pausing.
    if reason_is(current, TIMED_OUT) {
        return;
    }
    let marked = reason_is(current, "DeploymentPaused");
    if paused && !marked {
        set_condition(status, condition(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now));
    } else if !paused && marked {
        set_condition(status, condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now));
    }
}

/// The counts and the conditions that follow from them alone.
pub fn sync_counts(deployment: &mut Deployment, sets: &Sets, limits: &Limits, now: Timestamp) {
    let generation = deployment.metadata.generation;
    let status = deployment.status.get_or_insert_default();
    let statuses: Vec<ReplicaSetStatus> = sets.all().filter_map(|s| s.before.status.clone()).collect();
    let sum = |count: fn(&ReplicaSetStatus) -> i32| statuses.iter().map(count).sum::<i32>();
    let available = sum(|s| s.available_replicas.unwrap_or(0));
    let updated = sets.new.as_ref().and_then(|s| s.before.status.as_ref()).map_or(0, |s| s.replicas);
    status.observed_generation = generation;
    status.replicas = non_zero(sum(|s| s.replicas));
    status.updated_replicas = non_zero(updated);
    status.ready_replicas = non_zero(sum(|s| s.ready_replicas.unwrap_or(0)));
    status.available_replicas = non_zero(available);
    status.unavailable_replicas = non_zero((sets.total() - available).max(0));
    status.terminating_replicas = Some(sum(|s| s.terminating_replicas.unwrap_or(0)));
    let (state, reason, message) = if available >= limits.min_available() {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set_condition(status, condition(AVAILABLE, state, reason, message, now));
}

/// Brings the status up to date and judges the roll-out; true when it is complete.
pub fn sync(
    deployment: &mut Deployment,
    sets: &Sets,
    create: Option<&ReplicaSet>,
    limits: &Limits,
    now: Timestamp,
) -> bool {
    let before = deployment.status.clone().unwrap_or_default();
    sync_counts(deployment, sets, limits, now);
    let deadline = deployment.spec.as_ref().filter(|s| spec_has_deadline(s)).and_then(|s| s.progress_deadline_seconds);
    let name = deployment.metadata.name.clone().unwrap_or_default();
    let status = deployment.status.get_or_insert_default();
    let complete = is_complete(status, limits) && create.is_none();
    let current = find(status, PROGRESSING).cloned();
    // A roll-out judged done stays done: pods that come and go later are not progress.
    let done_before = status.replicas == status.updated_replicas && reason_is(current.as_ref(), DONE);
    if let Some(deadline) = deadline.filter(|_| !done_before) {
        let what = match sets.new.as_ref().map(|s| s.name()).or(create.and_then(|s| s.metadata.name.as_deref())) {
            Some(set) => format!("ReplicaSet {set:?}"),
            None => format!("Deployment {name:?}"),
        };
        if complete {
            let message = format!("{what} has successfully progressed.");
            set_condition(status, condition(PROGRESSING, "True", DONE, &message, now));
        } else if has_progressed(&before, status) {
            let mut moved =
                condition(PROGRESSING, "True", "ReplicaSetUpdated", &format!("{what} is progressing."), now);
            if let Some(current) = current.filter(|c| c.status == "True") {
                moved.last_transition_time = current.last_transition_time;
            }
            remove_condition(status, PROGRESSING);
            set_condition(status, moved);
        } else if is_stuck(current.as_ref(), deadline, now) {
            let message = format!("{what} has timed out progressing.");
            set_condition(status, condition(PROGRESSING, "False", TIMED_OUT, &message, now));
        }
    }
    sync_failure(status, sets);
    complete
}

fn is_complete(status: &DeploymentStatus, limits: &Limits) -> bool {
    let count = |n: Option<i32>| n.unwrap_or(0) == limits.replicas;
    count(status.updated_replicas) && count(status.replicas) && count(status.available_replicas)
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let n = |n: Option<i32>| n.unwrap_or(0);
    let old = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(after.updated_replicas) > n(before.updated_replicas)
        || old(after) < old(before)
        || n(after.ready_replicas) > n(before.ready_replicas)
        || n(after.available_replicas) > n(before.available_replicas)
}

fn is_stuck(current: Option<&DeploymentCondition>, deadline: i32, now: Timestamp) -> bool {
    let Some(current) = current else { return false };
    match current.reason.as_deref() {
        Some(DONE) => false,
        Some(TIMED_OUT) => true,
        _ => current.last_update_time.as_ref().is_some_and(|t| now > t.0 + seconds(deadline)),
    }
}

fn seconds(count: i32) -> Duration {
    Duration::from_secs(count.max(0).unsigned_abs().into())
}

/// Passes on that a ReplicaSet cannot make its pods; the new one's trouble comes first.
fn sync_failure(status: &mut DeploymentStatus, sets: &Sets) {
    let failing =
        sets.new.iter().chain(&sets.old).find_map(|set| {
            set.before.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == FAILURE).cloned()
        });
    match failing {
        None => remove_condition(status, FAILURE),
        Some(c) => set_condition(
            status,
            DeploymentCondition {
                type_: c.type_,
                status: c.status,
                reason: c.reason,
                message: c.message,
                last_update_time: c.last_transition_time.clone(),
                last_transition_time: c.last_transition_time,
            },
        ),
    }
}

/// When the progress deadline may run out.
pub fn next_look(deployment: &Deployment, complete: bool, now: Timestamp) -> Option<Duration> {
    let spec = deployment.spec.as_ref().filter(|s| spec_has_deadline(s))?;
    let current = find(deployment.status.as_ref()?, PROGRESSING)?;
    if complete || matches!(current.reason.as_deref(), Some(TIMED_OUT | DONE)) {
        return None;
    }
    let at = current.last_update_time.as_ref()?.0 + seconds(spec.progress_deadline_seconds?);
    let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    Some(left + Duration::from_secs(1))
}
