//! The plan by tables, and against a simulated node that does what is planned, badly.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::memory::{BackOff, End, Health, Hold};
use super::super::observed::Sandbox;
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec})).unwrap()
}

fn named(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name, "image": "i:1"})).collect()
}

/// Containers as `name state` (`running`, `created`, or an exit code), newest last, all in sandbox `s`.
fn seen(pod: &Pod, list: &[(&str, &str)]) -> Observed {
    let mut observed = Observed::default();
    observed.sandboxes.push(Sandbox { id: "s".into(), attempt: 0, ready: true, created_at: 0, ips: vec![] });
    for (index, (name, state)) in list.iter().enumerate() {
        let state = match *state {
            "running" => State::Running,
            "created" => State::Created,
            code => State::Exited {
                code: code.parse().unwrap(),
                reason: String::new(),
                message: String::new(),
                finished_at: at(0),
            },
        };
        let hash =
            containers::find(pod.spec.as_ref().unwrap(), name).map(|(_, c)| containers::hash(&c)).unwrap_or_default();
        observed.containers.insert(
            0,
            observed::Container {
                id: format!("{name}-{index}"),
                name: (*name).into(),
                sandbox: "s".into(),
                restart_count: 0,
                hash,
                state,
                created_at: at(index as i64),
                started_at: at(index as i64),
                image: String::new(),
                image_ref: String::new(),
                log_path: String::new(),
            },
        );
    }
    observed
}

fn prepared() -> Memory {
    Memory { prepared: true, ..Memory::default() }
}

fn short(plan: &Plan) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Prepare => "prepare".to_owned(),
        Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Action::Start { name, .. } => format!("start {name}"),
        Action::Kill { name, grace_seconds, .. } => format!("kill {name} {grace_seconds}"),
        Action::Remove { id } => format!("remove {id}"),
        Action::StopSandbox { .. } => "stop".to_owned(),
        Action::RemoveSandbox { id } => format!("remove sandbox {id}"),
        Action::TearDown => "tear down".to_owned(),
    };
    plan.actions.iter().map(word).collect()
}

fn check(spec: Value, list: &[(&str, &str)], memory: &Memory, want: &[&str]) -> Plan {
    let pod = pod(spec.clone());
    let plan = plan(&pod, &seen(&pod, list), memory, at(1));
    assert_eq!(short(&plan), want, "{spec} with {list:?}");
    plan
}

#[test]
fn a_new_pod_is_prepared_then_gets_its_sandbox() {
    let pod = pod(json!({"containers": named(&["a"])}));
    let observed = Observed::default();
    assert_eq!(short(&plan(&pod, &observed, &Memory::default(), at(0))), ["prepare"]);
    assert_eq!(short(&plan(&pod, &observed, &prepared(), at(0))), ["sandbox 0"]);
    let busy = Memory { busy: super::super::memory::Busy { pod: true, ..Default::default() }, ..prepared() };
    assert!(plan(&pod, &observed, &busy, at(0)).actions.is_empty());
}

#[test]
fn containers_start_one_by_one_in_order() {
    let spec = json!({"initContainers": named(&["i1", "i2"]), "containers": named(&["a", "b"])});
    let memory = prepared();
    check(spec.clone(), &[], &memory, &["start i1"]);
    check(spec.clone(), &[("i1", "running")], &memory, &[]);
    check(spec.clone(), &[("i1", "0")], &memory, &["start i2"]);
    check(spec.clone(), &[("i1", "0"), ("i2", "0")], &memory, &["start a"]);
    check(spec.clone(), &[("i1", "0"), ("i2", "0"), ("a", "running")], &memory, &["start b"]);
    // Once the main containers have begun, the init containers are history, found or not.
    check(spec, &[("a", "running"), ("b", "running")], &memory, &[]);
}

#[test]
fn restart_policies() {
    for (policy, state, want) in [
        ("Always", "0", &["start a"][..]),
        ("Always", "1", &["start a"]),
        ("OnFailure", "1", &["start a"]),
        ("OnFailure", "0", &["stop"]),
        ("Never", "1", &["stop"]),
        ("Never", "created", &["remove a-0"]),
    ] {
        let plan =
            check(json!({"restartPolicy": policy, "containers": named(&["a"])}), &[("a", state)], &prepared(), want);
        assert_eq!(plan.finished, want == ["stop"]);
    }
}

