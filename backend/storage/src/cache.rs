//! All current objects.
//!
//! Invariant: when the published revision is R, every hub has every change up to R. A hub may already have later ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::hub::{Hub, RingLimits};
use crate::view::{Objects, Slot, View};
use crate::{Error, Event, Key, Obj, Result};

pub(crate) struct Cache {
    hubs: RwLock<HashMap<Arc<str>, Arc<Hub>>>,
    /// Namespaces and other names that many keys share.
    names: RwLock<HashSet<Arc<str>>>,
    revision: AtomicU64,
    reached: watch::Sender<u64>,
    limits: RingLimits,
}

impl Cache {
    pub fn new(limits: RingLimits) -> Self {
        Self {
            hubs: RwLock::default(),
            names: RwLock::default(),
            revision: AtomicU64::new(0),
            reached: watch::Sender::new(0),
            limits,
        }
    }

    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    pub fn get(&self, key: &Key) -> Option<Obj> {
        self.existing(&key.resource)?.get(&key.namespace, &key.name)
    }

    pub fn view(&self, resource: &str) -> View {
        let revision = self.revision();
        self.existing(resource).map_or_else(|| View { revision, objects: Objects::default() }, |hub| hub.view(revision))
    }

    pub fn existing(&self, resource: &str) -> Option<Arc<Hub>> {
        self.hubs.read().get(resource).cloned()
    }

    /// The hub of a resource, made if need be.
    pub fn hub(&self, resource: &str) -> Arc<Hub> {
        if let Some(hub) = self.existing(resource) {
            return hub;
        }
        let mut hubs = self.hubs.write();
        // Read under the lock: changes beyond this revision will find the hub when they are applied.
        let revision = self.revision();
        let name: Arc<str> = resource.into();
        hubs.entry(name.clone()).or_insert_with(|| Arc::new(Hub::new(name, revision, self.limits))).clone()
    }

    pub fn hubs(&self) -> Vec<Arc<Hub>> {
        self.hubs.read().values().cloned().collect()
    }

    /// One shared copy of a name.
    pub fn intern(&self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.read().get(name) {
            return known.clone();
        }
        let mut names = self.names.write();
        if let Some(known) = names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        names.insert(name.clone());
        name
    }

    /// A key whose resource and namespace are shared.
    pub fn interned(&self, key: Key) -> Key {
        Key { resource: self.intern(&key.resource), namespace: self.intern(&key.namespace), name: key.name }
    }

    /// Publishes changes, in revision order, up to and including `revision`.
    pub fn apply(&self, events: &[Arc<Event>], revision: u64) {
        let now = Instant::now();
        let mut by_resource: HashMap<&str, Vec<Arc<Event>>> = HashMap::new();
        for event in events {
            by_resource.entry(&event.object.key.resource).or_default().push(event.clone());
        }
        let mut woken = Vec::new();
        for (resource, events) in by_resource {
            woken.extend(self.hub(resource).apply(&events, now));
        }
        self.publish(revision);
        for (wake, watchers) in woken {
            wake.call_paced(watchers);
        }
    }

    /// Replaces everything; watchers are told that they are too late.
    pub fn reset(&self, objects: Vec<Obj>, revision: u64) {
        let mut by_resource: HashMap<Arc<str>, Objects> = HashMap::new();
        for object in objects {
            by_resource.entry(object.key.resource.clone()).or_default().insert(Slot::of(&object.key), object);
        }
        let mut woken = Vec::new();
        // Locked throughout: a hub made meanwhile would not know of the reset.
        let mut hubs = self.hubs.write();
        for hub in hubs.values() {
            woken.extend(hub.reset(by_resource.remove(&hub.resource).unwrap_or_default(), revision));
        }
        for (resource, objects) in by_resource {
            let hub = Hub::with(resource.clone(), objects, revision, self.limits);
            hubs.insert(resource, Arc::new(hub));
        }
        self.publish(revision);
        drop(hubs);
        for wake in woken {
            wake.call();
        }
    }

    fn publish(&self, revision: u64) {
        self.revision.store(revision, Ordering::Release);
        self.reached.send_replace(revision);
    }

    /// Waits until the published revision is at least `revision`.
    pub async fn wait_for(&self, revision: u64, timeout: Duration) -> Result<()> {
        if self.revision() >= revision {
            return Ok(());
        }
        let mut reached = self.reached.subscribe();
        let waiting = reached.wait_for(|reached| *reached >= revision);
        match tokio::time::timeout(timeout, waiting).await {
            Ok(Ok(_)) => Ok(()),
            // The sender lives as long as the cache.
            Ok(Err(_)) | Err(_) => Err(Error::FutureRevision { asked: revision, current: self.revision() }),
        }
    }

    pub fn objects(&self) -> usize {
        self.hubs().iter().map(|hub| hub.len()).sum()
    }

    /// Drops events older than `age` from memory.
    pub fn trim(&self, age: Duration) {
        if let Some(before) = Instant::now().checked_sub(age) {
            self.hubs().iter().for_each(|hub| hub.trim(before));
        }
    }

    pub fn wake_all(&self) {
        self.hubs().iter().flat_map(|hub| hub.wakers()).for_each(|wake| wake.call());
    }
}
