use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use serde_json::{Value, json};

use super::plan::{Plan, SCHEDULED_AT, plan, started};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(spec: Value, status: Value) -> CronJob {
    let mut all = json!({
        "schedule": "*/10 * * * *", "concurrencyPolicy": "Allow", "suspend": false,
        "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0,
        "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}},
    });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let metadata = json!({"name": "c", "namespace": "ns", "uid": "cron", "creationTimestamp": "2026-01-01T00:03:00Z"});
    serde_json::from_value(json!({"metadata": metadata, "spec": all, "status": status})).unwrap()
}

fn job(name: &str, outcome: Option<&str>, start: &str) -> Arc<Job> {
    let conditions: Vec<Value> = outcome.map(|type_| json!({"type": type_, "status": "True"})).into_iter().collect();
    let status = json!({"startTime": start, "completionTime": start, "conditions": conditions});
    let metadata = json!({"name": name, "uid": format!("uid-{name}")});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap())
}

fn starts(plan: &Plan) -> Option<&str> {
    plan.start.as_ref().and_then(|s| s.job.metadata.name.as_deref())
}

fn reasons(plan: &Plan) -> String {
    plan.events.iter().map(|(_, reason, _)| *reason).collect::<Vec<_>>().join(" ")
}

#[test]
fn when_a_job_starts() {
    let running = json!({"active": [{"name": "c-1", "uid": "uid-c-1"}]});
    let minute = |text: &str| format!("c-{}", at(text).as_second() / 60);
    let (first, late) = ("2026-01-01T00:10:00Z", "2026-01-01T00:37:00Z");
    for (spec, status, now, start, events, deleted) in [
        (json!({}), json!({}), "2026-01-01T00:09:59Z", None, "", 0),
        (json!({}), json!({}), "2026-01-01T00:10:00Z", Some(minute(first)), "", 0),
        (json!({}), json!({}), late, Some(minute("2026-01-01T00:30:00Z")), "", 0),
        (json!({}), json!({"lastScheduleTime": "2026-01-01T00:30:00Z"}), late, None, "", 0),
        (json!({"suspend": true}), json!({}), late, None, "", 0),
        (json!({"startingDeadlineSeconds": 60}), json!({}), late, None, "", 0),
        (json!({"schedule": "nonsense"}), json!({}), late, None, "UnparseableSchedule", 0),
        (json!({"timeZone": "Nowhere/Land"}), json!({}), late, None, "UnknownTimeZone", 0),
        (json!({"concurrencyPolicy": "Forbid"}), running.clone(), first, None, "JobAlreadyActive", 0),
        (json!({"concurrencyPolicy": "Replace"}), running.clone(), first, Some(minute(first)), "", 1),
        (
            json!({}),
            running.clone(),
            "2026-01-03T00:00:00Z",
            Some(minute("2026-01-03T00:00:00Z")),
            "TooManyMissedTimes",
            0,
        ),
    ] {
        let cron = cron(spec.clone(), status.clone());
        let plan = plan(&cron, &[job("c-1", None, "2026-01-01T00:00:00Z")], at(now));
        let expected = (start.as_deref(), plan.delete.len());
        let unexpected = if status.get("active").is_none() { "UnexpectedJob " } else { "" };
        assert_eq!(reasons(&plan), format!("{unexpected}{events}").trim(), "{spec} {status} {now}");
        assert_eq!((starts(&plan), deleted), expected, "{spec} {status} {now}");
    }
}

#[test]
fn the_job_and_the_status_after_it() {
    let cron = cron(json!({}), json!({}));
    let now = at("2026-01-01T00:12:00Z");
    let plan = plan(&cron, &[], now);
    let start = plan.start.unwrap();
    let meta = &start.job.metadata;
    assert_eq!(meta.labels.as_ref().unwrap()["a"], "b");
    assert_eq!(meta.annotations.as_ref().unwrap()[SCHEDULED_AT], "2026-01-01T00:10:00Z");
    assert_eq!(meta.owner_references.as_ref().unwrap()[0].uid, "cron");
    assert_eq!(plan.wake, Some(Duration::from_millis(8 * 60 * 1000 + 100)));
    let status = started(plan.status, &start.job, start.at);
    assert_eq!(status.active.as_ref().unwrap()[0].kind.as_deref(), Some("Job"));
    assert_eq!(status.last_schedule_time.unwrap().0, at("2026-01-01T00:10:00Z"));
}

#[test]
fn finished_and_missing_jobs() {
    let active = json!([{"name": "done", "uid": "uid-done"}, {"name": "gone", "uid": "uid-gone"}]);
    let cron = cron(json!({"suspend": true}), json!({"active": active}));
    let jobs = [
        job("done", Some("Complete"), "2026-01-01T00:50:00Z"),
        job("older", Some("Complete"), "2026-01-01T00:40:00Z"),
        job("bad", Some("Failed"), "2026-01-01T00:45:00Z"),
    ];
    let plan = plan(&cron, &jobs, at("2026-01-01T01:00:00Z"));
    assert_eq!(reasons(&plan), "SawCompletedJob MissingJob");
    assert_eq!(plan.status.active, None);
    assert_eq!(plan.status.last_successful_time.unwrap().0, at("2026-01-01T00:50:00Z"));
    let deleted: Vec<_> = plan.delete.iter().map(|j| j.metadata.name.as_deref().unwrap()).collect();
    assert_eq!(deleted, ["older", "bad"]);
}
