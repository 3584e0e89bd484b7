//! What CSI drivers tell of themselves: CSIDriver, CSINode, CSIStorageCapacity.
//! Source: <https://kubernetes-csi.github.io/docs/csi-driver-object.html>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Value, json};

use super::persistent_volume::csi_driver_name;
use crate::{
    checks::{
        canonical_quantity, immutable, immutable_fields, label_selector, non_negative, non_negative_quantity,
        one_of_if_there, push_all, required,
    },
    columns::{AGE, Column, NAME, age, name},
    strategy::{Generation, Strategy},
    value::{Look, MapExt, bare, object, semantic_eq},
};

const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;
const MIN_UPDATE_PERIOD_SECONDS: i64 = 10;
const MAX_NODE_ID: usize = 256;

pub(crate) static CSI_DRIVER: Strategy = Strategy {
    generation: Generation::SpecFromZero,
    default: |driver| {
        let spec = object(driver, "spec");
        spec.or_set("attachRequired", true);
        spec.or_set("fsGroupPolicy", "ReadWriteOnceWithFSType");
        for key in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            spec.or_set(key, false);
        }
        if spec.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
        }
    },
    validate: csi_driver,
    validate_update: |new, old, errors| {
        csi_driver(new, errors);
        let (new, old, path) = (new.at("spec"), old.at("spec"), Path::new("spec"));
        immutable(new.at("attachRequired"), old.at("attachRequired"), &path.child("attachedRequired"), errors);
        immutable_fields(new, old, &path, &["volumeLifecycleModes"], errors);
    },
    warn: |new, old, warnings| {
        let spec = new.at("spec");
        let requests = spec.at("tokenRequests");
        let changed = old.is_none_or(|old| !semantic_eq(old.at("spec.tokenRequests"), requests));
        if changed && !spec.list("tokenRequests").is_empty() && !spec.has("serviceAccountTokenInSecrets") {
            warnings.push(TOKENS_IN_SECRETS.to_owned());
        }
    },
    columns: &[
        NAME,
        Column::flag("AttachRequired"),
        Column::flag("PodInfoOnMount"),
        Column::flag("StorageCapacity"),
        Column::text("TokenRequests"),
        Column::flag("RequiresRepublish"),
        Column::text("Modes"),
        AGE,
    ],
    row: csi_driver_row,
    unconditional_update: false,
    ..Strategy::PLAIN
};

fn csi_driver_row(driver: &Value, now: Timestamp) -> Vec<Value> {
    let spec = driver.at("spec");
    let audiences: Vec<&str> = spec.list("tokenRequests").iter().map(|t| t.text("audience")).collect();
    let modes: Vec<&str> = spec.texts("volumeLifecycleModes").collect();
    vec![
        name(driver),
        spec.at("attachRequired").as_bool().unwrap_or(true).into(),
        spec.flag("podInfoOnMount").into(),
        spec.flag("storageCapacity").into(),
        if spec.has("tokenRequests") { audiences.join(",").into() } else { "<unset>".into() },
        spec.flag("requiresRepublish").into(),
        crate::columns::or_none(&modes.join(",")),
        age(driver, now),
    ]
}

const TOKENS_IN_SECRETS: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";

fn csi_driver(driver: &Value, errors: &mut ErrorList) {
    let (spec, path) = (driver.at("spec"), Path::new("spec"));
    for (key, shown) in
        [("attachRequired", "attachedRequired"), ("podInfoOnMount", ""), ("storageCapacity", ""), ("seLinuxMount", "")]
    {
        if !spec.has(key) {
            errors.push(Error::required(path.child(if shown.is_empty() { key } else { shown }), ""));
        }
    }
    one_of_if_there(spec, &path, "fsGroupPolicy", &["File", "None", "ReadWriteOnceWithFSType"], errors);
    token_requests(spec, &path.child("tokenRequests"), errors);
    for mode in spec.texts("volumeLifecycleModes").filter(|mode| !matches!(*mode, "Persistent" | "Ephemeral")) {
        errors.push(Error::not_supported(path.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]));
    }
    let key = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(seconds) = spec.int(key).filter(|seconds| *seconds < MIN_UPDATE_PERIOD_SECONDS) {
        let detail = format!("must be greater than or equal to {MIN_UPDATE_PERIOD_SECONDS} seconds");
        errors.push(Error::invalid(path.child(key), seconds, detail));
    }
    let key = "serviceAccountTokenInSecrets";
    if spec.has(key) && spec.list("tokenRequests").is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(Error::invalid(path.child(key), spec.flag(key), detail));
    }
}

