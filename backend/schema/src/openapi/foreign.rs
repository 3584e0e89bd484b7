//! OpenAPI v2 of others: the part of a document that an extension server publishes, joined to our own.
//!
//! Invariant: nothing that is ours changes. Where both mean another thing by one name, theirs gets another name.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Where shared parts of a document are kept.
const SHARED: [&str; 3] = ["definitions", "parameters", "responses"];

/// Adds what `foreign` says of the paths below `prefix` to `document`.
pub fn join(document: &mut Value, foreign: &Value, prefix: &str) {
    let below = |path: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut paths: Map<String, Value> = foreign["paths"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(path, item)| below(path) && item.is_object())
        .map(|(path, item)| (path.clone(), item.clone()))
        .collect();
    let mut parts = needed(&paths, foreign);
    let names = names_for(&parts, document);
    paths.values_mut().chain(parts.values_mut()).for_each(|value| rename(value, &names));
    for ((place, name), part) in parts {
        let name =
            names.get(&reference(place, &name)).and_then(|new| new.rsplit('/').next()).unwrap_or(&name).to_owned();
        if let Some(known) = object(document, place) {
            known.entry(name).or_insert(part);
        }
    }
    if let Some(known) = object(document, "paths") {
        for (path, item) in paths {
            known.entry(path).or_insert(item);
        }
    }
}

type Parts = HashMap<(&'static str, String), Value>;

fn object<'v>(document: &'v mut Value, place: &str) -> Option<&'v mut Map<String, Value>> {
    let fields = document.as_object_mut()?;
    fields.entry(place).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

fn reference(place: &str, name: &str) -> String {
    format!("#/{place}/{name}")
}

/// The shared parts that paths refer to, and what those refer to.
fn needed(paths: &Map<String, Value>, foreign: &Value) -> Parts {
    let mut parts = Parts::new();
    let mut found = Vec::new();
    paths.values().for_each(|item| references(item, &mut found));
    while let Some(text) = found.pop() {
        let Some((place, name)) = text.strip_prefix("#/").and_then(|rest| rest.split_once('/')) else { continue };
        let Some(place) = SHARED.into_iter().find(|known| *known == place) else { continue };
        let Some(part) = foreign[place].get(name) else { continue };
        if parts.insert((place, name.to_owned()), part.clone()).is_none() {
            references(part, &mut found);
        }
    }
    parts
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// New names for parts that are called like others of ours: `…_v2`, as upstream.
fn names_for(parts: &Parts, document: &Value) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for ((place, name), part) in parts {
        let mut new = name.clone();
        for number in 2.. {
            match document[*place].get(&new) {
                Some(other) if other != part => new = format!("{name}_v{number}"),
                _ => break,
            }
        }
        if new != *name {
            names.insert(reference(place, name), reference(place, &new));
        }
    }
    names
}

fn rename(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let new = value.as_str().filter(|_| key == "$ref").and_then(|text| names.get(text));
                match new {
                    Some(new) => *value = Value::from(new.as_str()),
                    None => rename(value, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|value| rename(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_theirs_joins_under_names_of_its_own() {
        let uses =
            |name: &str| json!({"get": {"responses": {"200": {"schema": {"$ref": format!("#/definitions/{name}")}}}}});
        let mut document = json!({
            "paths": {"/apis/a/v1": uses("Meta")},
            "definitions": {"Meta": {"type": "object"}, "Same": {"type": "string"}}});
        let foreign = json!({
            "paths": {"/apis/b/v1/things": uses("Thing"), "/apis/b/v10/things": uses("Other"), "/apis/a/v1": uses("Thing")},
            "definitions": {
                "Thing": {"properties": {
                    "meta": {"$ref": "#/definitions/Meta"}, "same": {"$ref": "#/definitions/Same"},
                    "self": {"$ref": "#/definitions/Thing"}, "none": {"$ref": "#/definitions/Nowhere"}}},
                "Meta": {"type": "integer"}, "Same": {"type": "string"}, "Other": {"type": "object"}}});
        join(&mut document, &foreign, "/apis/b/v1");
        assert_eq!(
            document,
            json!({
                "paths": {"/apis/a/v1": uses("Meta"), "/apis/b/v1/things": uses("Thing")},
                "definitions": {
                    "Meta": {"type": "object"}, "Same": {"type": "string"}, "Meta_v2": {"type": "integer"},
                    "Thing": {"properties": {
                        "meta": {"$ref": "#/definitions/Meta_v2"}, "same": {"$ref": "#/definitions/Same"},
                        "self": {"$ref": "#/definitions/Thing"}, "none": {"$ref": "#/definitions/Nowhere"}}}}})
        );
        let before = document.clone();
        join(&mut document, &json!({"paths": [], "definitions": 7}), "/apis/b/v1");
        assert_eq!(document, before, "nonsense adds nothing");
    }
}
