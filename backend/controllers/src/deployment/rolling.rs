//! The arithmetic of a rolling update: how far the new ReplicaSet may grow and the old ones may shrink in this pass.

use super::plan::{Limits, Set, Sets};

/// Scales up if there is room under `maxSurge`, else down as far as `minAvailable` allows.
pub fn step(sets: &mut Sets, limits: &Limits) {
    if !scale_new(sets, limits) {
        scale_old(sets, limits);
    }
}

/// The size the new ReplicaSet may have beside `total` pods in all ReplicaSets, itself (`current`) included.
pub fn new_size(total: i32, current: i32, limits: &Limits) -> i32 {
    if !limits.rolling {
        return limits.replicas;
    }
    let room = limits.max_total() - total;
    if room <= 0 { current } else { current + room.min(limits.replicas - current) }
}

/// True when it changed the new ReplicaSet's size.
fn scale_new(sets: &mut Sets, limits: &Limits) -> bool {
    let total = sets.total();
    let Some(new) = &mut sets.new else { return false };
    let current = new.replicas();
    if current == limits.replicas {
        return false;
    }
    let wanted = if current > limits.replicas { limits.replicas } else { new_size(total, current, limits) };
    new.scale_to(wanted, limits);
    wanted != current
}

fn scale_old(sets: &mut Sets, limits: &Limits) {
    let Some(new) = &sets.new else { return };
    if sets.old_total() == 0 {
        return;
    }
    // Pods of the new set that are not available yet already count against `maxUnavailable`.
    let new_unavailable = new.replicas() - new.available();
    let budget = sets.total() - limits.min_available() - new_unavailable;
    if budget <= 0 {
        return;
    }
    // Unhealthy pods first: removing them costs no availability.
    let mut cleaned = 0;
    for set in &mut sets.old {
        let unhealthy = set.replicas() - set.available();
        let fewer = unhealthy.min(budget - cleaned);
        if set.replicas() > 0 && fewer > 0 {
            set.scale_to(set.replicas() - fewer, limits);
            cleaned += fewer;
        }
    }
    let available: i32 = sets.all().map(Set::available).sum();
    let mut spare = available - limits.min_available();
    for set in &mut sets.old {
        if spare <= 0 {
            return;
        }
        let fewer = set.replicas().min(spare);
        if fewer > 0 {
            set.scale_to(set.replicas() - fewer, limits);
            spare -= fewer;
        }
    }
}
