//! The scheduling task: takes in what changed, decides about one pod after the other, hands the writing to others.
//!
//! Invariants:
//! - Only this task touches the cluster and the queue; bindings run beside it and report back as inputs.
//! - It gives way every `SLICE`, so that the process stays responsive while thousands of pods are scheduled.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use pilothouse_controllers::events::Broadcaster;
use pilothouse_controllers::follow::{Source, Update, follow};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::bind::{Bound, Writer};
use crate::cluster::Cluster;
use crate::cycle::{self, Cycle, Decision, Diagnosis};
use crate::info::PodInfo;
use crate::metrics::METRICS;
use crate::plugins::node_resources_fit::Strategy;
use crate::preempt;
use crate::queue::{Happened, Queue};

/// Pods that name another scheduler are not ours.
pub const NAME: &str = "default-scheduler";

const INPUTS: usize = 8192;
/// Inputs taken in before the next decisions.
const INPUT_BATCH: usize = 2048;
const SLICE: Duration = Duration::from_millis(2);
/// Bindings under way at once; more would only queue at the API.
const MAX_BINDING: usize = 256;
const FLUSH: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub enum Input {
    Pods(Update<api::Pod>),
    Nodes(Update<api::Node>),
    Namespaces(Update<api::Namespace>),
    Claims(Update<api::Claim>),
    Volumes(Update<api::PersistentVolume>),
    StorageClasses(Update<api::StorageClass>),
    Budgets(Update<api::Budget>),
    Bound { pod: Arc<PodInfo>, result: Bound },
}

/// Kinds that must have been listed before the first decision.
const KINDS: u8 = 7;

pub struct Scheduler {
    pub cluster: Cluster,
    pub queue: Queue,
    strategy: Strategy,
    turn: usize,
    rng: SmallRng,
    /// Bits of the kinds listed so far.
    listed: u8,
    binding: usize,
}

/// What to write after a decision.
#[derive(Debug)]
pub enum Outcome {
    Bind { pod: Arc<PodInfo>, node: Arc<str> },
    Waits { pod: Arc<PodInfo>, message: String, room: Option<(Arc<str>, Vec<Arc<PodInfo>>)> },
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            cluster: Cluster::default(),
            queue: Queue::default(),
            strategy: Strategy::default(),
            turn: 0,
            rng: SmallRng::from_os_rng(),
            listed: 0,
            binding: 0,
        }
    }
}

/// Schedules until `shutdown`. The caller holds the leader's lease.
/// Boxed: an `async fn` is compiled where it is first polled, and that should be this crate.
pub fn run(
    client: Client,
    strategy: Strategy,
    shutdown: CancellationToken,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(schedule(client, strategy, shutdown))
}

async fn schedule(client: Client, strategy: Strategy, shutdown: CancellationToken) {
    let stop = shutdown.child_token();
    let _stop_on_return = stop.clone().drop_guard();
    let (send, receive) = mpsc::channel(INPUTS);
    let events = Broadcaster::start(stop.clone()).recorder(NAME, client.clone());
    start_watches(&client, &send, &stop);
    let writer = Writer { client, events };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = work(Scheduler { strategy, ..Scheduler::default() }, writer, send, receive, stop.clone()) => {}
    }
}

fn start_watches(client: &Client, send: &Sender<Input>, stop: &CancellationToken) {
    macro_rules! watch {
        ($path:literal, $fields:literal, $wrap:expr) => {
            let task = follow(
                client.clone(),
                Source { path: $path.into(), fields: $fields, metadata_only: false },
                send.clone(),
                $wrap,
            );
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::select! { () = stop.cancelled() => {}, () = task => {} }
            });
        };
    }
    // A pod that has ended uses nothing; the API says it is gone when it leaves the selection.
    watch!("/api/v1/pods", "status.phase!=Succeeded,status.phase!=Failed", Input::Pods);
    watch!("/api/v1/nodes", "", Input::Nodes);
    watch!("/api/v1/namespaces", "", Input::Namespaces);
    watch!("/api/v1/persistentvolumeclaims", "", Input::Claims);
    watch!("/api/v1/persistentvolumes", "", Input::Volumes);
    watch!("/apis/storage.k8s.io/v1/storageclasses", "", Input::StorageClasses);
    watch!("/apis/policy/v1/poddisruptionbudgets", "", Input::Budgets);
}

