//! Laying a partial object over a whole one, for mutating policies: what server-side apply does, without owners.

use serde_json::Value;

use super::merge::merge;
use super::typed::{Shape, Typed};
use crate::schema::Schema;

/// `live` with `config` merged in.
///
/// # Errors
/// When the configuration sets something that is owned as a whole: it would remove what it does not name.
pub fn overlay(schema: &Schema, live: &mut Value, config: &Value) -> Result<(), String> {
    let mut whole = Vec::new();
    atomics(Typed::of(schema), config, "", &mut whole);
    if !whole.is_empty() {
        return Err(format!("may not mutate atomic arrays, maps or structs: {}", whole.join(", ")));
    }
    merge(Typed::of(schema), live, config);
    Ok(())
}

fn atomics(typed: Typed<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    match (typed.shape(value), value) {
        (Shape::Map(fields), Value::Object(map)) => {
            for (name, value) in map {
                atomics(fields.get(name), value, &format!("{path}.{name}"), found);
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                atomics(Typed::items(list), item, &format!("{path}[{index}]"), found);
            }
        }
        (Shape::Leaf, Value::Object(_) | Value::Array(_)) => found.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin;

    #[test]
    fn parts_are_merged_and_wholes_refused() {
        let schema = builtin().gvk("apps", "v1", "Deployment").unwrap();
        let mut live = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"x": "y"}},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "main", "image": "demo:1"}]}}}});
        let config = json!({"metadata": {"labels": {"z": "w"}}, "spec": {"replicas": 3,
            "template": {"spec": {"containers": [{"name": "side", "image": "demo:2"}, {"name": "main", "tty": true}]}}}});
        overlay(schema, &mut live, &config).unwrap();
        assert_eq!(live["metadata"], json!({"name": "a", "labels": {"x": "y", "z": "w"}}));
        assert_eq!(live["spec"]["replicas"], 3);
        let containers = live["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let main = containers.iter().find(|container| container["name"] == "main").unwrap();
        assert_eq!((containers.len(), main), (2, &json!({"name": "main", "image": "demo:1", "tty": true})));
        let whole = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "command": ["x"]}]}}}});
        assert_eq!(
            overlay(schema, &mut live, &whole).unwrap_err(),
            "may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].command"
        );
    }
}
