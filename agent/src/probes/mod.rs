//! Probes: one task per container and probe, and what they have found out so far.
//!
//! Invariants: liveness and readiness wait for the startup probe; a container that is not running is not probed; a
//! result counts only after as many checks in a row as its threshold says.

pub mod check;
pub mod http;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::check::{Outcome, Subject as Target};
use crate::cri::Runtime;
use crate::events::{Recorder, Subject, Type};
use crate::pods::containers::{self, Kind as ContainerKind};
use crate::pods::memory::Health;
use crate::pods::observed::Observed;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// How many checks in a row had the same outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    good: bool,
    count: i32,
}

impl Run {
    /// Counts an outcome; says the probe's result once the threshold is reached.
    fn step(&mut self, good: bool, probe: &Probe) -> Option<bool> {
        if self.count > 0 && self.good == good {
            self.count = self.count.saturating_add(1);
        } else {
            *self = Self { good, count: 1 };
        }
        let threshold = if good { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        (self.count >= threshold.max(1)).then_some(good)
    }
}

type Results = Arc<Mutex<BTreeMap<String, Health>>>;

/// The probes of one pod.
pub struct Probes {
    runtime: Arc<dyn Runtime>,
    recorder: Recorder,
    tasks: HashMap<(String, Kind), JoinHandle<()>>,
    results: Results,
    /// Rings when a result has changed.
    pub changed: Arc<Notify>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

impl Probes {
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, recorder: Recorder) -> Self {
        let (results, changed) = (Results::default(), Arc::new(Notify::new()));
        Self { runtime, recorder, tasks: HashMap::new(), results, changed }
    }

    /// What is known now, by container id.
    #[must_use]
    pub fn health(&self) -> BTreeMap<String, Health> {
        self.results.lock().clone()
    }

    /// Starts and ends probes so that exactly the running containers are probed; `ending`: only their readiness.
    pub fn sync(&mut self, pod: &Pod, observed: &Observed, host_ip: &str, ending: bool) {
        let Some(spec) = &pod.spec else { return };
        let running =
            |id: &str| observed.containers.iter().any(|container| container.id == id && container.is_running());
        self.tasks.retain(|(id, kind), task| {
            let keep = running(id) && !(ending && *kind != Kind::Readiness);
            if !keep {
                task.abort();
            }
            keep
        });
        self.results.lock().retain(|id, _| running(id));
        let ips = observed.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        let ip = if spec.host_network == Some(true) { host_ip } else { ips.first().map_or("", String::as_str) };
        for (container_kind, container) in containers::all(spec) {
            // Init containers that end have no probes; ephemeral ones may not.
            if !matches!(container_kind, ContainerKind::Main | ContainerKind::Sidecar) {
                continue;
            }
            let Some(seen) = observed.newest(&container.name).filter(|seen| seen.is_running()) else { continue };
            let probes = [
                (Kind::Startup, &container.startup_probe),
                (Kind::Liveness, &container.liveness_probe),
                (Kind::Readiness, &container.readiness_probe),
            ];
            for (kind, probe) in probes {
                let Some(probe) = probe.clone().filter(|_| !(ending && kind != Kind::Readiness)) else { continue };
                let key = (seen.id.clone(), kind);
                if self.tasks.contains_key(&key) {
                    continue;
                }
                {
                    let mut results = self.results.lock();
                    let health = results.entry(seen.id.clone()).or_default();
                    match kind {
                        Kind::Startup => health.started = health.started.or(Some(false)),
                        Kind::Readiness => health.ready = health.ready.or(Some(false)),
                        Kind::Liveness => {}
                    }
                }
                let task = Task {
                    runtime: Arc::clone(&self.runtime),
                    recorder: self.recorder.clone(),
                    subject: Subject::pod(pod).at(containers::field_path(container_kind, &container.name)),
                    kind,
                    waits_for_startup: container.startup_probe.is_some() && kind != Kind::Startup,
                    container: container.clone(),
                    probe,
                    target: Target { container_id: seen.id.clone(), ip: ip.to_owned() },
                    started_at: seen.started_at,
                    results: Arc::clone(&self.results),
                    changed: Arc::clone(&self.changed),
                };
                self.tasks.insert(key, tokio::spawn(task.run()));
            }
        }
    }
}

struct Task {
    runtime: Arc<dyn Runtime>,
    recorder: Recorder,
    subject: Subject,
    kind: Kind,
    waits_for_startup: bool,
    container: Container,
    probe: Probe,
    target: Target,
    started_at: Timestamp,
    results: Results,
    changed: Arc<Notify>,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}

impl Task {
    async fn run(self) {
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        let age = Duration::try_from(Timestamp::now().duration_since(self.started_at)).unwrap_or_default();
        tokio::time::sleep(seconds(self.probe.initial_delay_seconds, 0).saturating_sub(age)).await;
        let mut run = Run::default();
        loop {
            if self.waits_for_startup && !self.has_started() {
                // The startup probe's success is seen soon after it is found.
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            let outcome = check::once(&*self.runtime, &self.container, &self.probe, &self.target).await;
            let title = self.kind.title();
            let good = match outcome {
                Outcome::Success => true,
                Outcome::Warning(message) => {
                    let text = format!("{title} probe warning: {message}");
                    self.recorder.tell(self.subject.clone(), Type::Warning, "ProbeWarning", text);
                    true
                }
                Outcome::Failure(message) => {
                    let text = format!("{title} probe failed: {message}");
                    self.recorder.tell(self.subject.clone(), Type::Warning, "Unhealthy", text);
                    false
                }
            };
            if let Some(result) = run.step(good, &self.probe)
                && self.conclude(result)
            {
                return;
            }
            tokio::time::sleep(period).await;
        }
    }

    fn has_started(&self) -> bool {
        self.results.lock().get(&self.target.container_id).is_some_and(|health| health.started == Some(true))
    }

    /// Notes a result; true when the probe has nothing more to find out about this container.
    fn conclude(&self, good: bool) -> bool {
        let mut results = self.results.lock();
        let health = results.entry(self.target.container_id.clone()).or_default();
        let former = health.clone();
        let over = match self.kind {
            Kind::Readiness => {
                health.ready = Some(good);
                false
            }
            Kind::Startup if good => {
                health.started = Some(true);
                true
            }
            Kind::Liveness if good => false,
            Kind::Startup | Kind::Liveness => {
                let what = if self.kind == Kind::Startup { "startup" } else { "liveness" };
                let message = format!("Container {} failed {what} probe, will be restarted", self.container.name);
                health.failed = Some((message, self.probe.termination_grace_period_seconds));
                true
            }
        };
        if *health != former {
            self.changed.notify_one();
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_need_their_threshold() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Default::default() };
        let mut run = Run::default();
        let outcomes = [true, true, true, false, false, true, false, false, false, true, true];
        let results: Vec<Option<bool>> = outcomes.iter().map(|good| run.step(*good, &probe)).collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(results, [None, yes, yes, None, None, None, None, None, no, None, yes]);
    }
}
