//! User, of our own group: `spec.displayName`, `spec.groups`, `spec.disabled`; the name is what one logs in with. The
//! hash of the password is in a Secret of its own.

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::{
    columns::{AGE, Column, NAME, age, name},
    strategy::{Generation, Strategy, path_segment_name},
    value::Look,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    name: path_segment_name,
    generation: Generation::Spec,
    validate,
    validate_update: |new, _, errors| validate(new, errors),
    columns: &[NAME, Column::text("Display Name"), Column::text("Groups"), Column::flag("Disabled"), AGE],
    row,
    ..Strategy::PLAIN
};

const NAME_MAX: usize = 253;
const DISPLAY_NAME_MAX: usize = 256;
const GROUPS_MAX: usize = 256;
/// Users and groups with this prefix are the system's own; the one such group that people may be put in.
const SYSTEM: &str = "system:";
const MASTERS: &str = "system:masters";

fn row(user: &Value, now: Timestamp) -> Vec<Value> {
    let groups: Vec<&str> = user.texts("spec.groups").collect();
    vec![
        name(user),
        user.text("spec.displayName").into(),
        crate::columns::or_none(&groups.join(",")),
        user.flag("spec.disabled").into(),
        age(user, now),
    ]
}

fn validate(user: &Value, errors: &mut ErrorList) {
    let (name, path) = (user.text("metadata.name"), Path::new("metadata").child("name"));
    if name.starts_with(SYSTEM) {
        errors.push(Error::forbidden(path.clone(), "users whose name starts with 'system:' are the system's own"));
    }
    if name.len() > NAME_MAX {
        errors.push(Error::too_long(path, NAME_MAX));
    }
    let path = Path::new("spec");
    if user.text("spec.displayName").len() > DISPLAY_NAME_MAX {
        errors.push(Error::too_long(path.child("displayName"), DISPLAY_NAME_MAX));
    }
    let (groups, path) = (user.list("spec.groups"), path.child("groups"));
    if groups.len() > GROUPS_MAX {
        errors.push(Error::too_many(path.clone(), groups.len(), GROUPS_MAX));
    }
    for (index, group) in user.texts("spec.groups").enumerate() {
        if group.is_empty() {
            errors.push(Error::required(path.index(index), ""));
        } else if group.starts_with(SYSTEM) && group != MASTERS {
            let detail = "of the groups that start with 'system:' only 'system:masters' may be given to a user";
            errors.push(Error::invalid(path.index(index), group, detail));
        }
    }
}
