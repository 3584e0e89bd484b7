//! Conditions: what stands in `allOf`, `anyOf`, `oneOf` and `not`. They may not define any of the structure.

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

use super::{Fields, JUNCTORS, on, properties, property_at, text};

/// What only the structure itself may say, and how its absence is called.
const STRUCTURE_ONLY: [(&str, &str); 12] = [
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("nullable", "false"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
    ("x-kubernetes-validations", "empty"),
];

/// How a schema says that it takes integers and strings: the one place where types may stand in conditions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Either {
    No,
    /// `anyOf` is the two.
    AnyOf,
    /// The first of `allOf` is such an `anyOf`.
    FirstOfAllOf,
}

impl Either {
    pub fn of(fields: &Fields) -> Self {
        let two = json!([{"type": "integer"}, {"type": "string"}]);
        if fields.get("anyOf") == Some(&two) {
            Self::AnyOf
        } else if fields.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("anyOf")) == Some(&two) {
            Self::FirstOfAllOf
        } else {
            Self::No
        }
    }
}

/// The schemas of all junctors of a place.
fn branches<'f>(fields: &'f Fields, path: &Path) -> Vec<(&'static str, usize, &'f Fields, Path)> {
    let mut all = Vec::new();
    for junctor in JUNCTORS {
        for (at, of) in fields.get(junctor).and_then(Value::as_array).into_iter().flatten().enumerate() {
            all.extend(of.as_object().map(|of| (junctor, at, of, path.child(junctor).index(at))));
        }
    }
    all.extend(fields.get("not").and_then(Value::as_object).map(|of| ("not", 0, of, path.child("not"))));
    all
}

/// Conditions define nothing.
pub fn junctors(fields: &Fields, path: &Path, either: Either, errors: &mut ErrorList) {
    for (junctor, index, branch, at) in branches(fields, path) {
        if either == Either::AnyOf && junctor == "anyOf" {
            continue;
        }
        let inner =
            if either == Either::FirstOfAllOf && (junctor, index) == ("allOf", 0) { Either::AnyOf } else { Either::No };
        condition(branch, &at, inner, errors);
    }
}

fn condition(branch: &Fields, at: &Path, either: Either, errors: &mut ErrorList) {
    junctors(branch, at, either, errors);
    if let Some(items) = branch.get("items").and_then(Value::as_object) {
        condition(items, &at.child("items"), Either::No, errors);
    }
    for (name, inner) in properties(branch) {
        condition(inner, &property_at(at, name), Either::No, errors);
    }
    if !text(branch, "type").is_empty() {
        errors.push(Error::forbidden(at.child("type"), "must be empty to be structural"));
    }
    for (name, what) in STRUCTURE_ONLY {
        let said = branch.get(name).is_some_and(|value| match (what, value) {
            (_, Value::Null) => false,
            ("false", _) => on(branch, name),
            ("empty", Value::String(text)) => !text.is_empty(),
            ("empty", Value::Array(items)) => !items.is_empty(),
            _ => true,
        });
        if said {
            errors.push(Error::forbidden(at.child(name), format!("must be {what} to be structural")));
        }
    }
    if properties(branch).any(|(name, _)| name == "metadata") {
        let detail = "must not be specified in a nested context";
        errors.push(Error::forbidden(property_at(at, "metadata"), detail));
    }
}

/// What the root's conditions speak of has to be in the structure. Upstream asks that of the root alone.
pub fn complete(root: &Fields, path: &Path, errors: &mut ErrorList) {
    for (_, _, branch, at) in branches(root, path) {
        known(branch, &at, root, path, errors);
    }
}

fn known(branch: &Fields, at: &Path, structure: &Fields, structure_at: &Path, errors: &mut ErrorList) {
    for (_, _, inner, here) in branches(branch, at) {
        known(inner, &here, structure, structure_at, errors);
    }
    let missing = |there: Path, here: &Path| Error::required(there, format!("because it is defined in {here}"));
    if let Some(items) = branch.get("items").and_then(Value::as_object) {
        let (here, there) = (at.child("items"), structure_at.child("items"));
        match structure.get("items").and_then(Value::as_object) {
            Some(inner) => known(items, &here, inner, &there, errors),
            None => errors.push(missing(there, &here)),
        }
    }
    for (name, value) in properties(branch) {
        let (here, there) = (property_at(at, name), property_at(structure_at, name));
        match properties(structure).find(|(known, _)| *known == name) {
            Some((_, inner)) => known(value, &here, inner, &there, errors),
            None => errors.push(missing(there, &here)),
        }
    }
}
