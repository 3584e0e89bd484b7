//! Which pod to schedule next.
//!
//! Invariants:
//! - A pod is in exactly one place: active (ready, by priority, then age), backing off, unschedulable (until something
//!   that may help it happens), gated, or in flight.
//! - Deciding about a pod and noting the result is one step of the one scheduling task, so no event falls in between.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::info::PodInfo;
use crate::metrics::METRICS;

const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// Unschedulable pods are tried again after this long even if nothing that could help was seen.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// What happened in the cluster, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened(pub u32);

impl Happened {
    pub const NOTHING: Self = Self(0);
    pub const NODE_ADDED: Self = Self(1);
    pub const NODE_CHANGED: Self = Self(1 << 1);
    pub const POD_LEFT: Self = Self(1 << 2);
    pub const POD_PLACED: Self = Self(1 << 3);
    pub const VOLUME_CHANGED: Self = Self(1 << 4);
    pub const ANYTHING: Self = Self(u32::MAX);

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

type Order = (Reverse<i32>, u64);

#[derive(Debug)]
enum Place {
    Active(Order),
    Backoff(Instant),
    Unschedulable { since: Instant, helped_by: Happened },
    Gated,
    InFlight,
}

#[derive(Debug)]
struct Queued {
    pod: Arc<PodInfo>,
    place: Place,
    attempts: u32,
    /// When it last failed; its back-off counts from then.
    failed: Option<Instant>,
    sequence: u64,
}

#[derive(Default)]
pub struct Queue {
    pods: HashMap<Arc<str>, Queued>,
    active: BTreeMap<Order, Arc<str>>,
    backoff: BTreeSet<(Instant, Arc<str>)>,
    unschedulable: BTreeSet<Arc<str>>,
    sequence: u64,
}

fn backoff(attempts: u32) -> Duration {
    MIN_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(MAX_BACKOFF)
}

impl Queue {
    fn unlink(&mut self, uid: &str) {
        let Some(queued) = self.pods.get(uid) else { return };
        match &queued.place {
            Place::Active(order) => drop(self.active.remove(order)),
            Place::Backoff(until) => drop(self.backoff.remove(&(*until, queued.pod.uid.clone()))),
            Place::Unschedulable { .. } => drop(self.unschedulable.remove(uid)),
            Place::Gated | Place::InFlight => {}
        }
    }

    fn link(&mut self, uid: &Arc<str>, place: Place) {
        match &place {
            Place::Active(order) => drop(self.active.insert(*order, uid.clone())),
            Place::Backoff(until) => drop(self.backoff.insert((*until, uid.clone()))),
            Place::Unschedulable { .. } => drop(self.unschedulable.insert(uid.clone())),
            Place::Gated | Place::InFlight => {}
        }
        if let Some(queued) = self.pods.get_mut(uid) {
            queued.place = place;
        }
    }

    fn shift(&mut self, uid: &Arc<str>, place: Place) {
        self.unlink(uid);
        self.link(uid, place);
    }

    fn order(queued: &Queued) -> Order {
        (Reverse(queued.pod.priority), queued.sequence)
    }

    /// A pod without a node appeared or changed. A change that may make it schedulable makes it active.
    pub fn put(&mut self, pod: Arc<PodInfo>, now: Instant) {
        let uid = pod.uid.clone();
        let gated = !pod.gates.is_empty();
        if let Some(queued) = self.pods.get_mut(&uid) {
            let relevant = changes_matter(&queued.pod, &pod);
            queued.pod = pod;
            let was_gated = matches!(queued.place, Place::Gated);
            match &queued.place {
                Place::InFlight => {}
                _ if gated => self.shift(&uid, Place::Gated),
                Place::Active(_) | Place::Unschedulable { .. } | Place::Gated if relevant || was_gated => {
                    self.ready(&uid, now);
                }
                _ => {}
            }
            return;
        }
        self.sequence += 1;
        let queued = Queued { pod, place: Place::Gated, attempts: 0, failed: None, sequence: self.sequence };
        let order = Self::order(&queued);
        self.pods.insert(uid.clone(), queued);
        if !gated {
            self.link(&uid, Place::Active(order));
        }
    }

    /// Active, or backing off if its last failure is too recent.
    fn ready(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(queued) = self.pods.get(uid) else { return };
        let until = queued.failed.map(|at| at + backoff(queued.attempts));
        let place = match until.filter(|until| *until > now) {
            Some(until) => Place::Backoff(until),
            None => Place::Active(Self::order(queued)),
        };
        self.shift(uid, place);
    }

    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.unlink(uid);
        self.pods.remove(uid).map(|q| q.pod)
    }

