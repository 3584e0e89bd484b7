//! What keeps a schema from being structural, told when it is written.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

use super::{Schema, apply_defaults, prune, rules, validate};
use crate::schema::Gvk;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// How deeply schemas nest.
const MAX_DEPTH: usize = 100;
const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// What only the structure itself may say, not the conditions in junctors.
const STRUCTURE_ONLY: [&str; 12] = [
    "additionalProperties",
    "default",
    "description",
    "nullable",
    "title",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
const UNSUPPORTED: [&str; 6] = ["$ref", "additionalItems", "definitions", "dependencies", "id", "patternProperties"];

type Fields = Map<String, Value>;

/// All that is wrong with the schema of a custom resource's version, which is at `path`.
pub fn lint(gvk: Gvk, schema: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(fields) = schema.as_object() else { return errors };
    match text(fields, "type") {
        "object" => {}
        "" => errors.push(Error::required(path.child("type"), "must not be empty at the root")),
        other => errors.push(Error::invalid(path.child("type"), other, "must be object at the root")),
    }
    if on(fields, "nullable") {
        errors.push(Error::forbidden(path.child("nullable"), "nullable cannot be true at the root"));
    }
    if fields.get("additionalProperties").is_some_and(|value| *value != true) {
        errors.push(Error::forbidden(path.child("additionalProperties"), "must not be used at the root"));
    }
    root_metadata(fields, path, &mut errors);
    place(fields, path, 0, &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    match Schema::from_structural(gvk, schema) {
        Ok(built) => {
            defaults(&built, path, &mut errors);
            rules::lint(&built, path, &mut errors);
        }
        Err(why) => errors.push(Error::invalid(path.clone(), "", why)),
    }
    errors
}

fn text<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn on(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_some_and(|value| value == true)
}

fn root_metadata(fields: &Fields, path: &Path, errors: &mut ErrorList) {
    let Some(metadata) = fields.get("properties").and_then(|p| p.get("metadata")).and_then(Value::as_object) else {
        return;
    };
    let known = |name: &String| matches!(name.as_str(), "name" | "generateName");
    let named = metadata.get("properties").and_then(Value::as_object).into_iter().flatten();
    if named.clone().any(|(name, _)| !known(name)) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(Error::forbidden(path.child("properties").key("metadata"), detail));
    }
}

fn place(fields: &Fields, path: &Path, depth: usize, errors: &mut ErrorList) {
    if depth > MAX_DEPTH {
        errors.push(Error::invalid(path.clone(), "", "the schema nests too deeply"));
        return;
    }
    own(fields, path, errors);
    junctors(fields, path, fields, path, errors);
    let open = |fields: &Fields| {
        on(fields, "x-kubernetes-int-or-string") || on(fields, "x-kubernetes-preserve-unknown-fields")
    };
    let inner = |value: &Value, at: Path, what: &str, errors: &mut ErrorList| {
        let Some(fields) = value.as_object() else { return };
        if text(fields, "type").is_empty() && !open(fields) {
            let detail = format!("must not be empty for specified {what}");
            errors.push(Error::required(at.child("type"), detail));
        }
        place(fields, &at, depth + 1, errors);
    };
    for (name, value) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
        inner(value, path.child(&format!("properties[{name}]")), "object fields", errors);
    }
    match fields.get("items") {
        Some(Value::Array(_)) => {
            let detail = "items must be a schema object and not an array";
            errors.push(Error::forbidden(path.child("items"), detail));
        }
        Some(items) => inner(items, path.child("items"), "array items", errors),
        None if text(fields, "type") == "array" => {
            errors.push(Error::required(path.child("items"), "must be specified"));
        }
        None => {}
    }
    match fields.get("additionalProperties") {
        Some(Value::Bool(false)) => {
            let detail = "additionalProperties cannot be set to false";
            errors.push(Error::forbidden(path.child("additionalProperties"), detail));
        }
        Some(Value::Bool(true)) => {}
        Some(value) => {
            if fields.get("properties").and_then(Value::as_object).is_some_and(|p| !p.is_empty()) {
                let detail = "additionalProperties and properties are mutual exclusive";
                errors.push(Error::forbidden(path.child("additionalProperties"), detail));
            }
            inner(value, path.child("additionalProperties"), "object fields", errors);
        }
        None => {}
    }
}