#[test]
fn a_crash_loop_waits() {
    let mut memory = prepared();
    memory.restarts.insert("a".into(), BackOff::next(None, at(0), at(0)));
    let plan = check(json!({"containers": named(&["a"])}), &[("a", "1")], &memory, &[]);
    assert_eq!(plan.waiting["a"].reason, "CrashLoopBackOff");
    assert_eq!(plan.waiting["a"].message, "back-off 10s restarting failed container=a pod=p_n(u)");
    assert_eq!(plan.wake, Some(at(10)));
}

#[test]
fn a_hold_keeps_only_its_own_container_back() {
    let mut memory = prepared();
    let waiting = Waiting { reason: "ErrImagePull".into(), message: String::new() };
    memory.holds.insert("a".into(), Hold { waiting, until: at(9), later: None });
    let plan = check(json!({"containers": named(&["a", "b"])}), &[], &memory, &["start b"]);
    assert_eq!((plan.waiting["a"].reason.as_str(), plan.wake), ("ErrImagePull", Some(at(9))));
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let spec =
        |policy: &str| json!({"restartPolicy": policy, "initContainers": named(&["i"]), "containers": named(&["a"])});
    check(spec("Never"), &[("i", "1")], &prepared(), &["stop"]);
    check(spec("OnFailure"), &[("i", "1")], &prepared(), &["start i"]);
}

fn with_sidecars() -> Value {
    let sidecar = |name: &str| json!({"name": name, "image": "i:1", "restartPolicy": "Always"});
    json!({"restartPolicy": "Never", "initContainers": [sidecar("s1"), sidecar("s2")], "containers": named(&["a"])})
}

#[test]
fn sidecars_run_beside_and_end_last_to_first() {
    let memory = prepared();
    check(with_sidecars(), &[("s1", "running")], &memory, &["start s2"]);
    check(with_sidecars(), &[("s1", "running"), ("s2", "running")], &memory, &["start a"]);
    let both = [("s1", "running"), ("s2", "running"), ("a", "running")];
    check(with_sidecars(), &both, &memory, &[]);
    check(with_sidecars(), &[("s1", "1"), ("s2", "running"), ("a", "running")], &memory, &["start s1"]);
    check(with_sidecars(), &[("s1", "running"), ("s2", "running"), ("a", "0")], &memory, &["kill s2 30"]);
    check(with_sidecars(), &[("s1", "running"), ("s2", "0"), ("a", "0")], &memory, &["kill s1 30"]);
    check(with_sidecars(), &[("s1", "0"), ("s2", "0"), ("a", "0")], &memory, &["stop"]);
    let end = End { since: at(0), grace_seconds: 10, failure: None };
    check(with_sidecars(), &both, &Memory { end: Some(end), ..memory }, &["kill a 9"]);
}

#[test]
fn a_startup_probe_holds_back_what_comes_after() {
    let mut spec = with_sidecars();
    spec["initContainers"][0]["startupProbe"] = json!({"tcpSocket": {"port": 1}});
    check(spec.clone(), &[("s1", "running")], &prepared(), &[]);
    let mut memory = prepared();
    memory.health.insert("s1-0".into(), Health { started: Some(true), ..Health::default() });
    check(spec, &[("s1", "running")], &memory, &["start s2"]);
}

