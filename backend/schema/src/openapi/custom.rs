//! Definitions of custom resources, from the schemas of their CRDs.

use serde_json::{Map, Value, json};

use super::definitions::{Dialect, refer, type_meta};

/// Keywords that OpenAPI v2 has not, or that kubectl of that time would take amiss.
const NOT_V2: &[&str] = &["allOf", "anyOf", "default", "not", "nullable", "oneOf", "x-kubernetes-validations"];

/// Says that a value may have fields that its schema does not name.
const OPEN: &str = "x-kubernetes-preserve-unknown-fields";

/// The definition of a custom resource; null stands for no schema.
pub fn definition(schema: &Value, dialect: Dialect, object_meta: &str) -> Value {
    let mut out = match (schema, dialect) {
        // With any property, clients that read v2 would take amiss whatever is not among them.
        (Value::Object(fields), Dialect::V2) if fields.get(OPEN).is_some_and(|open| open == true) => {
            return json!({"type": "object"});
        }
        (Value::Object(_), Dialect::V2) => v2(schema),
        (Value::Object(_), Dialect::V3) => schema.clone(),
        _ => return json!({"type": "object"}),
    };
    let Some(fields) = out.as_object_mut() else { return out };
    fields.entry("type").or_insert_with(|| "object".into());
    let properties = fields.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(type_meta().into_iter().map(|(name, value)| (name.to_owned(), value)));
        let description = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
        properties.insert("metadata".into(), refer(object_meta, description, None, dialect));
    }
    out
}

fn v2(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let on = |name: &str| fields.get(name).is_some_and(|v| v == true);
    // What may hold anything cannot be said in v2: without a type clients do not check.
    let open = on(OPEN) || on("x-kubernetes-int-or-string") || on("nullable");
    let mut out = Map::new();
    for (key, value) in fields {
        let value = match key.as_str() {
            key if NOT_V2.contains(&key) => continue,
            "type" | "properties" | "items" | "additionalProperties" if open => continue,
            "items" | "additionalProperties" => v2(value),
            "properties" => value.as_object().into_iter().flatten().map(|(name, of)| (name.clone(), v2(of))).collect(),
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_anything_names_no_properties() {
        let bare = json!({"type": "object"});
        let open =
            json!({"type": "object", "description": "Any.", "properties": {"spec": {"type": "object"}}, OPEN: true});
        for dialect in [Dialect::V2, Dialect::V3] {
            assert_eq!(definition(&Value::Null, dialect, "Meta"), bare);
        }
        assert_eq!(definition(&open, Dialect::V2, "Meta"), bare);
        let v3 = definition(&open, Dialect::V3, "Meta");
        assert_eq!((&v3[OPEN], &v3["properties"]["spec"]["type"]), (&json!(true), &json!("object")));
        assert!(v3["properties"]["metadata"].is_object());
    }
}
