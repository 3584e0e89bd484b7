//! What to do for a StatefulSet, given its pods. Pure.
//!
//! Invariants:
//! - With ordered pod management at most one pod is created or deleted in one pass, and only while those before it are
//!   available.
//! - A rollout goes from the highest ordinal to the partition, and never makes more than `maxUnavailable` pods
//!   unavailable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};

use super::identity::{corrected, ordinal_of, ordinals, pod};
use crate::history::REVISION_HASH;
use crate::int_or_percent::{Round, scaled};
use crate::pods;

/// A template and the name of its ControllerRevision.
pub struct Revision<'a> {
    pub name: &'a str,
    pub template: &'a PodTemplateSpec,
}

#[derive(Debug)]
pub enum Action {
    /// With its claims.
    Create(i32, Box<Pod>),
    /// The claims of a waiting pod that are not there.
    Claims(i32, Arc<Pod>),
    /// Old and new: labels that did not say who it is.
    Correct(Arc<Pod>, Box<Pod>),
    Delete(Arc<Pod>),
}

#[derive(Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub status: StatefulSetStatus,
    pub wake: Option<Duration>,
}

fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|l| l.get(REVISION_HASH)).map(String::as_str).unwrap_or_default()
}

struct Seen<'a> {
    set: &'a StatefulSet,
    current: &'a Revision<'a>,
    update: &'a Revision<'a>,
    min_ready: i32,
    ordered: bool,
    now: Timestamp,
}

impl Seen<'_> {
    /// Running, ready for long enough, and not on its way out.
    fn is_available(&self, pod: &Pod) -> bool {
        !pods::is_deleting(pod) && self.runs(pod)
    }

    fn runs(&self, pod: &Pod) -> bool {
        pods::phase(pod) == "Running" && pods::is_available(pod, self.min_ready, self.now)
    }

    /// Pods below the partition are made of the current revision, the others of the new one.
    fn new_pod(&self, ordinal: i32) -> Pod {
        let old = partition(self.set).is_some_and(|partition| ordinal < ordinals(self.set).0 + partition);
        let revision = if old { self.current } else { self.update };
        pod(self.set, revision.template, revision.name, ordinal)
    }
}

/// None when nothing is rolled out.
fn partition(set: &StatefulSet) -> Option<i32> {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    if strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete") {
        return None;
    }
    Some(strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.partition).unwrap_or(0))
}

/// `settled`: the pods are all there that this controller made, so that more may be decided on.
pub fn plan(
    set: &StatefulSet,
    current: &Revision<'_>,
    update: &Revision<'_>,
    pods: &[Arc<Pod>],
    settled: bool,
    now: Timestamp,
) -> Plan {
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|s| s.min_ready_seconds).unwrap_or(0);
    let ordered = spec.and_then(|s| s.pod_management_policy.as_deref()) != Some("Parallel");
    let seen = Seen { set, current, update, min_ready, ordered, now };
    let (start, end) = ordinals(set);
    let mut replicas: BTreeMap<i32, Option<&Arc<Pod>>> = (start..end).map(|ordinal| (ordinal, None)).collect();
    let mut condemned: BTreeMap<i32, &Arc<Pod>> = BTreeMap::new();
    for pod in pods {
        let Some(ordinal) = ordinal_of(set, pod) else { continue };
        match replicas.get_mut(&ordinal) {
            Some(place) => *place = Some(pod),
            None => {
                condemned.insert(ordinal, pod);
            }
        }
    }
    let mut plan = Plan { status: status(&seen, pods), ..Default::default() };
    plan.wake = pods.iter().filter_map(|p| pods::available_in(p, min_ready, now)).min();
    if !settled || set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let done = living(&mut plan, &seen, &replicas) && shrink(&mut plan, &seen, &condemned);
    if done && let Some(partition) = partition(set) {
        roll(&mut plan, &seen, &replicas, start + partition);
    }
    plan
}

