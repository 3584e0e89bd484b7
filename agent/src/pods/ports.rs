//! The host ports that a pod asks for. Pure.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Pod;

use crate::network::index::{HostPort, Protocol};

/// The host ports of a pod with these addresses; none for one on the host's network, which has them by itself.
#[must_use]
pub fn host_ports(pod: &Pod, ips: &[String]) -> Vec<HostPort> {
    let Some(spec) = pod.spec.as_ref().filter(|spec| spec.host_network != Some(true)) else { return Vec::new() };
    let Some(pod_ip) = ips.iter().find_map(|ip| ip.parse::<Ipv4Addr>().ok()) else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten().filter(|container| super::resources::is_sidecar(container));
    let ports = sidecars.chain(&spec.containers).flat_map(|container| container.ports.iter().flatten());
    let number = |value: i32| u16::try_from(value).ok().filter(|number| *number > 0);
    ports
        .filter_map(|port| {
            Some(HostPort {
                protocol: Protocol::parse(port.protocol.as_deref()),
                host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
                host_port: number(port.host_port?)?,
                pod_ip,
                container_port: number(port.container_port)?,
            })
        })
        .collect()
}
