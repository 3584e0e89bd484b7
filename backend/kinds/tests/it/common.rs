//! `check(yaml, expect![[…]])`: what a kind says to an object, written as a user would write it.

use std::sync::Arc;

use expect_test::Expect;
use pilothouse_kinds::{Kind, builtin};
use serde_json::{Value, json};

pub fn parse(yaml: &str) -> Value {
    serde_norway::from_str(yaml).expect("the test's YAML")
}

pub fn kind_of(object: &Value) -> Arc<Kind> {
    let found = builtin().iter().find(|k| object["apiVersion"] == k.api_version() && object["kind"] == *k.kind);
    Arc::clone(found.unwrap_or_else(|| panic!("no kind {} {}", object["apiVersion"], object["kind"])))
}

/// The object as it is when it is created: defaulted and prepared, with what the registry writes.
pub fn created(yaml: &str) -> (Arc<Kind>, Value) {
    let mut object = parse(yaml);
    let kind = kind_of(&object);
    let metadata = &mut object["metadata"];
    metadata["uid"] = "11111111-2222-3333-4444-555555555555".into();
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    if kind.namespaced && metadata.get("namespace").is_none() {
        metadata["namespace"] = "default".into();
    }
    kind.default(&mut object);
    kind.prepare_create(&mut object);
    (kind, object)
}

fn lines(errors: &[pilothouse_api::field::Error]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

/// What is wrong with a new object.
pub fn check(yaml: &str, expect: Expect) {
    let (kind, object) = created(yaml);
    expect.assert_eq(&lines(&kind.validate(&object)));
}

/// A new object that is fine, in full.
pub fn defaulted(yaml: &str, expect: Expect) {
    let (kind, mut object) = created(yaml);
    let errors = kind.validate(&object);
    assert!(errors.is_empty(), "{}", lines(&errors));
    for system in ["uid", "creationTimestamp"] {
        object["metadata"].as_object_mut().expect("metadata").remove(system);
    }
    expect.assert_eq(&serde_norway::to_string(&object).expect("YAML"));
}

/// A created object before and after merging `patch` into it through `subresource`.
pub fn updated(yaml: &str, patch: &str, subresource: &str) -> (Value, Value) {
    let (kind, old) = created(yaml);
    let mut new = old.clone();
    merge(&mut new, &parse(patch));
    kind.default(&mut new);
    kind.prepare_update(&mut new, &old, subresource);
    (old, new)
}

/// What is wrong with merging `patch` into a created object through `subresource`, and the generation it has then.
pub fn check_update(yaml: &str, patch: &str, subresource: &str, expect: Expect) {
    let (old, new) = updated(yaml, patch, subresource);
    let kind = kind_of(&new);
    let errors = lines(&kind.validate_update(&new, &old, subresource));
    expect.assert_eq(&format!("{errors}generation: {}\n", new["metadata"].get("generation").unwrap_or(&json!(null))));
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// The cells of an object as it stands, at noon.
pub fn row(yaml: &str, expect: Expect) {
    let object = parse(yaml);
    let kind = kind_of(&object);
    let cells = kind.row(&object, "2026-01-01T12:00:00Z".parse().expect("a time"));
    let shown: Vec<String> = cells.iter().map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned)).collect();
    expect.assert_eq(&shown.join(" | "));
}
