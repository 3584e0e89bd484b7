//! Deployment. Source: <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::{pod, workload};
use crate::{
    checks::{at_most_hundred_percent, immutable, is_zero_int_or_percent, non_negative},
    columns::{AGE, Column, NAME, age, containers, count, name},
    strategy::{Generation, ScalePaths, Strategy},
    value::{Look, MapExt, child, object},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::SpecAndAnnotations,
    default,
    prepare_status_update: |new, old| object(new, "metadata").keep(old.at("metadata"), "labels"),
    validate,
    warn: workload::warn_named,
    validate_update,
    validate_status_update,
    columns: COLUMNS,
    row,
    scale: Some(ScalePaths::WORKLOAD),
    ..Strategy::PLAIN
};

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Ready"),
    Column::text("Up-to-date"),
    Column::text("Available"),
    AGE,
    Column::wide("Containers"),
    Column::wide("Images"),
    Column::wide("Selector"),
];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let number = |path: &str| object.int(path).unwrap_or_default();
    let (names, images) = containers(object.at("spec.template"));
    let selector = pilothouse_api::selector::LabelSelector::from_json(object.at("spec.selector"));
    vec![
        name(object),
        format!("{}/{}", number("status.readyReplicas"), number("spec.replicas")).into(),
        count(object, "status.updatedReplicas"),
        count(object, "status.availableReplicas"),
        age(object, now),
        names,
        images,
        selector.map_or_else(|_| "<invalid>".to_owned(), |s| s.to_string()).into(),
    ]
}

fn default(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let spec = child(map, "spec");
    spec.or_set("replicas", 1);
    let strategy = child(spec, "strategy");
    strategy.or_set("type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        let rolling = child(strategy, "rollingUpdate");
        rolling.or_set("maxUnavailable", "25%");
        rolling.or_set("maxSurge", "25%");
    }
    spec.or_set("revisionHistoryLimit", 10);
    spec.or_set("progressDeadlineSeconds", 600);
    pod::default::template(object, "spec.template");
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (spec, path) = (object.at("spec"), Path::new("spec"));
    non_negative(spec, &path, "replicas", errors);
    workload::selector_and_template(spec, &path, errors);
    strategy(spec.at("strategy"), &path.child("strategy"), errors);
    for key in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        non_negative(spec, &path, key, errors);
    }
    if let Some(deadline) = spec.int("progressDeadlineSeconds")
        && deadline <= spec.int("minReadySeconds").unwrap_or_default()
    {
        let detail = "must be greater than minReadySeconds";
        errors.push(Error::invalid(path.child("progressDeadlineSeconds"), deadline, detail));
    }
}

fn strategy(strategy: &Value, path: &Path, errors: &mut ErrorList) {
    let (rolling, inner) = (strategy.at("rollingUpdate"), path.child("rollingUpdate"));
    match strategy.text("type") {
        "Recreate" => {
            if !rolling.is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                errors.push(Error::forbidden(inner, detail));
            }
        }
        "RollingUpdate" if rolling.is_null() => {
            errors.push(Error::required(inner, "this should be defaulted and never be nil"));
        }
        "RollingUpdate" => {
            let (down, up) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
            workload::non_negative_or_percent(down, &inner.child("maxUnavailable"), errors);
            workload::non_negative_or_percent(up, &inner.child("maxSurge"), errors);
            if is_zero_int_or_percent(down) && is_zero_int_or_percent(up) {
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.push(Error::invalid(inner.child("maxUnavailable"), down.clone(), detail));
            }
            at_most_hundred_percent(down, &inner.child("maxUnavailable"), errors);
        }
        _ => errors.push(Error::not_supported(path.clone(), strategy.clone(), &["Recreate", "RollingUpdate"])),
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    validate(new, errors);
    immutable(new.at("spec.selector"), old.at("spec.selector"), &Path::new("spec").child("selector"), errors);
}

fn validate_status_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let status = new.at("status");
    let keys = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    workload::counts(status, &keys, errors);
    workload::not_more_than_replicas(
        status,
        &["updatedReplicas", "readyReplicas", "availableReplicas"],
        "readyReplicas",
        errors,
    );
    workload::not_decremented(new, old, "collisionCount", errors);
}
