//! Objects of custom resources in the version that a request speaks, and back into the one that is stored.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/>
//!
//! Invariants: what is served is pruned and defaulted by the definition of today, whenever it was written; a conversion
//! changes nothing of an object's metadata but labels and annotations; bytes that are already right are not copied.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pilothouse_api::Status;
use pilothouse_kinds::{Conversion, Definition, Kind};
use pilothouse_storage::{Entry, Key, Obj};
use serde_json::{Value, json};

use crate::registry::render;
use crate::server::Server;

/// How long a conversion may take, as upstream.
const PATIENCE: Duration = Duration::from_secs(30);
/// Objects that go into one review: a list is converted in pieces, so that no answer is without bound.
const MAX_OBJECTS: usize = 500;

/// The objects as this kind serves them, at their own revisions. Built-in kinds are converted when they are rendered.
///
/// # Errors
/// 500 when the definition's webhook cannot convert them.
pub async fn serve(server: &Server, kind: &Kind, objects: Vec<Obj>) -> Result<Vec<Obj>, Status> {
    convert(server, kind, objects, false).await
}

/// As [`serve`], with the kind's selectable fields for selectors to look at.
///
/// # Errors
/// As [`serve`].
pub async fn serve_selectable(server: &Server, kind: &Kind, objects: Vec<Obj>) -> Result<Vec<Obj>, Status> {
    convert(server, kind, objects, true).await
}

/// One object as this kind serves it.
///
/// # Errors
/// As [`serve`].
pub async fn serve_one(server: &Server, kind: &Kind, object: Obj) -> Result<Obj, Status> {
    if !kind.is_custom() {
        return Ok(object);
    }
    let mut served = serve(server, kind, vec![object]).await?;
    served.pop().ok_or_else(|| Status::internal("a conversion gave no object"))
}

/// Whether the object is still stored in a version that is no longer the one to store.
pub fn is_of_old(server: &Server, kind: &Kind, key: &Key) -> bool {
    let Some(definition) = kind.definition() else { return false };
    server.store.get(key).is_some_and(|stored| stored.value()["apiVersion"] != definition.storage_api_version.as_str())
}

/// The object in the version that is stored.
///
/// # Errors
/// 500 when the definition's webhook cannot convert it.
pub async fn to_storage(server: &Server, kind: &Kind, object: Value) -> Result<Value, Status> {
    let Some(definition) = kind.definition() else { return Ok(object) };
    let target = &definition.storage_api_version;
    let Conversion::Webhook { .. } = &definition.conversion else { return Ok(object) };
    if object["apiVersion"] == target.as_str() {
        return Ok(object);
    }
    let mut converted = by_webhook(server, definition, vec![object], target).await?;
    converted.pop().ok_or_else(|| Status::internal("a conversion gave no object"))
}

async fn convert(server: &Server, kind: &Kind, objects: Vec<Obj>, fields: bool) -> Result<Vec<Obj>, Status> {
    let Some(definition) = kind.definition() else { return Ok(objects) };
    let settled_at =
        server.kinds.definition(&kind.storage).map_or(u64::MAX, |served| served.settled_at.load(Ordering::Relaxed));
    let mut out = objects;
    let api_version = kind.api_version();
    // The places of those that come back from the webhook, and what goes there.
    let (mut places, mut sent) = (Vec::new(), Vec::new());
    for (at, object) in out.iter_mut().enumerate() {
        let plain = object.revision > settled_at && render::is_plain(kind, object);
        if plain && !fields {
            continue;
        }
        let mut value = object.value();
        if !plain {
            definition.normalize(&mut value);
        }
        if value["apiVersion"] != api_version.as_str() {
            if definition.conversion != Conversion::None {
                places.push(at);
                sent.push(value);
                continue;
            }
            value["apiVersion"] = json!(api_version);
            definition.normalize(&mut value);
        }
        *object = entry(kind, object, &value, plain);
    }
    while !sent.is_empty() {
        let rest = sent.split_off(sent.len().min(MAX_OBJECTS));
        let batch = std::mem::replace(&mut sent, rest);
        let later = places.split_off(batch.len());
        let now = std::mem::replace(&mut places, later);
        let converted = by_webhook(server, definition, batch, &api_version).await?;
        for (at, mut value) in now.into_iter().zip(converted) {
            definition.normalize(&mut value);
            if let Some(object) = out.get_mut(at) {
                *object = entry(kind, object, &value, false);
            }
        }
    }
    Ok(out)
}

/// The served form of a stored entry.
fn entry(kind: &Kind, stored: &Entry, value: &Value, same: bool) -> Obj {
    let mut fields: Vec<_> =
        kind.selectable(value).into_iter().map(|(field, value)| (field, value.into_boxed_str())).collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    Arc::new(Entry {
        key: stored.key.clone(),
        revision: stored.revision,
        bytes: if same { stored.bytes.clone() } else { value.to_string().into() },
        uid: stored.uid.clone(),
        labels: labels(value),
        fields: fields.into(),
    })
}

