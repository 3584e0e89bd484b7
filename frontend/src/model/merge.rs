//! JSON merge patches (RFC 7386): the smallest one that turns one object into another.

use serde_json::{Map, Value};

/// `None` where nothing differs.
pub fn patch_between(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (from, to) else { return Some(to.clone()) };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) => {
                if let Some(inner) = patch_between(before, value) {
                    patch.insert(key.clone(), inner);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn apply(target: &Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut map = target.as_object().cloned().unwrap_or_default();
        for (key, value) in patch {
            if value.is_null() {
                map.remove(key);
            } else {
                let next = apply(map.get(key).unwrap_or(&Value::Null), value);
                map.insert(key.clone(), next);
            }
        }
        Value::Object(map)
    }

    #[test]
    fn a_patch_leads_from_one_to_the_other() {
        let texts = [json!({"a": 1, "b": {"c": [1], "d": 2}}), json!({"a": 1, "b": {"c": [2], "e": 2}}), json!({"x": {"y": {}}}), json!({})];
        for from in &texts {
            for to in &texts {
                match patch_between(from, to) {
                    None => assert_eq!(from, to),
                    Some(patch) => assert_eq!(&apply(from, &patch), to, "{patch}"),
                }
            }
        }
        assert_eq!(patch_between(&texts[0], &texts[1]), Some(json!({"b": {"c": [2], "d": null, "e": 2}})));
    }
}
