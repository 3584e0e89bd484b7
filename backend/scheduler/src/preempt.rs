//! Making room: which pods of lower priority would have to go so that a pod fits.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>
//!
//! Invariants:
//! - Pure in effect: the cluster is changed only to try things out and is restored before returning.
//! - Never a pod of the same or higher priority; no more victims than needed; disruption budgets are broken only where
//!   there is no other way.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use pilothouse_api::selector::LabelSelector;

use crate::cluster::Cluster;
use crate::cycle::{Cycle, Diagnosis};
use crate::info::PodInfo;
use crate::plugins::node_resources_fit::Strategy;

/// Enough nodes to choose from; trying one costs many filter runs.
const MAX_CANDIDATES: usize = 100;

#[derive(Debug)]
pub struct Preemption {
    pub node: usize,
    pub victims: Vec<Arc<PodInfo>>,
    broken_budgets: usize,
}

/// Where to make room, or what to tell people.
pub fn plan(
    cluster: &mut Cluster,
    pod: &PodInfo,
    diagnosis: &Diagnosis,
    strategy: Strategy,
) -> Result<Preemption, Option<String>> {
    if diagnosis.rejected.is_some() || diagnosis.nodes == 0 {
        return Err(None);
    }
    if pod.never_preempts {
        return Err(Some("preemption: not eligible due to preemptionPolicy=Never.".into()));
    }
    let waits_for = cluster.nominated.get(&pod.uid).map(|(_, node)| *node);
    let leaving = |node: usize| {
        cluster.node(node).is_some_and(|n| n.pods.iter().any(|p| p.deleting && p.priority < pod.priority))
    };
    if waits_for.is_some_and(leaving) {
        return Err(Some("preemption: not eligible due to a terminating pod on the nominated node.".into()));
    }
    let resolvable = |reasons: &[crate::plugins::Reason]| !reasons.is_empty() && reasons.iter().all(|r| r.resolvable);
    let helpful: Vec<usize> = diagnosis.reasons.iter().filter(|(_, r)| resolvable(r)).map(|(n, _)| *n).collect();
    let mut found: Vec<Preemption> = Vec::new();
    let mut without = 0;
    for node in &helpful {
        match try_node(cluster, pod, *node, strategy) {
            Some(preemption) => found.push(preemption),
            None => without += 1,
        }
        if found.len() >= MAX_CANDIDATES {
            break;
        }
    }
    let best = found.into_iter().min_by_key(cost);
    best.ok_or_else(|| {
        let unhelpful = diagnosis.nodes - helpful.len();
        let mut parts = Vec::new();
        if unhelpful > 0 {
            parts.push(format!("{unhelpful} Preemption is not helpful for scheduling"));
        }
        if without > 0 {
            parts.push(format!("{without} No preemption victims found for incoming pod"));
        }
        parts.sort();
        Some(format!("preemption: 0/{} nodes are available: {}.", diagnosis.nodes, parts.join(", ")))
    })
}

type Cost = (usize, i32, i64, usize, Reverse<Timestamp>);

/// Fewest broken budgets, then the lowest of the highest priorities, then the lowest sum, then the fewest victims, then
/// the youngest of the most important ones.
fn cost(preemption: &Preemption) -> Cost {
    let victims = &preemption.victims;
    let highest = victims.iter().map(|p| p.priority).max().unwrap_or(i32::MIN);
    // Shifted so that more victims of negative priority do not come out cheaper.
    let sum = victims.iter().map(|p| i64::from(p.priority) + i64::from(i32::MAX) + 1).sum();
    let start = victims.iter().filter(|p| p.priority == highest).map(|p| started(p)).min();
    (preemption.broken_budgets, highest, sum, victims.len(), Reverse(start.unwrap_or_default()))
}

fn started(pod: &PodInfo) -> Timestamp {
    pod.started.unwrap_or(pod.created)
}

fn try_node(cluster: &mut Cluster, pod: &PodInfo, node: usize, strategy: Strategy) -> Option<Preemption> {
    let mut lower: Vec<Arc<PodInfo>> = cluster
        .node(node)?
        .pods
        .iter()
        // One that is just being bound cannot be deleted yet without racing.
        .filter(|p| p.priority < pod.priority && !cluster.is_assumed(&p.uid))
        .cloned()
        .collect();
    if lower.is_empty() {
        return None;
    }
    lower.iter().for_each(|p| drop(cluster.remove_pod(&p.uid)));
    let fits = |cluster: &Cluster| Cycle::new(cluster, pod, strategy).is_ok_and(|c| c.fits(node).is_ok());
    if !fits(cluster) {
        lower.into_iter().for_each(|p| cluster.put_pod(p));
        return None;
    }
    // The more important first; those whose budget would break before all.
    lower.sort_by_key(|p| (Reverse(p.priority), started(p)));
    let (guarded, free) = split_by_budget(cluster, lower);
    let (mut victims, mut broken_budgets) = (Vec::new(), 0);
    for (guarded, candidate) in guarded.into_iter().map(|p| (true, p)).chain(free.into_iter().map(|p| (false, p))) {
        cluster.put_pod(candidate.clone());
        if !fits(cluster) {
            cluster.remove_pod(&candidate.uid);
            broken_budgets += usize::from(guarded);
            victims.push(candidate);
        }
    }
    victims.iter().for_each(|p| cluster.put_pod(p.clone()));
    (!victims.is_empty()).then_some(Preemption { node, victims, broken_budgets })
}

