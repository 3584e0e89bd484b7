//! Following a change of the Deployment's size without moving the roll-out: proportionally over its ReplicaSets.

use k8s_openapi::api::apps::v1::Deployment;

use super::plan::{Limits, Set, Sets};
use super::revision;

/// Whether a ReplicaSet was last sized for another number of replicas than the Deployment has now.
pub fn is_needed(sets: &Sets, limits: &Limits) -> bool {
    sets.all()
        .filter(|s| s.replicas() > 0)
        .any(|s| revision::desired(&s.after.metadata).is_some_and(|d| d != limits.replicas))
}

pub fn scale(sets: &mut Sets, deployment: &Deployment, limits: &Limits) {
    if let Some(only) = active_or_latest(sets) {
        only.scale_to(limits.replicas, limits);
        return;
    }
    if is_saturated(sets, limits) {
        sets.old.iter_mut().filter(|s| s.replicas() > 0).for_each(|s| s.scale_to(0, limits));
        return;
    }
    if limits.rolling {
        proportional(sets, deployment, limits);
    }
}

/// The set to scale when there is only one to choose; none when several run.
fn active_or_latest(sets: &mut Sets) -> Option<&mut Set> {
    match sets.all().filter(|s| s.replicas() > 0).count() {
        0 if sets.new.is_some() => sets.new.as_mut(),
        0 => sets.old.last_mut(),
        1 => sets.old.iter_mut().chain(&mut sets.new).find(|s| s.replicas() > 0),
        _ => None,
    }
}

/// Whether the new ReplicaSet is complete, so that old ones are of no use.
fn is_saturated(sets: &Sets, limits: &Limits) -> bool {
    sets.new.as_ref().is_some_and(|new| {
        let desired = revision::desired(&new.after.metadata);
        new.replicas() == limits.replicas && desired == Some(limits.replicas) && new.available() == limits.replicas
    })
}

fn proportional(sets: &mut Sets, deployment: &Deployment, limits: &Limits) {
    let total = sets.total();
    let allowed = if limits.replicas > 0 { limits.max_total() } else { 0 };
    let to_add = allowed - total;
    let status_replicas = deployment.status.as_ref().and_then(|s| s.replicas).unwrap_or(0);
    let mut ordered: Vec<&mut Set> = sets.old.iter_mut().chain(&mut sets.new).filter(|s| s.replicas() > 0).collect();
    let age = |s: &Set| s.after.metadata.creation_timestamp.as_ref().map(|t| t.0);
    ordered.sort_by(|a, b| {
        let by_size = b.replicas().cmp(&a.replicas());
        // Growing favours newer sets, shrinking hits older ones first.
        by_size.then_with(|| if to_add > 0 { age(b).cmp(&age(a)) } else { age(a).cmp(&age(b)) })
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(ordered.len());
    for set in &ordered {
        let share = share(set, limits, status_replicas, to_add, added);
        added += share;
        sizes.push(set.replicas() + share);
    }
    if let Some(first) = sizes.first_mut() {
        // Rounding's rest goes to the biggest.
        *first = (*first + to_add - added).max(0);
    }
    for (set, size) in ordered.into_iter().zip(sizes) {
        set.scale_to(size, limits);
    }
}

/// How much of `to_add` (may be negative) a set gets after `added` have been given.
fn share(set: &Set, limits: &Limits, status_replicas: i32, to_add: i32, added: i32) -> i32 {
    if set.replicas() == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let left = to_add - added;
    let fraction = if limits.replicas == 0 {
        -set.replicas()
    } else {
        // The size of the whole for which the set has its size now.
        let whole = revision::max_replicas(&set.after.metadata).filter(|m| *m > 0).unwrap_or(status_replicas).max(1);
        let scaled = f64::from(set.replicas()) * f64::from(limits.max_total()) / f64::from(whole);
        #[expect(clippy::cast_possible_truncation, reason = "replica counts are far below 2^31")]
        let rounded = scaled.round() as i32;
        rounded - set.replicas()
    };
    if to_add > 0 { fraction.clamp(0, left) } else { fraction.clamp(left, 0) }
}
