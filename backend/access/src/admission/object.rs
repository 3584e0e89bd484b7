//! Reading and changing objects as JSON.

use serde_json::{Map, Value, json};

use crate::text;

/// The items of the list at a pointer; none when there is no list.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The map at a path of field names, made where it is missing. Anything else in its place is replaced: the kind's
/// decoding has already refused objects of the wrong shape.
pub(super) fn map_at<'a>(object: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut at = object;
    for field in path {
        at = force_map(at).entry(*field).or_insert_with(|| json!({}));
    }
    force_map(at)
}

fn force_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        // It was made an object just above.
        _ => unreachable!("an object"),
    }
}

/// The list at a path, made where it is missing.
pub(super) fn list_at<'a>(object: &'a mut Value, path: &[&str]) -> &'a mut Vec<Value> {
    let (last, parents) = path.split_last().map_or(("", path), |(last, parents)| (*last, parents));
    let at = map_at(object, parents).entry(last).or_insert_with(|| json!([]));
    if !at.is_array() {
        *at = json!([]);
    }
    match at {
        Value::Array(list) => list,
        // It was made an array just above.
        _ => unreachable!("an array"),
    }
}

/// Every container of a pod spec, init containers first.
pub(super) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    items(spec, "/initContainers").chain(items(spec, "/containers"))
}

pub(super) fn all_containers(spec: &Value) -> impl Iterator<Item = &Value> {
    containers(spec).chain(items(spec, "/ephemeralContainers"))
}

pub(super) fn containers_mut(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let spec = pod.get_mut("spec").and_then(Value::as_object_mut).into_iter();
    spec.flat_map(|spec| spec.iter_mut())
        .filter(|(field, _)| *field == "initContainers" || *field == "containers")
        .flat_map(|(_, list)| list.as_array_mut().into_iter().flatten())
}

pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

pub(super) fn is_true(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer) == Some(&Value::Bool(true))
}

/// A pod that mirrors a static pod of a node's own.
pub(super) fn is_mirror(pod: &Value) -> bool {
    annotation(pod, "kubernetes.io/config.mirror").is_some()
}

/// Names of the Secrets and ConfigMaps a pod uses, as (resource, name).
pub(super) fn references(pod: &Value) -> Vec<(&'static str, &str)> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut all = Vec::new();
    let mut add = |resource: &'static str, name| all.push((resource, name));
    for secret in items(spec, "/imagePullSecrets") {
        add("secrets", text(secret, "/name"));
    }
    for container in all_containers(spec) {
        for env in items(container, "/env") {
            add("secrets", text(env, "/valueFrom/secretKeyRef/name"));
            add("configmaps", text(env, "/valueFrom/configMapKeyRef/name"));
        }
        for from in items(container, "/envFrom") {
            add("secrets", text(from, "/secretRef/name"));
            add("configmaps", text(from, "/configMapRef/name"));
        }
    }
    for volume in items(spec, "/volumes") {
        add("secrets", text(volume, "/secret/secretName"));
        add("configmaps", text(volume, "/configMap/name"));
        add("persistentvolumeclaims", text(volume, "/persistentVolumeClaim/claimName"));
        for source in items(volume, "/projected/sources") {
            add("secrets", text(source, "/secret/name"));
            add("configmaps", text(source, "/configMap/name"));
        }
    }
    all.retain(|(_, name)| !name.is_empty());
    all
}