async fn work(
    mut scheduler: Scheduler,
    writer: Writer,
    send: Sender<Input>,
    mut receive: Receiver<Input>,
    stop: CancellationToken,
) {
    let mut flush = Instant::now() + FLUSH;
    loop {
        let mut happened = Happened::NOTHING;
        for _ in 0..INPUT_BATCH {
            match receive.try_recv() {
                Ok(input) => happened = happened.or(scheduler.apply(input)),
                Err(_) => break,
            }
        }
        let now = Instant::now();
        scheduler.queue.happened(happened, now);
        if now >= flush {
            scheduler.queue.flush(now);
            flush = now + FLUSH;
        }
        let mut idle = !scheduler.ready();
        while !idle && now.elapsed() < SLICE {
            match scheduler.next(Instant::now()) {
                Some(outcome) => execute(&writer, &send, outcome, &stop),
                None => idle = true,
            }
        }
        if !idle {
            tokio::task::yield_now().await;
            continue;
        }
        scheduler.queue.measure();
        let wake = scheduler.queue.next_due().map_or(flush, |due| due.min(flush));
        tokio::select! {
            input = receive.recv() => {
                let Some(input) = input else { return };
                let happened = scheduler.apply(input);
                scheduler.queue.happened(happened, Instant::now());
            }
            () = sleep_until(wake) => {}
        }
    }
}

