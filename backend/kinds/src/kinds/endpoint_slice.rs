//! EndpointSlice. Source: <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::{endpoints::shown, service::endpoint_ip};
use crate::{
    checks::{immutable, name_if_there, one_of, one_of_if_there, push_all},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Generation, Strategy},
    value::{Look, items, semantic_eq},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::AllButStatusAndLabels,
    default: |slice| {
        for port in items(slice, "ports") {
            if port.get("name").is_none_or(Value::is_null) {
                port.insert("name".into(), "".into());
            }
            crate::value::MapExt::or_set(port, "protocol", "TCP");
        }
    },
    validate: |slice, errors| validate(slice, None, errors),
    validate_update: |new, old, errors| {
        validate(new, Some(old), errors);
        immutable(new.at("addressType"), old.at("addressType"), &Path::new("addressType"), errors);
    },
    columns: &[NAME, Column::text("AddressType"), Column::text("Ports"), Column::text("Endpoints"), AGE],
    row,
    ..Strategy::PLAIN
};

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_HINTS: usize = 8;
/// How many ports and addresses are shown.
const SHOWN: usize = 3;

fn row(slice: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| match port.int("port") {
        Some(number) => number.to_string(),
        None if port.text("name").is_empty() => "*".to_owned(),
        None => port.text("name").to_owned(),
    };
    let ports: Vec<String> = slice.list("ports").iter().map(port).collect();
    let addresses: Vec<String> =
        slice.list("endpoints").iter().flat_map(|e| e.texts("addresses")).map(str::to_owned).collect();
    let unset = |text: String| if text == "<none>" { "<unset>".to_owned() } else { text };
    vec![
        name(slice),
        slice.text("addressType").into(),
        unset(shown(&ports, SHOWN)).into(),
        unset(shown(&addresses, SHOWN)).into(),
        age(slice, now),
    ]
}

fn validate(slice: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    one_of(slice, &Path::root(), "addressType", &["FQDN", "IPv4", "IPv6"], errors);
    ports(slice, errors);
    if old.is_none_or(|old| !semantic_eq(old.at("endpoints"), slice.at("endpoints"))) {
        endpoints(slice, errors);
    }
}

fn ports(slice: &Value, errors: &mut ErrorList) {
    let (ports, path) = (slice.list("ports"), Path::new("ports"));
    if ports.len() > MAX_PORTS {
        return errors.push(Error::too_many(path, ports.len(), MAX_PORTS));
    }
    let mut seen = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let (name, path) = (port.text("name"), path.index(index));
        if !name.is_empty() {
            push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
        }
        if seen.contains(&name) {
            errors.push(Error::duplicate(path.child("name"), name));
        }
        seen.push(name);
        one_of_if_there(port, &path, "protocol", &["SCTP", "TCP", "UDP"], errors);
        if let Some(protocol) = port.at("appProtocol").as_str() {
            push_all(names::is_qualified_name(protocol), protocol, &path.child("appProtocol"), errors);
        }
    }
}

fn endpoints(slice: &Value, errors: &mut ErrorList) {
    let (endpoints, path) = (slice.list("endpoints"), Path::new("endpoints"));
    if endpoints.len() > MAX_ENDPOINTS {
        return errors.push(Error::too_many(path, endpoints.len(), MAX_ENDPOINTS));
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(index);
        let (addresses, at) = (endpoint.list("addresses"), path.child("addresses"));
        if addresses.is_empty() {
            errors.push(Error::required(at.clone(), "must contain at least 1 address"));
        } else if addresses.len() > MAX_ADDRESSES {
            errors.push(Error::too_many(at.clone(), addresses.len(), MAX_ADDRESSES));
        }
        for (index, address) in endpoint.texts("addresses").enumerate() {
            self::address(slice.text("addressType"), address, &at, index, errors);
        }
        name_if_there(endpoint, &path, "nodeName", names::is_dns1123_subdomain, errors);
        name_if_there(endpoint, &path, "hostname", names::is_dns1123_label, errors);
        for (key, rule) in
            [("forZones", names::is_label_value as fn(&str) -> Vec<String>), ("forNodes", names::is_dns1123_subdomain)]
        {
            hints(endpoint.at("hints").list(key), &path.child("hints").child(key), rule, errors);
        }
    }
}

/// Zones or nodes an endpoint is meant for, each once.
fn hints(hints: &[Value], path: &Path, rule: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    if hints.len() > MAX_HINTS {
        return errors.push(Error::too_many(path.clone(), hints.len(), MAX_HINTS));
    }
    let mut seen = Vec::new();
    for (index, hint) in hints.iter().enumerate() {
        let (name, path) = (hint.text("name"), path.index(index).child("name"));
        if seen.contains(&name) {
            errors.push(Error::duplicate(path.clone(), name));
        }
        seen.push(name);
        push_all(rule(name), name, &path, errors);
    }
}

fn address(kind: &str, address: &str, path: &Path, index: usize, errors: &mut ErrorList) {
    let item = path.index(index);
    match kind {
        "IPv4" | "IPv6" => {
            let wrong = names::is_ip(address);
            if !wrong.is_empty() {
                return push_all(wrong, address, &item, errors);
            }
            if address.contains(':') != (kind == "IPv6") {
                errors.push(Error::invalid(path.clone(), address, format!("must be an {kind} address")));
            }
            endpoint_ip(address, &item, errors);
        }
        "FQDN" => {
            let name = address.strip_suffix('.').unwrap_or(address);
            let wrong = names::is_dns1123_subdomain(name);
            if wrong.is_empty() && !name.contains('.') {
                let detail = "should be a domain with at least two segments separated by dots";
                errors.push(Error::invalid(item.clone(), address, detail));
            }
            push_all(wrong, address, &item, errors);
        }
        _ => {}
    }
}