#[test]
fn sick_and_changed_containers_are_replaced() {
    let spec = json!({"terminationGracePeriodSeconds": 7, "containers": named(&["a", "b"])});
    let mut memory = prepared();
    memory.health.insert("a-0".into(), Health { failed: Some(("x".into(), Some(3))), ..Health::default() });
    let running = [("a", "running"), ("b", "running")];
    check(spec.clone(), &running, &memory, &["kill a 3"]);
    memory.health.insert("a-0".into(), Health { failed: Some(("x".into(), None)), ..Health::default() });
    check(spec.clone(), &running, &memory, &["kill a 7"]);
    memory.busy.kills.insert("a-0".into(), at(8));
    check(spec, &running, &memory, &[]);

    let pod = pod(json!({"restartPolicy": "Never", "containers": named(&["a"])}));
    let mut observed = seen(&pod, &[("a", "running")]);
    observed.containers[0].hash = "other".into();
    assert_eq!(short(&plan(&pod, &observed, &prepared(), at(0))), ["kill a 30"]);
    observed = seen(&pod, &[("a", "1")]);
    observed.containers[0].hash = "other".into();
    assert_eq!(short(&plan(&pod, &observed, &prepared(), at(0))), ["start a"], "whatever the restart policy");
}

#[test]
fn what_should_have_ended_long_ago_is_killed_once() {
    let mut memory = prepared();
    memory.end = Some(End { since: at(-100), grace_seconds: 1, failure: None });
    let spec = json!({"containers": named(&["a"])});
    check(spec.clone(), &[("a", "running")], &memory, &["kill a 0"]);
    // The attempt began at 0, and is to be over at once: the next look at 1 must not break it off.
    memory.busy.kills.insert("a-0".into(), at(0));
    check(spec, &[("a", "running")], &memory, &[]);
}

#[test]
fn a_shorter_grace_period_overtakes_a_longer_one() {
    let spec = json!({"containers": named(&["a"])});
    let mut memory = prepared();
    memory.busy.kills.insert("a-0".into(), at(60));
    memory.end = Some(End { since: at(0), grace_seconds: 60, failure: None });
    check(spec.clone(), &[("a", "running")], &memory, &[]);
    memory.end = Some(End { since: at(0), grace_seconds: 0, failure: None });
    check(spec, &[("a", "running")], &memory, &["kill a 0"]);
}

#[test]
fn a_dead_sandbox_is_replaced_unless_the_pod_is_over() {
    for (policy, state, want) in [
        ("Always", "255", vec!["sandbox 1"]),
        ("OnFailure", "255", vec!["sandbox 1"]),
        ("OnFailure", "0", vec!["tear down"]),
        ("Never", "255", vec!["tear down"]),
    ] {
        let pod = pod(json!({"restartPolicy": policy, "containers": named(&["a"])}));
        let mut observed = seen(&pod, &[("a", state)]);
        observed.sandboxes[0].ready = false;
        assert_eq!(short(&plan(&pod, &observed, &prepared(), at(0))), want, "{policy} {state}");
    }
}

#[test]
fn what_is_terminal_in_the_api_never_starts_again() {
    let mut pod = pod(json!({"containers": named(&["a"])}));
    pod.status = Some(serde_json::from_value(json!({"phase": "Failed"})).unwrap());
    assert_eq!(short(&plan(&pod, &Observed::default(), &Memory::default(), at(0))), ["tear down"]);
    assert_eq!(short(&plan(&pod, &seen(&pod, &[("a", "running")]), &Memory::default(), at(0))), ["kill a 30"]);
    let torn = Memory { torn_down: true, ..Memory::default() };
    assert!(plan(&pod, &Observed::default(), &torn, at(0)).actions.is_empty());
}

#[test]
fn the_dead_do_not_pile_up() {
    let list = [("a", "1"), ("a", "1"), ("a", "1"), ("a", "running")];
    check(json!({"containers": named(&["a"])}), &list, &prepared(), &["remove a-0"]);
}

#[test]
fn the_restart_count_outlives_the_runtimes_memory() {
    let mut pod = pod(json!({"containers": named(&["a"])}));
    pod.status = Some(
        serde_json::from_value(json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false,
            "restartCount": 4, "containerID": "containerd://x"}]}))
        .unwrap(),
    );
    let plan = plan(&pod, &seen(&pod, &[]), &prepared(), at(0));
    assert!(matches!(plan.actions[..], [Action::Start { restart_count: 5, .. }]), "{plan:?}");
}

