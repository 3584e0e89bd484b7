//! PersistentVolume. Source: <https://kubernetes.io/docs/concepts/storage/persistent-volumes/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::{persistent_volume_claim as claim, pod};
use crate::{
    checks::{canonical_quantities, immutable, one_of_if_set, one_of_if_there, push_all, quantity, required_name},
    columns::{AGE, Column, NAME, age, name},
    strategy::Strategy,
    value::{Look, MapExt, bare, dig, now, object, semantic_eq},
    warnings::node_selector_term,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    default: |volume| {
        object(volume, "status").or_set("phase", "Pending");
        let spec = object(volume, "spec");
        spec.or_set("persistentVolumeReclaimPolicy", "Retain");
        spec.or_set("volumeMode", "Filesystem");
        pod::default::volume_source(spec);
        canonical_quantities(spec.get_mut("capacity"));
    },
    prepare_create: |volume| {
        let now = volume.at("metadata.creationTimestamp").clone();
        let status = object(volume, "status");
        status.or_set("phase", "Pending");
        status.insert("lastPhaseTransitionTime".into(), now);
    },
    prepare_status_update: |new, old| {
        let at = "status.lastPhaseTransitionTime";
        let moved = new.text("status.phase") != old.text("status.phase");
        if moved && (!new.has(at) || new.at(at) == old.at(at)) {
            object(new, "status").insert("lastPhaseTransitionTime".into(), now().into());
        }
    },
    validate,
    validate_update,
    warn,
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

/// The kinds of volumes that can be persistent.
const SOURCES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Sources that are no more: field, upstream's spelling in the path, since when.
const OLD_SOURCES: &[(&str, &str, &str)] = &[
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn warn(volume: &Value, _: Option<&Value>, warnings: &mut Vec<String>) {
    let annotations = Path::new("metadata").child("annotations");
    for (key, why) in [
        (claim::CLASS_ANNOTATION, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        ("volume.beta.kubernetes.io/mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ] {
        if !volume.at("metadata.annotations")[key].is_null() {
            warnings.push(format!("{}: {why}", annotations.key(key)));
        }
    }
    let (spec, path) = (volume.at("spec"), Path::new("spec"));
    if spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let path = path.child("persistentVolumeReclaimPolicy");
        warnings.push(format!(
            "{path}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."
        ));
    }
    let terms = path.child("nodeAffinity").child("required").child("nodeSelectorTerms");
    for (index, term) in spec.list("nodeAffinity.required.nodeSelectorTerms").iter().enumerate() {
        node_selector_term(term, &terms.index(index), warnings);
    }
    for (source, shown, why) in OLD_SOURCES {
        if spec.has(source) {
            warnings.push(format!("{}: {why}", path.child(shown)));
        }
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Capacity"),
    Column::text("Access Modes"),
    Column::text("Reclaim Policy"),
    Column::text("Status"),
    Column::text("Claim"),
    Column::text("StorageClass"),
    Column::text("VolumeAttributesClass"),
    Column::text("Reason"),
    AGE,
    Column::wide("VolumeMode"),
];

/// `RWO,ROX`: access modes in short.
pub(super) fn access_modes_text(modes: &Value) -> String {
    let have: Vec<&str> = modes.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let order =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let short: Vec<&str> = order.iter().filter(|(mode, _)| have.contains(mode)).map(|(_, short)| *short).collect();
    short.join(",")
}

fn row(volume: &Value, now: Timestamp) -> Vec<Value> {
    let reference = volume.at("spec.claimRef");
    let claimed = if reference.is_object() {
        format!("{}/{}", reference.text("namespace"), reference.text("name"))
    } else {
        String::new()
    };
    let phase = if volume.has("metadata.deletionTimestamp") { "Terminating" } else { volume.text("status.phase") };
    let size = volume.at("spec.capacity.storage");
    vec![
        name(volume),
        if size.is_null() { "0".into() } else { bare(size).as_ref().into() },
        access_modes_text(volume.at("spec.accessModes")).into(),
        volume.text("spec.persistentVolumeReclaimPolicy").into(),
        phase.into(),
        claimed.into(),
        claim::class(volume).into(),
        volume.at("spec.volumeAttributesClassName").as_str().unwrap_or("<unset>").into(),
        volume.text("status.reason").into(),
        age(volume, now),
        volume.at("spec.volumeMode").as_str().unwrap_or("<unset>").into(),
    ]
}

/// Sources that take mount options by annotation.
const MOUNTED_WITH_OPTIONS: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "gcePersistentDisk",
    "glusterfs",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "quobyte",
    "rbd",
    "vsphereVolume",
];
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const MAX_DRIVER_NAME: usize = 63;

fn validate(volume: &Value, errors: &mut ErrorList) {
    let (spec, path) = (volume.at("spec"), Path::new("spec"));
    claim::access_modes(spec, &path, errors);
    capacity(spec, &path.child("capacity"), errors);
    let policies = &["Delete", "Recycle", "Retain"];
    one_of_if_set(spec, &path, "persistentVolumeReclaimPolicy", policies, errors);
    if spec.at("nodeAffinity").is_object() {
        let at = path.child("nodeAffinity").child("required");
        if spec.has("nodeAffinity.required") {
            pod::node_selector(spec.at("nodeAffinity.required"), &at, errors);
        } else {
            errors.push(Error::required(at, "must specify required node constraints"));
        }
    }
    source(spec, &path, errors);
    if spec.text("hostPath.path") == "/" && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(Error::forbidden(path.child("persistentVolumeReclaimPolicy"), detail));
    }
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        push_all(names::is_dns1123_subdomain(class), class, &path.child("storageClassName"), errors);
    }
    one_of_if_there(spec, &path, "volumeMode", &["Block", "Filesystem"], errors);
    attributes_class(spec, &path, errors);
    let annotated = !volume.at("metadata.annotations")[MOUNT_OPTIONS].is_null();
    if annotated && !MOUNTED_WITH_OPTIONS.iter().any(|kind| spec.has(kind)) {
        let at = Path::new("metadata").child("annotations").child(MOUNT_OPTIONS);
        errors.push(Error::forbidden(at, "may not specify mount options for this volume type"));
    }
}

/// The spec of a volume that an attachment carries instead of a volume's name: of a CSI driver, and little else.
pub(super) fn inline_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    const INLINE: &str = "may not be specified in the context of inline volumes";
    for key in ["claimRef", "capacity"] {
        if spec.at(key).as_object().is_some_and(|map| key == "claimRef" || !map.is_empty()) {
            errors.push(Error::forbidden(path.child(key), INLINE));
        }
    }
    if !spec.has("csi") {
        errors.push(Error::required(path.child("csi"), "has to be specified in the context of inline volumes"));
    }
    claim::access_modes(spec, path, errors);
    if !matches!(spec.text("persistentVolumeReclaimPolicy"), "" | "Retain") {
        let detail = "may only be Retain in the context of inline volumes";
        errors.push(Error::forbidden(path.child("persistentVolumeReclaimPolicy"), detail));
    }
    if spec.has("nodeAffinity") {
        errors.push(Error::forbidden(path.child("nodeAffinity"), INLINE));
    }
    source(spec, path, errors);
    if !spec.text("storageClassName").is_empty() {
        errors.push(Error::forbidden(path.child("storageClassName"), INLINE));
    }
    if spec.at("volumeMode").as_str().is_some_and(|mode| mode != "Filesystem") {
        let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.push(Error::forbidden(path.child("volumeMode"), detail));
    }
    attributes_class(spec, path, errors);
}

