//! The restricted standard: what a hardened pod does not do, and what it has to say.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::super::object::items;
use super::baseline::{added, seccomp_baseline};
use super::{Pod, Violation, context, named, plural, quoted, setters, violation};
use crate::text;

pub(super) fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 25 && pod.is_windows() {
        return None;
    }
    let bad = pod.containers(|c| context(c, "/allowPrivilegeEscalation") != Some(&Value::Bool(false)));
    if bad.is_empty() {
        return None;
    }
    violation(
        "allowPrivilegeEscalation != false",
        format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&bad)),
    )
}

pub(super) fn capabilities_restricted(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 25 && pod.is_windows() {
        return None;
    }
    let keeps = pod.containers(|c| items(c, "/securityContext/capabilities/drop").all(|name| name != "ALL"));
    let (adds, names) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeps.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeps)));
    }
    if !adds.is_empty() {
        let names = quoted(names);
        details.push(format!("{} must not include {names} in securityContext.capabilities.add", named(&adds)));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

const RESTRICTED_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn volume_types(pod: &Pod<'_>) -> Option<Violation> {
    let kinds = |volume: &Value| -> Vec<String> {
        let fields = volume.as_object().into_iter().flatten();
        fields.filter(|(field, value)| *field != "name" && !value.is_null()).map(|(field, _)| field.clone()).collect()
    };
    let bad: Vec<&Value> = items(pod.spec, "/volumes")
        .filter(|v| !kinds(v).iter().any(|k| RESTRICTED_VOLUMES.contains(&k.as_str())))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let types: BTreeSet<String> =
        bad.iter().map(|v| kinds(v).into_iter().next().unwrap_or_else(|| "unknown".to_owned())).collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", bad.len()),
        quoted(bad.iter().map(|v| text(v, "/name"))),
        plural("uses", "use", bad.len()),
        plural("restricted volume type", "restricted volume types", types.len()),
        quoted(&types)
    );
    violation("restricted volume types", detail)
}

pub(super) fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if pod.minor >= 35 && pod.has_user_namespace() {
        return None;
    }
    let own = pod.own("/runAsNonRoot").and_then(Value::as_bool);
    let set = |c: &Value| context(c, "/runAsNonRoot").and_then(Value::as_bool);
    let explicit = pod.containers(|c| set(c) == Some(false));
    if let Some(who) = setters(own == Some(false), &explicit) {
        return violation(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let implicit = pod.containers(|c| set(c).is_none() && own != Some(true));
    if implicit.is_empty() {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", named(&implicit)))
}

pub(super) fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 35 && pod.has_user_namespace() {
        return None;
    }
    let root = |value: Option<&Value>| value.and_then(Value::as_i64) == Some(0);
    let containers = pod.containers(|c| root(context(c, "/runAsUser")));
    let who = setters(root(pod.own("/runAsUser")), &containers)?;
    violation("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn seccomp_restricted(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 25 && pod.is_windows() {
        return None;
    }
    if let Some(explicit) = seccomp_baseline(pod) {
        return Some(explicit);
    }
    if pod.own("/seccompProfile").is_some() {
        return None;
    }
    let implicit = pod.containers(|c| context(c, "/seccompProfile").is_none());
    if implicit.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        named(&implicit)
    );
    violation("seccompProfile", detail)
}
