//! Dynamic resource allocation: DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Map, Value};

use crate::{
    checks::{immutable, immutable_fields, one_of_if_set, push_all, required},
    columns::{AGE, Column, NAME, NAME_AGE, age, name, name_age_row},
    strategy::{Field, Generation, StatusMeta, Strategy},
    value::{Look, MapExt, child, dig, members},
};

const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
const MAX_CONFIGS: usize = 32;
const MAX_SELECTORS: usize = 32;
const MAX_RESERVED: usize = 256;
const MAX_DEVICES: usize = 128;
const MAX_DRIVER_NAME: usize = 63;

pub(crate) static DEVICE_CLASS: Strategy = Strategy {
    generation: Generation::Spec,
    validate: |class, errors| {
        let path = Path::new("spec");
        selectors(class.list("spec.selectors"), &path.child("selectors"), errors);
        configs(class.list("spec.config"), &path.child("config"), errors);
    },
    validate_update: |new, _, errors| {
        let path = Path::new("spec");
        selectors(new.list("spec.selectors"), &path.child("selectors"), errors);
        configs(new.list("spec.config"), &path.child("config"), errors);
    },
    columns: NAME_AGE,
    row: name_age_row,
    ..Strategy::PLAIN
};

pub(crate) static CLAIM: Strategy = Strategy {
    status_meta: StatusMeta::Keep,
    default: |claim| {
        if let Some(spec) = dig(claim, "spec").and_then(Value::as_object_mut) {
            default_requests(spec);
        }
    },
    validate: |claim, errors| claim_spec(claim.at("spec"), &Path::new("spec"), errors),
    validate_update: |new, old, errors| immutable(new.at("spec"), old.at("spec"), &Path::new("spec"), errors),
    validate_status_update: claim_status,
    columns: &[NAME, Column::text("State"), AGE],
    row: claim_row,
    ..Strategy::PLAIN
};

pub(crate) static CLAIM_TEMPLATE: Strategy = Strategy {
    default: |template| {
        if let Some(spec) = dig(template, "spec.spec").and_then(Value::as_object_mut) {
            default_requests(spec);
        }
    },
    validate: |template, errors| claim_spec(template.at("spec.spec"), &Path::new("spec").child("spec"), errors),
    validate_update: |new, old, errors| immutable(new.at("spec"), old.at("spec"), &Path::new("spec"), errors),
    columns: NAME_AGE,
    row: name_age_row,
    ..Strategy::PLAIN
};

pub(crate) static SLICE: Strategy = Strategy {
    generation: Generation::Spec,
    validate: slice,
    validate_update: |new, old, errors| {
        slice(new, errors);
        let path = Path::new("spec");
        immutable_fields(new.at("spec"), old.at("spec"), &path, &["driver", "nodeName"], errors);
        immutable(new.at("spec.pool.name"), old.at("spec.pool.name"), &path.child("pool").child("name"), errors);
    },
    columns: &[NAME, Column::text("Node"), Column::text("Driver"), Column::text("Pool"), AGE],
    row: |slice, now| {
        vec![
            name(slice),
            slice.text("spec.nodeName").into(),
            slice.text("spec.driver").into(),
            slice.text("spec.pool.name").into(),
            age(slice, now),
        ]
    },
    fields: &[Field::path("spec.nodeName"), Field::path("spec.driver")],
    ..Strategy::PLAIN
};

/// A request that does not say how many devices wants one.
fn default_requests(spec: &mut Map<String, Value>) {
    let exact = |request: &mut Map<String, Value>| {
        request.or_set("allocationMode", "ExactCount");
        if request.get("allocationMode").and_then(Value::as_str) == Some("ExactCount") {
            request.or_set("count", 1);
        }
    };
    let Some(devices) = spec.get_mut("devices").and_then(Value::as_object_mut) else { return };
    for request in members(devices, "requests") {
        if request.contains_key("exactly") {
            exact(child(request, "exactly"));
        }
        members(request, "firstAvailable").for_each(exact);
    }
}

fn claim_row(claim: &Value, now: Timestamp) -> Vec<Value> {
    let deleting = claim.has("metadata.deletionTimestamp");
    let mut states = Vec::new();
    if deleting {
        states.push("deleted");
    }
    if claim.has("status.allocation") {
        states.push("allocated");
        if !claim.list("status.reservedFor").is_empty() {
            states.push("reserved");
        }
    } else if !deleting {
        states.push("pending");
    }
    vec![name(claim), states.join(",").into(), age(claim, now)]
}

fn too_many(list: &[Value], most: usize, path: &Path, errors: &mut ErrorList) {
    if list.len() > most {
        errors.push(Error::too_many(path.clone(), list.len(), most));
    }
}

fn selectors(list: &[Value], path: &Path, errors: &mut ErrorList) {
    too_many(list, MAX_SELECTORS, path, errors);
    for (index, selector) in list.iter().enumerate() {
        let path = path.index(index);
        if selector.has("cel") {
            required(selector.at("cel"), &path.child("cel"), "expression", errors);
        } else {
            errors.push(Error::required(path.child("cel"), ""));
        }
    }
}

