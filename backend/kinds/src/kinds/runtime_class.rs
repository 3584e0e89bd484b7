//! RuntimeClass. Source: <https://kubernetes.io/docs/concepts/containers/runtime-class/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::pod;
use crate::{
    checks::{canonical_quantities, immutable, push_all, required},
    columns::{AGE, Column, NAME, age, name},
    meta,
    strategy::Strategy,
    value::{Look, dig},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    default: |class| canonical_quantities(dig(class, "overhead.podFixed")),
    validate,
    validate_update: |new, old, errors| {
        validate(new, errors);
        immutable(new.at("handler"), old.at("handler"), &Path::new("handler"), errors);
    },
    warn: |class, _, warnings| {
        let old = class.entries("scheduling.nodeSelector").filter_map(|(label, _)| crate::warnings::node_label(label));
        warnings.extend(old.map(|why| format!("scheduling.nodeSelector: {why}")));
    },
    columns: &[NAME, Column::text("Handler"), AGE],
    row,
    create_on_update: true,
    unconditional_update: false,
    ..Strategy::PLAIN
};

fn row(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(class), class.text("handler").into(), age(class, now)]
}

fn validate(class: &Value, errors: &mut ErrorList) {
    if required(class, &Path::root(), "handler", errors) {
        push_all(names::is_dns1123_label(class.text("handler")), class.text("handler"), &Path::new("handler"), errors);
    }
    let at = Path::new("overhead").child("limits");
    pod::resource_list(class.at("overhead.podFixed"), &at, pod::container_resource_name, errors);
    let path = Path::new("scheduling");
    meta::validate_labels(class.at("scheduling.nodeSelector"), &path.child("nodeSelector"), errors);
    let (tolerations, at) = (class.list("scheduling.tolerations"), path.child("tolerations"));
    pod::tolerations(tolerations, &at, errors);
    let alike = |a: &Value, b: &Value| ["key", "operator", "value", "effect"].iter().all(|k| a.text(k) == b.text(k));
    for (index, one) in tolerations.iter().enumerate() {
        if tolerations[..index].iter().any(|other| alike(one, other)) {
            errors.push(Error::duplicate(at.index(index), one.clone()));
        }
    }
}
