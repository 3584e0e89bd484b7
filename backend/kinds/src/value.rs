//! Reading and writing dynamic objects without ceremony: an absent field, a null and a wrong type all read as nothing.

use std::borrow::Cow;

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

pub(crate) trait Look {
    /// The value at a dotted path, `Null` if any step is missing.
    fn at(&self, path: &str) -> &Value;
    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_default()
    }
    fn int(&self, path: &str) -> Option<i64> {
        self.at(path).as_i64()
    }
    /// A boolean, absent is false.
    fn flag(&self, path: &str) -> bool {
        self.at(path).as_bool().unwrap_or_default()
    }
    fn list(&self, path: &str) -> &[Value] {
        self.at(path).as_array().map(Vec::as_slice).unwrap_or_default()
    }
    fn entries<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.at(path).as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v))
    }
    /// Strings of a list of strings.
    fn texts<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a str> {
        self.list(path).iter().filter_map(Value::as_str)
    }
    /// Is there anything but null?
    fn has(&self, path: &str) -> bool {
        !self.at(path).is_null()
    }
}

impl Look for Value {
    fn at(&self, path: &str) -> &Value {
        let mut here = self;
        for step in path.split('.') {
            match here.as_object().and_then(|map| map.get(step)) {
                Some(next) => here = next,
                None => return &NULL,
            }
        }
        here
    }
}

pub(crate) trait MapExt {
    /// Takes `key` as it is in `old`, absence included.
    fn keep(&mut self, old: &Value, key: &str);
    /// Sets `key` unless it is there (null is not): decoding has dropped what is "" where that is nothing.
    fn or_set(&mut self, key: &str, value: impl Into<Value>);
}

impl MapExt for Map<String, Value> {
    fn keep(&mut self, old: &Value, key: &str) {
        match old.get(key) {
            Some(value) => {
                self.insert(key.to_owned(), value.clone());
            }
            None => {
                self.remove(key);
            }
        }
    }
    fn or_set(&mut self, key: &str, value: impl Into<Value>) {
        if self.get(key).is_none_or(Value::is_null) {
            self.insert(key.to_owned(), value.into());
        }
    }
}

impl MapExt for Value {
    fn keep(&mut self, old: &Value, key: &str) {
        if let Some(map) = self.as_object_mut() {
            map.keep(old, key);
        }
    }
    fn or_set(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(map) = self.as_object_mut() {
            map.or_set(key, value);
        }
    }
}

/// The object under `key`, made if it is not there.
pub(crate) fn object<'a>(parent: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !parent.is_object() {
        *parent = Value::Object(Map::new());
    }
    match parent {
        Value::Object(map) => child(map, key),
        _ => unreachable_map(),
    }
}

/// The object under `key` of a map, made if it is not there.
pub(crate) fn child<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(key).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable_map(),
    }
}

#[cold]
fn unreachable_map<'a>() -> &'a mut Map<String, Value> {
    unreachable!("the value was made an object just before")
}

/// The value at a dotted path, if it is there and not null.
pub(crate) fn dig<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut here = value;
    for step in path.split('.') {
        here = here.as_object_mut()?.get_mut(step)?;
    }
    (!here.is_null()).then_some(here)
}

/// The objects in the list at a dotted path.
pub(crate) fn items<'a>(value: &'a mut Value, path: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    dig(value, path).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The objects in the list under a map's key.
pub(crate) fn members<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
        _ => false,
    }
}

/// Equality as upstream means it: nothing, null and empty lists and maps are the same. Not "": where that is nothing
/// decoding has dropped it, and where it is left it is a value (of a label, of a pointer).
pub(crate) fn semantic_eq(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(key, value)| semantic_eq(value, y.get(key).unwrap_or(&NULL)))
                && y.iter().all(|(key, value)| x.contains_key(key) || is_nothing(value))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| semantic_eq(x, y)),
        _ => a == b || (is_nothing(a) && is_nothing(b)),
    }
}

/// The time that it is, as objects say it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A scalar as a cell or message shows it: strings bare.
pub(crate) fn bare(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_nothing() {
        for (a, b) in [
            (json!(null), json!({})),
            (json!({"a": null}), json!({})),
            (json!([]), json!(null)),
            (json!({"a": {"b": null}}), json!({})),
        ] {
            assert!(semantic_eq(&a, &b) && semantic_eq(&b, &a), "{a} {b}");
        }
        for (a, b) in [
            (json!(0), json!(null)),
            (json!(false), json!(null)),
            (json!({"label": ""}), json!({})),
            (json!([{}]), json!([])),
            (json!({"a": 1}), json!({"a": 2})),
        ] {
            assert!(!semantic_eq(&a, &b) && !semantic_eq(&b, &a), "{a} {b}");
        }
    }

    #[test]
    fn looks() {
        let v = json!({"a": {"b": [1, "x"], "c": "t", "n": null}});
        assert_eq!((v.text("a.c"), v.text("a.b.c"), v.list("a.b").len(), v.has("a.n")), ("t", "", 2, false));
    }
}
