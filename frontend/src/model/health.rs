//! One word and one tone for the state of any object, from its status and conditions.

use serde_json::Value;

use super::json::{at, is_true, list, number, text};
use super::pod;

/// The colour roles of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    Bad,
    Warn,
    Busy,
    Good,
    Idle,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Busy => "busy",
            Self::Good => "good",
            Self::Idle => "idle",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub tone: Tone,
    pub word: String,
    pub why: String,
}

impl Health {
    pub fn new(tone: Tone, word: impl Into<String>, why: impl Into<String>) -> Self {
        Self { tone, word: word.into(), why: why.into() }
    }
}

/// The tone of a status word in a table, such as `CrashLoopBackOff`, `Bound` or `Ready,SchedulingDisabled`.
pub fn tone_of_word(word: &str) -> Tone {
    let word = match word.strip_prefix("Init:") {
        Some(count) if count.contains('/') => return Tone::Busy,
        Some(inner) => inner,
        None => word,
    };
    match word {
        "Running" | "Ready" | "Active" | "Bound" | "Available" | "Complete" | "Completed" | "Succeeded" | "Healthy"
        | "True" | "Approved,Issued" | "Established" => Tone::Good,
        "Pending" | "ContainerCreating" | "PodInitializing" | "Terminating" | "Progressing" | "Updating"
        | "Starting" | "Released" | "SuccessCriteriaMet" | "Suspended" | "Waiting" => Tone::Busy,
        "Unknown" | "NotReady" | "Failed" | "Error" | "Evicted" | "OOMKilled" | "Lost" | "Denied" | "NodeLost"
        | "StartError" | "DeadlineExceeded" | "Unhealthy" => Tone::Bad,
        "Warning" | "Unschedulable" => Tone::Warn,
        _ if word.starts_with("NotReady") => Tone::Bad,
        _ if word.contains("SchedulingDisabled") => Tone::Warn,
        _ if word.contains("BackOff")
            || word.contains("Err")
            || word.starts_with("Invalid")
            || word.starts_with("CreateContainer")
            || word.starts_with("ExitCode:")
            || word.starts_with("Signal:") =>
        {
            Tone::Bad
        }
        _ if word.split_once('/').is_some_and(|(a, b)| a.parse::<u32>().is_ok() && b.parse::<u32>().is_ok()) => {
            tone_of_ratio(word)
        }
        _ => Tone::Idle,
    }
}

/// The tone of `2/3`.
pub fn tone_of_ratio(text: &str) -> Tone {
    match text.split_once('/').map(|(a, b)| (a.parse::<u32>(), b.parse::<u32>())) {
        Some((Ok(_), Ok(0))) => Tone::Idle,
        Some((Ok(a), Ok(b))) if a >= b => Tone::Good,
        Some((Ok(_), Ok(_))) => Tone::Warn,
        _ => Tone::Idle,
    }
}

pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    list(object, "status/conditions").iter().find(|condition| text(condition, "type") == type_)
}

pub fn condition_is(object: &Value, type_: &str, status: &str) -> bool {
    condition(object, type_).is_some_and(|condition| text(condition, "status") == status)
}

/// Conditions whose `True` is the unwelcome state.
pub fn is_good_when_false(type_: &str) -> bool {
    type_.ends_with("Pressure")
        || type_.ends_with("Failure")
        || type_.ends_with("Failed")
        || matches!(
            type_,
            "NetworkUnavailable"
                | "Failed"
                | "Stalled"
                | "Degraded"
                | "FailureTarget"
                | "DisruptionTarget"
                | "Suspended"
                | "Terminating"
                | "NonStructuralSchema"
                | "KubernetesAPIApprovalPolicyConformant"
        )
}

pub fn of(object: &Value) -> Option<Health> {
    if !at(object, "metadata/deletionTimestamp").is_null() && text(object, "kind") != "Pod" {
        return Some(Health::new(Tone::Busy, "Terminating", finalizers(object)));
    }
    match text(object, "kind") {
        "Pod" => Some(pod::health(object)),
        "Node" => Some(node(object)),
        "Deployment" => Some(deployment(object)),
        "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
            Some(replicas(object, number(object, "spec/replicas"), number(object, "status/readyReplicas")))
        }
        "DaemonSet" => Some(replicas(
            object,
            number(object, "status/desiredNumberScheduled"),
            number(object, "status/numberReady"),
        )),
        "Job" => Some(job(object)),
        "CronJob" if is_true(object, "spec/suspend") => Some(Health::new(Tone::Idle, "Suspended", "")),
        _ => generic(object),
    }
}