    pub fn get(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid).map(|q| &q.pod)
    }

    /// Takes the next pod to schedule; it stays known as in flight until `done` or `failed`.
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.promote(now);
        let (_, uid) = self.active.pop_first()?;
        let queued = self.pods.get_mut(&uid)?;
        queued.attempts = queued.attempts.saturating_add(1);
        queued.place = Place::InFlight;
        Some(queued.pod.clone())
    }

    fn promote(&mut self, now: Instant) {
        while let Some((until, uid)) = self.backoff.first().cloned() {
            if until > now {
                return;
            }
            self.backoff.pop_first();
            if let Some(order) = self.pods.get(&uid).map(Self::order) {
                self.link(&uid, Place::Active(order));
            }
        }
    }

    /// The pod is bound.
    pub fn done(&mut self, uid: &str) {
        self.remove(uid);
    }

    /// The pod fits nowhere, until one of `helped_by` happens.
    pub fn unschedulable(&mut self, uid: &Arc<str>, helped_by: Happened, now: Instant) {
        let Some(queued) = self.pods.get_mut(uid) else { return };
        queued.failed = Some(now);
        self.shift(uid, Place::Unschedulable { since: now, helped_by });
    }

    /// Something failed that time heals.
    pub fn failed(&mut self, uid: &Arc<str>, now: Instant) {
        if let Some(queued) = self.pods.get_mut(uid) {
            queued.failed = Some(now);
            self.ready(uid, now);
        }
    }

    /// Moves the unschedulable pods that this may help.
    pub fn happened(&mut self, what: Happened, now: Instant) {
        let helped = |uid: &&Arc<str>| {
            self.pods
                .get(&***uid)
                .is_some_and(|q| matches!(q.place, Place::Unschedulable { helped_by, .. } if helped_by.meets(what)))
        };
        let helped: Vec<Arc<str>> = self.unschedulable.iter().filter(helped).cloned().collect();
        helped.iter().for_each(|uid| self.ready(uid, now));
    }

    /// Gives pods that have waited very long another try.
    pub fn flush(&mut self, now: Instant) {
        let stale = |uid: &&Arc<str>| {
            self.pods
                .get(&***uid)
                .is_some_and(|q| matches!(q.place, Place::Unschedulable { since, .. } if now - since > MAX_WAIT))
        };
        let stale: Vec<Arc<str>> = self.unschedulable.iter().filter(stale).cloned().collect();
        stale.iter().for_each(|uid| self.ready(uid, now));
    }

    /// When the next backing-off pod becomes active.
    /// Tells the metrics how many pods wait, and where.
    pub fn measure(&self) {
        METRICS.pending("active", self.active.len());
        METRICS.pending("backoff", self.backoff.len());
        METRICS.pending("unschedulable", self.unschedulable.len());
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.backoff.first().map(|(until, _)| *until)
    }

    pub fn uids(&self) -> impl Iterator<Item = Arc<str>> {
        self.pods.keys().cloned()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}

/// Status updates of our own must not make a pod active again.
fn changes_matter(old: &PodInfo, new: &PodInfo) -> bool {
    old.labels != new.labels
        || old.requests != new.requests
        || old.gates != new.gates
        || old.node_selector != new.node_selector
        || old.priority != new.priority
        || old.tolerations.len() != new.tolerations.len()
        || old.required_nodes != new.required_nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|p| p.name.to_string()).collect()
    }

    #[test]
    fn priority_then_age() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0), ("d", 10)] {
            queue.put(Arc::new(pod(name).priority(priority).build()), now);
        }
        assert_eq!(names(&mut queue, now), ["b", "d", "a", "c"]);
    }

    #[test]
    fn unschedulable_pods_wait_for_what_helps_and_for_their_back_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let uid: Arc<str> = "uid-a".into();
        queue.put(Arc::new(pod("a").build()), now);
        queue.pop(now);
        queue.unschedulable(&uid, Happened::POD_LEFT, now);
        queue.happened(Happened::NODE_ADDED, now);
        assert_eq!(queue.next_due(), None, "a node does not help");
        queue.happened(Happened::POD_LEFT, now);
        assert_eq!(queue.next_due(), Some(now + MIN_BACKOFF));
        assert!(queue.pop(now).is_none());
        assert!(queue.pop(now + MIN_BACKOFF).is_some());
        queue.unschedulable(&uid, Happened::POD_LEFT, now);
        queue.happened(Happened::POD_LEFT, now);
        assert_eq!(queue.next_due(), Some(now + 2 * MIN_BACKOFF), "the back-off doubles");
    }

    #[test]
    fn gated_pods_wait_and_long_waiting_ones_get_another_try() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut gated = pod("a").build();
        gated.gates = vec!["example.com/hold".into()];
        queue.put(Arc::new(gated), now);
        assert!(queue.pop(now).is_none());
        queue.put(Arc::new(pod("a").build()), now);
        assert!(queue.pop(now).is_some());
        queue.unschedulable(&"uid-a".into(), Happened::NOTHING, now);
        queue.flush(now + MAX_WAIT);
        assert!(queue.pop(now + MAX_WAIT).is_none());
        queue.flush(now + MAX_WAIT + MIN_BACKOFF);
        assert!(queue.pop(now + MAX_WAIT + MIN_BACKOFF).is_some());
        queue.done("uid-a");
        assert!(queue.is_empty());
    }

    #[test]
    fn a_status_update_of_our_own_does_not_wake_a_pod() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(Arc::new(pod("a").build()), now);
        queue.pop(now);
        queue.unschedulable(&"uid-a".into(), Happened::NODE_ADDED, now);
        let mut updated = pod("a").build();
        updated.not_scheduled = Some(("Unschedulable".into(), "0/1 nodes".into()));
        queue.put(Arc::new(updated), now + MAX_BACKOFF);
        assert!(queue.pop(now + MAX_BACKOFF).is_none());
        queue.put(Arc::new(pod("a").label("x", "y").build()), now + MAX_BACKOFF);
        assert!(queue.pop(now + MAX_BACKOFF).is_some());
    }
}
