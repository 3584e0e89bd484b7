//! Validation of custom resources by the keywords of OpenAPI v3, in upstream's words.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use pilothouse_api::field::{Error, ErrorList, ErrorType, Path};
use pilothouse_api::names;
use serde_json::{Map, Number, Value};

use super::{Rules, formats, numbers, rules};
use crate::schema::{List, ListKind, Node, Schema};

/// Most errors that are told of one object.
const MAX_ERRORS: usize = 100;

/// All that is wrong with a new custom resource, as far as its schema can tell.
pub fn validate(schema: &Schema, value: &Value) -> ErrorList {
    judge(schema, value, None)
}

/// All that is wrong with a change of a custom resource. What was wrong before and did not change is let be, so that a
/// schema may become stricter while its objects live.
pub fn validate_update(schema: &Schema, value: &Value, old: &Value) -> ErrorList {
    judge(schema, value, Some(old))
}

/// All that is wrong with a default, which is a part of an object only. Whether items come twice is not asked: upstream
/// asks it of objects alone.
pub fn validate_default(schema: &Schema, value: &Value) -> ErrorList {
    let mut errors = Vec::new();
    check(schema, value, None, &Path::root(), &mut errors);
    // Nor of what may be an integer or a text which of the two it is.
    let either = format!("must be of type {}", expected("int-or-string"));
    errors.retain(|error| error.kind != ErrorType::Duplicate && !error.detail.contains(&either));
    if errors.is_empty() {
        rules::evaluate(schema, value, None, &mut errors);
    }
    errors
}

fn judge(schema: &Schema, value: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = Vec::new();
    check(schema, value, old, &Path::root(), &mut errors);
    if let Some(metadata) = schema.rules.as_ref().and_then(|rules| rules.metadata.as_ref()) {
        check(metadata, &value["metadata"], old.map(|old| &old["metadata"]), &Path::new("metadata"), &mut errors);
    }
    errors.truncate(MAX_ERRORS);
    if schema.rules.as_ref().is_some_and(|rules| rules.has_validations) {
        if errors.iter().any(|error| blocks_rules(error.kind)) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(Error::invalid(Path::root(), Value::Null, detail));
        } else {
            rules::evaluate(schema, value, old, &mut errors);
        }
    }
    errors
}

/// What rules would say of the parts of an object that did not change, which is let be: for warnings.
pub fn unchanged(schema: &Schema, new: &Value, old: &Value) -> ErrorList {
    let mut errors = Vec::new();
    if schema.rules.as_ref().is_some_and(|rules| rules.has_validations) {
        rules::evaluate_unchanged(schema, new, old, &mut errors);
    }
    errors
}

/// Errors that leave rules nothing sensible to look at.
fn blocks_rules(kind: ErrorType) -> bool {
    use ErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

fn check(schema: &Schema, value: &Value, old: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    if old == Some(value) {
        return;
    }
    if errors.len() >= MAX_ERRORS {
        return;
    }
    let Some(rules) = &schema.rules else { return };
    if value.is_null() && (rules.nullable || rules.of.is_empty()) {
        check_choices(rules, value, path, errors);
        return;
    }
    if !is_of(&rules.of, value) {
        errors.push(wrong_type(rules, value, path));
    }
    check_choices(rules, value, path, errors);
    match value {
        Value::String(text) => check_text(rules, text, path, errors),
        Value::Number(number) => numbers::check(rules, number, path, errors),
        Value::Array(items) => check_items(schema, rules, items, old, path, errors),
        Value::Object(fields) => check_fields(schema, rules, fields, old, path, errors),
        Value::Null | Value::Bool(_) => {}
    }
    check_branches(rules, value, path, errors);
}

fn check_choices(rules: &Rules, value: &Value, path: &Path, errors: &mut ErrorList) {
    if rules.choices.is_empty() || rules.choices.iter().any(|choice| same(choice, value)) {
        return;
    }
    let choices: Vec<String> =
        rules.choices.iter().map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned)).collect();
    let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
    errors.push(Error::not_supported(path.clone(), value.clone(), &choices));
}

/// Equality in which 1.0 is 1.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => order(a, b) == Ordering::Equal,
        _ => a == b,
    }
}

