//! Writes that say only what changed: merge patches between a cached object and the wanted one.
//!
//! Invariant: each carries the uid and resourceVersion it was derived from, so a decision on stale state fails with a
//! conflict instead of overwriting, and fields the cache does not keep are left alone.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cache::Cached;
use crate::error::{Error, Result};

/// The JSON merge patch (RFC 7386) from `old` to `new`; none when they are equal.
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for key in old.keys().filter(|k| !new.contains_key(*k)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let before = old.get(key).unwrap_or(&Value::Null);
        match (before, value) {
            (Value::Null, value) => patch.insert(key.clone(), value.clone()),
            (before, value) => match merge_patch(before, value) {
                Some(change) => patch.insert(key.clone(), change),
                None => continue,
            },
        };
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn bound_patch<K: Cached + Serialize>(old: &K, new: &K) -> Result<Option<Value>> {
    let value = |o: &K| serde_json::to_value(o).map_err(|e| Error::invalid(format!("cannot be written as JSON: {e}")));
    let Some(Value::Object(mut patch)) = merge_patch(&value(old)?, &value(new)?) else { return Ok(None) };
    let meta = patch.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(meta) = meta {
        meta.insert("uid".into(), old.meta().uid.clone().into());
        meta.insert("resourceVersion".into(), old.meta().resource_version.clone().into());
    }
    Ok(Some(Value::Object(patch)))
}

/// Writes the difference from `old` (as cached) to `new`; returns the object as written, none if nothing changed.
pub async fn update<K: Cached + Serialize>(api: &Api<K>, old: &K, new: &K) -> Result<Option<K>> {
    let Some(patch) = bound_patch(old, new)? else { return Ok(None) };
    let name = old.meta().name.as_deref().unwrap_or_default();
    Ok(Some(api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?))
}

/// As [`update`], for the status; differences elsewhere are ignored by the API.
pub async fn update_status<K: Cached + Serialize>(api: &Api<K>, old: &K, new: &K) -> Result<Option<K>> {
    let Some(patch) = bound_patch(old, new)? else { return Ok(None) };
    let name = old.meta().name.as_deref().unwrap_or_default();
    Ok(Some(api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches() {
        for (old, new, patch) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null}))),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": 3, "y": 2}}), Some(json!({"a": {"x": 3}}))),
            (json!({"a": [1, 2]}), json!({"a": [1]}), Some(json!({"a": [1]}))),
            (json!({}), json!({"a": {"b": 1}}), Some(json!({"a": {"b": 1}}))),
            (json!({"a": {"b": 1}}), json!({"a": 7}), Some(json!({"a": 7}))),
        ] {
            assert_eq!(merge_patch(&old, &new), patch, "{old} -> {new}");
        }
    }
}
