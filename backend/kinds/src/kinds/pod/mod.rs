//! Pod. Source: <https://kubernetes.io/docs/concepts/workloads/pods/>

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Value, json};

use crate::{
    strategy::{Field, Generation, Strategy},
    value::{Look, MapExt, dig, object},
};

mod affinity;
mod containers;
pub(crate) mod default;
mod environment;
mod mounts;
mod print;
mod probes;
mod requirements;
pub(crate) mod resources;
mod security;
mod spec;
mod status;
mod update;
mod volumes;
mod warnings;

pub(crate) use affinity::{node_selector, tolerations};
pub(crate) use requirements::{
    container_resource_name, is_extended_resource, is_overcommit_allowed, resource_amount, resource_list, resource_name,
};
pub use resources::qos_class;
pub(crate) use spec::template;
pub(crate) use volumes::{access_paths_ok, no_backsteps, volume_source_common};
pub(crate) use warnings::{fractional, template as warn_template};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    default: default::pod,
    prepare_create,
    prepare_status_update: status::prepare,
    prepare_subresource_update: update::prepare_subresource,
    validate,
    // Nobody edits pods by hand, so updates are spared.
    warn: |pod, old, out| {
        if old.is_none() {
            warnings::pod(pod, out);
        }
    },
    validate_update: update::validate,
    validate_status_update: status::validate,
    validate_subresource_update: update::validate_subresource,
    columns: print::COLUMNS,
    row: print::row,
    fields: FIELDS,
    grace_period,
    ..Strategy::PLAIN
};

const FIELDS: &[Field] = &[
    Field::path("spec.nodeName"),
    Field::path("spec.restartPolicy"),
    Field::path("spec.schedulerName"),
    Field::path("spec.serviceAccountName"),
    Field::flag("spec.hostNetwork"),
    Field::path("status.phase"),
    Field {
        name: "status.podIP",
        get: |pod, _| pod.list("status.podIPs").first().map_or("", |ip| ip.text("ip")).to_owned(),
    },
    // Known, and never set, as upstream.
    Field { name: "status.podIPs", get: |_, _| String::new() },
    Field::path("status.nominatedNodeName"),
];

/// The first status, and the label selectors that stand for label keys.
fn prepare_create(pod: &mut Value) {
    let qos = qos_class(pod);
    let mut status = json!({"phase": "Pending", "qosClass": qos});
    if !pod.list("spec.schedulingGates").is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": pod.at("metadata.creationTimestamp"),
        }]);
    }
    affinity::merge_label_keys(pod);
    if let Some(map) = pod.as_object_mut() {
        map.insert("status".into(), status);
    }
    default::service_account(object(pod, "spec"));
}

fn validate(pod: &Value, errors: &mut ErrorList) {
    spec::pod(pod, errors);
    let path = Path::new("spec");
    if !pod.list("spec.ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !pod.text("spec.nodeName").is_empty() && !pod.list("spec.schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(path.child("nodeName"), detail));
    }
}

fn grace_period(pod: &Value, asked: Option<i64>) -> Option<i64> {
    let ended = matches!(pod.text("status.phase"), "Failed" | "Succeeded");
    if pod.text("spec.nodeName").is_empty() || ended {
        return Some(0);
    }
    let period = asked.or_else(|| pod.int("spec.terminationGracePeriodSeconds")).unwrap_or_default();
    Some(if period < 0 { 1 } else { period })
}

/// What is wrong with a Binding, before anybody looks for its pod.
pub fn validate_binding(binding: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let target = Path::new("target");
    let kind = binding.text("target.kind");
    if !matches!(kind, "" | "Node") {
        errors.push(Error::not_supported(target.child("kind"), kind, &["Node", "<empty>"]));
    }
    match binding.text("target.name") {
        "" => errors.push(Error::required(target.child("name"), "")),
        name => {
            let wrong = names::is_dns1123_subdomain(name);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(target.child("name"), name, e)));
        }
    }
    errors
}

/// Binds a pod to a node: the effect of `pods/binding`. Conditions say so, annotations of the binding are taken over.
///
/// # Errors
/// Upstream's sentence on why this pod cannot be bound; the answer is then a conflict.
pub fn bind(pod: &mut Value, binding: &Value, now: jiff::Timestamp) -> Result<(), String> {
    let name = pod.text("metadata.name").to_owned();
    let node = binding.text("target.name").to_owned();
    if pod.has("metadata.deletionTimestamp") {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let have = pod.text("spec.nodeName");
    if !have.is_empty() {
        return Err(format!("pod {name} is already assigned to node {have:?}"));
    }
    if !pod.list("spec.schedulingGates").is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    object(pod, "spec").insert("nodeName".into(), node.into());
    let annotations: Vec<_> = binding.entries("metadata.annotations").map(|(k, v)| (k.to_owned(), v.clone())).collect();
    if !annotations.is_empty() {
        crate::value::child(object(pod, "metadata"), "annotations").extend(annotations);
    }
    let generation = pod.int("metadata.generation").unwrap_or_default();
    object(pod, "metadata").insert("generation".into(), (generation + 1).into());
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    set_condition(
        pod,
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time}),
    );
    Ok(())
}

/// Replaces the condition of the same type; the time of the last transition stays if the status does.
fn set_condition(pod: &mut Value, mut condition: Value) {
    let status = object(pod, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return };
    match list.iter_mut().find(|c| c.text("type") == condition.text("type")) {
        Some(old) => {
            if old.text("status") == condition.text("status") {
                condition.keep(old, "lastTransitionTime");
            }
            *old = condition;
        }
        None => list.push(condition),
    }
}

/// Takes out the value at a dotted path; for comparing what may not change.
pub(crate) fn take(value: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = match path.rsplit_once('.') {
        Some((parent, key)) => (dig(value, parent)?, key),
        None => (value, path),
    };
    parent.as_object_mut()?.remove(key)
}