/// Pods whose removal would break a disruption budget, and the others, each in the order given.
fn split_by_budget(cluster: &Cluster, pods: Vec<Arc<PodInfo>>) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut budgets: Vec<(&str, LabelSelector, i64, &crate::api::Budget)> = cluster
        .budgets
        .iter()
        .filter_map(|((namespace, _), budget)| {
            let selector = LabelSelector::from_json(budget.spec.selector.as_ref()?).ok()?;
            Some((&**namespace, selector, budget.status.disruptions_allowed, budget))
        })
        .collect();
    pods.into_iter().partition(|pod| {
        let mut breaks = false;
        for (namespace, selector, left, budget) in &mut budgets {
            let counted = *namespace == &*pod.namespace
                && selector.matches(|key| pod.label(key))
                && !budget.status.disrupted_pods.contains_key(&*pod.name);
            if counted {
                *left -= 1;
                breaks |= *left < 0;
            }
        }
        breaks
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use serde_json::json;

    use super::*;
    use crate::cycle::{self, Decision};
    use crate::testing::{PodBuilder, node, pod};

    fn running(cluster: &mut Cluster, pod: PodBuilder, on: &str) {
        let mut pod = pod.build();
        pod.node_name = Some(on.into());
        cluster.put_pod(Arc::new(pod));
    }

    fn preempt(cluster: &mut Cluster, pod: PodBuilder) -> Result<(String, Vec<String>), String> {
        let pod = pod.build();
        cycle::prepare(cluster, &pod);
        let cycle = Cycle::new(cluster, &pod, Strategy::default()).unwrap();
        let Decision::Nowhere(diagnosis) = cycle.decide(&mut 0, &mut SmallRng::seed_from_u64(1)) else {
            panic!("it fits without preemption")
        };
        let before = format!("{:?}", cluster.nodes().map(|(_, n)| &n.requested).collect::<Vec<_>>());
        let plan = plan(cluster, &pod, &diagnosis, Strategy::default());
        let after = format!("{:?}", cluster.nodes().map(|(_, n)| &n.requested).collect::<Vec<_>>());
        assert_eq!(before, after, "trying leaves no trace");
        let plan = plan.map_err(Option::unwrap_or_default)?;
        let mut victims: Vec<String> = plan.victims.iter().map(|p| p.name.to_string()).collect();
        victims.sort();
        Ok((cluster.node(plan.node).unwrap().name.to_string(), victims))
    }

    fn full() -> Cluster {
        let mut cluster = Cluster::default();
        for name in ["a", "b"] {
            cluster.put_node(&node(name).allocatable("cpu", "2").build());
        }
        running(&mut cluster, pod("low1").priority(1).requests("1", "1Mi"), "a");
        running(&mut cluster, pod("low2").priority(2).requests("1", "1Mi"), "a");
        running(&mut cluster, pod("mid").priority(5).requests("2", "1Mi"), "b");
        cluster
    }

    #[test]
    fn the_least_important_pods_go_and_no_more_than_needed() {
        let mut c = full();
        let big = |cpu| pod("p").priority(10).requests(cpu, "1Mi");
        assert_eq!(preempt(&mut c, big("1")), Ok(("a".into(), vec!["low1".into()])));
        assert_eq!(preempt(&mut c, big("2")), Ok(("a".into(), vec!["low1".into(), "low2".into()])));
    }

    #[test]
    fn equals_are_left_alone_and_hopeless_nodes_are_told_apart() {
        let mut c = full();
        let expect = "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.";
        assert_eq!(preempt(&mut c, pod("p").priority(1).requests("1", "1Mi")), Err(expect.into()));
        let expect = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
        assert_eq!(preempt(&mut c, pod("p").priority(10).requests("64", "1Mi")), Err(expect.into()));
        let never = pod("p").priority(10).requests("1", "1Mi").set("/spec/preemptionPolicy", json!("Never"));
        assert_eq!(preempt(&mut c, never), Err("preemption: not eligible due to preemptionPolicy=Never.".into()));
    }

    #[test]
    fn budgets_are_respected_where_possible() {
        let mut c = Cluster::default();
        c.put_node(&node("a").allocatable("cpu", "2").build());
        running(&mut c, pod("guarded").label("app", "db").priority(1).requests("1", "1Mi"), "a");
        running(&mut c, pod("free").priority(2).requests("1", "1Mi"), "a");
        let budget = json!({"metadata": {"name": "b", "namespace": "ns"}, "spec": {"selector": {"matchLabels": {"app": "db"}}},
            "status": {"disruptionsAllowed": 0}});
        c.budgets.insert(("ns".into(), "b".into()), serde_json::from_value(budget).unwrap());
        let p = pod("p").priority(10).requests("1", "1Mi");
        assert_eq!(preempt(&mut c, p), Ok(("a".into(), vec!["free".into()])));
    }

    #[test]
    fn removing_a_pod_frees_its_anti_affinity() {
        let mut c = Cluster::default();
        c.put_node(&node("a").build());
        let alone = |name: &str| pod(name).label("app", "x").near("podAntiAffinity", "x", "kubernetes.io/hostname");
        running(&mut c, alone("old").priority(1), "a");
        assert_eq!(preempt(&mut c, alone("new").priority(10)), Ok(("a".into(), vec!["old".into()])));
    }
}
