//! Synthetic clusters without an API: how fast the scheduler decides.

use std::time::{Duration, Instant};

use pilothouse_controllers::follow::Update;
use serde_json::json;

use crate::scheduler::{Input, Outcome, Scheduler};
use crate::testing::{node, pod};

/// What kind of pods to schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    Basic,
    /// Of one owner: spread softly over nodes and zones.
    Owned,
    /// Required affinity to pods of the same app in their zone.
    Affinity,
    /// Required anti-affinity to pods of the same app on their node.
    AntiAffinity,
    /// A hard topology spread constraint over zones.
    Spread,
}

#[derive(Clone, Copy, Debug)]
pub struct Result {
    pub placed: usize,
    pub waiting: usize,
    /// Spent deciding.
    pub time: Duration,
}

impl Result {
    pub fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let decisions = (self.placed + self.waiting) as f64;
        decisions / self.time.as_secs_f64().max(1e-9)
    }
}

/// Schedules `pods` pods on `nodes` nodes in ten zones; every binding succeeds at once.
pub fn run(nodes: usize, pods: usize, workload: Workload) -> Result {
    let mut scheduler = Scheduler::default();
    let zone = |i: usize| format!("zone-{}", i % 10);
    let all = (0..nodes).map(|i| node(&format!("node-{i}")).label("topology.kubernetes.io/zone", &zone(i)).build());
    scheduler.apply(Input::Nodes(Update::Reset(all.collect())));
    scheduler.apply(Input::Pods(Update::Reset(Vec::new())));
    for i in 0..pods {
        let app = format!("app-{}", i % 20);
        let plain = pod(&format!("pod-{i}")).requests("10m", "16Mi").label("app", &app);
        let pod = match workload {
            Workload::Basic => plain,
            Workload::Owned => plain.owner(&format!("owner-{}", i % 20)),
            Workload::Affinity => plain.near("podAffinity", &app, "topology.kubernetes.io/zone"),
            Workload::AntiAffinity => plain.near("podAntiAffinity", &app, "kubernetes.io/hostname"),
            Workload::Spread => plain.set(
                "/spec/topologySpreadConstraints",
                json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app": app}}}]),
            ),
        };
        scheduler.apply(Input::Pods(Update::Put(pod.api())));
    }
    let mut result = Result { placed: 0, waiting: 0, time: Duration::ZERO };
    let start = Instant::now();
    while let Some(outcome) = scheduler.next(tokio::time::Instant::now()) {
        match outcome {
            Outcome::Bind { pod, .. } => {
                result.placed += 1;
                scheduler.apply(Input::Bound { pod, result: crate::bind::Bound::Done });
            }
            Outcome::Waits { .. } => result.waiting += 1,
        }
    }
    result.time = start.elapsed();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_finds_its_place() {
        for workload in [Workload::Basic, Workload::Owned, Workload::Affinity, Workload::AntiAffinity, Workload::Spread]
        {
            let result = run(60, 300, workload);
            assert_eq!((result.placed, result.waiting), (300, 0), "{workload:?}");
        }
    }
}
