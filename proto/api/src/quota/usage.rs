//! How much of what an object uses.

use serde_json::Value;

use super::{items, text};
use crate::quantity::Quantity;
use crate::resources::{Resources, is_native, of_pod, quantities};

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
/// A class's part of a quota: `gold.storageclass.storage.k8s.io/requests.storage`.
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

/// Whether a quota's resource name is about objects of this resource.
pub fn concerns(resource: &str, name: &str) -> bool {
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

/// What an object of `resource` (`pods`, `deployments.apps`) uses, by the quota's names for it. `over`: it is a pod past
/// the end of its grace period, which holds nothing any more though it is still there.
pub fn of(resource: &str, object: &Value, over: bool) -> Resources {
    let mut used = Resources::new();
    let mut set = |name: String, amount: Quantity| {
        used.insert(name, amount);
    };
    set(format!("count/{resource}"), whole(1));
    match resource {
        "pods" if over || is_finished(object) => {}
        "pods" => pod(object, &mut set),
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

fn is_finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Failed" | "Succeeded")
}

fn pod(pod: &Value, set: &mut impl FnMut(String, Quantity)) {
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
    let old = claim.pointer("/metadata/annotations").and_then(|all| all.get("volume.beta.kubernetes.io/storage-class"));
    let class = old.and_then(Value::as_str).unwrap_or_else(|| text(claim, "/spec/storageClassName"));
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