fn configs(list: &[Value], path: &Path, errors: &mut ErrorList) {
    too_many(list, MAX_CONFIGS, path, errors);
    for (index, config) in list.iter().enumerate() {
        let path = path.index(index).child("opaque");
        if config.has("opaque") {
            driver(config.text("opaque.driver"), &path.child("driver"), errors);
            required(config.at("opaque"), &path, "parameters", errors);
        } else {
            errors.push(Error::required(path, ""));
        }
    }
}

fn driver(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        return errors.push(Error::required(path.clone(), ""));
    }
    if name.len() > MAX_DRIVER_NAME {
        errors.push(Error::too_long(path.clone(), MAX_DRIVER_NAME));
    }
    push_all(names::is_dns1123_subdomain(name), name, path, errors);
}

fn claim_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (devices, path) = (spec.at("devices"), path.child("devices"));
    let (requests, at) = (devices.list("requests"), path.child("requests"));
    too_many(requests, MAX_REQUESTS, &at, errors);
    let mut seen = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let (name, path) = (request.text("name"), at.index(index));
        if required(request, &path, "name", errors) {
            push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
            if seen.contains(&name) {
                errors.push(Error::duplicate(path.child("name"), name));
            }
            seen.push(name);
        }
        let (exactly, first) = (request.at("exactly"), request.list("firstAvailable"));
        match (exactly.is_object(), first.is_empty()) {
            (true, true) => self::request(exactly, &path.child("exactly"), errors),
            (false, false) => {
                for (index, request) in first.iter().enumerate() {
                    self::request(request, &path.child("firstAvailable").index(index), errors);
                }
            }
            (true, false) => errors.push(Error::invalid(
                path,
                "",
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            )),
            (false, true) => {
                errors.push(Error::required(path, "exactly one of `exactly` or `firstAvailable` is required"))
            }
        }
    }
    too_many(devices.list("constraints"), MAX_CONSTRAINTS, &path.child("constraints"), errors);
    configs(devices.list("config"), &path.child("config"), errors);
}

fn request(request: &Value, path: &Path, errors: &mut ErrorList) {
    let class = request.text("deviceClassName");
    if required(request, path, "deviceClassName", errors) {
        push_all(names::is_dns1123_subdomain(class), class, &path.child("deviceClassName"), errors);
    }
    selectors(request.list("selectors"), &path.child("selectors"), errors);
    one_of_if_set(request, path, "allocationMode", &["All", "ExactCount"], errors);
    let count = request.int("count").unwrap_or_default();
    match request.text("allocationMode") {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(Error::invalid(path.child("count"), count, detail));
        }
        "ExactCount" if count <= 0 => {
            errors.push(Error::invalid(path.child("count"), count, "must be greater than zero"));
        }
        _ => {}
    }
}

fn claim_status(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (status, path) = (new.at("status"), Path::new("status"));
    let reserved = status.list("reservedFor");
    too_many(reserved, MAX_RESERVED, &path.child("reservedFor"), errors);
    for (index, consumer) in reserved.iter().enumerate() {
        let path = path.child("reservedFor").index(index);
        for key in ["resource", "name", "uid"] {
            required(consumer, &path, key, errors);
        }
    }
    if !reserved.is_empty() && !status.has("allocation") {
        errors.push(Error::forbidden(path.child("reservedFor"), "may not be specified when `allocated` is not set"));
    }
    if old.has("status.allocation") && status.has("allocation") {
        immutable(status.at("allocation"), old.at("status.allocation"), &path.child("allocation"), errors);
    }
    if !old.list("status.reservedFor").is_empty() && !status.has("allocation") {
        let detail = "deallocation not allowed while a claim is reserved";
        errors.push(Error::forbidden(path.child("allocation"), detail));
    }
}

fn slice(slice: &Value, errors: &mut ErrorList) {
    let (spec, path) = (slice.at("spec"), Path::new("spec"));
    driver(spec.text("driver"), &path.child("driver"), errors);
    required(spec.at("pool"), &path.child("pool"), "name", errors);
    let selected =
        [spec.has("nodeName"), spec.has("nodeSelector"), spec.flag("allNodes"), spec.flag("perDeviceNodeSelection")];
    let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match selected.iter().filter(|set| **set).count() {
        0 => errors.push(Error::required(path.clone(), detail)),
        1 => {}
        _ => errors.push(Error::invalid(path.clone(), "", format!("{detail}, but multiple fields are set"))),
    }
    let devices = spec.list("devices");
    too_many(devices, MAX_DEVICES, &path.child("devices"), errors);
    let mut seen = Vec::new();
    for (index, device) in devices.iter().enumerate() {
        let (name, path) = (device.text("name"), path.child("devices").index(index));
        if required(device, &path, "name", errors) {
            push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
        }
        if seen.contains(&name) {
            errors.push(Error::duplicate(path.child("name"), name));
        }
        seen.push(name);
    }
}
