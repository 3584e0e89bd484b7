//! What an update of a pod may change: hardly anything, and more through its own subresources.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Map, Value};

use super::{spec, take};
use crate::{
    meta,
    value::{Look, MapExt, dig, semantic_eq},
};

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

const MAX_DEADLINE: i64 = i32::MAX as i64;

/// An update through a subresource leaves alone all that is not the subresource's.
pub(super) fn prepare_subresource(new: &mut Value, old: &Value, subresource: &str) {
    match subresource {
        "ephemeralcontainers" => {
            let containers = new.at("spec.ephemeralContainers").clone();
            keep_pod(new, old);
            if let Some(spec) = dig(new, "spec").and_then(Value::as_object_mut) {
                spec.insert("ephemeralContainers".into(), containers);
                drop_null(spec, "ephemeralContainers");
            }
        }
        "resize" => resize(new, old),
        _ => {}
    }
}

fn drop_null(map: &mut Map<String, Value>, key: &str) {
    if map.get(key).is_some_and(Value::is_null) {
        map.remove(key);
    }
}

fn keep_pod(new: &mut Value, old: &Value) {
    new.keep(old, "spec");
    new.keep(old, "status");
    meta::keep_user_fields(new, old);
}

/// Only resources and resize policies may differ. Containers that were added, removed or renamed are left for
/// validation to refuse.
fn resize(new: &mut Value, old: &Value) {
    let names = |pod: &Value, list: &str| -> Vec<String> {
        pod.at("spec").list(list).iter().map(|c| c.text("name").to_owned()).collect()
    };
    let lists = ["containers", "initContainers"];
    if lists.iter().any(|list| names(new, list) != names(old, list)) {
        return;
    }
    let asked = new.at("spec").clone();
    keep_pod(new, old);
    for list in lists {
        let Some(containers) = dig(new, "spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut)
        else {
            continue;
        };
        for (container, asked) in containers.iter_mut().zip(asked.list(list)) {
            container.keep(asked, "resources");
            container.keep(asked, "resizePolicy");
        }
    }
    if let Some(spec) = dig(new, "spec") {
        spec.keep(&asked, "resources");
    }
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    spec::pod(new, errors);
    let path = Path::new("spec");
    for list in ["containers", "initContainers"] {
        if new.at("spec").list(list).len() != old.at("spec").list(list).len() {
            errors.push(Error::forbidden(path.child(list), "pod updates may not add or remove containers"));
            return;
        }
    }
    if !active_deadline(new, old, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    tolerations(new, old, &path.child("tolerations"), errors);
    scheduling_gates(new, old, &path.child("schedulingGates"), errors);
    rest(new, old, &path, errors);
}

fn active_deadline(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) -> bool {
    let (new, old) = (new.int("spec.activeDeadlineSeconds"), old.int("spec.activeDeadlineSeconds"));
    match (new, old) {
        (Some(new), _) if !(0..=MAX_DEADLINE).contains(&new) => {
            errors.push(Error::invalid(path.clone(), new, names::range_error(0, MAX_DEADLINE)));
            return false;
        }
        (Some(new), Some(old)) if old < new => {
            errors.push(Error::invalid(path.clone(), new, "must be less than or equal to previous value"));
            return false;
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(Error::invalid(path.clone(), Value::Null, detail));
        }
        _ => {}
    }
    true
}

fn tolerations(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let without_seconds = |toleration: &Value| {
        let mut copy = toleration.clone();
        take(&mut copy, "tolerationSeconds");
        copy
    };
    let have: Vec<Value> = new.list("spec.tolerations").iter().map(without_seconds).collect();
    let kept = |old: &Value| have.iter().any(|new| semantic_eq(new, &without_seconds(old)));
    if !old.list("spec.tolerations").iter().all(kept) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(Error::forbidden(path.clone(), detail));
    }
}

fn scheduling_gates(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let had: Vec<&str> = old.list("spec.schedulingGates").iter().map(|gate| gate.text("name")).collect();
    for (index, gate) in new.list("spec.schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !had.contains(&name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(Error::forbidden(path.index(index).child("name"), detail));
        }
    }
}

/// Everything else must be as it was.
fn rest(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let (new, old) = (new.at("spec"), old.at("spec"));
    if semantic_eq(new, old) {
        return;
    }
    let mut masked = new.clone();
    for list in ["containers", "initContainers"] {
        let containers = masked.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, old) in containers.zip(old.list(list)) {
            container.keep(old, "image");
        }
    }
    for key in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        masked.keep(old, key);
    }
    let grace = "terminationGracePeriodSeconds";
    if old.int(grace).is_some_and(|g| g < 0) && masked.int(grace) == Some(1) {
        masked.keep(old, grace);
    }
    if !old.list("schedulingGates").is_empty() {
        gated(&mut masked, old, path, errors);
    }
    if !semantic_eq(&masked, old) {
        errors.push(Error::forbidden(path.clone(), format!("{UPDATABLE}\n{}", difference(&masked, old))));
    }
}

