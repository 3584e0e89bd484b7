//! What a budget's status says, given its pods and how many of them there should be. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::int_or_percent::{Round, scaled};
use crate::pods;

/// An evicted pod must be on its way out after this long; then its eviction is taken for failed.
pub const DELETION_TIMEOUT: Duration = Duration::from_secs(120);
const CONDITION: &str = "DisruptionAllowed";

/// How many pods there should be, and how many of them must be healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub expected: i32,
    pub healthy: i32,
}

/// Whether the budget is relative to what the pods' controllers want, rather than to the pods there are.
pub fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String;
    let spec = budget.spec.as_ref();
    spec.is_some_and(|s| s.max_unavailable.is_some() || matches!(s.min_available, Some(String(_))))
}

/// `expected` is the number the controllers want if that matters, else that of the pods. None: a share that cannot be
/// read, which validation keeps out.
pub fn wanted(budget: &PodDisruptionBudget, expected: i32) -> Option<Wanted> {
    let spec = budget.spec.as_ref()?;
    let healthy = if let Some(max) = &spec.max_unavailable {
        expected - scaled(max, expected, Round::Up)?
    } else if let Some(min) = &spec.min_available {
        scaled(min, expected, Round::Up)?
    } else {
        0
    };
    Some(Wanted { expected, healthy: healthy.max(0) })
}

#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub status: PodDisruptionBudgetStatus,
    /// Evicted pods that nobody deleted.
    pub not_deleted: Vec<Arc<Pod>>,
    /// When the next of the evicted pods must be gone.
    pub wake: Option<Duration>,
}

pub fn plan(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], wanted: Wanted, now: Timestamp) -> Plan {
    let old = budget.status.clone().unwrap_or_default();
    let mut plan = Plan::default();
    let mut disrupted: BTreeMap<String, Time> = BTreeMap::new();
    let mut healthy = 0;
    for pod in pods.iter().filter(|p| !pods::is_deleting(p)) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        if let Some(at) = old.disrupted_pods.as_ref().and_then(|all| all.get(&name)) {
            let left = (at.0 + DELETION_TIMEOUT).duration_since(now);
            if let Ok(left) = Duration::try_from(left)
                && !left.is_zero()
            {
                plan.wake = plan.wake.into_iter().chain([left]).min();
                disrupted.insert(name, at.clone());
                continue;
            }
            plan.not_deleted.push(pod.clone());
        }
        healthy += i32::from(pods::is_ready(pod));
    }
    let allowed = if wanted.expected <= 0 { 0 } else { (healthy - wanted.healthy).max(0) };
    let (state, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    plan.status = PodDisruptionBudgetStatus {
        disruptions_allowed: Some(allowed),
        current_healthy: Some(healthy),
        desired_healthy: Some(wanted.healthy),
        expected_pods: Some(wanted.expected),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: budget.metadata.generation,
        conditions: old.conditions,
    };
    set_condition(&mut plan.status, budget, state, reason, "", now);
    plan
}

/// The status when it could not be computed: nothing may be disrupted.
pub fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    set_condition(&mut status, budget, "False", "SyncFailed", why, now);
    status
}

fn set_condition(
    status: &mut PodDisruptionBudgetStatus,
    budget: &PodDisruptionBudget,
    state: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let mut new = Condition {
        type_: CONDITION.into(),
        status: state.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: budget.metadata.generation,
        last_transition_time: Time(now),
    };
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|c| c.type_ == CONDITION) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::make;

    fn budget(spec: serde_json::Value, disrupted: serde_json::Value) -> PodDisruptionBudget {
        let status = json!({"disruptedPods": disrupted, "currentHealthy": 0, "desiredHealthy": 0,
            "disruptionsAllowed": 0, "expectedPods": 0});
        serde_json::from_value(json!({"metadata": {"name": "b", "generation": 3}, "spec": spec, "status": status}))
            .unwrap()
    }

    #[test]
    fn how_many_must_be_healthy() {
        for (spec, expected, scale, healthy) in [
            (json!({"minAvailable": 2}), 5, false, 2),
            (json!({"minAvailable": "50%"}), 5, true, 3),
            (json!({"minAvailable": "0%"}), 5, true, 0),
            (json!({"maxUnavailable": 1}), 5, true, 4),
            (json!({"maxUnavailable": "30%"}), 5, true, 3),
            (json!({"maxUnavailable": 7}), 5, true, 0),
            (json!({}), 5, false, 0),
        ] {
            let budget = budget(spec.clone(), json!({}));
            assert_eq!(needs_scale(&budget), scale, "{spec}");
            assert_eq!(wanted(&budget, expected), Some(Wanted { expected, healthy }), "{spec}");
        }
    }

    #[test]
    fn evicted_pods_count_as_gone_until_they_are_overdue() {
        let start = Timestamp::UNIX_EPOCH;
        let ready: Vec<Arc<Pod>> =
            ["a", "b", "c"].map(|n| Arc::new(make::pod(n, "Running", Some(start)))).into_iter().collect();
        let budget = budget(json!({"minAvailable": 1}), json!({"a": Time(start), "gone": Time(start)}));
        let wanted = Wanted { expected: 3, healthy: 1 };
        let soon = plan(&budget, &ready, wanted, start + Duration::from_secs(100));
        assert_eq!((soon.status.current_healthy, soon.status.disruptions_allowed), (Some(2), Some(1)));
        assert_eq!(soon.wake, Some(Duration::from_secs(20)));
        assert_eq!(soon.status.disrupted_pods, Some([("a".to_owned(), Time(start))].into()));
        let late = plan(&budget, &ready, wanted, start + DELETION_TIMEOUT);
        assert_eq!(
            (late.status.current_healthy, late.status.disruptions_allowed, late.not_deleted.len()),
            (Some(3), Some(2), 1)
        );
        assert_eq!((late.wake, late.status.disrupted_pods), (None, None));
    }

    #[test]
    fn without_pods_nothing_may_be_disrupted() {
        let budget = budget(json!({"maxUnavailable": 1}), json!({}));
        let now = Timestamp::UNIX_EPOCH;
        let status = plan(&budget, &[], Wanted { expected: 0, healthy: 0 }, now).status;
        let condition = &status.conditions.as_ref().unwrap()[0];
        assert_eq!((status.disruptions_allowed, status.observed_generation), (Some(0), Some(3)));
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "InsufficientPods"));
        let again = PodDisruptionBudget { status: Some(status), ..budget };
        let failed = failed(&again, "why", now + Duration::from_secs(9));
        let condition = &failed.conditions.as_ref().unwrap()[0];
        assert_eq!((condition.reason.as_str(), condition.message.as_str()), ("SyncFailed", "why"));
        assert_eq!(condition.last_transition_time, Time(now), "it was False before");
    }
}
