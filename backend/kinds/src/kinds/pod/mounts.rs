//! Validation of where a container has its volumes.

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::spec::Context;
use crate::{
    checks::{one_of_if_there, required},
    value::Look,
};

pub(super) fn mounts(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    let devices = container.list("volumeDevices");
    for (index, mount) in container.list("volumeMounts").iter().enumerate() {
        let item = path.index(index);
        let (name, at) = (mount.text("name"), mount.text("mountPath"));
        required(mount, &item, "name", errors);
        if !context.volumes.contains(&name) {
            errors.push(Error::not_found(item.child("name"), name));
        }
        required(mount, &item, "mountPath", errors);
        if seen.contains(&at) {
            errors.push(Error::invalid(item.child("mountPath"), at, "must be unique"));
        }
        seen.push(at);
        if devices.iter().any(|d| d.text("name") == name) {
            errors.push(Error::invalid(item.child("name"), name, "must not already exist in volumeDevices"));
        }
        if devices.iter().any(|d| d.text("devicePath") == at) {
            errors.push(Error::invalid(
                item.child("mountPath"),
                at,
                "must not already exist as a path in volumeDevices",
            ));
        }
        for key in ["subPath", "subPathExpr"] {
            super::access_paths_ok(mount.text(key), &path.child(key), errors);
        }
        if !mount.text("subPath").is_empty() && !mount.text("subPathExpr").is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(Error::invalid(item.child("subPathExpr"), mount.text("subPathExpr"), detail));
        }
        propagation(container, mount, path, errors);
    }
}

fn propagation(container: &Value, mount: &Value, path: &Path, errors: &mut ErrorList) {
    let mode = mount.text("mountPropagation");
    one_of_if_there(mount, path, "mountPropagation", &["Bidirectional", "HostToContainer", "None"], errors);
    if mode == "Bidirectional" && !container.flag("securityContext.privileged") {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(Error::forbidden(path.child("mountPropagation"), detail));
    }
    let path = path.child("recursiveReadOnly");
    match mount.text("recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                errors.push(Error::forbidden(path.clone(), "may only be specified when readOnly is true"));
            }
            if !matches!(mode, "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(path, detail));
            }
        }
        other => errors.push(Error::not_supported(path, other, &["Disabled", "Enabled", "IfPossible"])),
    }
}

pub(super) fn devices(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
    let (mut names_seen, mut paths_seen) = (Vec::new(), Vec::new());
    for (index, device) in container.list("volumeDevices").iter().enumerate() {
        let path = path.index(index);
        let (name, at) = (device.text("name"), device.text("devicePath"));
        required(device, &path, "name", errors);
        if names_seen.contains(&name) {
            errors.push(Error::invalid(path.child("name"), name, "must be unique"));
        }
        match context.spec.list("volumes").iter().find(|v| v.text("name") == name) {
            None => errors.push(Error::not_found(path.child("name"), name)),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(path.child("name"), name, detail));
            }
            Some(_) => {}
        }
        required(device, &path, "devicePath", errors);
        if paths_seen.contains(&at) {
            errors.push(Error::invalid(path.child("devicePath"), at, "must be unique"));
        }
        if at.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(path.child("devicePath"), at, "can not contain backsteps ('..')"));
        }
        names_seen.push(name);
        paths_seen.push(at);
    }
}
