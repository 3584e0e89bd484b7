use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::*;
use crate::pods::make;

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(seconds, 0).unwrap()
}

fn job(mut spec: Value, status: Value) -> Job {
    spec["template"] = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}});
    let metadata = json!({"name": "j", "namespace": "ns", "uid": "u"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

fn tracked(name: &str, phase: &str, index: Option<i32>) -> Arc<Pod> {
    let mut pod = make::pod(name, phase, None);
    pod.metadata.finalizers = Some(vec![FINALIZER.into()]);
    pod.metadata.annotations = index.map(|i| [(COMPLETION_INDEX.to_owned(), i.to_string())].into());
    Arc::new(pod)
}

fn untracked(pod: &Pod) -> Arc<Pod> {
    let mut pod = pod.clone();
    pod.metadata.finalizers = None;
    Arc::new(pod)
}

fn condition<'a>(plan: &'a Plan, type_: &str) -> Option<&'a str> {
    let found = plan.status.conditions.iter().flatten().find(|c| c.type_ == type_ && c.status == "True");
    found.map(|c| c.reason.as_deref().unwrap_or_default())
}

const LATER: i64 = 100_000;

#[test]
fn a_job_runs_through_and_every_pod_counts_once() {
    let mut job = job(json!({"completions": 2, "parallelism": 2, "backoffLimit": 6}), json!({}));
    let first = plan(&job, &[], true, at(5));
    assert_eq!((first.create.len(), first.status.start_time.clone()), (2, Some(at(5).into())));
    let (a, b, c) = (tracked("a", "Succeeded", None), tracked("b", "Failed", None), tracked("c", "Succeeded", None));
    job.status = Some(first.status);
    let second = plan(&job, &[a.clone(), b.clone()], true, at(LATER));
    assert_eq!((second.untrack.len(), second.create.len(), second.status.succeeded), (2, 1, None));
    job.status = Some(second.status.clone());
    let again = plan(&job, &[a.clone(), b.clone()], false, at(LATER));
    assert_eq!(again.status, second.status, "the same look gives the same status");
    let third = plan(&job, &[untracked(&a), b.clone(), c.clone()], true, at(LATER));
    assert_eq!((third.status.succeeded, third.status.failed), (Some(1), None), "b still has its finalizer");
    assert_eq!(condition(&third, "SuccessCriteriaMet"), Some("CompletionsReached"));
    assert_eq!(condition(&third, "Complete"), None);
    job.status = Some(third.status);
    let last = plan(&job, &[untracked(&a), untracked(&c)], true, at(LATER));
    assert_eq!((last.status.succeeded, last.status.failed), (Some(2), Some(1)), "b went away meanwhile and counts");
    assert_eq!(condition(&last, "Complete"), Some("CompletionsReached"));
    assert!(last.status.completion_time.is_some() && last.create.is_empty());
    assert_eq!(last.events[0].1, "Completed");
}

#[test]
fn the_ends_of_a_job() {
    let indexed = |more: Value| {
        let mut spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let rules = json!({"rules": [{"succeededIndexes": "0"}]});
    let started = json!({"startTime": "1970-01-01T00:00:00Z"});
    for (spec, pods, expect) in [
        (
            json!({"backoffLimit": 0}),
            vec![tracked("a", "Failed", None)],
            Some(("FailureTarget", "BackoffLimitExceeded")),
        ),
        (json!({"backoffLimit": 1}), vec![tracked("a", "Failed", None)], None),
        (
            json!({"activeDeadlineSeconds": 9}),
            vec![tracked("a", "Running", None)],
            Some(("FailureTarget", "DeadlineExceeded")),
        ),
        (json!({"activeDeadlineSeconds": 200_000}), vec![tracked("a", "Running", None)], None),
        (
            indexed(json!({"successPolicy": rules})),
            vec![tracked("a", "Succeeded", Some(0))],
            Some(("SuccessCriteriaMet", "SuccessPolicy")),
        ),
        (indexed(json!({"successPolicy": rules})), vec![tracked("a", "Succeeded", Some(1))], None),
        (
            indexed(json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 0})),
            vec![tracked("a", "Failed", Some(1))],
            Some(("FailureTarget", "MaxFailedIndexesExceeded")),
        ),
        (
            indexed(json!({"backoffLimitPerIndex": 0})),
            vec![
                tracked("a", "Failed", Some(1)),
                tracked("b", "Succeeded", Some(0)),
                tracked("c", "Succeeded", Some(2)),
            ],
            Some(("FailureTarget", "FailedIndexes")),
        ),
        (indexed(json!({"backoffLimitPerIndex": 1})), vec![tracked("a", "Failed", Some(1))], None),
        (
            json!({"parallelism": 2}),
            vec![tracked("a", "Succeeded", None)],
            Some(("SuccessCriteriaMet", "CompletionsReached")),
        ),
        (json!({"parallelism": 2}), vec![tracked("a", "Succeeded", None), tracked("b", "Running", None)], None),
    ] {
        let plan = plan(&job(spec.clone(), started.clone()), &pods, true, at(LATER));
        let ends = ["FailureTarget", "SuccessCriteriaMet"];
        let got = ends.iter().find_map(|t| condition(&plan, t).map(|reason| (*t, reason)));
        assert_eq!(got, expect, "{spec}");
        assert!(got.is_none() || plan.create.is_empty(), "{spec}");
    }
}

