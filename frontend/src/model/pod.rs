//! What a pod is doing, in kubectl's words.

use serde_json::Value;

use super::health::{Health, Tone, condition, tone_of_word};
use super::json::{at, is_true, list, number, text};

/// One container with its place in the pod's life.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub name: String,
    pub role: Role,
    pub image: String,
    pub ready: bool,
    pub restarts: i64,
    pub tone: Tone,
    pub state: String,
    pub why: String,
    /// RFC 3339, of the present state.
    pub since: String,
    /// How the container ended before, if it was restarted.
    pub last: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Main,
    Init,
    Sidecar,
    Ephemeral,
}

impl Role {
    pub fn word(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Init => "init",
            Self::Sidecar => "sidecar",
            Self::Ephemeral => "ephemeral",
        }
    }
}

pub fn containers(pod: &Value) -> Vec<Container> {
    let mut out = Vec::new();
    for (specs, statuses, base) in [
        ("spec/initContainers", "status/initContainerStatuses", Role::Init),
        ("spec/containers", "status/containerStatuses", Role::Main),
        ("spec/ephemeralContainers", "status/ephemeralContainerStatuses", Role::Ephemeral),
    ] {
        let statuses = list(pod, statuses);
        for spec in list(pod, specs) {
            let status =
                statuses.iter().find(|status| text(status, "name") == text(spec, "name")).unwrap_or(&Value::Null);
            let role = if base == Role::Init && text(spec, "restartPolicy") == "Always" { Role::Sidecar } else { base };
            out.push(container(spec, status, role));
        }
    }
    out
}

fn container(spec: &Value, status: &Value, role: Role) -> Container {
    let ready = is_true(status, "ready");
    let (tone, state, why, since) = if let Some(running) = status.pointer("/state/running") {
        let tone = if ready || role != Role::Main { Tone::Good } else { Tone::Warn };
        (
            tone,
            "Running".to_owned(),
            if tone == Tone::Warn { "not ready" } else { "" }.to_owned(),
            text(running, "startedAt").to_owned(),
        )
    } else if let Some(ended) = status.pointer("/state/terminated") {
        let (tone, word) = ending(ended);
        (tone, word, text(ended, "message").to_owned(), text(ended, "finishedAt").to_owned())
    } else {
        let reason = text(status, "state/waiting/reason");
        let word = if reason.is_empty() { "Waiting" } else { reason };
        (tone_of_word(word), word.to_owned(), text(status, "state/waiting/message").to_owned(), String::new())
    };
    let last = status.pointer("/lastState/terminated").map(|ended| {
        let word = ending(ended).1;
        format!("{word}, exit code {}", number(ended, "exitCode"))
    });
    Container {
        name: text(spec, "name").to_owned(),
        role,
        image: text(spec, "image").to_owned(),
        ready,
        restarts: number(status, "restartCount"),
        tone,
        state,
        why,
        since,
        last: last.unwrap_or_default(),
    }
}

fn ending(ended: &Value) -> (Tone, String) {
    let (reason, signal, code) = (text(ended, "reason"), number(ended, "signal"), number(ended, "exitCode"));
    let word = match () {
        () if !reason.is_empty() => reason.to_owned(),
        () if signal != 0 => format!("Signal:{signal}"),
        () => format!("ExitCode:{code}"),
    };
    (if code == 0 { Tone::Good } else { Tone::Bad }, word)
}

/// The word of kubectl's STATUS column.
pub fn status_word(pod: &Value) -> String {
    let reason = text(pod, "status/reason");
    let mut word = if reason.is_empty() { text(pod, "status/phase").to_owned() } else { reason.to_owned() };
    if condition(pod, "PodScheduled").is_some_and(|c| text(c, "reason") == "SchedulingGated") {
        word = "SchedulingGated".into();
    }
    let all = containers(pod);
    let inits = list(pod, "spec/initContainers").len();
    let open_init =
        all.iter().filter(|c| matches!(c.role, Role::Init | Role::Sidecar)).enumerate().find(|(_, c)| match c.role {
            Role::Sidecar => c.state != "Running",
            _ => !(c.state == "Completed" || c.state == "ExitCode:0"),
        });
    if let Some((index, init)) = open_init.filter(|_| !list(pod, "status/initContainerStatuses").is_empty()) {
        word = match init.state.as_str() {
            "Waiting" | "PodInitializing" | "Running" => format!("Init:{index}/{inits}"),
            state => format!("Init:{state}"),
        };
    } else if !list(pod, "status/containerStatuses").is_empty() {
        let mains = || all.iter().filter(|c| c.role == Role::Main);
        if let Some(odd) = mains().find(|c| c.state != "Running" && c.state != "Waiting") {
            word = odd.state.clone();
            if word == "Completed" && mains().any(|c| c.state == "Running" && c.ready) {
                word = "Running".into();
            }
        }
    }
    if !at(pod, "metadata/deletionTimestamp").is_null() {
        word = if reason == "NodeLost" { "Unknown".into() } else { "Terminating".into() };
    }
    word
}

