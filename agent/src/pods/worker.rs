//! One pod's worker: looks, plans, has the plan carried out, tells the API. It lives as long as the pod does here.
//!
//! Invariants: looking and planning never wait for what was planned (pulls, grace periods, the API); of each thing at
//! most one is under way; the pod is taken out of the API only when nothing of it is left on the node.

mod done;
mod end;
mod tell;
mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tracing::{debug, warn};

use super::containers;
use super::context::Context;
use super::execute::{self, Start, StartFailure};
use super::memory::{BackOff, End, Memory, Waiting};
use super::observed::{Details, Observed, State};
use super::plan::{self, Action};
use super::report::{self, Reported};
use super::{messages, ports};
use crate::network::index::HostPort;
use crate::probes::Probes;
use crate::retry::Retry;
use crate::volumes::Volumes;

/// A step of the pod as a whole that failed is tried again after this long, then twice that, up to the last.
const FIRST_RETRY: SignedDuration = SignedDuration::from_millis(500);
const LAST_RETRY: SignedDuration = SignedDuration::from_secs(60);
/// A failed start that is nobody's back-off (a missing ConfigMap) is tried again after this long.
const CONFIG_RETRY: SignedDuration = SignedDuration::from_secs(5);
/// How long a fresh failure is shown before its back-off.
const SHOWN: SignedDuration = SignedDuration::from_secs(2);
/// Resources that could not be set are tried again after this long.
const RESIZE_RETRY: Duration = Duration::from_secs(30);
/// How often the contents of volumes are looked at.
const REFRESH: Duration = Duration::from_secs(45);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Nothing is forgotten for longer than this, whatever was missed.
const LOOK_ANYWAY: Duration = Duration::from_secs(5 * 60);
/// A step on the way is told only if no other follows: what starts at once is told once.
const SETTLE: Duration = Duration::from_millis(100);
/// A report that failed is made again after this long, then twice that, up to the last.
const REPORT_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What the API wants of a pod.
#[derive(Clone, Debug)]
pub enum Desired {
    Pod(Arc<Pod>),
    /// It is gone from the API: end it, and forget it. Its last state, if that was seen.
    Gone(Option<Arc<Pod>>),
}

/// What has come of an action.
enum Done {
    Prepared(Result<Volumes, Waiting>),
    Sandbox(Result<(), Waiting>),
    Started(String, Result<(), StartFailure>),
    Killed,
    Stopped,
    TornDown(Result<(), String>),
    Reported(Reported),
    Refreshed,
    Resized(Result<Vec<(String, ResourceRequirements)>, String>),
}

/// What a task is about, for the case that it ends without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    Pod,
    Start(String),
    Kill(String),
    Report,
    Refresh,
    Resize,
}

pub struct Worker {
    context: Arc<Context>,
    pod: Arc<Pod>,
    gone: bool,
    observed: Observed,
    details: Details,
    memory: Memory,
    volumes: Arc<Volumes>,
    probes: Probes,
    tasks: JoinSet<Done>,
    about: HashMap<Id, Task>,
    starting: Option<AbortHandle>,
    killing: HashMap<String, AbortHandle>,
    reporting: bool,
    report_retry: Retry,
    /// Since when there is something to tell that can wait for what follows.
    untold: Option<tokio::time::Instant>,
    /// The API has been told that nothing is left here; finalizers of others may still keep the pod.
    deleting: bool,
    /// The last change of the status that was sent, and the version that it led to.
    sent: Option<Value>,
    written: Option<String>,
    refreshing: bool,
    resizing: bool,
    resize_after: tokio::time::Instant,
    refreshed: tokio::time::Instant,
    retry: SignedDuration,
    /// For which restart of a container its back-off was told.
    told_backoffs: HashMap<String, i32>,
}

impl Worker {
    #[must_use]
    pub fn new(context: Arc<Context>, pod: Arc<Pod>, end: Option<End>) -> Self {
        let probes = Probes::new(Arc::clone(&context.runtime), context.recorder.clone());
        Self {
            context,
            pod,
            gone: false,
            observed: Observed::default(),
            details: Details::default(),
            memory: Memory { end, ..Memory::default() },
            volumes: Arc::default(),
            probes,
            tasks: JoinSet::new(),
            about: HashMap::new(),
            starting: None,
            killing: HashMap::new(),
            reporting: false,
            report_retry: Retry::new(REPORT_RETRY.0, REPORT_RETRY.1),
            untold: None,
            deleting: false,
            sent: None,
            written: None,
            refreshing: false,
            resizing: false,
            resize_after: tokio::time::Instant::now(),
            refreshed: tokio::time::Instant::now(),
            retry: FIRST_RETRY,
            told_backoffs: HashMap::new(),
        }
    }

