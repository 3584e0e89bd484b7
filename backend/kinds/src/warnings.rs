//! Warnings that several kinds share: what is taken and yet deprecated or odd. Shown by clients, stopped by nobody.

use std::net::IpAddr;

use pilothouse_api::{field::Path, names};
use serde_json::Value;

use crate::value::Look;

const NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
];

/// What is to be said of a node's label, if it is one of the old ones.
pub(crate) fn node_label(label: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(old, _)| *old == label).map(|(_, why)| *why)
}

pub(crate) fn node_selector_term(term: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (index, expression) in term.list("matchExpressions").iter().enumerate() {
        let key = expression.text("key");
        if let Some(why) = node_label(key) {
            let path = path.child("matchExpressions").index(index).child("key");
            warnings.push(format!("{path}: {key} is {why}"));
        }
    }
}

/// Pods take their names from this object's, and a pod's name is its hostname.
pub(crate) fn pods_take_this_name(object: &Value, warnings: &mut Vec<String>) {
    let wrong = names::is_dns1123_label(object.text("metadata.name"));
    if !wrong.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
}

/// Whether an update has changed what the generation counts; of a new object everything is news.
pub(crate) fn is_news(new: &Value, old: Option<&Value>) -> bool {
    old.is_none_or(|old| old.at("metadata.generation") != new.at("metadata.generation"))
}

/// The spec of a PersistentVolumeClaim.
pub(crate) fn claim(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    for list in ["requests", "limits"] {
        let path = path.child("resources").child(list).key("storage");
        crate::kinds::pod::fractional(&spec.at("resources")[list]["storage"], &path, warnings);
    }
}

/// An address in a form that only older parsers take, or that has a shorter one.
pub(crate) fn ip(value: &str, path: &Path, warnings: &mut Vec<String>) {
    let Some(parsed) = names::parse_ip(value).map(|ip| ip.to_canonical()) else { return };
    let standard = value.parse::<IpAddr>().is_ok();
    let mapped = value.parse().is_ok_and(|ip: std::net::Ipv6Addr| ip.to_ipv4_mapped().is_some());
    if !standard || mapped {
        warnings.push(format!("{path}: non-standard IP address {value:?} is invalid: use {:?}", parsed.to_string()));
    } else if parsed.is_ipv6() && parsed.to_string() != value {
        let canonical = parsed.to_string();
        warnings.push(format!("{path}: IPv6 address {value:?} should be in RFC 5952 canonical format ({canonical:?})"));
    }
}

/// A network whose address has bits beyond its prefix, or that is written in an old form.
pub(crate) fn cidr(value: &str, path: &Path, warnings: &mut Vec<String>) {
    let Some((address, bits)) = names::parse_cidr(value) else { return };
    let Ok(network) = ipnet::IpNet::new(address, bits) else { return };
    let before = warnings.len();
    if network.network() != address {
        let full = if address.is_ipv4() { 32 } else { 128 };
        let (whole, single) = (network.trunc().to_string(), format!("{address}/{full}"));
        warnings.push(format!(
            "{path}: CIDR value {value:?} is ambiguous in this context (should be {whole:?} or {single:?}?)"
        ));
    }
    let standard = value.split_once('/').is_some_and(|(ip, _)| {
        ip.parse::<IpAddr>().is_ok_and(|ip| match ip {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => v6.to_ipv4_mapped().is_none(),
        })
    });
    if !standard {
        let canonical = network.trunc().to_string();
        warnings.push(format!("{path}: non-standard CIDR value {value:?} is invalid: use {canonical:?}"));
    }
    if warnings.len() == before && address.is_ipv6() && network.to_string() != value {
        let canonical = network.to_string();
        warnings
            .push(format!("{path}: IPv6 CIDR value {value:?} should be in RFC 5952 canonical format ({canonical:?})"));
    }
}
