//! Checks that many kinds share, in upstream's words.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use crate::value::{Look, semantic_eq};

const MAX_CONDITION_REASON: usize = 1024;
const MAX_CONDITION_MESSAGE: usize = 32 * 1024;

pub(crate) const IMMUTABLE: &str = "field is immutable";
pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";

pub(crate) fn immutable(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    if !semantic_eq(new, old) {
        errors.push(Error::invalid(path.clone(), new.clone(), IMMUTABLE));
    }
}

/// Fields under `path` of which none may change.
pub(crate) fn immutable_fields(new: &Value, old: &Value, path: &Path, keys: &[&str], errors: &mut ErrorList) {
    for key in keys {
        immutable(new.at(key), old.at(key), &path.child(key), errors);
    }
}

/// The integer under `key` of `parent`, if there is one, is not negative.
pub(crate) fn non_negative(parent: &Value, path: &Path, key: &str, errors: &mut ErrorList) {
    if let Some(number) = parent.int(key).filter(|n| *n < 0) {
        errors.push(Error::invalid(path.child(key), number, NEGATIVE));
    }
}

/// Each of the names' complaints about `value` as an error of `path`.
pub(crate) fn push_all(wrong: Vec<String>, value: &str, path: &Path, errors: &mut ErrorList) {
    errors.extend(wrong.into_iter().map(|e| Error::invalid(path.clone(), value, e)));
}

/// The text under `key` is one of `allowed`; absent is `Required`.
pub(crate) fn one_of(parent: &Value, path: &Path, key: &str, allowed: &[&str], errors: &mut ErrorList) {
    match parent.text(key) {
        "" => errors.push(Error::required(path.child(key), "")),
        text if allowed.contains(&text) => {}
        text => errors.push(Error::not_supported(path.child(key), text, allowed)),
    }
}

/// The text under `key`, if there is any, is one of `allowed`.
pub(crate) fn one_of_if_set(parent: &Value, path: &Path, key: &str, allowed: &[&str], errors: &mut ErrorList) {
    let text = parent.text(key);
    if !text.is_empty() && !allowed.contains(&text) {
        errors.push(Error::not_supported(path.child(key), text, allowed));
    }
}

/// The text under `key`, if the key is there, is one of `allowed`: where upstream holds a pointer, empty is not absent.
pub(crate) fn one_of_if_there(parent: &Value, path: &Path, key: &str, allowed: &[&str], errors: &mut ErrorList) {
    if let Some(text) = parent.at(key).as_str().filter(|text| !allowed.contains(text)) {
        errors.push(Error::not_supported(path.child(key), text, allowed));
    }
}

/// The text under `key` is one of `allowed`; absent reads as "", which is not.
pub(crate) fn one_of_always(parent: &Value, path: &Path, key: &str, allowed: &[&str], errors: &mut ErrorList) {
    let text = parent.text(key);
    if !allowed.contains(&text) {
        errors.push(Error::not_supported(path.child(key), text, allowed));
    }
}

/// The text under `key`, if the key is there, obeys `rule`.
pub(crate) fn name_if_there(
    parent: &Value,
    path: &Path,
    key: &str,
    rule: fn(&str) -> Vec<String>,
    errors: &mut ErrorList,
) {
    if let Some(text) = parent.at(key).as_str() {
        push_all(rule(text), text, &path.child(key), errors);
    }
}

/// The text under `key` is there and obeys `rule`.
pub(crate) fn required_name(
    parent: &Value,
    path: &Path,
    key: &str,
    rule: fn(&str) -> Vec<String>,
    errors: &mut ErrorList,
) {
    if required(parent, path, key, errors) {
        push_all(rule(parent.text(key)), parent.text(key), &path.child(key), errors);
    }
}

/// A quantity, if there is one, is not negative.
pub(crate) fn non_negative_quantity(parent: &Value, path: &Path, key: &str, errors: &mut ErrorList) {
    let value = parent.at(key);
    if Quantity::parse(&crate::value::bare(value)).is_ok_and(|quantity| quantity.is_negative()) {
        errors.push(Error::invalid(path.child(key), value.clone(), NEGATIVE));
    }
}

pub(crate) fn required(parent: &Value, path: &Path, key: &str, errors: &mut ErrorList) -> bool {
    let value = parent.at(key);
    let missing = value.is_null() || value.as_str() == Some("");
    if missing {
        errors.push(Error::required(path.child(key), ""));
    }
    !missing
}

