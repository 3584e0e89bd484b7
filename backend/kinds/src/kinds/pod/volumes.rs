//! Validation of a pod's volumes.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::environment;
use crate::{
    checks::{one_of_if_set, push_all, required},
    kinds::{persistent_volume::csi_driver_name, persistent_volume_claim},
    meta::{validate_annotations, validate_labels},
    value::{Look, bare},
};

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const MORE: &str = "may not specify more than 1 volume type";
const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The types of volumes, and of the simple ones the fields that must be set.
const SOURCES: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("configMap", &["name"]),
    ("csi", &[]),
    ("downwardAPI", &[]),
    ("emptyDir", &[]),
    ("ephemeral", &["volumeClaimTemplate"]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("flocker", &[]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("hostPath", &["path"]),
    ("image", &[]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("projected", &[]),
    ("quobyte", &["registry", "volume"]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("secret", &["secretName"]),
    ("storageos", &["volumeName"]),
    ("vsphereVolume", &["volumePath"]),
];

/// What is wrong with the volumes; the names of those that are fine.
pub(super) fn validate<'a>(spec: &'a Value, metadata: &Value, path: &Path, errors: &mut ErrorList) -> Vec<&'a str> {
    let volumes = spec.list("volumes");
    let pod = metadata.text("name");
    let created: Vec<String> = volumes
        .iter()
        .filter(|v| !pod.is_empty() && v.has("ephemeral"))
        .map(|v| format!("{pod}-{}", v.text("name")))
        .collect();
    let mut fine = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let (path, before) = (path.index(index), errors.len());
        source(volume, metadata.is_object(), &path, errors);
        let name = volume.text("name");
        if volume.has("ephemeral") && !pod.is_empty() && !name.is_empty() {
            let claim = format!("{pod}-{name}");
            for wrong in names::is_dns1123_subdomain(&claim) {
                errors.push(Error::invalid(path.child("name"), name, format!("PVC name {claim:?}: {wrong}")));
            }
        }
        if required(volume, &path, "name", errors) {
            push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
        }
        if fine.contains(&name) {
            errors.push(Error::duplicate(path.child("name"), name));
        }
        if errors.len() == before {
            fine.push(name);
        }
        let claim = volume.text("persistentVolumeClaim.claimName");
        if created.iter().any(|c| c == claim) {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(Error::invalid(path, claim, detail));
        }
    }
    fine
}

fn source(volume: &Value, is_pod: bool, path: &Path, errors: &mut ErrorList) {
    let mut found = 0;
    for (kind, fields) in SOURCES.iter().filter(|(kind, _)| volume.has(kind)) {
        found += 1;
        let (source, path) = (volume.at(kind), path.child(kind));
        if found > 1 {
            errors.push(Error::forbidden(path, MORE));
            continue;
        }
        required_fields(source, fields, &path, errors);
        match *kind {
            "configMap" | "secret" => items(source, &path, errors),
            "downwardAPI" => {
                mode(source, "defaultMode", &path, errors);
                downward_items(source, &path, errors);
            }
            "projected" => projected(source, &path, errors),
            "emptyDir" => {
                let limit = bare(source.at("sizeLimit"));
                if limit.starts_with('-') {
                    let detail = "SizeLimit field must be a valid resource quantity";
                    errors.push(Error::forbidden(path.child("sizeLimit"), detail));
                }
            }
            "hostPath" => host_path(source, &path, errors),
            "ephemeral" => {
                let (template, path) = (source.at("volumeClaimTemplate"), path.child("volumeClaimTemplate"));
                if template.is_object() {
                    let (metadata, at) = (template.at("metadata"), path.child("metadata"));
                    validate_annotations(metadata.at("annotations"), &at.child("annotations"), errors);
                    validate_labels(metadata.at("labels"), &at.child("labels"), errors);
                    persistent_volume_claim::validate_spec(template.at("spec"), &path.child("spec"), errors);
                }
            }
            "image" => {
                // A template may leave the reference to whoever makes pods of it.
                if is_pod {
                    required(source, &path, "reference", errors);
                }
                one_of_if_set(source, &path, "pullPolicy", &["Always", "IfNotPresent", "Never"], errors);
            }
            _ => volume_source_common(kind, source, &path, errors),
        }
    }
    if found == 0 {
        errors.push(Error::required(path.clone(), "must specify a volume type"));
    }
}

