//! Requests and limits: quality of service, and what the kernel is told. Pure.
//! Source: <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>, KEP-2837 (pod level), KEP-753 (sidecars).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use pilothouse_cri::v1::LinuxContainerResources;

const CPU_PERIOD_MICROS: i64 = 100_000;
const MIN_QUOTA_MICROS: i64 = 1000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;

type Resources = BTreeMap<String, Quantity>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// A quantity in thousandths of its unit; 0 when it is absent or malformed (the API has validated it).
#[must_use]
pub fn milli(resources: Option<&Resources>, name: &str) -> Option<i64> {
    let quantity = pilothouse_api::quantity::Quantity::parse(&resources?.get(name)?.0).ok()?;
    i64::try_from(quantity.milli()).ok()
}

/// A quantity in its unit, rounded up.
#[must_use]
pub fn value(resources: Option<&Resources>, name: &str) -> Option<i64> {
    let quantity = pilothouse_api::quantity::Quantity::parse(&resources?.get(name)?.0).ok()?;
    i64::try_from(quantity.value()).ok()
}

#[must_use]
pub fn requests(container: &Container) -> Option<&Resources> {
    container.resources.as_ref()?.requests.as_ref()
}

#[must_use]
pub fn limits(container: &Container) -> Option<&Resources> {
    container.resources.as_ref()?.limits.as_ref()
}

#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

#[must_use]
pub fn qos(spec: &PodSpec) -> Qos {
    if let Some(resources) = &spec.resources
        && (resources.requests.as_ref().is_some_and(|r| !r.is_empty())
            || resources.limits.as_ref().is_some_and(|r| !r.is_empty()))
    {
        return class(std::iter::once((resources.requests.as_ref(), resources.limits.as_ref())));
    }
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    class(all.map(|container| (requests(container), limits(container))))
}

fn class<'a>(all: impl Iterator<Item = (Option<&'a Resources>, Option<&'a Resources>)>) -> Qos {
    let (mut any, mut guaranteed) = (false, true);
    for (requests, limits) in all {
        for name in ["cpu", "memory"] {
            let limit = milli(limits, name).filter(|value| *value > 0);
            // A limit without a request is its own request.
            let request = milli(requests, name).filter(|value| *value > 0).or(limit);
            any |= request.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

#[must_use]
pub fn shares(milli_cpu: i64) -> i64 {
    (milli_cpu * SHARES_PER_CPU / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

#[must_use]
pub fn quota(milli_cpu: i64) -> i64 {
    (milli_cpu * CPU_PERIOD_MICROS / 1000).max(MIN_QUOTA_MICROS)
}

/// What a container's own cgroup gets.
#[must_use]
pub fn of_container(spec: &PodSpec, container: &Container, node_memory: u64) -> LinuxContainerResources {
    let (requests, limits) = (requests(container), limits(container));
    let cpu_limit = milli(limits, "cpu").filter(|value| *value > 0);
    let cpu = milli(requests, "cpu").or(cpu_limit).unwrap_or(0);
    LinuxContainerResources {
        cpu_shares: shares(cpu),
        cpu_period: CPU_PERIOD_MICROS,
        cpu_quota: cpu_limit.map_or(0, quota),
        memory_limit_in_bytes: value(limits, "memory").unwrap_or(0),
        oom_score_adj: oom_score_adj(spec, container, node_memory),
        ..Default::default()
    }
}

/// Who dies first when the node runs out of memory.
fn oom_score_adj(spec: &PodSpec, container: &Container, node_memory: u64) -> i64 {
    if spec.priority.is_some_and(|priority| priority >= 2_000_000_000) {
        return -997;
    }
    match qos(spec) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = value(requests(container), "memory").or(value(limits(container), "memory")).unwrap_or(0);
            let share = i128::from(request) * 1000 / i128::from(node_memory.max(1));
            // Never as safe as a guaranteed pod, never as exposed as one without any request.
            i64::try_from(1000 - share).unwrap_or(3).clamp(3, 999)
        }
    }
}

/// What a pod's cgroup gets; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    pub cpu_shares: i64,
    pub cpu_quota_micros: Option<i64>,
    pub cpu_period_micros: i64,
    pub memory_bytes: Option<i64>,
}

/// Containers that run side by side add up; init containers run one after the other, beside the sidecars before them.
fn total(spec: &PodSpec, of: impl Fn(&Container) -> Option<i64>) -> Option<i64> {
    let mut sum = Some(0_i64);
    let add = |a: Option<i64>, b: Option<i64>| Some(a? + b?);
    for container in &spec.containers {
        sum = add(sum, of(container));
    }
    let mut sidecars = Some(0_i64);
    let mut peak = Some(0_i64);
    for container in spec.init_containers.iter().flatten() {
        let with = add(sidecars, of(container));
        if is_sidecar(container) {
            sidecars = with;
        }
        peak = peak.zip(with).map(|(a, b)| a.max(b));
    }
    add(sum, sidecars).zip(peak).map(|(a, b)| a.max(b))
}

#[must_use]
pub fn of_pod(spec: &PodSpec) -> PodLimits {
    let own = spec.resources.as_ref();
    let own_limit = |name: &str| milli(own.and_then(|r| r.limits.as_ref()), name).filter(|value| *value > 0);
    let request = |name: &'static str| {
        milli(own.and_then(|r| r.requests.as_ref()), name).or_else(|| {
            let of = |c: &Container| Some(milli(requests(c), name).or(milli(limits(c), name)).unwrap_or(0));
            total(spec, of)
        })
    };
    // One container without a limit leaves the pod without one.
    let limit = |name: &'static str| {
        own_limit(name).or_else(|| total(spec, |c| milli(limits(c), name).filter(|value| *value > 0)))
    };
    PodLimits {
        cpu_shares: shares(request("cpu").unwrap_or(0)),
        cpu_quota_micros: limit("cpu").map(quota),
        cpu_period_micros: CPU_PERIOD_MICROS,
        memory_bytes: limit("memory").map(|milli| milli / 1000),
    }
}

