//! PersistentVolumeClaim. Source: <https://kubernetes.io/docs/concepts/storage/persistent-volumes/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::{persistent_volume::access_modes_text, pod};
use crate::{
    checks::{IMMUTABLE, canonical_quantities, immutable, label_selector, one_of_if_there, push_all},
    columns::{AGE, Column, NAME, age, name},
    strategy::Strategy,
    value::{Look, MapExt, bare, dig, object, semantic_eq},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    default,
    prepare_create: |claim| {
        object(claim, "status").or_set("phase", "Pending");
        let spec = object_value(claim);
        drop_unknown_source(spec);
        data_source(spec);
    },
    prepare_update,
    validate: |claim, errors| validate_spec(claim.at("spec"), &Path::new("spec"), errors),
    validate_update,
    validate_status_update: |new, _, errors| status(new, errors),
    warn: |claim, _, warnings| {
        if !claim.at("metadata.annotations")[CLASS_ANNOTATION].is_null() {
            let path = Path::new("metadata").child("annotations").key(CLASS_ANNOTATION);
            warnings.push(format!("{path}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
        }
        crate::warnings::claim(claim.at("spec"), &Path::new("spec"), warnings);
    },
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

const RESIZES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub(super) const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// Where the class was named before there was a field for it.
pub(super) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const FROZEN: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Status"),
    Column::text("Volume"),
    Column::text("Capacity"),
    Column::text("Access Modes"),
    Column::text("StorageClass"),
    Column::text("VolumeAttributesClass"),
    AGE,
    Column::wide("VolumeMode"),
];

fn row(claim: &Value, now: Timestamp) -> Vec<Value> {
    let phase = if claim.has("metadata.deletionTimestamp") { "Terminating" } else { claim.text("status.phase") };
    let volume = claim.text("spec.volumeName");
    let (mut capacity, mut modes) = (String::new(), String::new());
    if !volume.is_empty() {
        let storage = claim.at("status.capacity.storage");
        capacity = if storage.is_null() { "0".to_owned() } else { bare(storage).into_owned() };
        modes = access_modes_text(claim.at("status.accessModes"));
    }
    vec![
        name(claim),
        phase.into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(claim).into(),
        claim.at("spec.volumeAttributesClassName").as_str().unwrap_or("<unset>").into(),
        age(claim, now),
        claim.at("spec.volumeMode").as_str().unwrap_or("<unset>").into(),
    ]
}

pub(super) fn class(object: &Value) -> &str {
    let annotation = object.at("metadata.annotations").get(CLASS_ANNOTATION).and_then(Value::as_str);
    annotation.unwrap_or_else(|| object.text("spec.storageClassName"))
}

pub(super) fn default(claim: &mut Value) {
    object(claim, "status").or_set("phase", "Pending");
    default_spec(object_value(claim));
    canonical_quantities(dig(claim, "status.capacity"));
}

fn object_value(claim: &mut Value) -> &mut Value {
    object(claim, "spec");
    &mut claim["spec"]
}

pub(super) fn default_spec(spec: &mut Value) {
    spec.or_set("volumeMode", "Filesystem");
    if let Some(resources) = dig(spec, "resources") {
        pod::default::canonical_resources(resources);
    }
}

/// What cannot be named by the old name is not taken from it, silently.
fn drop_unknown_source(spec: &mut Value) {
    let known = match (spec.text("dataSource.apiGroup"), spec.text("dataSource.kind")) {
        ("", kind) => kind == "PersistentVolumeClaim",
        (group, kind) => group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot",
    };
    if !known && !spec.at("dataSourceRef").is_object() {
        spec.as_object_mut().and_then(|spec| spec.remove("dataSource"));
    }
}

/// The old and the new name of what a volume starts from say the same, for sources in the claim's own namespace.
fn data_source(spec: &mut Value) {
    let (old, new) = (spec.at("dataSource").clone(), spec.at("dataSourceRef").clone());
    if old.is_object() && new.is_null() {
        spec.or_set("dataSourceRef", old);
    } else if old.is_null() && new.is_object() && new.text("namespace").is_empty() {
        let group = new.text("apiGroup");
        if (group.is_empty() && new.text("kind") == "PersistentVolumeClaim") || group == "snapshot.storage.k8s.io" {
            spec.or_set("dataSource", new);
        }
    }
}

fn prepare_update(new: &mut Value, old: &Value) {
    let spec = object_value(new);
    if !old.has("spec.dataSource") && !old.has("spec.dataSourceRef") {
        drop_unknown_source(spec);
    }
    data_source(spec);
}

pub(super) fn validate_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    validate_parts(spec, path, false, errors);
}

/// `any_group`: the group of a source need be no name, for there was one before that was not looked at.
fn validate_parts(spec: &Value, path: &Path, any_group: bool, errors: &mut ErrorList) {
    if spec.list("accessModes").is_empty() {
        errors.push(Error::required(path.child("accessModes"), "at least 1 access mode is required"));
    }
    label_selector(spec.at("selector"), &path.child("selector"), errors);
    known_access_modes(spec, path, errors);
    let at = path.child("resources").key("storage");
    match spec.at("resources.requests").get("storage") {
        None => errors.push(Error::required(at, "")),
        Some(value) => match Quantity::parse(&bare(value)) {
            Ok(size) if size.is_zero() || size.is_negative() => {
                errors.push(Error::invalid(at, bare(value).as_ref(), "must be greater than zero"));
            }
            Ok(_) => {}
            Err(wrong) => errors.push(Error::invalid(at, bare(value).as_ref(), wrong)),
        },
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        let class = spec.text(key);
        if !class.is_empty() {
            push_all(names::is_dns1123_subdomain(class), class, &path.child(key), errors);
        }
    }
    one_of_if_there(spec, path, "volumeMode", &["Block", "Filesystem"], errors);
    for key in ["dataSource", "dataSourceRef"] {
        source(spec.at(key), &path.child(key), any_group, errors);
    }
    let (old, new) = (spec.at("dataSource"), spec.at("dataSourceRef"));
    if old.is_object() && new.is_object() {
        let path = path.clone();
        if !new.text("namespace").is_empty() {
            let detail = "may not be specified when dataSourceRef.namespace is specified";
            errors.push(Error::invalid(path, "spec.dataSource", detail));
        } else if ["apiGroup", "kind", "name"].iter().any(|key| old.text(key) != new.text(key)) {
            errors.push(Error::invalid(path, "spec.dataSource", "must match dataSourceRef"));
        }
    }
}

/// At least one mode, all known; the one that is for a single pod stands alone.
pub(super) fn access_modes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if spec.list("accessModes").is_empty() {
        errors.push(Error::required(path.child("accessModes"), ""));
    }
    known_access_modes(spec, path, errors);
}

