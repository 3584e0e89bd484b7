//! What a new cluster holds before anybody came: namespaces, default roles and bindings, priority classes, flow
//! schemas. Written at start-up when missing; roles and bindings are reconciled (missing rules and subjects are added)
//! unless annotated `rbac.authorization.kubernetes.io/autoupdate: "false"`.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>
//!
//! Invariant: the rules are facts in tables (`facts/*.tsv`), Kubernetes' own apart from ours; code only shapes them.

mod aggregate;
mod bindings;
mod facts;
mod flow;
mod roles;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::authz::PolicyRule;

pub use aggregate::aggregate;
pub use flow::{AUTOUPDATE, default_flow_control, is_mandatory, maintained, mandatory_flow_control};
pub use roles::reconcile;

/// What every node may do, whichever it is: the rules of `system:node`.
pub(crate) fn node_rules() -> Vec<PolicyRule> {
    facts::cluster_roles().remove("system:node").unwrap_or_default()
}

/// Every object of a new cluster, in the order to create them.
pub fn bootstrap_objects() -> Vec<Value> {
    let mut cluster_roles = roles::cluster_roles();
    for changed in aggregate(&cluster_roles) {
        if let Some(role) =
            cluster_roles.iter_mut().find(|role| role["metadata"]["name"] == changed["metadata"]["name"])
        {
            *role = changed;
        }
    }
    let mut all = namespaces();
    all.extend(priority_classes());
    all.extend(cluster_roles);
    all.extend(bindings::cluster_role_bindings());
    all.extend(roles::namespace_roles());
    all.extend(bindings::role_bindings());
    all.extend(flow::priority_levels());
    all.extend(flow::flow_schemas());
    all
}

fn namespaces() -> Vec<Value> {
    let names = ["default", "kube-system", "kube-public", "kube-node-lease"];
    let object = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace",
               "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
               "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
    };
    names.map(object).into()
}

/// The priority of `system-cluster-critical`; users' classes end at half of it.
const SYSTEM_CRITICAL: i64 = 2_000_000_000;

fn priority_classes() -> Vec<Value> {
    let object = |name: &str, value: i64, description: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
               "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority"})
    };
    vec![
        object(
            "system-node-critical",
            SYSTEM_CRITICAL + 1000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        object(
            "system-cluster-critical",
            SYSTEM_CRITICAL,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if \
             necessary.",
        ),
    ]
}

/// The metadata of a default role or binding: reconciled at every start.
fn metadata(name: &str, namespace: Option<&str>, labels: &[&str]) -> Value {
    let mut all: BTreeMap<&str, &str> = labels.iter().map(|label| (*label, "true")).collect();
    all.insert("kubernetes.io/bootstrapping", "rbac-defaults");
    let mut metadata = json!({
        "name": name, "labels": all,
        "annotations": {(roles::AUTOUPDATE): "true"},
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

#[cfg(test)]
mod tests;
