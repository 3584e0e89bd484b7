//! PodDisruptionBudget. Source: <https://kubernetes.io/docs/tasks/run-application/configure-pdb/>

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::workload;
use crate::{
    checks::{at_most_hundred_percent, conditions, label_selector, one_of_if_there},
    columns::{AGE, Column, NAME, age, count, name},
    strategy::{Generation, Strategy, path_segment_name},
    value::{Look, bare},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    // Upstream looks at no more of the name than that it fits into a path.
    name: path_segment_name,
    generation: Generation::Spec,
    validate,
    validate_update: |new, _, errors| validate(new, errors),
    validate_status_update: |new, _, errors| {
        let path = Path::new("status").child("conditions");
        conditions(new.list("status.conditions"), &path, errors);
        let keys = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        workload::counts(new.at("status"), &keys, errors);
    },
    columns: &[
        NAME,
        Column::text("Min Available"),
        Column::text("Max Unavailable"),
        Column::number("Allowed Disruptions"),
        AGE,
    ],
    row,
    unconditional_update: false,
    ..Strategy::PLAIN
};

fn row(budget: &Value, now: Timestamp) -> Vec<Value> {
    let or_na = |path: &str| -> Value {
        let value = budget.at(path);
        if value.is_null() { "N/A".into() } else { bare(value).as_ref().into() }
    };
    vec![
        name(budget),
        or_na("spec.minAvailable"),
        or_na("spec.maxUnavailable"),
        count(budget, "status.disruptionsAllowed"),
        age(budget, now),
    ]
}

fn validate(budget: &Value, errors: &mut ErrorList) {
    let (spec, path) = (budget.at("spec"), Path::new("spec"));
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(Error::invalid(path.clone(), spec.clone(), detail));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        if spec.has(key) {
            workload::non_negative_or_percent(spec.at(key), &path.child(key), errors);
            at_most_hundred_percent(spec.at(key), &path.child(key), errors);
        }
    }
    label_selector(spec.at("selector"), &path.child("selector"), errors);
    one_of_if_there(spec, &path, "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"], errors);
}