fn expected(of: &str) -> &str {
    if of == "int-or-string" { "integer,string" } else { of }
}

fn is_of(of: &str, value: &Value) -> bool {
    match of {
        "" => true,
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => is_integer(value),
        "int-or-string" => is_integer(value) || value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// Of a field that has a format, that is what is missed, but by nulls, texts and lists.
fn wrong_type(rules: &Rules, value: &Value, path: &Path) -> Error {
    let format = match &*rules.of {
        "string" if formats::is_known(&rules.format) => &rules.format,
        _ => numbers::format(rules),
    };
    let (of, actual) = match value {
        Value::Null | Value::String(_) | Value::Array(_) => (expected(&rules.of), type_name(value)),
        _ if format.is_empty() => (expected(&rules.of), type_name(value)),
        Value::Number(number) if number.is_i64() => (format, "int64"),
        Value::Number(_) => (format, "float64"),
        _ => (format, ""),
    };
    let detail = format!("{} in body must be of type {of}: {actual:?}", path.as_str());
    Error::type_invalid(path.clone(), actual, detail)
}

/// What is too large for 64 bits is a number, not an integer.
fn is_integer(value: &Value) -> bool {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    value.is_i64() || (value.is_f64() && value.as_f64().is_some_and(|n| n.fract() == 0.0 && n.abs() < BEYOND))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if !n.is_i64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn invalid(path: &Path, value: impl Into<Value>, why: &str) -> Error {
    Error::invalid(path.clone(), value, format!("{} in body {why}", path.as_str()))
}

fn check_text(rules: &Rules, text: &str, path: &Path, errors: &mut ErrorList) {
    let length = text.chars().count() as u64;
    // The first of these is told.
    if let Some(max) = rules.max_length.filter(|max| length > *max) {
        errors.push(Error::too_long(path.clone(), usize::try_from(max).unwrap_or(usize::MAX)));
    } else if let Some(min) = rules.min_length.filter(|min| length < *min) {
        errors.push(invalid(path, text, &format!("should be at least {min} chars long")));
    } else if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        errors.push(invalid(path, text, &format!("should match '{pattern}'")));
    }
    let texts = !matches!(&*rules.of, "array" | "boolean" | "int-or-string" | "integer" | "number" | "object");
    if texts && !formats::has(&rules.format, text) {
        let why = format!("{} in body must be of type {}: {text:?}", path.as_str(), rules.format);
        errors.push(Error::type_invalid(path.clone(), text, why));
    }
}

/// Compares numbers without losing digits of integers.
fn order(a: &Number, b: &Number) -> Ordering {
    let integers = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (integers(a), integers(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
    }
}

fn check_items(
    schema: &Schema,
    rules: &Rules,
    items: &[Value],
    old: Option<&Value>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let count = items.len() as u64;
    if let Some(max) = rules.max_items.filter(|max| count > *max) {
        errors.push(Error::too_many(path.clone(), items.len(), usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = rules.min_items.filter(|min| count < *min) {
        errors.push(invalid(path, count, &format!("should have at least {min} items")));
    }
    if rules.unique_items {
        let mut seen = HashSet::new();
        if !items.iter().all(|item| seen.insert(item.to_string())) {
            errors.push(invalid(path, Value::Array(items.to_vec()), "shouldn't contain duplicates"));
        }
    }
    if let Node::List(list) = &schema.node {
        for (at, item) in items.iter().enumerate() {
            check(list.of.get(), item, rules::correlated(list, item, old), &path.index(at), errors);
        }
        check_identities(list, items, path, errors);
    }
}

/// Items of sets and keyed lists must differ.
fn check_identities(list: &List, items: &[Value], path: &Path, errors: &mut ErrorList) {
    let (mut seen, mut told) = (HashSet::new(), HashSet::new());
    for (at, item) in items.iter().enumerate() {
        let identity = match &list.kind {
            ListKind::Atomic => return,
            ListKind::Set => item.clone(),
            ListKind::Map(keys) => {
                let keys = keys.iter().filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
                Value::Object(keys.collect())
            }
        };
        let text = identity.to_string();
        // However often it comes, it is told once.
        if seen.contains(&text) && told.insert(text.clone()) {
            errors.push(Error::duplicate(path.index(at), identity));
        }
        seen.insert(text);
    }
}

fn check_fields(
    schema: &Schema,
    rules: &Rules,
    fields: &Map<String, Value>,
    old: Option<&Value>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let count = fields.len() as u64;
    if let Some(max) = rules.max_properties.filter(|max| count > *max) {
        errors.push(Error::too_many(path.clone(), fields.len(), usize::try_from(max).unwrap_or(usize::MAX)));
        return;
    }
    if let Some(min) = rules.min_properties.filter(|min| count < *min) {
        errors.push(invalid(path, count, &format!("should have at least {min} properties")));
    }
    for required in rules.required.iter().filter(|name| !fields.contains_key(&***name)) {
        errors.push(Error::required(path.child(required), ""));
    }
    if rules.embedded_resource {
        check_embedded(fields, path, errors);
    }
    for (name, value) in fields {
        let inner = match &schema.node {
            Node::Struct(of) => match (of.field(name), &of.rest) {
                (Some(field), _) => field.schema.get(),
                (None, Some(rest)) => rest.get(),
                (None, None) => continue,
            },
            Node::Map(of) => of.get(),
            _ => return,
        };
        check(inner, value, old.and_then(|old| old.get(name)), &path.child(name), errors);
    }
}

/// What is an object of its own says which kind it is of.
fn check_embedded(fields: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    for field in ["apiVersion", "kind"] {
        let at = path.child(field);
        let text = match fields.get(field) {
            None => {
                errors.push(Error::required(at, ""));
                continue;
            }
            Some(Value::String(text)) => text.as_str(),
            Some(other) => {
                errors.push(Error::invalid(at, other.clone(), "must be a string"));
                continue;
            }
        };
        if text.is_empty() {
            errors.push(Error::invalid(at, text, "must not be empty"));
        } else if field == "apiVersion" {
            if text.matches('/').count() > 1 {
                errors.push(Error::invalid(at, text, format!("unexpected GroupVersion string: {text}")));
            }
        } else {
            let wrong = names::is_dns1035_label(&text.to_lowercase());
            if !wrong.is_empty() {
                let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                errors.push(Error::invalid(at, text, detail));
            }
        }
    }
}

/// `allOf`, `anyOf`, `oneOf`, `not`: that one of them is broken is told without a field, why with one.
fn check_branches(rules: &Rules, value: &Value, path: &Path, errors: &mut ErrorList) {
    let fits = |schema: &Arc<Schema>| {
        let mut found = Vec::new();
        check(schema, value, None, path, &mut found);
        found
    };
    let broken = |why: String| Error::invalid(Path::root(), "", format!("{:?} must {why}", path.as_str()));
    if !rules.any_of.is_empty() {
        let failures: Vec<ErrorList> = rules.any_of.iter().map(fits).collect();
        if failures.iter().all(|found| !found.is_empty()) {
            errors.push(broken("validate at least one schema (anyOf)".into()));
            errors.extend(failures.into_iter().next().unwrap_or_default());
        }
    }
    if !rules.one_of.is_empty() {
        let failures: Vec<ErrorList> = rules.one_of.iter().map(fits).collect();
        match failures.iter().filter(|found| found.is_empty()).count() {
            1 => {}
            0 => {
                errors.push(broken("validate one and only one schema (oneOf). Found none valid".into()));
                errors.extend(failures.into_iter().next().unwrap_or_default());
            }
            n => {
                let why = format!("validate one and only one schema (oneOf). Found {n} valid alternatives");
                errors.push(broken(why));
            }
        }
    }
    let failures: Vec<ErrorList> = rules.all_of.iter().map(fits).filter(|found| !found.is_empty()).collect();
    if !failures.is_empty() {
        let none = if failures.len() == rules.all_of.len() { ". None validated" } else { "" };
        errors.push(broken(format!("validate all the schemas (allOf){none}")));
        errors.extend(failures.into_iter().flatten());
    }
    if rules.not.as_ref().is_some_and(|schema| fits(schema).is_empty()) {
        errors.push(broken("not validate the schema (not)".into()));
    }
}