fn execute(writer: &Writer, send: &Sender<Input>, outcome: Outcome, stop: &CancellationToken) {
    let (writer, send, stop) = (writer.clone(), send.clone(), stop.clone());
    let task = async move {
        match outcome {
            Outcome::Bind { pod, node } => {
                let begun = Instant::now();
                let result = writer.bind(&pod, &node).await;
                METRICS.binding.observe(begun.elapsed().as_secs_f64());
                if matches!(result, Bound::Failed(_)) {
                    METRICS.attempt("error");
                }
                // The receiver is gone only when everything ends.
                let _ = send.send(Input::Bound { pod, result }).await;
            }
            Outcome::Waits { pod, message, room } => {
                let node = room.as_ref().map(|(node, _)| node.clone());
                writer.report(&pod, "Unschedulable", message, node).await;
                if let Some((node, victims)) = room {
                    for victim in victims {
                        writer.preempt(&victim, &pod, &node).await;
                    }
                }
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! { () = stop.cancelled() => {}, () = task => {} }
    });
}

impl Scheduler {
    fn ready(&self) -> bool {
        self.listed == (1 << KINDS) - 1
    }

    /// Decides about the next pod; none when there is nothing to do now.
    pub fn next(&mut self, now: Instant) -> Option<Outcome> {
        if self.binding >= MAX_BINDING {
            return None;
        }
        let pod = self.queue.pop(now)?;
        Some(self.decide(pod, now))
    }

    fn decide(&mut self, pod: Arc<PodInfo>, now: Instant) -> Outcome {
        cycle::prepare(&mut self.cluster, &pod);
        let begun = Instant::now();
        let decision = match Cycle::new(&self.cluster, &pod, self.strategy) {
            Ok(cycle) => cycle.decide(&mut self.turn, &mut self.rng),
            Err(diagnosis) => Decision::Nowhere(diagnosis),
        };
        METRICS.deciding.observe(begun.elapsed().as_secs_f64());
        METRICS.attempt(if matches!(decision, Decision::Node(_)) { "scheduled" } else { "unschedulable" });
        match decision {
            Decision::Node(index) => {
                self.cluster.assume(&pod, index);
                self.binding += 1;
                let node = self.cluster.node(index).map(|n| n.name.clone()).unwrap_or_default();
                Outcome::Bind { pod, node }
            }
            Decision::Nowhere(diagnosis) => self.wait(pod, &diagnosis, now),
        }
    }

    fn wait(&mut self, pod: Arc<PodInfo>, diagnosis: &Diagnosis, now: Instant) -> Outcome {
        let mut message = diagnosis.message();
        let mut room = None;
        match preempt::plan(&mut self.cluster, &pod, diagnosis, self.strategy) {
            Ok(plan) => {
                let node = self.cluster.node(plan.node).map(|n| n.name.clone()).unwrap_or_default();
                self.cluster.nominated.insert(pod.uid.clone(), (pod.clone(), plan.node));
                room = Some((node, plan.victims));
            }
            Err(Some(why)) => {
                message.push(' ');
                message.push_str(&why);
            }
            Err(None) => {}
        }
        self.queue.unschedulable(&pod.uid, diagnosis.helped_by, now);
        Outcome::Waits { pod, message, room }
    }

    /// Takes in one change; what it may mean for waiting pods.
    pub fn apply(&mut self, input: Input) -> Happened {
        let listed = |bit: u8, reset: bool| if reset { 1 << bit } else { 0 };
        match input {
            Input::Pods(update) => {
                self.listed |= listed(0, matches!(update, Update::Reset(_)));
                self.pods(update)
            }
            Input::Nodes(update) => {
                self.listed |= listed(1, matches!(update, Update::Reset(_)));
                self.nodes(update)
            }
            Input::Namespaces(update) => {
                self.listed |= listed(2, matches!(update, Update::Reset(_)));
                self.namespaces(update);
                Happened::NOTHING
            }
            Input::Claims(update) => {
                self.listed |= listed(3, matches!(update, Update::Reset(_)));
                keep(&mut self.cluster.claims, update, |m| (m.namespace.as_str().into(), m.name.as_str().into()));
                Happened::VOLUME_CHANGED
            }
            Input::Volumes(update) => {
                self.listed |= listed(4, matches!(update, Update::Reset(_)));
                keep(&mut self.cluster.volumes, update, |m| m.name.as_str().into());
                Happened::VOLUME_CHANGED
            }
            Input::StorageClasses(update) => {
                self.listed |= listed(5, matches!(update, Update::Reset(_)));
                keep(&mut self.cluster.storage_classes, update, |m| m.name.as_str().into());
                Happened::VOLUME_CHANGED
            }
            Input::Budgets(update) => {
                self.listed |= listed(6, matches!(update, Update::Reset(_)));
                keep(&mut self.cluster.budgets, update, |m| (m.namespace.as_str().into(), m.name.as_str().into()));
                Happened::NOTHING
            }
            Input::Bound { pod, result } => self.bound(&pod, &result),
        }
    }

    fn bound(&mut self, pod: &Arc<PodInfo>, result: &Bound) -> Happened {
        self.binding = self.binding.saturating_sub(1);
        if matches!(result, Bound::Done) {
            self.queue.done(&pod.uid);
            return Happened::NOTHING;
        }
        if let Bound::Failed(why) = result {
            tracing::warn!(pod = pod.full_name(), why, "a pod could not be bound");
            self.queue.failed(&pod.uid, Instant::now());
        } else {
            self.queue.done(&pod.uid);
        }
        // The watch may have shown it bound meanwhile; then it stays.
        if !self.cluster.is_assumed(&pod.uid) {
            return Happened::NOTHING;
        }
        self.cluster.remove_pod(&pod.uid);
        Happened::POD_LEFT
    }

    fn pods(&mut self, update: Update<api::Pod>) -> Happened {
        match update {
            Update::Put(pod) => self.put_pod(&pod),
            Update::Gone(pod) => self.remove_pod(&pod.metadata.uid),
            Update::Reset(pods) => {
                let there: HashSet<&str> = pods.iter().map(|p| p.metadata.uid.as_str()).collect();
                let mut gone = self.cluster.uids();
                gone.extend(self.queue.uids());
                gone.retain(|uid| !there.contains(&**uid));
                for uid in &gone {
                    self.remove_pod(uid);
                }
                for pod in &pods {
                    self.put_pod(pod);
                }
                Happened::ANYTHING
            }
        }
    }

    fn remove_pod(&mut self, uid: &str) -> Happened {
        self.queue.remove(uid);
        let waited = self.cluster.nominated.remove(uid).is_some();
        let left = self.cluster.remove_pod(uid).is_some();
        if left || waited { Happened::POD_LEFT } else { Happened::NOTHING }
    }

    fn put_pod(&mut self, pod: &api::Pod) -> Happened {
        if matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
            return self.remove_pod(&pod.metadata.uid);
        }
        let info = Arc::new(PodInfo::new(pod));
        if info.node_name.is_some() {
            return self.put_placed(info);
        }
        if self.cluster.is_assumed(&info.uid) {
            return Happened::NOTHING;
        }
        if info.deleting || info.scheduler_name != NAME {
            return self.remove_pod(&info.uid);
        }
        match info.nominated_node.as_ref().and_then(|n| self.cluster.node_index(n)) {
            Some(node) => drop(self.cluster.nominated.insert(info.uid.clone(), (info.clone(), node))),
            None => {
                if let Some((waiting, _)) = self.cluster.nominated.get_mut(&info.uid) {
                    *waiting = info.clone();
                }
            }
        }
        self.queue.put(info, Instant::now());
        Happened::NOTHING
    }

    fn put_placed(&mut self, pod: Arc<PodInfo>) -> Happened {
        if self.queue.get(&pod.uid).is_some() && !self.cluster.is_assumed(&pod.uid) {
            self.queue.remove(&pod.uid);
        }
        let happened = match self.cluster.pod(&pod.uid) {
            Some(old) if self.cluster.is_assumed(&pod.uid) || old.node_name != pod.node_name => Happened::POD_PLACED,
            Some(old) if old.requests != pod.requests => Happened::POD_LEFT,
            Some(old) if old.labels != pod.labels || old.deleting != pod.deleting => Happened::POD_PLACED,
            // Most updates of running pods are of their status.
            Some(_) => return Happened::NOTHING,
            None => Happened::POD_PLACED,
        };
        self.cluster.put_pod(pod);
        happened
    }

    fn nodes(&mut self, update: Update<api::Node>) -> Happened {
        match update {
            Update::Put(node) => {
                let new = self.cluster.node_index(&node.metadata.name).is_none();
                match self.cluster.put_node(&node) {
                    _ if new => Happened::NODE_ADDED,
                    true => Happened::NODE_CHANGED,
                    false => Happened::NOTHING,
                }
            }
            Update::Gone(node) => {
                self.cluster.remove_node(&node.metadata.name);
                Happened::NOTHING
            }
            Update::Reset(nodes) => {
                let there: HashSet<&str> = nodes.iter().map(|n| n.metadata.name.as_str()).collect();
                let known: Vec<Arc<str>> = self.cluster.nodes().map(|(_, n)| n.name.clone()).collect();
                known.iter().filter(|n| !there.contains(&***n)).for_each(|n| self.cluster.remove_node(n));
                for node in &nodes {
                    self.cluster.put_node(node);
                }
                Happened::ANYTHING
            }
        }
    }

    fn namespaces(&mut self, update: Update<api::Namespace>) {
        match update {
            Update::Put(ns) => self.cluster.put_namespace(&ns.metadata.name, Some(&ns.metadata.labels)),
            Update::Gone(ns) => self.cluster.put_namespace(&ns.metadata.name, None),
            Update::Reset(all) => {
                let there: HashSet<&str> = all.iter().map(|n| n.metadata.name.as_str()).collect();
                let gone: Vec<Box<str>> =
                    self.cluster.namespaces.keys().filter(|n| !there.contains(&***n)).cloned().collect();
                gone.iter().for_each(|n| self.cluster.put_namespace(n, None));
                all.iter().for_each(|ns| self.cluster.put_namespace(&ns.metadata.name, Some(&ns.metadata.labels)));
            }
        }
    }
}

