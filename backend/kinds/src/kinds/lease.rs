//! Lease. Source: <https://kubernetes.io/docs/concepts/architecture/leases/>

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::{
    checks::non_negative,
    columns::{AGE, Column, NAME, age, name},
    strategy::Strategy,
    value::Look,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    validate,
    validate_update: |new, _, errors| validate(new, errors),
    columns: &[NAME, Column::text("Holder"), AGE],
    row,
    create_on_update: true,
    unconditional_update: false,
    ..Strategy::PLAIN
};

fn row(lease: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(lease), lease.text("spec.holderIdentity").into(), age(lease, now)]
}

fn validate(lease: &Value, errors: &mut ErrorList) {
    let (spec, path) = (lease.at("spec"), Path::new("spec"));
    if let Some(seconds) = spec.int("leaseDurationSeconds").filter(|s| *s <= 0) {
        errors.push(Error::invalid(path.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
    }
    non_negative(spec, &path, "leaseTransitions", errors);
    if !spec.text("preferredHolder").is_empty() && spec.text("strategy").is_empty() {
        let detail = "may only be specified if `strategy` is defined";
        errors.push(Error::forbidden(path.child("preferredHolder"), detail));
    }
}
