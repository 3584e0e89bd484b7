//! Does a label selector (`matchLabels`, `matchExpressions`) select these labels?

use serde_json::Value;

/// A selector that cannot be read selects nothing; an empty one everything.
pub(super) fn selects(selector: &Value, labels: Option<&Value>) -> bool {
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let exact = match selector.get("matchLabels") {
        None | Some(Value::Null) => true,
        Some(Value::Object(wanted)) => wanted.iter().all(|(key, value)| label(key).is_some_and(|l| value == l)),
        Some(_) => false,
    };
    let expression = |wanted: &Value| {
        let Some(key) = wanted.get("key").and_then(Value::as_str) else { return false };
        let among = |value: &str| {
            let values = wanted.get("values").and_then(Value::as_array);
            values.is_some_and(|values| values.iter().any(|v| v == value))
        };
        match wanted.get("operator").and_then(Value::as_str) {
            Some("In") => label(key).is_some_and(among),
            Some("NotIn") => !label(key).is_some_and(among),
            Some("Exists") => label(key).is_some(),
            Some("DoesNotExist") => label(key).is_none(),
            _ => false,
        }
    };
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    exact && expressions.is_none_or(|all| all.iter().all(expression))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors() {
        let labels = json!({"a": "1", "b": "2"});
        for (selector, selected) in [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "2"}}), false),
            (json!({"matchLabels": {"c": null}}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "3"]}]}), true),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), false),
            (json!({"matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["1"]}]}), true),
            (json!({"matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]}), true),
            (json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "Like"}]}), false),
        ] {
            assert_eq!(selects(&selector, Some(&labels)), selected, "{selector}");
        }
    }
}
