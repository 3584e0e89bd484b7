//! ClusterRoles that are the union of others.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles>

use std::collections::BTreeMap;

use pilothouse_api::selector::LabelSelector;
use serde_json::{Value, json};

use crate::name_of;

/// ClusterRoles whose `rules` have to change so that they are the union of the roles their aggregationRule selects.
/// `roles` are all ClusterRoles; the result holds only the changed ones, as they have to be stored. Roles that
/// collect roles that collect are followed to the end.
pub fn aggregate(roles: &[Value]) -> Vec<Value> {
    let mut rules: BTreeMap<&str, Vec<Value>> = roles.iter().map(|role| (name_of(role), rules_of(role))).collect();
    // Each round carries rules one level up; a cycle stops growing because rules are not repeated.
    for _ in 0..=roles.len() {
        let mut settled = true;
        for role in roles {
            let Some(union) = union(role, roles, &rules) else { continue };
            if rules.get(name_of(role)) != Some(&union) {
                rules.insert(name_of(role), union);
                settled = false;
            }
        }
        if settled {
            break;
        }
    }
    let changed = roles.iter().filter(|role| selectors(role).is_some()).filter_map(|role| {
        let wanted = rules.get(name_of(role))?;
        (rules_of(role) != *wanted).then(|| {
            let mut changed = role.clone();
            changed["rules"] = json!(wanted);
            changed
        })
    });
    changed.collect()
}

fn rules_of(role: &Value) -> Vec<Value> {
    role.get("rules").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn selectors(role: &Value) -> Option<Vec<LabelSelector>> {
    let all = role.pointer("/aggregationRule/clusterRoleSelectors")?.as_array()?;
    // A selector that cannot be read selects nothing.
    Some(all.iter().filter_map(|selector| LabelSelector::from_json(selector).ok()).collect())
}

fn label<'a>(role: &'a Value, key: &str) -> Option<&'a str> {
    role.pointer("/metadata/labels")?.get(key)?.as_str()
}

/// None for a role that does not collect.
fn union(role: &Value, roles: &[Value], rules: &BTreeMap<&str, Vec<Value>>) -> Option<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    for selector in selectors(role)? {
        let mut selected: Vec<&str> = roles
            .iter()
            .filter(|other| name_of(other) != name_of(role))
            .filter(|other| selector.matches(|key| label(other, key)))
            .map(name_of)
            .collect();
        selected.sort_unstable();
        for rule in selected.iter().filter_map(|name| rules.get(name)).flatten() {
            if !all.contains(rule) {
                all.push(rule.clone());
            }
        }
    }
    Some(all)
}
