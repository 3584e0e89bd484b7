//! Amounts of resources as integers: CPU in thousandths, everything else in whole units.

use std::sync::Arc;

use pilothouse_api::quantity::Quantity;
use serde::Deserialize;

use crate::api::{Amounts, Container, PodSpec};

/// What a container without a request counts for in scores (never in filters), so that such pods spread too.
pub const DEFAULT_MILLI_CPU: i64 = 100;
pub const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// A quantity as it comes, text or number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    Text(Box<str>),
    Number(serde_json::Number),
}

impl Default for Amount {
    fn default() -> Self {
        Self::Number(0.into())
    }
}

impl Amount {
    fn quantity(&self) -> Quantity {
        match self {
            Self::Text(text) => Quantity::parse(text),
            Self::Number(number) => Quantity::parse(&number.to_string()),
        }
        // The API has validated it; what cannot be read counts for nothing.
        .unwrap_or(Quantity::ZERO)
    }

    fn units(&self) -> i64 {
        i64::try_from(self.quantity().value()).unwrap_or(i64::MAX)
    }

    fn milli(&self) -> i64 {
        i64::try_from(self.quantity().milli()).unwrap_or(i64::MAX)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages, sorted by name; few pods have any.
    pub scalars: Vec<(Arc<str>, i64)>,
}

impl Resources {
    pub fn from_amounts(amounts: &Amounts) -> Self {
        let mut resources = Self::default();
        for (name, amount) in amounts {
            match &**name {
                "cpu" => resources.milli_cpu = amount.milli(),
                "memory" => resources.memory = amount.units(),
                "ephemeral-storage" => resources.ephemeral_storage = amount.units(),
                "pods" => {}
                other => resources.scalars.push((other.into(), amount.units())),
            }
        }
        resources
    }

    pub fn scalar(&self, name: &str) -> i64 {
        self.scalars.iter().find(|(n, _)| &**n == name).map_or(0, |(_, v)| *v)
    }

    fn combine(&mut self, other: &Self, op: fn(i64, i64) -> i64) {
        self.milli_cpu = op(self.milli_cpu, other.milli_cpu);
        self.memory = op(self.memory, other.memory);
        self.ephemeral_storage = op(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            match self.scalars.iter_mut().find(|(n, _)| n == name) {
                Some((_, have)) => *have = op(*have, *amount),
                None => self.scalars.push((name.clone(), op(0, *amount))),
            }
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    pub fn sub(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    pub fn max(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    #[cfg(test)]
    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalars.iter().all(|(_, v)| *v == 0)
    }
}

/// What a pod asks of its node: containers and sidecars together, or the init phase's peak if that is more; pod-level
/// requests take precedence; overhead on top.
/// Source: <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers>
pub fn pod_requests(spec: &PodSpec) -> Resources {
    let mut total = aggregate(spec, |c| Resources::from_amounts(&c.resources.requests));
    for (name, amount) in &spec.resources.requests {
        match &**name {
            "cpu" => total.milli_cpu = amount.milli(),
            "memory" => total.memory = amount.units(),
            other => {
                total.scalars.retain(|(n, _)| &**n != other);
                total.scalars.push((other.into(), amount.units()));
            }
        }
    }
    total.add(&Resources::from_amounts(&spec.overhead));
    total.scalars.sort();
    total
}

/// As [`pod_requests`], CPU and memory only, with defaults for containers that ask for nothing: for scores.
pub fn pod_requests_for_scores(spec: &PodSpec) -> (i64, i64) {
    let mut total = aggregate(spec, |c| {
        let mut requests = Resources::from_amounts(&c.resources.requests);
        requests.scalars.clear();
        if !c.resources.requests.contains_key("cpu") {
            requests.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !c.resources.requests.contains_key("memory") {
            requests.memory = DEFAULT_MEMORY;
        }
        requests
    });
    if let Some(cpu) = spec.resources.requests.get("cpu") {
        total.milli_cpu = cpu.milli();
    }
    if let Some(memory) = spec.resources.requests.get("memory") {
        total.memory = memory.units();
    }
    total.add(&Resources::from_amounts(&spec.overhead));
    (total.milli_cpu, total.memory)
}

fn aggregate(spec: &PodSpec, requests: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&requests(container));
    }
    // Sidecars started so far run beside every later init container.
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let mut now = requests(container);
        if container.restart_policy == "Always" {
            total.add(&now);
            sidecars.add(&now);
            now = sidecars.clone();
        } else {
            now.add(&sidecars);
        }
        peak.max(&now);
    }
    total.max(&peak);
    total
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn requests(spec: Value) -> Resources {
        pod_requests(&serde_json::from_value(spec).unwrap())
    }

    fn container(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    fn sidecar(cpu: &str) -> Value {
        json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn init_containers_sidecars_and_overhead() {
        let cases = [
            (json!({"containers": [container("100m"), container("0.2")]}), 300),
            (json!({"containers": [container("100m")], "initContainers": [container("1")]}), 1000),
            (json!({"containers": [container("2")], "initContainers": [container("1")]}), 2000),
            (json!({"containers": [container("100m")], "initContainers": [sidecar("300m"), container("500m")]}), 800),
            (json!({"containers": [container("700m")], "initContainers": [sidecar("300m"), container("500m")]}), 1000),
            (json!({"containers": [container("100m")], "initContainers": [container("500m"), sidecar("300m")]}), 500),
            (json!({"containers": [container("100m")], "overhead": {"cpu": "50m"}}), 150),
            (json!({"containers": [container("100m")], "resources": {"requests": {"cpu": 2}}}), 2000),
        ];
        for (spec, milli) in cases {
            assert_eq!(requests(spec.clone()).milli_cpu, milli, "{spec}");
        }
    }

    #[test]
    fn memory_and_extended_resources() {
        let spec = json!({"containers": [
            {"resources": {"requests": {"memory": "1Gi", "nvidia.com/gpu": "1"}}},
            {"resources": {"requests": {"memory": "512Mi", "nvidia.com/gpu": 2}}},
        ]});
        let total = requests(spec);
        assert_eq!(total.memory, 1536 << 20);
        assert_eq!(total.scalar("nvidia.com/gpu"), 3);
        let empty: PodSpec = serde_json::from_value(json!({"containers": [{}, {}]})).unwrap();
        assert!(pod_requests(&empty).is_zero());
        assert_eq!(pod_requests_for_scores(&empty), (200, 400 << 20));
    }
}
