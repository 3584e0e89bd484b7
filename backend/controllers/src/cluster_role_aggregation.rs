//! Fills ClusterRoles that have an aggregation rule with the rules of the ClusterRoles it selects.
//!
//! Invariants:
//! - The order of rules depends only on the roles' names, so that nothing is written when nothing has changed.
//! - A role never feeds itself.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles>

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;

use crate::error::{Next, Result, ignore_not_found};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::selector::Selector;
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "clusterrole-aggregation-controller", workers: 1, start };

fn start(cx: Context) -> Reconcile {
    cx.caches.cluster_roles.on({
        let (queue, roles) = (cx.queue.clone(), cx.caches.cluster_roles.clone());
        move |change| {
            let same = change.old.zip(change.new).is_some_and(|(old, new)| {
                old.rules == new.rules
                    && old.metadata.labels == new.metadata.labels
                    && old.aggregation_rule == new.aggregation_rule
            });
            if same {
                return;
            }
            // Any role may be selected by any aggregating role, before or after the change.
            for role in roles.list(None).iter().filter(|r| r.aggregation_rule.is_some()) {
                queue.add(Key::of(&role.metadata));
            }
        }
    });
    reconciler(cx, reconcile)
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(role) = cx.caches.cluster_roles.get(&key) else { return Ok(None) };
    let Some(rules) = aggregate(&role, &cx.caches.cluster_roles.list(None))? else { return Ok(None) };
    if role.rules.as_deref().unwrap_or_default() == rules {
        return Ok(None);
    }
    let new = ClusterRole { rules: Some(rules), ..(*role).clone() };
    let api: Api<ClusterRole> = Api::all(cx.client.clone());
    ignore_not_found(write::update(&api, &role, &new).await)?;
    Ok(None)
}

/// The rules the role should have; none when it does not aggregate. `all` is sorted by name.
fn aggregate(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Result<Option<Vec<PolicyRule>>> {
    let Some(aggregation) = &role.aggregation_rule else { return Ok(None) };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = Selector::new(selector)?;
        let others = all.iter().filter(|r| r.metadata.name != role.metadata.name);
        for rule in others.filter(|r| selector.matches_meta(&r.metadata)).flat_map(|r| r.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Ok(Some(rules))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn role(value: Value) -> Arc<ClusterRole> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn the_union_of_the_selected_roles_rules_each_once() {
        let rule = |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
        let edit = json!({"to-edit": "true"});
        let all = [
            role(json!({"metadata": {"name": "a", "labels": edit}, "rules": [rule("pods"), rule("services")]})),
            role(
                json!({"metadata": {"name": "b", "labels": {"to-view": "true"}}, "rules": [rule("pods"), rule("nodes")]}),
            ),
            role(json!({"metadata": {"name": "c"}, "rules": [rule("secrets")]})),
            role(json!({
                "metadata": {"name": "edit", "labels": edit},
                "rules": [rule("stale")],
                "aggregationRule": {"clusterRoleSelectors": [
                    {"matchLabels": {"to-view": "true"}}, {"matchLabels": {"to-edit": "true"}},
                ]},
            })),
        ];
        let rules = aggregate(&all[3], &all).unwrap().unwrap();
        let resources: Vec<_> = rules.iter().flat_map(|r| r.resources.iter().flatten()).collect();
        assert_eq!(resources, ["pods", "nodes", "services"]);
        assert_eq!(aggregate(&all[0], &all).unwrap(), None);
        let nothing = role(json!({"metadata": {"name": "x"}, "aggregationRule": {"clusterRoleSelectors": []}}));
        assert_eq!(aggregate(&nothing, &all).unwrap(), Some(vec![]));
    }
}
