//! Dynamic resource allocation: DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/>

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

use crate::{
    checks::{IMMUTABLE, immutable},
    columns::{AGE, Column, NAME, NAME_AGE, age, name, name_age_row},
    meta::{validate_annotations, validate_labels},
    strategy::{Field, Generation, StatusMeta, Strategy, subdomain_name_in_bytes},
    value::{Look, MapExt, child, dig, items, members, semantic_eq},
};

mod claim;
mod device;
mod slice;

pub(crate) static DEVICE_CLASS: Strategy = Strategy {
    name: subdomain_name_in_bytes,
    generation: Generation::Spec,
    validate: |class, errors| class_spec(class, None, errors),
    validate_update: |new, old, errors| class_spec(new, Some(old), errors),
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
        items(claim, "status.allocation.devices.results").for_each(default_tolerations);
    },
    validate: |claim, errors| claim::spec(claim.at("spec"), &Path::new("spec"), errors),
    validate_update: |new, old, errors| same_spec(new, old, errors),
    validate_status_update: claim::status,
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
    validate: template,
    validate_update: |new, old, errors| {
        template(new, errors);
        same_spec(new, old, errors);
    },
    columns: NAME_AGE,
    row: name_age_row,
    ..Strategy::PLAIN
};

fn template(template: &Value, errors: &mut ErrorList) {
    let (spec, path) = (template.at("spec"), Path::new("spec"));
    let at = path.child("metadata");
    validate_annotations(spec.at("metadata.annotations"), &at.child("annotations"), errors);
    validate_labels(spec.at("metadata.labels"), &at.child("labels"), errors);
    claim::spec(spec.at("spec"), &path.child("spec"), errors);
}

pub(crate) static SLICE: Strategy = Strategy {
    generation: Generation::Spec,
    validate: |new, errors| slice::spec(new, None, errors),
    validate_update: |new, old, errors| slice::spec(new, Some(old), errors),
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

/// A spec that may not change. Parameters of drivers are what they are, to the last null.
fn same_spec(new: &Value, old: &Value, errors: &mut ErrorList) {
    let parameters = |of: &Value| -> Vec<Value> {
        let claim = if of.has("spec.spec") { of.at("spec.spec") } else { of.at("spec") };
        claim.list("devices.config").iter().map(|config| config.at("opaque.parameters").clone()).collect()
    };
    let path = Path::new("spec");
    if semantic_eq(new.at("spec"), old.at("spec")) && parameters(new) != parameters(old) {
        errors.push(Error::invalid(path, new.at("spec").clone(), IMMUTABLE));
    } else {
        immutable(new.at("spec"), old.at("spec"), &path, errors);
    }
}

fn default_tolerations(of: &mut Map<String, Value>) {
    members(of, "tolerations").for_each(|toleration| toleration.or_set("operator", "Equal"));
}

/// A request that does not say how many devices wants one.
fn default_requests(spec: &mut Map<String, Value>) {
    let exact = |request: &mut Map<String, Value>| {
        default_tolerations(request);
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

fn class_spec(class: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let (spec, path) = (class.at("spec"), Path::new("spec"));
    let before = old.map(|old| old.list("spec.selectors"));
    device::selectors(spec.list("selectors"), before, &path.child("selectors"), errors);
    device::class_configs(spec.list("config"), &path.child("config"), errors);
    if let Some(name) = spec.at("extendedResourceName").as_str()
        && !super::pod::is_extended_resource(name)
    {
        let at = path.child("extendedResourceName");
        errors.push(Error::invalid(at, name, "must be a valid extended resource name"));
    }
}