fn known_access_modes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (modes, path): (Vec<&str>, _) = (spec.texts("accessModes").collect(), path.child("accessModes"));
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(Error::not_supported(path.clone(), *mode, ACCESS_MODES));
    }
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(|m| *m != "ReadWriteOncePod" && ACCESS_MODES.contains(m))
    {
        errors.push(Error::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn source(source: &Value, path: &Path, any_group: bool, errors: &mut ErrorList) {
    if !source.is_object() {
        return;
    }
    for key in ["name", "kind"] {
        crate::checks::required(source, path, key, errors);
    }
    let group = source.text("apiGroup");
    if group.is_empty() {
        if source.text("kind") != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(Error::invalid(path.clone(), source.text("kind"), detail));
        }
    } else if !any_group {
        push_all(names::is_dns1123_subdomain(group), group, &path.child("apiGroup"), errors);
    }
}

fn status(claim: &Value, errors: &mut ErrorList) {
    let (status, path) = (claim.at("status"), Path::new("status"));
    let negative = |value: &Value| Quantity::parse(&bare(value)).is_ok_and(|quantity| quantity.is_negative());
    // Shown as a number, as upstream shows it.
    let basic = |value: &Value, at: Path| {
        let number = Quantity::parse(&bare(value)).map_or(0, |quantity| quantity.value());
        Error::invalid(at, i64::try_from(number).unwrap_or(i64::MIN), "must be a valid resource quantity")
    };
    let at = path.child("capacity");
    for (key, value) in status.entries("capacity").filter(|(_, value)| negative(value)) {
        errors.push(basic(value, at.key(key)));
    }
    let at = path.child("allocatedResourceStatuses");
    for (key, state) in status.entries("allocatedResourceStatuses") {
        resource_key(key, &at, errors);
        if !state.as_str().is_some_and(|state| RESIZES.contains(&state)) {
            errors.push(Error::not_supported(at.clone(), key, RESIZES));
        }
    }
    let at = path.child("allocatedResources");
    for (key, value) in status.entries("allocatedResources") {
        if resource_key(key, &at, errors) && negative(value) {
            errors.push(basic(value, at.key(key)));
        }
    }
}

/// Of what Kubernetes itself knows, a claim has storage only.
fn resource_key(key: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let (wrong, before) = (names::is_qualified_name(key), errors.len());
    if wrong.is_empty() && (!key.contains('/') || key.contains("kubernetes.io/")) && key != "storage" {
        errors.push(Error::not_supported(path.clone(), key, &["storage"]));
    }
    push_all(wrong, key, path, errors);
    errors.len() == before
}

/// The class may move from the annotation of old to its field, and be given to a claim that never had one.
fn storage_class(new: &Value, old: &Value, masked: &mut Value, errors: &mut ErrorList) {
    let annotation = |claim: &Value| claim.at("metadata.annotations").get(CLASS_ANNOTATION).cloned();
    let (have, had) = (annotation(new), annotation(old));
    let (class, before) = (new.at("spec.storageClassName"), old.at("spec"));
    let without = !before.has("storageClassName");
    if without && had.is_some() && had.as_ref() == Some(class) && (have.is_none() || have == had) {
        return masked.keep(before, "storageClassName");
    }
    let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    if text(&have) != text(&had) {
        let path = Path::new("metadata").child("annotations").key(CLASS_ANNOTATION);
        errors.push(Error::invalid(path, text(&have), IMMUTABLE));
    }
    if without && had.is_none() {
        masked.keep(before, "storageClassName");
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let (mut masked, before) = (new.at("spec").clone(), old.at("spec"));
    let any_group = before.has("dataSource.apiGroup") || before.has("dataSourceRef.apiGroup");
    validate_parts(new.at("spec"), &path, any_group, errors);
    if before.text("volumeName").is_empty() {
        masked.keep(before, "volumeName");
    }
    storage_class(new, old, &mut masked, errors);
    if new.text("status.phase") == "Bound" {
        if let Some(requests) = dig(&mut masked, "resources.requests") {
            requests.keep(before.at("resources.requests"), "storage");
        }
        masked.keep(before, "volumeAttributesClassName");
    }
    if !semantic_eq(&masked, before) {
        errors.push(Error::forbidden(path.clone(), FROZEN));
    }
    let size = |claim: &Value, at: &str| Quantity::parse(&bare(claim.at(at))).unwrap_or_default();
    let (asked, had) = (size(new, "spec.resources.requests.storage"), size(old, "spec.resources.requests.storage"));
    if asked < had && asked <= size(old, "status.capacity.storage") {
        let at = path.child("resources").child("requests").child("storage");
        errors.push(Error::forbidden(at, "field can not be less than status.capacity"));
    }
    immutable(new.at("spec.volumeMode"), before.at("volumeMode"), &Path::new("volumeMode"), errors);
}
