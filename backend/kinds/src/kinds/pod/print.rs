//! A pod's row, with kubectl's idea of what a pod's status is.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    columns::{AGE, Column, NAME, age, name, or_none, since},
    value::Look,
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Ready"),
    Column::text("Status"),
    Column::text("Restarts"),
    AGE,
    Column::wide("IP"),
    Column::wide("Node"),
    Column::wide("Nominated Node"),
    Column::wide("Readiness Gates"),
];

/// What a pod's containers add up to.
struct Summary {
    reason: String,
    ready: usize,
    restarts: i64,
    /// RFC 3339 in UTC without fractions, so the order of texts is the order of times.
    last_restart: Option<String>,
}

impl Summary {
    fn count(&mut self, status: &Value) {
        self.restarts += status.int("restartCount").unwrap_or_default();
        let finished = status.text("lastState.terminated.finishedAt");
        if !finished.is_empty() && self.last_restart.as_deref().unwrap_or_default() < finished {
            self.last_restart = Some(finished.to_owned());
        }
    }
}

pub(super) fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarize(pod);
    let init = pod.list("spec.initContainers");
    let total = pod.list("spec.containers").len() + init.iter().filter(|c| is_sidecar(c)).count();
    let mut restarts = summary.restarts.to_string();
    if let Some(last) = summary.last_restart.filter(|_| summary.restarts != 0) {
        restarts = format!("{restarts} ({} ago)", since(&last.into(), now));
    }
    let ip = match pod.list("status.podIPs").first() {
        Some(first) => first.text("ip"),
        None => "",
    };
    vec![
        name(pod),
        format!("{}/{total}", summary.ready).into(),
        summary.reason.into(),
        restarts.into(),
        age(pod, now),
        or_none(ip),
        or_none(pod.text("spec.nodeName")),
        or_none(pod.text("status.nominatedNodeName")),
        readiness_gates(pod).into(),
    ]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod.list("spec.readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| condition(pod, gate.text("conditionType")).is_some_and(is_true)).count();
    format!("{open}/{}", gates.len())
}

fn is_sidecar(container: &Value) -> bool {
    container.text("restartPolicy") == "Always"
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod.list("status.conditions").iter().find(|c| c.text("type") == kind)
}

fn is_true(condition: &Value) -> bool {
    condition.text("status") == "True"
}

fn summarize(pod: &Value) -> Summary {
    let phase = pod.text("status.phase");
    let mut reason = phase.to_owned();
    if !pod.text("status.reason").is_empty() {
        pod.text("status.reason").clone_into(&mut reason);
    }
    if condition(pod, "PodScheduled").is_some_and(|c| c.text("reason") == "SchedulingGated") {
        "SchedulingGated".clone_into(&mut reason);
    }
    let mut all = Summary { reason, ready: 0, restarts: 0, last_restart: None };
    let mut sidecars = Summary { reason: String::new(), ready: 0, restarts: 0, last_restart: None };
    let initializing = init_containers(pod, &mut all, &mut sidecars);
    if !initializing || condition(pod, "Initialized").is_some_and(is_true) {
        all.restarts = sidecars.restarts;
        all.last_restart = sidecars.last_restart;
        containers(pod, &mut all);
    }
    if pod.has("metadata.deletionTimestamp") {
        if pod.text("status.reason") == "NodeLost" {
            "Unknown".clone_into(&mut all.reason);
        } else if !matches!(phase, "Failed" | "Succeeded") {
            "Terminating".clone_into(&mut all.reason);
        }
    }
    all
}

/// Counts init containers up to the first that is not done; true if there is one.
fn init_containers(pod: &Value, all: &mut Summary, sidecars: &mut Summary) -> bool {
    let specs = pod.list("spec.initContainers");
    for (index, status) in pod.list("status.initContainerStatuses").iter().enumerate() {
        let sidecar = specs.iter().any(|c| c.text("name") == status.text("name") && is_sidecar(c));
        all.count(status);
        if sidecar {
            sidecars.count(status);
        }
        let terminated = status.at("state.terminated");
        let waiting = status.text("state.waiting.reason");
        if terminated.is_object() && terminated.int("exitCode").unwrap_or_default() == 0 {
            continue;
        }
        if sidecar && status.flag("started") {
            all.ready += usize::from(status.flag("ready"));
            continue;
        }
        all.reason = if terminated.is_object() {
            format!("Init:{}", end_reason(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", specs.len())
        };
        return true;
    }
    false
}

fn end_reason(terminated: &Value) -> String {
    let signal = terminated.int("signal").unwrap_or_default();
    match terminated.text("reason") {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", terminated.int("exitCode").unwrap_or_default()),
        reason => reason.to_owned(),
    }
}

fn containers(pod: &Value, all: &mut Summary) {
    let (mut running, mut error) = (false, None);
    for status in pod.list("status.containerStatuses").iter().rev() {
        all.count(status);
        let terminated = status.at("state.terminated");
        let waiting = status.text("state.waiting.reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut all.reason);
        } else if terminated.is_object() {
            all.reason = end_reason(terminated);
            if terminated.int("exitCode").unwrap_or_default() != 0 {
                error = Some(all.reason.clone());
            }
        } else if status.flag("ready") && status.has("state.running") {
            running = true;
            all.ready += 1;
        }
    }
    if all.reason == "Completed" {
        if running && condition(pod, "Ready").is_some_and(is_true) {
            "Running".clone_into(&mut all.reason);
        } else if let Some(error) = error {
            all.reason = error;
        } else if running {
            "NotReady".clone_into(&mut all.reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The first four cells of a pod made of spec and status.
    fn check(spec: Value, status: Value, cells: [&str; 3]) {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        let row = row(&pod, "2026-01-01T00:10:00Z".parse().unwrap());
        assert_eq!(row[1..4], cells.map(Value::from), "{status}");
    }

    #[test]
    fn states() {
        let one = || json!({"containers": [{"name": "a"}]});
        let two = || json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let init = || json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]});
        check(one(), json!({"phase": "Pending"}), ["0/1", "Pending", "0"]);
        check(
            one(),
            json!({"phase": "Pending", "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]}),
            ["0/1", "ContainerCreating", "0"],
        );
        check(
            one(),
            json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}]}),
            ["1/1", "Running", "0"],
        );
        check(
            one(),
            json!({"phase": "Running", "containerStatuses": [{"name": "a", "restartCount": 3, "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:05:00Z"}}, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            ["0/1", "CrashLoopBackOff", "3 (5m ago)"],
        );
        check(
            one(),
            json!({"phase": "Succeeded", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            ["0/1", "Completed", "0"],
        );
        check(
            one(),
            json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}),
            ["0/1", "Signal:9", "0"],
        );
        check(one(), json!({"phase": "Failed", "reason": "Evicted"}), ["0/1", "Evicted", "0"]);
        check(
            two(),
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, {"name": "b", "ready": true, "state": {"running": {}}}]}),
            ["1/2", "NotReady", "0"],
        );
        check(
            init(),
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
            ["0/2", "Init:0/2", "0"],
        );
        check(
            init(),
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 3}}}]}),
            ["0/2", "Init:ExitCode:3", "2"],
        );
        check(
            init(),
            json!({"phase": "Running", "initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "s", "started": true, "ready": true, "state": {"running": {}}}],
                "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}]}),
            ["2/2", "Running", "0"],
        );
        check(
            one(),
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            ["0/1", "SchedulingGated", "0"],
        );
    }
}