#[test]
fn failures_are_waited_for_and_carried_per_index() {
    let spec = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 3});
    let job = job(spec, json!({}));
    let failed = tracked("a", "Failed", Some(0));
    let soon = plan(&job, std::slice::from_ref(&failed), true, at(4));
    assert_eq!(soon.create, [New { index: Some(1), failures: Some((0, 0)) }]);
    assert_eq!(soon.wake, Some(std::time::Duration::from_secs(6)));
    assert!(soon.untrack.is_empty(), "it carries the count until its successor does");
    let later = plan(&job, std::slice::from_ref(&failed), true, at(LATER));
    assert_eq!(later.create[0], New { index: Some(0), failures: Some((1, 0)) });
    let mut next = (*tracked("b", "Running", Some(0))).clone();
    next.metadata.annotations.as_mut().unwrap().insert(FAILURE_COUNT.into(), "1".into());
    let then = plan(&job, &[failed, Arc::new(next)], true, at(LATER));
    assert_eq!(then.untrack.len(), 1);
}

#[test]
fn suspending_and_resuming() {
    let mut job = job(json!({"suspend": true, "parallelism": 2}), json!({"startTime": "1970-01-01T00:00:00Z"}));
    let stopped = plan(&job, &[tracked("a", "Running", None)], true, at(9));
    assert_eq!((stopped.surplus.len(), stopped.status.start_time.clone()), (1, None));
    assert_eq!(condition(&stopped, "Suspended"), Some("JobSuspended"));
    job.status = Some(stopped.status);
    job.spec.as_mut().unwrap().suspend = Some(false);
    let resumed = plan(&job, &[], true, at(20));
    assert_eq!((resumed.create.len(), condition(&resumed, "Suspended")), (2, None));
    assert_eq!(resumed.status.start_time, Some(at(20).into()));
}

#[test]
fn an_indexed_pod_knows_its_index() {
    let job = job(json!({"completionMode": "Indexed"}), json!({}));
    let made = pod(&job, &Key::new("ns", "j"), &New { index: Some(3), failures: Some((2, 0)) });
    assert_eq!(made.metadata.generate_name.as_deref(), Some("j-3-"));
    assert_eq!(made.metadata.labels.as_ref().unwrap()[COMPLETION_INDEX], "3");
    assert_eq!(made.metadata.annotations.as_ref().unwrap()[FAILURE_COUNT], "2");
    let spec = made.spec.unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("j-3"));
    assert_eq!(spec.containers[0].env.as_ref().unwrap()[0].name, ENV);
}

proptest! {
    #[test]
    fn never_more_active_pods_than_parallelism(
        parallelism in 0i32..6,
        completions in proptest::option::of(0i32..8),
        indexed: bool,
        only_failed: bool,
        pods in proptest::collection::vec((0usize..4, 0i32..8, any::<bool>()), 0..10),
    ) {
        let policy = if only_failed { "Failed" } else { "TerminatingOrFailed" };
        let mut spec = json!({"parallelism": parallelism, "completions": completions, "podReplacementPolicy": policy, "backoffLimit": 99});
        let indexed = indexed && completions.is_some();
        if indexed {
            spec["completionMode"] = json!("Indexed");
        }
        let pods: Vec<Arc<Pod>> = pods.iter().enumerate().map(|(i, (phase, index, deleting))| {
            let phase = ["Pending", "Running", "Succeeded", "Failed"][*phase];
            let mut pod = (*tracked(&i.to_string(), phase, indexed.then_some(*index))).clone();
            pod.metadata.deletion_timestamp = deleting.then(|| at(0).into());
            Arc::new(pod)
        }).collect();
        let plan = plan(&job(spec, json!({})), &pods, true, at(LATER));
        let active = pods.iter().filter(|p| pods::is_active(p)).count();
        let terminating = pods.iter().filter(|p| pods::is_deleting(p) && !pods::is_finished(p)).count();
        let after = active - plan.surplus.len() - plan.stop.len() + plan.create.len();
        prop_assert!(after <= usize::try_from(parallelism).unwrap());
        if only_failed && !plan.create.is_empty() {
            prop_assert!(after + terminating <= usize::try_from(parallelism).unwrap());
        }
        let mut indexes: Vec<_> = plan.create.iter().filter_map(|n| n.index).collect();
        indexes.dedup();
        prop_assert!(!indexed || indexes.len() == plan.create.len(), "an index is started once");
    }
}
