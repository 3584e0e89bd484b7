//! Writes of what changed between a cached object and the wanted one, put onto the live object.
//!
//! Invariants:
//! - What is written is bound to the uid and resourceVersion it was derived from: a decision on stale state fails as
//!   stale instead of overwriting.
//! - Fields the cache does not keep are left alone.
//! - Only `get` and `update` are used: the built-in roles of most controllers allow no `patch`.

use kube::Api;
use kube::api::{GetParams, ListParams, PostParams, Request};
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

fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            apply(fields.entry(key).or_insert(Value::Null), change);
        }
    }
}

/// Writes the difference from `old` (as cached) to `new`; returns the object as written, none if nothing changed.
pub async fn update<K: Cached + Serialize>(api: &Api<K>, old: &K, new: &K) -> Result<Option<K>> {
    put(api, old, new, None, Read::Get).await
}

/// As [`update`], for the status; differences elsewhere are ignored by the API.
pub async fn update_status<K: Cached + Serialize>(api: &Api<K>, old: &K, new: &K) -> Result<Option<K>> {
    put(api, old, new, Some("status"), Read::Get).await
}

/// As [`update_status`], for controllers whose role lists but does not get.
pub async fn update_status_listed<K: Cached + Serialize>(api: &Api<K>, old: &K, new: &K) -> Result<Option<K>> {
    put(api, old, new, Some("status"), Read::List).await
}

/// How the live object is read.
#[derive(Clone, Copy)]
enum Read {
    Get,
    List,
}

async fn read<K: Cached>(api: &Api<K>, name: &str, how: Read) -> Result<Value> {
    let (requests, client) = (Request::new(api.resource_url()), api.clone().into_client());
    match how {
        Read::Get => Ok(client.request(requests.get(name, &GetParams::default()).map_err(build)?).await?),
        Read::List => {
            let only = ListParams::default().fields(&format!("metadata.name={name}"));
            let mut list: Value = client.request(requests.list(&only).map_err(build)?).await?;
            let first = list.pointer_mut("/items/0").map(Value::take);
            let mut object = first.ok_or_else(|| Error::stale(format!("{} {name} is gone", K::kind(&()))))?;
            // Items of a list do not say what they are.
            object["apiVersion"] = K::api_version(&()).into();
            object["kind"] = K::kind(&()).into();
            Ok(object)
        }
    }
}

async fn put<K: Cached + Serialize>(
    api: &Api<K>,
    old: &K,
    new: &K,
    subresource: Option<&str>,
    how: Read,
) -> Result<Option<K>> {
    let value = |o: &K| serde_json::to_value(o).map_err(|e| Error::invalid(format!("cannot be written as JSON: {e}")));
    let Some(patch) = merge_patch(&value(old)?, &value(new)?) else { return Ok(None) };
    let name = old.meta().name.as_deref().unwrap_or_default();
    let (requests, client) = (Request::new(api.resource_url()), api.clone().into_client());
    let mut live = read(api, name, how).await?;
    let known = |field: &str| live.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
    let meta = old.meta();
    if known("uid") != meta.uid.as_deref() || known("resourceVersion") != meta.resource_version.as_deref() {
        return Err(Error::stale(format!("{} {name} has changed meanwhile", K::kind(&()))));
    }
    apply(&mut live, &patch);
    let body = serde_json::to_vec(&live).map_err(|e| Error::invalid(e.to_string()))?;
    let params = PostParams::default();
    let put = match subresource {
        None => requests.replace(name, &params, body),
        Some(subresource) => requests.replace_subresource(subresource, name, &params, body),
    };
    Ok(Some(client.request(put.map_err(build)?).await?))
}

fn build(error: kube::core::request::Error) -> Error {
    Error::Api(kube::Error::BuildRequest(error))
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
            let mut applied = old.clone();
            apply(&mut applied, &patch.unwrap_or(json!({})));
            assert_eq!(applied, new);
        }
    }
}
