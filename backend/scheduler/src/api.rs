//! The fields of the API's objects that scheduling reads. Decoding skips the rest, which is most of a pod.

use std::collections::BTreeMap;

use pilothouse_controllers::follow::Versioned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::resources::Amount;

/// `null` means the default, as everywhere in the API.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

macro_rules! objects {
    ($($(#[$meta:meta])* $name:ident { $($(#[$on:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$on])* #[serde(deserialize_with = "nullable")] pub $field: $type,)* })*
    };
}

pub type Labels = BTreeMap<Box<str>, Box<str>>;
pub type Amounts = BTreeMap<Box<str>, Amount>;

objects! {
    Meta {
        name: String,
        namespace: String,
        uid: String,
        resource_version: String,
        labels: Labels,
        creation_timestamp: Option<jiff::Timestamp>,
        deletion_timestamp: Option<String>,
        owner_references: Vec<OwnerReference>,
    }
    OwnerReference { uid: String, controller: bool, }

    Pod { metadata: Meta, spec: PodSpec, status: PodStatus, }
    PodSpec {
        node_name: String,
        scheduler_name: String,
        priority: i32,
        preemption_policy: String,
        host_network: bool,
        containers: Vec<Container>,
        init_containers: Vec<Container>,
        resources: Resources,
        overhead: Amounts,
        node_selector: Labels,
        affinity: Affinity,
        tolerations: Vec<Toleration>,
        topology_spread_constraints: Vec<SpreadConstraint>,
        scheduling_gates: Vec<Named>,
        volumes: Vec<Volume>,
    }
    PodStatus {
        phase: String,
        nominated_node_name: String,
        conditions: Vec<Condition>,
        start_time: Option<jiff::Timestamp>,
    }
    Condition {
        #[serde(rename = "type")]
        type_: String,
        status: String,
        reason: String,
        message: String,
    }
    Container { image: String, restart_policy: String, resources: Resources, ports: Vec<ContainerPort>, }
    Resources { requests: Amounts, limits: Amounts, }
    ContainerPort { host_port: u16, protocol: String,
        #[serde(rename = "hostIP")]
        host_ip: String,
    }
    Toleration { key: String, operator: String, value: String, effect: String, }
    Named { name: String, }
    Volume { name: String, persistent_volume_claim: Option<ClaimSource>, ephemeral: Option<Value>, }
    ClaimSource { claim_name: String, }

    Affinity { node_affinity: NodeAffinity, pod_affinity: PodAffinity, pod_anti_affinity: PodAffinity, }
    NodeAffinity {
        #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
        required: Option<NodeSelector>,
        #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
        preferred: Vec<PreferredNode>,
    }
    NodeSelector { node_selector_terms: Vec<NodeSelectorTerm>, }
    PreferredNode { weight: i64, preference: NodeSelectorTerm, }
    NodeSelectorTerm { match_expressions: Vec<NodeRequirement>, match_fields: Vec<NodeRequirement>, }
    NodeRequirement { key: String, operator: String, values: Vec<String>, }
    PodAffinity {
        #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
        required: Vec<PodTerm>,
        #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
        preferred: Vec<WeightedPodTerm>,
    }
    WeightedPodTerm { weight: i64, pod_affinity_term: PodTerm, }
    PodTerm {
        label_selector: Value,
        namespaces: Vec<String>,
        /// Null selects no namespace, `{}` every one.
        namespace_selector: Option<Value>,
        topology_key: String,
        match_label_keys: Vec<String>,
        mismatch_label_keys: Vec<String>,
    }
    SpreadConstraint {
        max_skew: i64,
        topology_key: String,
        when_unsatisfiable: String,
        label_selector: Value,
        min_domains: Option<i64>,
        node_affinity_policy: String,
        node_taints_policy: String,
        match_label_keys: Vec<String>,
    }

    Node { metadata: Meta, spec: NodeSpec, status: NodeStatus, }
    NodeSpec { unschedulable: bool, taints: Vec<Taint>, }
    Taint { key: String, value: String, effect: String, }
    NodeStatus { allocatable: Amounts, images: Vec<Image>, }
    Image { names: Vec<String>, size_bytes: i64, }

    Namespace { metadata: Meta, }
    Claim { metadata: Meta, spec: ClaimSpec, status: ClaimStatus, }
    ClaimSpec { volume_name: String, storage_class_name: Option<String>, access_modes: Vec<String>, }
    ClaimStatus { phase: String, }
    PersistentVolume { metadata: Meta, spec: VolumeSpec, }
    VolumeSpec { node_affinity: VolumeAffinity, }
    VolumeAffinity { required: Option<NodeSelector>, }
    StorageClass { metadata: Meta, volume_binding_mode: String, }
    Budget { metadata: Meta, spec: BudgetSpec, status: BudgetStatus, }
    BudgetSpec { selector: Option<Value>, }
    BudgetStatus { disruptions_allowed: i64, disrupted_pods: BTreeMap<String, Value>, }
}

/// What every followed kind has.
pub trait Object {
    fn meta(&self) -> &Meta;
}

macro_rules! object {
    ($($name:ident)*) => { $(
        impl Object for $name {
            fn meta(&self) -> &Meta {
                &self.metadata
            }
        }
        impl Versioned for $name {
            fn resource_version(&self) -> &str {
                &self.metadata.resource_version
            }
        }
    )* };
}
object! { Pod Node Namespace Claim PersistentVolume StorageClass Budget }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_unknown_fields_do_no_harm() {
        let text = r#"{"metadata":{"name":"a","labels":null,"managedFields":[{"x":1}]},"spec":{"containers":null,
            "nodeName":null,"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":null}}}}"#;
        let pod: Pod = serde_json::from_str(text).unwrap();
        assert_eq!(pod.metadata.name, "a");
        assert!(pod.spec.containers.is_empty());
    }
}
