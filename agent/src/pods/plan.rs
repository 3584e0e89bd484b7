//! What to do next for a pod: a pure function of what is wanted, what is seen and what is remembered.
//!
//! Invariants: nothing is planned that is already under way; an init container runs only after all before it have
//! succeeded; nothing starts in a pod that has to end; a sandbox is stopped only when nothing runs in it, and what the
//! pod holds on the node is torn down only when no sandbox is left.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::containers::{self, Kind, restarts};
use super::memory::{Memory, Waiting};
use super::observed::{self, Observed, State};

pub const DEFAULT_GRACE_SECONDS: i64 = 30;
/// Upstream's least time between a container's stop signal and its kill.
const MIN_GRACE_SECONDS: i64 = 1;
/// A sidecar gets at least this, even when the others have used up the pod's time.
const MIN_SIDECAR_GRACE_SECONDS: i64 = 2;
/// Upstream's container garbage collection keeps one dead instance per container.
const KEPT_DEAD: usize = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Folders, cgroup, volumes.
    Prepare,
    CreateSandbox {
        attempt: u32,
    },
    /// Pulls if needed, makes and starts the container, runs its postStart hook.
    Start {
        name: String,
        sandbox: String,
        restart_count: i32,
    },
    /// Runs the preStop hook, stops, kills after the grace period.
    Kill {
        id: String,
        name: String,
        grace_seconds: i64,
        why: Why,
    },
    /// Removes a container that is dead or was never started.
    Remove {
        id: String,
    },
    StopSandbox {
        id: String,
    },
    /// Removes a sandbox of the past.
    RemoveSandbox {
        id: String,
    },
    /// Undoes `Prepare`.
    TearDown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The pod ends, or its sandbox has gone.
    PodEnds,
    /// The container alone: what the event says.
    Replaced(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// By container name: why it has to wait.
    pub waiting: BTreeMap<String, Waiting>,
    /// When to plan again if nothing else happens.
    pub wake: Option<Timestamp>,
    /// The pod has run to its end by itself.
    pub finished: bool,
}

impl Plan {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |former| former.min(at)));
    }

    fn starts_anything(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Start { .. }))
    }
}

struct Planner<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    observed: &'a Observed,
    memory: &'a Memory,
    now: Timestamp,
    plan: Plan,
}

/// The next steps for `pod`. They may be carried out at the same time, in any order.
#[must_use]
pub fn plan(pod: &Pod, observed: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let Some(spec) = &pod.spec else { return Plan::default() };
    let mut planner = Planner { pod, spec, observed, memory, now, plan: Plan::default() };
    planner.run();
    planner.plan
}

/// Whether the API says that the pod has already ended.
#[must_use]
pub fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// How far the init containers are.
enum Init {
    Done,
    Underway,
    Failed,
}

