//! What workloads with a selector and a pod template have in common.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    selector::LabelSelector,
};
use serde_json::Value;

use super::pod;
use crate::{
    checks::{NEGATIVE, is_empty_selector, label_selector, non_negative},
    value::Look,
    warnings::{is_news, pods_take_this_name},
};

pub(super) const MISMATCH: &str = "`selector` does not match template `labels`";

/// A selector that is there and not empty; `what` names the workload as upstream does.
pub(super) fn required_selector(spec: &Value, path: &Path, what: &str, errors: &mut ErrorList) {
    let selector = spec.at("selector");
    if selector.is_null() {
        errors.push(Error::required(path.child("selector"), ""));
    } else {
        label_selector(selector, &path.child("selector"), errors);
        if is_empty_selector(selector) {
            let detail = format!("empty selector is invalid for {what}");
            errors.push(Error::invalid(path.child("selector"), selector.clone(), detail));
        }
    }
}

/// The pods of a Deployment or ReplicaSet; nothing is said of a template that no readable selector is for.
pub(super) fn selector_and_template(spec: &Value, path: &Path, errors: &mut ErrorList) {
    // Upstream says deployment of both here, and ReplicaSet of both there.
    required_selector(spec, path, "deployment", errors);
    if matches_template(spec, path, errors) {
        pod::template(spec.at("template"), &path.child("template"), errors);
        runs_for_ever(spec, path, "ReplicaSet", errors);
    } else {
        let selector = spec.at("selector").clone();
        errors.push(Error::invalid(path.child("selector"), selector, "invalid label selector"));
    }
}

/// The selector selects the template's own labels; no selector selects none. False if the selector cannot be read.
pub(super) fn matches_template(spec: &Value, path: &Path, errors: &mut ErrorList) -> bool {
    let labels = spec.at("template.metadata.labels");
    let Ok(selector) = LabelSelector::from_json(spec.at("selector")) else { return false };
    if !selector.matches_json(labels) {
        let path = path.child("template").child("metadata").child("labels");
        errors.push(Error::invalid(path, labels.clone(), MISMATCH));
    }
    true
}

/// What is odd about the template of a new or changed workload.
pub(super) fn warn(new: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    if is_news(new, old) {
        pod::warn_template(new.at("spec.template"), &Path::new("spec").child("template"), warnings);
    }
}

/// As [`warn`], for workloads whose pods are named after them.
pub(super) fn warn_named(new: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    if old.is_none() {
        pods_take_this_name(new, warnings);
    }
    warn(new, old, warnings);
}

/// Pods of a workload that runs for ever restart always and have no deadline; `kind` as in upstream's message.
pub(super) fn runs_for_ever(spec: &Value, path: &Path, kind: &str, errors: &mut ErrorList) {
    let (template, path) = (spec.at("template.spec"), path.child("template").child("spec"));
    let policy = template.text("restartPolicy");
    if policy != "Always" {
        errors.push(Error::not_supported(path.child("restartPolicy"), policy, &["Always"]));
    }
    if template.has("activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(Error::forbidden(path.child("activeDeadlineSeconds"), detail));
    }
}

/// Numbers of a status: none negative.
pub(super) fn counts(status: &Value, keys: &[&str], errors: &mut ErrorList) {
    for key in keys {
        non_negative(status, &Path::new("status"), key, errors);
    }
}

/// Parts of `status.replicas` do not exceed it; `ready` is how upstream calls those of them that are.
pub(super) fn not_more_than_replicas(status: &Value, keys: &[&str], ready: &str, errors: &mut ErrorList) {
    let number = |key: &str| status.int(key).unwrap_or_default();
    let path = Path::new("status");
    for key in keys.iter().filter(|key| number(key) > number("replicas")) {
        errors.push(Error::invalid(path.child(key), number(key), "cannot be greater than status.replicas"));
    }
    if number("availableReplicas") > number("readyReplicas") {
        let detail = format!("cannot be greater than {ready}");
        errors.push(Error::invalid(path.child("availableReplicas"), number("availableReplicas"), detail));
    }
}

pub(super) fn not_decremented(new: &Value, old: &Value, key: &str, errors: &mut ErrorList) {
    let number = |of: &Value| of.at("status").int(key);
    let fewer = match (number(new), number(old)) {
        (Some(new), Some(old)) => new < old,
        (new, old) => new.is_none() && old.is_some(),
    };
    if fewer {
        errors.push(Error::invalid(Path::new("status").child(key), number(new), "cannot be decremented"));
    }
}

/// An IntOrString that is a non-negative number or a percentage.
pub(super) fn non_negative_or_percent(value: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(number) = value.as_i64().filter(|n| *n < 0) {
        errors.push(Error::invalid(path.clone(), number, NEGATIVE));
    } else {
        crate::checks::non_negative_int_or_percent(value, path, errors);
    }
}
