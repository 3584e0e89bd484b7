//! StorageClass, VolumeAttributesClass, VolumeAttachment.
//! Source: <https://kubernetes.io/docs/concepts/storage/storage-classes/>

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::persistent_volume::{self, csi_driver_name};
use crate::{
    checks::{immutable, immutable_fields, one_of_always, push_all, required},
    columns::{AGE, Column, NAME, age, name},
    strategy::{StatusMeta, Strategy},
    value::{Look, MapExt},
};

const DEFAULT_ANNOTATION: &str = "storageclass.kubernetes.io/is-default-class";
/// Bytes of what an attacher tells of an attachment.
const MAX_ATTACHMENT_METADATA: usize = 256 * 1024;
const MAX_ERROR_MESSAGE: usize = 1024;
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 * 1024;

pub(crate) static STORAGE_CLASS: Strategy = Strategy {
    default: |class| {
        class.or_set("reclaimPolicy", "Delete");
        class.or_set("volumeBindingMode", "Immediate");
    },
    validate: storage_class,
    validate_update: |new, old, errors| {
        let frozen = ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"];
        storage_class(new, errors);
        immutable_fields(new, old, &Path::root(), &frozen, errors);
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
    provisioner(class, "provisioner", errors);
    parameters(class, true, errors);
    if !class.text("reclaimPolicy").is_empty() {
        one_of_always(class, &Path::root(), "reclaimPolicy", &["Delete", "Retain"], errors);
    }
    one_of_always(class, &Path::root(), "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"], errors);
    topologies(class.list("allowedTopologies"), &Path::new("allowedTopologies"), errors);
}

fn provisioner(class: &Value, key: &str, errors: &mut ErrorList) {
    if required(class, &Path::root(), key, errors) {
        let name = class.text(key).to_lowercase();
        push_all(names::is_qualified_name(&name), &name, &Path::new(key), errors);
    }
}

/// Keys are told once and values once in a term, and no term says the same as another.
fn topologies(terms: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen: Vec<Vec<(&str, Vec<&str>)>> = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index).child("matchLabelExpressions");
        let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
        for (index, requirement) in term.list("matchLabelExpressions").iter().enumerate() {
            let (key, path) = (requirement.text("key"), path.index(index));
            let mut values = Vec::new();
            if requirement.list("values").is_empty() {
                errors.push(Error::required(path.child("values"), ""));
            }
            for (index, value) in requirement.texts("values").enumerate() {
                if values.contains(&value) {
                    errors.push(Error::duplicate(path.child("values").index(index), value));
                }
                values.push(value);
            }
            push_all(names::is_qualified_name(key), key, &path.child("key"), errors);
            if said.iter().any(|(other, _)| *other == key) {
                errors.push(Error::duplicate(path.child("key"), key));
            }
            values.sort_unstable();
            values.dedup();
            said.push((key, values));
        }
        said.sort();
        if said.is_empty() || seen.contains(&said) {
            errors.push(Error::duplicate(path, ""));
        }
        seen.push(said);
    }
}

fn parameters(class: &Value, allow_empty: bool, errors: &mut ErrorList) {
    let path = Path::new("parameters");
    let count = class.entries("parameters").count();
    if count > MAX_PARAMETERS {
        return errors.push(Error::too_long(path, MAX_PARAMETERS));
    }
    let mut size = 0;
    for (key, value) in class.entries("parameters") {
        if key.is_empty() {
            errors.push(Error::invalid(path.clone(), key, "field can not be empty."));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_PARAMETER_BYTES {
        errors.push(Error::too_long(path.clone(), MAX_PARAMETER_BYTES));
    }
    if count == 0 && !allow_empty {
        errors.push(Error::required(path, "must contain at least one key/value pair"));
    }
}

pub(crate) static VOLUME_ATTRIBUTES_CLASS: Strategy = Strategy {
    validate: volume_attributes_class,
    validate_update: |new, old, errors| {
        for (key, text) in [
            ("driverName", "updates to driverName are forbidden."),
            ("parameters", "updates to parameters are forbidden."),
        ] {
            if new.at(key) != old.at(key) {
                errors.push(Error::forbidden(Path::new(key), text));
            }
        }
        volume_attributes_class(new, errors);
    },
    columns: &[NAME, Column::text("DriverName"), AGE],
    row: |class, now| vec![name(class), class.text("driverName").into(), age(class, now)],
    ..Strategy::PLAIN
};

fn volume_attributes_class(class: &Value, errors: &mut ErrorList) {
    provisioner(class, "driverName", errors);
    parameters(class, false, errors);
}

pub(crate) static VOLUME_ATTACHMENT: Strategy = Strategy {
    status_meta: StatusMeta::Keep,
    validate: volume_attachment,
    validate_update: |new, old, errors| {
        volume_attachment(new, errors);
        immutable(new.at("spec"), old.at("spec"), &Path::new("spec"), errors);
    },
    validate_status_update: |new, _, errors| volume_attachment(new, errors),
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

const ONE_SOURCE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

fn volume_attachment(attachment: &Value, errors: &mut ErrorList) {
    let (spec, path) = (attachment.at("spec"), Path::new("spec"));
    csi_driver_name(spec.text("attacher"), &path.child("attacher"), errors);
    let (source, at) = (spec.at("source"), path.child("source"));
    let (name, inline) = (source.at("persistentVolumeName"), source.at("inlineVolumeSpec"));
    match (name.as_str(), inline.is_object()) {
        (None, false) => errors.push(Error::required(at, ONE_SOURCE)),
        (Some(_), true) => errors.push(Error::forbidden(at, ONE_SOURCE)),
        (Some(""), false) => {
            let detail = "must specify non empty persistentVolumeName";
            errors.push(Error::required(at.child("persistentVolumeName"), detail));
        }
        (Some(_), false) => {}
        (None, true) => persistent_volume::inline_spec(inline, &at.child("inlineVolumeSpec"), errors),
    }
    let node = spec.text("nodeName");
    push_all(names::is_dns1123_subdomain(node), node, &path.child("nodeName"), errors);
    status(attachment.at("status"), &Path::new("status"), errors);
    if let Some(name) = name.as_str() {
        let at = path.child("source").child("persistentVolumeName");
        push_all(names::is_dns1123_subdomain(name), name, &at, errors);
    }
}

fn status(status: &Value, path: &Path, errors: &mut ErrorList) {
    let size: usize =
        status.entries("attachmentMetadata").map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > MAX_ATTACHMENT_METADATA {
        errors.push(Error::too_long(path.child("attachmentMetadata"), MAX_ATTACHMENT_METADATA));
    }
    for key in ["attachError", "detachError"] {
        let (error, path) = (status.at(key), path.child(key));
        if error.text("message").len() > MAX_ERROR_MESSAGE {
            errors.push(Error::too_long(path.child("message"), MAX_ATTACHMENT_METADATA));
        }
        if let Some(code) = error.int("errorCode").filter(|code| *code < 0) {
            let detail = names::range_error(0, i64::from(i32::MAX));
            errors.push(Error::invalid(path.child("errorCode"), code, detail));
        }
    }
}
