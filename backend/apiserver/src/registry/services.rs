//! What must be unique in the cluster beside names: ClusterIPs and node ports of Services.
//!
//! Invariant: an address or port is taken by creating an object of that name (an IPAddress, an internal row) in the
//! same unit as the Service, and given back in the unit that deletes it: with any number of backends nobody gets what
//! another has, and nothing leaks.

use std::net::Ipv4Addr;
use std::sync::Arc;

use pilothouse_api::Status;
use pilothouse_api::field::{Error, Path};
use pilothouse_kinds::Kind;
use pilothouse_storage::{Expect, Key, Mutation, encode};
use rand::Rng;
use serde_json::{Value, json};

use super::metadata;
use crate::server::Server;

const IP_ADDRESSES: &str = "ipaddresses.networking.k8s.io";
const NODE_PORTS: &str = "internal.nodeports";
const NODE_PORT_RANGE: std::ops::RangeInclusive<u16> = 30000..=32767;
/// Random tries before the free ones are searched in order.
const RANDOM_TRIES: usize = 16;
const USER: &str = "system:apiserver";

pub fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "services"
}

fn invalid(kind: &Kind, object: &Value, error: Error) -> Status {
    Status::invalid(&kind.group, &kind.kind, metadata::text(object, "name"), &vec![error])
}

fn ip_key(ip: &str) -> Key {
    Key::new(IP_ADDRESSES, "", ip)
}

fn port_key(port: u16, protocol: &str) -> Key {
    Key::new(NODE_PORTS, "", format!("{port}-{}", protocol.to_ascii_lowercase()))
}

fn bytes(object: &Value) -> Result<Vec<u8>, Status> {
    encode(object).map_err(Status::internal)
}

fn take_ip(ip: &str, namespace: &str, name: &str) -> Result<Mutation, Status> {
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": ip, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": metadata::now(), "generation": 1,
            "labels": {"ipaddress.kubernetes.io/ip-family": "IPv4",
                       "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}},
        "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name}},
    });
    Ok(Mutation::create(ip_key(ip), bytes(&object)?, USER))
}

fn take_port(port: u16, protocol: &str, namespace: &str, name: &str) -> Result<Mutation, Status> {
    let key = port_key(port, protocol);
    let object = json!({"apiVersion": "internal/v1", "kind": "NodePort", "metadata": {"name": &*key.name},
                        "service": {"namespace": namespace, "name": name}});
    Ok(Mutation::create(key, bytes(&object)?, USER))
}

fn give_back(server: &Server, key: Key) -> Option<Mutation> {
    let held = server.store.get(&key)?;
    let last = encode(&held.value()).ok()?;
    Some(Mutation::delete(key, Expect::Any, last, USER))
}

fn free_ip(server: &Server) -> Option<Ipv4Addr> {
    let network = server.config.service_cidr;
    let (first, last) = (u32::from(network.network()) + 1, u32::from(network.broadcast()).saturating_sub(1));
    if first > last {
        return None;
    }
    let is_free = |ip: &Ipv4Addr| server.store.get(&ip_key(&ip.to_string())).is_none();
    let mut rng = rand::rng();
    // As upstream, the lower part is left for addresses that people choose.
    let reserved = ((last - first + 1) / 16).clamp(0, 256);
    let upper = (first + reserved).min(last);
    for _ in 0..RANDOM_TRIES {
        let ip = Ipv4Addr::from(rng.random_range(upper..=last));
        if is_free(&ip) {
            return Some(ip);
        }
    }
    (upper..=last).chain(first..upper).map(Ipv4Addr::from).find(is_free)
}

fn free_port(server: &Server, protocols: &[String], taken: &[u16]) -> Option<u16> {
    let is_free = |port: &u16| {
        !taken.contains(port) && protocols.iter().all(|protocol| server.store.get(&port_key(*port, protocol)).is_none())
    };
    let mut rng = rand::rng();
    for _ in 0..RANDOM_TRIES {
        let port = rng.random_range(NODE_PORT_RANGE);
        if is_free(&port) {
            return Some(port);
        }
    }
    NODE_PORT_RANGE.into_iter().find(is_free)
}