fn finalizers(object: &Value) -> String {
    let names: Vec<&str> = list(object, "metadata/finalizers").iter().filter_map(Value::as_str).collect();
    if names.is_empty() { String::new() } else { format!("waits for {}", names.join(", ")) }
}

fn generic(object: &Value) -> Option<Health> {
    let phase = text(object, "status/phase");
    if !phase.is_empty() {
        return Some(Health::new(tone_of_word(phase), phase, text(object, "status/message")));
    }
    let ready = ["Ready", "Available", "Established"].iter().find_map(|type_| condition(object, type_))?;
    let (tone, word) = match text(ready, "status") {
        "True" => (Tone::Good, text(ready, "type").to_owned()),
        "False" => (Tone::Bad, format!("Not {}", text(ready, "type").to_lowercase())),
        _ => (Tone::Warn, "Unknown".to_owned()),
    };
    Some(Health::new(tone, word, text(ready, "message")))
}

fn node(object: &Value) -> Health {
    let ready = condition(object, "Ready");
    let message = ready.map_or("", |ready| text(ready, "message"));
    match ready.map_or("Unknown", |ready| text(ready, "status")) {
        "True" => {
            let pressed = list(object, "status/conditions")
                .iter()
                .find(|c| is_good_when_false(text(c, "type")) && text(c, "status") == "True");
            match pressed {
                Some(condition) => Health::new(Tone::Warn, text(condition, "type"), text(condition, "message")),
                None if is_true(object, "spec/unschedulable") => {
                    Health::new(Tone::Warn, "Cordoned", "new pods are kept away")
                }
                None => Health::new(Tone::Good, "Ready", message),
            }
        }
        "False" => Health::new(Tone::Bad, "Not ready", message),
        _ => Health::new(Tone::Bad, "Unreachable", message),
    }
}

fn deployment(object: &Value) -> Health {
    let want = at(object, "spec/replicas").as_i64().unwrap_or(1);
    let status = |field: &str| number(object, &format!("status/{field}"));
    let count = format!("{} of {want} ready", status("readyReplicas"));
    if is_true(object, "spec/paused") {
        return Health::new(Tone::Idle, "Paused", count);
    }
    if let Some(failed) = condition(object, "ReplicaFailure").filter(|c| text(c, "status") == "True") {
        return Health::new(Tone::Bad, "Failing", text(failed, "message"));
    }
    if let Some(stuck) = condition(object, "Progressing").filter(|c| text(c, "status") == "False") {
        return Health::new(Tone::Bad, "Stuck", text(stuck, "message"));
    }
    let seen = status("observedGeneration") >= number(object, "metadata/generation");
    if !seen || status("updatedReplicas") < want || status("replicas") > status("updatedReplicas") {
        return Health::new(
            Tone::Busy,
            "Rolling out",
            format!("{} of {want} updated, {count}", status("updatedReplicas")),
        );
    }
    if want == 0 {
        return Health::new(Tone::Idle, "Scaled to zero", "");
    }
    // Its first pods are on their way, and not yet given up on.
    let on_its_way = condition(object, "Progressing")
        .is_some_and(|c| text(c, "status") == "True" && text(c, "reason") != "NewReplicaSetAvailable");
    if status("availableReplicas") < want && on_its_way {
        return Health::new(Tone::Busy, "Rolling out", count);
    }
    if status("availableReplicas") < want {
        let tone = if status("availableReplicas") == 0 { Tone::Bad } else { Tone::Warn };
        return Health::new(tone, "Degraded", count);
    }
    Health::new(Tone::Good, "Healthy", count)
}

fn replicas(object: &Value, want: i64, ready: i64) -> Health {
    let count = format!("{ready} of {want} ready");
    let seen = number(object, "status/observedGeneration") >= number(object, "metadata/generation");
    match () {
        () if want == 0 => Health::new(Tone::Idle, "Scaled to zero", ""),
        () if !seen => Health::new(Tone::Busy, "Updating", count),
        () if ready >= want => Health::new(Tone::Good, "Healthy", count),
        () if ready == 0 => Health::new(Tone::Bad, "Degraded", count),
        () => Health::new(Tone::Warn, "Degraded", count),
    }
}

