//! Whether a configuration that is to be applied fits its type: in upstream's words, with the paths of server-side apply.
//!
//! Of a custom resource too: its schema is asked what type a field has, long before validation asks for the rest.

use std::collections::HashSet;

use serde_json::Value;

use super::set::shown;
use super::typed::item_step;
use crate::go;
use crate::schema::{List, ListKind, Node, Schema, Struct};

/// All that does not fit: values of other types, fields that are not declared, list items that come twice or have no
/// identity. Of each object only the first undeclared field is told.
pub fn misfits(schema: &Schema, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    visit(schema, value, "", &mut errors);
    errors
}

fn visit(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    let printed = || format!("&{{{}}}", go::printed(value));
    let wrong = match (&schema.node, value) {
        (Node::Any { .. } | Node::OneOf(_), _) => return,
        (Node::Struct(fields), Value::Object(_)) => return members(fields, value, path, errors),
        (Node::Map(of), Value::Object(entries)) => {
            for (name, value) in entries {
                visit(of.get(), value, &format!("{path}.{name}"), errors);
            }
            return;
        }
        (Node::List(list), Value::Array(items)) => return elements(list, items, path, errors),
        (Node::Struct(_) | Node::Map(_), _) => format!("expected map, got {}", printed()),
        (Node::List(_), _) => format!("expected list, got {}", printed()),
        (Node::Boolean, Value::Bool(_)) => return,
        (Node::Boolean, _) => format!("expected boolean, got {}", printed()),
        (Node::Int32 | Node::Int64 | Node::Number, Value::Number(_)) => return,
        (Node::Int32 | Node::Int64 | Node::Number, _) => {
            format!("expected numeric (int or float), got {}", go::type_of(value))
        }
        (Node::String | Node::Bytes, Value::String(_)) => return,
        (Node::String | Node::Bytes, _) => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", go::printed(value))
        }
        (Node::Quantity | Node::Time | Node::MicroTime | Node::IntOrString, Value::Array(_) | Value::Object(_)) => {
            format!("expected any scalar, got {}", printed())
        }
        (Node::Quantity | Node::Time | Node::MicroTime | Node::IntOrString, _) => return,
    };
    errors.push(format!("{path}: {wrong}"));
}

fn members(fields: &Struct, value: &Value, path: &str, errors: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let here = || format!("{path}.{name}");
        match (fields.field(name), &fields.rest) {
            (Some(field), _) => visit(field.schema.get(), value, &here(), errors),
            (None, Some(rest)) => visit(rest.get(), value, &here(), errors),
            (None, None) if fields.preserve_unknown => {}
            (None, None) => {
                errors.push(format!("{}: field not declared in schema", here()));
                return;
            }
        }
    }
}

fn elements(list: &List, items: &[Value], path: &str, errors: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (at, item) in items.iter().enumerate() {
        if list.kind == ListKind::Atomic {
            visit(list.of.get(), item, &format!("{path}[{at}]"), errors);
            continue;
        }
        let step = match item_step(list, item) {
            Ok(step) => step,
            // What cannot be named hides what comes after it.
            Err(why) => return errors.push(format!("{path}: element {at}: {why}")),
        };
        let here = shown(&step);
        if !seen.insert(step) {
            errors.push(format!("{path}: duplicate entries for key {here}"));
        }
        visit(list.of.get(), item, &format!("{path}{here}"), errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Gvk, builtin};

    #[test]
    fn of_built_in_types() {
        let deployment = builtin().gvk("apps", "v1", "Deployment").expect("a built-in kind");
        let pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
        for (config, want) in [
            (json!({"spec": {"replicas": "5"}}), ".spec.replicas: expected numeric (int or float), got string"),
            (json!({"spec": []}), ".spec: expected map, got &{[]}"),
            (json!({"spec": {"a": 1, "b": 2}}), ".spec.a: field not declared in schema"),
            (
                pod(json!({"containers": {"name": "c"}})),
                ".spec.template.spec.containers: expected list, got &{map[name:c]}",
            ),
            (
                pod(json!({"containers": [{"name": "c", "imag": "x"}]})),
                ".spec.template.spec.containers[name=\"c\"].imag: field not declared in schema",
            ),
            (
                pod(json!({"containers": [{"name": "c"}, {"name": "c"}]})),
                ".spec.template.spec.containers: duplicate entries for key [name=\"c\"]",
            ),
            (pod(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": 1}}}]})), ""),
            (pod(json!({"containers": null, "hostNetwork": null})), ""),
        ] {
            assert_eq!(misfits(deployment, &config).join("; "), want, "{config}");
        }
    }

    #[test]
    fn of_custom_resources() {
        let gvk = Gvk::new("x.example.com", "v1", "X");
        let text = json!({"type": "string"});
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "n": {"type": "integer"}, "either": {"x-kubernetes-int-or-string": true},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
            "plain": {"type": "array", "items": text}}}}});
        let schema = Schema::from_structural(gvk, &schema).expect("a structural schema");
        for (spec, want) in [
            (json!({"n": "1"}), ".spec.n: expected numeric (int or float), got string"),
            (json!("x"), ".spec: expected map, got &{x}"),
            (json!(null), ""),
            (json!({"either": []}), ".spec.either: expected any scalar, got &{[]}"),
            (json!({"either": "1", "open": {"a": {"b": 1}}}), ""),
            (json!({"set": ["a", "a"], "plain": ["a", "a"]}), ".spec.set: duplicate entries for key [=\"a\"]"),
            (json!({"plain": [7]}), ".spec.plain[0]: expected string, got &value.valueUnstructured{Value:7}"),
            (json!({"z": 1}), ".spec.z: field not declared in schema"),
        ] {
            assert_eq!(misfits(&schema, &json!({"spec": spec})).join("; "), want, "{spec}");
        }
    }
}