/// Gives every ordinal its pod. False when what follows has to wait.
fn living(plan: &mut Plan, seen: &Seen<'_>, replicas: &BTreeMap<i32, Option<&Arc<Pod>>>) -> bool {
    let mut go_on = true;
    for (ordinal, pod) in replicas {
        let Some(pod) = pod else {
            plan.actions.push(Action::Create(*ordinal, Box::new(seen.new_pod(*ordinal))));
            if seen.ordered {
                return false;
            }
            continue;
        };
        if pods::is_finished(pod) {
            // It is made anew once it is gone.
            if !pods::is_deleting(pod) {
                plan.actions.push(Action::Delete(Arc::clone(pod)));
            }
            if seen.ordered {
                return false;
            }
            go_on = false;
            continue;
        }
        if pods::phase(pod) == "Pending" {
            plan.actions.push(Action::Claims(*ordinal, Arc::clone(pod)));
        }
        if seen.ordered && !seen.is_available(pod) {
            return false;
        }
        if let Some(corrected) = corrected(seen.set, *ordinal, pod) {
            plan.actions.push(Action::Correct(Arc::clone(pod), Box::new(corrected)));
        }
    }
    go_on
}

/// Deletes the pods beyond the wanted number, highest ordinal first. False when what follows has to wait.
fn shrink(plan: &mut Plan, seen: &Seen<'_>, condemned: &BTreeMap<i32, &Arc<Pod>>) -> bool {
    // The one pod that may go though it is not available: it would hold up all others.
    let first_unavailable = condemned.iter().find(|(_, pod)| !seen.is_available(pod)).map(|(ordinal, _)| *ordinal);
    let mut go_on = true;
    for (ordinal, pod) in condemned.iter().rev() {
        if pods::is_deleting(pod) {
            if seen.ordered {
                return false;
            }
            continue;
        }
        if seen.ordered && !seen.runs(pod) && first_unavailable != Some(*ordinal) {
            return false;
        }
        plan.actions.push(Action::Delete(Arc::clone(pod)));
        if seen.ordered {
            return false;
        }
        go_on = false;
    }
    go_on
}

/// Deletes pods of other revisions; they are made anew of the new one.
fn roll(plan: &mut Plan, seen: &Seen<'_>, replicas: &BTreeMap<i32, Option<&Arc<Pod>>>, from: i32) {
    let strategy = seen.set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    let limit = strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.max_unavailable.as_ref());
    let total = i32::try_from(replicas.len()).unwrap_or(i32::MAX);
    let limit = limit.and_then(|l| scaled(l, total, Round::Up)).unwrap_or(1).max(1);
    let limit = usize::try_from(limit).unwrap_or(1);
    let unavailable = replicas.values().filter(|pod| !pod.is_some_and(|p| seen.is_available(p))).count();
    let old = |pod: &&&Arc<Pod>| revision_of(pod) != seen.update.name && !pods::is_deleting(pod);
    let above = replicas.range(from..).rev().filter_map(|(_, pod)| pod.as_ref());
    for pod in above.filter(old).take(limit.saturating_sub(unavailable)) {
        plan.actions.push(Action::Delete(Arc::clone(pod)));
        plan.status.current_replicas = plan.status.current_replicas.map(|count| (count - 1).max(0));
    }
}

fn status(seen: &Seen<'_>, all: &[Arc<Pod>]) -> StatefulSetStatus {
    let (mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0);
    for pod in all {
        ready += i32::from(pods::phase(pod) == "Running" && pods::is_ready(pod));
        available += i32::from(seen.runs(pod));
        if !pods::is_deleting(pod) {
            current += i32::from(revision_of(pod) == seen.current.name);
            updated += i32::from(revision_of(pod) == seen.update.name);
        }
    }
    let old = seen.set.status.as_ref();
    let (start, end) = ordinals(seen.set);
    let wanted = end - start;
    let replicas = i32::try_from(all.len()).unwrap_or(i32::MAX);
    let mut current_revision = seen.current.name;
    if partition(seen.set).is_some() && [updated, ready, replicas].iter().all(|count| *count == wanted) {
        (current, current_revision) = (updated, seen.update.name);
    }
    let some = |count: i32| (count != 0).then_some(count);
    StatefulSetStatus {
        replicas,
        ready_replicas: some(ready),
        available_replicas: Some(available),
        current_replicas: some(current),
        updated_replicas: some(updated),
        current_revision: Some(current_revision.to_owned()),
        update_revision: Some(seen.update.name.to_owned()),
        observed_generation: seen.set.metadata.generation,
        collision_count: old.and_then(|s| s.collision_count),
        conditions: old.and_then(|s| s.conditions.clone()),
    }
}
