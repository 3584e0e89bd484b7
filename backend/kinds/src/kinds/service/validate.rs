//! Validation of Services.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::{has_cluster_ip, is_external, is_headless, needs_health_check};
use crate::{
    checks::{one_of, one_of_if_there, port_number_or_name, push_all},
    meta,
    value::Look,
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
const MAX_AFFINITY_SECONDS: i64 = 86_400;

pub(super) fn service(service: &Value, errors: &mut ErrorList) {
    let (spec, path) = (service.at("spec"), Path::new("spec"));
    // Whoever allocates addresses looks at these before anything else is looked at, and tells of them alone.
    let mut addresses = ErrorList::new();
    if spec.text("type") != "ExternalName" {
        cluster_ips(service, &path, &mut addresses);
    }
    if !addresses.is_empty() {
        *errors = addresses;
        return;
    }
    let headless = is_headless(service);
    if spec.list("ports").is_empty() && !headless && spec.text("type") != "ExternalName" {
        errors.push(Error::required(path.child("ports"), ""));
    }
    by_type(spec, headless, &path, errors);
    ports(spec, &path.child("ports"), errors);
    meta::validate_labels(spec.at("selector"), &path.child("selector"), errors);
    affinity(spec, &path, errors);
    for (index, ip) in spec.texts("externalIPs").enumerate() {
        let path = path.child("externalIPs").index(index);
        let wrong = names::is_ip(ip);
        if wrong.is_empty() {
            endpoint_ip(ip, &path, errors);
        }
        push_all(wrong, ip, &path, errors);
    }
    one_of(spec, &path, "type", TYPES, errors);
    ports_together(spec, &path.child("ports"), errors);
    load_balancer(spec, &path, errors);
    traffic(service, &path, errors);
}

fn by_type(spec: &Value, headless: bool, path: &Path, errors: &mut ErrorList) {
    match spec.text("type") {
        kind @ ("LoadBalancer" | "NodePort") if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(Error::invalid(path.child("clusterIPs").index(0), "None", detail));
        }
        "ExternalName" => {
            for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let value = spec.at(key);
                if !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()) {
                    errors.push(Error::forbidden(path.child(key), "may not be set for ExternalName services"));
                }
            }
            let target = spec.text("externalName");
            let target = target.strip_suffix('.').unwrap_or(target);
            if target.is_empty() {
                errors.push(Error::required(path.child("externalName"), ""));
            } else {
                push_all(names::is_dns1123_subdomain(target), target, &path.child("externalName"), errors);
            }
        }
        _ => {}
    }
}

fn ports(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let all = spec.list("ports");
    let mut seen = Vec::new();
    for (index, port) in all.iter().enumerate() {
        let path = path.index(index);
        let name = port.text("name");
        if name.is_empty() {
            if all.len() > 1 {
                errors.push(Error::required(path.child("name"), ""));
            }
        } else {
            push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
            if seen.contains(&name) {
                errors.push(Error::duplicate(path.child("name"), name));
            }
            seen.push(name);
        }
        let number = port.int("port").unwrap_or_default();
        errors.extend(names::is_port_number(number).into_iter().map(|e| Error::invalid(path.child("port"), number, e)));
        one_of(port, &path, "protocol", &["SCTP", "TCP", "UDP"], errors);
        port_number_or_name(port.at("targetPort"), &path.child("targetPort"), errors);
        if let Some(protocol) = port.at("appProtocol").as_str() {
            push_all(names::is_qualified_name(protocol), protocol, &path.child("appProtocol"), errors);
        }
    }
}

/// Node ports are for types that have them, and no port is there twice.
fn ports_together(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let ports = spec.list("ports");
    let protocol = |port: &Value| port.text("protocol").to_owned();
    let node = |port: &Value| port.int("nodePort").unwrap_or_default();
    let (mut nodes, mut pairs) = (Vec::new(), Vec::new());
    for (index, _) in ports.iter().enumerate().filter(|(_, port)| spec.text("type") == "ClusterIP" && node(port) != 0) {
        let path = path.index(index).child("nodePort");
        errors.push(Error::forbidden(path, "may not be used when `type` is 'ClusterIP'"));
    }
    for (index, port) in ports.iter().enumerate().filter(|(_, port)| node(port) != 0) {
        let this = (protocol(port), node(port));
        if nodes.contains(&this) {
            errors.push(Error::duplicate(path.index(index).child("nodePort"), this.1));
        }
        nodes.push(this);
    }
    for (index, port) in ports.iter().enumerate() {
        let this = (protocol(port), port.int("port").unwrap_or_default());
        if pairs.contains(&this) {
            // Upstream shows the rest of it empty, in the words of its own code.
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                Value::from(this.0.as_str()),
                this.1
            );
            errors.push(Error::duplicate(path.index(index), this.0.as_str()).showing(Some(shown)));
        }
        pairs.push(this);
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut ErrorList) {
    one_of(spec, path, "sessionAffinity", &["ClientIP", "None"], errors);
    let (config, at) = (spec.at("sessionAffinityConfig"), path.child("sessionAffinityConfig"));
    match spec.text("sessionAffinity") {
        "ClientIP" => match config.int("clientIP.timeoutSeconds") {
            None => errors.push(Error::required(at, "when session affinity type is ClientIP")),
            Some(seconds) if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds) => {
                let detail = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
                errors.push(Error::invalid(at.child("clientIP").child("timeoutSeconds"), seconds, detail));
            }
            Some(_) => {}
        },
        "None" if !config.is_null() => {
            errors.push(Error::forbidden(at, "must not be set when session affinity is None"));
        }
        _ => {}
    }
}