/// A node that carries plans out, with luck drawn from `dice`.
struct World {
    pod: Pod,
    observed: Observed,
    memory: Memory,
    now: Timestamp,
    next: usize,
    starts: BTreeMap<String, usize>,
    crashed: bool,
}

impl World {
    fn new(pod: Pod) -> Self {
        let (observed, memory) = (Observed::default(), Memory::default());
        Self { pod, observed, memory, now: at(0), next: 0, starts: BTreeMap::new(), crashed: false }
    }

    fn exit(&mut self, id: &str, code: i32) {
        let finished_at = self.now;
        for container in self.observed.containers.iter_mut().filter(|container| container.id == id) {
            if !container.has_exited() {
                let (reason, message) = (String::new(), String::new());
                container.state = State::Exited { code, reason, message, finished_at };
            }
        }
    }

    fn assert_may_start(&self, name: &str, sandbox: &str) {
        assert!(self.memory.end.is_none() && !self.memory.finished, "{name} starts in a pod that ends");
        let spec = self.pod.spec.as_ref().unwrap();
        let (kind, _) = containers::find(spec, name).unwrap();
        let newest = self.observed.newest_in(sandbox, name);
        assert!(newest.is_none_or(observed::Container::has_exited), "{name} runs twice");
        let began = spec.containers.iter().any(|c| self.observed.newest_in(sandbox, &c.name).is_some());
        for earlier in spec.init_containers.iter().flatten().take_while(|c| c.name != name) {
            let seen = self.observed.newest_in(sandbox, &earlier.name);
            let fine = match containers::init_kind(earlier) {
                Kind::Init => seen.and_then(observed::Container::exit_code) == Some(0),
                _ => seen.is_some_and(observed::Container::is_running),
            };
            assert!(fine || began || kind == Kind::Ephemeral, "{name} starts before {} is done", earlier.name);
        }
    }

    /// Plans once and does it all; `dice` decide what goes wrong. True when there was something to do.
    fn step(&mut self, dice: &[u8; 4]) -> bool {
        let plan = plan(&self.pod, &self.observed, &self.memory, self.now);
        assert_eq!(plan, super::plan(&self.pod, &self.observed, &self.memory, self.now), "the same twice");
        self.memory.finished |= plan.finished;
        let acted = !plan.actions.is_empty();
        for action in plan.actions {
            self.act(action, dice);
        }
        if !acted {
            self.now = plan.wake.map_or(self.now + SignedDuration::from_secs(1), |wake| wake.max(self.now));
        }
        acted
    }