/// What the pod asks of the node: `cpu` in thousandths, everything else in units.
#[must_use]
pub fn pod_request(spec: &PodSpec, name: &str) -> i64 {
    let of =
        |resources: Option<&Resources>| if name == "cpu" { milli(resources, name) } else { value(resources, name) };
    let own = spec.resources.as_ref().and_then(|resources| of(resources.requests.as_ref()));
    let request = own.or_else(|| total(spec, |c| Some(of(requests(c)).or(of(limits(c))).unwrap_or(0))));
    request.unwrap_or(0) + of(spec.overhead.as_ref()).unwrap_or(0)
}

#[must_use]
pub fn spec(pod: &Pod) -> Option<&PodSpec> {
    pod.spec.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(containers: Value) -> PodSpec {
        serde_json::from_value(json!({"containers": containers})).unwrap()
    }

    fn container(requests: Value, limits: Value) -> Value {
        json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn classes() {
        for (containers, class) in [
            (json!([{"name": "a"}]), Qos::BestEffort),
            (json!([container(json!({"cpu": "0"}), json!({}))]), Qos::BestEffort),
            (json!([container(json!({"cpu": "100m"}), json!({}))]), Qos::Burstable),
            (json!([container(json!({}), json!({"cpu": "1", "memory": "1Gi"}))]), Qos::Guaranteed),
            (json!([container(json!({"cpu": "1000m"}), json!({"cpu": "1", "memory": "1Gi"}))]), Qos::Guaranteed),
            (json!([container(json!({"cpu": "500m"}), json!({"cpu": "1", "memory": "1Gi"}))]), Qos::Burstable),
            (json!([container(json!({}), json!({"cpu": "1"}))]), Qos::Burstable),
            (json!([container(json!({}), json!({"cpu": "1", "memory": "1"})), {"name": "b"}]), Qos::Burstable),
        ] {
            assert_eq!(qos(&pod(containers.clone())), class, "{containers}");
        }
    }

    #[test]
    fn a_container_without_cpu_gets_the_least_and_no_quota() {
        let spec = pod(json!([{"name": "a"}]));
        let got = of_container(&spec, &spec.containers[0], 1 << 34);
        assert_eq!((got.cpu_shares, got.cpu_quota, got.memory_limit_in_bytes, got.oom_score_adj), (2, 0, 0, 1000));
        let spec = pod(json!([container(json!({"cpu": "250m"}), json!({"cpu": "500m", "memory": "64Mi"}))]));
        let got = of_container(&spec, &spec.containers[0], 1 << 34);
        assert_eq!((got.cpu_shares, got.cpu_quota, got.memory_limit_in_bytes), (256, 50_000, 64 << 20));
        assert_eq!(got.oom_score_adj, 997);
    }

    #[test]
    fn a_pods_limits_are_its_containers_and_the_init_containers_peak() {
        let mut spec = pod(json!([
            container(json!({"cpu": "100m"}), json!({"cpu": "200m", "memory": "10Mi"})),
            container(json!({"cpu": "100m"}), json!({"cpu": "200m", "memory": "10Mi"})),
        ]));
        let limits = of_pod(&spec);
        assert_eq!(limits.cpu_shares, 204);
        assert_eq!((limits.cpu_quota_micros, limits.memory_bytes), (Some(40_000), Some(20 << 20)));
        spec.init_containers =
            serde_json::from_value(json!([container(json!({"cpu": "2"}), json!({"cpu": "2", "memory": "1Mi"}))]))
                .unwrap();
        let limits = of_pod(&spec);
        assert_eq!((limits.cpu_shares, limits.cpu_quota_micros), (2048, Some(200_000)));
        assert_eq!(pod_request(&spec, "cpu"), 2000);
        spec.containers[0].resources = None;
        assert_eq!(of_pod(&spec).memory_bytes, None);
    }
}
