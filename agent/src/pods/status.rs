//! A pod's status: a pure function of what is wanted, what is seen and what is remembered.
//!
//! Invariants: a terminal phase never changes; what others wrote (conditions that are not ours, nominations) is kept;
//! a container's last known end is not forgotten when the runtime forgets it.
//! Source: <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/>

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::containers::{self, Kind};
use super::memory::Memory;
use super::observed::{self, Observed, State};
use super::plan::Plan;
use super::{resize, resources};

/// What the status says beyond the pod itself.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub host_ip: &'a str,
    /// `containerd` and the like, before container ids.
    pub runtime_name: &'a str,
}

struct Builder<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    former: PodStatus,
    observed: &'a Observed,
    memory: &'a Memory,
    plan: &'a Plan,
    around: Surroundings<'a>,
    now: Timestamp,
}

#[must_use]
pub fn status(
    pod: &Pod,
    observed: &Observed,
    memory: &Memory,
    plan: &Plan,
    around: Surroundings<'_>,
    now: Timestamp,
) -> PodStatus {
    let former = pod.status.clone().unwrap_or_default();
    let Some(spec) = &pod.spec else { return former };
    Builder { pod, spec, former, observed, memory, plan, around, now }.build()
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()).filter(|message| !message.is_empty()),
        }),
        ..Default::default()
    }
}

/// The end of a container of which nothing is known.
fn lost(container_id: Option<String>) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            container_id,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

