//! The default roles, and bringing stored ones up to date.

use serde_json::{Value, json};

use super::{facts, metadata};
use crate::authz::PolicyRule;
use crate::text;

pub(super) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const GROUP: &str = "rbac.authorization.k8s.io/v1";
const TO_ADMIN: &str = "rbac.authorization.k8s.io/aggregate-to-admin";
const TO_EDIT: &str = "rbac.authorization.k8s.io/aggregate-to-edit";
const TO_VIEW: &str = "rbac.authorization.k8s.io/aggregate-to-view";

/// Names and the labels that make others collect them.
const AGGREGATED: &[(&str, &str)] = &[
    ("system:aggregate-to-admin", TO_ADMIN),
    ("system:aggregate-to-edit", TO_EDIT),
    ("system:aggregate-to-view", TO_VIEW),
];

/// Names, the label they collect, the label that makes others collect them.
const AGGREGATING: &[(&str, &str, Option<&str>)] =
    &[("admin", TO_ADMIN, None), ("edit", TO_EDIT, Some(TO_ADMIN)), ("view", TO_VIEW, Some(TO_EDIT))];

fn cluster_role(name: &str, rules: &[PolicyRule], labels: &[&str]) -> Value {
    json!({"apiVersion": GROUP, "kind": "ClusterRole", "metadata": metadata(name, None, labels), "rules": rules})
}

pub(super) fn cluster_roles() -> Vec<Value> {
    let plain = facts::cluster_roles().into_iter().map(|(name, rules)| {
        let labels: Vec<&str> = AGGREGATED.iter().filter(|(of, _)| *of == name).map(|(_, label)| *label).collect();
        cluster_role(&name, &rules, &labels)
    });
    let controllers = facts::controller_roles()
        .into_iter()
        .map(|(name, rules)| cluster_role(&format!("system:controller:{name}"), &rules, &[]));
    let aggregating = AGGREGATING.iter().map(|(name, collects, label)| {
        let mut role = cluster_role(name, &[], label.as_slice());
        role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {(*collects): "true"}}]});
        role
    });
    plain.chain(controllers).chain(aggregating).collect()
}

pub(super) fn namespace_roles() -> Vec<Value> {
    let object = |((namespace, name), rules): ((String, String), Vec<PolicyRule>)| {
        json!({"apiVersion": GROUP, "kind": "Role",
               "metadata": metadata(&name, Some(&namespace), &[]), "rules": rules})
    };
    facts::namespace_roles().into_iter().map(object).collect()
}

/// Brings a stored default role or binding up to date: `Some(merged)` when it lacks rules, subjects, labels or the
/// aggregation rule of the default, None when nothing is to be done. What was added by hand stays.
pub fn reconcile(stored: &Value, default: &Value) -> Option<Value> {
    let kind = text(default, "/kind");
    let annotations = stored.pointer("/metadata/annotations");
    let frozen = annotations.and_then(|all| all.get(AUTOUPDATE)).is_some_and(|value| value == "false");
    if frozen || !text(default, "/apiVersion").starts_with("rbac.authorization.k8s.io/") {
        return None;
    }
    let mut merged = stored.clone();
    for field in ["labels", "annotations"] {
        let wanted = default["metadata"][field].as_object().cloned().unwrap_or_default();
        for (key, value) in wanted {
            let known = &mut merged["metadata"][field];
            if known.get(&key).is_none() {
                known[key] = value;
            }
        }
    }
    let list = match kind {
        "ClusterRole" | "Role" if default.get("aggregationRule").is_some() => {
            // Its rules are the aggregation's business.
            merged["aggregationRule"] = default["aggregationRule"].clone();
            None
        }
        "ClusterRole" | "Role" => Some("rules"),
        _ => Some("subjects"),
    };
    if let Some(list) = list {
        let mut items = stored.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        for wanted in default.get(list).and_then(Value::as_array).into_iter().flatten() {
            if !items.contains(wanted) {
                items.push(wanted.clone());
            }
        }
        merged[list] = json!(items);
    }
    let empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let same = merged == *stored || list.is_some_and(|l| empty(&merged[l]) && stored.get(l).is_none());
    (!same).then_some(merged)
}
