//! Validation of claims: which devices are asked for, and which were given.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::device::{
    at_most, configs, each, each_unique, fully_qualified_name, parameters, pool_name, selectors, toleration, unique,
};
use crate::{
    checks::{conditions, immutable, one_of_always, push_all, required, required_name},
    kinds::{persistent_volume::csi_driver_name, pod},
    value::Look,
};

const MAX_REQUESTS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_CONSTRAINTS: usize = 32;
const MAX_CONFIGS: usize = 32;
const MAX_RESERVED: usize = 256;
const MAX_RESULTS: usize = 32;
const MAX_DEVICE_CONDITIONS: usize = 8;
const MAX_INTERFACE_NAME: usize = 256;
const MAX_HARDWARE_ADDRESS: usize = 128;
const MAX_IPS: usize = 16;
const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
const NO_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

pub(super) fn spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (devices, path) = (spec.at("devices"), path.child("devices"));
    each_unique(devices.list("requests"), MAX_REQUESTS, "name", &path.child("requests"), errors, request);
    let at = path.child("constraints");
    each(devices.list("constraints"), MAX_CONSTRAINTS, &at, errors, |one, path, errors| {
        constraint(one, devices, path, errors);
    });
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
            each_unique(first, MAX_ALTERNATIVES, "name", &path, errors, |request, path, errors| {
                let name = request.text("name");
                push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
                devices(request, path, errors);
            });
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
    each_unique(reserved, MAX_RESERVED, "uid", &at, errors, |consumer, path, errors| {
        for key in ["resource", "name", "uid"] {
            required(consumer, path, key, errors);
        }
    });
    let allocation = status.at("allocation");
    let (devices, at_devices) = (status.list("devices"), path.child("devices"));
    let key = |device: &Value| ["driver", "pool", "device", "shareID"].map(|key| device.text(key).to_owned());
    let given: Vec<_> = allocation.list("devices.results").iter().map(key).collect();
    for (index, device) in devices.iter().enumerate() {
        let (path, this) = (at_devices.index(index), key(device));
        device_status(device, given.contains(&this), &path, errors);
        if devices[..index].iter().any(|other| key(other) == this) {
            errors.push(Error::duplicate(path, this.join("/")));
        }
    }
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

/// What a driver tells of a device that it gave.
fn device_status(device: &Value, given: bool, path: &Path, errors: &mut ErrorList) {
    named_device(device, path, errors);
    if !given {
        errors.push(Error::invalid(path.clone(), device.clone(), "must be an allocated device in the claim"));
    }
    let (list, at) = (device.list("conditions"), path.child("conditions"));
    if at_most(list, MAX_DEVICE_CONDITIONS, &at, errors) {
        conditions(list, &at, errors);
    }
    if device.has("data") {
        parameters(device.at("data"), &path.child("data"), errors);
    }
    let (network, at) = (device.at("networkData"), path.child("networkData"));
    for (key, most) in [("interfaceName", MAX_INTERFACE_NAME), ("hardwareAddress", MAX_HARDWARE_ADDRESS)] {
        if network.text(key).len() > most {
            errors.push(Error::too_long(at.child(key), most));
        }
    }
    let (ips, at) = (network.list("ips"), at.child("ips"));
    if at_most(ips, MAX_IPS, &at, errors) {
        for (index, ip) in network.texts("ips").enumerate() {
            interface_address(ip, &at.index(index), errors);
        }
        unique(network.texts("ips"), &at, errors);
    }
}

/// `10.9.8.7/24`, written as it is always written.
fn interface_address(text: &str, path: &Path, errors: &mut ErrorList) {
    match names::parse_cidr(text) {
        None => {
            let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            errors.push(Error::invalid(path.clone(), text, detail));
        }
        Some((ip, bits)) if format!("{ip}/{bits}") != text => {
            let detail = format!("must be in canonical form (\"{ip}/{bits}\")");
            errors.push(Error::invalid(path.clone(), text, detail));
        }
        Some(_) => {}
    }
}

/// A device of a driver's pool.
fn named_device(of: &Value, path: &Path, errors: &mut ErrorList) {
    csi_driver_name(of.text("driver"), &path.child("driver"), errors);
    pool_name(of.text("pool"), &path.child("pool"), errors);
    let device = of.text("device");
    push_all(names::is_dns1123_label(device), device, &path.child("device"), errors);
}

fn allocation(allocation: &Value, devices: &Value, path: &Path, errors: &mut ErrorList) {
    let (given, at) = (allocation.at("devices"), path.child("devices"));
    each(given.list("results"), MAX_RESULTS, &at.child("results"), errors, |result, path, errors| {
        request_name(result.text("request"), devices, &path.child("request"), errors);
        named_device(result, path, errors);
    });
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