/// What one place says of itself.
fn own(fields: &Fields, path: &Path, errors: &mut ErrorList) {
    let of = text(fields, "type");
    if !of.is_empty() && !TYPES.contains(&of) {
        errors.push(Error::not_supported(path.child("type"), of, &TYPES));
    }
    for name in UNSUPPORTED.into_iter().filter(|name| fields.contains_key(*name)) {
        errors.push(Error::forbidden(path.child(name), format!("{name} is not supported")));
    }
    if on(fields, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(path.child("uniqueItems"), detail));
    }
    let pattern = text(fields, "pattern");
    if !pattern.is_empty()
        && let Err(why) = super::convert::pattern(pattern)
    {
        errors.push(Error::invalid(path.child("pattern"), pattern, why));
    }
    if on(fields, "x-kubernetes-int-or-string") {
        if !of.is_empty() {
            let detail = "must be empty if x-kubernetes-int-or-string is true";
            errors.push(Error::forbidden(path.child("type"), detail));
        }
        for other in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
            if on(fields, other) {
                let detail = "must be false if x-kubernetes-int-or-string is true";
                errors.push(Error::invalid(path.child(other), true, detail));
            }
        }
    }
    if on(fields, "x-kubernetes-embedded-resource") {
        let open = on(fields, "x-kubernetes-preserve-unknown-fields");
        let named = fields.get("properties").and_then(Value::as_object).is_some_and(|p| !p.is_empty());
        if of != "object" {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            errors.push(Error::invalid(path.child("type"), of, detail));
        }
        if !open && !named {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            errors.push(Error::required(path.child("properties"), detail));
        }
    }
    if fields.get("x-kubernetes-preserve-unknown-fields").is_some_and(|value| value == false) {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(at, false, "must be true or undefined"));
    }
    list(fields, of, path, errors);
    let map_type = text(fields, "x-kubernetes-map-type");
    let at = path.child("x-kubernetes-map-type");
    if !map_type.is_empty() && !matches!(map_type, "atomic" | "granular") {
        errors.push(Error::not_supported(at, map_type, &["atomic", "granular"]));
    } else if !map_type.is_empty() && of != "object" {
        errors.push(Error::invalid(path.child("type"), of, "must be object if x-kubernetes-map-type is specified"));
    }
}

fn list(fields: &Fields, of: &str, path: &Path, errors: &mut ErrorList) {
    let kind = text(fields, "x-kubernetes-list-type");
    let keys: Vec<&str> = fields
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let keys_at = path.child("x-kubernetes-list-map-keys");
    if kind.is_empty() {
        if !keys.is_empty() {
            let at = path.child("x-kubernetes-list-type");
            errors.push(Error::required(at, "must be map if x-kubernetes-list-map-keys is non-empty"));
        }
        return;
    }
    if !matches!(kind, "atomic" | "map" | "set") {
        let supported = ["atomic", "map", "set"];
        errors.push(Error::not_supported(path.child("x-kubernetes-list-type"), kind, &supported));
        return;
    }
    if of != "array" {
        let detail = "must be array if x-kubernetes-list-type is specified";
        errors.push(Error::invalid(path.child("type"), of, detail));
    }
    let empty = Map::new();
    let items = fields.get("items").and_then(Value::as_object).unwrap_or(&empty);
    let items_at = path.child("items");
    match kind {
        "map" => {
            if keys.is_empty() {
                let detail = "must not be empty if x-kubernetes-list-type is map";
                errors.push(Error::required(keys_at, detail));
            }
            if text(items, "type") != "object" {
                let detail = "must be object if parent array's x-kubernetes-list-type is map";
                errors.push(Error::invalid(items_at.child("type"), text(items, "type"), detail));
                return;
            }
            map_keys(items, &keys, path, errors);
        }
        _ if !keys.is_empty() => {
            let detail = "must be empty if x-kubernetes-list-type is not map";
            errors.push(Error::forbidden(keys_at, detail));
        }
        "set" => match (text(items, "type"), text(items, "x-kubernetes-map-type")) {
            ("object", "atomic") => {}
            ("object", other) => {
                let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
                errors.push(Error::invalid(items_at.child("x-kubernetes-map-type"), other, detail));
            }
            ("array", _) if text(items, "x-kubernetes-list-type") != "atomic" => {
                let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
                let other = text(items, "x-kubernetes-list-type");
                errors.push(Error::invalid(items_at.child("x-kubernetes-list-type"), other, detail));
            }
            _ => {}
        },
        _ => {}
    }
}