    fn uid(&self) -> String {
        self.pod.metadata.uid.clone().unwrap_or_default()
    }

    /// Runs until the pod is gone from the API and from the node.
    pub async fn run(mut self, mut desired: watch::Receiver<Desired>, look: Arc<Notify>) {
        let probed = Arc::clone(&self.probes.changed);
        loop {
            let looked = self.look().await;
            if looked {
                self.settle_end();
                self.probes.sync(&self.pod, &self.observed, &self.context.host_ip(), self.memory.end.is_some());
                self.memory.health = self.probes.health();
                self.forget_backoffs();
                self.recall_resources();
                self.resize();
            }
            // Not all pods at the same moment.
            let mut wake = if looked { LOOK_ANYWAY.mul_f64(rand::random_range(0.7..1.0)) } else { LOOK_AGAIN };
            if looked {
                let now = Timestamp::now();
                let plan = plan::plan(&self.pod, &self.observed, &self.memory, now);
                self.memory.finished |= plan.finished;
                if let Some(left) = self.report(&plan, now) {
                    wake = wake.min(left);
                }
                if let Some(at) = plan.wake {
                    let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    wake = wake.min(left + Duration::from_millis(1));
                }
                if self.age_holds(now) {
                    wake = wake.min(Duration::try_from(SHOWN).unwrap_or_default());
                }
                let acted = self.act(plan.actions).await;
                if acted {
                    continue;
                }
                if self.gone && self.memory.torn_down && self.tasks.is_empty() {
                    if self.forget().await {
                        return;
                    }
                    wake = LOOK_AGAIN;
                }
            }
            if let Some(left) = self.refresh_due() {
                wake = wake.min(left);
            }
            if let Some(left) = self.deadline_left() {
                wake = wake.min(left);
            }
            tokio::select! {
                Some(done) = self.tasks.join_next_with_id() => self.finish(done),
                changed = desired.changed() => {
                    let next = if changed.is_ok() { desired.borrow_and_update().clone() } else { Desired::Gone(None) };
                    self.adopt(next);
                }
                () = look.notified() => {}
                () = probed.notified() => {}
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    async fn look(&mut self) -> bool {
        let (runtime, uid) = (&self.context.runtime, self.uid());
        let seen = async {
            let sandboxes = runtime.list_pod_sandboxes(Some(&uid)).await?;
            let containers = runtime.list_containers(Some(&uid)).await?;
            self.details.look(&**runtime, sandboxes, containers).await
        };
        match seen.await {
            Ok(observed) => self.observed = observed,
            Err(error) => {
                debug!(%error, "the runtime cannot be looked at");
                return false;
            }
        }
        let ports = match self.observed.sandbox() {
            Some(sandbox) => ports::host_ports(&self.pod, &sandbox.ips),
            None => Vec::<HostPort>::new(),
        };
        self.context.host_ports.set(&uid, ports);
        messages::collect(&self.context, &self.pod, &self.observed, &mut self.memory.messages);
        true
    }

    fn adopt(&mut self, desired: Desired) {
        match desired {
            Desired::Pod(pod) => {
                if !report::is_older(&pod, &self.pod) {
                    let labels = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
                    if labels(&pod) != labels(&self.pod) {
                        // The downward API shows them.
                        self.refreshed = tokio::time::Instant::now() - REFRESH;
                    }
                    self.pod = pod;
                }
                self.context.registry.set(&self.pod);
            }
            Desired::Gone(last) => {
                if let Some(last) = last {
                    self.pod = last;
                }
                self.gone = true;
            }
        }
    }

    fn spawn(&mut self, task: Task, work: impl Future<Output = Done> + Send + 'static) -> AbortHandle {
        let handle = self.tasks.spawn(work);
        self.about.insert(handle.id(), task);
        handle
    }

    /// Has the actions carried out; true when the runtime should be looked at again at once.
    async fn act(&mut self, actions: Vec<Action>) -> bool {
        let mut look = false;
        for action in actions {
            let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.pod));
            debug!(pod = pod.metadata.name, ?action, "acting");
            match action {
                Action::Prepare => {
                    self.memory.busy.pod = true;
                    self.spawn(Task::Pod, async move { Done::Prepared(execute::prepare(&context, &pod).await) });
                }
                Action::CreateSandbox { attempt } => {
                    self.memory.busy.pod = true;
                    self.spawn(Task::Pod, async move {
                        Done::Sandbox(execute::create_sandbox(&context, &pod, attempt).await)
                    });
                }
                Action::Start { name, sandbox, restart_count } => self.start(name, sandbox, restart_count),
                Action::Kill { id, name, grace_seconds, why } => {
                    if let Some(former) = self.killing.remove(&id) {
                        former.abort();
                    }
                    let deadline = Timestamp::now() + SignedDuration::from_secs(grace_seconds);
                    self.memory.busy.kills.insert(id.clone(), deadline);
                    let ips = self.ips();
                    let key = id.clone();
                    let handle = self.spawn(Task::Kill(id.clone()), async move {
                        execute::kill(&context, &pod, &id, &name, grace_seconds, &why, &ips).await;
                        Done::Killed
                    });
                    self.killing.insert(key, handle);
                }
                Action::StopSandbox { id } => {
                    self.memory.busy.pod = true;
                    self.spawn(Task::Pod, async move {
                        execute::stop_sandbox(&context, &id).await;
                        Done::Stopped
                    });
                }
                Action::TearDown => {
                    self.memory.busy.pod = true;
                    let uid = self.uid();
                    self.spawn(Task::Pod, async move { Done::TornDown(execute::tear_down(&context, &uid).await) });
                }
                Action::Remove { id } => {
                    if let Err(error) = context.runtime.remove_container(&id).await {
                        warn!(container = id, %error, "a dead container was not removed");
                    } else {
                        self.remove_log(&id);
                        look = true;
                    }
                }
                Action::RemoveSandbox { id } => {
                    if let Err(error) = context.runtime.remove_pod_sandbox(&id).await {
                        warn!(sandbox = id, %error, "a dead sandbox was not removed");
                    } else {
                        look = true;
                    }
                }
            }
        }
        look
    }

    fn remove_log(&self, id: &str) {
        let Some(seen) = self.observed.containers.iter().find(|container| container.id == id) else { return };
        let log = self.context.log_dir(&self.pod).join(super::cri_config::log_path(&seen.name, seen.restart_count));
        crate::logs::remove(&log);
        let _ = std::fs::remove_file(self.context.message_file(&self.uid(), &seen.name, seen.restart_count));
    }

    fn ips(&self) -> Vec<String> {
        let on_host = self.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
        if on_host {
            return vec![self.context.host_ip()];
        }
        self.observed.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    }

    fn start(&mut self, name: String, sandbox: String, restart_count: i32) {
        // A start after an exit makes the next one wait.
        if let Some(State::Exited { finished_at, .. }) = self.observed.newest(&name).map(|seen| seen.state.clone()) {
            let former = self.memory.restarts.get(&name).copied();
            self.memory.restarts.insert(name.clone(), BackOff::next(former, finished_at, Timestamp::now()));
        }
        let spec = self.pod.spec.as_ref();
        let target = spec
            .and_then(|spec| spec.ephemeral_containers.iter().flatten().find(|container| container.name == name))
            .and_then(|container| container.target_container_name.clone())
            .and_then(|target| self.observed.newest(&target).filter(|seen| seen.is_running()))
            .map(|seen| seen.id.clone());
        let start = Start {
            name: name.clone(),
            sandbox,
            restart_count,
            attempt: self.observed.sandbox().map_or(0, |sandbox| sandbox.attempt),
            ips: self.ips(),
            volumes: Arc::clone(&self.volumes),
            target,
        };
        let (context, pod) = (Arc::clone(&self.context), self.affordable());
        let container =
            pod.spec.as_ref().and_then(|spec| containers::find(spec, &name)).map(|(_, container)| container);
        self.memory.actual.insert(name.clone(), container.and_then(|c| c.resources).unwrap_or_default());
        self.memory.busy.start = Some(name.clone());
        let handle = self.spawn(Task::Start(name.clone()), async move {
            let result = execute::start(&context, &pod, start).await;
            Done::Started(name, result)
        });
        self.starting = Some(handle);
    }

    async fn forget(&mut self) -> bool {
        let (uid, logs) = (self.uid(), self.context.log_dir(&self.pod));
        match execute::forget(&self.context, &uid, &logs).await {
            Ok(()) => {
                self.context.registry.remove(&uid);
                true
            }
            Err(message) => {
                warn!(pod = self.pod.metadata.name, message, "the pod's remains were not removed; trying again");
                false
            }
        }
    }
}
