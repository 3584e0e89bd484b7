//! JSON merge patch, RFC 7386.

use serde_json::{Map, Value};

/// Merges `patch` into `object`: null removes, objects merge, everything else replaces.
/// The depth of both is bounded by decoding, hence so is this recursion and the outcome.
pub fn merge_patch(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        object.clone_from(patch);
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(fields) = object else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else if let Some(field) = fields.get_mut(name) {
            merge_patch(field, value);
        } else {
            let mut field = Value::Null;
            merge_patch(&mut field, value);
            fields.insert(name.clone(), field);
        }
    }
}
