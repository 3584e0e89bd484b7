//! Validation of claims: which devices are asked for, and which were given.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::device::{at_most, configs, fully_qualified_name, pool_name, selectors, toleration, unique};
use crate::{
    checks::{immutable, one_of_always, push_all, required, required_name},
    kinds::{persistent_volume::csi_driver_name, pod},
    value::Look,
};

const MAX_REQUESTS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_CONSTRAINTS: usize = 32;
const MAX_CONFIGS: usize = 32;
const MAX_RESERVED: usize = 256;
const MAX_RESULTS: usize = 32;
const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
const NO_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

pub(super) fn spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (devices, path) = (spec.at("devices"), path.child("devices"));
    let (requests, at) = (devices.list("requests"), path.child("requests"));
    if at_most(requests, MAX_REQUESTS, &at, errors) {
        for (index, request) in requests.iter().enumerate() {
            self::request(request, &at.index(index), errors);
        }
        unique(requests.iter().map(|request| request.text("name")), &at, errors);
    }
    let (constraints, at) = (devices.list("constraints"), path.child("constraints"));
    if at_most(constraints, MAX_CONSTRAINTS, &at, errors) {
        for (index, constraint) in constraints.iter().enumerate() {
            self::constraint(constraint, devices, &at.index(index), errors);
        }
    }
    let of_requests = |config: &Value, path: &Path, errors: &mut ErrorList| {
        request_names(config, devices, &path.child("requests"), errors);
    };
    configs(devices.list("config"), MAX_CONFIGS, &path.child("config"), errors, of_requests);
}

fn request(request: &Value, path: &Path, errors: &mut ErrorList) {
    let name = request.text("name");
    push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
    let (exactly, first) = (request.at("exactly"), request.list("firstAvailable"));
    match (exactly.is_object(), first.is_empty()) {
        (true, true) => devices(exactly, &path.child("exactly"), errors),
        (false, false) => {
            let path = path.child("firstAvailable");
            if !at_most(first, MAX_ALTERNATIVES, &path, errors) {
                return;
            }
            for (index, request) in first.iter().enumerate() {
                let (name, path) = (request.text("name"), path.index(index));
                push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
                devices(request, &path, errors);
            }
            unique(first.iter().map(|request| request.text("name")), &path, errors);
        }
        (true, false) => {
            let detail = format!("{ONE}, but multiple fields are set");
            errors.push(Error::invalid(path.clone(), Value::Null, detail));
        }
        (false, true) => errors.push(Error::required(path.clone(), ONE)),
    }
}

/// Which devices, and how many.
fn devices(request: &Value, path: &Path, errors: &mut ErrorList) {
    required_name(request, path, "deviceClassName", names::is_dns1123_subdomain, errors);
    selectors(request.list("selectors"), None, &path.child("selectors"), errors);
    let count = request.int("count").unwrap_or_default();
    match request.text("allocationMode") {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(Error::invalid(path.child("count"), count, detail));
        }
        "ExactCount" if count <= 0 => {
            errors.push(Error::invalid(path.child("count"), count, "must be greater than zero"));
        }
        _ => one_of_always(request, path, "allocationMode", &["All", "ExactCount"], errors),
    }
    for (index, one) in request.list("tolerations").iter().enumerate() {
        toleration(one, &path.child("tolerations").index(index), errors);
    }
}

fn constraint(constraint: &Value, devices: &Value, path: &Path, errors: &mut ErrorList) {
    request_names(constraint, devices, &path.child("requests"), errors);
    match constraint.at("matchAttribute").as_str() {
        Some(attribute) => fully_qualified_name(attribute, &path.child("matchAttribute"), errors),
        None => match constraint.at("distinctAttribute").as_str() {
            Some(attribute) => fully_qualified_name(attribute, &path.child("distinctAttribute"), errors),
            None => {
                let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
                errors.push(Error::required(path.clone(), detail));
            }
        },
    }
}

fn request_names(of: &Value, devices: &Value, path: &Path, errors: &mut ErrorList) {
    let list = of.list("requests");
    if !at_most(list, MAX_REQUESTS, path, errors) {
        return;
    }
    for (index, name) in of.texts("requests").enumerate() {
        request_name(name, devices, &path.index(index), errors);
    }
    unique(of.texts("requests"), path, errors);
}

/// The name of a request of the claim, or of one of a request's alternatives.
fn request_name(name: &str, devices: &Value, path: &Path, errors: &mut ErrorList) {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 {
        return errors.push(Error::invalid(path.clone(), name, NO_REQUEST));
    }
    for part in &parts {
        push_all(names::is_dns1123_label(part), part, path, errors);
    }
    let known =
        devices.list("requests").iter().rfind(|request| request.text("name") == parts[0]).is_some_and(|request| {
            parts.get(1).is_none_or(|part| request.list("firstAvailable").iter().any(|r| r.text("name") == *part))
        });
    if !known {
        errors.push(Error::invalid(path.clone(), name, NO_REQUEST));
    }
}

pub(super) fn status(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (status, path) = (new.at("status"), Path::new("status"));
    let (reserved, at) = (status.list("reservedFor"), path.child("reservedFor"));
    if at_most(reserved, MAX_RESERVED, &at, errors) {
        for (index, consumer) in reserved.iter().enumerate() {
            for key in ["resource", "name", "uid"] {
                required(consumer, &at.index(index), key, errors);
            }
        }
        unique(reserved.iter().map(|consumer| consumer.text("uid")), &at, errors);
    }
    let allocation = status.at("allocation");
    if !reserved.is_empty() && allocation.is_null() {
        errors.push(Error::forbidden(at, "may not be specified when `allocated` is not set"));
    } else if new.has("metadata.deletionTimestamp")
        && reserved.iter().any(|consumer| !old.list("status.reservedFor").contains(consumer))
    {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(Error::forbidden(at, detail));
    }
    match (old.at("status.allocation"), allocation) {
        (_, Value::Null) => {}
        (Value::Null, _) => self::allocation(allocation, new.at("spec.devices"), &path.child("allocation"), errors),
        (before, _) => immutable(allocation, before, &path.child("allocation"), errors),
    }
}

fn allocation(allocation: &Value, devices: &Value, path: &Path, errors: &mut ErrorList) {
    let (given, at) = (allocation.at("devices"), path.child("devices"));
    let (results, at_results) = (given.list("results"), at.child("results"));
    if at_most(results, MAX_RESULTS, &at_results, errors) {
        for (index, result) in results.iter().enumerate() {
            let path = at_results.index(index);
            request_name(result.text("request"), devices, &path.child("request"), errors);
            csi_driver_name(result.text("driver"), &path.child("driver"), errors);
            pool_name(result.text("pool"), &path.child("pool"), errors);
            let device = result.text("device");
            push_all(names::is_dns1123_label(device), device, &path.child("device"), errors);
        }
    }
    // Those of the classes and those of the claim.
    configs(given.list("config"), 2 * MAX_CONFIGS, &at.child("config"), errors, |config, path, errors| {
        match config.text("source") {
            "" => errors.push(Error::required(path.child("source"), "")),
            "FromClaim" | "FromClass" => {}
            other => errors.push(Error::not_supported(path.child("source"), other, &["FromClaim", "FromClass"])),
        }
        request_names(config, devices, &path.child("requests"), errors);
    });
    if allocation.has("nodeSelector") {
        pod::node_selector(allocation.at("nodeSelector"), &path.child("nodeSelector"), errors);
    }
}