pub fn ready_count(pod: &Value) -> (usize, usize) {
    let all = containers(pod);
    let counted = || all.iter().filter(|c| matches!(c.role, Role::Main | Role::Sidecar));
    (counted().filter(|c| c.ready).count(), counted().count())
}

pub fn health(pod: &Value) -> Health {
    let word = status_word(pod);
    let (ready, total) = ready_count(pod);
    let waiting = containers(pod)
        .into_iter()
        .find(|c| c.tone == Tone::Bad && !c.why.is_empty())
        .map(|c| format!("{}: {}", c.name, c.why));
    let unscheduled =
        condition(pod, "PodScheduled").filter(|c| text(c, "status") == "False").map(|c| text(c, "message").to_owned());
    let why = unscheduled.clone().or(waiting).unwrap_or_else(|| match text(pod, "status/message") {
        "" => format!("{ready} of {total} containers ready"),
        message => message.to_owned(),
    });
    let tone = match tone_of_word(&word) {
        Tone::Good if word == "Running" && ready < total => Tone::Warn,
        Tone::Busy if unscheduled.is_some() => Tone::Warn,
        tone => tone,
    };
    Health::new(tone, word, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> Value {
        json!({"kind": "Pod", "spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": status})
    }
    fn running(name: &str, ready: bool) -> Value {
        json!({"name": name, "ready": ready, "state": {"running": {}}})
    }

    #[test]
    fn status_words_are_kubectls() {
        let both = |a: Value, b: Value| pod(json!({"phase": "Running", "containerStatuses": [a, b]}));
        let waiting = |reason: &str| json!({"name": "b", "state": {"waiting": {"reason": reason}}});
        let ended = |code: i64, reason: &str| json!({"name": "b", "state": {"terminated": {"exitCode": code, "reason": reason}}});
        assert_eq!(status_word(&both(running("a", true), running("b", true))), "Running");
        assert_eq!(status_word(&both(running("a", true), waiting("CrashLoopBackOff"))), "CrashLoopBackOff");
        assert_eq!(status_word(&both(running("a", true), ended(0, "Completed"))), "Running");
        assert_eq!(status_word(&both(running("a", true), ended(3, "Error"))), "Error");
        assert_eq!(status_word(&both(running("a", true), ended(3, ""))), "ExitCode:3");
        assert_eq!(status_word(&pod(json!({"phase": "Pending"}))), "Pending");
        assert_eq!(status_word(&pod(json!({"phase": "Failed", "reason": "Evicted"}))), "Evicted");
        let mut going = both(running("a", true), running("b", true));
        going["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(status_word(&going), "Terminating");
    }

    #[test]
    fn init_containers_come_first() {
        let mut pod = pod(
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, {"name": "j", "state": {"running": {}}}]}),
        );
        pod["spec"]["initContainers"] = json!([{"name": "i"}, {"name": "j"}]);
        assert_eq!(status_word(&pod), "Init:1/2");
        assert_eq!(health(&pod).tone, Tone::Busy);
        pod["status"]["initContainerStatuses"][1] =
            json!({"name": "j", "state": {"waiting": {"reason": "ImagePullBackOff"}}});
        assert_eq!(status_word(&pod), "Init:ImagePullBackOff");
        assert_eq!(health(&pod).tone, Tone::Bad);
    }

    #[test]
    fn a_pod_that_runs_but_is_not_ready_is_a_warning() {
        let half = pod(json!({"phase": "Running", "containerStatuses": [running("a", true), running("b", false)]}));
        assert_eq!(health(&half), Health::new(Tone::Warn, "Running", "1 of 2 containers ready"));
        let stuck = pod(
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}),
        );
        assert_eq!(health(&stuck), Health::new(Tone::Warn, "Pending", "0/1 nodes"));
    }
}
