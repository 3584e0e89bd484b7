//! What a list may be: a set, or keyed by fields of its items.

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

use super::{Fields, on, property_at, text, wrong_type};

pub fn lint(fields: &Fields, of: &str, path: &Path, errors: &mut ErrorList) {
    // An empty text is a kind of list that there is not.
    let kind = fields.get("x-kubernetes-list-type").and_then(Value::as_str);
    let keys: Vec<&str> = fields
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let kind_at = path.child("x-kubernetes-list-type");
    let Some(kind) = kind else {
        if !keys.is_empty() {
            errors.push(Error::required(kind_at, "must be map if x-kubernetes-list-map-keys is non-empty"));
        }
        return;
    };
    let items = fields.get("items").and_then(Value::as_object);
    if of != "array" {
        errors.push(wrong_type(path.child("type"), of, "must be array if x-kubernetes-list-type is specified"));
    } else if let ("set", Some(items)) = (kind, items) {
        set(items, &path.child("items"), errors);
    }
    if !matches!(kind, "atomic" | "set" | "map") {
        errors.push(Error::not_supported(kind_at.clone(), kind, &["atomic", "set", "map"]));
    }
    if !keys.is_empty() && kind != "map" {
        errors.push(Error::invalid(kind_at, kind, "must be map if x-kubernetes-list-map-keys is non-empty"));
    }
    if kind == "map" {
        map(items, &keys, path, errors);
    }
    if matches!(kind, "map" | "set") && items.is_some_and(|items| on(items, "nullable")) {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(Error::forbidden(path.child("items").child("nullable"), detail));
    }
}

/// Members of a set are compared as wholes, so they must be owned as wholes.
fn set(items: &Fields, at: &Path, errors: &mut ErrorList) {
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    // Upstream shows the type of the list, whichever is wrong.
    let kind = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
    match text(items, "type") {
        "array" if !matches!(kind.as_str(), None | Some("atomic")) => {
            errors.push(Error::invalid(at.child("x-kubernetes-list-type"), kind, detail));
        }
        "object" if text(items, "x-kubernetes-map-type") != "atomic" => {
            errors.push(Error::invalid(at.child("x-kubernetes-map-type"), kind, detail));
        }
        _ => {}
    }
}

fn map(items: Option<&Map<String, Value>>, keys: &[&str], path: &Path, errors: &mut ErrorList) {
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(Error::required(path.child("x-kubernetes-list-map-keys"), detail));
    }
    let items_at = path.child("items");
    let Some(items) = items else {
        errors.push(Error::required(items_at, "must have a schema if x-kubernetes-list-type is map"));
        return;
    };
    if text(items, "type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(items_at.child("type"), text(items, "type"), detail));
        return;
    }
    map_keys(items, keys, path, errors);
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
        let at = property_at(&path.child("items"), key);
        if matches!(text(property, "type"), "array" | "object") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            // Upstream shows the type of the item.
            errors.push(Error::invalid(at.child("type"), text(items, "type"), detail));
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
