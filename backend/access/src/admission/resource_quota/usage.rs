//! How much of what an object uses.

use jiff::Timestamp;
use pilothouse_api::quantity::Quantity;
use serde_json::Value;

use super::super::object::{annotation, items};
use super::super::pod_resources::{Resources, is_native, of_pod, quantities};
use super::super::{Operation, Request};
use crate::text;

/// Resources that may also be counted by their bare name.
const BARE: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

/// The requests that are measured: creations, and updates where the amount can grow.
pub(super) fn counts(resource: &str, request: &Request) -> bool {
    match (request.operation, request.subresource.as_str()) {
        (Operation::Create, "") => resource != "events" && resource != "events.events.k8s.io",
        (Operation::Update, "") => match resource {
            "persistentvolumeclaims" | "services" => true,
            // With the deadline a pod changes from one scope to the other.
            "pods" => deadline(request.object.as_ref()) != deadline(request.old.as_deref()),
            _ => false,
        },
        (Operation::Update, "resize") => resource == "pods",
        _ => false,
    }
}

fn deadline(pod: Option<&Value>) -> bool {
    pod.is_some_and(|pod| pod.pointer("/spec/activeDeadlineSeconds").is_some_and(|value| !value.is_null()))
}

/// Whether a quota's resource name is about objects of this resource.
pub(super) fn concerns(resource: &str, name: &str) -> bool {
    if name == format!("count/{resource}") || (name == resource && BARE.contains(&name)) {
        return true;
    }
    match resource {
        "pods" => {
            let plain = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
            matches!(plain, "cpu" | "memory" | "ephemeral-storage")
                || plain.starts_with("hugepages-") && !name.starts_with("limits.")
                || name.strip_prefix("requests.").is_some_and(|rest| !is_native(rest))
        }
        "services" => matches!(name, "services.nodeports" | "services.loadbalancers"),
        "persistentvolumeclaims" => name == "requests.storage" || name.contains(CLASS_SUFFIX),
        _ => false,
    }
}

pub(super) fn of(resource: &str, object: &Value, now: Timestamp) -> Resources {
    let mut used = Resources::new();
    let mut set = |name: String, amount: Quantity| {
        used.insert(name, amount);
    };
    set(format!("count/{resource}"), whole(1));
    match resource {
        "pods" => pod(object, now, &mut set),
        "services" => {
            set("services".into(), whole(1));
            service(object, &mut set);
        }
        "persistentvolumeclaims" => {
            set(resource.into(), whole(1));
            claim(object, &mut set);
        }
        other if BARE.contains(&other) => set(other.into(), whole(1)),
        _ => {}
    }
    used
}

/// One, two, … as a quantity.
fn whole(count: i64) -> Quantity {
    Quantity::parse(&count.to_string()).unwrap_or_default()
}

/// Finished, or past the end of its grace period: it holds nothing any more.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    if matches!(text(pod, "/status/phase"), "Failed" | "Succeeded") {
        return true;
    }
    let grace = pod.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    let deleted = text(pod, "/metadata/deletionTimestamp").parse::<Timestamp>();
    match (deleted, grace) {
        (Ok(at), Some(grace)) => now.as_second() > at.as_second().saturating_add(grace),
        _ => false,
    }
}

fn pod(pod: &Value, now: Timestamp, set: &mut impl FnMut(String, Quantity)) {
    if is_over(pod, now) {
        return;
    }
    set("pods".into(), whole(1));
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    for (name, amount) in of_pod(spec, "requests") {
        match name.as_str() {
            "cpu" | "memory" | "ephemeral-storage" => {
                set(format!("requests.{name}"), amount);
                set(name, amount);
            }
            huge if huge.starts_with("hugepages-") => {
                set(format!("requests.{name}"), amount);
                set(name, amount);
            }
            other if !is_native(other) => set(format!("requests.{name}"), amount),
            _ => {}
        }
    }
    for (name, amount) in of_pod(spec, "limits") {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            set(format!("limits.{name}"), amount);
        }
    }
}

fn service(service: &Value, set: &mut impl FnMut(String, Quantity)) {
    let count = |all: usize| whole(i64::try_from(all).unwrap_or(i64::MAX));
    let ports = items(service, "/spec/ports").count();
    let nodeports = match text(service, "/spec/type") {
        "NodePort" => ports,
        "LoadBalancer" => {
            set("services.loadbalancers".into(), whole(1));
            let allocates = service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
            let asked = items(service, "/spec/ports").filter(|port| port.get("nodePort").is_some()).count();
            if allocates { ports } else { asked }
        }
        _ => 0,
    };
    if nodeports > 0 {
        set("services.nodeports".into(), count(nodeports));
    }
}

fn claim(claim: &Value, set: &mut impl FnMut(String, Quantity)) {
    let class = annotation(claim, "volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| text(claim, "/spec/storageClassName"));
    if !class.is_empty() {
        set(format!("{class}{CLASS_SUFFIX}persistentvolumeclaims"), whole(1));
    }
    if let Some(amount) = quantities(claim.pointer("/spec/resources/requests")).get("storage") {
        set("requests.storage".into(), *amount);
        if !class.is_empty() {
            set(format!("{class}{CLASS_SUFFIX}requests.storage"), *amount);
        }
    }
}
