//! What a Deployment needs done now.
//!
//! Invariant: pure; the ReplicaSets' wanted sizes are changed in `Set::after`, and each differs from `before` by what
//! this pass may do: never over `maxSurge`, never below `minAvailable`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::{progress, revision, rolling, scale};
use crate::int_or_percent::{Round, scaled};

/// A ReplicaSet as it is and as it shall be.
#[derive(Clone, Debug)]
pub struct Set {
    pub before: Arc<ReplicaSet>,
    pub after: ReplicaSet,
    /// What to tell people once it is written.
    pub events: Vec<String>,
}

impl Set {
    pub fn new(set: Arc<ReplicaSet>) -> Self {
        Self { after: (*set).clone(), before: set, events: Vec::new() }
    }

    pub fn name(&self) -> &str {
        self.after.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn replicas(&self) -> i32 {
        replicas(&self.after)
    }

    /// The available pods that will stay. A set scaled down a moment ago may still report those it is about to remove;
    /// counting them would let other sets shrink too far.
    pub fn available(&self) -> i32 {
        self.before.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0).min(replicas(&self.before))
    }

    /// Sets the wanted size and the annotations that remember for which Deployment size it was meant.
    pub fn scale_to(&mut self, count: i32, limits: &Limits) {
        let from = self.replicas();
        if from != count {
            let verb = if count > from { "up" } else { "down" };
            self.events.push(format!("Scaled {verb} replica set {} from {from} to {count}", self.name()));
            self.after.spec.get_or_insert_default().replicas = Some(count);
        }
        revision::remember_size(&mut self.after.metadata, limits);
    }
}

pub fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// The numbers of a Deployment that all decisions keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub replicas: i32,
    pub max_surge: i32,
    pub max_unavailable: i32,
    pub rolling: bool,
}

impl Limits {
    pub fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let replicas = spec.and_then(|s| s.replicas).unwrap_or(1);
        let strategy = spec.and_then(|s| s.strategy.as_ref());
        let rolling = strategy.and_then(|s| s.type_.as_deref()) != Some("Recreate");
        if !rolling {
            return Self { replicas, max_surge: 0, max_unavailable: 0, rolling };
        }
        let update = strategy.and_then(|s| s.rolling_update.as_ref());
        let resolve = |value, round| match value {
            Some(value) => scaled(value, replicas, round).unwrap_or(0),
            None => 0,
        };
        let max_surge = resolve(update.and_then(|u| u.max_surge.as_ref()), Round::Up);
        let mut max_unavailable = resolve(update.and_then(|u| u.max_unavailable.as_ref()), Round::Down);
        if max_surge == 0 && max_unavailable == 0 {
            // Validation refuses both as zero, but percentages may round to it; the roll-out must be able to move.
            max_unavailable = 1;
        }
        Self { replicas, max_surge, max_unavailable: max_unavailable.min(replicas), rolling }
    }

    pub fn max_total(&self) -> i32 {
        self.replicas.saturating_add(self.max_surge)
    }

    pub fn min_available(&self) -> i32 {
        self.replicas - self.max_unavailable
    }
}

#[derive(Debug)]
pub struct Plan {
    pub create: Option<ReplicaSet>,
    pub sets: Vec<Set>,
    pub delete: Vec<Arc<ReplicaSet>>,
    /// With the wanted annotations and status.
    pub deployment: Deployment,
    pub next: Option<Duration>,
}

/// The Deployment's ReplicaSets in their roles.
pub struct Sets {
    /// Of the current template.
    pub new: Option<Set>,
    /// Oldest first.
    pub old: Vec<Set>,
}

impl Sets {
    fn sort(deployment: &Deployment, mut sets: Vec<Arc<ReplicaSet>>) -> Self {
        sets.sort_by(|a, b| created(a).cmp(&created(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name)));
        // Equal templates happen when the API's defaults changed in between: the oldest one is kept.
        let at = sets.iter().position(|s| revision::same_template(deployment, s));
        let new = at.map(|at| Set::new(sets.remove(at)));
        Self { new, old: sets.into_iter().map(Set::new).collect() }
    }

    pub fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    pub fn total(&self) -> i32 {
        self.all().map(Set::replicas).sum()
    }

    pub fn old_total(&self) -> i32 {
        self.old.iter().map(Set::replicas).sum()
    }
}

fn created(set: &ReplicaSet) -> Option<Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|t| t.0)
}

/// `running` tells whether a ReplicaSet has pods that have not ended.
pub fn plan(
    deployment: &Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    running: impl Fn(&ReplicaSet) -> bool,
    now: Timestamp,
) -> Plan {
    let limits = Limits::of(deployment);
    let mut sets = Sets::sort(deployment, sets);
    let mut new = deployment.clone();
    let mut create = None;
    let mut delete = Vec::new();
    let spec = deployment.spec.as_ref();
    let paused = spec.and_then(|s| s.paused).unwrap_or(false);
    if deployment.metadata.deletion_timestamp.is_some() {
        progress::sync_counts(&mut new, &sets, &limits, now);
        return Plan { create, sets: Vec::new(), delete, deployment: new, next: None };
    }
    progress::mark_paused(&mut new, paused, now);
    revision::sync(&mut new, &mut sets, now);
    if paused || scale::is_needed(&sets, &limits) {
        scale::scale(&mut sets, deployment, &limits);
        if paused {
            delete = revision::surplus(deployment, &sets);
        }
        progress::sync_counts(&mut new, &sets, &limits, now);
        return Plan {
            create,
            sets: sets.old.into_iter().chain(sets.new).collect(),
            delete,
            deployment: new,
            next: None,
        };
    }
    let old_runs = || sets.old.iter().any(|s| running(&s.before));
    if !limits.rolling && (sets.old_total() > 0 || old_runs()) {
        sets.old.iter_mut().filter(|s| s.replicas() > 0).for_each(|s| s.scale_to(0, &limits));
    } else {
        match &sets.new {
            None => create = Some(revision::new_set(&mut new, &sets, &limits, now)),
            Some(_) if limits.rolling => rolling::step(&mut sets, &limits),
            Some(_) => {}
        }
        if let (false, Some(set)) = (limits.rolling, &mut sets.new) {
            set.scale_to(limits.replicas, &limits);
        }
    }
    let complete = progress::sync(&mut new, &sets, create.as_ref(), &limits, now);
    if complete {
        delete = revision::surplus(deployment, &sets);
    }
    let next = progress::next_look(&new, complete, now);
    Plan { create, sets: sets.old.into_iter().chain(sets.new).collect(), delete, deployment: new, next }
}
