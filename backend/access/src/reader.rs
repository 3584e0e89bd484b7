//! How this crate sees the cluster: through the watch cache, never through the database.

use std::sync::Arc;

use serde_json::Value;

/// The watch cache. Resources are named as the store names them: `pods`, `deployments.apps`; the namespace of a
/// cluster-scoped object is the empty string.
pub trait Reader: Send + Sync {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of a resource, in one namespace or (None) in all.
    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;
}

/// The string at a JSON pointer, empty when there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

pub fn name_of(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub fn namespace_of(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub fn uid_of(object: &Value) -> &str {
    text(object, "/metadata/uid")
}
