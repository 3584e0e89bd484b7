//! From pods to endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::plan::Group;
use crate::pods;

pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Whether nothing that endpoints show has changed.
pub fn same_for_endpoints(old: &Pod, new: &Pod) -> bool {
    let spec = |p: &Pod| p.spec.as_ref().map(|s| (s.node_name.clone(), s.hostname.clone(), s.subdomain.clone()));
    old.metadata.labels == new.metadata.labels
        && old.metadata.uid == new.metadata.uid
        && pods::is_deleting(old) == pods::is_deleting(new)
        && pods::is_ready(old) == pods::is_ready(new)
        && pods::is_finished(old) == pods::is_finished(new)
        && ips(old) == ips(new)
        && spec(old) == spec(new)
}

fn ips(pod: &Pod) -> Vec<&str> {
    let Some(status) = pod.status.as_ref() else { return Vec::new() };
    let all: Vec<&str> = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
    if all.is_empty() { status.pod_ip.as_deref().into_iter().filter(|ip| !ip.is_empty()).collect() } else { all }
}

/// Whether the pod can stand for a Service at all.
pub fn answers(pod: &Pod, include_terminating: bool) -> bool {
    !pods::is_finished(pod) && !ips(pod).is_empty() && (include_terminating || !pods::is_deleting(pod))
}

/// The pod's address of a family, `IPv4` or `IPv6`.
pub fn address<'a>(pod: &'a Pod, family: &str) -> Option<&'a str> {
    ips(pod).into_iter().find(|ip| ip.contains(':') == (family == "IPv6"))
}

/// The number of the container port that a Service's port stands for in this pod.
pub fn port_of(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars =
                spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
            let same = |p: &&k8s_openapi::api::core::v1::ContainerPort| {
                p.name.as_deref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
            };
            ports.into_iter().find(same).map(|p| p.container_port)
        }
    }
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let all = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let port = |port: &ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port_of(pod, port)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    all.filter_map(port).collect()
}

pub fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..Default::default()
    }
}

/// The name under which a pod of a headless Service can be looked up.
pub fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let here = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|h| here && !h.is_empty())
}

pub fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses).unwrap_or(false)
}

pub fn families(service: &Service) -> Vec<String> {
    let given = service.spec.as_ref().and_then(|s| s.ip_families.clone()).filter(|f| !f.is_empty());
    given.unwrap_or_else(|| vec!["IPv4".into()])
}

/// What the Service's slices should hold. A group without endpoints stands for a family nobody answers in yet.
pub fn groups(service: &Service, pods: &[Arc<Pod>], zone: impl Fn(&str) -> Option<String>) -> Vec<Group> {
    let mut groups = Vec::new();
    for family in families(service) {
        let mut by_ports: BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
        for pod in pods.iter().filter(|p| answers(p, true)) {
            let Some(address) = address(pod, &family) else { continue };
            let ports = ports(service, pod);
            let endpoint = endpoint(service, pod, address, &zone);
            by_ports.entry(format!("{ports:?}")).or_insert_with(|| (ports, Vec::new())).1.push(endpoint);
        }
        if by_ports.is_empty() {
            by_ports.insert(String::new(), Default::default());
        }
        let group = |(ports, endpoints)| Group { family: family.clone(), ports, endpoints };
        groups.extend(by_ports.into_values().map(group));
    }
    groups
}

fn endpoint(service: &Service, pod: &Pod, address: &str, zone: impl Fn(&str) -> Option<String>) -> Endpoint {
    let (serving, terminating) = (pods::is_ready(pod), pods::is_deleting(pod));
    let node = pods::node_name(pod);
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(publishes_not_ready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        node_name: (!node.is_empty()).then(|| node.to_owned()),
        target_ref: Some(target(pod)),
        zone: zone(node),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, ContainerPort, PodIP, ServiceSpec};

    use super::*;
    use crate::pods::make;

    fn service(ports: Vec<ServicePort>) -> Service {
        let spec = ServiceSpec { ports: Some(ports), ..Default::default() };
        Service { spec: Some(spec), ..Default::default() }
    }

    fn pod(name: &str, ip: &str, ready: bool, http: i32) -> Arc<Pod> {
        let mut pod = make::pod(name, "Running", ready.then_some(jiff::Timestamp::UNIX_EPOCH));
        pod.status.as_mut().unwrap().pod_ips = Some(vec![PodIP { ip: ip.into() }]);
        let port = ContainerPort { name: Some("http".into()), container_port: http, ..Default::default() };
        let container = Container { ports: Some(vec![port]), ..Default::default() };
        pod.spec.as_mut().unwrap().containers = vec![container];
        Arc::new(pod)
    }

    fn port(target: IntOrString) -> ServicePort {
        ServicePort { name: Some("web".into()), port: 80, target_port: Some(target), ..Default::default() }
    }

    #[test]
    fn named_ports_that_differ_make_groups() {
        let service = service(vec![port(IntOrString::String("http".into()))]);
        let pods =
            [pod("a", "10.0.0.1", true, 8080), pod("b", "10.0.0.2", true, 8080), pod("c", "10.0.0.3", true, 9090)];
        let groups = groups(&service, &pods, |_| None);
        let sizes: Vec<(i32, usize)> = groups.iter().map(|g| (g.ports[0].port.unwrap(), g.endpoints.len())).collect();
        assert_eq!(sizes, [(8080, 2), (9090, 1)]);
    }

    #[test]
    fn conditions_follow_the_pod() {
        let mut service = service(vec![port(IntOrString::Int(8080))]);
        let mut dying = (*pod("c", "10.0.0.3", true, 1)).clone();
        dying.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH.into());
        let pods = [pod("a", "10.0.0.1", true, 1), pod("b", "10.0.0.2", false, 1), Arc::new(dying)];
        let states = |service: &Service| -> Vec<(bool, bool, bool)> {
            let groups = groups(service, &pods, |_| None);
            let state = |e: &Endpoint| {
                let c = e.conditions.clone().unwrap();
                (c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap())
            };
            groups[0].endpoints.iter().map(state).collect()
        };
        assert_eq!(states(&service), [(true, true, false), (false, false, false), (false, true, true)]);
        service.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
        assert_eq!(states(&service), [(true, true, false), (true, false, false), (true, true, true)]);
    }

    #[test]
    fn a_family_without_pods_is_still_a_group() {
        let mut service = service(vec![]);
        service.spec.as_mut().unwrap().ip_families = Some(vec!["IPv4".into(), "IPv6".into()]);
        let groups = groups(&service, &[pod("a", "fd00::1", true, 1)], |_| Some("z".into()));
        assert_eq!(groups.iter().map(|g| g.endpoints.len()).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(groups[1].endpoints[0].zone.as_deref(), Some("z"));
    }
}