fn capacity(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let capacity = spec.at("capacity");
    if spec.entries("capacity").next().is_none() {
        errors.push(Error::required(path.clone(), ""));
    }
    if !capacity.has("storage") || spec.entries("capacity").count() > 1 {
        errors.push(Error::not_supported(path.clone(), capacity.clone(), &["storage"]));
    }
    for (name, value) in spec.entries("capacity") {
        let at = path.key(name);
        let Some(size) = quantity(value, &at, errors) else { continue };
        if size.is_negative() {
            let detail = "must be a valid resource quantity";
            errors.push(Error::invalid(at.clone(), i64::try_from(size.value()).unwrap_or(i64::MIN), detail));
        }
        if size.is_zero() || size.is_negative() {
            errors.push(Error::invalid(at, bare(value).as_ref(), "must be greater than zero"));
        }
    }
}

fn attributes_class(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(class) = spec.at("volumeAttributesClassName").as_str() else { return };
    let at = path.child("volumeAttributesClassName");
    if class.is_empty() {
        errors.push(Error::required(at, "an empty string is disallowed"));
    } else {
        push_all(names::is_dns1123_subdomain(class), class, &at, errors);
    }
    if !spec.has("csi") {
        errors.push(Error::required(path.child("csi"), "has to be specified when using volumeAttributesClassName"));
    }
}

