//! Runs a Job's pods to completion.
//!
//! Invariants:
//! - The status is written before anything it speaks of is done; it is refused when the Job has changed meanwhile.
//! - A pod keeps the tracking finalizer until the status accounts for it, and loses it when its Job is gone.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/job/>

mod indexes;
mod plan;
mod policy;

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};
use serde_json::json;

use self::plan::{New, Plan, plan};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::expectations::{Expectations, LOOK_AGAIN};
use crate::key::Key;
use crate::owner::{self, Claim};
use crate::replication::{create_pod, delete_pod};
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::selector::Selector;
use crate::{pods, write};

pub const CONTROLLER: Controller = Controller { name: "job-controller", workers: 5, start };

const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// An annotation and a label.
const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_COUNT: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const ENV: &str = "JOB_COMPLETION_INDEX";

fn is_true(condition: &JobCondition) -> bool {
    condition.status == "True"
}

/// The condition by which the Job has ended, if it has.
pub fn finished(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    conditions.filter(|c| is_true(c)).find(|c| matches!(c.type_.as_str(), "Complete" | "Failed"))
}

fn is_tracked(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

struct State {
    cx: Context,
    expect: Expectations,
}

fn start(cx: Context) -> Reconcile {
    cx.caches.jobs.on(cx.enqueue());
    cx.caches.pods.on(cx.enqueue_controller("Job"));
    cx.caches.pods.on({
        let queue = cx.queue.clone();
        move |change| {
            // A tracked pod that nobody controls: its Job adopts it or, being gone, lets it go.
            let Some(pod) = change.new.filter(|p| owner::controller_of(&p.metadata).is_none()) else { return };
            if let Some(name) = pod.metadata.labels.as_ref().and_then(|l| l.get(JOB_NAME)) {
                queue.add(Key::new(&change.key.namespace, name));
            }
        }
    });
    reconciler(State { cx, expect: Expectations::default() }, reconcile)
}

async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let cx = &state.cx;
    let job = cx.caches.jobs.get(&key);
    let Some(job) = job.filter(|j| j.metadata.deletion_timestamp.is_none() && finished(j).is_none()) else {
        state.expect.forget(&key);
        return let_go(cx, &key).await;
    };
    let Some(spec) = &job.spec else { return Ok(None) };
    if spec.managed_by.as_deref().is_some_and(|m| m != "kubernetes.io/job-controller") {
        return Ok(None);
    }
    let settled = state.expect.settled(&key, &cx.caches.pods);
    let selector = Selector::new(&spec.selector.clone().unwrap_or_default())?;
    let pods = claim(cx, &job, &key, &selector).await?;
    let plan = plan(&job, &pods, settled, Timestamp::now());
    let wake = plan.wake;
    execute(&state, &job, &key, plan).await?;
    Ok(if settled { wake } else { Some(LOOK_AGAIN) })
}

/// Takes the finalizer off the pods whose Job is gone, going or done.
async fn let_go(cx: &Context, key: &Key) -> Result<Next> {
    let mut result = Ok(None);
    for pod in cx.caches.pods.list(Some(&key.namespace)) {
        let label = pod.metadata.labels.as_ref().and_then(|l| l.get(JOB_NAME));
        let of_job = match owner::controller_of(&pod.metadata) {
            Some(owner) => owner.kind == "Job" && *owner.name == *key.name,
            None => label.is_some_and(|name| **name == *key.name),
        };
        if of_job
            && is_tracked(&pod.metadata)
            && let Err(error) = untrack(cx, None, key, &pod).await
        {
            result = Err(error);
        }
    }
    result
}

async fn claim(cx: &Context, job: &Job, key: &Key, selector: &Selector) -> Result<Vec<Arc<Pod>>> {
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    let owners: Api<Job> = Api::namespaced(cx.client.clone(), &key.namespace);
    let mut mine = Vec::new();
    for pod in cx.caches.pods.owned_by(uid).into_iter().chain(cx.caches.pods.orphans(&key.namespace)) {
        match owner::claim(uid, false, selector, &pod.metadata) {
            Claim::Own => mine.push(pod),
            Claim::Adopt => {
                if let Some(adopted) = ignore_not_found(owner::adopt(&owners, job, &api, &*pod).await)? {
                    let mut finalizers = adopted.metadata.finalizers.clone().unwrap_or_default();
                    if !is_tracked(&adopted.metadata) {
                        finalizers.push(FINALIZER.into());
                    }
                    mine.extend(ignore_not_found(set_finalizers(&api, &adopted, &finalizers).await)?.map(Arc::new));
                }
            }
            Claim::Release => {
                if let Some(pod) = untrack(cx, None, key, &pod).await? {
                    owner::release(job, &api, &pod).await?;
                }
            }
            Claim::Ignore => {}
        }
    }
    Ok(mine)
}

