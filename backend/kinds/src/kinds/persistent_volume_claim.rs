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
    checks::{canonical_quantities, immutable, label_selector, one_of_if_there, push_all},
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
    // A client that knows only the old name must not lose the new one.
    if !new.has("spec.dataSourceRef") && old.has("spec.dataSourceRef") {
        object(new, "spec").keep(old.at("spec"), "dataSourceRef");
    }
    let spec = object_value(new);
    if !old.has("spec.dataSource") && !old.has("spec.dataSourceRef") {
        drop_unknown_source(spec);
    }
    data_source(spec);
}

pub(super) fn validate_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    access_modes(spec, path, "at least 1 access mode is required", errors);
    label_selector(spec.at("selector"), &path.child("selector"), errors);
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
        source(spec.at(key), &path.child(key), errors);
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
pub(super) fn access_modes(spec: &Value, path: &Path, none: &str, errors: &mut ErrorList) {
    let (modes, path): (Vec<&str>, _) = (spec.texts("accessModes").collect(), path.child("accessModes"));
    if modes.is_empty() {
        errors.push(Error::required(path.clone(), none));
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(Error::not_supported(path.clone(), *mode, ACCESS_MODES));
    }
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(|m| *m != "ReadWriteOncePod" && ACCESS_MODES.contains(m))
    {
        errors.push(Error::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn source(source: &Value, path: &Path, errors: &mut ErrorList) {
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
    } else {
        push_all(names::is_dns1123_subdomain(group), group, &path.child("apiGroup"), errors);
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    validate_spec(new.at("spec"), &path, errors);
    let (mut masked, before) = (new.at("spec").clone(), old.at("spec"));
    if before.text("volumeName").is_empty() {
        masked.keep(before, "volumeName");
    }
    // A class may be given to a claim that never had one.
    if !before.has("storageClassName") {
        let annotation = old.at("metadata.annotations").get(CLASS_ANNOTATION).and_then(Value::as_str);
        if annotation.is_none_or(|class| class == masked.text("storageClassName")) {
            masked.keep(before, "storageClassName");
        }
    }
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
