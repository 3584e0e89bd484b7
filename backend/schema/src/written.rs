//! What Go writes even when there is nothing in it (`status.currentHealthy: 0`, `resources: {}`, `rules: null`), and
//! what it leaves out when it is zero (`paused: false`).
//!
//! Objects get it when they are made or changed, so that every reader sees them as upstream shows them and the owners
//! of fields are counted alike.

use serde_json::{Map, Value};

use crate::schema::{Field, Node, Schema};

/// Adds what `schema` says is always written to `value` and everything in it, and takes out zeros that are not.
pub fn complete(schema: &Schema, value: &mut Value) {
    add(schema, value, false);
}

/// Adds the structs that are always there, so that defaults reach into them.
pub fn complete_structs(schema: &Schema, value: &mut Value) {
    add(schema, value, true);
}

fn add(schema: &Schema, value: &mut Value, structs: bool) {
    match (&schema.node, value) {
        (Node::Struct(fields), Value::Object(map)) => {
            for field in fields.fields.iter().filter(|field| field.shape.written || field.shape.null) {
                let of = field.schema.get();
                if field.shape.null {
                    if !structs && !map.contains_key(&*field.name) {
                        map.insert(field.name.to_string(), Value::Null);
                    }
                } else if !map.contains_key(&*field.name) && (!structs || matches!(of.node, Node::Struct(_))) {
                    map.insert(field.name.to_string(), nothing(of));
                }
            }
            if !structs {
                let nothing =
                    |field: &Field, value: &Value| field.shape.omitted && is_zero_of(field.schema.get(), value);
                map.retain(|name, value| !fields.field(name).is_some_and(|field| nothing(field, value)));
            }
            for (name, value) in map.iter_mut() {
                if let (Value::Object(_) | Value::Array(_), Some(field)) = (&*value, fields.field(name)) {
                    add(field.schema.get(), value, structs);
                }
            }
        }
        (Node::Map(of), Value::Object(map)) => map.values_mut().for_each(|value| add(of.get(), value, structs)),
        (Node::List(list), Value::Array(items)) => items.iter_mut().for_each(|item| add(list.of.get(), item, structs)),
        _ => {}
    }
}

/// What Go calls zero of a scalar. A text is none where a number could be.
pub(crate) fn is_zero_of(schema: &Schema, value: &Value) -> bool {
    is_zero(value) && !(value.is_string() && matches!(schema.node, Node::IntOrString))
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// A value with nothing in it as Go writes it.
fn nothing(schema: &Schema) -> Value {
    match &schema.node {
        Node::Struct(_) => Value::Object(Map::new()),
        Node::String => Value::String(String::new()),
        Node::Boolean => Value::Bool(false),
        Node::Int32 | Node::Int64 | Node::Number | Node::IntOrString => Value::from(0),
        Node::Quantity => Value::String("0".into()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_go_writes_is_there() {
        let check = |group: &str, kind: &str, mut object: Value, full: Value| {
            complete(crate::builtin().gvk(group, "v1", kind).expect("a built-in kind"), &mut object);
            assert_eq!(object, full);
        };
        check(
            "apps",
            "Deployment",
            json!({"metadata": {"name": "d"}, "spec": {"paused": false, "replicas": 0, "selector": {}, "template": {"spec": {"containers": [{"name": "c"}]}}}}),
            json!({
                "metadata": {"name": "d"},
                "spec": {
                    "replicas": 0, "selector": {}, "strategy": {},
                    "template": {"metadata": {}, "spec": {"containers": [{"name": "c", "resources": {}}]}}},
                "status": {}}),
        );
        check(
            "policy",
            "PodDisruptionBudget",
            json!({"metadata": {}, "spec": {}, "status": {"currentHealthy": 2}}),
            json!({
                "metadata": {}, "spec": {},
                "status": {"currentHealthy": 2, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}}),
        );
        check(
            "networking.k8s.io",
            "Ingress",
            json!({"metadata": {}, "spec": {"defaultBackend": {"resource": {"kind": "K", "name": "n"}}}, "status": {}}),
            json!({
                "metadata": {}, "status": {"loadBalancer": {}},
                "spec": {"defaultBackend": {"resource": {"apiGroup": null, "kind": "K", "name": "n"}}}}),
        );
        check("", "ConfigMap", json!({"data": {"a": "b"}}), json!({"metadata": {}, "data": {"a": "b"}}));
    }
}
