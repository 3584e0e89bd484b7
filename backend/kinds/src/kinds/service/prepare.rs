//! Bringing a Service into the form that validation and the allocators expect.

use serde_json::{Map, Value, json};

use super::{has_cluster_ip, has_node_ports, is_external, is_headless, needs_health_check, same};
use crate::value::{Look, MapExt, items, object};

pub(super) fn create(service: &mut Value) {
    normalize(service, None);
    families(service, None);
}

pub(super) fn update(new: &mut Value, old: &Value) {
    keep_allocated(new, old);
    normalize(new, Some(old));
    drop_for_type(new, old);
    families(new, Some(old));
}

fn spec(service: &mut Value) -> &mut Map<String, Value> {
    object(service, "spec")
}

/// What was allocated and is not mentioned stays.
fn keep_allocated(new: &mut Value, old: &Value) {
    let before = old.at("spec");
    if has_cluster_ip(new) && has_cluster_ip(old) {
        if new.text("spec.clusterIP").is_empty() && new.list("spec.clusterIPs").is_empty() {
            spec(new).keep(before, "clusterIP");
        }
        if new.list("spec.clusterIPs").is_empty() && new.text("spec.clusterIP") == before.text("clusterIP") {
            spec(new).keep(before, "clusterIPs");
        }
    }
    if has_node_ports(new) && has_node_ports(old) {
        let mut used: Vec<i64> = new.list("spec.ports").iter().filter_map(|p| p.int("nodePort")).collect();
        for port in items(new, "spec.ports") {
            if port.get("nodePort").and_then(Value::as_i64).unwrap_or_default() != 0 {
                continue;
            }
            let same =
                |o: &&Value| Some(o.at("port")) == port.get("port") && Some(o.at("protocol")) == port.get("protocol");
            let had = old.list("spec.ports").iter().find(same).and_then(|o| o.int("nodePort"));
            if let Some(had) = had.filter(|had| *had != 0 && !used.contains(had)) {
                port.insert("nodePort".into(), had.into());
                used.push(had);
            }
        }
    }
    if needs_health_check(new)
        && needs_health_check(old)
        && new.int("spec.healthCheckNodePort").unwrap_or_default() == 0
    {
        spec(new).keep(before, "healthCheckNodePort");
    }
}

/// `clusterIP` and the first of `clusterIPs` say the same.
fn normalize(new: &mut Value, old: Option<&Value>) {
    let ip = new.text("spec.clusterIP").to_owned();
    let ips_given = !new.list("spec.clusterIPs").is_empty();
    let Some(old) = old else {
        if !ip.is_empty() && !ips_given {
            spec(new).insert("clusterIPs".into(), json!([ip]));
        }
        return;
    };
    let list_follows = !ips_given || same(new, old, "spec.clusterIPs");
    if ip == old.text("spec.clusterIP") || !list_follows {
        return;
    }
    // Only the single address changed: the list follows.
    if ip.is_empty() {
        spec(new).remove("clusterIPs");
    } else {
        spec(new).insert("clusterIPs".into(), json!([ip]));
    }
}

/// What the new type does not have and the client merely left in goes away.
fn drop_for_type(new: &mut Value, old: &Value) {
    if has_cluster_ip(old) && !has_cluster_ip(new) {
        let same_ip = same(new, old, "spec.clusterIP") && same(new, old, "spec.clusterIPs");
        let drop = [("clusterIP", same_ip), ("clusterIPs", same_ip)];
        for (key, unchanged) in drop {
            if unchanged {
                spec(new).remove(key);
            }
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if same(new, old, &format!("spec.{key}")) {
                spec(new).remove(key);
            }
        }
    }
    let ports = |service: &Value| -> Vec<i64> {
        let mut all: Vec<i64> = service.list("spec.ports").iter().filter_map(|p| p.int("nodePort")).collect();
        all.sort_unstable();
        all
    };
    if has_node_ports(old) && !has_node_ports(new) && ports(new) == ports(old) {
        for port in items(new, "spec.ports") {
            port.remove("nodePort");
        }
    }
    let balanced = |service: &Value| service.text("spec.type") == "LoadBalancer";
    let gone = [
        ("healthCheckNodePort", needs_health_check(old) && !needs_health_check(new)),
        ("allocateLoadBalancerNodePorts", balanced(old) && !balanced(new)),
        ("loadBalancerClass", balanced(old) && !balanced(new)),
        ("externalTrafficPolicy", is_external(old) && !is_external(new)),
    ];
    for (key, gone) in gone {
        if gone && same(new, old, &format!("spec.{key}")) {
            spec(new).remove(key);
        }
    }
}

fn family(ip: &str) -> &'static str {
    if ip.contains(':') { "IPv6" } else { "IPv4" }
}

/// Families and their policy, for a cluster with IPv4 Services.
fn families(service: &mut Value, old: Option<&Value>) {
    if !has_cluster_ip(service) {
        return;
    }
    // An update that mentions none keeps what there was.
    if let Some(old) = old.filter(|old| has_cluster_ip(old)) {
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if !service.at("spec").has(key) {
                spec(service).keep(old.at("spec"), key);
            }
        }
    }
    let ips: Vec<String> = service.texts("spec.clusterIPs").filter(|ip| *ip != "None").map(str::to_owned).collect();
    let mut families: Vec<String> = service.texts("spec.ipFamilies").map(str::to_owned).collect();
    for ip in ips.iter().skip(families.len()) {
        families.push(family(ip).to_owned());
    }
    let selectorless = is_headless(service) && service.entries("spec.selector").next().is_none();
    let dual = families.len() > 1 || ips.len() > 1 || selectorless;
    let policy = if dual { "RequireDualStack" } else { "SingleStack" };
    spec(service).or_set("ipFamilyPolicy", policy);
    if families.is_empty() {
        families.push("IPv4".to_owned());
    }
    // The endpoints of a headless Service without a selector are anyone's, so it has both families.
    if selectorless && families.len() == 1 && service.text("spec.ipFamilyPolicy") != "SingleStack" {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
    }
    spec(service).insert("ipFamilies".into(), families.into());
}