fn labels(value: &Value) -> Arc<[(Box<str>, Box<str>)]> {
    let labels = value["metadata"]["labels"].as_object();
    labels.into_iter().flatten().map(|(k, v)| (k.as_str().into(), v.as_str().unwrap_or_default().into())).collect()
}

async fn by_webhook(
    server: &Server,
    definition: &Definition,
    objects: Vec<Value>,
    target: &str,
) -> Result<Vec<Value>, Status> {
    let Conversion::Webhook { config, review_versions } = &definition.conversion else { return Ok(objects) };
    let failed = |why: String| {
        let from = objects.first().and_then(|object| object["apiVersion"].as_str()).unwrap_or_default();
        Status::internal(format!("conversion webhook for {from}, Kind={} failed: {why}", definition.kind))
    };
    let version = review_versions.iter().find(|version| matches!(version.as_str(), "v1" | "v1beta1"));
    let version = version.ok_or_else(|| failed("no ConversionReview version in common".into()))?;
    let uid = uuid::Uuid::new_v4().to_string();
    let api_version = format!("apiextensions.k8s.io/{version}");
    let review = json!({
        "kind": "ConversionReview", "apiVersion": api_version,
        "request": {"uid": uid, "desiredAPIVersion": target, "objects": objects},
    });
    let mut answer =
        server.webhooks.call(config, &review, PATIENCE).await.map_err(|error| failed(error.to_string()))?;
    check_review(&answer, &api_version, &uid).map_err(&failed)?;
    let Value::Array(converted) = answer["response"]["convertedObjects"].take() else {
        return Err(failed("the response has no convertedObjects".into()));
    };
    if converted.len() != objects.len() {
        let (want, got) = (objects.len(), converted.len());
        return Err(failed(format!("the webhook returned {got} objects, expected {want}")));
    }
    let mut out = Vec::with_capacity(converted.len());
    for (index, (new, old)) in converted.into_iter().zip(&objects).enumerate() {
        let new = restored(new, old, target);
        out.push(new.map_err(|why| failed(format!("invalid converted object at index {index}: {why}")))?);
    }
    Ok(out)
}

fn check_review(answer: &Value, api_version: &str, uid: &str) -> Result<(), String> {
    if answer["kind"] != "ConversionReview" || answer["apiVersion"] != api_version {
        let got = (answer["apiVersion"].as_str().unwrap_or_default(), answer["kind"].as_str().unwrap_or_default());
        return Err(format!(
            "expected webhook response of {api_version}, Kind=ConversionReview, got {}, Kind={}",
            got.0, got.1
        ));
    }
    let response = &answer["response"];
    if response["uid"] != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response["uid"].as_str().unwrap_or_default()));
    }
    match response["result"]["status"].as_str() {
        Some("Success") => Ok(()),
        Some(_) => Err(match response["result"]["message"].as_str().unwrap_or_default() {
            "" => "no error message".to_owned(),
            text => text.to_owned(),
        }),
        None => Err("response.result.status was '', expected 'Success'".into()),
    }
}

/// A converted object with the metadata it had: only labels and annotations may have changed.
fn restored(mut new: Value, old: &Value, target: &str) -> Result<Value, String> {
    if new["apiVersion"] != target {
        let got = new["apiVersion"].as_str().unwrap_or_default();
        return Err(format!("invalid apiVersion {got:?}, expected {target:?}"));
    }
    if new["kind"] != old["kind"] {
        let got = new["kind"].as_str().unwrap_or_default();
        return Err(format!("invalid kind {got:?}, expected {:?}", old["kind"].as_str().unwrap_or_default()));
    }
    for field in ["name", "namespace", "uid"] {
        let of = |value: &Value| value["metadata"][field].as_str().unwrap_or_default().to_owned();
        if of(&new) != of(old) {
            return Err(format!("metadata.{field}: Invalid value: {:?}: field is immutable", of(&new)));
        }
    }
    let mut metadata = old["metadata"].clone();
    for field in ["labels", "annotations"] {
        match new["metadata"].get(field) {
            Some(value) if value.is_object() => metadata[field] = value.clone(),
            Some(value) if !value.is_null() => return Err(format!("metadata.{field} must be an object")),
            _ => {
                if let Some(map) = metadata.as_object_mut() {
                    map.remove(field);
                }
            }
        }
    }
    new["metadata"] = metadata;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_kept() {
        let old = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "labels": {"x": "y"}}});
        let new = json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "a", "uid": "u", "generation": 9, "annotations": {"b": "c"}}, "spec": 1});
        assert_eq!(
            restored(new.clone(), &old, "g/v2").unwrap(),
            json!({"apiVersion": "g/v2", "kind": "K", "spec": 1,
                   "metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "annotations": {"b": "c"}}})
        );
        assert_eq!(restored(new.clone(), &old, "g/v3").unwrap_err(), "invalid apiVersion \"g/v2\", expected \"g/v3\"");
        let mut renamed = new;
        renamed["metadata"]["name"] = json!("b");
        let error = restored(renamed, &old, "g/v2").unwrap_err();
        assert_eq!(error, "metadata.name: Invalid value: \"b\": field is immutable");
    }
}