fn required_fields(source: &Value, fields: &[&str], path: &Path, errors: &mut ErrorList) {
    for field in fields {
        if source.at(field).as_array().is_some_and(Vec::is_empty) {
            errors.push(Error::required(path.child(field), ""));
        } else {
            required(source, path, field, errors);
        }
    }
}

/// What volumes of a pod and PersistentVolumes have in common, by type.
pub(crate) fn volume_source_common(kind: &str, source: &Value, path: &Path, errors: &mut ErrorList) {
    match kind {
        "hostPath" => host_path(source, path, errors),
        "nfs" => {
            let at = source.text("path");
            if !at.starts_with('/') {
                errors.push(Error::invalid(path.child("path"), at, "must be an absolute path"));
            }
        }
        "iscsi" => {
            let lun = source.int("lun").unwrap_or_default();
            if !(0..=255).contains(&lun) {
                errors.push(Error::invalid(path.child("lun"), lun, names::range_error(0, 255)));
            }
        }
        "csi" => {
            csi_driver_name(source.text("driver"), &path.child("driver"), errors);
            let secret = source.at("nodePublishSecretRef");
            if secret.is_object() && required(secret, &path.child("nodePublishSecretRef"), "name", errors) {
                // Upstream's path of the name lacks the secret, and so does ours.
                let name = secret.text("name");
                push_all(names::is_dns1123_subdomain(name), name, &path.child("name"), errors);
            }
        }
        _ => {}
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut ErrorList) {
    no_backsteps(source.text("path"), &path.child("path"), errors);
    let kind = source.text("type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.push(Error::not_supported(path.child("type"), kind, HOST_PATH_TYPES));
    }
}

fn mode(source: &Value, key: &str, path: &Path, errors: &mut ErrorList) {
    if let Some(mode) = source.int(key).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(Error::invalid(path.child(key), mode, MODE));
    }
}

/// Keys of a ConfigMap or Secret and where they go.
fn items(source: &Value, path: &Path, errors: &mut ErrorList) {
    mode(source, "defaultMode", path, errors);
    for (index, item) in source.list("items").iter().enumerate() {
        let path = path.child("items").index(index);
        required(item, &path, "key", errors);
        required(item, &path, "path", errors);
        local_path(item.text("path"), &path.child("path"), errors);
        mode(item, "mode", &path, errors);
    }
}

fn downward_items(source: &Value, path: &Path, errors: &mut ErrorList) {
    // Upstream's paths of these items lack the list, and so do ours.
    for item in source.list("items") {
        required(item, path, "path", errors);
        local_path(item.text("path"), &path.child("path"), errors);
        match (item.has("fieldRef"), item.has("resourceFieldRef")) {
            (true, true) => errors.push(Error::invalid(
                path.clone(),
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            )),
            (true, false) => {
                environment::field_ref(item.at("fieldRef"), VOLUME_FIELDS, &path.child("fieldRef"), errors);
            }
            (false, true) => {
                environment::resource_field_ref(
                    item.at("resourceFieldRef"),
                    true,
                    &path.child("resourceFieldRef"),
                    errors,
                );
            }
            (false, false) => {
                errors.push(Error::required(path.clone(), "one of fieldRef and resourceFieldRef is required"));
            }
        }
        mode(item, "mode", path, errors);
    }
}