fn job(object: &Value) -> Health {
    let of_condition = |type_: &str, tone, word: &str| {
        condition(object, type_)
            .filter(|c| text(c, "status") == "True")
            .map(|c| Health::new(tone, word, text(c, "message")))
    };
    let count = format!(
        "{} active, {} succeeded, {} failed",
        number(object, "status/active"),
        number(object, "status/succeeded"),
        number(object, "status/failed")
    );
    of_condition("Failed", Tone::Bad, "Failed")
        .or_else(|| of_condition("Complete", Tone::Good, "Complete"))
        .or_else(|| of_condition("Suspended", Tone::Idle, "Suspended"))
        .unwrap_or_else(|| Health::new(Tone::Busy, "Running", count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: Value, tone: Tone, word: &str) {
        let health = of(&object).unwrap();
        assert_eq!((health.tone, health.word.as_str()), (tone, word), "{object}");
    }

    #[test]
    fn deployments() {
        let with = |spec: Value, status: Value| json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": spec, "status": status});
        let full = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3});
        check(with(json!({"replicas": 3}), full.clone()), Tone::Good, "Healthy");
        check(with(json!({"replicas": 4}), full.clone()), Tone::Busy, "Rolling out");
        check(with(json!({"replicas": 3, "paused": true}), full), Tone::Idle, "Paused");
        check(
            with(json!({"replicas": 3}), json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3})),
            Tone::Busy,
            "Rolling out",
        );
        check(
            with(json!({"replicas": 3}), json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3})),
            Tone::Bad,
            "Degraded",
        );
        let fresh = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}]});
        check(with(json!({"replicas": 3}), fresh), Tone::Busy, "Rolling out");
        check(with(json!({"replicas": 0}), json!({"observedGeneration": 2})), Tone::Idle, "Scaled to zero");
        let stuck = json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "False", "message": "m"}]});
        check(with(json!({"replicas": 3}), stuck), Tone::Bad, "Stuck");
    }

    #[test]
    fn nodes_and_jobs() {
        let ready = json!([{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}]);
        check(json!({"kind": "Node", "status": {"conditions": ready}}), Tone::Good, "Ready");
        check(
            json!({"kind": "Node", "spec": {"unschedulable": true}, "status": {"conditions": ready}}),
            Tone::Warn,
            "Cordoned",
        );
        check(
            json!({"kind": "Node", "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
            Tone::Bad,
            "Unreachable",
        );
        check(json!({"kind": "Node", "status": {}}), Tone::Bad, "Unreachable");
        check(json!({"kind": "Job", "status": {"active": 1}}), Tone::Busy, "Running");
        check(
            json!({"kind": "Job", "status": {"conditions": [{"type": "Failed", "status": "True"}]}}),
            Tone::Bad,
            "Failed",
        );
    }

    #[test]
    fn other_kinds_by_phase_or_condition() {
        check(json!({"kind": "Namespace", "status": {"phase": "Active"}}), Tone::Good, "Active");
        check(
            json!({"kind": "Widget", "status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
            Tone::Bad,
            "Not ready",
        );
        check(
            json!({"kind": "Widget", "metadata": {"deletionTimestamp": "x", "finalizers": ["a/b"]}}),
            Tone::Busy,
            "Terminating",
        );
        assert_eq!(of(&json!({"kind": "ConfigMap"})), None);
    }

    #[test]
    fn words() {
        for (word, tone) in [
            ("Running", Tone::Good),
            ("CrashLoopBackOff", Tone::Bad),
            ("Init:0/2", Tone::Busy),
            ("1/2", Tone::Warn),
            ("0/2", Tone::Warn),
            ("2/2", Tone::Good),
            ("ImagePullBackOff", Tone::Bad),
            ("Ready,SchedulingDisabled", Tone::Warn),
            ("NotReady,SchedulingDisabled", Tone::Bad),
            ("10.96.0.1", Tone::Idle),
            ("ErrImageNeverPull", Tone::Bad),
        ] {
            assert_eq!(tone_of_word(word), tone, "{word}");
        }
    }
}
