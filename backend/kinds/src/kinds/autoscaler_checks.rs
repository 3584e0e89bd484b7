//! What is wrong with a HorizontalPodAutoscaler.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::pod::container_resource_name;
use crate::{
    checks::{non_negative_quantity, one_of_always, one_of_if_there, push_all, required},
    value::{Look, bare},
};

const MAX_PERIOD_SECONDS: i64 = 1800;
const MAX_STABILIZATION_SECONDS: i64 = 3600;
const METRIC_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

pub(super) fn validate(autoscaler: &Value, errors: &mut ErrorList) {
    let (spec, path) = (autoscaler.at("spec"), Path::new("spec"));
    let (least, most) = (spec.int("minReplicas"), spec.int("maxReplicas").unwrap_or_default());
    if let Some(least) = least.filter(|n| *n < 1) {
        errors.push(Error::invalid(path.child("minReplicas"), least, "must be greater than or equal to 1"));
    }
    match most {
        0 => errors.push(Error::required(path.child("maxReplicas"), "must be set and greater than 0")),
        most if most < 0 => {
            errors.push(Error::invalid(path.child("maxReplicas"), most, "must be greater than or equal to 1"));
        }
        _ => {}
    }
    if least.is_some_and(|least| most < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(Error::invalid(path.child("maxReplicas"), most, detail));
    }
    let at = path.child("scaleTargetRef");
    reference(spec.at("scaleTargetRef"), &at, errors);
    target_version(spec.text("scaleTargetRef.apiVersion"), at.child("apiVersion"), errors);
    let metrics = spec.list("metrics");
    for (index, metric) in metrics.iter().enumerate() {
        self::metric(metric, &path.child("metrics").index(index), errors);
    }
    if least == Some(0) && !metrics.iter().any(|m| matches!(m.text("type"), "Object" | "External")) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(path.child("metrics"), detail));
    }
    for key in ["scaleUp", "scaleDown"] {
        let rules = spec.at("behavior").at(key);
        if rules.is_object() {
            scaling_rules(rules, &path.child("behavior").child(key), errors);
        }
    }
}

fn reference(reference: &Value, path: &Path, errors: &mut ErrorList) {
    for key in ["kind", "name"] {
        if required(reference, path, key, errors) {
            push_all(names::is_path_segment_name(reference.text(key)), reference.text(key), &path.child(key), errors);
        }
    }
}

/// What is scaled is of a group; of objects that only give metrics that is not asked.
fn target_version(version: &str, path: Path, errors: &mut ErrorList) {
    let wrong = match version.matches('/').count() {
        0 => "apiVersion must specify API group".to_owned(),
        1 if version.starts_with('/') => "apiVersion must specify API group".to_owned(),
        1 => return,
        _ => format!("unexpected GroupVersion string: {version}"),
    };
    errors.push(Error::invalid(path, version, wrong));
}

fn metric(metric: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = metric.text("type");
    if kind.is_empty() {
        errors.push(Error::required(path.child("type"), "must specify a metric source type"));
    }
    one_of_always(metric, path, "type", METRIC_TYPES, errors);
    let present: Vec<&str> = ["object", "external", "pods", "resource", "containerResource"]
        .into_iter()
        .filter(|key| metric.has(key))
        .collect();
    // Of several only the first is looked into.
    if let Some(key) = present.first() {
        source(key, metric.at(key), &path.child(key), errors);
    }
    let wanted = match kind {
        "Object" => "object",
        "External" => "external",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => {
            // Upstream says it twice.
            errors.push(Error::not_supported(path.child("type"), kind, METRIC_TYPES));
            ""
        }
    };
    if !wanted.is_empty() && !present.contains(&wanted) {
        errors.push(Error::required(path.child(wanted), "must populate information for the given metric source"));
    }
    if present.len() != 1 {
        for key in present.into_iter().filter(|key| *key != wanted) {
            errors.push(Error::forbidden(path.child(key), "must populate the given metric source only"));
        }
    }
}