async fn set_finalizers(api: &Api<Pod>, pod: &Pod, finalizers: &[String]) -> Result<Pod> {
    let meta = &pod.metadata;
    let patch =
        json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers}});
    let name = meta.name.as_deref().unwrap_or_default();
    Ok(api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?)
}

/// Returns the pod as it is then; none if it is gone.
async fn untrack(cx: &Context, expect: Option<&Expectations>, key: &Key, pod: &Pod) -> Result<Option<Pod>> {
    if !is_tracked(&pod.metadata) {
        return Ok(Some(pod.clone()));
    }
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    let mut finalizers = pod.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|f| f != FINALIZER);
    let written = ignore_not_found(set_finalizers(&api, pod, &finalizers).await)?;
    if let (Some(written), Some(expect)) = (&written, expect) {
        expect.written(key, &written.metadata);
    }
    Ok(written)
}

async fn execute(state: &State, job: &Job, key: &Key, plan: Plan) -> Result<()> {
    let (cx, expect) = (&state.cx, &state.expect);
    let new = Job { status: Some(plan.status), ..job.clone() };
    let api: Api<Job> = Api::namespaced(cx.client.clone(), &key.namespace);
    if ignore_not_found(write::update_status(&api, job, &new).await)?.is_none() {
        return Ok(());
    }
    for (type_, reason, message) in plan.events {
        cx.events.event(job, type_, reason, message);
    }
    let untracked = plan.untrack.iter().map(|pod| async { untrack(cx, Some(expect), key, pod).await.map(drop) });
    let mut results: Vec<Result<()>> = join_all(untracked).await;
    results.extend(join_all(plan.stop.iter().map(|pod| delete_pod(cx, expect, job, key, pod))).await);
    let surplus = plan.surplus.iter().map(|pod| async move {
        untrack(cx, None, key, pod).await?;
        delete_pod(cx, expect, job, key, pod).await
    });
    results.extend(join_all(surplus).await);
    let news = &plan.create;
    let create = |i: usize| {
        let pod = pod(job, key, &news[i]);
        async move { create_pod(cx, expect, job, key, &pod).await }
    };
    let (_, error) = pods::slow_start(news.len(), create).await;
    results.extend(error.filter(|e: &Error| !e.is_namespace_terminating()).map(Err));
    results.into_iter().collect()
}

/// A pod as the Job's template says, with what tells it its index.
fn pod(job: &Job, key: &Key, new: &New) -> Pod {
    let template = job.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let mut pod = pods::from_template(&template, &key.name, &key.namespace, owner::controller_ref(job));
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    let Some(index) = new.index else { return pod };
    let text = index.to_string();
    pod.metadata.generate_name = Some(pods::generate_name(&format!("{}-{index}", key.name)));
    pod.metadata.labels.get_or_insert_default().insert(COMPLETION_INDEX.into(), text.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(COMPLETION_INDEX.into(), text);
    if let Some((counted, ignored)) = new.failures {
        annotations.insert(FAILURE_COUNT.into(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_COUNT.into(), ignored.to_string());
        }
    }
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(format!("{}-{index}", key.name));
    let field_ref =
        ObjectFieldSelector { field_path: format!("metadata.labels['{COMPLETION_INDEX}']"), ..Default::default() };
    let value_from = Some(EnvVarSource { field_ref: Some(field_ref), ..Default::default() });
    let variable = EnvVar { name: ENV.into(), value: None, value_from };
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let env = container.env.get_or_insert_default();
        if !env.iter().any(|v| v.name == ENV) {
            env.push(variable.clone());
        }
    }
    pod
}

#[cfg(test)]
mod tests;
