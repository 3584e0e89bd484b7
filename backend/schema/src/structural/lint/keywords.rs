//! What any schema may say, wherever it stands: in the structure, or in a junctor.

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::{Fields, JUNCTORS, MAX_DEPTH, OBJECT_FIELDS, TYPES, lists, on, properties, property_at, text, wrong_type};

/// Keywords of JSON schema that cannot be part of a structure.
const UNSUPPORTED: [&str; 6] = ["$ref", "additionalItems", "definitions", "dependencies", "id", "patternProperties"];

/// Where a schema stands, as far as it matters to what it may say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spot<'f> {
    Root,
    Elsewhere,
    /// Below one of the fields that every object has.
    Below(&'f str),
}

/// What is found: upstream tells of patterns with the structure, and of everything else after it.
#[derive(Default)]
pub struct Found {
    pub errors: ErrorList,
    pub patterns: ErrorList,
}

/// Judges one place and all below it. True: something there is no structure at all.
pub fn place(fields: &Fields, path: &Path, spot: Spot<'_>, depth: usize, found: &mut Found) -> bool {
    if depth > MAX_DEPTH {
        found.errors.push(Error::invalid(path.clone(), "", "the schema nests too deeply"));
        return true;
    }
    let mut unsupported = own(fields, path, spot, found);
    let below = if spot == Spot::Root { Spot::Elsewhere } else { spot };
    for (name, inner) in properties(fields) {
        let known = spot == Spot::Root && OBJECT_FIELDS.contains(&name.as_str());
        let spot = if known { Spot::Below(name) } else { below };
        unsupported |= place(inner, &property_at(path, name), spot, depth + 1, found);
    }
    for key in ["additionalProperties", "not", "items"] {
        if let Some(inner) = fields.get(key).and_then(Value::as_object) {
            unsupported |= place(inner, &path.child(key), below, depth + 1, found);
        }
    }
    for (at, inner) in fields.get("items").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let Some(inner) = inner.as_object() else { continue };
        unsupported |= place(inner, &path.child("items").index(at), below, depth + 1, found);
    }
    for junctor in JUNCTORS {
        for (at, inner) in fields.get(junctor).and_then(Value::as_array).into_iter().flatten().enumerate() {
            let Some(inner) = inner.as_object() else { continue };
            unsupported |= place(inner, &path.child(junctor).index(at), below, depth + 1, found);
        }
    }
    unsupported
}

fn own(fields: &Fields, path: &Path, spot: Spot<'_>, found: &mut Found) -> bool {
    let of = text(fields, "type");
    if !of.is_empty() && !TYPES.contains(&of) {
        found.errors.push(Error::not_supported(path.child("type"), of, &TYPES));
    }
    let errors = &mut found.errors;
    let has_default = fields.get("default").is_some_and(|default| !default.is_null());
    if let (Spot::Below(name), true) = (spot, has_default) {
        let detail = format!("must not be set in top-level {name}");
        errors.push(Error::forbidden(path.child("default"), detail));
    }
    let mut unsupported = false;
    for name in UNSUPPORTED.into_iter().filter(|name| fields.contains_key(*name)) {
        unsupported = true;
        errors.push(Error::forbidden(path.child(name), format!("{name} is not supported")));
    }
    if of == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(Error::forbidden(path.child("type"), detail));
    }
    if fields.get("items").is_some_and(Value::is_array) {
        unsupported = true;
        let detail = "items must be a schema object and not an array";
        errors.push(Error::forbidden(path.child("items"), detail));
    }
    if on(fields, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(path.child("uniqueItems"), detail));
    }
    let pattern = text(fields, "pattern");
    if !pattern.is_empty()
        && let Err(why) = crate::structural::convert::pattern(pattern)
    {
        found.patterns.push(Error::invalid(path.child("pattern"), pattern, why));
    }
    if fields.get("additionalProperties").is_some_and(|rest| *rest != true) && properties(fields).next().is_some() {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(Error::forbidden(path.child("additionalProperties"), detail));
    }
    if fields.get("x-kubernetes-preserve-unknown-fields").is_some_and(|value| value == false) {
        unsupported = true;
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(at, false, "must be true or undefined"));
    }
    if let Some(map_type) = fields.get("x-kubernetes-map-type").and_then(Value::as_str) {
        if of != "object" {
            let detail = "must be object if x-kubernetes-map-type is specified";
            errors.push(wrong_type(path.child("type"), of, detail));
        }
        if !matches!(map_type, "atomic" | "granular") {
            let at = path.child("x-kubernetes-map-type");
            errors.push(Error::not_supported(at, map_type, &["atomic", "granular"]));
        }
    }
    lists::lint(fields, of, path, errors);
    unsupported
}
