//! The storage group: StorageClass, VolumeAttributesClass, VolumeAttachment, CSIDriver, CSINode, CSIStorageCapacity.
//! Source: <https://kubernetes.io/docs/concepts/storage/storage-classes/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Value, json};

use crate::{
    checks::{canonical_quantity, immutable, immutable_fields, label_selector, one_of, push_all, required},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Generation, StatusMeta, Strategy},
    value::{Look, MapExt, bare, object},
};

const DEFAULT_ANNOTATION: &str = "storageclass.kubernetes.io/is-default-class";
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 * 1024;

pub(crate) static STORAGE_CLASS: Strategy = Strategy {
    default: |class| {
        class.or_set("reclaimPolicy", "Delete");
        class.or_set("volumeBindingMode", "Immediate");
    },
    validate: storage_class,
    validate_update: |new, old, errors| {
        storage_class(new, errors);
        if new.at("parameters") != old.at("parameters") {
            errors.push(Error::forbidden(Path::new("parameters"), "updates to parameters are forbidden."));
        }
        if new.at("provisioner") != old.at("provisioner") {
            errors.push(Error::forbidden(Path::new("provisioner"), "updates to provisioner are forbidden."));
        }
        immutable_fields(new, old, &Path::root(), &["reclaimPolicy", "volumeBindingMode"], errors);
    },
    columns: &[
        NAME,
        Column::text("Provisioner"),
        Column::text("ReclaimPolicy"),
        Column::text("VolumeBindingMode"),
        Column::text("AllowVolumeExpansion"),
        AGE,
    ],
    row: |class, now| {
        let annotations = class.at("metadata.annotations");
        let beta = "storageclass.beta.kubernetes.io/is-default-class";
        let default =
            [DEFAULT_ANNOTATION, beta].iter().any(|key| annotations.get(*key).and_then(Value::as_str) == Some("true"));
        let name = format!("{}{}", class.text("metadata.name"), if default { " (default)" } else { "" });
        vec![
            name.into(),
            class.text("provisioner").into(),
            class.at("reclaimPolicy").as_str().unwrap_or("Delete").into(),
            class.at("volumeBindingMode").as_str().unwrap_or("Immediate").into(),
            class.flag("allowVolumeExpansion").into(),
            age(class, now),
        ]
    },
    ..Strategy::PLAIN
};

fn storage_class(class: &Value, errors: &mut ErrorList) {
    let provisioner = class.text("provisioner");
    if required(class, &Path::root(), "provisioner", errors) {
        let lower = provisioner.to_lowercase();
        push_all(names::is_qualified_name(&lower), provisioner, &Path::new("provisioner"), errors);
    }
    parameters(class, true, errors);
    one_of(class, &Path::root(), "reclaimPolicy", &["Delete", "Retain"], errors);
    one_of(class, &Path::root(), "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"], errors);
    for (index, term) in class.list("allowedTopologies").iter().enumerate() {
        let path = Path::new("allowedTopologies").index(index).child("matchLabelExpressions");
        for (index, requirement) in term.list("matchLabelExpressions").iter().enumerate() {
            let (key, path) = (requirement.text("key"), path.index(index));
            push_all(names::is_qualified_name(key), key, &path.child("key"), errors);
            if requirement.list("values").is_empty() {
                errors.push(Error::required(path.child("values"), ""));
            }
        }
    }
}