fn source(key: &str, source: &Value, path: &Path, errors: &mut ErrorList) {
    match key {
        "resource" | "containerResource" => {
            let (name, of_container) = (source.text("name"), key == "containerResource");
            if name.is_empty() {
                errors.push(Error::required(path.child("name"), "must specify a resource name"));
            } else if of_container {
                container_resource_name(name, &path.child("name"), errors);
            }
            let container = source.text("container");
            if of_container && container.is_empty() {
                errors.push(Error::required(path.child("container"), "must specify a container"));
            } else if of_container {
                push_all(names::is_dns1123_label(container), container, &path.child("container"), errors);
            }
        }
        _ => {
            if key == "object" {
                reference(source.at("describedObject"), &path.child("describedObject"), errors);
            }
            let (name, at) = (source.text("metric.name"), path.child("metric").child("name"));
            if name.is_empty() {
                errors.push(Error::required(at, "must specify a metric name"));
            } else {
                push_all(names::is_path_segment_name(name), name, &at, errors);
            }
        }
    }
    target(key, source.at("target"), &path.child("target"), errors);
}

fn target(key: &str, target: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = target.text("type");
    if kind.is_empty() {
        errors.push(Error::required(path.child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(Error::invalid(path.child("type"), kind, detail));
    }
    for field in ["value", "averageValue"] {
        let value = target.at(field);
        let positive = |q: Quantity| !q.is_zero() && !q.is_negative();
        if !value.is_null() && !Quantity::parse(&bare(value)).is_ok_and(positive) {
            errors.push(Error::invalid(path.child(field), bare(value).as_ref(), "must be positive"));
        }
    }
    if let Some(percent) = target.int("averageUtilization").filter(|n| *n < 1) {
        errors.push(Error::invalid(path.child("averageUtilization"), percent, "must be greater than 0"));
    }
    let (value, average, utilization) =
        (target.has("value"), target.has("averageValue"), target.has("averageUtilization"));
    match key {
        "resource" | "containerResource" => match (average, utilization) {
            (false, false) => {
                let detail = "must set either a target raw value or a target utilization";
                errors.push(Error::required(path.child("averageUtilization"), detail));
            }
            (true, true) => {
                let detail = "may not set both a target raw value and a target utilization";
                errors.push(Error::forbidden(path.child("averageValue"), detail));
            }
            _ => {}
        },
        "pods" if !average => {
            let detail = "must specify a positive target averageValue";
            errors.push(Error::required(path.child("averageValue"), detail));
        }
        "object" if !value && !average => {
            let detail = "must set either a target value or averageValue";
            errors.push(Error::required(path.child("averageValue"), detail));
        }
        "external" if value == average => {
            let error = if value {
                let detail = "may not set both a target value for metric and a per-pod target";
                Error::forbidden(path.child("value"), detail)
            } else {
                Error::required(
                    path.child("averageValue"),
                    "must set either a target value for metric or a per-pod target",
                )
            };
            errors.push(error);
        }
        _ => {}
    }
}

fn scaling_rules(rules: &Value, path: &Path, errors: &mut ErrorList) {
    let at = path.child("stabilizationWindowSeconds");
    match rules.int("stabilizationWindowSeconds") {
        Some(seconds) if seconds < 0 => {
            errors.push(Error::invalid(at, seconds, "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > MAX_STABILIZATION_SECONDS => {
            let detail = format!("must be less than or equal to {MAX_STABILIZATION_SECONDS}");
            errors.push(Error::invalid(at, seconds, detail));
        }
        _ => {}
    }
    one_of_if_there(rules, path, "selectPolicy", &["Disabled", "Max", "Min"], errors);
    if rules.list("policies").is_empty() {
        errors.push(Error::required(path.child("policies"), "must specify at least one Policy"));
    }
    for (index, policy) in rules.list("policies").iter().enumerate() {
        let path = path.child("policies").index(index);
        one_of_always(policy, &path, "type", &["Percent", "Pods"], errors);
        for key in ["value", "periodSeconds"] {
            let number = policy.int(key).unwrap_or_default();
            if number <= 0 {
                errors.push(Error::invalid(path.child(key), number, "must be greater than zero"));
            }
        }
        if let Some(seconds) = policy.int("periodSeconds").filter(|s| *s > MAX_PERIOD_SECONDS) {
            let detail = format!("must be less than or equal to {MAX_PERIOD_SECONDS}");
            errors.push(Error::invalid(path.child("periodSeconds"), seconds, detail));
        }
    }
    non_negative_quantity(rules, path, "tolerance", errors);
}
