//! Endpoints: the addresses of a Service, in the form before EndpointSlices.

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::service::endpoint_ip;
use crate::{
    checks::{one_of, push_all},
    columns::{AGE, Column, NAME, age, name},
    strategy::Strategy,
    value::{Look, MapExt, items, members, semantic_eq},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    default: |endpoints| {
        for subset in items(endpoints, "subsets") {
            for port in members(subset, "ports") {
                port.or_set("protocol", "TCP");
            }
        }
    },
    validate,
    validate_update: |new, old, errors| {
        if !semantic_eq(new.at("subsets"), old.at("subsets")) {
            validate(new, errors);
        }
    },
    warn: |endpoints, _, warnings| {
        if endpoints.at("metadata.labels")["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
            return;
        }
        for (at, subset) in endpoints.list("subsets").iter().enumerate() {
            for list in ["addresses", "notReadyAddresses"] {
                for (index, address) in subset.list(list).iter().enumerate() {
                    let path = Path::new("subsets").index(at).child(list).index(index).child("ip");
                    crate::warnings::ip(address.text("ip"), &path, warnings);
                }
            }
        }
    },
    deprecated: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    columns: &[NAME, Column::text("Endpoints"), AGE],
    row,
    create_on_update: true,
    ..Strategy::PLAIN
};

/// How many addresses are shown.
const SHOWN: usize = 3;

fn row(endpoints: &Value, now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in endpoints.list("subsets") {
        let ports = subset.list("ports");
        for address in subset.list("addresses") {
            let ip = address.text("ip");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|p| join(ip, p.int("port").unwrap_or_default())));
        }
    }
    vec![name(endpoints), shown(&all, SHOWN).into(), age(endpoints, now)]
}

fn join(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// The first few, and how many more.
pub(super) fn shown(all: &[String], most: usize) -> String {
    match all.len() {
        0 => "<none>".to_owned(),
        count if count > most => format!("{} + {} more...", all[..most].join(","), count - most),
        _ => all.join(","),
    }
}

fn validate(endpoints: &Value, errors: &mut ErrorList) {
    for (index, subset) in endpoints.list("subsets").iter().enumerate() {
        let path = Path::new("subsets").index(index);
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|list| subset.list(list).is_empty()) {
            errors.push(Error::required(path.clone(), "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in lists {
            for (index, address) in subset.list(list).iter().enumerate() {
                self::address(address, &path.child(list).index(index), errors);
            }
        }
        let ports = subset.list("ports");
        for (index, port) in ports.iter().enumerate() {
            self::port(port, ports.len() > 1, &path.child("ports").index(index), errors);
        }
    }
}

fn address(address: &Value, path: &Path, errors: &mut ErrorList) {
    let (ip, host) = (address.text("ip"), address.text("hostname"));
    push_all(names::is_ip(ip), ip, &path.child("ip"), errors);
    if !host.is_empty() {
        push_all(names::is_dns1123_label(host), host, &path.child("hostname"), errors);
    }
    crate::checks::name_if_there(address, path, "nodeName", names::is_dns1123_subdomain, errors);
    if names::parse_ip(ip).is_none() {
        // Once more, in other words.
        errors.push(Error::invalid(path.child("ip"), ip, "must be a valid IP address"));
    }
    endpoint_ip(ip, &path.child("ip"), errors);
}

fn port(port: &Value, named: bool, path: &Path, errors: &mut ErrorList) {
    match port.text("name") {
        "" if named => errors.push(Error::required(path.child("name"), "")),
        "" => {}
        name => push_all(names::is_dns1123_label(name), name, &path.child("name"), errors),
    }
    let number = port.int("port").unwrap_or_default();
    errors.extend(names::is_port_number(number).into_iter().map(|e| Error::invalid(path.child("port"), number, e)));
    one_of(port, path, "protocol", &["SCTP", "TCP", "UDP"], errors);
    if let Some(protocol) = port.at("appProtocol").as_str() {
        push_all(names::is_qualified_name(protocol), protocol, &path.child("appProtocol"), errors);
    }
}
