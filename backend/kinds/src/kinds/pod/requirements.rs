//! Validation of requests, limits and claims.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use crate::{
    checks::{NEGATIVE, push_all},
    value::{Look, bare},
};

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// May more be promised of it than there is?
pub(crate) fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Resources that need no prefix.
const STANDARD: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];

/// Of these there is no half.
const WHOLE: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// A resource of whatever: a standard one, or one with a prefix.
pub(crate) fn resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    let wrong = names::is_qualified_name(name);
    if !wrong.is_empty() {
        push_all(wrong, name, path, errors);
    } else if !name.contains('/') && !STANDARD.contains(&name) && !is_huge_page(name.trim_start_matches("requests.")) {
        errors.push(Error::invalid(path.clone(), name, "must be a standard resource type or fully qualified"));
    }
}

/// A resource beyond those of Kubernetes itself, of which a quota can speak.
pub(crate) fn is_extended_resource(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// A resource a container may request.
pub(crate) fn container_resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    resource_name(name, path, errors);
    let fine = if name.contains('/') {
        is_native(name) || is_extended_resource(name)
    } else {
        matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_page(name)
    };
    if fine {
        return;
    }
    let detail = if name.contains('/') {
        "doesn't follow extended resource name standard"
    } else {
        "must be a standard resource for containers"
    };
    errors.push(Error::invalid(path.clone(), name, detail));
}

/// A resource a pod as a whole may request.
pub(super) fn pod_resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
        errors.push(Error::not_supported(path.clone(), name, &["cpu", "hugepages-", "memory"]));
    }
}

/// Names and quantities of a resource list.
pub(crate) fn resource_list(
    list: &Value,
    path: &Path,
    name_rule: fn(&str, &Path, &mut ErrorList),
    errors: &mut ErrorList,
) {
    for (name, value) in list.as_object().into_iter().flatten() {
        let path = path.key(name);
        name_rule(name, &path, errors);
        resource_amount(name, value, &path, errors);
    }
}

/// How much there can be of a resource.
pub(crate) fn resource_amount(name: &str, value: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(quantity) = crate::checks::quantity(value, path, errors) else { return };
    if quantity.is_negative() {
        errors.push(Error::invalid(path.clone(), bare(value).as_ref(), NEGATIVE));
    }
    // What cannot be shared cannot be divided.
    if (WHOLE.contains(&name) || is_extended_resource(name)) && quantity.milli() % 1000 != 0 {
        errors.push(Error::invalid(path.clone(), bare(value).as_ref(), "must be an integer"));
    }
}

/// Limits, requests, and requests against limits.
pub(super) fn validate(
    resources: &Value,
    spec: &Value,
    path: &Path,
    name_rule: fn(&str, &Path, &mut ErrorList),
    errors: &mut ErrorList,
) {
    let (limits, requests) = (resources.at("limits"), resources.at("requests"));
    resource_list(limits, &path.child("limits"), name_rule, errors);
    resource_list(requests, &path.child("requests"), name_rule, errors);
    let parse = |value: &Value| Quantity::parse(&bare(value)).ok();
    for (name, value) in requests.as_object().into_iter().flatten() {
        let Some(request) = parse(value) else { continue };
        let overcommit = is_overcommit_allowed(name);
        match limits.get(name).and_then(parse) {
            Some(limit) if request != limit && !overcommit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(path.child("requests"), request.to_string(), detail));
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(path.child("requests"), request.to_string(), detail));
            }
            None if !overcommit => {
                errors
                    .push(Error::required(path.child("limits"), "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
    }
    let names_used = || limits.as_object().into_iter().chain(requests.as_object()).flat_map(serde_json::Map::keys);
    if names_used().any(|n| is_huge_page(n)) && !names_used().any(|n| matches!(n.as_str(), "cpu" | "memory")) {
        errors.push(Error::forbidden(path.clone(), "HugePages require cpu or memory"));
    }
    claims(resources, spec, &path.child("claims"), errors);
}

fn claims(resources: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    let named = spec.list("resourceClaims").iter().map(|claim| claim.text("name"));
    let known: Vec<&str> = named.filter(|name| !name.is_empty()).collect();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, claim) in resources.list("claims").iter().enumerate() {
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.push(Error::required(path.index(index), ""));
            continue;
        }
        let overlaps = |(n, r): &(&str, &str)| *n == name && (r.is_empty() || request.is_empty() || *r == request);
        if seen.iter().any(overlaps) {
            errors.push(Error::duplicate(path.index(index), name));
        }
        seen.push((name, request));
        if !known.contains(&name) {
            let mut error = Error::not_found(path.index(index), name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if known.is_empty() {
                error.detail.push_str(" which is empty");
            } else {
                error.detail.push_str(": ");
                error.detail.push_str(&known.join(", "));
            }
            errors.push(error);
        }
    }
}
