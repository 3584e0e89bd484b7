//! One pod's worker: looks, plans, has the plan carried out, tells the API. It lives as long as the pod does here.
//!
//! Invariants: looking and planning never wait for what was planned (pulls, grace periods, the API); of each thing at
//! most one is under way; the pod is taken out of the API only when nothing of it is left on the node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus, ResourceRequirements};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tracing::{debug, warn};

use super::containers::{self, Kind};
use super::context::Context;
use super::execute::{self, Start, StartFailure};
use super::memory::{BackOff, End, Hold, Memory, Waiting};
use super::observed::{Details, Observed, State};
use super::plan::{self, Action, Plan};
use super::report::{self, Reported};
use super::status::{self, Surroundings};
use super::{messages, ports, resize};
use crate::events::{Subject, Type};
use crate::network::index::HostPort;
use crate::node::object;
use crate::probes::Probes;
use crate::volumes::{Mounter, Volumes};

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
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

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
            let mut wake = if looked { LOOK_ANYWAY } else { LOOK_AGAIN };
            if looked {
                let now = Timestamp::now();
                let plan = plan::plan(&self.pod, &self.observed, &self.memory, now);
                self.memory.finished |= plan.finished;
                self.report(&plan, now);
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

    /// Decides whether the pod has to end, from its deletion, its deadline, and its absence from the API.
    fn settle_end(&mut self) {
        let now = Timestamp::now();
        let metadata = &self.pod.metadata;
        let spec_grace = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let spec_grace = spec_grace.unwrap_or(plan::DEFAULT_GRACE_SECONDS);
        let mut end = self.memory.end.clone();
        if let Some(deleted) = &metadata.deletion_timestamp {
            let grace = metadata.deletion_grace_period_seconds.unwrap_or(spec_grace);
            // The timestamp is when the grace period is over.
            let since = (deleted.0 - SignedDuration::from_secs(grace)).min(now);
            let known = end.get_or_insert(End { since, grace_seconds: grace, failure: None });
            if grace < known.grace_seconds {
                (known.since, known.grace_seconds) = (since, grace);
            }
        } else if self.gone {
            let grace_seconds = if end.is_some() { 1 } else { spec_grace.min(plan::DEFAULT_GRACE_SECONDS) };
            end.get_or_insert(End { since: now, grace_seconds, failure: None });
        }
        if end.is_none() && self.deadline_left().is_some_and(|left| left.is_zero()) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.context.recorder.tell(Subject::pod(&self.pod), Type::Normal, "DeadlineExceeded", message);
            let failure = super::memory::Failure {
                reason: "DeadlineExceeded".to_owned(),
                message: message.to_owned(),
                disruption: None,
            };
            end = Some(End { since: now, grace_seconds: spec_grace, failure: Some(failure) });
        }
        if end.is_none()
            && let Some(failure) = self.context.registry.ended(&self.uid())
        {
            end = Some(End { since: now, grace_seconds: 0, failure: Some(failure) });
        }
        if end.is_some() && self.memory.end.is_none() {
            // Nothing new starts now; what is being pulled is not waited for.
            if let Some(starting) = self.starting.take() {
                starting.abort();
            }
        }
        self.memory.end = end;
    }

    fn deadline_left(&self) -> Option<Duration> {
        if self.memory.end.is_some() || self.memory.finished || plan::is_terminal(&self.pod) {
            return None;
        }
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        let began = self.pod.status.as_ref()?.start_time.as_ref()?.0;
        let over = began + SignedDuration::from_secs(seconds);
        Some(Duration::try_from(over.duration_since(Timestamp::now())).unwrap_or_default())
    }

    /// A container that runs again has no back-off to tell of.
    fn forget_backoffs(&mut self) {
        for seen in &self.observed.containers {
            if seen.is_running() {
                self.told_backoffs.remove(&seen.name);
            }
        }
    }

    fn status(&self, plan: &Plan, now: Timestamp) -> PodStatus {
        let host_ip = self.context.host_ip();
        let around = Surroundings { host_ip: &host_ip, runtime_name: &self.context.runtime_name };
        status::status(&self.pod, &self.observed, &self.memory, plan, around, now)
    }

    fn report(&mut self, plan: &Plan, now: Timestamp) {
        for (name, waiting) in &plan.waiting {
            let count = self.observed.newest(name).map_or(-1, |seen| seen.restart_count);
            if waiting.reason == "CrashLoopBackOff" && self.told_backoffs.get(name) != Some(&count) {
                self.told_backoffs.insert(name.clone(), count);
                let full = plan::full_name(&self.pod);
                let message = format!("Back-off restarting failed container {name} in pod {full}");
                self.context.recorder.tell(self.subject(name), Type::Warning, "BackOff", message);
            }
        }
        if self.reporting || self.gone {
            return;
        }
        let status = self.status(plan, now);
        let delete = self.memory.torn_down && self.pod.metadata.deletion_timestamp.is_some() && !self.deleting;
        let difference = report::status_difference(self.pod.status.as_ref(), &status);
        // What the API did not keep of the last report, it will not keep of the next.
        let is_answer = self.written.is_some() && self.written == self.pod.metadata.resource_version;
        let difference = difference.filter(|difference| !(is_answer && self.sent.as_ref() == Some(difference)));
        if difference.is_none() && !delete {
            return;
        }
        self.reporting = true;
        if difference.is_some() {
            self.sent.clone_from(&difference);
        }
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.pod));
        self.spawn(
            Task::Report,
            async move { Done::Reported(report::report(&context, &pod, difference, delete).await) },
        );
    }

    fn subject(&self, container: &str) -> Subject {
        let kind = self.pod.spec.as_ref().and_then(|spec| containers::find(spec, container));
        let kind = kind.map_or(Kind::Main, |(kind, _)| kind);
        Subject::pod(&self.pod).at(containers::field_path(kind, container))
    }

    /// A failure is first shown as what it is, then as what it waits for; true while one is still fresh.
    fn age_holds(&mut self, now: Timestamp) -> bool {
        let mut fresh = false;
        let mut told = Vec::new();
        for (name, hold) in &mut self.memory.holds {
            let Some((after, later)) = &hold.later else { continue };
            if *after <= now {
                told.push((name.clone(), later.message.clone()));
                hold.waiting = later.clone();
                hold.later = None;
            }
            fresh = true;
        }
        for (name, message) in told {
            let text = message.split(": ErrImagePull").next().unwrap_or_default().to_owned();
            self.context.recorder.tell(self.subject(&name), Type::Normal, "BackOff", text);
            self.context.recorder.tell(self.subject(&name), Type::Warning, "Failed", "Error: ImagePullBackOff");
        }
        fresh
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
        let container = spec.and_then(|spec| containers::find(spec, &name)).map(|(_, container)| container);
        self.memory.actual.insert(name.clone(), container.and_then(|c| c.resources).unwrap_or_default());
        self.memory.busy.start = Some(name.clone());
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.pod));
        let handle = self.spawn(Task::Start(name.clone()), async move {
            let result = execute::start(&context, &pod, start).await;
            Done::Started(name, result)
        });
        self.starting = Some(handle);
    }

    fn finish(&mut self, done: Result<(Id, Done), tokio::task::JoinError>) {
        let done = match done {
            Ok((id, done)) => {
                if let Some(Task::Kill(container)) = self.about.remove(&id)
                    && self.killing.get(&container).is_some_and(|kill| kill.id() == id)
                {
                    self.killing.remove(&container);
                    self.memory.busy.kills.remove(&container);
                }
                done
            }
            Err(error) => {
                let task = self.about.remove(&error.id());
                if error.is_panic() {
                    warn!(pod = self.pod.metadata.name, %error, ?task, "an action broke off");
                }
                match task {
                    Some(Task::Pod) => self.memory.busy.pod = false,
                    Some(Task::Start(_)) => self.memory.busy.start = None,
                    // A second attempt may be under way already.
                    Some(Task::Kill(id)) if self.killing.get(&id).is_some_and(|kill| kill.id() == error.id()) => {
                        self.killing.remove(&id);
                        self.memory.busy.kills.remove(&id);
                    }
                    Some(Task::Report) => self.reporting = false,
                    Some(Task::Refresh) => self.refreshing = false,
                    Some(Task::Resize) => self.resizing = false,
                    Some(Task::Kill(_)) | None => {}
                }
                return;
            }
        };
        match done {
            Done::Prepared(Ok(volumes)) => {
                self.volumes = Arc::new(volumes);
                self.memory.prepared = true;
                self.refreshed = tokio::time::Instant::now();
                self.pod_done(Ok(()));
            }
            Done::Prepared(Err(waiting)) | Done::Sandbox(Err(waiting)) => self.pod_done(Err(waiting)),
            Done::Sandbox(Ok(())) | Done::Stopped => self.pod_done(Ok(())),
            Done::TornDown(Ok(())) => {
                self.memory.torn_down = true;
                self.memory.prepared = false;
                self.pod_done(Ok(()));
            }
            Done::TornDown(Err(message)) => {
                warn!(pod = self.pod.metadata.name, message, "the pod is not torn down yet; trying again");
                self.pod_done(Err(Waiting { reason: "ContainerCreating".to_owned(), message }));
            }
            Done::Started(name, result) => self.started(name, result),
            Done::Killed => {}
            Done::Reported(reported) => {
                self.reporting = false;
                match reported {
                    Reported::Written(pod) => {
                        self.written.clone_from(&pod.metadata.resource_version);
                        self.adopt(Desired::Pod(Arc::new(*pod)));
                    }
                    Reported::Pod(pod) => self.adopt(Desired::Pod(Arc::new(*pod))),
                    Reported::Deleting => self.deleting = true,
                    Reported::Gone => self.gone = true,
                    // The watch, or a look in a second, brings what is needed for the next attempt.
                    Reported::Failed => {}
                }
            }
            Done::Refreshed => self.refreshing = false,
            Done::Resized(done) => {
                self.resizing = false;
                match done {
                    Ok(done) => {
                        self.memory.actual.extend(done);
                        self.memory.failed_resize = None;
                    }
                    Err(message) => {
                        self.memory.failed_resize = Some(message);
                        self.resize_after = tokio::time::Instant::now() + RESIZE_RETRY;
                    }
                }
            }
        }
    }

    fn pod_done(&mut self, result: Result<(), Waiting>) {
        self.memory.busy.pod = false;
        match result {
            Ok(()) => {
                self.memory.pod_hold = None;
                self.retry = FIRST_RETRY;
            }
            Err(waiting) => {
                let until = Timestamp::now() + self.retry;
                self.memory.pod_hold = Some(Hold { waiting, until, later: None });
                self.retry = (self.retry * 2).min(LAST_RETRY);
            }
        }
    }

    fn started(&mut self, name: String, result: Result<(), StartFailure>) {
        self.memory.busy.start = None;
        self.starting = None;
        let now = Timestamp::now();
        let failure = match result {
            Ok(()) => {
                self.memory.holds.remove(&name);
                self.memory.pulls.remove(&name);
                return;
            }
            Err(failure) => failure,
        };
        let hold = if failure.pulled {
            let backoff = BackOff::next(self.memory.pulls.get(&name).copied(), now, now);
            self.memory.pulls.insert(name.clone(), backoff);
            let spec = self.pod.spec.as_ref().and_then(|spec| containers::find(spec, &name));
            let image = spec.and_then(|(_, container)| container.image).unwrap_or_default();
            let message = format!("Back-off pulling image {image:?}: ErrImagePull: {}", failure.waiting.message);
            let later = Waiting { reason: "ImagePullBackOff".to_owned(), message };
            Hold { waiting: failure.waiting, until: now + backoff.delay, later: Some((now + SHOWN, later)) }
        } else if matches!(failure.waiting.reason.as_str(), "RunContainerError" | "PostStartHookError") {
            // The container is there, dead: the restart policy and its back-off decide.
            self.memory.holds.remove(&name);
            return;
        } else {
            Hold { waiting: failure.waiting, until: now + CONFIG_RETRY, later: None }
        };
        self.memory.holds.insert(name, hold);
    }

    /// Looks after the contents of volumes; says when the next look is due.
    fn refresh_due(&mut self) -> Option<Duration> {
        if !self.memory.prepared || self.memory.end.is_some() || !Mounter::is_live(&self.pod) {
            return None;
        }
        let left = REFRESH.saturating_sub(self.refreshed.elapsed());
        if !left.is_zero() || self.refreshing {
            return Some(left.max(LOOK_AGAIN));
        }
        self.refreshing = true;
        // Not all pods at the same moment.
        self.refreshed = tokio::time::Instant::now() - REFRESH.mul_f64(rand::random_range(0.0..0.3));
        let (context, pod, ips) = (Arc::clone(&self.context), Arc::clone(&self.pod), self.ips());
        self.spawn(Task::Refresh, async move {
            context.mounter.refresh(&pod, &context.facts(&ips)).await;
            Done::Refreshed
        });
        None
    }

    /// Notes what containers have that an earlier agent started.
    fn recall_resources(&mut self) {
        for seen in &self.observed.containers {
            if !self.memory.actual.contains_key(&seen.name)
                && let Some(known) = resize::told(&self.pod, seen)
            {
                self.memory.actual.insert(seen.name.clone(), known);
            }
        }
        let ids: Vec<&String> = self.observed.containers.iter().map(|seen| &seen.id).collect();
        self.memory.outgrown.retain(|id| ids.contains(&id));
    }

    /// Brings running containers to resources that were changed in place.
    fn resize(&mut self) {
        let early = tokio::time::Instant::now() < self.resize_after;
        if early || self.resizing || !self.memory.prepared || self.memory.end.is_some() {
            return;
        }
        let Some(spec) = &self.pod.spec else { return };
        let machine = &self.context.node.machine;
        let mut due = resize::due(spec, &self.observed, &self.memory.actual, machine.memory_bytes);
        due.retain(|change| !self.memory.outgrown.contains(&change.id));
        if due.is_empty() {
            self.memory.refused_resize = None;
            return;
        }
        let all = self.context.registry.all();
        let is_other = |pod: &&Arc<Pod>| pod.metadata.uid != self.pod.metadata.uid && !plan::is_terminal(pod);
        let others: Vec<&PodSpec> = all.iter().filter(is_other).filter_map(|pod| pod.spec.as_ref()).collect();
        self.memory.refused_resize = resize::refuse(spec, &others, &object::allocatable(machine));
        if self.memory.refused_resize.is_some() {
            return;
        }
        for change in due.iter().filter(|change| change.restart) {
            self.memory.outgrown.insert(change.id.clone());
        }
        self.resizing = true;
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.pod));
        self.spawn(Task::Resize, async move { Done::Resized(execute::resize(&context, &pod, due).await) });
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
