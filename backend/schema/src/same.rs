//! Equality of parts of built-in objects as Go's own forms of them have it: a list or map without members is as good as
//! none, and so is a zero that is held by value; a struct that is held by a pointer is not, though it be empty, and what
//! is kept as raw JSON is compared as it was written.

use serde_json::Value;

use crate::schema::{Field, Node, Schema};
use crate::written::is_zero_of;

/// Whether two values of `schema` say the same.
pub fn same(schema: &Schema, a: &Value, b: &Value) -> bool {
    match (&schema.node, a, b) {
        (Node::Struct(of), Value::Object(_), Value::Object(_)) => of.fields.iter().all(|field| same_field(field, a, b)),
        (Node::List(_) | Node::Map(_), a, b) if has_nothing(a) || has_nothing(b) => has_nothing(a) && has_nothing(b),
        (Node::List(list), Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(list.of.get(), x, y))
        }
        (Node::Map(of), Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| same(of.get(), x, y)))
        }
        (Node::OneOf(choices), a, b) => {
            let fits = |node: &Node| match node {
                Node::Struct(_) => a.is_object() && b.is_object(),
                Node::List(_) => a.is_array() && b.is_array(),
                _ => false,
            };
            let choice = choices.iter().map(|choice| choice.get()).find(|schema| fits(&schema.node));
            choice.map_or(a == b, |schema| same(schema, a, b))
        }
        _ => a == b,
    }
}

/// Whether two objects have the same in one field.
pub fn same_field(field: &Field, a: &Value, b: &Value) -> bool {
    let schema = field.schema.get();
    let (a, b) = (present(a, &field.name), present(b, &field.name));
    let by_value = field.shape.written || field.shape.omitted;
    match (a, b) {
        (Some(a), Some(b)) => same(schema, a, b),
        (None, None) => true,
        (Some(one), None) | (None, Some(one)) => match &schema.node {
            Node::List(_) | Node::Map(_) => has_nothing(one),
            Node::Struct(_) => by_value && same(schema, one, &Value::Object(serde_json::Map::new())),
            Node::Quantity => by_value && *one == "0",
            _ => by_value && is_zero_of(schema, one),
        },
    }
}

fn present<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn has_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_lists_and_zeros() {
        let of = |group: &str, version: &str, kind: &str, a: Value, b: Value| {
            let schema = crate::builtin().gvk(group, version, kind).expect("a built-in kind");
            let field = schema.field("spec").expect("a spec");
            let spec = |spec: Value| json!({"spec": spec});
            same_field(field, &spec(a.clone()), &spec(b.clone())) && same_field(field, &spec(b), &spec(a))
        };
        let policy = |a, b| of("networking.k8s.io", "v1", "NetworkPolicy", a, b);
        assert!(policy(json!({"ingress": [], "podSelector": {}}), json!({})));
        assert!(!policy(json!({"ingress": [{}]}), json!({})));
        assert!(!policy(
            json!({"ingress": [{"from": [{"podSelector": {}, "namespaceSelector": {}}]}]}),
            json!({"ingress": [{"from": [{"podSelector": {}}]}]})
        ));
        assert!(!of("policy", "v1", "PodDisruptionBudget", json!({"selector": {}}), json!({})));
        assert!(of("apps", "v1", "Deployment", json!({"paused": false, "strategy": {}}), json!({})));
        assert!(!of("apps", "v1", "Deployment", json!({"replicas": 0}), json!({})));
        let class = |parameters| json!({"config": [{"opaque": {"driver": "d", "parameters": parameters}}]});
        assert!(!of("resource.k8s.io", "v1", "DeviceClass", class(json!({"a": null})), class(json!({}))));
        assert!(of("resource.k8s.io", "v1", "DeviceClass", class(json!({"a": 1})), class(json!({"a": 1}))));
    }
}
