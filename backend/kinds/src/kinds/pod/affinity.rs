//! Validation of node selectors, affinity, spread constraints and tolerations.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Value, json};

use crate::{
    checks::{label_selector, one_of_if_there, push_all},
    value::{Look, dig, items},
};

const NODE_POLICIES: &[&str] = &["Honor", "Ignore"];
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn validate(affinity: &Value, path: &Path, errors: &mut ErrorList) {
    let (node, node_path) = (affinity.at("nodeAffinity"), path.child("nodeAffinity"));
    let required = node.at("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_object() {
        let path = node_path.child("requiredDuringSchedulingIgnoredDuringExecution");
        node_selector(required, &path, errors);
    }
    for (index, term) in node.list("preferredDuringSchedulingIgnoredDuringExecution").iter().enumerate() {
        let path = node_path.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
        weight(term, &path, errors);
        node_selector_term(term.at("preference"), false, &path.child("preference"), errors);
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        let (value, path) = (affinity.at(key), path.child(key));
        for (index, term) in value.list("requiredDuringSchedulingIgnoredDuringExecution").iter().enumerate() {
            pod_term(term, &path.child("requiredDuringSchedulingIgnoredDuringExecution").index(index), errors);
        }
        for (index, term) in value.list("preferredDuringSchedulingIgnoredDuringExecution").iter().enumerate() {
            let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
            weight(term, &path, errors);
            pod_term(term.at("podAffinityTerm"), &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut ErrorList) {
    let weight = term.int("weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(Error::invalid(path.child("weight"), weight, "must be in the range 1-100"));
    }
}

/// A NodeSelector: at least one term.
pub(crate) fn node_selector(selector: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("nodeSelectorTerms");
    let terms = selector.list("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(Error::required(path, "must have at least one node selector term"));
        return;
    }
    for (index, term) in terms.iter().enumerate() {
        node_selector_term(term, true, &path.index(index), errors);
    }
}

pub(crate) fn node_selector_term(term: &Value, check_values: bool, path: &Path, errors: &mut ErrorList) {
    for (index, requirement) in term.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let (key, operator, values) =
            (requirement.text("key"), requirement.text("operator"), requirement.list("values"));
        match operator {
            "In" | "NotIn" if values.is_empty() => errors
                .push(Error::required(path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::forbidden(
                path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Gt" | "Lt" if values.len() != 1 => errors.push(Error::required(
                path.child("values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.push(Error::invalid(path.child("operator"), other, "not a valid selector operator")),
        }
        push_all(names::is_qualified_name(key), key, &path.child("key"), errors);
        if check_values {
            for (index, value) in requirement.texts("values").enumerate() {
                push_all(names::is_label_value(value), value, &path.child("values").index(index), errors);
            }
        }
    }
    for (index, requirement) in term.list("matchFields").iter().enumerate() {
        let path = path.child("matchFields").index(index);
        match requirement.text("operator") {
            "In" | "NotIn" => {
                if requirement.list("values").len() != 1 {
                    let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.push(Error::required(path.child("values"), detail));
                }
            }
            other => errors.push(Error::invalid(path.child("operator"), other, "not a valid selector operator")),
        }
        let key = requirement.text("key");
        if key != "metadata.name" {
            errors.push(Error::invalid(path.child("key"), key, "not a valid field selector key"));
            continue;
        }
        for (index, value) in requirement.texts("values").enumerate() {
            push_all(names::is_dns1123_subdomain(value), value, &path.child("values").index(index), errors);
        }
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut ErrorList) {
    label_selector(term.at("labelSelector"), &path.child("labelSelector"), errors);
    label_selector(term.at("namespaceSelector"), &path.child("namespaceSelector"), errors);
    for namespace in term.texts("namespaces") {
        push_all(names::is_dns1123_label(namespace), namespace, &path.child("namespace"), errors);
    }
    label_keys(term, path, errors);
    let key = term.text("topologyKey");
    if key.is_empty() {
        errors.push(Error::required(path.child("topologyKey"), "can not be empty"));
    }
    push_all(names::is_qualified_name(key), key, &path.child("topologyKey"), errors);
}

/// `matchLabelKeys` and `mismatchLabelKeys`: label names that need a selector and do not overlap.
fn label_keys(term: &Value, path: &Path, errors: &mut ErrorList) {
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys: Vec<&str> = term.texts(field).collect();
        if !keys.is_empty() && !term.has("labelSelector") {
            errors.push(Error::forbidden(path.child(field), "must not be specified when labelSelector is not set"));
        }
        for (index, key) in keys.iter().enumerate() {
            push_all(names::is_qualified_name(key), key, &path.child(field).index(index), errors);
        }
    }
    let mismatch: Vec<&str> = term.texts("mismatchLabelKeys").collect();
    for (index, key) in term.texts("matchLabelKeys").enumerate() {
        if mismatch.contains(&key) {
            let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(Error::invalid(path.child("matchLabelKeys").index(index), key, detail));
        }
    }
}

pub(super) fn spread_constraints(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let constraints = spec.list("topologySpreadConstraints");
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let skew = constraint.int("maxSkew").unwrap_or_default();
        if skew <= 0 {
            errors.push(Error::invalid(path.child("maxSkew"), skew, "must be greater than zero"));
        }
        let (key, action) = (constraint.text("topologyKey"), constraint.text("whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(Error::required(path.child("topologyKey"), "can not be empty"));
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            let allowed = &["DoNotSchedule", "ScheduleAnyway"];
            errors.push(Error::not_supported(path.child("whenUnsatisfiable"), action, allowed));
        }
        let same = |c: &Value| c.text("topologyKey") == key && c.text("whenUnsatisfiable") == action;
        if constraints[index + 1..].iter().any(same) {
            let pair = format!("{{{key}, {action}}}");
            errors.push(Error::duplicate(path.child("{topologyKey, whenUnsatisfiable}"), pair));
        }
        if let Some(domains) = constraint.int("minDomains") {
            if domains <= 0 {
                errors.push(Error::invalid(path.child("minDomains"), domains, "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(Error::invalid(path.child("minDomains"), domains, detail));
            }
        }
        one_of_if_there(constraint, &path, "nodeAffinityPolicy", NODE_POLICIES, errors);
        one_of_if_there(constraint, &path, "nodeTaintsPolicy", NODE_POLICIES, errors);
        label_keys(constraint, &path, errors);
        label_selector(constraint.at("labelSelector"), &path.child("labelSelector"), errors);
    }
}

/// Keys, values, operators and effects of tolerations.
pub(crate) fn tolerations(tolerations: &[Value], path: &Path, errors: &mut ErrorList) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator, value, effect) =
            (toleration.text("key"), toleration.text("operator"), toleration.text("value"), toleration.text("effect"));
        if !key.is_empty() {
            push_all(names::is_qualified_name(key), key, &path.child("key"), errors);
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(Error::invalid(path.child("operator"), operator, detail));
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(Error::invalid(path.child("effect"), effect, detail));
        }
        match operator {
            "" | "Equal" => {
                let wrong = names::is_label_value(value);
                if !wrong.is_empty() {
                    errors.push(Error::invalid(path.child("operator"), value, wrong.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(Error::invalid(path.child("operator"), value, detail));
            }
            "Exists" => {}
            other => errors.push(Error::not_supported(path.child("operator"), other, &["Equal", "Exists"])),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.push(Error::not_supported(path.child("effect"), effect, EFFECTS));
        }
    }
}

/// Writes the label keys of affinity terms and spread constraints into their selectors, with the pod's own values.
pub(super) fn merge_label_keys(pod: &mut Value) {
    let labels = pod.at("metadata.labels").clone();
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (list, inner) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            ("preferredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm"),
        ] {
            let Some(affinity) = dig(pod, &format!("spec.affinity.{kind}")) else { continue };
            for term in affinity.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let term = if inner.is_empty() { Some(term) } else { term.get_mut(inner) };
                if let Some(term) = term {
                    merge(term, "matchLabelKeys", "In", &labels);
                    merge(term, "mismatchLabelKeys", "NotIn", &labels);
                }
            }
        }
    }
    for constraint in items(pod, "spec.topologySpreadConstraints") {
        let mut value = Value::Object(std::mem::take(constraint));
        merge(&mut value, "matchLabelKeys", "In", &labels);
        if let Value::Object(map) = value {
            *constraint = map;
        }
    }
}

fn merge(term: &mut Value, keys: &str, operator: &str, labels: &Value) {
    let keys: Vec<String> = term.texts(keys).map(str::to_owned).collect();
    let Some(selector) = dig(term, "labelSelector").and_then(Value::as_object_mut) else { return };
    for key in keys {
        let Some(value) = labels.get(&key) else { continue };
        let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
        if let Some(list) = expressions.as_array_mut() {
            list.push(json!({"key": key, "operator": operator, "values": [value]}));
        }
    }
}