fn ended(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

impl Builder<'_> {
    fn build(self) -> PodStatus {
        let by_kind = |kinds: &[Kind]| -> Vec<(Kind, Container, ContainerStatus)> {
            containers::all(self.spec)
                .filter(|(kind, _)| kinds.contains(kind))
                .map(|(kind, container)| {
                    let status = self.container(kind, &container);
                    (kind, container, status)
                })
                .collect()
        };
        let init = by_kind(&[Kind::Init, Kind::Sidecar]);
        let main = by_kind(&[Kind::Main]);
        let ephemeral = by_kind(&[Kind::Ephemeral]);
        let mut phase = self.phase(&init, &main);
        if self.will_never_run_again() && !self.is_over(Some(&phase)) {
            // Who waits for the pod's end must see one, also when a finalizer keeps it.
            phase = "Failed".to_owned();
        }
        let mut status = self.former.clone();
        status.conditions = Some(self.conditions(&phase, &init, &main));
        let only = |all: Vec<(Kind, Container, ContainerStatus)>| -> Option<Vec<ContainerStatus>> {
            let statuses: Vec<_> = all.into_iter().map(|(_, _, status)| status).collect();
            (!statuses.is_empty()).then_some(statuses)
        };
        status.init_container_statuses = only(init);
        status.container_statuses = only(main);
        status.ephemeral_container_statuses = only(ephemeral);
        if let Some(failure) = self.memory.end.as_ref().and_then(|end| end.failure.as_ref()) {
            status.reason = Some(failure.reason.clone());
            status.message = Some(failure.message.clone());
        }
        status.phase = Some(phase);
        status.start_time = status.start_time.or(Some(Time(self.now)));
        status.host_ip = Some(self.around.host_ip.to_owned());
        status.host_ips = Some(vec![HostIP { ip: self.around.host_ip.to_owned() }]);
        status.qos_class = Some(status.qos_class.unwrap_or_else(|| resources::qos(self.spec).as_str().to_owned()));
        status.observed_generation = self.pod.metadata.generation;
        let ips = self.ips();
        if let Some(first) = ips.first() {
            status.pod_ip = Some(first.clone());
            status.pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect());
        } else if self.observed.sandboxes.is_empty() && !self.is_over(status.phase.as_deref()) {
            status.pod_ip = None;
            status.pod_ips = None;
        }
        status
    }

    fn will_never_run_again(&self) -> bool {
        self.memory.end.is_some() && self.memory.torn_down
    }

    fn is_over(&self, phase: Option<&str>) -> bool {
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    fn ips(&self) -> Vec<String> {
        if self.spec.host_network == Some(true) {
            let any = !self.observed.sandboxes.is_empty();
            return any.then(|| self.around.host_ip.to_owned()).into_iter().collect();
        }
        self.observed.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    }

    fn former(&self, name: &str) -> Option<&ContainerStatus> {
        let lists = [
            &self.former.init_container_statuses,
            &self.former.container_statuses,
            &self.former.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten().find(|status| status.name == name)
    }

    fn terminated(&self, seen: &observed::Container) -> Option<ContainerStateTerminated> {
        let State::Exited { code, reason, message, finished_at } = &seen.state else { return None };
        let message = self.memory.messages.get(&seen.id).cloned().or_else(|| Some(message.clone()));
        Some(ContainerStateTerminated {
            exit_code: *code,
            reason: Some(reason.clone()).filter(|reason| !reason.is_empty()),
            message: message.filter(|message| !message.is_empty()),
            started_at: Some(Time(seen.started_at)),
            finished_at: Some(Time(*finished_at)),
            container_id: Some(self.id(seen)),
            ..Default::default()
        })
    }

    fn id(&self, seen: &observed::Container) -> String {
        format!("{}://{}", self.around.runtime_name, seen.id)
    }

    fn container(&self, kind: Kind, container: &Container) -> ContainerStatus {
        let name = &container.name;
        let all: Vec<&observed::Container> = self.observed.containers.iter().filter(|c| c.name == *name).collect();
        let Some(seen) = all.first().copied() else { return self.unseen(kind, container) };
        let previous = all.get(1).and_then(|previous| self.terminated(previous));
        let last = previous.map(|ended| ContainerState { terminated: Some(ended), ..Default::default() });
        let last = last.or_else(|| self.former(name).and_then(|former| former.last_state.clone()));
        let mut status = ContainerStatus {
            name: name.clone(),
            image: container.image.clone().filter(|image| !image.is_empty()).unwrap_or_else(|| seen.image.clone()),
            image_id: seen.image_ref.clone(),
            container_id: Some(self.id(seen)),
            restart_count: seen.restart_count,
            last_state: last,
            resources: self.memory.actual.get(name).or(container.resources.as_ref()).cloned(),
            allocated_resources: self.allocated(container),
            started: Some(false),
            ..Default::default()
        };
        match &seen.state {
            State::Running => {
                let health = self.memory.health.get(&seen.id);
                let started = match container.startup_probe {
                    Some(_) => health.is_some_and(|health| health.started == Some(true)),
                    None => true,
                };
                status.state = Some(ContainerState {
                    running: Some(ContainerStateRunning { started_at: Some(Time(seen.started_at)) }),
                    ..Default::default()
                });
                status.started = Some(started);
                let probed = container.readiness_probe.is_none() || health.is_some_and(|h| h.ready == Some(true));
                status.ready = kind != Kind::Ephemeral && started && probed && kind != Kind::Init;
            }
            State::Exited { code, .. } => {
                let ended = self.terminated(seen);
                let ended = ContainerState { terminated: ended, ..Default::default() };
                status.ready = kind == Kind::Init && *code == 0;
                match self.plan.waiting.get(name) {
                    // It waits for its next start: what it ended with is now the past.
                    Some(why) => {
                        status.state = Some(waiting(&why.reason, &why.message));
                        status.last_state = Some(ended);
                    }
                    None => status.state = Some(ended),
                }
            }
            State::Created | State::Unknown => status.state = Some(self.not_yet(kind, name)),
        }
        status
    }

    /// What the node has set aside for it: what is asked for, unless that was refused.
    fn allocated(&self, container: &Container) -> Option<BTreeMap<String, Quantity>> {
        let had = self.memory.actual.get(&container.name).filter(|_| self.memory.refused_resize.is_some());
        let requests = had.or(container.resources.as_ref()).and_then(|resources| resources.requests.clone());
        requests.filter(|requests| !requests.is_empty())
    }

    /// A container that the runtime does not know: it has never run, or its remains are gone.
    fn unseen(&self, kind: Kind, container: &Container) -> ContainerStatus {
        let name = &container.name;
        let mut status = ContainerStatus {
            name: name.clone(),
            image: container.image.clone().unwrap_or_default(),
            started: Some(false),
            ..Default::default()
        };
        let former = self.former(name).filter(|former| former.container_id.is_some());
        let Some(former) = former else {
            status.state = Some(self.not_yet(kind, name));
            return status;
        };
        status.restart_count = former.restart_count;
        status.last_state = former.last_state.clone();
        status.image_id.clone_from(&former.image_id);
        let over = self.memory.end.is_some() || self.memory.finished || super::plan::is_terminal(self.pod);
        if ended(former).is_some() && (over || kind == Kind::Init) {
            return former.clone();
        }
        let lost = lost(former.container_id.clone());
        if over && is_running(former) {
            status.container_id.clone_from(&former.container_id);
            status.state = Some(lost);
            return status;
        }
        if is_running(former) {
            status.last_state = Some(lost);
        } else if let Some(state) = former.state.clone().filter(|state| state.terminated.is_some()) {
            status.last_state = Some(state);
        }
        status.state = Some(self.not_yet(kind, name));
        status
    }

    fn not_yet(&self, kind: Kind, name: &str) -> ContainerState {
        // A pod that was ended before this container began: nobody shall wait for it.
        let failed = self.memory.end.as_ref().is_some_and(|end| end.failure.is_some())
            && self.observed.running().next().is_none()
            && self.former.start_time.is_some();
        if kind == Kind::Main && (failed || self.will_never_run_again()) {
            return lost(None);
        }
        if let Some(why) = self.plan.waiting.get(name) {
            return waiting(&why.reason, &why.message);
        }
        // What failed last is worth saying while it is tried again.
        if let Some(hold) = self.memory.holds.get(name).or(self.memory.pod_hold.as_ref()) {
            return waiting(&hold.waiting.reason, &hold.waiting.message);
        }
        let init = self.spec.init_containers.as_ref().is_some_and(|all| !all.is_empty());
        waiting(if init { "PodInitializing" } else { "ContainerCreating" }, "")
    }

    fn phase(
        &self,
        init: &[(Kind, Container, ContainerStatus)],
        main: &[(Kind, Container, ContainerStatus)],
    ) -> String {
        if let Some(former @ ("Succeeded" | "Failed")) = self.former.phase.as_deref() {
            return former.to_owned();
        }
        let quiet = self.observed.running().next().is_none();
        if let Some(end) = &self.memory.end
            && end.failure.is_some()
        {
            // What still runs is not over: whoever waits for the end may count on it.
            let former = self.former.phase.clone().unwrap_or_else(|| "Pending".to_owned());
            return if quiet { "Failed".to_owned() } else { former };
        }
        let policy = self.spec.restart_policy.as_deref().unwrap_or("Always");
        let (mut pending, mut failed) = (0, 0);
        for (kind, _, status) in init {
            match (ended(status), kind) {
                (Some(end), Kind::Init) if end.exit_code == 0 => {}
                (Some(_), Kind::Init) => {
                    failed += 1;
                    pending += usize::from(policy != "Never");
                }
                (None, Kind::Sidecar) if is_running(status) && status.started == Some(true) => {}
                (Some(_), _) => {}
                _ => pending += 1,
            }
        }
        if failed > 0 && policy == "Never" {
            return if quiet { "Failed" } else { "Pending" }.to_owned();
        }
        let began = main.iter().any(|(_, _, status)| status.container_id.is_some());
        if pending > 0 && !began {
            return "Pending".to_owned();
        }
        let (mut running, mut waiting, mut stopped, mut succeeded, mut again) = (0, 0, 0, 0, 0);
        for (kind, container, status) in main {
            if is_running(status) {
                running += 1;
            } else if let Some(end) = ended(status) {
                stopped += 1;
                succeeded += usize::from(end.exit_code == 0);
                again += usize::from(containers::restarts(self.spec, *kind, container, end.exit_code));
            } else if status.last_state.as_ref().is_some_and(|last| last.terminated.is_some()) {
                stopped += 1;
                again += 1;
            } else {
                waiting += 1;
            }
        }
        let over = self.memory.end.is_some() || self.memory.finished;
        let phase = if waiting > 0 && !over {
            "Pending"
        } else if running > 0 {
            "Running"
        } else if stopped > 0 && waiting == 0 {
            match (again > 0 && !over, stopped == succeeded) {
                (true, _) => "Running",
                // Its sidecars still have to go.
                _ if !quiet => "Running",
                (false, true) => "Succeeded",
                (false, false) => "Failed",
            }
        } else {
            "Pending"
        };
        phase.to_owned()
    }

    fn conditions(
        &self,
        phase: &str,
        init: &[(Kind, Container, ContainerStatus)],
        main: &[(Kind, Container, ContainerStatus)],
    ) -> Vec<PodCondition> {
        let mut conditions = self.former.conditions.clone().unwrap_or_default();
        let mut set = |type_: &str, status: bool, reason: Option<&str>, message: Option<String>| {
            self.set(&mut conditions, type_, status, reason, message);
        };
        let sandbox_ready =
            self.observed.sandbox().is_some_and(|s| self.spec.host_network == Some(true) || !s.ips.is_empty());
        set("PodReadyToStartContainers", sandbox_ready, None, None);

        let completed = phase == "Succeeded";
        let began = main.iter().any(|(_, _, status)| status.container_id.is_some());
        let is_done = |kind: Kind, status: &ContainerStatus| match kind {
            Kind::Sidecar => is_running(status) && status.started == Some(true),
            _ => ended(status).is_some_and(|end| end.exit_code == 0),
        };
        // Once the main containers have begun, this is history.
        let unfinished: Vec<&str> = init
            .iter()
            .filter(|(kind, _, status)| !began && !is_done(*kind, status))
            .map(|(_, container, _)| container.name.as_str())
            .collect();
        if completed {
            set("Initialized", true, Some("PodCompleted"), None);
        } else if unfinished.is_empty() {
            set("Initialized", true, None, None);
        } else {
            let message = format!("containers with incomplete status: [{}]", unfinished.join(" "));
            set("Initialized", false, Some("ContainersNotInitialized"), Some(message));
        }

        let sidecars = init.iter().filter(|(kind, ..)| *kind == Kind::Sidecar);
        let unready: Vec<&str> = sidecars
            .chain(main)
            .filter(|(_, _, status)| !status.ready)
            .map(|(_, container, _)| container.name.as_str())
            .collect();
        let (ready, reason, message) = if completed {
            (false, Some("PodCompleted"), None)
        } else if phase == "Failed" {
            (false, Some("PodFailed"), None)
        } else if unready.is_empty() {
            (true, None, None)
        } else {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            (false, Some("ContainersNotReady"), Some(message))
        };
        set("ContainersReady", ready, reason, message.clone());

        let gates: Vec<String> = self
            .spec
            .readiness_gates
            .iter()
            .flatten()
            .filter_map(|gate| {
                let type_ = &gate.condition_type;
                let found = self.former.conditions.iter().flatten().find(|condition| condition.type_ == *type_);
                match found {
                    None => Some(format!("corresponding condition of pod readiness gate \"{type_}\" does not exist.")),
                    Some(condition) if condition.status != "True" => Some(format!(
                        "the status of pod readiness gate \"{type_}\" is not \"True\", but {}",
                        condition.status
                    )),
                    Some(_) => None,
                }
            })
            .collect();
        if ready && !gates.is_empty() {
            set("Ready", false, Some("ReadinessGatesNotReady"), Some(gates.join(", ")));
        } else {
            set("Ready", ready, reason, message);
        }
        set("PodScheduled", true, None, None);
        if let Some(reason) = self.memory.end.as_ref().and_then(|end| end.failure.as_ref()?.disruption.as_ref()) {
            let message = self.memory.end.as_ref().and_then(|end| Some(end.failure.as_ref()?.message.clone()));
            set("DisruptionTarget", true, Some(reason), message);
        }
        self.resize_conditions(&mut conditions);
        conditions
    }

    /// Changed resources that the node cannot give, or has not set yet. Nothing is said when all is as asked for.
    fn resize_conditions(&self, conditions: &mut Vec<PodCondition>) {
        let refused = self.memory.refused_resize.as_ref();
        let due = !resize::due(self.spec, self.observed, &self.memory.actual, 0).is_empty();
        match refused.filter(|_| due) {
            Some(why) => {
                self.set(conditions, "PodResizePending", true, Some(&why.reason), Some(why.message.clone()));
            }
            None => conditions.retain(|condition| condition.type_ != "PodResizePending"),
        }
        if due && refused.is_none() {
            let failed = self.memory.failed_resize.clone();
            self.set(conditions, "PodResizeInProgress", true, failed.as_ref().map(|_| "Error"), failed);
        } else {
            conditions.retain(|condition| condition.type_ != "PodResizeInProgress");
        }
    }

    fn set(
        &self,
        conditions: &mut Vec<PodCondition>,
        type_: &str,
        status: bool,
        reason: Option<&str>,
        message: Option<String>,
    ) {
        let status = if status { "True" } else { "False" };
        let made = |transition: Option<Time>| PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            message: message.clone(),
            last_transition_time: transition,
            last_probe_time: None,
            observed_generation: self.pod.metadata.generation,
        };
        match conditions.iter_mut().find(|condition| condition.type_ == type_) {
            Some(former) if former.status == status => *former = made(former.last_transition_time.clone()),
            Some(former) => *former = made(Some(Time(self.now))),
            None => conditions.push(made(Some(Time(self.now)))),
        }
    }
}
