//! What to do for a DaemonSet, given its pods and the nodes. Pure.
//!
//! Invariants:
//! - Never more than `maxUnavailable` nodes without an available pod because of a rollout, and never more than `maxSurge`
//!   nodes with a second one.
//! - On a node where the pods are not in order (none, or too many) nothing is rolled out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

use super::placement::{Fit, fit, node_of};
use crate::history::REVISION_HASH;
use crate::int_or_percent::{Round, scaled};
use crate::pods;

#[derive(Debug, Default)]
pub struct Plan {
    /// The nodes that get a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    /// Pods that have ended on their own, with their node: deleted with a growing pause, to be made anew.
    pub ended: Vec<(String, Arc<Pod>)>,
    pub status: DaemonSetStatus,
    /// When the next pod becomes available without any event.
    pub wake: Option<Duration>,
}

/// What is known of the world.
pub struct Seen<'a> {
    pub set: &'a DaemonSet,
    /// The template's, with the tolerations of every daemon.
    pub spec: &'a PodSpec,
    /// The present template's.
    pub hash: &'a str,
    pub nodes: &'a [Arc<Node>],
    pub pods: &'a [Arc<Pod>],
    pub now: Timestamp,
}

impl Seen<'_> {
    fn min_ready(&self) -> i32 {
        self.set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, self.min_ready(), self.now)
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        let label = pod.metadata.labels.as_ref().and_then(|l| l.get(REVISION_HASH));
        label.map(String::as_str) == Some(self.hash)
    }

    /// Each node's pods, oldest first; what is deleted and has ended is as good as gone.
    fn by_node(&self) -> BTreeMap<&str, Vec<&Arc<Pod>>> {
        let mut all: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
        for pod in self.pods.iter().filter(|p| !(pods::is_deleting(p) && pods::is_finished(p))) {
            if let Some(node) = node_of(pod) {
                all.entry(node).or_default().push(pod);
            }
        }
        for pods in all.values_mut() {
            pods.sort_by_key(|p| {
                let created = p.metadata.creation_timestamp.as_ref().map(|t| t.0);
                (pods::node_name(p).is_empty(), created, p.metadata.name.clone())
            });
        }
        all
    }
}

pub fn plan(seen: &Seen<'_>) -> Plan {
    let by_node = seen.by_node();
    let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
    let fits: BTreeMap<String, Fit> = seen.nodes.iter().map(|n| (name(n), fit(seen.spec, n))).collect();
    let desired = fits.values().filter(|f| f.run).count();
    let limits = limits(seen.set, i32::try_from(desired).unwrap_or(i32::MAX));
    let mut plan = Plan { status: status(seen, &by_node, &fits), ..Default::default() };
    for (node, fit) in &fits {
        manage(&mut plan, seen, node, *fit, by_node.get(node.as_str()).map_or(&[][..], Vec::as_slice), &limits);
    }
    // Pods of nodes that are gone are the pod garbage collector's.
    plan.wake = seen.pods.iter().filter_map(|p| pods::available_in(p, seen.min_ready(), seen.now)).min();
    // First every node gets what belongs there; only then is something rolled out.
    let rolls = limits.rolling && plan.create.is_empty() && plan.delete.is_empty() && plan.ended.is_empty();
    if rolls {
        let live: BTreeMap<&str, Vec<&Arc<Pod>>> = by_node
            .iter()
            .map(|(node, all)| (*node, all.iter().copied().filter(|p| !pods::is_deleting(p)).collect()))
            .collect();
        if limits.surge > 0 { surge(&mut plan, seen, &live, &limits) } else { replace(&mut plan, seen, &live, &limits) }
    }
    plan
}

struct Limits {
    rolling: bool,
    unavailable: usize,
    surge: usize,
}

fn limits(set: &DaemonSet, desired: i32) -> Limits {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    let rolling = strategy.and_then(|s| s.type_.as_deref()) != Some("OnDelete");
    let given = strategy.and_then(|s| s.rolling_update.as_ref());
    let count = |value: Option<&_>| value.and_then(|v| scaled(v, desired, Round::Up)).unwrap_or(0);
    let surge = usize::try_from(count(given.and_then(|r| r.max_surge.as_ref()))).unwrap_or(0);
    let unavailable = usize::try_from(count(given.and_then(|r| r.max_unavailable.as_ref()))).unwrap_or(0);
    Limits { rolling, unavailable: if surge == 0 { unavailable.max(1) } else { unavailable }, surge }
}

