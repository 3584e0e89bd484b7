//! What a ResourceQuota counts: which objects it is about, and how much of what each uses.
//!
//! Source: <https://kubernetes.io/docs/concepts/policy/resource-quotas/>

pub mod scopes;
pub mod usage;

use serde_json::Value;

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The text at a pointer; empty when there is none.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