fn keep<K: std::hash::Hash + Eq, T: api::Object>(
    map: &mut std::collections::HashMap<K, T>,
    update: Update<T>,
    key: fn(&api::Meta) -> K,
) {
    match update {
        Update::Put(object) => drop(map.insert(key(object.meta()), object)),
        Update::Gone(object) => drop(map.remove(&key(object.meta()))),
        Update::Reset(all) => *map = all.into_iter().map(|o| (key(o.meta()), o)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    fn scheduler() -> Scheduler {
        let mut scheduler = Scheduler::default();
        scheduler.apply(Input::Nodes(Update::Reset(vec![node("a").allocatable("cpu", "1").build()])));
        scheduler.apply(Input::Pods(Update::Reset(vec![])));
        scheduler
    }

    fn put(scheduler: &mut Scheduler, pod: api::Pod) {
        scheduler.apply(Input::Pods(Update::Put(pod)));
    }

    #[test]
    fn a_pod_is_bound_and_confirmed() {
        let mut s = scheduler();
        put(&mut s, pod("p").requests("800m", "1Mi").api());
        let now = Instant::now();
        let Some(Outcome::Bind { pod: bound, node }) = s.next(now) else { panic!("it fits") };
        assert_eq!(&*node, "a");
        put(&mut s, pod("q").requests("800m", "1Mi").api());
        assert!(matches!(s.next(now), Some(Outcome::Waits { .. })), "the room is taken by the assumed pod");
        let mut shown = pod("p").requests("800m", "1Mi").api();
        shown.spec.node_name = "a".into();
        put(&mut s, shown);
        s.apply(Input::Bound { pod: bound, result: Bound::Done });
        assert!(!s.cluster.is_assumed("uid-p"));
        assert_eq!((s.queue.len(), s.cluster.placed_count(), s.binding), (1, 1, 0));
    }

    #[test]
    fn a_failed_binding_gives_the_room_back_and_tries_again() {
        let mut s = scheduler();
        put(&mut s, pod("p").requests("800m", "1Mi").api());
        let now = Instant::now();
        let Some(Outcome::Bind { pod, .. }) = s.next(now) else { panic!("it fits") };
        let happened = s.apply(Input::Bound { pod, result: Bound::Failed("no".into()) });
        assert_eq!(happened, Happened::POD_LEFT);
        assert_eq!(s.cluster.placed_count(), 0);
        assert!(s.next(now).is_none(), "it backs off first");
        assert!(matches!(s.next(now + Duration::from_secs(5)), Some(Outcome::Bind { .. })));
    }

    #[test]
    fn pods_of_others_and_finished_ones_are_none_of_our_business() {
        let mut s = scheduler();
        put(&mut s, pod("p").set("/spec/schedulerName", "mine".into()).api());
        put(&mut s, pod("q").set("/status", serde_json::json!({"phase": "Failed"})).api());
        put(&mut s, pod("r").set("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z".into()).api());
        assert!(s.next(Instant::now()).is_none());
        assert!(s.queue.is_empty());
    }

    #[test]
    fn a_relist_drops_what_is_gone() {
        let mut s = scheduler();
        let mut running = pod("p").api();
        running.spec.node_name = "a".into();
        put(&mut s, running);
        put(&mut s, pod("q").api());
        s.apply(Input::Pods(Update::Reset(vec![])));
        assert_eq!((s.queue.len(), s.cluster.placed_count()), (0, 0));
    }

    #[test]
    fn preemption_names_victims_and_holds_the_room() {
        let mut s = scheduler();
        let mut low = pod("low").priority(1).requests("1", "1Mi").api();
        low.spec.node_name = "a".into();
        put(&mut s, low);
        put(&mut s, pod("high").priority(9).requests("1", "1Mi").api());
        let now = Instant::now();
        let Some(Outcome::Waits { room: Some((node, victims)), message, .. }) = s.next(now) else { panic!("no room") };
        assert_eq!((&*node, &*victims[0].name), ("a", "low"));
        assert_eq!(message, "0/1 nodes are available: 1 Insufficient cpu.");
        let happened = s.apply(Input::Pods(Update::Gone(pod("low").api())));
        s.queue.happened(happened, now);
        put(&mut s, pod("sneaky").requests("1", "1Mi").api());
        assert!(matches!(s.next(now), Some(Outcome::Waits { room: None, .. })));
        assert!(matches!(s.next(now + Duration::from_secs(2)), Some(Outcome::Bind { .. })));
    }
}
