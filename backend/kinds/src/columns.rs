//! Table columns and the cells that many kinds share.
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>

use std::borrow::Cow;

use jiff::Timestamp;
use pilothouse_api::selector::LabelSelector;
use serde_json::Value;

use crate::{human::human_duration, value::Look};

/// The `type` of a column, an OpenAPI type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    String,
    Integer,
    Number,
    Boolean,
    Date,
}

/// One column of a Table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: Cow<'static, str>,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub type_: Cow<'static, str>,
    /// `name` marks the primary identifier.
    pub format: Cow<'static, str>,
    pub description: Cow<'static, str>,
    /// 0 is always shown, more only when there is room (`-o wide`).
    pub priority: i32,
}

impl Column {
    const fn new(name: &'static str, type_: &'static str, priority: i32) -> Self {
        Self {
            name: Cow::Borrowed(name),
            type_: Cow::Borrowed(type_),
            format: Cow::Borrowed(""),
            description: Cow::Borrowed(""),
            priority,
        }
    }
    pub const fn text(name: &'static str) -> Self {
        Self::new(name, "string", 0)
    }
    pub const fn wide(name: &'static str) -> Self {
        Self::new(name, "string", 1)
    }
    pub const fn number(name: &'static str) -> Self {
        Self::new(name, "integer", 0)
    }
    pub const fn flag(name: &'static str) -> Self {
        Self::new(name, "boolean", 0)
    }
}

pub(crate) const NAME: Column = Column {
    name: Cow::Borrowed("Name"),
    type_: Cow::Borrowed("string"),
    format: Cow::Borrowed("name"),
    description: Cow::Borrowed("The name of the object, unique for its kind in its namespace."),
    priority: 0,
};
pub(crate) const AGE: Column = Column {
    name: Cow::Borrowed("Age"),
    type_: Cow::Borrowed("string"),
    format: Cow::Borrowed(""),
    description: Cow::Borrowed("The time since the object was created."),
    priority: 0,
};
const CREATED_AT: Column = Column {
    name: Cow::Borrowed("Created At"),
    type_: Cow::Borrowed("date"),
    format: Cow::Borrowed(""),
    description: Cow::Borrowed("The time at which the object was created."),
    priority: 0,
};

/// The columns of a kind that has none of its own.
pub(crate) const PLAIN: &[Column] = &[NAME, CREATED_AT];
/// The columns of a kind that shows name and age only.
pub(crate) const NAME_AGE: &[Column] = &[NAME, AGE];

pub(crate) fn plain_row(object: &Value) -> Vec<Value> {
    vec![object.at("metadata.name").clone(), object.at("metadata.creationTimestamp").clone()]
}

pub(crate) fn name(object: &Value) -> Value {
    object.text("metadata.name").into()
}

/// The time since the object was made; `<unknown>` without a time.
pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    since(object.at("metadata.creationTimestamp"), now).into()
}

/// The time since an RFC 3339 time; `<unknown>` without one.
pub(crate) fn since(time: &Value, now: Timestamp) -> String {
    match seconds_since(time, now) {
        Some(seconds) => human_duration(seconds),
        None => "<unknown>".to_owned(),
    }
}

pub(crate) fn timestamp(time: &Value) -> Option<Timestamp> {
    time.as_str()?.parse().ok()
}

pub(crate) fn seconds_since(time: &Value, now: Timestamp) -> Option<i64> {
    Some((now.as_millisecond() - timestamp(time)?.as_millisecond()) / 1000)
}

pub(crate) fn name_age_row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

/// An integer cell, 0 when absent.
pub(crate) fn count(object: &Value, path: &str) -> Value {
    object.int(path).unwrap_or_default().into()
}

pub(crate) fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// A LabelSelector in query syntax, `<none>` when empty.
pub(crate) fn selector(value: &Value) -> Value {
    match LabelSelector::from_json(value) {
        Ok(selector) => or_none(&selector.to_string()),
        Err(_) => "<error>".into(),
    }
}

/// A plain map of labels in query syntax, `<none>` when empty.
pub(crate) fn labels(value: &Value) -> Value {
    let pairs: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    or_none(&pairs.join(","))
}

/// Names and images of a pod template's containers.
pub(crate) fn containers(template: &Value) -> (Value, Value) {
    let join = |key: &str| -> Value {
        let all: Vec<&str> = template.list("spec.containers").iter().map(|c| c.text(key)).collect();
        all.join(",").into()
    };
    (join("name"), join("image"))
}
