//! Validation of security contexts.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::spec::Context;
use crate::{checks::one_of_if_there, value::Look};

const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const MAX_APPARMOR_NAME: usize = 4095;
const SYSCTL_MAX: usize = 253;

pub(super) fn pod(context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    let spec = context.spec;
    let (security, inner) = (spec.at("securityContext"), path.child("securityContext"));
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(security.at(key), &inner.child(key), errors);
    }
    for (index, group) in security.list("supplementalGroups").iter().enumerate() {
        id(group, &inner.child("supplementalGroups").index(index), errors);
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(inner.child("shareProcessNamespace"), true, detail));
    }
    sysctls(context, &inner.child("sysctls"), errors);
    one_of_if_there(security, &inner, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], errors);
    one_of_if_there(security, &inner, "supplementalGroupsPolicy", &["Merge", "Strict"], errors);
    one_of_if_there(security, &inner, "seLinuxChangePolicy", &["MountOption", "Recursive"], errors);
    profiles(security, &inner, errors);
    if !context.host_users {
        for (key, name) in [("hostPID", "HostPID"), ("hostIPC", "HostIPC"), ("hostNetwork", "hostNetwork")] {
            if spec.flag(key) {
                errors.push(Error::forbidden(path.child(name), "when `hostUsers` is false"));
            }
        }
    }
}

fn id(value: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(id) = value.as_i64().filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
        errors.push(Error::invalid(path.clone(), id, names::range_error(0, i32::MAX.into())));
    }
}

fn sysctls(context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    let segment = |s: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let b = s.as_bytes();
        edge(b.first())
            && edge(b.last())
            && b.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    let mut seen = Vec::new();
    for (index, sysctl) in context.spec.list("securityContext.sysctls").iter().enumerate() {
        let (name, path) = (sysctl.text("name"), path.index(index).child("name"));
        if name.is_empty() {
            errors.push(Error::required(path.clone(), ""));
        } else if name.len() > SYSCTL_MAX || !name.split(['.', '/']).all(segment) {
            let detail = format!(
                "must have at most {SYSCTL_MAX} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.push(Error::invalid(path.clone(), name, detail));
        } else if seen.contains(&name) {
            errors.push(Error::duplicate(path.clone(), name));
        }
        seen.push(name);
        let dotted = name.replace('/', ".");
        let ipc =
            ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p)) || dotted == "kernel.sem";
        if dotted.starts_with("net.") && context.spec.flag("hostNetwork") {
            errors.push(Error::invalid(path, name, "may not be specified when 'hostNetwork' is true"));
        } else if ipc && context.spec.flag("hostIPC") {
            errors.push(Error::invalid(path, name, "may not be specified when 'hostIPC' is true"));
        }
    }
}

pub(super) fn container(security: &Value, host_users: bool, path: &Path, errors: &mut ErrorList) {
    if !security.is_object() {
        return;
    }
    for key in ["runAsUser", "runAsGroup"] {
        id(security.at(key), &path.child(key), errors);
    }
    one_of_if_there(security, path, "procMount", &["Default", "Unmasked"], errors);
    if host_users && security.text("procMount") == "Unmasked" {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        errors.push(Error::invalid(path.child("procMount"), "Unmasked", detail));
    }
    profiles(security, path, errors);
    if security.at("allowPrivilegeEscalation").as_bool() == Some(false) {
        if security.flag("privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path.clone(), security.clone(), detail));
        }
        if security.texts("capabilities.add").any(|c| c == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path.clone(), security.clone(), detail));
        }
    }
}

/// Seccomp and AppArmor.
fn profiles(security: &Value, path: &Path, errors: &mut ErrorList) {
    seccomp(security.at("seccompProfile"), &path.child("seccompProfile"), errors);
    app_armor(security.at("appArmorProfile"), &path.child("appArmorProfile"), errors);
}

fn seccomp(profile: &Value, path: &Path, errors: &mut ErrorList) {
    if !profile.is_object() {
        return;
    }
    let (kind, name) = (profile.text("type"), profile.at("localhostProfile").as_str());
    profile_type(kind, "seccompProfile", path, errors);
    let local = path.child("localhostProfile");
    match name {
        None if kind == "Localhost" => {
            errors.push(Error::required(local, "must be set when seccomp type is Localhost"));
        }
        Some(name) if kind == "Localhost" => super::access_paths_ok(name, &local, errors),
        Some(name) => {
            let shown = format!("{{\"Type\":{},\"LocalhostProfile\":{}}}", Value::from(kind), Value::from(name));
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(Error::invalid(local, name, detail).showing(Some(shown)));
        }
        None => {}
    }
}

fn app_armor(profile: &Value, path: &Path, errors: &mut ErrorList) {
    if !profile.is_object() {
        return;
    }
    let (kind, name) = (profile.text("type"), profile.at("localhostProfile").as_str());
    profile_type(kind, "appArmorProfile", path, errors);
    let local = path.child("localhostProfile");
    match (kind, name) {
        ("Localhost", None | Some("")) => {
            errors.push(Error::required(local, "must be set when AppArmor type is Localhost"));
        }
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.push(Error::invalid(local.clone(), name, "must not be padded with whitespace"));
            }
            if name.len() > MAX_APPARMOR_NAME {
                errors.push(Error::too_long(local, MAX_APPARMOR_NAME));
            }
        }
        (kind, Some(name)) if PROFILE_TYPES.contains(&kind) => {
            errors.push(Error::invalid(local, name, "can only be set when AppArmor type is Localhost"));
        }
        _ => {}
    }
}

fn profile_type(kind: &str, what: &str, path: &Path, errors: &mut ErrorList) {
    match kind {
        "" => errors.push(Error::required(path.child("type"), format!("type is required when {what} is set"))),
        kind if PROFILE_TYPES.contains(&kind) => {}
        other => errors.push(Error::not_supported(path.child("type"), other, PROFILE_TYPES)),
    }
}
