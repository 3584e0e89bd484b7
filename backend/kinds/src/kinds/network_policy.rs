//! NetworkPolicy. Source: <https://kubernetes.io/docs/concepts/services-networking/network-policies/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Value, json};

use crate::{
    checks::{label_selector, one_of_if_there, port_number_or_name, push_all, required},
    columns::{AGE, Column, NAME, age, name, selector},
    strategy::{Generation, Strategy},
    value::{Look, MapExt, items, members, object},
    warnings::cidr,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    default,
    validate,
    validate_update: |new, _, errors| validate(new, errors),
    warn,
    columns: &[NAME, Column::text("Pod-Selector"), AGE],
    row,
    ..Strategy::PLAIN
};

fn warn(policy: &Value, _: Option<&Value>, warnings: &mut Vec<String>) {
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (rule_at, rule) in policy.at("spec").list(direction).iter().enumerate() {
            for (peer_at, peer) in rule.list(peers).iter().enumerate() {
                let path = Path::new("spec").child(direction).index(rule_at).child(peers).index(peer_at);
                let path = path.child("ipBlock");
                cidr(peer.text("ipBlock.cidr"), &path.child("cidr"), warnings);
                for (index, except) in peer.texts("ipBlock.except").enumerate() {
                    cidr(except, &path.child("except").index(index), warnings);
                }
            }
        }
    }
}

fn row(policy: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(policy), selector(policy.at("spec.podSelector")), age(policy, now)]
}

fn default(policy: &mut Value) {
    for direction in ["spec.ingress", "spec.egress"] {
        for rule in items(policy, direction) {
            for port in members(rule, "ports") {
                port.or_set("protocol", "TCP");
            }
        }
    }
    let egress = !policy.list("spec.egress").is_empty();
    if policy.list("spec.policyTypes").is_empty() {
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        object(policy, "spec").insert("policyTypes".into(), types);
    }
}

fn validate(policy: &Value, errors: &mut ErrorList) {
    let (spec, path) = (policy.at("spec"), Path::new("spec"));
    label_selector(spec.at("podSelector"), &path.child("podSelector"), errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in spec.list(direction).iter().enumerate() {
            let path = path.child(direction).index(index);
            for (index, port) in rule.list("ports").iter().enumerate() {
                self::port(port, &path.child("ports").index(index), errors);
            }
            for (index, peer) in rule.list(peers).iter().enumerate() {
                self::peer(peer, &path.child(peers).index(index), errors);
            }
        }
    }
    let types = spec.list("policyTypes");
    if types.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        errors.push(Error::invalid(path.child("policyTypes"), spec.at("policyTypes").clone(), detail));
        return;
    }
    for (index, kind) in spec.texts("policyTypes").enumerate() {
        if !matches!(kind, "Ingress" | "Egress") {
            errors.push(Error::not_supported(path.child("policyTypes").index(index), kind, &["Ingress", "Egress"]));
        }
    }
}

fn port(port: &Value, path: &Path, errors: &mut ErrorList) {
    one_of_if_there(port, path, "protocol", &["TCP", "UDP", "SCTP"], errors);
    let (first, last) = (port.at("port"), port.int("endPort"));
    if !first.is_null() {
        port_number_or_name(first, &path.child("port"), errors);
    }
    let Some(last) = last else { return };
    let at = path.child("endPort");
    match first {
        Value::Number(first) => {
            if last < first.as_i64().unwrap_or_default() {
                errors.push(Error::invalid(at.clone(), first.clone(), "must be greater than or equal to `port`"));
            }
            errors.extend(names::is_port_number(last).into_iter().map(|e| Error::invalid(at.clone(), last, e)));
        }
        Value::Null => errors.push(Error::invalid(at, last, "may not be specified when `port` is not specified")),
        _ => errors.push(Error::invalid(at, last, "may not be specified when `port` is non-numeric")),
    }
}

fn peer(peer: &Value, path: &Path, errors: &mut ErrorList) {
    let mut count = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if peer.has(key) {
            count += 1;
            label_selector(peer.at(key), &path.child(key), errors);
        }
    }
    let block = peer.has("ipBlock");
    if block {
        ip_block(peer.at("ipBlock"), &path.child("ipBlock"), errors);
    }
    if block && count > 0 {
        errors.push(Error::forbidden(path.clone(), "may not specify both ipBlock and another peer"));
    } else if !block && count == 0 {
        errors.push(Error::required(path.clone(), "must specify a peer"));
    }
}

fn ip_block(block: &Value, path: &Path, errors: &mut ErrorList) {
    if !required(block, path, "cidr", errors) {
        return;
    }
    let cidr = block.text("cidr");
    push_all(names::is_cidr(cidr), cidr, &path.child("cidr"), errors);
    let Ok(whole) = network(cidr) else { return };
    for (index, except) in block.texts("except").enumerate() {
        let path = path.child("except").index(index);
        push_all(names::is_cidr(except), except, &path, errors);
        let Ok(part) = network(except) else { continue };
        if !whole.contains(&part) || whole.prefix_len() >= part.prefix_len() {
            errors.push(Error::invalid(path, except, "must be a strict subset of `cidr`"));
        }
    }
}

fn network(cidr: &str) -> Result<ipnet::IpNet, ()> {
    let (ip, bits) = names::parse_cidr(cidr).ok_or(())?;
    Ok(ipnet::IpNet::new(ip, bits).map_err(|_| ())?.trunc())
}
