//! Reading dynamic objects without ceremony: a path that leads nowhere is an empty answer.

use serde_json::Value;

/// The value at a `/`-separated path; `Null` where there is none.
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    let mut here = value;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        here = match here {
            Value::Array(items) => {
                part.parse::<usize>().ok().and_then(|index| items.get(index)).unwrap_or(&Value::Null)
            }
            other => other.get(part).unwrap_or(&Value::Null),
        };
    }
    here
}

pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

pub fn number(value: &Value, path: &str) -> i64 {
    at(value, path).as_i64().unwrap_or_default()
}

pub fn is_true(value: &Value, path: &str) -> bool {
    at(value, path).as_bool().unwrap_or_default()
}

pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The string entries of a map such as labels, in key order.
pub fn pairs(value: &Value, path: &str) -> Vec<(String, String)> {
    let Some(map) = at(value, path).as_object() else { return Vec::new() };
    map.iter().map(|(key, value)| (key.clone(), scalar(value))).collect()
}

/// A scalar as people write it: strings bare, the rest as JSON.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub fn name(object: &Value) -> &str {
    text(object, "metadata/name")
}

pub fn namespace(object: &Value) -> &str {
    text(object, "metadata/namespace")
}

pub fn uid(object: &Value) -> &str {
    text(object, "metadata/uid")
}

/// Takes out what only machines read: managed fields and kubectl's copy of the last apply.
pub fn without_noise(object: &Value) -> Value {
    let mut clean = object.clone();
    if let Some(meta) = clean.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    clean
}

/// The object as one would create it anew: no identity, no status, nothing the server wrote.
pub fn as_new(object: &Value) -> Value {
    let mut fresh = without_noise(object);
    if let Some(map) = fresh.as_object_mut() {
        map.remove("status");
    }
    if let Some(meta) = fresh.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "ownerReferences",
        ] {
            meta.remove(key);
        }
    }
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_that_lead_nowhere_are_empty() {
        let pod = json!({"spec": {"containers": [{"name": "web"}]}, "status": 3});
        assert_eq!(text(&pod, "spec/containers/0/name"), "web");
        assert_eq!(text(&pod, "spec/containers/1/name"), "");
        assert_eq!(text(&pod, "status/phase/x"), "");
        assert_eq!(list(&pod, "spec/containers").len(), 1);
        assert!(list(&pod, "spec").is_empty());
    }

    #[test]
    fn a_new_object_has_no_identity() {
        let old = json!({"kind": "ConfigMap", "metadata": {"name": "a", "uid": "1", "resourceVersion": "2", "managedFields": [], "labels": {"a": "b"}}, "status": {}});
        assert_eq!(as_new(&old), json!({"kind": "ConfigMap", "metadata": {"name": "a", "labels": {"a": "b"}}}));
    }
}
