//! ReplicaSet. Source: <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/>

use jiff::Timestamp;
use pilothouse_api::field::{ErrorList, Path};
use serde_json::Value;

use super::{pod, workload};
use crate::{
    checks::{immutable, non_negative},
    columns::{AGE, Column, NAME, age, containers, count, name, selector},
    strategy::{Generation, ScalePaths, Strategy},
    value::{Look, MapExt, object},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    default,
    validate,
    warn: workload::warn_named,
    validate_update,
    validate_status_update,
    columns: COLUMNS,
    row,
    scale: Some(ScalePaths::WORKLOAD),
    ..Strategy::PLAIN
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::number("Desired"),
    Column::number("Current"),
    Column::number("Ready"),
    AGE,
    Column::wide("Containers"),
    Column::wide("Images"),
    Column::wide("Selector"),
];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object.at("spec.template"));
    vec![
        name(object),
        count(object, "spec.replicas"),
        count(object, "status.replicas"),
        count(object, "status.readyReplicas"),
        age(object, now),
        names,
        images,
        selector(object.at("spec.selector")),
    ]
}

fn default(replica_set: &mut Value) {
    object(replica_set, "spec").or_set("replicas", 1);
    pod::default::template(replica_set, "spec.template");
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (spec, path) = (object.at("spec"), Path::new("spec"));
    non_negative(spec, &path, "replicas", errors);
    non_negative(spec, &path, "minReadySeconds", errors);
    workload::selector_and_template(spec, &path, errors);
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    validate(new, errors);
    immutable(new.at("spec.selector"), old.at("spec.selector"), &Path::new("spec").child("selector"), errors);
}

pub(super) fn validate_status_update(new: &Value, _old: &Value, errors: &mut ErrorList) {
    let status = new.at("status");
    let keys = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    workload::counts(status, &keys, errors);
    workload::not_more_than_replicas(
        status,
        &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        "readyReplicas",
        errors,
    );
}
