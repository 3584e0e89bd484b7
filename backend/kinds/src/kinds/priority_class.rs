//! PriorityClass. Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::{
    checks::{immutable, one_of},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Generation, Strategy},
    value::{Look, MapExt},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Once,
    default: |class| class.or_set("preemptionPolicy", "PreemptLowerPriority"),
    validate,
    validate_update: |new, old, errors| {
        if new.int("value") != old.int("value") {
            errors.push(Error::forbidden(Path::new("value"), "may not be changed in an update."));
        }
        immutable(new.at("preemptionPolicy"), old.at("preemptionPolicy"), &Path::new("preemptionPolicy"), errors);
    },
    columns: &[NAME, Column::number("Value"), Column::flag("Global-Default"), AGE, Column::text("PreemptionPolicy")],
    row,
    ..Strategy::PLAIN
};

/// The highest value that is not the system's.
const HIGHEST: i64 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
const SYSTEM: [(&str, i64); 2] =
    [("system-node-critical", 2 * HIGHEST + 1000), ("system-cluster-critical", 2 * HIGHEST)];

fn row(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(class),
        class.int("value").unwrap_or_default().into(),
        class.flag("globalDefault").into(),
        age(class, now),
        class.text("preemptionPolicy").into(),
    ]
}

fn validate(class: &Value, errors: &mut ErrorList) {
    let (name, value) = (class.text("metadata.name"), class.int("value").unwrap_or_default());
    if name.starts_with(SYSTEM_PREFIX) {
        let wrong = match SYSTEM.iter().find(|(known, _)| *known == name) {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, known)) if *known != value => Some(format!("value of {name} PriorityClass must be {known}")),
            Some(_) if class.flag("globalDefault") => {
                Some(format!("globalDefault of {name} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            let detail = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {wrong}"
            );
            errors.push(Error::forbidden(Path::new("metadata").child("name"), detail));
        }
    } else if value > HIGHEST {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        errors.push(Error::forbidden(Path::new("value"), detail));
    }
    one_of(class, &Path::root(), "preemptionPolicy", &["PreemptLowerPriority", "Never"], errors);
}
