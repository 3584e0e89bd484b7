//! ReplicationController. Source: <https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/>

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::{pod, replica_set, workload};
use crate::{
    checks::{non_negative, required},
    columns::{age, containers, count, labels, name},
    strategy::{Field, Generation, Propagation, ScalePaths, Strategy, subdomain_name_in_bytes},
    value::{Look, MapExt, object},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    name: subdomain_name_in_bytes,
    generation: Generation::Spec,
    default,
    validate,
    warn: workload::warn_named,
    validate_update: |new, _, errors| validate(new, errors),
    validate_status_update: replica_set::validate_status_update,
    columns: replica_set::COLUMNS,
    row,
    fields: &[Field::number("status.replicas")],
    scale: Some(ScalePaths::WORKLOAD),
    // As it was before there were owner references.
    propagation: Propagation::Orphan,
    ..Strategy::PLAIN
};

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
        labels(object.at("spec.selector")),
    ]
}

/// Selector and labels that are not given are the template's.
fn default(controller: &mut Value) {
    let labels = controller.at("spec.template.metadata.labels").clone();
    let spec = object(controller, "spec");
    spec.or_set("replicas", 1);
    if labels.is_object() {
        let empty = |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
        if empty(spec.get("selector")) {
            spec.insert("selector".into(), labels.clone());
        }
        let metadata = object(controller, "metadata");
        if empty(metadata.get("labels")) {
            metadata.insert("labels".into(), labels);
        }
    }
    pod::default::template(controller, "spec.template");
}

fn validate(controller: &Value, errors: &mut ErrorList) {
    let (spec, path) = (controller.at("spec"), Path::new("spec"));
    non_negative(spec, &path, "minReadySeconds", errors);
    if spec.entries("selector").next().is_none() {
        errors.push(Error::required(path.child("selector"), ""));
    }
    if required(spec, &path, "replicas", errors) {
        non_negative(spec, &path, "replicas", errors);
    }
    if !required(spec, &path, "template", errors) {
        return;
    }
    let labels = spec.at("template.metadata.labels");
    if spec.entries("selector").any(|(key, value)| labels.get(key) != Some(value)) {
        let path = path.child("template").child("metadata").child("labels");
        errors.push(Error::invalid(path, labels.clone(), workload::MISMATCH));
    }
    pod::template(spec.at("template"), &path.child("template"), errors);
    workload::runs_for_ever(spec, &path, "ReplicationController", errors);
}
