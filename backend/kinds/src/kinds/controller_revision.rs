//! ControllerRevision: an immutable snapshot of a workload's template.

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::{
    checks::{IMMUTABLE, non_negative},
    columns::{AGE, Column, NAME, age, name},
    strategy::Strategy,
    value::Look,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    validate: |object, errors| {
        non_negative(object, &Path::root(), "revision", errors);
        match object.at("data") {
            Value::Null => errors.push(Error::required(Path::new("data"), "data is mandatory")),
            Value::Object(_) => {}
            _ => errors.push(Error::required(Path::new("data"), "data must be a valid JSON object")),
        }
    },
    validate_update,
    columns: &[NAME, Column::text("Controller"), Column::text("Revision"), AGE],
    row,
    ..Strategy::PLAIN
};

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let owner = object.list("metadata.ownerReferences").iter().find(|owner| owner.flag("controller"));
    let owner = owner.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let group = owner.text("apiVersion").split_once('/').map_or("", |(group, _)| group);
            let kind = pilothouse_api::status::group_resource(group, owner.text("kind")).to_lowercase();
            format!("{kind}/{}", owner.text("name"))
        },
    );
    vec![name(object), owner.into(), object.int("revision").unwrap_or_default().into(), age(object, now)]
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    non_negative(new, &Path::root(), "revision", errors);
    // Not by what it means: what is null in it is something.
    if new.at("data") != old.at("data") {
        errors.push(Error::invalid(Path::new("data"), new.at("data").clone(), IMMUTABLE));
    }
}
