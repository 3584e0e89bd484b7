//! DaemonSet. Source: <https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/>

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

use super::{pod, workload};
use crate::{
    checks::{
        at_most_hundred_percent, immutable, is_empty_selector, is_zero_int_or_percent, label_selector, non_negative,
    },
    columns::{AGE, Column, NAME, age, containers, count, labels, name, selector},
    strategy::{Generation, Strategy},
    value::{Look, MapExt, child, object, semantic_eq},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    default,
    prepare_create: |object| set_template_generation(object, 1),
    prepare_update,
    prepare_status_update: |new, old| set_template_generation(new, template_generation(old)),
    validate,
    warn: workload::warn,
    validate_update,
    validate_status_update,
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

/// Counts the changes of the template; clients of old read it.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

const COLUMNS: &[Column] = &[
    NAME,
    Column::number("Desired"),
    Column::number("Current"),
    Column::number("Ready"),
    Column::number("Up-to-date"),
    Column::number("Available"),
    Column::text("Node Selector"),
    AGE,
    Column::wide("Containers"),
    Column::wide("Images"),
    Column::wide("Selector"),
];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object.at("spec.template"));
    vec![
        name(object),
        count(object, "status.desiredNumberScheduled"),
        count(object, "status.currentNumberScheduled"),
        count(object, "status.numberReady"),
        count(object, "status.updatedNumberScheduled"),
        count(object, "status.numberAvailable"),
        labels(object.at("spec.template.spec.nodeSelector")),
        age(object, now),
        names,
        images,
        selector(object.at("spec.selector")),
    ]
}

fn default(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let spec = child(map, "spec");
    let strategy = child(spec, "updateStrategy");
    strategy.or_set("type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        let rolling = child(strategy, "rollingUpdate");
        rolling.or_set("maxUnavailable", 1);
        rolling.or_set("maxSurge", 0);
    }
    spec.or_set("revisionHistoryLimit", 10);
    pod::default::template(object, "spec.template");
    // Upstream keeps the count in the spec, where nobody sees it: who leaves out the annotation says zero.
    child(object_metadata(object), "annotations").or_set(TEMPLATE_GENERATION, "0");
}

fn object_metadata(daemon_set: &mut Value) -> &mut Map<String, Value> {
    object(daemon_set, "metadata")
}

fn set_template_generation(daemon_set: &mut Value, generation: i64) {
    let annotations = child(object_metadata(daemon_set), "annotations");
    annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
}

fn template_generation(daemon_set: &Value) -> i64 {
    let text = daemon_set.at("metadata.annotations").get(TEMPLATE_GENERATION).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn prepare_update(new: &mut Value, old: &Value) {
    let had = template_generation(old);
    let changed = !semantic_eq(new.at("spec.template"), old.at("spec.template"));
    set_template_generation(new, had + i64::from(changed));
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (spec, path) = (object.at("spec"), Path::new("spec"));
    let selector = spec.at("selector");
    label_selector(selector, &path.child("selector"), errors);
    workload::matches_template(spec, &path, errors);
    if selector.is_object() && is_empty_selector(selector) {
        let detail = "empty selector is invalid for daemonset";
        errors.push(Error::invalid(path.child("selector"), selector.clone(), detail));
    }
    pod::template(spec.at("template"), &path.child("template"), errors);
    workload::runs_for_ever(spec, &path, "DaemonSet", errors);
    non_negative(spec, &path, "minReadySeconds", errors);
    let (strategy, at) = (spec.at("updateStrategy"), path.child("updateStrategy"));
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => rolling(strategy.at("rollingUpdate"), &at.child("rollingUpdate"), errors),
        _ => errors.push(Error::not_supported(at, strategy.clone(), &["RollingUpdate", "OnDelete"])),
    }
    non_negative(spec, &path, "revisionHistoryLimit", errors);
}

fn rolling(rolling: &Value, path: &Path, errors: &mut ErrorList) {
    if rolling.is_null() {
        return errors.push(Error::required(path.clone(), ""));
    }
    let (down, up) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
    for (value, key) in [(down, "maxUnavailable"), (up, "maxSurge")] {
        workload::non_negative_or_percent(value, &path.child(key), errors);
        at_most_hundred_percent(value, &path.child(key), errors);
    }
    match (is_zero_int_or_percent(down), is_zero_int_or_percent(up)) {
        (false, false) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.push(Error::invalid(path.child("maxSurge"), up.clone(), detail));
        }
        (true, true) => {
            errors.push(Error::required(path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    immutable(new.at("spec.selector"), old.at("spec.selector"), &Path::new("spec").child("selector"), errors);
    validate(new, errors);
}

fn validate_status_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let keys = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    workload::counts(new.at("status"), &keys, errors);
    workload::not_decremented(new, old, "collisionCount", errors);
}
