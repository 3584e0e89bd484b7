//! What to do for a CronJob, given its Jobs. Pure.
//!
//! Invariants:
//! - A time is never started twice: the Job's name is derived from it, and the status remembers the last one.
//! - Only the last of several missed times is made up for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use pilothouse_api::cron::Schedule;

use super::calendar;
use crate::events::{Type, reference};
use crate::job::finished;
use crate::owner;

pub const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than this are taken for a clock gone wrong.
const MANY_MISSED: usize = 100;
/// The next look comes a little after the minute.
const SLACK: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub struct Plan {
    pub status: CronJobStatus,
    pub start: Option<Start>,
    /// Old finished Jobs, and running ones that make way for the next.
    pub delete: Vec<Arc<Job>>,
    pub events: Vec<(Type, &'static str, String)>,
    pub wake: Option<Duration>,
}

/// A Job to be started, and the status once it has.
#[derive(Debug)]
pub struct Start {
    pub job: Job,
    pub at: Timestamp,
}

impl Plan {
    fn normal(&mut self, reason: &'static str, message: String) {
        self.events.push((Type::Normal, reason, message));
    }

    fn warning(&mut self, reason: &'static str, message: impl Into<String>) {
        self.events.push((Type::Warning, reason, message.into()));
    }
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

/// `jobs`: those this CronJob controls, all that there are.
pub fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Default::default() };
    observe(&mut plan, jobs);
    if cron.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    history(&mut plan, cron, jobs);
    schedule(&mut plan, cron, jobs, now);
    plan
}

/// Brings the list of active Jobs up to date.
fn observe(plan: &mut Plan, jobs: &[Arc<Job>]) {
    let mut active = plan.status.active.take().unwrap_or_default();
    for job in jobs {
        let listed = active.iter().position(|a| a.uid == job.metadata.uid);
        match (listed, finished(job)) {
            (None, None) => plan.warning(
                "UnexpectedJob",
                format!("Saw a job that the controller did not create or forgot: {}", name(job)),
            ),
            (Some(index), Some(condition)) => {
                active.remove(index);
                let message = format!("Saw completed job: {}, condition: {}", name(job), condition.type_);
                plan.normal("SawCompletedJob", message);
            }
            _ => {}
        }
        let completed = job.status.as_ref().and_then(|s| s.completion_time.clone());
        if finished(job).is_some_and(|c| c.type_ == "Complete") && completed > plan.status.last_successful_time {
            plan.status.last_successful_time = completed;
        }
    }
    let there: BTreeSet<Option<&String>> = jobs.iter().map(|j| j.metadata.uid.as_ref()).collect();
    let (active, missing): (Vec<_>, Vec<_>) = active.into_iter().partition(|a| there.contains(&a.uid.as_ref()));
    for gone in missing {
        plan.normal("MissingJob", format!("Active job went missing: {}", gone.name.unwrap_or_default()));
    }
    plan.status.active = (!active.is_empty()).then_some(active);
}

/// The finished Jobs beyond the limits, oldest first.
fn history(plan: &mut Plan, cron: &CronJob, jobs: &[Arc<Job>]) {
    let spec = &cron.spec;
    let limits = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    for (outcome, limit) in limits {
        let Some(limit) = limit.and_then(|l| usize::try_from(l).ok()) else { continue };
        let mut ended: Vec<&Arc<Job>> = jobs
            .iter()
            .filter(|j| finished(j).is_some_and(|c| c.type_ == outcome) && j.metadata.deletion_timestamp.is_none())
            .collect();
        let started = |j: &Job| j.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
        ended.sort_by(|a, b| started(a).cmp(&started(b)).then_with(|| name(a).cmp(name(b))));
        let surplus = ended.len().saturating_sub(limit);
        plan.delete.extend(ended.into_iter().take(surplus).cloned());
    }
}

fn schedule(plan: &mut Plan, cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) {
    let spec = &cron.spec;
    let zone = match spec.time_zone.as_deref() {
        None => TimeZone::UTC,
        Some(zone) => match TimeZone::get(zone) {
            Ok(zone) => zone,
            Err(error) => return plan.warning("UnknownTimeZone", format!("invalid timeZone: {zone:?}: {error}")),
        },
    };
    if spec.suspend == Some(true) {
        return;
    }
    let parsed = match Schedule::parse(&spec.schedule) {
        Ok(parsed) => parsed,
        Err(error) => {
            return plan.warning("UnparseableSchedule", format!("unparseable schedule: {:?} : {error}", spec.schedule));
        }
    };
    let due = due(plan, cron, &parsed, &zone, now);
    let from = due.or(plan.status.last_schedule_time.as_ref().map(|t| t.0)).unwrap_or(now).max(now);
    plan.wake = calendar::next(&parsed, &zone, from)
        .and_then(|next| Duration::try_from(next.duration_since(now)).ok())
        .map(|wait| wait + SLACK);
    let Some(at) = due else { return };
    let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    if deadline.is_some_and(|deadline| at + deadline < now) {
        return plan.warning("MissSchedule", format!("Missed scheduled time to start a job: {at}"));
    }
    let job = job(cron, &zone, at);
    let known = |a: &ObjectReference| a.name == job.metadata.name;
    if plan.status.active.iter().flatten().any(known)
        || plan.status.last_schedule_time.as_ref().is_some_and(|t| t.0 == at)
    {
        return;
    }
    let running = plan.status.active.as_ref().is_some_and(|a| !a.is_empty());
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if running => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            return plan.normal("JobAlreadyActive", message.into());
        }
        Some("Replace") => {
            let active = plan.status.active.take().unwrap_or_default();
            plan.delete.extend(jobs.iter().filter(|j| active.iter().any(|a| a.uid == j.metadata.uid)).cloned());
        }
        _ => {}
    }
    plan.start = Some(Start { job, at });
}

/// The last time that has come since the last one started, if any.
fn due(plan: &mut Plan, cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let deadline = cron.spec.starting_deadline_seconds;
    let created = cron.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let mut earliest = plan.status.last_schedule_time.as_ref().map(|t| t.0).or(created)?;
    if let Some(deadline) = deadline {
        earliest = earliest.max(now - SignedDuration::from_secs(deadline));
    }
    let last = calendar::last(schedule, zone, earliest, now)?;
    let mut time = earliest;
    let missed = (0..=MANY_MISSED)
        .take_while(|_| match calendar::next(schedule, zone, time) {
            Some(next) if next <= now => {
                time = next;
                true
            }
            _ => false,
        })
        .count();
    if missed > MANY_MISSED && deadline.is_none() {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.warning("TooManyMissedTimes", message);
    }
    Some(last)
}

/// The Job of a time: named after its minute.
fn job(cron: &CronJob, zone: &TimeZone, at: Timestamp) -> Job {
    let template = cron.spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    // In the offset of the schedule's own time zone.
    let written = at.display_with_offset(zone.to_offset(at)).to_string();
    let written = if zone.to_offset(at).is_zero() { at.to_string() } else { written };
    annotations.insert(SCHEDULED_AT.into(), written);
    let name = format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), at.as_second().div_euclid(60));
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner::controller_ref(cron)]),
            ..Default::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// The status after the Job of the planned start has been created.
pub fn started(mut status: CronJobStatus, job: &Job, at: Timestamp) -> CronJobStatus {
    status.active.get_or_insert_default().push(reference(job));
    status.last_schedule_time = Some(Time(at));
    status
}