fn source(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let found: Vec<&&str> = SOURCES.iter().filter(|kind| spec.has(kind)).collect();
    for (index, kind) in found.iter().enumerate() {
        let (source, path) = (spec.at(kind), path.child(kind));
        if index > 0 {
            errors.push(Error::forbidden(path, "may not specify more than 1 volume type"));
            continue;
        }
        let required: &[&str] = match **kind {
            "hostPath" | "local" => &["path"],
            "nfs" => &["server", "path"],
            "iscsi" => &["targetPortal", "iqn"],
            _ => &[],
        };
        for key in required {
            crate::checks::required(source, &path, key, errors);
        }
        match **kind {
            "csi" => csi_source(source, &path, errors),
            "local" => pod::no_backsteps(source.text("path"), &path.child("path"), errors),
            _ => pod::volume_source_common(kind, source, &path, errors),
        }
        if **kind == "local" && !spec.has("nodeAffinity") {
            let at = Path::new("spec").child("nodeAffinity");
            errors.push(Error::required(at, "Local volume requires node affinity"));
        }
    }
    if found.is_empty() {
        errors.push(Error::required(path.clone(), "must specify a volume type"));
    }
}

fn csi_source(source: &Value, path: &Path, errors: &mut ErrorList) {
    csi_driver_name(source.text("driver"), &path.child("driver"), errors);
    crate::checks::required(source, path, "volumeHandle", errors);
    for key in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let (secret, path) = (source.at(key), path.child(key));
        if secret.is_object() {
            required_name(secret, &path, "name", names::is_dns1123_subdomain, errors);
            required_name(secret, &path, "namespace", names::is_dns1123_label, errors);
        }
    }
}

/// The name of a CSI driver: a short subdomain, in any case.
pub(super) fn csi_driver_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        return errors.push(Error::required(path.clone(), ""));
    }
    if name.len() > MAX_DRIVER_NAME {
        errors.push(Error::too_long(path.clone(), MAX_DRIVER_NAME));
    }
    push_all(names::is_dns1123_subdomain(&name.to_lowercase()), name, path, errors);
}

/// Labels of nodes that were beta once, and what they became.
const GROWN_LABELS: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
];

/// `old` with the keys of `new` where those are what the old ones became. Upstream takes no key for what became of a
/// label that never was beta.
fn with_grown_labels(old: &Value, new: &Value) -> Value {
    let (mut out, terms) = (old.clone(), "required.nodeSelectorTerms");
    let list = dig(&mut out, terms).and_then(Value::as_array_mut).into_iter().flatten();
    for (old, new) in list.zip(new.list(terms)) {
        for key in ["matchExpressions", "matchFields"] {
            let old = dig(old, key).and_then(Value::as_array_mut).into_iter().flatten();
            for (old, new) in old.zip(new.list(key)) {
                let grown = GROWN_LABELS.iter().find(|(beta, _)| *beta == old.text("key")).map_or("", |(_, now)| now);
                if new.text("key") == grown {
                    old.keep(new, "key");
                }
            }
        }
    }
    out
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    // Upstream looks at all of it twice, when it judges the new volume and when it judges the change.
    let before = errors.len();
    validate(new, errors);
    errors.extend_from_within(before..);
    let (new, old) = (new.at("spec"), old.at("spec"));
    let mut masked = new.clone();
    if old.is_object() && !old.has("csi.controllerExpandSecretRef") {
        pod::take(&mut masked, "csi.controllerExpandSecretRef");
    }
    if SOURCES.iter().any(|kind| !semantic_eq(masked.at(kind), old.at(kind))) {
        let path = Path::new("spec").child("persistentvolumesource");
        errors.push(Error::forbidden(path, "spec.persistentvolumesource is immutable after creation\n"));
    }
    immutable(new.at("volumeMode"), old.at("volumeMode"), &Path::new("volumeMode"), errors);
    let (affinity, had) = (new.at("nodeAffinity"), old.at("nodeAffinity"));
    if !had.is_null() && !semantic_eq(affinity, &with_grown_labels(had, affinity)) {
        let detail = "field is immutable, except for updating from beta label to GA";
        errors.push(Error::invalid(Path::new("nodeAffinity"), affinity.clone(), detail));
    }
}