fn cluster_ips(service: &Value, path: &Path, errors: &mut ErrorList) {
    let spec = service.at("spec");
    let (ip, ips): (&str, Vec<&str>) = (spec.text("clusterIP"), spec.texts("clusterIPs").collect());
    let (at, value) = (path.child("clusterIPs"), || spec.at("clusterIPs").clone());
    match (ip.is_empty(), ips.first()) {
        (false, None) => errors.push(Error::required(at.clone(), "")),
        (false, Some(first)) if *first != ip => {
            errors.push(Error::invalid(at.clone(), value(), "first value must match `clusterIP`"));
        }
        (true, Some(_)) => {
            errors.push(Error::invalid(at.clone(), value(), "must be empty when `clusterIP` is not specified"));
        }
        _ => {}
    }
    let families: Vec<&str> = spec.texts("ipFamilies").collect();
    for (index, family) in families.iter().enumerate() {
        let path = path.child("ipFamilies").index(index);
        if !matches!(*family, "IPv4" | "IPv6") {
            errors.push(Error::not_supported(path.clone(), *family, &["IPv4", "IPv6"]));
        }
        if families[..index].contains(family) {
            errors.push(Error::duplicate(path, *family));
        }
    }
    one_of_if_there(spec, path, "ipFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"], errors);
    if ips.first() == Some(&"None") {
        if ips.len() > 1 {
            errors.push(Error::invalid(at, value(), "'None' must be the first and only value"));
        }
        return;
    }
    let before = errors.len();
    for (index, ip) in ips.iter().enumerate() {
        push_all(names::is_ip(ip), ip, &at.index(index), errors);
    }
    if errors.len() > before {
        return;
    }
    if ips.len() > 2 {
        errors.push(Error::invalid(at.clone(), value(), "may only hold up to 2 values"));
    }
    let v6 = |ip: &str| ip.contains(':');
    if ips.len() > 1 && ips.iter().all(|ip| v6(ip) == v6(ips[0])) {
        errors.push(Error::invalid(at.clone(), value(), "may specify no more than one IP for each IP family"));
    }
    for (index, (ip, family)) in ips.iter().zip(&families).enumerate() {
        if v6(ip) != (*family == "IPv6") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(Error::invalid(at.index(index), *ip, detail));
        }
    }
}