    fn act(&mut self, action: Action, dice: &[u8; 4]) {
        match action {
            Action::Prepare => self.memory.prepared = true,
            Action::CreateSandbox { attempt } => {
                assert!(self.memory.prepared && self.observed.sandbox().is_none());
                assert!(self.observed.running().next().is_none(), "a new sandbox beside running containers");
                let sandbox = Sandbox {
                    id: format!("s{attempt}"),
                    attempt,
                    ready: !dice[0].is_multiple_of(5),
                    created_at: i64::from(attempt),
                    ips: vec![],
                };
                self.observed.sandboxes.insert(0, sandbox);
            }
            Action::Start { name, sandbox, restart_count } => {
                self.assert_may_start(&name, &sandbox);
                *self.starts.entry(name.clone()).or_default() += 1;
                let (kind, container) = containers::find(self.pod.spec.as_ref().unwrap(), &name).unwrap();
                if let Some(State::Exited { finished_at, .. }) =
                    self.observed.newest(&name).map(|seen| seen.state.clone())
                {
                    let former = self.memory.restarts.get(&name).copied();
                    self.memory.restarts.insert(name.clone(), BackOff::next(former, finished_at, self.now));
                }
                let newest = self.observed.newest(&name);
                assert!(newest.is_none_or(|newest| restart_count > newest.restart_count), "{name}: counts go up");
                let code = match dice[1] % 6 {
                    0 => Some(1),
                    1 | 2 if kind == Kind::Init => Some(0),
                    3 if kind == Kind::Main => Some(0),
                    _ => None,
                };
                let state = if dice[2].is_multiple_of(9) { State::Created } else { State::Running };
                self.next += 1;
                let id = format!("c{}", self.next);
                self.observed.containers.insert(
                    0,
                    observed::Container {
                        id: id.clone(),
                        name,
                        sandbox,
                        restart_count,
                        hash: containers::hash(&container),
                        state,
                        created_at: self.now + SignedDuration::from_nanos(self.next as i64),
                        started_at: self.now,
                        image: String::new(),
                        image_ref: String::new(),
                        log_path: String::new(),
                    },
                );
                if let Some(code) = code {
                    self.exit(&id, code);
                }
            }
            Action::Kill { id, .. } => self.exit(&id, 137),
            Action::Remove { id } => {
                let gone = self.observed.containers.iter().find(|c| c.id == id).unwrap();
                assert!(!gone.is_running(), "a running container is removed");
                self.observed.containers.retain(|container| container.id != id);
            }
            Action::StopSandbox { id } => {
                let inside = self.observed.running().any(|container| container.sandbox == id);
                assert!(!inside, "a sandbox is stopped with containers running in it");
                self.observed.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.ready = false);
            }
            Action::RemoveSandbox { id } => self.observed.sandboxes.retain(|sandbox| sandbox.id != id),
            Action::TearDown => {
                assert!(self.observed.sandboxes.iter().all(|sandbox| !sandbox.ready));
                assert!(self.observed.running().next().is_none());
                self.memory.torn_down = true;
            }
        }
    }
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let policy = prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")];
    (policy, proptest::collection::vec(any::<bool>(), 0..4), 1..4_usize).prop_map(|(policy, init, main)| {
        let init: Vec<Value> = init
            .into_iter()
            .enumerate()
            .map(|(index, sidecar)| match sidecar {
                true => json!({"name": format!("i{index}"), "image": "i", "restartPolicy": "Always"}),
                false => json!({"name": format!("i{index}"), "image": "i"}),
            })
            .collect();
        let main: Vec<Value> = (0..main).map(|index| json!({"name": format!("m{index}"), "image": "i"})).collect();
        pod(json!({"restartPolicy": policy, "initContainers": init, "containers": main}))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold_and_the_end_comes(
        pod in any_pod(),
        dice in proptest::collection::vec(any::<[u8; 4]>(), 1..80),
    ) {
        let never = pod.spec.as_ref().unwrap().restart_policy.as_deref() == Some("Never");
        let sidecars: Vec<String> = containers::all(pod.spec.as_ref().unwrap())
            .filter(|(kind, _)| *kind == Kind::Sidecar).map(|(_, container)| container.name).collect();
        let mut world = World::new(pod);
        let mut interrupted = false;
        for dice in &dice {
            let acted = world.step(dice);
            if !acted {
                match dice[3] % 8 {
                    // A container ends by itself; a sandbox dies with all that is in it.
                    0..=2 => {
                        let running: Vec<String> = world.observed.running().filter(|c| c.is_running()).map(|c| c.id.clone()).collect();
                        if let Some(id) = running.get(usize::from(dice[2]) % running.len().max(1)) {
                            world.exit(id, i32::from(dice[1] % 2));
                        }
                    }
                    3 => {
                        world.crashed |= !world.observed.sandboxes.is_empty();
                        world.observed.sandboxes.iter_mut().for_each(|sandbox| sandbox.ready = false);
                        let all: Vec<String> = world.observed.containers.iter().map(|c| c.id.clone()).collect();
                        all.iter().for_each(|id| world.exit(id, 255));
                    }
                    _ => {}
                }
            }
            interrupted |= world.observed.containers.iter().any(|c| c.state == State::Created);
        }
        if never && !interrupted {
            let twice = world.starts.iter().find(|(name, count)| **count > 1 && !sidecars.contains(*name));
            prop_assert!(twice.is_none(), "{twice:?} started again");
        }
        let end = End { since: world.now, grace_seconds: 30, failure: None };
        world.memory.end = Some(end);
        for _ in 0..50 {
            world.step(&[1, 1, 1, 1]);
        }
        prop_assert!(world.memory.torn_down);
    }
}
