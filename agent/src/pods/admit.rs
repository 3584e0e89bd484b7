//! Whether this node takes a pod at all: what the scheduler could not know, or nobody asked it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

use super::memory::Failure;
use super::resources::{self, pod_request};
use crate::config::MAX_PODS;

/// Sysctls that only touch the pod's own namespaces. Source: Kubernetes' list of safe sysctls.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn failure(reason: &str, message: String) -> Failure {
    Failure { reason: reason.to_owned(), message, disruption: None }
}

fn is_active(pod: &Pod) -> bool {
    !super::plan::is_terminal(pod)
}

fn host_ports(spec: &PodSpec) -> impl Iterator<Item = (String, String, i32)> + '_ {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
        Some((port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), ip, number))
    })
}

/// Why the pod is refused; `None` when it is taken. `others` are the pods that are on the node already.
#[must_use]
pub fn refuse(
    pod: &Pod,
    others: &[&Pod],
    node: &Node,
    allocatable: &BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
) -> Option<Failure> {
    let spec = pod.spec.as_ref()?;
    let others: Vec<&PodSpec> =
        others.iter().filter(|other| is_active(other)).filter_map(|other| other.spec.as_ref()).collect();
    if i64::try_from(others.len()).unwrap_or(i64::MAX) >= MAX_PODS {
        return Some(failure(
            "OutOfpods",
            format!(
                "Node didn't have enough resource: pods, requested: 1, used: {}, capacity: {MAX_PODS}",
                others.len()
            ),
        ));
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let has = if name == "cpu" {
            resources::milli(Some(allocatable), name)
        } else {
            resources::value(Some(allocatable), name)
        };
        let (wants, has) = (pod_request(spec, name), has.unwrap_or(0));
        let used: i64 = others.iter().map(|other| pod_request(other, name)).sum();
        if wants > 0 && wants > has - used {
            let message =
                format!("Node didn't have enough resource: {name}, requested: {wants}, used: {used}, capacity: {has}");
            return Some(failure(&format!("OutOf{name}"), message));
        }
    }
    let labels = node.metadata.labels.clone().unwrap_or_default();
    if !spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value)) {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Some(failure("NodeAffinity", message.to_owned()));
    }
    let taken: Vec<_> = others.iter().flat_map(|other| host_ports(other)).collect();
    let clash = host_ports(spec).any(|(protocol, ip, number)| {
        taken.iter().any(|(p, i, n)| *n == number && *p == protocol && (*i == ip || i == "0.0.0.0" || ip == "0.0.0.0"))
    });
    if clash {
        let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Some(failure("NodePorts", message.to_owned()));
    }
    unsupported(spec)
}

/// What this node, or its runtime, cannot do: refused instead of ignored.
fn unsupported(spec: &PodSpec) -> Option<Failure> {
    let context = spec.security_context.as_ref();
    for sysctl in context.and_then(|context| context.sysctls.as_ref()).into_iter().flatten() {
        let name = sysctl.name.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return Some(failure("SysctlForbidden", format!("forbidden sysctl: {:?} not allowlisted", sysctl.name)));
        }
        if spec.host_network == Some(true) && name.starts_with("net.") {
            let message = format!("forbidden sysctl: {:?} not allowed with host net enabled", sysctl.name);
            return Some(failure("SysctlForbidden", message));
        }
    }
    if spec.host_users == Some(false) {
        let message = "user namespaces (hostUsers: false) are not supported by this node's runtime";
        return Some(failure("UserNamespacesNotSupported", message.to_owned()));
    }
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        return Some(failure(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS".to_owned(),
        ));
    }
    let of_containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut profiles = of_containers
        .filter_map(|container| container.security_context.as_ref()?.app_armor_profile.as_ref())
        .chain(context.and_then(|context| context.app_armor_profile.as_ref()));
    if profiles.any(|profile| profile.type_ == "Localhost") {
        return Some(failure("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host".to_owned()));
    }
    None
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let mut full = json!({"containers": [{"name": "c"}]});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": full})).unwrap()
    }

    fn reason(pod: &Pod, others: &[&Pod]) -> Option<String> {
        let node: Node = serde_json::from_value(json!({"metadata": {"labels": {"disk": "ssd"}}})).unwrap();
        let has =
            BTreeMap::from([("cpu".to_owned(), Quantity("2".into())), ("memory".to_owned(), Quantity("1Gi".into()))]);
        refuse(pod, others, &node, &has).map(|failure| failure.reason)
    }

    fn cpu(amount: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]})
    }

    #[test]
    fn pods_are_taken_as_long_as_they_fit() {
        assert_eq!(reason(&pod(json!({})), &[]), None);
        assert_eq!(reason(&pod(cpu("2")), &[]), None);
        assert_eq!(reason(&pod(cpu("1")), &[&pod(cpu("1500m"))]).as_deref(), Some("OutOfcpu"));
        let mut done = pod(cpu("2"));
        done.status = Some(serde_json::from_value(json!({"phase": "Succeeded"})).unwrap());
        assert_eq!(reason(&pod(cpu("1")), &[&done]), None);
        let full = pod(json!({}));
        assert_eq!(reason(&pod(json!({})), &vec![&full; 110]).as_deref(), Some("OutOfpods"));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (spec, want) in [
            (json!({"nodeSelector": {"disk": "hdd"}}), "NodeAffinity"),
            (json!({"hostUsers": false}), "UserNamespacesNotSupported"),
            (json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}), "SysctlForbidden"),
            (json!({"os": {"name": "windows"}}), "PodOSNotSupported"),
        ] {
            assert_eq!(reason(&pod(spec), &[]).as_deref(), Some(want));
        }
        assert_eq!(reason(&pod(json!({"nodeSelector": {"disk": "ssd"}})), &[]), None);
    }

    #[test]
    fn host_ports_clash() {
        let with = |port: Value| pod(json!({"containers": [{"name": "c", "ports": [port]}]}));
        let one = with(json!({"containerPort": 1, "hostPort": 80}));
        assert_eq!(reason(&one, &[&one]).as_deref(), Some("NodePorts"));
        assert_eq!(reason(&with(json!({"containerPort": 1, "hostPort": 80, "protocol": "UDP"})), &[&one]), None);
    }
}