fn map_keys(items: &Fields, keys: &[&str], path: &Path, errors: &mut ErrorList) {
    let keys_at = path.child("x-kubernetes-list-map-keys");
    let required: Vec<&str> =
        items.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (index, key) in keys.iter().enumerate() {
        if keys[..index].contains(key) {
            errors.push(Error::invalid(
                keys_at.clone(),
                Value::from(keys.to_vec()),
                "must not contain duplicate entries",
            ));
        }
        let Some(property) = items.get("properties").and_then(|p| p.get(*key)).and_then(Value::as_object) else {
            let detail = "entries must all be names of item properties";
            errors.push(Error::invalid(keys_at.clone(), Value::from(keys.to_vec()), detail));
            continue;
        };
        let at = path.child("items").child(&format!("properties[{key}]"));
        if matches!(text(property, "type"), "array" | "object") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(Error::invalid(at.child("type"), text(property, "type"), detail));
        }
        if on(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(Error::forbidden(at.child("nullable"), detail));
        }
        let has_default = property.get("default").is_some_and(|value| !value.is_null());
        if !has_default && !required.contains(key) {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(Error::required(at.child("default"), detail));
        }
    }
}

/// Conditions in junctors may only speak of what the structure has, and not define any of it.
fn junctors(fields: &Fields, path: &Path, structure: &Fields, structure_at: &Path, errors: &mut ErrorList) {
    let mut branches: Vec<(&Value, Path)> = Vec::new();
    for junctor in JUNCTORS {
        let all = fields.get(junctor).and_then(Value::as_array).into_iter().flatten();
        branches.extend(all.enumerate().map(|(at, of)| (of, path.child(junctor).index(at))));
    }
    branches.extend(fields.get("not").map(|of| (of, path.child("not"))));
    for (branch, at) in branches {
        let Some(branch) = branch.as_object() else { continue };
        condition(branch, &at, structure, structure_at, errors);
    }
}

fn condition(branch: &Fields, at: &Path, structure: &Fields, structure_at: &Path, errors: &mut ErrorList) {
    for name in STRUCTURE_ONLY {
        let allowed = name == "x-kubernetes-int-or-string";
        if branch.get(name).is_some_and(|value| !value.is_null() && value != "" && value != false) && !allowed {
            let what = match name {
                "nullable" | "x-kubernetes-embedded-resource" | "x-kubernetes-preserve-unknown-fields" => "false",
                "additionalProperties" | "default" | "x-kubernetes-list-type" | "x-kubernetes-map-type" => "undefined",
                _ => "empty",
            };
            errors.push(Error::forbidden(at.child(name), format!("must be {what} to be structural")));
        }
    }
    // `anyOf: [{type: integer}, {type: string}]` is how int-or-string is written.
    if !text(branch, "type").is_empty() && !on(structure, "x-kubernetes-int-or-string") {
        errors.push(Error::forbidden(at.child("type"), "must be empty to be structural"));
    }
    for (name, value) in branch.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let here = at.child(&format!("properties[{name}]"));
        let there = structure_at.child(&format!("properties[{name}]"));
        match (structure.get("properties").and_then(|p| p.get(name)).and_then(Value::as_object), value.as_object()) {
            (Some(inner), Some(value)) => condition(value, &here, inner, &there, errors),
            (None, _) => errors.push(Error::required(there, format!("because it is defined in {here}"))),
            _ => {}
        }
    }
    if let Some(items) = branch.get("items").and_then(Value::as_object) {
        let (here, there) = (at.child("items"), structure_at.child("items"));
        match structure.get("items").and_then(Value::as_object) {
            Some(inner) => condition(items, &here, inner, &there, errors),
            None => errors.push(Error::required(there, format!("because it is defined in {here}"))),
        }
    }
    junctors(branch, at, structure, structure_at, errors);
}

/// Defaults must be what they would be for: known to the schema, and valid.
fn defaults(schema: &Schema, path: &Path, errors: &mut ErrorList) {
    use crate::schema::Node;
    let Some(rules) = &schema.rules else { return };
    if let Some(default) = &rules.default {
        let at = path.child("default");
        let mut pruned = default.clone();
        prune(schema, &mut pruned);
        if pruned != *default {
            errors.push(Error::invalid(at.clone(), default.clone(), "must not have unknown fields"));
        }
        apply_defaults(schema, &mut pruned);
        for error in validate(schema, &pruned) {
            let inner = error.field.as_str();
            let field = if inner.is_empty() { at.clone() } else { at.child(inner) };
            errors.push(Error { field, ..error });
        }
    }
    match &schema.node {
        Node::Struct(of) => {
            for field in &of.fields {
                defaults(field.schema.get(), &path.child(&format!("properties[{}]", field.name)), errors);
            }
            if let Some(rest) = &of.rest {
                defaults(rest.get(), &path.child("additionalProperties"), errors);
            }
        }
        Node::Map(of) => defaults(of.get(), &path.child("additionalProperties"), errors),
        Node::List(list) => defaults(list.of.get(), &path.child("items"), errors),
        _ => {}
    }
}
