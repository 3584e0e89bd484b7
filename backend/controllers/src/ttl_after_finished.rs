//! Deletes finished Jobs when their time to live is over.
//!
//! Invariants:
//! - The decision is made on the Job as the API has it, and the deletion is bound to the version it was made on: a
//!   longer time to live given at the last moment is honoured.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/>

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};

use crate::error::{Error, Next, Result};
use crate::job::finished;
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};

pub const CONTROLLER: Controller = Controller { name: "ttl-after-finished-controller", workers: 5, start };

fn start(cx: Context) -> Reconcile {
    cx.caches.jobs.on({
        let queue = cx.queue.clone();
        move |change| {
            if change.new.is_some_and(|job| left(job, Timestamp::now()).is_some()) {
                queue.add(change.key.clone());
            }
        }
    });
    reconciler(cx, reconcile)
}

/// How long the Job still lives, zero when it is over; none when it lives on.
fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let at = finished(job)?.last_transition_time.as_ref()?.0;
    let end = at + Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(cached) = cx.caches.jobs.get(&key) else { return Ok(None) };
    match left(&cached, Timestamp::now()) {
        None => return Ok(None),
        Some(rest) if !rest.is_zero() => return Ok(Some(rest)),
        Some(_) => {}
    }
    let api: Api<Job> = Api::namespaced(cx.client.clone(), &key.namespace);
    let Some(job) = api.get_opt(&key.name).await? else { return Ok(None) };
    match left(&job, Timestamp::now()) {
        None => return Ok(None),
        Some(rest) if !rest.is_zero() => return Ok(Some(rest)),
        Some(_) => {}
    }
    let preconditions =
        Some(Preconditions { uid: job.metadata.uid.clone(), resource_version: job.metadata.resource_version.clone() });
    let propagation_policy = Some(PropagationPolicy::Foreground);
    let params = DeleteParams { preconditions, propagation_policy, ..Default::default() };
    match api.delete(&key.name, &params).await.map_err(Error::from) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_time_to_live_begins_with_the_end() {
        let job = |ttl: Value, type_: &str, status: &str| -> Job {
            let condition = json!({"type": type_, "status": status, "lastTransitionTime": "1970-01-01T00:01:00Z"});
            let spec = json!({"ttlSecondsAfterFinished": ttl, "template": {}});
            serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": {"conditions": [condition]}}))
                .unwrap()
        };
        for (job, now, expect) in [
            (job(json!(30), "Complete", "True"), 60, Some(30)),
            (job(json!(30), "Failed", "True"), 80, Some(10)),
            (job(json!(30), "Failed", "True"), 100, Some(0)),
            (job(json!(0), "Complete", "True"), 60, Some(0)),
            (job(json!(30), "Suspended", "True"), 100, None),
            (job(json!(30), "Complete", "False"), 100, None),
            (job(Value::Null, "Complete", "True"), 100, None),
        ] {
            let got = left(&job, Timestamp::new(now, 0).unwrap());
            assert_eq!(got, expect.map(Duration::from_secs), "{job:?} at {now}");
        }
    }
}
