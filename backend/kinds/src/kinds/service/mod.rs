//! Service. Source: <https://kubernetes.io/docs/concepts/services-networking/service/>
//!
//! Addresses and ports are allocated by the registry, between preparing and validating: [`wants`] says what a prepared
//! Service still lacks.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    columns::{AGE, Column, NAME, age, labels, name},
    strategy::{Field, Strategy, label_name},
    value::{Look, MapExt, items, object, semantic_eq},
};

mod prepare;
mod validate;
mod warnings;

pub(crate) use validate::{addresses, endpoint_ip};

pub(crate) static STRATEGY: Strategy = Strategy {
    name: label_name,
    default,
    prepare_create: |service| {
        prepare::create(service);
        crate::value::child(object(service, "status"), "loadBalancer");
    },
    prepare_update: prepare::update,
    validate: |service, errors| validate::service(service, errors),
    validate_update: validate::update,
    warn: |service, _, out| warnings::service(service, out),
    validate_status_update: validate::status,
    columns: COLUMNS,
    row,
    fields: &[Field::path("spec.clusterIP"), Field::path("spec.type")],
    create_on_update: true,
    ..Strategy::PLAIN
};

/// The longest address list shown unless there is room.
const ADDRESS_WIDTH: usize = 16;
const AFFINITY_SECONDS: i64 = 10_800;

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Type"),
    Column::text("Cluster-IP"),
    Column::text("External-IP"),
    Column::text("Port(s)"),
    AGE,
    Column::wide("Selector"),
];

/// What a prepared Service needs from the allocators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// An address of this family (`IPv4`, `IPv6`) for each family that has none yet.
    pub cluster_ips: Vec<String>,
    /// The addresses asked for by name, to be reserved.
    pub named_ips: Vec<IpAddr>,
    /// Indexes into `spec.ports` that need a node port.
    pub node_ports: Vec<usize>,
    /// Node ports asked for by number, with their protocol.
    pub named_ports: Vec<(String, u16)>,
    /// A node port for `spec.healthCheckNodePort`.
    pub health_check_port: bool,
}

/// What must be allocated before a prepared Service is valid. On an update, what it had before is not asked for again:
/// compare with the old object's [`Wants`] to know what to reserve and what to release.
pub fn wants(service: &Value) -> Wants {
    let mut wants = Wants::default();
    if has_cluster_ip(service) && !is_headless(service) {
        let have: Vec<&str> = service.texts("spec.clusterIPs").collect();
        wants.named_ips = have.iter().filter_map(|ip| pilothouse_api::names::parse_ip(ip)).collect();
        wants.cluster_ips = service.texts("spec.ipFamilies").skip(have.len()).map(str::to_owned).collect();
    }
    if has_node_ports(service) {
        for (index, port) in service.list("spec.ports").iter().enumerate() {
            match port.int("nodePort").unwrap_or_default() {
                0 => wants.node_ports.push(index),
                number => {
                    if let Ok(number) = u16::try_from(number) {
                        wants.named_ports.push((port.text("protocol").to_owned(), number));
                    }
                }
            }
        }
    }
    if needs_health_check(service) {
        match service.int("spec.healthCheckNodePort").unwrap_or_default() {
            0 => wants.health_check_port = true,
            number => {
                if let Ok(number) = u16::try_from(number) {
                    wants.named_ports.push(("TCP".to_owned(), number));
                }
            }
        }
    }
    wants
}

