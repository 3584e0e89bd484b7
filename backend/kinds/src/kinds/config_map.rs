//! ConfigMap. Source: <https://kubernetes.io/docs/concepts/configuration/configmap/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks::{IMMUTABLE, push_all},
    columns::{AGE, Column, NAME, age, name},
    strategy::Strategy,
    value::{Look, semantic_eq},
};

/// All values together (upstream: 1 MiB).
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

pub(crate) static STRATEGY: Strategy = Strategy { validate, validate_update, columns: COLUMNS, row, ..Strategy::PLAIN };

const COLUMNS: &[Column] = &[NAME, Column::text("Data"), AGE];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = object.entries("data").count() + object.entries("binaryData").count();
    vec![name(object), count.into(), age(object, now)]
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (data, binary) = (Path::new("data"), Path::new("binaryData"));
    let mut size = 0;
    for (key, value) in object.entries("data") {
        push_all(names::is_config_map_key(key), key, &data.key(key), errors);
        if object.at("binaryData").get(key).is_some() {
            let detail = "duplicate of key present in binaryData";
            errors.push(Error::invalid(data.key(key), key, detail));
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in object.entries("binaryData") {
        push_all(names::is_config_map_key(key), key, &binary.key(key), errors);
        size += value.as_str().map_or(0, decoded_len);
    }
    if size > MAX_BYTES {
        errors.push(Error::too_long(Path::new("[]"), MAX_BYTES));
    }
}

/// The bytes that a Base64 text stands for.
pub(crate) fn decoded_len(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    if old.flag("immutable") {
        frozen(new, old, &["data", "binaryData"], errors);
    }
    validate(new, errors);
}

/// Nothing of an immutable ConfigMap or Secret changes, least of all that it is immutable.
pub(crate) fn frozen(new: &Value, old: &Value, keys: &[&str], errors: &mut ErrorList) {
    let detail = format!("{IMMUTABLE} when `immutable` is set");
    if !new.flag("immutable") {
        errors.push(Error::forbidden(Path::new("immutable"), detail.clone()));
    }
    for key in keys {
        if !semantic_eq(new.at(key), old.at(key)) {
            errors.push(Error::forbidden(Path::new(key), detail.clone()));
        }
    }
}