fn parameters(class: &Value, allow_empty: bool, errors: &mut ErrorList) {
    let path = Path::new("parameters");
    let count = class.entries("parameters").count();
    if count > MAX_PARAMETERS {
        let mut error = Error::too_long(path.clone(), MAX_PARAMETERS);
        error.detail = "Provisioner Parameters exceeded max allowed".to_owned();
        errors.push(error);
    }
    if count == 0 && !allow_empty {
        errors.push(Error::required(path.clone(), "must contain at least one key/value pair"));
    }
    let mut size = 0;
    for (key, value) in class.entries("parameters") {
        if key.is_empty() {
            errors.push(Error::invalid(path.clone(), key, "field can not be empty."));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_PARAMETER_BYTES {
        errors.push(Error::too_long(path, MAX_PARAMETER_BYTES));
    }
}

pub(crate) static VOLUME_ATTRIBUTES_CLASS: Strategy = Strategy {
    validate: |class, errors| {
        required(class, &Path::root(), "driverName", errors);
        parameters(class, false, errors);
    },
    validate_update: |new, old, errors| {
        for (key, text) in [
            ("driverName", "updates to driverName are forbidden."),
            ("parameters", "updates to parameters are forbidden."),
        ] {
            if new.at(key) != old.at(key) {
                errors.push(Error::forbidden(Path::new(key), text));
            }
        }
    },
    columns: &[NAME, Column::text("DriverName"), AGE],
    row: |class, now| vec![name(class), class.text("driverName").into(), age(class, now)],
    ..Strategy::PLAIN
};

pub(crate) static VOLUME_ATTACHMENT: Strategy = Strategy {
    status_meta: StatusMeta::Keep,
    validate: |attachment, errors| {
        let (spec, path) = (attachment.at("spec"), Path::new("spec"));
        required(spec, &path, "attacher", errors);
        required(spec, &path, "nodeName", errors);
        let source = spec.at("source");
        match (source.has("persistentVolumeName"), source.has("inlineVolumeSpec")) {
            (false, false) => errors.push(Error::required(
                path.child("source"),
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            )),
            (true, true) => errors.push(Error::forbidden(
                path.child("source"),
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            )),
            _ => {}
        }
    },
    validate_update: |new, old, errors| immutable(new.at("spec"), old.at("spec"), &Path::new("spec"), errors),
    columns: &[NAME, Column::text("Attacher"), Column::text("PV"), Column::text("Node"), Column::flag("Attached"), AGE],
    row: |attachment, now| {
        vec![
            name(attachment),
            attachment.text("spec.attacher").into(),
            attachment.text("spec.source.persistentVolumeName").into(),
            attachment.text("spec.nodeName").into(),
            attachment.flag("status.attached").into(),
            age(attachment, now),
        ]
    },
    unconditional_update: false,
    ..Strategy::PLAIN
};

pub(crate) static CSI_DRIVER: Strategy = Strategy {
    generation: Generation::Spec,
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
        let frozen = ["attachRequired", "fsGroupPolicy", "volumeLifecycleModes"];
        immutable_fields(new.at("spec"), old.at("spec"), &Path::new("spec"), &frozen, errors);
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

fn csi_driver(driver: &Value, errors: &mut ErrorList) {
    let (spec, path) = (driver.at("spec"), Path::new("spec"));
    for key in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
        required(spec, &path, key, errors);
    }
    one_of(spec, &path, "fsGroupPolicy", &["File", "None", "ReadWriteOnceWithFSType"], errors);
    for mode in spec.texts("volumeLifecycleModes").filter(|mode| !matches!(*mode, "Persistent" | "Ephemeral")) {
        errors.push(Error::not_supported(path.child("VolumeLifecycleModes"), mode, &["Ephemeral", "Persistent"]));
    }
}

pub(crate) static CSI_NODE: Strategy = Strategy {
    validate: |node, errors| {
        let path = Path::new("spec").child("drivers");
        let mut seen = Vec::new();
        for (index, driver) in node.list("spec.drivers").iter().enumerate() {
            let (name, path) = (driver.text("name"), path.index(index));
            required(driver, &path, "name", errors);
            required(driver, &path, "nodeID", errors);
            if seen.contains(&name) {
                errors.push(Error::duplicate(path.child("name"), name));
            }
            seen.push(name);
        }
    },
    columns: &[NAME, Column::number("Drivers"), AGE],
    row: |node, now| vec![name(node), node.list("spec.drivers").len().into(), age(node, now)],
    unconditional_update: false,
    ..Strategy::PLAIN
};

pub(crate) static CSI_STORAGE_CAPACITY: Strategy = Strategy {
    default: |capacity| {
        for key in ["capacity", "maximumVolumeSize"] {
            if let Some(value) = capacity.get_mut(key) {
                canonical_quantity(value);
            }
        }
    },
    validate: |capacity, errors| {
        required(capacity, &Path::root(), "storageClassName", errors);
        label_selector(capacity.at("nodeTopology"), &Path::new("nodeTopology"), errors);
    },
    validate_update: |new, old, errors| {
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