/// A LabelSelector.
pub(crate) fn label_selector(selector: &Value, path: &Path, errors: &mut ErrorList) {
    crate::meta::validate_labels(selector.at("matchLabels"), &path.child("matchLabels"), errors);
    for (index, expression) in selector.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = expression.list("values");
        match expression.text("operator") {
            "In" | "NotIn" if values.is_empty() => errors
                .push(Error::required(path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::forbidden(
                path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(Error::invalid(path.child("operator"), other, "not a valid selector operator")),
        }
        let key = expression.text("key");
        push_all(names::is_qualified_name(key), key, &path.child("key"), errors);
        for (index, value) in expression.texts("values").enumerate() {
            push_all(names::is_label_value(value), value, &path.child("values").index(index), errors);
        }
    }
}

/// Conditions of the common form, in a status.
pub(crate) fn conditions(list: &[Value], path: &Path, errors: &mut ErrorList) {
    for (index, condition) in list.iter().enumerate() {
        let (kind, path) = (condition.text("type"), path.index(index));
        if list[..index].iter().any(|other| other.text("type") == kind) {
            errors.push(Error::duplicate(path.child("type"), kind));
        }
        push_all(names::is_qualified_name(kind), kind, &path.child("type"), errors);
        one_of_always(condition, &path, "status", &["False", "True", "Unknown"], errors);
        if let Some(generation) = condition.int("observedGeneration").filter(|g| *g < 0) {
            let detail = "must be greater than or equal to zero";
            errors.push(Error::invalid(path.child("observedGeneration"), generation, detail));
        }
        required(condition, &path, "lastTransitionTime", errors);
        let reason = condition.text("reason");
        if required(condition, &path, "reason", errors) {
            push_all(names::is_condition_reason(reason), reason, &path.child("reason"), errors);
            if reason.len() > MAX_CONDITION_REASON {
                errors.push(Error::too_long(path.child("reason"), MAX_CONDITION_REASON));
            }
        }
        if condition.text("message").len() > MAX_CONDITION_MESSAGE {
            errors.push(Error::too_long(path.child("message"), MAX_CONDITION_MESSAGE));
        }
    }
}

pub(crate) fn is_empty_selector(selector: &Value) -> bool {
    selector.entries("matchLabels").next().is_none() && selector.list("matchExpressions").is_empty()
}

/// A port that is a number or a name.
pub(crate) fn port_number_or_name(port: &Value, path: &Path, errors: &mut ErrorList) {
    match port {
        Value::String(name) => push_all(names::is_port_name(name), name, path, errors),
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            errors.extend(names::is_port_number(number).into_iter().map(|e| Error::invalid(path.clone(), number, e)));
        }
        _ => errors.push(Error::required(path.clone(), "")),
    }
}

/// A non-negative number or percentage.
pub(crate) fn non_negative_int_or_percent(value: &Value, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::String(text) => push_all(names::is_percent(text), text, path, errors),
        Value::Number(number) => {
            if let Some(number) = number.as_i64().filter(|n| *n < 0) {
                errors.push(Error::invalid(path.clone(), number, NEGATIVE));
            }
        }
        _ => errors.push(Error::invalid(path.clone(), value.clone(), "must be an integer or percentage (e.g '5%%')")),
    }
}

/// The percentage of an IntOrString that is one.
pub(crate) fn percent(value: &Value) -> Option<i64> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

pub(crate) fn at_most_hundred_percent(value: &Value, path: &Path, errors: &mut ErrorList) {
    if percent(value).is_some_and(|p| p > 100) {
        errors.push(Error::invalid(path.clone(), value.clone(), "must not be greater than 100%"));
    }
}

/// Zero, "0%" and absence.
pub(crate) fn is_zero_int_or_percent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_i64() == Some(0),
        // What is neither counts as zero, as upstream reads it.
        Value::String(text) => percent(value).unwrap_or_else(|| text.parse().unwrap_or_default()) == 0,
        _ => false,
    }
}

/// A quantity; `None` and an error if it cannot be read.
pub(crate) fn quantity(value: &Value, path: &Path, errors: &mut ErrorList) -> Option<Quantity> {
    let text = crate::value::bare(value);
    match Quantity::parse(&text) {
        Ok(quantity) => Some(quantity),
        Err(wrong) => {
            errors.push(Error::invalid(path.clone(), value.clone(), wrong));
            None
        }
    }
}

/// Rewrites the quantities of a map (`requests`, `capacity`) in their canonical form, as upstream's decoding does.
pub(crate) fn canonical_quantities(map: Option<&mut Value>) {
    for value in map.and_then(Value::as_object_mut).into_iter().flat_map(serde_json::Map::values_mut) {
        canonical_quantity(value);
    }
}

pub(crate) fn canonical_quantity(value: &mut Value) {
    if !matches!(value, Value::String(_) | Value::Number(_)) {
        return;
    }
    if let Ok(quantity) = Quantity::parse(&crate::value::bare(value)) {
        *value = quantity.to_string().into();
    }
}
