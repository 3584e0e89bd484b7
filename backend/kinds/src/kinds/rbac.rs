//! Role, ClusterRole and their bindings. Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    selector::LabelSelector,
};
use serde_json::Value;

use crate::{
    checks::{label_selector, push_all, required},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Strategy, path_segment_name},
    value::{Look, MapExt, items, object},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What all four have in common: names as free as paths allow, `kubectl auth reconcile` may create by updating.
const ANY: Strategy = Strategy { name: path_segment_name, create_on_update: true, ..Strategy::PLAIN };

pub(crate) static ROLE: Strategy = Strategy {
    validate: |role, errors| rules(role, true, errors),
    validate_update: |new, _, errors| rules(new, true, errors),
    ..ANY
};

pub(crate) static CLUSTER_ROLE: Strategy =
    Strategy { validate: cluster_role, validate_update: |new, _, errors| cluster_role(new, errors), ..ANY };

pub(crate) static ROLE_BINDING: Strategy = Strategy {
    default,
    validate: |binding, errors| self::binding(binding, true, errors),
    validate_update: |new, old, errors| binding_update(new, old, true, errors),
    columns: BINDING_COLUMNS,
    row,
    ..ANY
};

pub(crate) static CLUSTER_ROLE_BINDING: Strategy = Strategy {
    default,
    validate: |binding, errors| self::binding(binding, false, errors),
    validate_update: |new, old, errors| binding_update(new, old, false, errors),
    columns: BINDING_COLUMNS,
    row,
    ..ANY
};

const BINDING_COLUMNS: &[Column] =
    &[NAME, Column::text("Role"), AGE, Column::wide("Users"), Column::wide("Groups"), Column::wide("ServiceAccounts")];

fn row(binding: &Value, now: Timestamp) -> Vec<Value> {
    let of = |kind: &str| -> Value {
        let subjects = binding.list("subjects").iter().filter(|s| s.text("kind") == kind);
        let text = |subject: &Value| match (kind, subject.text("namespace")) {
            ("ServiceAccount", namespace) => format!("{namespace}/{}", subject.text("name")),
            _ => subject.text("name").to_owned(),
        };
        subjects.map(text).collect::<Vec<_>>().join(", ").into()
    };
    let role = format!("{}/{}", binding.text("roleRef.kind"), binding.text("roleRef.name"));
    vec![name(binding), role.into(), age(binding, now), of("User"), of("Group"), of("ServiceAccount")]
}

fn default(binding: &mut Value) {
    object(binding, "roleRef").or_set("apiGroup", GROUP);
    for subject in items(binding, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            subject.or_set("apiGroup", GROUP);
        }
    }
}

fn rules(role: &Value, namespaced: bool, errors: &mut ErrorList) {
    for (index, rule) in role.list("rules").iter().enumerate() {
        let path = Path::new("rules").index(index);
        if rule.list("verbs").is_empty() {
            errors.push(Error::required(path.child("verbs"), "verbs must contain at least one value"));
        }
        if !rule.list("nonResourceURLs").is_empty() {
            let (path, value) = (path.child("nonResourceURLs"), || rule.at("nonResourceURLs").clone());
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(Error::invalid(path.clone(), value(), detail));
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|key| !rule.list(key).is_empty()) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(Error::invalid(path, value(), detail));
            }
            continue;
        }
        if rule.list("apiGroups").is_empty() {
            errors.push(Error::required(path.child("apiGroups"), "resource rules must supply at least one api group"));
        }
        if rule.list("resources").is_empty() {
            errors.push(Error::required(path.child("resources"), "resource rules must supply at least one resource"));
        }
    }
}

fn cluster_role(role: &Value, errors: &mut ErrorList) {
    rules(role, false, errors);
    if !role.has("aggregationRule") {
        return;
    }
    let path = Path::new("aggregationRule").child("clusterRoleSelectors");
    let selectors = role.list("aggregationRule.clusterRoleSelectors");
    if selectors.is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(Error::required(path.clone(), detail));
    }
    for (index, selector) in selectors.iter().enumerate() {
        label_selector(selector, &path.index(index), errors);
        if LabelSelector::from_json(selector).is_err() {
            let error = Error::invalid(path.index(index), Value::Null, "invalid label selector.");
            errors.push(error);
        }
    }
}

fn binding(binding: &Value, namespaced: bool, errors: &mut ErrorList) {
    let (role, path) = (binding.at("roleRef"), Path::new("roleRef"));
    if role.text("apiGroup") != GROUP {
        errors.push(Error::not_supported(path.child("apiGroup"), role.text("apiGroup"), &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.text("kind")) {
        errors.push(Error::not_supported(path.child("kind"), role.text("kind"), kinds));
    }
    if required(role, &path, "name", errors) {
        push_all(names::is_path_segment_name(role.text("name")), role.text("name"), &path.child("name"), errors);
    }
    for (index, subject) in binding.list("subjects").iter().enumerate() {
        self::subject(subject, namespaced, &Path::new("subjects").index(index), errors);
    }
}

fn subject(subject: &Value, namespaced: bool, path: &Path, errors: &mut ErrorList) {
    let (name, group) = (subject.text("name"), subject.text("apiGroup"));
    let named = required(subject, path, "name", errors);
    match subject.text("kind") {
        "ServiceAccount" => {
            if named {
                push_all(names::is_dns1123_subdomain(name), name, &path.child("name"), errors);
            }
            if !group.is_empty() {
                errors.push(Error::not_supported(path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && subject.text("namespace").is_empty() {
                errors.push(Error::required(path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(Error::not_supported(path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            errors.push(Error::not_supported(path.child("kind"), other, &["ServiceAccount", "User", "Group"]));
        }
    }
}

fn binding_update(new: &Value, old: &Value, namespaced: bool, errors: &mut ErrorList) {
    binding(new, namespaced, errors);
    if new.at("roleRef") != old.at("roleRef") {
        errors.push(Error::invalid(Path::new("roleRef"), new.at("roleRef").clone(), "cannot change roleRef"));
    }
}
