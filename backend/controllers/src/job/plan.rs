//! What to do for a Job, given its pods. Pure.
//!
//! Invariants:
//! - Every tracked pod is counted exactly once: its uid enters the status first, then its finalizer goes, and only when
//!   the finalizer is seen gone does the uid leave the status for the sum.
//! - Never more active pods than `parallelism`; a Job that is about to end gets no new pods.
//! - A Job ends only when all its pods have ended and all are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, PodFailurePolicy};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::indexes::{self, Indexes};
use super::policy::{self, Action};
use super::{COMPLETION_INDEX, FAILURE_COUNT, IGNORED_COUNT, is_tracked, is_true};
use crate::events::Type;
use crate::pods;

const MAX_CREATES: usize = 500;
/// The status names no more uids than this at once.
const MAX_UNCOUNTED: usize = 500;
const FIRST_BACKOFF: u64 = 10;
const MAX_BACKOFF: u64 = 360;

#[derive(Debug, Default)]
pub struct Plan {
    pub status: JobStatus,
    pub create: Vec<New>,
    /// Surplus pods: they are let go before they are deleted, so that they do not count as failed.
    pub surplus: Vec<Arc<Pod>>,
    /// Pods of a Job that is about to end: they are deleted and counted.
    pub stop: Vec<Arc<Pod>>,
    /// Counted in `status`: their finalizers go once it is written.
    pub untrack: Vec<Arc<Pod>>,
    pub wake: Option<Duration>,
    pub events: Vec<(Type, &'static str, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct New {
    pub index: Option<i32>,
    /// Counted and ignored failures of the index so far, where there is a limit to them.
    pub failures: Option<(u32, u32)>,
}

/// The outcome that is decided though pods may still run.
enum Target {
    Success { reason: String, message: String },
    Failure { reason: String, message: String },
}

pub fn index_of(pod: &Pod) -> Option<i32> {
    number(pod, COMPLETION_INDEX).and_then(|n| i32::try_from(n).ok())
}

fn number(pod: &Pod, annotation: &str) -> Option<u32> {
    pod.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// `settled`: the pods are all there that this controller made, so that more may be decided on.
pub fn plan(job: &Job, pods: &[Arc<Pod>], settled: bool, now: Timestamp) -> Plan {
    let Some(spec) = &job.spec else { return Plan::default() };
    let old = job.status.clone().unwrap_or_default();
    let mut plan = Plan { status: old.clone(), ..Default::default() };
    let suspended = spec.suspend == Some(true);
    suspend(&mut plan, suspended, now);

    let completions = spec.completions;
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    let per_index = spec.backoff_limit_per_index.filter(|_| indexed);
    let only_failed = match spec.pod_replacement_policy.as_deref() {
        Some(policy) => policy == "Failed",
        None => spec.pod_failure_policy.is_some(),
    };
    let has_failed = |p: &Pod| match pods::phase(p) {
        "Failed" => true,
        "Succeeded" => false,
        // No kubelet will ever report on a pod without a node.
        _ => pods::is_deleting(p) && (!only_failed || pods::node_name(p).is_empty()),
    };
    let mut target = decided(&old);
    let ending = target.is_some();

    // What was counted before: finalizers gone since then complete the count.
    let tracked: BTreeSet<&str> = pods.iter().filter(|p| is_tracked(&p.metadata)).map(|p| uid(p)).collect();
    let uncounted = old.uncounted_terminated_pods.clone().unwrap_or_default();
    let settle = |uids: Option<Vec<String>>, sum: Option<i32>| {
        let (keep, gone): (Vec<_>, Vec<_>) = uids.into_iter().flatten().partition(|u| tracked.contains(u.as_str()));
        (keep, sum.unwrap_or(0).saturating_add(int(gone.len())))
    };
    let (mut succeeded_uids, succeeded_sum) = settle(uncounted.succeeded, old.succeeded);
    let (mut failed_uids, failed_sum) = settle(uncounted.failed, old.failed);
    let total = completions.unwrap_or(0);
    let mut completed = indexes::parse(old.completed_indexes.as_deref().unwrap_or(""), total);
    let mut failed_indexes = indexes::parse(old.failed_indexes.as_deref().unwrap_or(""), total);

    let attempts = attempts(pods);
    for pod in pods.iter().filter(|p| is_tracked(&p.metadata)) {
        let (id, index) = (uid(pod), index_of(pod).filter(|i| (0..total).contains(i)));
        let done = pods::phase(pod) == "Succeeded";
        if !done && !has_failed(pod) {
            continue;
        }
        if succeeded_uids.iter().chain(&failed_uids).any(|u| u == id) {
            plan.untrack.push(pod.clone());
            continue;
        }
        if succeeded_uids.len() + failed_uids.len() >= MAX_UNCOUNTED || plan.untrack.len() >= MAX_UNCOUNTED {
            // The writes of this pass lead to the next.
            break;
        }
        if done {
            match (indexed, index) {
                (true, Some(index)) => drop(completed.insert(index)),
                (true, None) => {}
                (false, _) => succeeded_uids.push(id.to_owned()),
            }
            plan.untrack.push(pod.clone());
            continue;
        }
        let action = policy::on_failure(spec.pod_failure_policy.as_ref(), pod);
        if let (Some(limit), Some(index)) = (per_index, index) {
            let failures = number(pod, FAILURE_COUNT).unwrap_or(0) + u32::from(action != Action::Ignore);
            if action == Action::FailIndex || i64::from(failures) > i64::from(limit) {
                if !completed.contains(&index) {
                    failed_indexes.insert(index);
                }
            } else if !ending
                && !suspended
                && !completed.contains(&index)
                && attempts.get(&index) == Some(&attempt(pod))
            {
                // It carries the index's failures until its successor does.
                continue;
            }
        }
        if let Action::FailJob(message) = &action {
            target.get_or_insert_with(|| failure("PodFailurePolicy", message));
        }
        if action != Action::Ignore && (!indexed || index.is_some()) {
            failed_uids.push(id.to_owned());
        }
        plan.untrack.push(pod.clone());
    }

    let succeeded =
        if indexed { int(completed.len()) } else { succeeded_sum.saturating_add(int(succeeded_uids.len())) };
    let failed = failed_sum.saturating_add(int(failed_uids.len()));
    let active: Vec<&Arc<Pod>> = pods.iter().filter(|p| pods::is_active(p)).collect();
    let terminating = pods.iter().filter(|p| pods::is_deleting(p) && !pods::is_finished(p)).count();

    if target.is_none() {
        target = decide(job, &mut plan, pods, succeeded, failed, &completed, &failed_indexes, active.len(), now);
    }
    let waiting = plan.untrack.len();
    let all_counted = succeeded_uids.is_empty() && failed_uids.is_empty() && tracked.is_empty();
    match &target {
        Some(target) => {
            let settled_condition = state(target);
            set(&mut plan.status, settled_condition.0, true, settled_condition.1, settled_condition.2, now);
            plan.stop = active.iter().map(|p| (*p).clone()).collect();
            if active.is_empty() && terminating == 0 && waiting == 0 && all_counted {
                finish(&mut plan, target, now);
            }
        }
        None if settled => {
            let left = completions.map(|c| usize::try_from(c - succeeded).unwrap_or(0));
            let parallelism = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
            let wanted = match left {
                _ if suspended => 0,
                Some(left) => left.saturating_sub(failed_indexes.len()).min(parallelism),
                None if succeeded > 0 => active.len().min(parallelism),
                None => parallelism,
            };
            let taken = |p: &Pod| pods::is_active(p) || (only_failed && !pods::is_finished(p));
            manage(&mut plan, &active, wanted, indexed.then_some(&completed), total);
            let occupied = active.len() - plan.surplus.len() + if only_failed { terminating } else { 0 };
            let room = wanted.saturating_sub(occupied).min(MAX_CREATES);
            if room > 0 && plan.surplus.is_empty() {
                let policy = spec.pod_failure_policy.as_ref();
                let choose =
                    Choose { completed: &completed, failed: &failed_indexes, per_index, total, indexed, policy };
                choose.pods(&mut plan, pods, &taken, &has_failed, room, now);
            }
        }
        None => {}
    }

    let status = &mut plan.status;
    status.active = Some(int(active.len())).filter(|n| *n != 0);
    status.ready = Some(int(active.iter().filter(|p| pods::is_ready(p)).count()));
    status.terminating = Some(int(terminating));
    status.succeeded = Some(if indexed { succeeded } else { succeeded_sum }).filter(|n| *n != 0);
    status.failed = Some(failed_sum).filter(|n| *n != 0);
    if indexed {
        status.completed_indexes = Some(indexes::format(&completed)).filter(|t| !t.is_empty());
        // An empty text says that failed indexes are watched for.
        status.failed_indexes = per_index.map(|_| indexes::format(&failed_indexes));
    }
    let lists = status.uncounted_terminated_pods.get_or_insert_default();
    lists.succeeded = Some(succeeded_uids).filter(|u| !u.is_empty());
    lists.failed = Some(failed_uids).filter(|u| !u.is_empty());
    plan
}

fn attempt(pod: &Pod) -> u32 {
    number(pod, FAILURE_COUNT).unwrap_or(0).saturating_add(number(pod, IGNORED_COUNT).unwrap_or(0))
}

/// The number of the latest attempt at each index.
fn attempts(pods: &[Arc<Pod>]) -> BTreeMap<i32, u32> {
    let mut all = BTreeMap::new();
    for pod in pods {
        if let Some(index) = index_of(pod) {
            let last = all.entry(index).or_insert(0);
            *last = attempt(pod).max(*last);
        }
    }
    all
}

fn failure(reason: &str, message: &str) -> Target {
    Target::Failure { reason: reason.into(), message: message.into() }
}

fn state(target: &Target) -> (&'static str, &str, &str) {
    match target {
        Target::Success { reason, message } => ("SuccessCriteriaMet", reason, message),
        Target::Failure { reason, message } => ("FailureTarget", reason, message),
    }
}

fn decided(status: &JobStatus) -> Option<Target> {
    let condition = |type_: &str| status.conditions.iter().flatten().find(|c| c.type_ == type_ && c.status == "True");
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    if let Some(c) = condition("FailureTarget") {
        return Some(Target::Failure { reason: text(&c.reason), message: text(&c.message) });
    }
    let c = condition("SuccessCriteriaMet")?;
    Some(Target::Success { reason: text(&c.reason), message: text(&c.message) })
}

fn decide(
    job: &Job,
    plan: &mut Plan,
    pods: &[Arc<Pod>],
    succeeded: i32,
    failed: i32,
    completed: &Indexes,
    failed_indexes: &Indexes,
    active: usize,
    now: Timestamp,
) -> Option<Target> {
    let spec = job.spec.as_ref()?;
    let limit = spec.backoff_limit.unwrap_or(if spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 });
    let on_failure = spec.template.spec.as_ref().and_then(|s| s.restart_policy.as_deref()) == Some("OnFailure");
    let restarts: i32 = pods.iter().filter(|p| on_failure && !pods::is_finished(p)).map(|p| pods::restarts(p)).sum();
    if failed > limit || (restarts > 0 && restarts >= limit) {
        return Some(failure("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if let (Some(seconds), Some(start)) = (spec.active_deadline_seconds, &plan.status.start_time) {
        let end = start.0 + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        match Duration::try_from(end.duration_since(now)) {
            Ok(left) if !left.is_zero() => plan.wake = Some(left),
            _ => return Some(failure("DeadlineExceeded", "Job was active longer than specified deadline")),
        }
    }
    let success = |reason: &str, message: String| Some(Target::Success { reason: reason.into(), message });
    if spec.backoff_limit_per_index.is_some() {
        if spec.max_failed_indexes.is_some_and(|max| int(failed_indexes.len()) > max) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(failure("MaxFailedIndexesExceeded", message));
        }
        let all = int(failed_indexes.len()).saturating_add(succeeded);
        if !failed_indexes.is_empty() && spec.completions.is_some_and(|c| all >= c) {
            return Some(failure("FailedIndexes", "Job has failed indexes"));
        }
    }
    if let Some(rule) = policy::on_success(spec.success_policy.as_ref(), completed, spec.completions.unwrap_or(0)) {
        return success("SuccessPolicy", format!("Matched rules at index {rule}"));
    }
    let complete = match spec.completions {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0 && active == 0,
    };
    if complete { success("CompletionsReached", "Reached expected number of succeeded pods".into()) } else { None }
}

fn finish(plan: &mut Plan, target: &Target, now: Timestamp) {
    let (_, reason, message) = state(target);
    match target {
        Target::Success { .. } => {
            set(&mut plan.status, "Complete", true, reason, message, now);
            plan.status.completion_time = Some(Time(now));
            plan.events.push((Type::Normal, "Completed", "Job completed".into()));
        }
        Target::Failure { .. } => {
            set(&mut plan.status, "Failed", true, reason, message, now);
            let known = [
                "BackoffLimitExceeded",
                "DeadlineExceeded",
                "FailedIndexes",
                "MaxFailedIndexesExceeded",
                "PodFailurePolicy",
            ];
            let reason = known.into_iter().find(|k| *k == reason).unwrap_or("Failed");
            plan.events.push((Type::Warning, reason, message.to_owned()));
        }
    }
}

fn suspend(plan: &mut Plan, suspended: bool, now: Timestamp) {
    let condition = plan.status.conditions.iter().flatten().find(|c| c.type_ == "Suspended");
    let before = condition.is_some_and(is_true);
    if suspended {
        plan.status.start_time = None;
        if !before {
            set(&mut plan.status, "Suspended", true, "JobSuspended", "Job suspended", now);
            plan.events.push((Type::Normal, "Suspended", "Job suspended".into()));
        }
        return;
    }
    if before {
        set(&mut plan.status, "Suspended", false, "JobResumed", "Job resumed", now);
        plan.events.push((Type::Normal, "Resumed", "Job resumed".into()));
    }
    plan.status.start_time.get_or_insert(Time(now));
}

fn set(status: &mut JobStatus, type_: &str, on: bool, reason: &str, message: &str, now: Timestamp) {
    let state = if on { "True" } else { "False" };
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|c| c.type_ == type_ && c.status == state) {
        return;
    }
    conditions.retain(|c| c.type_ != type_);
    conditions.push(JobCondition {
        type_: type_.into(),
        status: state.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
}

/// Chooses the pods that are too many: second ones of an index, then the least far.
fn manage(plan: &mut Plan, active: &[&Arc<Pod>], wanted: usize, completed: Option<&Indexes>, total: i32) {
    let mut seen = Indexes::new();
    let mut ordered: Vec<&Arc<Pod>> = active.to_vec();
    ordered.sort_by_key(|p| {
        let created = p.metadata.creation_timestamp.as_ref().map(|t| t.0);
        (!pods::is_ready(p), pods::phase(p) != "Running", created, p.metadata.name.clone())
    });
    let mut kept = Vec::new();
    for pod in ordered {
        let useless = completed.is_some_and(|completed| {
            let index = index_of(pod).filter(|i| (0..total).contains(i) && !completed.contains(i));
            index.is_none_or(|i| !seen.insert(i))
        });
        if useless { plan.surplus.push(pod.clone()) } else { kept.push(pod) }
    }
    plan.surplus.extend(kept.into_iter().skip(wanted).cloned());
}

struct Choose<'a> {
    completed: &'a Indexes,
    failed: &'a Indexes,
    per_index: Option<i32>,
    total: i32,
    indexed: bool,
    policy: Option<&'a PodFailurePolicy>,
}

impl Choose<'_> {
    fn pods(
        &self,
        plan: &mut Plan,
        pods: &[Arc<Pod>],
        taken: &dyn Fn(&Pod) -> bool,
        has_failed: &dyn Fn(&Pod) -> bool,
        room: usize,
        now: Timestamp,
    ) {
        if self.per_index.is_none()
            && let Some(wait) = backoff(pods.iter().map(|p| &**p), has_failed, now)
        {
            plan.wake = Some(plan.wake.map_or(wait, |w| w.min(wait)));
            return;
        }
        if !self.indexed {
            plan.create = vec![New::default(); room];
            return;
        }
        let mut of: BTreeMap<i32, Vec<&Pod>> = BTreeMap::new();
        for pod in pods {
            if let Some(index) = index_of(pod) {
                of.entry(index).or_default().push(pod);
            }
        }
        for index in 0..self.total {
            if plan.create.len() == room {
                return;
            }
            let mine = of.get(&index).map(Vec::as_slice).unwrap_or_default();
            if self.completed.contains(&index) || self.failed.contains(&index) || mine.iter().any(|p| taken(p)) {
                continue;
            }
            let mut new = New { index: Some(index), failures: None };
            if self.per_index.is_some() {
                if let Some(wait) = backoff(mine.iter().copied(), has_failed, now) {
                    plan.wake = Some(plan.wake.map_or(wait, |w| w.min(wait)));
                    continue;
                }
                let last = mine.iter().filter(|p| has_failed(p)).max_by_key(|p| attempt(p));
                new.failures =
                    Some(last.map_or((0, 0), |pod| {
                        failures_after(pod, policy::on_failure(self.policy, pod) == Action::Ignore)
                    }));
            }
            plan.create.push(new);
        }
    }
}

fn failures_after(pod: &Pod, ignored: bool) -> (u32, u32) {
    let (counted, skipped) = (number(pod, FAILURE_COUNT).unwrap_or(0), number(pod, IGNORED_COUNT).unwrap_or(0));
    if ignored { (counted, skipped + 1) } else { (counted + 1, skipped) }
}

/// How long to wait for the next try: 10 s after the first failure since the last success, doubled by each further.
fn backoff<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    has_failed: &dyn Fn(&Pod) -> bool,
    now: Timestamp,
) -> Option<Duration> {
    let (mut failures, mut success) = (Vec::new(), None);
    for pod in pods {
        let at = ended(pod).unwrap_or(Timestamp::UNIX_EPOCH);
        if pods::phase(pod) == "Succeeded" {
            success = success.max(Some(at));
        } else if has_failed(pod) {
            failures.push(at);
        }
    }
    failures.retain(|at| success.is_none_or(|s| *at > s));
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(16);
    let wait = Duration::from_secs((FIRST_BACKOFF << doublings).min(MAX_BACKOFF));
    Duration::try_from((*last + wait).duration_since(now)).ok().filter(|left| !left.is_zero())
}

/// When the last of its containers ended.
fn ended(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref();
    let containers = status.into_iter().flat_map(|s| s.container_statuses.iter().flatten());
    let times = containers.filter_map(|c| Some(c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0));
    let ready = pods::ready_condition(pod).and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0);
    let deleted = pod.metadata.deletion_timestamp.as_ref().map(|t| t.0);
    times.max().or(ready).or(deleted).or_else(|| pod.metadata.creation_timestamp.as_ref().map(|t| t.0))
}
