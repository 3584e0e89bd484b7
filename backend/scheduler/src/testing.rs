//! Pods and nodes for tests and for the rate example.

use serde_json::{Value, json};

use crate::api;
use crate::info::PodInfo;

pub struct PodBuilder(Value);

/// A pod `ns/name` without a node.
pub fn pod(name: &str) -> PodBuilder {
    PodBuilder(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": "1", "labels": {}},
        "spec": {"containers": [{"name": "c", "image": "app"}], "schedulerName": "default-scheduler"},
    }))
}

impl PodBuilder {
    #[must_use]
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        let mut at = &mut self.0;
        for part in parent.split('/').filter(|p| !p.is_empty()) {
            at = match part.parse::<usize>() {
                Ok(index) if at.is_array() => &mut at[index],
                _ => &mut at[part],
            };
        }
        at[key] = value;
        self
    }

    #[must_use]
    pub fn requests(self, cpu: &str, memory: &str) -> Self {
        self.set("/spec/containers/0/resources", json!({"requests": {"cpu": cpu, "memory": memory}}))
    }

    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = value.into();
        self
    }

    #[must_use]
    pub fn priority(self, priority: i32) -> Self {
        self.set("/spec/priority", priority.into())
    }

    /// Required terms `affinity` or `antiAffinity` (`podAffinity`, `podAntiAffinity`) on a label `app`.
    #[must_use]
    pub fn near(self, kind: &str, app: &str, key: &str) -> Self {
        let term = json!([{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}]);
        self.set("/spec/affinity", json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": term}}))
    }

    #[must_use]
    pub fn owner(self, uid: &str) -> Self {
        self.set("/metadata/ownerReferences", json!([{"uid": uid, "controller": true}]))
    }

    /// The pod as decisions see it.
    pub fn build(self) -> PodInfo {
        PodInfo::new(&self.api())
    }

    pub fn api(self) -> api::Pod {
        serde_json::from_value(self.0).unwrap_or_default()
    }
}

pub struct NodeBuilder(Value);

/// A node of 4 CPUs, 16 GiB and 110 pods.
pub fn node(name: &str) -> NodeBuilder {
    NodeBuilder(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"}},
    }))
}

impl NodeBuilder {
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = value.into();
        self
    }

    #[must_use]
    pub fn allocatable(mut self, resource: &str, amount: &str) -> Self {
        self.0["status"]["allocatable"][resource] = amount.into();
        self
    }

    #[must_use]
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        self.0["spec"]["taints"] = json!([{"key": key, "value": value, "effect": effect}]);
        self
    }

    #[must_use]
    pub fn cordoned(mut self) -> Self {
        self.0["spec"]["unschedulable"] = true.into();
        self
    }

    #[must_use]
    pub fn image(mut self, name: &str, bytes: i64) -> Self {
        self.0["status"]["images"] = json!([{"names": [name], "sizeBytes": bytes}]);
        self
    }

    pub fn build(self) -> api::Node {
        serde_json::from_value(self.0).unwrap_or_default()
    }
}
