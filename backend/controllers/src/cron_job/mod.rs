//! Starts Jobs on a schedule.
//!
//! Invariants:
//! - What to do is decided by `plan`, purely, from the CronJob and its Jobs; this file only carries it out.
//! - A plan is made only when the caches show what the last one wrote.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>

mod calendar;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy};

use self::plan::{Plan, plan, started};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::expectations::{Expectations, LOOK_AGAIN};
use crate::key::Key;
use crate::owner;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "cronjob-controller", workers: 5, start };

struct State {
    cx: Context,
    jobs: Expectations,
    cron_jobs: Expectations,
}

fn start(cx: Context) -> Reconcile {
    cx.caches.cron_jobs.on(cx.enqueue());
    cx.caches.jobs.on(cx.enqueue_controller("CronJob"));
    reconciler(State { cx, jobs: Expectations::default(), cron_jobs: Expectations::default() }, reconcile)
}

async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let caches = &state.cx.caches;
    let Some(cron) = caches.cron_jobs.get(&key) else {
        state.jobs.forget(&key);
        state.cron_jobs.forget(&key);
        return Ok(None);
    };
    if !state.jobs.settled(&key, &caches.jobs) || !state.cron_jobs.settled(&key, &caches.cron_jobs) {
        return Ok(Some(LOOK_AGAIN));
    }
    let jobs = caches.jobs.owned_by(cron.metadata.uid.as_deref().unwrap_or_default());
    let plan = plan(&cron, &jobs, Timestamp::now());
    let wake = plan.wake;
    execute(&state, &key, &cron, plan).await?;
    Ok(wake)
}

async fn execute(state: &State, key: &Key, cron: &CronJob, plan: Plan) -> Result<()> {
    let cx = &state.cx;
    for (type_, reason, message) in plan.events {
        cx.events.event(cron, type_, reason, message);
    }
    for job in &plan.delete {
        delete(state, key, cron, job).await?;
    }
    let mut status = plan.status;
    if let Some(start) = plan.start {
        match create(state, key, cron, &start.job).await {
            Ok(Some(job)) => status = started(status, &job, start.at),
            Ok(None) => return Ok(()),
            Err(error) => {
                write(state, key, cron, status).await?;
                return Err(error);
            }
        }
    }
    write(state, key, cron, status).await
}

async fn write(state: &State, key: &Key, cron: &CronJob, status: CronJobStatus) -> Result<()> {
    let api: Api<CronJob> = Api::namespaced(state.cx.client.clone(), &key.namespace);
    let new = CronJob { status: Some(status), ..cron.clone() };
    if let Some(Some(written)) = ignore_not_found(write::update_status(&api, cron, &new).await)? {
        state.cron_jobs.written(key, &written.metadata);
    }
    Ok(())
}

/// None: nothing is to be started any more, for the namespace is going away.
async fn create(state: &State, key: &Key, cron: &CronJob, job: &Job) -> Result<Option<Job>> {
    let (cx, name) = (&state.cx, job.metadata.name.as_deref().unwrap_or_default());
    let api: Api<Job> = Api::namespaced(cx.client.clone(), &key.namespace);
    match api.create(&PostParams::default(), job).await.map_err(Error::from) {
        Ok(created) => {
            state.jobs.written(key, &created.metadata);
            cx.events.normal(cron, "SuccessfulCreate", format!("Created job {name}"));
            Ok(Some(created))
        }
        Err(error) if error.is_namespace_terminating() => Ok(None),
        Err(error) if error.is_already_exists() => {
            // Started before, and the status could not be written then.
            let there = api.get(name).await?;
            if owner::controller_of(&there.metadata).is_some_and(|o| Some(&o.uid) == cron.metadata.uid.as_ref()) {
                state.jobs.written(key, &there.metadata);
                return Ok(Some(there));
            }
            cx.events.warning(cron, "FailedCreate", format!("Error creating job: {error}"));
            Err(error)
        }
        Err(error) => {
            cx.events.warning(cron, "FailedCreate", format!("Error creating job: {error}"));
            Err(error)
        }
    }
}

async fn delete(state: &State, key: &Key, cron: &CronJob, job: &Job) -> Result<()> {
    let (cx, name) = (&state.cx, job.metadata.name.as_deref().unwrap_or_default());
    let api: Api<Job> = Api::namespaced(cx.client.clone(), &key.namespace);
    let preconditions = Some(Preconditions { uid: job.metadata.uid.clone(), resource_version: None });
    let propagation_policy = Some(PropagationPolicy::Background);
    let params = DeleteParams { preconditions, propagation_policy, ..Default::default() };
    match api.delete(name, &params).await.map_err(Error::from) {
        Ok(_) => {
            state.jobs.deleted(key, &job.metadata);
            cx.events.normal(cron, "SuccessfulDelete", format!("Deleted job {name}"));
            Ok(())
        }
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        Err(error) => {
            cx.events.warning(cron, "FailedDelete", format!("Deleted job: {error}"));
            Err(error)
        }
    }
}
