//! PodTemplate: a pod template on its own.

use jiff::Timestamp;
use pilothouse_api::field::{ErrorList, Path};
use serde_json::Value;

use super::pod;
use crate::{
    columns::{Column, NAME, containers, labels, name},
    strategy::{Generation, Strategy},
    value::Look,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::AllButStatus,
    default: |object| pod::default::template(object, "template"),
    validate,
    warn: |new, old, warnings| {
        if old.is_none() {
            pod::warn_template(new.at("template"), &Path::new("template"), warnings);
        }
    },
    validate_update: |new, _, errors| validate(new, errors),
    columns: &[NAME, Column::text("Containers"), Column::text("Images"), Column::text("Pod Labels")],
    row,
    ..Strategy::PLAIN
};

fn row(object: &Value, _now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object.at("template"));
    vec![name(object), names, images, labels(object.at("template.metadata.labels"))]
}

fn validate(object: &Value, errors: &mut ErrorList) {
    pod::template(object.at("template"), &Path::new("template"), errors);
}