/// One node gets its pod, or loses those that do not belong there.
fn manage(plan: &mut Plan, seen: &Seen<'_>, node: &str, fit: Fit, there: &[&Arc<Pod>], limits: &Limits) {
    if there.is_empty() {
        if fit.run {
            plan.create.push(node.to_owned());
        }
        return;
    }
    let live = there.iter().copied().filter(|p| !pods::is_deleting(p));
    if !fit.stay {
        plan.delete.extend(live.cloned());
        return;
    }
    let (ended, running): (Vec<_>, Vec<_>) = live.partition(|p| pods::is_finished(p));
    plan.ended.extend(ended.into_iter().map(|p| (node.to_owned(), p.clone())));
    if limits.surge == 0 {
        plan.delete.extend(running.into_iter().skip(1).cloned());
        return;
    }
    if running.len() <= 1 {
        return;
    }
    // One old and one new: that is a surge under way.
    let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|p| seen.is_updated(p));
    plan.delete.extend(new.iter().skip(1).chain(old.iter().skip(1)).map(|p| Arc::clone(p)));
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!pods::is_ready(old) || seen.is_available(new))
    {
        plan.delete.push(Arc::clone(old));
    }
}

/// The updated pod and the old one of a node; none if there are two of a sort.
fn pair<'a>(seen: &Seen<'_>, live: &[&'a Arc<Pod>]) -> Option<(Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>)> {
    let (new, old): (Vec<_>, Vec<_>) = live.iter().copied().partition(|p| seen.is_updated(p));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

/// Deletes old pods; `manage` makes new ones in their place.
fn replace(plan: &mut Plan, seen: &Seen<'_>, live: &BTreeMap<&str, Vec<&Arc<Pod>>>, limits: &Limits) {
    let (mut unavailable, mut candidates) = (0_usize, Vec::new());
    for pods in live.values() {
        match pair(seen, pods) {
            Some((Some(new), None)) => unavailable += usize::from(!seen.is_available(new)),
            // A pod that is of no use anyway does not count against the limit.
            Some((None, Some(old))) if !seen.is_available(old) => plan.delete.push(old.clone()),
            Some((None, Some(old))) => candidates.push(old),
            _ => unavailable += 1,
        }
    }
    let room = limits.unavailable.saturating_sub(unavailable);
    plan.delete.extend(candidates.into_iter().take(room).cloned());
}

/// Makes new pods beside the old ones, which go when the new ones are available.
fn surge(plan: &mut Plan, seen: &Seen<'_>, live: &BTreeMap<&str, Vec<&Arc<Pod>>>, limits: &Limits) {
    let (mut surging, mut candidates) = (0_usize, Vec::new());
    for (node, pods) in live {
        match pair(seen, pods) {
            Some((None, Some(old))) if !seen.is_available(old) => plan.create.push((*node).to_owned()),
            Some((None, Some(_))) => candidates.push((*node).to_owned()),
            Some((Some(new), Some(old))) if seen.is_available(new) => plan.delete.push(old.clone()),
            Some((Some(_), Some(_))) | None => surging += 1,
            Some((_, None)) => {}
        }
    }
    let room = limits.surge.saturating_sub(surging);
    plan.create.extend(candidates.into_iter().take(room));
}

fn status(seen: &Seen<'_>, by_node: &BTreeMap<&str, Vec<&Arc<Pod>>>, fits: &BTreeMap<String, Fit>) -> DaemonSetStatus {
    let mut status = DaemonSetStatus {
        observed_generation: seen.set.metadata.generation,
        collision_count: seen.set.status.as_ref().and_then(|s| s.collision_count),
        conditions: seen.set.status.as_ref().and_then(|s| s.conditions.clone()),
        ..Default::default()
    };
    let (mut updated, mut available) = (0, 0);
    for (node, fit) in fits {
        let oldest = by_node.get(node.as_str()).and_then(|pods| pods.first());
        if !fit.run {
            status.number_misscheduled += i32::from(oldest.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(oldest) = oldest else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pods::is_ready(oldest));
        available += i32::from(seen.is_available(oldest));
        updated += i32::from(seen.is_updated(oldest));
    }
    let some = |count: i32| (count != 0).then_some(count);
    status.updated_number_scheduled = some(updated);
    status.number_available = some(available);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    status
}