/// An address that traffic can be sent to.
pub(crate) fn endpoint_ip(text: &str, path: &Path, errors: &mut ErrorList) {
    let Some(ip) = names::parse_ip(text) else { return };
    let mut wrong = |detail: &str| errors.push(Error::invalid(path.clone(), text, detail));
    if ip.is_unspecified() {
        wrong(&format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        wrong("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, local_multicast) = match ip {
        std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        wrong("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if local_multicast {
        wrong("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn load_balancer(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let balanced = spec.text("type") == "LoadBalancer";
    let ranges = path.child("LoadBalancerSourceRanges");
    if !balanced && !spec.list("loadBalancerSourceRanges").is_empty() {
        errors.push(Error::forbidden(ranges.clone(), ONLY_BALANCED));
    }
    for (index, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
        push_all(names::is_cidr(range.trim()), range.trim(), &ranges.index(index), errors);
    }
    if !balanced && spec.has("allocateLoadBalancerNodePorts") {
        errors.push(Error::forbidden(path.child("allocateLoadBalancerNodePorts"), ONLY_BALANCED));
    }
    if balanced && !spec.has("allocateLoadBalancerNodePorts") {
        errors.push(Error::required(Path::new("allocateLoadBalancerNodePorts"), ""));
    }
    if let Some(class) = spec.at("loadBalancerClass").as_str() {
        if balanced {
            push_all(names::is_qualified_name(class), class, &path.child("loadBalancerClass"), errors);
        } else {
            errors.push(Error::forbidden(path.child("loadBalancerClass"), ONLY_BALANCED));
        }
    }
}

fn traffic(service: &Value, path: &Path, errors: &mut ErrorList) {
    let spec = service.at("spec");
    if is_external(service) {
        one_of(spec, path, "externalTrafficPolicy", &["Cluster", "Local"], errors);
    } else if !spec.text("externalTrafficPolicy").is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(Error::invalid(path.child("externalTrafficPolicy"), spec.text("externalTrafficPolicy"), detail));
    }
    let (port, at) = (spec.int("healthCheckNodePort").unwrap_or_default(), path.child("healthCheckNodePort"));
    match (needs_health_check(service), port) {
        (true, 0) => errors.push(Error::required(at, "")),
        (true, port) => {
            errors.extend(names::is_port_number(port).into_iter().map(|e| Error::invalid(at.clone(), port, e)))
        }
        (false, 0) => {}
        (false, port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(Error::invalid(at, port, detail));
        }
    }
    if has_cluster_ip(service) && !spec.has("internalTrafficPolicy") {
        errors.push(Error::required(path.child("internalTrafficPolicy"), ""));
    }
    one_of_if_there(spec, path, "internalTrafficPolicy", &["Cluster", "Local"], errors);
    let distributions = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    one_of_if_there(spec, path, "trafficDistribution", distributions, errors);
}

pub(super) fn update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if has_cluster_ip(new) && has_cluster_ip(old) {
        if !(is_headless(new) && is_headless(old)) {
            kept(new, old, "clusterIPs", "clusterIP", &path, errors);
        }
        if !is_headless(new) && !is_headless(old) {
            kept(new, old, "ipFamilies", "ipFamily", &path, errors);
        }
    }
    let balanced = |service: &Value| service.text("spec.type") == "LoadBalancer";
    let class = "spec.loadBalancerClass";
    if balanced(new) && balanced(old) && new.at(class) != old.at(class) {
        let value = new.at(class).clone();
        errors.push(Error::invalid(path.child("loadBalancerClass"), value, "may not change once set"));
    }
    let port = "spec.healthCheckNodePort";
    if needs_health_check(new) && needs_health_check(old) && new.int(port) != old.int(port) {
        errors.push(Error::forbidden(path.child("healthCheckNodePort"), "field is immutable"));
    }
    service(new, errors);
}

/// The first member of a list stays; a second may come and go.
fn kept(new: &Value, old: &Value, list: &str, one: &str, path: &Path, errors: &mut ErrorList) {
    let (have, had): (Vec<&str>, Vec<&str>) =
        (new.at("spec").texts(list).collect(), old.at("spec").texts(list).collect());
    let (at, value) = (path.child(list), || new.at("spec").at(list).clone());
    if have.len() == had.len() {
        for (index, _) in have.iter().zip(&had).enumerate().filter(|(_, (have, had))| have != had) {
            errors.push(Error::invalid(at.index(index), value(), "may not change once set"));
        }
        return;
    }
    match (have.first(), had.first()) {
        (None, Some(_)) => errors.push(Error::invalid(at.index(0), value(), format!("primary {one} can not be unset"))),
        (Some(have), Some(had)) if have != had => {
            errors.push(Error::invalid(at.index(0), value(), "may not change once set"));
        }
        _ => {}
    }
    let policy = new.text("spec.ipFamilyPolicy");
    if have.len() == 1 && had.len() > 1 && policy != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.push(Error::invalid(path.child("ipFamilyPolicy"), policy, detail));
    }
}

pub(super) fn status(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let ingress = new.list("status.loadBalancer.ingress");
    if ingress.is_empty() {
        return;
    }
    if new.text("spec.type") != "LoadBalancer" && new.at("status.loadBalancer") != old.at("status.loadBalancer") {
        errors.push(Error::forbidden(path.clone(), "may only be used when `spec.type` is 'LoadBalancer'"));
    }
    for (index, entry) in ingress.iter().enumerate() {
        let (path, addressed) = (path.index(index), !entry.text("ip").is_empty());
        address(entry, &path, errors);
        match (entry.has("ipMode"), addressed) {
            (false, true) => {
                errors.push(Error::required(path.child("ipMode"), "must be specified when `ip` is set"));
            }
            (true, false) => {
                errors.push(Error::forbidden(path.child("ipMode"), "may not be specified when `ip` is not set"));
            }
            _ => one_of_if_there(entry, &path, "ipMode", &["Proxy", "VIP"], errors),
        }
    }
}

/// Addresses of a load balancer's status: an IP, a DNS name.
pub(crate) fn addresses(ingress: &[Value], path: &Path, errors: &mut ErrorList) {
    for (index, entry) in ingress.iter().enumerate() {
        address(entry, &path.index(index), errors);
    }
}

fn address(entry: &Value, path: &Path, errors: &mut ErrorList) {
    let (ip, host) = (entry.text("ip"), entry.text("hostname"));
    if !ip.is_empty() {
        push_all(names::is_ip(ip), ip, &path.child("ip"), errors);
    }
    if !host.is_empty() {
        push_all(names::is_dns1123_subdomain(host), host, &path.child("hostname"), errors);
        if names::parse_ip(host).is_some() {
            let detail = "must be a DNS name, not an IP address";
            errors.push(Error::invalid(path.child("hostname"), host, detail));
        }
    }
}