fn projected(source: &Value, path: &Path, errors: &mut ErrorList) {
    mode(source, "defaultMode", path, errors);
    let mut paths: Vec<&str> = Vec::new();
    for (index, source) in source.list("sources").iter().enumerate() {
        let item = path.child("sources").index(index);
        let mut found = 0;
        for key in ["secret", "configMap"] {
            if source.has(key) {
                found += 1;
                required(source.at(key), &item.child(key), "name", errors);
                items(source.at(key), &item.child(key), errors);
                let name = Some(source.at(key).text("name"));
                paths_of(source.at(key).list("items"), name, &mut paths, path, errors);
            }
        }
        if source.has("downwardAPI") {
            found += 1;
            downward_items(source.at("downwardAPI"), &item.child("downwardAPI"), errors);
            paths_of(source.list("downwardAPI.items"), None, &mut paths, path, errors);
        }
        if source.has("serviceAccountToken") {
            found += 1;
            token(source.at("serviceAccountToken"), &item.child("serviceAccountToken"), path, errors);
        }
        if source.has("clusterTrustBundle") {
            found += 1;
            trust_bundle(source.at("clusterTrustBundle"), &item.child("clusterTrustBundle"), errors);
        }
        if source.has("podCertificate") {
            found += 1;
        }
        if found > 1 {
            errors.push(Error::forbidden(item, "may not specify more than 1 volume type per source"));
        }
    }
}

/// Two sources may not write the same file (tokens are not looked at); told of is the source if it has a name.
fn paths_of<'a>(
    items: &'a [Value],
    source: Option<&str>,
    seen: &mut Vec<&'a str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    for at in items.iter().map(|item| item.text("path")).filter(|at| !at.is_empty()) {
        if seen.contains(&at) {
            errors.push(Error::invalid(path.clone(), source.unwrap_or(at), "conflicting duplicate paths"));
        } else {
            seen.push(at);
        }
    }
}

/// Upstream tells of a wrong file at the volume, and so do we.
fn token(token: &Value, path: &Path, volume: &Path, errors: &mut ErrorList) {
    match token.int("expirationSeconds") {
        Some(seconds) if seconds < MIN_TOKEN_SECONDS => {
            let detail = "may not specify a duration less than 10 minutes";
            errors.push(Error::invalid(path.child("expirationSeconds"), seconds, detail));
        }
        Some(seconds) if seconds > MAX_TOKEN_SECONDS => {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.push(Error::invalid(path.child("expirationSeconds"), seconds, detail));
        }
        _ => {}
    }
    if required(token, volume, "path", errors) {
        local_path(token.text("path"), &volume.child("path"), errors);
    }
}

fn trust_bundle(bundle: &Value, path: &Path, errors: &mut ErrorList) {
    match (bundle.has("name"), bundle.has("signerName")) {
        (true, true) => {
            errors.push(Error::invalid(path.clone(), bundle.clone(), "only one of name and signerName may be used"))
        }
        (false, false) => errors.push(Error::required(path.clone(), "either name or signerName must be specified")),
        _ => {}
    }
    required(bundle, path, "path", errors);
    local_path(bundle.text("path"), &path.child("path"), errors);
}

pub(crate) fn no_backsteps(at: &str, path: &Path, errors: &mut ErrorList) {
    if at.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path.clone(), at, "must not contain '..'"));
    }
}

/// A relative path that stays below where it starts.
pub(crate) fn access_paths_ok(at: &str, path: &Path, errors: &mut ErrorList) {
    if at.starts_with('/') {
        errors.push(Error::invalid(path.clone(), at, "must be a relative path"));
    }
    no_backsteps(at, path, errors);
}

/// A relative path below the volume that is not reserved for the volume's own use.
fn local_path(at: &str, path: &Path, errors: &mut ErrorList) {
    access_paths_ok(at, path, errors);
    if at.starts_with("..") && !at.starts_with("../") && at != ".." {
        errors.push(Error::invalid(path.clone(), at, "must not start with '..'"));
    }
}