impl Planner<'_> {
    fn run(&mut self) {
        if let Some(end) = &self.memory.end {
            let deadline = end.since + SignedDuration::from_secs(end.grace_seconds.max(MIN_GRACE_SECONDS));
            self.end(deadline);
            return;
        }
        if self.memory.finished || is_terminal(self.pod) {
            self.plan.finished = true;
            self.end(self.now + SignedDuration::from_secs(self.grace_seconds()));
            return;
        }
        if self.memory.busy.pod {
            return;
        }
        if let Some(hold) = &self.memory.pod_hold {
            for (_, container) in containers::all(self.spec) {
                self.plan.waiting.insert(container.name, hold.waiting.clone());
            }
            if hold.until > self.now {
                self.plan.wake_at(hold.until);
                return;
            }
        }
        if !self.memory.prepared {
            self.plan.actions.push(Action::Prepare);
            return;
        }
        match self.observed.sandbox().map(|sandbox| sandbox.id.clone()) {
            Some(sandbox) => self.run_in(&sandbox),
            None => self.replace_sandbox(),
        }
    }

    fn grace_seconds(&self) -> i64 {
        self.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS).max(MIN_GRACE_SECONDS)
    }

    /// There is no sandbox to run in: the pod is new, or its sandbox has died.
    fn replace_sandbox(&mut self) {
        let deadline = self.now + SignedDuration::from_secs(self.grace_seconds());
        for container in self.observed.running() {
            self.kill(container, deadline, Why::PodEnds);
        }
        if !self.plan.actions.is_empty() || !self.memory.busy.kills.is_empty() {
            return;
        }
        let ran_before = !self.observed.containers.is_empty();
        let all_over = self.spec.containers.iter().all(|container| {
            let code = self.observed.newest(&container.name).and_then(observed::Container::exit_code);
            code.is_some_and(|code| !restarts(self.spec, Kind::Main, container, code))
        });
        let policy = self.spec.restart_policy.as_deref();
        if (ran_before && policy == Some("Never")) || all_over {
            self.plan.finished = true;
            self.end(deadline);
            return;
        }
        let attempt = self.observed.sandboxes.first().map_or(0, |sandbox| sandbox.attempt + 1);
        self.plan.actions.push(Action::CreateSandbox { attempt });
    }

    fn run_in(&mut self, sandbox: &str) {
        self.clear_the_past(sandbox);
        match self.run_init(sandbox) {
            Init::Done => self.run_main(sandbox),
            Init::Underway => {}
            Init::Failed => self.finish(),
        }
        for container in self.spec.ephemeral_containers.iter().flatten() {
            let name = &container.name;
            if !self.plan.finished && self.observed.newest(name).is_none() {
                self.start(name, sandbox, None);
            }
        }
    }

    /// Containers of former sandboxes must not go on; dead ones beyond the last are thrown away.
    fn clear_the_past(&mut self, sandbox: &str) {
        let deadline = self.now + SignedDuration::from_secs(self.grace_seconds());
        let observed = self.observed;
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for container in &observed.containers {
            if !container.has_exited() {
                if container.sandbox != sandbox {
                    self.kill(container, deadline, Why::PodEnds);
                }
                continue;
            }
            let dead = seen.entry(&container.name).or_default();
            *dead += 1;
            // One more than the newest: `kubectl logs --previous` reads it.
            if *dead > KEPT_DEAD + 1 {
                self.plan.actions.push(Action::Remove { id: container.id.clone() });
            }
        }
        for old in observed.sandboxes.iter().filter(|old| old.id != sandbox) {
            if old.ready {
                self.plan.actions.push(Action::StopSandbox { id: old.id.clone() });
            } else if !observed.containers.iter().any(|container| container.sandbox == old.id) {
                self.plan.actions.push(Action::RemoveSandbox { id: old.id.clone() });
            }
        }
    }

    fn run_init(&mut self, sandbox: &str) -> Init {
        let main_began = self.spec.containers.iter().any(|c| self.observed.newest_in(sandbox, &c.name).is_some());
        for container in self.spec.init_containers.iter().flatten() {
            let kind = containers::init_kind(container);
            if main_began && kind == Kind::Init {
                continue;
            }
            let newest = self.observed.newest_in(sandbox, &container.name);
            let Some(newest) = newest else {
                self.start(&container.name, sandbox, None);
                if main_began {
                    continue;
                }
                return Init::Underway;
            };
            match (&newest.state, kind) {
                (State::Running, Kind::Sidecar) => {
                    let replaced = self.replace_if_sick(container, newest);
                    if !main_began && (replaced || !self.has_started(container, newest)) {
                        return Init::Underway;
                    }
                }
                (State::Running, _) => {
                    return Init::Underway;
                }
                (State::Exited { code: 0, .. }, Kind::Init) => {}
                (State::Exited { code, .. }, _) => {
                    if !restarts(self.spec, kind, container, *code) {
                        return Init::Failed;
                    }
                    self.start(&container.name, sandbox, Some(newest));
                    if !main_began {
                        return Init::Underway;
                    }
                }
                (State::Created | State::Unknown, _) => {
                    self.discard(newest);
                    if !main_began {
                        return Init::Underway;
                    }
                }
            }
        }
        Init::Done
    }

    fn run_main(&mut self, sandbox: &str) {
        let mut over = true;
        for container in &self.spec.containers {
            let newest = self.observed.newest_in(sandbox, &container.name);
            // Between two sandboxes only the former one knows that this container is done.
            let newest = newest.or_else(|| self.observed.newest(&container.name).filter(|c| c.has_exited()));
            let Some(newest) = newest else {
                over = false;
                self.start(&container.name, sandbox, None);
                continue;
            };
            match &newest.state {
                State::Running => {
                    over = false;
                    self.replace_if_sick(container, newest);
                }
                State::Created | State::Unknown => {
                    over = false;
                    self.discard(newest);
                }
                State::Exited { code, .. } => {
                    let changed = !newest.hash.is_empty() && newest.hash != containers::hash(container);
                    if changed
                        || self.memory.outgrown.contains(&newest.id)
                        || restarts(self.spec, Kind::Main, container, *code)
                    {
                        over = false;
                        self.start(&container.name, sandbox, Some(newest));
                    }
                }
            }
        }
        if over {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.plan.finished = true;
        // What was planned before (the restart of a sidecar) no longer matters.
        self.plan.actions.clear();
        let deadline = self.now + SignedDuration::from_secs(self.grace_seconds());
        self.end(deadline);
    }

    /// Whether a sidecar lets the next container start.
    fn has_started(&self, container: &Container, seen: &observed::Container) -> bool {
        let health = self.memory.health.get(&seen.id);
        let probed = container.startup_probe.is_none() || health.is_some_and(|health| health.started == Some(true));
        // Its postStart hook is part of its start.
        probed && self.memory.busy.start.as_ref() != Some(&container.name)
    }

    /// Ends a running container whose image was changed or whose probes have failed; what comes then is decided then.
    fn replace_if_sick(&mut self, container: &Container, seen: &observed::Container) -> bool {
        let name = &container.name;
        let mut grace = self.grace_seconds();
        let why = if !seen.hash.is_empty() && seen.hash != containers::hash(container) {
            format!("Container {name} definition changed, will be restarted")
        } else if self.memory.outgrown.contains(&seen.id) {
            format!("Container {name} resize requires restart")
        } else if let Some((failure, own_grace)) = self.memory.health.get(&seen.id).and_then(|h| h.failed.clone()) {
            grace = own_grace.unwrap_or(grace).max(MIN_GRACE_SECONDS);
            failure
        } else {
            return false;
        };
        self.kill(seen, self.now + SignedDuration::from_secs(grace), Why::Replaced(why));
        true
    }

    /// A container that was made but never started, or that the runtime has lost: the start was interrupted.
    fn discard(&mut self, seen: &observed::Container) {
        if self.memory.busy.start.as_ref() == Some(&seen.name) || self.memory.busy.kills.contains_key(&seen.id) {
            return;
        }
        match seen.state {
            State::Unknown => self.kill(seen, self.now + SignedDuration::from_secs(self.grace_seconds()), Why::PodEnds),
            _ => self.plan.actions.push(Action::Remove { id: seen.id.clone() }),
        }
    }

    fn start(&mut self, name: &str, sandbox: &str, after: Option<&observed::Container>) {
        if self.memory.busy.start.as_deref() == Some(name) {
            return;
        }
        if let Some(hold) = self.memory.holds.get(name)
            && hold.until > self.now
        {
            self.plan.waiting.insert(name.to_owned(), hold.waiting.clone());
            self.plan.wake_at(hold.until);
            return;
        }
        if let Some(State::Exited { finished_at, .. }) = after.map(|seen| &seen.state)
            && let Some(backoff) = self.memory.restarts.get(name)
            && let Some(until) = backoff.until(*finished_at)
            && until > self.now
        {
            let message = format!(
                "back-off {} restarting failed container={name} pod={}",
                delay(backoff.delay),
                full_name(self.pod)
            );
            let waiting = Waiting { reason: "CrashLoopBackOff".to_owned(), message };
            self.plan.waiting.insert(name.to_owned(), waiting);
            self.plan.wake_at(until);
            return;
        }
        // Containers start one after the other, in their order.
        if self.memory.busy.start.is_some() || self.plan.starts_anything() {
            return;
        }
        let restart_count = self.next_restart_count(name);
        self.plan.actions.push(Action::Start { name: name.to_owned(), sandbox: sandbox.to_owned(), restart_count });
    }

    /// One more than the newest instance, be it one that only the API still remembers.
    fn next_restart_count(&self, name: &str) -> i32 {
        if let Some(newest) = self.observed.newest(name) {
            return newest.restart_count + 1;
        }
        let status = self.pod.status.as_ref();
        let all = status.into_iter().flat_map(|status| {
            let (init, main) = (status.init_container_statuses.iter(), status.container_statuses.iter());
            init.chain(main).flatten()
        });
        let former = all.into_iter().find(|status| status.name == name);
        former.filter(|status| status.container_id.is_some()).map_or(0, |status| status.restart_count + 1)
    }

    fn kill(&mut self, seen: &observed::Container, deadline: Timestamp, why: Why) {
        // A deadline that passed before anybody could act on it (the agent was away) is now, and stays that.
        let deadline = deadline.max(self.now);
        // Again only if it is to be over noticeably sooner than the attempt under way.
        let sooner = SignedDuration::from_secs(1);
        if self.memory.busy.kills.get(&seen.id).is_some_and(|until| deadline + sooner >= *until) {
            return;
        }
        let left = deadline.duration_since(self.now);
        let grace_seconds = (left + SignedDuration::from_millis(999)).as_secs().max(0);
        self.plan.actions.push(Action::Kill { id: seen.id.clone(), name: seen.name.clone(), grace_seconds, why });
    }

    fn end(&mut self, deadline: Timestamp) {
        if self.memory.busy.pod || self.memory.torn_down {
            return;
        }
        let sidecars: Vec<&str> = self
            .spec
            .init_containers
            .iter()
            .flatten()
            .filter(|container| containers::init_kind(container) == Kind::Sidecar)
            .map(|container| container.name.as_str())
            .collect();
        let observed = self.observed;
        let place = |seen: &observed::Container| sidecars.iter().position(|name| *name == seen.name);
        let mut others_run = false;
        for seen in observed.running().filter(|seen| place(seen).is_none()) {
            others_run = true;
            self.end_one(seen, deadline);
        }
        if others_run {
            return;
        }
        // Sidecars go last to first, each after the one behind it.
        if let Some(seen) = observed.running().max_by_key(|seen| place(seen)) {
            let least = self.now + SignedDuration::from_secs(MIN_SIDECAR_GRACE_SECONDS);
            self.end_one(seen, deadline.max(least));
            return;
        }
        if self.memory.busy.start.is_some() || !self.memory.busy.kills.is_empty() {
            return;
        }
        let ready = observed.sandboxes.iter().filter(|sandbox| sandbox.ready);
        self.plan.actions.extend(ready.map(|sandbox| Action::StopSandbox { id: sandbox.id.clone() }));
        if self.plan.actions.is_empty() {
            match &self.memory.pod_hold {
                Some(hold) if hold.until > self.now => self.plan.wake_at(hold.until),
                _ => self.plan.actions.push(Action::TearDown),
            }
        }
    }

    fn end_one(&mut self, seen: &observed::Container, deadline: Timestamp) {
        match seen.state {
            State::Created => self.plan.actions.push(Action::Remove { id: seen.id.clone() }),
            _ => self.kill(seen, deadline, Why::PodEnds),
        }
    }
}

/// `name_namespace(uid)`, as messages name a pod.
#[must_use]
pub fn full_name(pod: &Pod) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let metadata = &pod.metadata;
    format!("{}_{}({})", text(&metadata.name), text(&metadata.namespace), text(&metadata.uid))
}

/// A delay as Go prints it: `10s`, `2m40s`, `5m0s`.
#[must_use]
pub fn delay(delay: SignedDuration) -> String {
    let seconds = delay.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