fn token_requests(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for (index, request) in spec.list("tokenRequests").iter().enumerate() {
        let (audience, path) = (request.text("audience"), path.index(index));
        if seen.contains(&audience) {
            errors.push(Error::duplicate(path.child("audience"), audience));
            continue;
        }
        seen.push(audience);
        let Some(seconds) = request.int("expirationSeconds") else { continue };
        let at = path.child("expirationSeconds");
        if seconds < MIN_TOKEN_SECONDS {
            errors.push(Error::invalid(at, seconds, "may not specify a duration less than 10 minutes"));
        } else if seconds > MAX_TOKEN_SECONDS {
            errors.push(Error::invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"));
        }
    }
}

pub(crate) static CSI_NODE: Strategy = Strategy {
    validate: csi_node,
    validate_update: |new, old, errors| {
        csi_node(new, errors);
        let of = |driver: &Value| {
            let mut driver = driver.clone();
            // How many volumes may be attached is what a driver learns.
            if let Some(map) = driver.as_object_mut() {
                map.remove("allocatable");
            }
            driver
        };
        for was in old.list("spec.drivers") {
            let same = |is: &&Value| is.text("name") == was.text("name");
            for is in new.list("spec.drivers").iter().filter(same) {
                immutable(&of(is), &of(was), &Path::new("spec").child("drivers"), errors);
            }
        }
    },
    columns: &[NAME, Column::number("Drivers"), AGE],
    row: |node, now| vec![name(node), node.list("spec.drivers").len().into(), age(node, now)],
    unconditional_update: false,
    ..Strategy::PLAIN
};

fn csi_node(node: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("drivers");
    let mut seen = Vec::new();
    for (index, driver) in node.list("spec.drivers").iter().enumerate() {
        let (name, path) = (driver.text("name"), path.index(index));
        csi_driver_name(name, &path.child("name"), errors);
        let id = driver.text("nodeID");
        required(driver, &path, "nodeID", errors);
        if id.len() > MAX_NODE_ID {
            let detail = format!("must be {MAX_NODE_ID} characters or less");
            errors.push(Error::invalid(path.child("nodeID"), id, detail));
        }
        non_negative(driver.at("allocatable"), &path.child("allocatable"), "count", errors);
        if seen.contains(&name) {
            errors.push(Error::duplicate(path.child("name"), name));
        }
        seen.push(name);
        topology_keys(driver, &path, errors);
    }
}

/// What is wrong with a key is said of its driver.
fn topology_keys(driver: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for key in driver.texts("topologyKeys") {
        if key.is_empty() {
            errors.push(Error::required(path.clone(), ""));
        }
        if seen.contains(&key) {
            errors.push(Error::duplicate(path.clone(), key));
        }
        seen.push(key);
        push_all(names::is_qualified_name(key), key, path, errors);
    }
}

pub(crate) static CSI_STORAGE_CAPACITY: Strategy = Strategy {
    default: |capacity| {
        for key in ["capacity", "maximumVolumeSize"] {
            if let Some(value) = capacity.get_mut(key) {
                canonical_quantity(value);
            }
        }
    },
    validate: csi_capacity,
    validate_update: |new, old, errors| {
        csi_capacity(new, errors);
        immutable_fields(new, old, &Path::root(), &["nodeTopology", "storageClassName"], errors);
    },
    columns: &[NAME, Column::text("StorageClassName"), Column::text("Capacity")],
    row: |capacity, _| {
        let size = capacity.at("capacity");
        let size: Value = if size.is_null() { "<unset>".into() } else { bare(size).as_ref().into() };
        vec![name(capacity), capacity.text("storageClassName").into(), size]
    },
    unconditional_update: false,
    ..Strategy::PLAIN
};

fn csi_capacity(capacity: &Value, errors: &mut ErrorList) {
    label_selector(capacity.at("nodeTopology"), &Path::new("nodeTopology"), errors);
    let class = capacity.text("storageClassName");
    push_all(names::is_dns1123_subdomain(class), class, &Path::new("storageClassName"), errors);
    non_negative_quantity(capacity, &Path::root(), "capacity", errors);
}
