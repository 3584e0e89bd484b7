//! What a pod's worker remembers between two looks. All of it may be lost: a restarted agent starts with none.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::resize::Actual;

/// Upstream's back-off of restarts and of pulls: 10 s, doubled up to 5 min, forgotten after 10 min of peace.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LAST: SignedDuration = SignedDuration::from_secs(300);
const FORGET: SignedDuration = SignedDuration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    pub delay: SignedDuration,
    updated: Timestamp,
}

impl BackOff {
    /// The back-off after another failure at `event`.
    #[must_use]
    pub fn next(former: Option<Self>, event: Timestamp, now: Timestamp) -> Self {
        let delay = match former {
            Some(former) if event.duration_since(former.updated) <= FORGET => (former.delay * 2).min(LAST),
            _ => FIRST,
        };
        Self { delay, updated: now }
    }

    /// Until when to wait after a failure at `event`; `None` when this back-off is forgotten.
    #[must_use]
    pub fn until(self, event: Timestamp) -> Option<Timestamp> {
        (event.duration_since(self.updated) <= FORGET).then(|| event + self.delay)
    }
}

/// Why a container is not running yet, in the words of its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// A step that failed and is not tried again before `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub waiting: Waiting,
    pub until: Timestamp,
    /// What it is called from some moment on.
    pub later: Option<(Timestamp, Waiting)>,
}

/// Why the pod as a whole has to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub since: Timestamp,
    pub grace_seconds: i64,
    /// Set when this end makes the pod Failed.
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    pub message: String,
    /// The `DisruptionTarget` condition's reason, when the pod is ended by the node.
    pub disruption: Option<String>,
}

/// What the probes have found out about one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// `None` without a readiness probe.
    pub ready: Option<bool>,
    /// `None` without a startup probe.
    pub started: Option<bool>,
    /// Liveness or startup has failed: why, and the grace period if the probe has its own.
    pub failed: Option<(String, Option<i64>)>,
}

/// What the worker has under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// A step for the pod as a whole: preparing, making or stopping a sandbox, tearing down.
    pub pod: bool,
    /// The container that is being pulled, made and started.
    pub start: Option<String>,
    /// Containers (by id) that are being ended, and when they are killed at the latest.
    pub kills: BTreeMap<String, Timestamp>,
}

#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Volumes, cgroup and folders are there.
    pub prepared: bool,
    /// They are gone again; nothing runs any more.
    pub torn_down: bool,
    pub busy: Busy,
    /// Why the pod's own step failed last.
    pub pod_hold: Option<Hold>,
    /// By container name.
    pub holds: BTreeMap<String, Hold>,
    pub restarts: BTreeMap<String, BackOff>,
    pub pulls: BTreeMap<String, BackOff>,
    /// By container id.
    pub health: BTreeMap<String, Health>,
    /// The termination messages of dead containers, by container id.
    pub messages: BTreeMap<String, String>,
    /// What the containers' cgroups are set to.
    pub actual: Actual,
    /// Why changed resources are not set, `Infeasible` or `Deferred`.
    pub refused_resize: Option<Waiting>,
    /// What went wrong when they were set last.
    pub failed_resize: Option<String>,
    /// Containers (by id) that are restarted for their changed resources.
    pub outgrown: BTreeSet<String>,
    pub end: Option<End>,
    /// It has run to its end by itself, and stays so.
    pub finished: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_five_minutes_and_is_forgotten() {
        let mut now = Timestamp::from_second(1_000_000).unwrap();
        let mut backoff: Option<BackOff> = None;
        let mut delays = Vec::new();
        for _ in 0..7 {
            let next = BackOff::next(backoff, now, now);
            delays.push(next.delay.as_secs());
            now = next.until(now).unwrap();
            backoff = Some(next);
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        let much_later = now + SignedDuration::from_secs(3600);
        assert_eq!(backoff.unwrap().until(much_later), None);
        assert_eq!(BackOff::next(backoff, much_later, much_later).delay, FIRST);
    }
}