fn service_type(object: &Value) -> &str {
    object["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

fn cluster_ip(object: &Value) -> Option<&str> {
    object["spec"]["clusterIP"].as_str().filter(|ip| !ip.is_empty() && *ip != "None")
}

/// The node ports of a Service with their protocols.
fn node_ports(object: &Value) -> Vec<(u16, String)> {
    let ports = object["spec"]["ports"].as_array().into_iter().flatten();
    let mut all: Vec<(u16, String)> = ports
        .filter_map(|port| {
            let number = port["nodePort"].as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0)?;
            Some((number, port["protocol"].as_str().unwrap_or("TCP").to_owned()))
        })
        .collect();
    let health = object["spec"]["healthCheckNodePort"].as_u64().and_then(|n| u16::try_from(n).ok());
    all.extend(health.filter(|n| *n > 0).map(|number| (number, "TCP".to_owned())));
    all.sort();
    all.dedup();
    all
}

/// Gives a Service the addresses and ports it lacks, and says what has to be written with it.
pub fn allocate(
    server: &Arc<Server>,
    kind: &Kind,
    object: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Vec<Mutation>, Status> {
    if !is_service(kind) {
        return Ok(Vec::new());
    }
    let (namespace, name) = (metadata::text(object, "namespace").to_owned(), metadata::text(object, "name").to_owned());
    let mut unit = Vec::new();
    allocate_ip(server, kind, object, old, &namespace, &name, &mut unit)?;
    allocate_ports(server, kind, object, old, &namespace, &name, &mut unit)?;
    Ok(if dry_run { Vec::new() } else { unit })
}

fn allocate_ip(
    server: &Arc<Server>,
    kind: &Kind,
    object: &mut Value,
    old: Option<&Value>,
    namespace: &str,
    name: &str,
    unit: &mut Vec<Mutation>,
) -> Result<(), Status> {
    let had = old.and_then(cluster_ip).map(str::to_owned);
    if service_type(object) == "ExternalName" {
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        unit.extend(had.and_then(|ip| give_back(server, ip_key(&ip))));
        return Ok(());
    }
    if object["spec"]["clusterIP"] == "None" {
        object["spec"]["clusterIPs"] = json!(["None"]);
        return Ok(());
    }
    if let (None, Some(had)) = (cluster_ip(object), &had) {
        // An update that leaves the address out keeps it.
        object["spec"]["clusterIP"] = json!(had);
    }
    match cluster_ip(object).map(str::to_owned) {
        Some(ip) if Some(&ip) == had.as_ref() => {}
        Some(ip) => {
            let field = Path::new("spec").child("clusterIPs");
            let address = ip.parse::<Ipv4Addr>().ok().filter(|address| server.config.service_cidr.contains(address));
            if address.is_none() {
                let why = format!(
                    "failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}",
                    server.config.service_cidr
                );
                return Err(invalid(kind, object, Error::invalid(field, json!([ip]), why)));
            }
            if server.store.get(&ip_key(&ip)).is_some() {
                let why = format!("failed to allocate IP {ip}: provided IP is already allocated");
                return Err(invalid(kind, object, Error::invalid(field, json!([ip]), why)));
            }
            unit.push(take_ip(&ip, namespace, name)?);
        }
        None => {
            let ip =
                free_ip(server).ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?;
            object["spec"]["clusterIP"] = json!(ip.to_string());
            unit.push(take_ip(&ip.to_string(), namespace, name)?);
        }
    }
    object["spec"]["clusterIPs"] = json!([object["spec"]["clusterIP"]]);
    // Of the families that are asked for there is one; what is no family is left for validation to refuse.
    let asked = object["spec"]["ipFamilies"].as_array().map(Vec::as_slice).unwrap_or_default();
    if asked == ["IPv6"] {
        let field = Path::new("spec").child("ipFamilies").index(0);
        return Err(invalid(kind, object, Error::invalid(field, "IPv6", "not configured on this cluster")));
    }
    let known = asked.iter().all(|family| family == "IPv4" || family == "IPv6");
    if known && (asked.len() < 2 || asked[0] != asked[1]) {
        object["spec"]["ipFamilies"] = json!(["IPv4"]);
    }
    if !object["spec"]["ipFamilyPolicy"].is_string() {
        object["spec"]["ipFamilyPolicy"] = json!("SingleStack");
    }
    Ok(())
}

fn allocate_ports(
    server: &Arc<Server>,
    kind: &Kind,
    object: &mut Value,
    old: Option<&Value>,
    namespace: &str,
    name: &str,
    unit: &mut Vec<Mutation>,
) -> Result<(), Status> {
    let wants = matches!(service_type(object), "NodePort" | "LoadBalancer")
        && object["spec"]["allocateLoadBalancerNodePorts"] != json!(false);
    let had = old.map(node_ports).unwrap_or_default();
    if wants {
        keep_ports(object, old);
        let mut taken: Vec<u16> = node_ports(object).iter().map(|(port, _)| *port).collect();
        let count = object["spec"]["ports"].as_array().map_or(0, Vec::len);
        for index in 0..count {
            let port = &mut object["spec"]["ports"][index];
            if port["nodePort"].as_u64().unwrap_or(0) == 0 {
                let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
                let free = free_port(server, &[protocol], &taken)
                    .ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
                port["nodePort"] = json!(free);
                taken.push(free);
            }
        }
    }
    let has = node_ports(object);
    for (port, protocol) in has.iter().filter(|entry| !had.contains(entry)) {
        let index = object["spec"]["ports"].as_array().into_iter().flatten().position(|p| p["nodePort"] == *port);
        let field = Path::new("spec").child("ports").index(index.unwrap_or(0)).child("nodePort");
        if !NODE_PORT_RANGE.contains(port) {
            return Err(invalid(
                kind,
                object,
                Error::invalid(
                    field,
                    *port,
                    "provided port is not in the valid range. The range of valid ports is 30000-32767",
                ),
            ));
        }
        if server.store.get(&port_key(*port, protocol)).is_some() {
            return Err(invalid(kind, object, Error::invalid(field, *port, "provided port is already allocated")));
        }
        unit.push(take_port(*port, protocol, namespace, name)?);
    }
    for (port, protocol) in had.iter().filter(|entry| !has.contains(entry)) {
        unit.extend(give_back(server, port_key(*port, protocol)));
    }
    Ok(())
}

/// An update that leaves a node port out keeps the one its port had.
fn keep_ports(object: &mut Value, old: Option<&Value>) {
    let Some(old) = old.and_then(|old| old["spec"]["ports"].as_array()) else { return };
    let Some(ports) = object["spec"]["ports"].as_array_mut() else { return };
    for port in ports.iter_mut().filter(|port| port["nodePort"].as_u64().unwrap_or(0) == 0) {
        let same = old
            .iter()
            .find(|o| o["port"] == port["port"] && o["protocol"] == port["protocol"] && o["name"] == port["name"]);
        if let Some(number) = same.and_then(|o| o["nodePort"].as_u64()) {
            port["nodePort"] = json!(number);
        }
    }
}

/// What a deleted Service gives back.
pub fn release(server: &Arc<Server>, kind: &Kind, object: &Value) -> Vec<Mutation> {
    if !is_service(kind) {
        return Vec::new();
    }
    let ip = cluster_ip(object).and_then(|ip| give_back(server, ip_key(ip)));
    let ports =
        node_ports(object).into_iter().filter_map(|(port, protocol)| give_back(server, port_key(port, &protocol)));
    ip.into_iter().chain(ports).collect()
}
