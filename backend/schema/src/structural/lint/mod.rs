//! What keeps a schema from being structural, told when it is written.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>
//!
//! As upstream in two passes: what the structure must be, with the defaults of a sound one, and what every schema may say
//! (`keywords`), those in junctors too; then rules, for which all has to be sound.

mod conditions;
mod defaults;
mod keywords;
mod lists;

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

use super::{Schema, formats, prune, rules, validate_default};
use crate::schema::Gvk;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// How deeply schemas nest.
const MAX_DEPTH: usize = 100;
const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// What every object has, whether its schema says so or not.
const OBJECT_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

type Fields = Map<String, Value>;

/// All that is wrong with the schema of a custom resource's version, which is at `path`.
pub fn lint(gvk: Gvk, schema: &Value, path: &Path) -> ErrorList {
    let mut found = keywords::Found::default();
    let Some(fields) = schema.as_object() else { return found.errors };
    if on(fields, "nullable") {
        found.errors.push(Error::forbidden(path.child("nullable"), "nullable cannot be true at the root"));
    }
    let unsupported = keywords::place(fields, path, keywords::Spot::Root, 0, &mut found);
    let mut errors = found.patterns;
    // What cannot be read as a structure is not judged as one.
    if !unsupported {
        place(fields, path, Level::Root, 0, &mut errors);
        conditions::complete(fields, path, &mut errors);
        if errors.is_empty() {
            built(gvk, schema, path, found.errors.is_empty(), &mut errors);
        }
    }
    errors.extend(found.errors);
    errors
}

/// What only a sound structure can be judged by; the rest of it may be wrong unless it is `fine`.
fn built(gvk: Gvk, schema: &Value, path: &Path, fine: bool, errors: &mut ErrorList) {
    match Schema::from_structural(gvk, schema) {
        Ok(built) => {
            whole_default(schema, path, errors);
            defaults::lint(&built, path, errors);
            if fine && errors.is_empty() {
                rules::lint(&built, path, errors);
            }
        }
        Err(why) if fine => errors.push(Error::invalid(path.clone(), "", why)),
        Err(_) => {}
    }
}

/// A default of the whole object would have to say what it is.
fn whole_default(schema: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(default) = schema.get("default").and_then(Value::as_object) else { return };
    for name in ["apiVersion", "kind"].into_iter().filter(|name| !default.contains_key(*name)) {
        errors.push(Error::required(path.child("default").child(name), ""));
    }
}

/// The formats anywhere in a schema that say nothing of values of their type: each once.
pub fn unknown_formats(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_formats(schema, 0, &mut found);
    found
}

fn collect_formats(schema: &Value, depth: usize, found: &mut Vec<String>) {
    let Some(fields) = schema.as_object().filter(|_| depth <= MAX_DEPTH) else { return };
    let format = text(fields, "format");
    if !format.is_empty() && !formats::says_anything(text(fields, "type"), format) && !found.iter().any(|f| f == format)
    {
        found.push(format.to_owned());
    }
    for (_, inner) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
        collect_formats(inner, depth + 1, found);
    }
    for key in ["additionalProperties", "not", "items"] {
        collect_formats(fields.get(key).unwrap_or(&Value::Null), depth + 1, found);
    }
    for inner in JUNCTORS.iter().filter_map(|junctor| fields.get(*junctor)?.as_array()).flatten() {
        collect_formats(inner, depth + 1, found);
    }
}

fn text<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn on(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_some_and(|value| value == true)
}

fn properties(fields: &Fields) -> impl Iterator<Item = (&String, &Fields)> {
    let all = fields.get("properties").and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, value)| Some((name, value.as_object()?)))
}

fn property_at(path: &Path, name: &str) -> Path {
    path.child("properties").key(name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What the structure must be at one place and below it.
fn place(fields: &Fields, path: &Path, level: Level, depth: usize, errors: &mut ErrorList) {
    if depth > MAX_DEPTH {
        errors.push(Error::invalid(path.clone(), "", "the schema nests too deeply"));
        return;
    }
    let of = text(fields, "type");
    let (either, open) = (on(fields, "x-kubernetes-int-or-string"), on(fields, "x-kubernetes-preserve-unknown-fields"));
    let embedded = on(fields, "x-kubernetes-embedded-resource");
    match fields.get("items").and_then(Value::as_object) {
        Some(items) => place(items, &path.child("items"), Level::Item, depth + 1, errors),
        None if of == "array" => errors.push(Error::required(path.child("items"), "must be specified")),
        None => {}
    }
    for (name, inner) in properties(fields) {
        place(inner, &property_at(path, name), Level::Field, depth + 1, errors);
    }
    if let Some(rest) = fields.get("additionalProperties") {
        let at = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(Error::forbidden(at.clone(), "must not be used at the root"));
        }
        if embedded {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            errors.push(Error::forbidden(at.clone(), detail));
        }
        if let Some(rest) = rest.as_object() {
            place(rest, &at, Level::Field, depth + 1, errors);
        }
    }
    if either {
        for other in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
            if on(fields, other) {
                let detail = "must be false if x-kubernetes-int-or-string is true";
                errors.push(Error::invalid(path.child(other), true, detail));
            }
        }
    }
    conditions::junctors(fields, path, conditions::Either::of(fields), errors);
    type_of_place(of, path, level, embedded, either || open, errors);
    if level == Level::Root || embedded {
        object_fields(fields, path, level, errors);
    }
    if embedded && !open && properties(fields).next().is_none() {
        let detail =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(path.child("properties"), detail));
    }
}

fn type_of_place(of: &str, path: &Path, level: Level, embedded: bool, may_lack: bool, errors: &mut ErrorList) {
    let at = path.child("type");
    if embedded && of != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(wrong_type(at, of, detail));
    } else if of.is_empty() && !may_lack {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(Error::required(at, detail));
    } else if level == Level::Root && !of.is_empty() && of != "object" {
        errors.push(Error::invalid(at, of, "must be object at the root"));
    }
}

/// A type that has to be another: required if there is none.
fn wrong_type(at: Path, of: &str, detail: &str) -> Error {
    if of.is_empty() { Error::required(at, detail) } else { Error::invalid(at, of, detail) }
}

/// `apiVersion`, `kind` and `metadata` are what they are; of a resource's own `metadata` only the names may be narrowed.
fn object_fields(fields: &Fields, path: &Path, level: Level, errors: &mut ErrorList) {
    for (name, inner) in properties(fields).filter(|(name, _)| OBJECT_FIELDS.contains(&name.as_str())) {
        let at = property_at(path, name);
        let must = if name == "metadata" { "object" } else { "string" };
        if text(inner, "type") != must {
            errors.push(Error::invalid(at.child("type"), text(inner, "type"), format!("must be {must}")));
        }
        if name == "metadata" && level == Level::Root {
            let only_names = properties(inner).all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
            let plain = inner.keys().all(|key| matches!(key.as_str(), "type" | "default" | "properties"));
            if !only_names || !plain {
                let detail =
                    "must not specify anything other than name and generateName, but metadata is implicitly specified";
                errors.push(Error::forbidden(at, detail));
            }
        }
    }
}