/// Does its type have a cluster IP (headless ones included)?
pub fn has_cluster_ip(service: &Value) -> bool {
    matches!(service.text("spec.type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

pub fn is_headless(service: &Value) -> bool {
    service.texts("spec.clusterIPs").eq(["None"]) || service.text("spec.clusterIP") == "None"
}

pub fn has_node_ports(service: &Value) -> bool {
    match service.text("spec.type") {
        "NodePort" => true,
        "LoadBalancer" => service.at("spec.allocateLoadBalancerNodePorts").as_bool() != Some(false),
        _ => false,
    }
}

pub fn needs_health_check(service: &Value) -> bool {
    service.text("spec.type") == "LoadBalancer" && service.text("spec.externalTrafficPolicy") == "Local"
}

pub(super) fn is_external(service: &Value) -> bool {
    match service.text("spec.type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !service.list("spec.externalIPs").is_empty(),
        _ => false,
    }
}

fn default(service: &mut Value) {
    let spec = object(service, "spec");
    spec.or_set("sessionAffinity", "None");
    spec.or_set("type", "ClusterIP");
    match spec.get("sessionAffinity").and_then(Value::as_str) {
        Some("None") => {
            spec.remove("sessionAffinityConfig");
        }
        Some("ClientIP") => {
            let config = spec.get("sessionAffinityConfig");
            if !config.is_some_and(|c| c.has("clientIP.timeoutSeconds")) {
                spec.insert("sessionAffinityConfig".into(), json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}));
            }
        }
        _ => {}
    }
    for port in items(service, "spec.ports") {
        port.or_set("protocol", "TCP");
        let target = port.get("targetPort");
        let unset = target.is_none_or(|t| t.is_null() || t.as_i64() == Some(0) || t.as_str() == Some(""));
        if unset {
            let same = port.get("port").cloned().unwrap_or(Value::from(0));
            port.insert("targetPort".into(), same);
        }
    }
    let external = is_external(service);
    let kind = service.text("spec.type").to_owned();
    let spec = object(service, "spec");
    if external {
        spec.or_set("externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        spec.or_set("internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.or_set("allocateLoadBalancerNodePorts", true);
        for ingress in items(service, "status.loadBalancer.ingress") {
            if ingress.get("ip").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty()) {
                ingress.or_set("ipMode", "VIP");
            }
        }
    }
}

fn row(service: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = service.list("spec.ports").iter().map(port_text).collect();
    vec![
        name(service),
        service.text("spec.type").into(),
        service.texts("spec.clusterIPs").next().unwrap_or("<none>").into(),
        external_address(service).into(),
        if ports.is_empty() { "<none>".into() } else { ports.join(",").into() },
        age(service, now),
        labels(service.at("spec.selector")),
    ]
}

fn port_text(port: &Value) -> String {
    let (number, protocol) = (port.int("port").unwrap_or_default(), port.text("protocol"));
    match port.int("nodePort").unwrap_or_default() {
        0 => format!("{number}/{protocol}"),
        node => format!("{number}:{node}/{protocol}"),
    }
}

fn external_address(service: &Value) -> String {
    let external: Vec<&str> = service.texts("spec.externalIPs").collect();
    match service.text("spec.type") {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external.join(","),
        "LoadBalancer" => {
            let balanced = load_balancer_addresses(service.at("status.loadBalancer"), true);
            match (balanced.is_empty(), external.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (false, true) => balanced,
                (true, false) => external.join(","),
                (false, false) => format!("{balanced},{}", external.join(",")),
            }
        }
        "ExternalName" => service.text("spec.externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// Addresses or host names of a load balancer, sorted; cut short unless there is room.
pub(super) fn load_balancer_addresses(status: &Value, wide: bool) -> String {
    let address = |ingress: &Value| match ingress.text("ip") {
        "" => ingress.text("hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let mut all: Vec<String> = status.list("ingress").iter().map(address).filter(|text| !text.is_empty()).collect();
    all.sort();
    all.dedup();
    let joined = all.join(",");
    if wide || joined.len() <= ADDRESS_WIDTH {
        return joined;
    }
    format!("{}...", joined.chars().take(ADDRESS_WIDTH - 3).collect::<String>())
}

pub(super) fn same(new: &Value, old: &Value, path: &str) -> bool {
    semantic_eq(new.at(path), old.at(path))
}