/// A pod that still waits at a gate may become choosier about nodes.
fn gated(masked: &mut Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    if old.entries("nodeSelector").any(|(key, value)| masked.at("nodeSelector").get(key) != Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(Error::invalid(path.child("nodeSelector"), masked.at("nodeSelector").clone(), detail));
    }
    masked.keep(old, "nodeSelector");
    let terms = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (had, have) = (old.list(terms), masked.list(terms));
    let at = path.child(terms);
    if !had.is_empty() && had.len() != have.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(Error::invalid(at, masked.at(terms).clone(), detail));
    } else {
        for (index, (had, have)) in had.iter().zip(have).enumerate() {
            let grown = ["matchExpressions", "matchFields"].iter().all(|key| {
                let (had, have) = (had.list(key), have.list(key));
                have.len() >= had.len() && had.iter().zip(have).all(|(a, b)| semantic_eq(a, b))
            });
            let empty = had.list("matchExpressions").is_empty() && had.list("matchFields").is_empty();
            if !grown || (empty && !semantic_eq(had, have)) {
                let detail = "only additions are allowed (no mutations or deletions)";
                errors.push(Error::invalid(at.index(index), have.clone(), detail));
            }
        }
    }
    match old.get("affinity") {
        Some(affinity) => crate::value::object(masked, "affinity").keep(affinity, "nodeAffinity"),
        None => {
            take(masked, "affinity.nodeAffinity");
        }
    }
}

/// The fields of a spec that differ, one a line: what was, what is asked for.
fn difference(new: &Value, old: &Value) -> String {
    let mut keys: Vec<&String> = new.as_object().into_iter().chain(old.as_object()).flat_map(Map::keys).collect();
    keys.sort();
    keys.dedup();
    let changed = keys.into_iter().filter(|key| !semantic_eq(new.at(key), old.at(key)));
    changed.map(|key| format!("- {key}: {}\n+ {key}: {}\n", old.at(key), new.at(key))).collect()
}

pub(super) fn validate_subresource(new: &Value, old: &Value, subresource: &str, errors: &mut ErrorList) {
    match subresource {
        "ephemeralcontainers" => ephemeral_containers(new, old, errors),
        "resize" => validate_resize(new, old, errors),
        _ => {}
    }
}

fn is_static(pod: &Value) -> bool {
    pod.at("metadata.annotations").get("kubernetes.io/config.mirror").is_some()
}

fn ephemeral_containers(new: &Value, old: &Value, errors: &mut ErrorList) {
    spec::pod(new, errors);
    if is_static(old) {
        errors.push(Error::forbidden(Path::root(), "static pods do not support ephemeral containers"));
        return;
    }
    let path = Path::new("spec").child("ephemeralContainers");
    for container in old.list("spec.ephemeralContainers") {
        let name = container.text("name");
        match new.list("spec.ephemeralContainers").iter().find(|c| c.text("name") == name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(Error::forbidden(path.clone(), detail));
            }
            Some(same) if !semantic_eq(same, container) => {
                let text = difference(same, container);
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{text}");
                errors.push(Error::forbidden(path.clone(), detail));
            }
            Some(_) => {}
        }
    }
}

fn validate_resize(new: &Value, old: &Value, errors: &mut ErrorList) {
    spec::pod(new, errors);
    let path = Path::new("spec");
    if is_static(old) {
        errors.push(Error::forbidden(Path::root(), "static pods cannot be resized"));
        return;
    }
    if super::qos_class(new) != super::qos_class(old) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(path.clone(), super::qos_class(new), detail));
    }
    for list in ["containers", "initContainers"] {
        let (new, old, path) = (new.at("spec").list(list), old.at("spec").list(list), path.child(list));
        if new.len() != old.len() {
            let detail = format!("{list} may not be added or removed on resize");
            errors.push(Error::forbidden(path, detail));
            continue;
        }
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            let path = path.index(index);
            if new.text("name") != old.text("name") {
                let detail = format!("{list} may not be renamed or reordered on resize");
                errors.push(Error::forbidden(path.child("name"), detail));
            }
            resized(new, old, list, &path, errors);
        }
    }
}

/// Only CPU and memory may change, and nothing may go away.
fn resized(new: &Value, old: &Value, list: &str, path: &Path, errors: &mut ErrorList) {
    if list == "initContainers" && old.text("restartPolicy") != "Always" {
        if !semantic_eq(new.at("resources"), old.at("resources")) {
            let detail = "resources for non-sidecar init containers are immutable";
            errors.push(Error::forbidden(Path::new("spec"), detail));
        }
        return;
    }
    for (key, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
        let (new, old) = (new.at("resources").at(key), old.at("resources").at(key));
        let gone = |name: &String| new.get(name).is_none();
        if old.as_object().is_some_and(|map| map.keys().any(gone)) {
            errors.push(Error::forbidden(path.child("resources").child(key), format!("{what} cannot be removed")));
        }
        let fixed = |map: &Value| {
            let mut map = map.clone();
            take(&mut map, "cpu");
            take(&mut map, "memory");
            map
        };
        if !semantic_eq(&fixed(new), &fixed(old)) {
            errors.push(Error::forbidden(Path::new("spec"), "only cpu and memory resources are mutable"));
        }
    }
}
