//! What a Service may say and yet should not, in upstream's words.

use pilothouse_api::field::Path;
use serde_json::Value;

use crate::{
    value::Look,
    warnings::{cidr, ip},
};

const OLD_TOPOLOGY: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY: &str = "service.kubernetes.io/topology-mode";

pub(super) fn service(service: &Value, warnings: &mut Vec<String>) {
    let (spec, path) = (service.at("spec"), Path::new("spec"));
    if !service.at("metadata.annotations")[OLD_TOPOLOGY].is_null() {
        warnings.push(format!("annotation {OLD_TOPOLOGY} is deprecated, please use {TOPOLOGY} instead"));
    }
    let by_name = spec.text("type") == "ExternalName";
    let headless = spec.text("type") == "ClusterIP" && spec.text("clusterIP") == "None";
    let external = !spec.list("externalIPs").is_empty();
    let ignored = [
        (headless && !spec.text("loadBalancerIP").is_empty(), "spec.loadBalancerIP is ignored for headless services"),
        (headless && external, "spec.externalIPs is ignored for headless services"),
        (
            headless && !matches!(spec.text("sessionAffinity"), "" | "None"),
            "spec.SessionAffinity is ignored for headless services",
        ),
    ];
    if !headless {
        for (index, address) in spec.texts("clusterIPs").enumerate() {
            ip(address, &path.child("clusterIPs").index(index), warnings);
        }
    }
    say(&ignored, warnings);
    for (index, address) in spec.texts("externalIPs").enumerate() {
        ip(address, &path.child("externalIPs").index(index), warnings);
    }
    let external_ips = "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
    say(&[(external && !headless && !by_name, external_ips)], warnings);
    ip(spec.text("loadBalancerIP"), &path.child("loadBalancerIP"), warnings);
    for (index, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
        cidr(range.trim(), &path.child("loadBalancerSourceRanges").index(index), warnings);
    }
    let rest = [
        (by_name && external, "spec.externalIPs is ignored when spec.type is \"ExternalName\""),
        (
            !by_name && !spec.text("externalName").is_empty(),
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
        ),
        (
            spec.text("trafficDistribution") == "PreferClose",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ),
    ];
    say(&rest, warnings);
}

fn say(what: &[(bool, &str)], warnings: &mut Vec<String>) {
    warnings.extend(what.iter().filter(|(so, _)| *so).map(|(_, text)| (*text).to_owned()));
}
