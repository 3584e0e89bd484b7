//! The checks of the standards, in the order their violations are told: baseline by name, then restricted by name.
//! A restricted check may stand in for a baseline one that is weaker.

mod baseline;
mod restricted;

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::object::all_containers;
use super::policy::{Level, Standard};
use crate::text;

/// What a pod does that its standard forbids.
pub(super) struct Violation {
    pub reason: String,
    pub detail: String,
}

struct Check {
    level: Level,
    /// The minor version that brought it.
    since: u32,
    /// Not run at the restricted level from this version on: a stricter check is.
    replaced_since: Option<u32>,
    run: fn(&Pod<'_>) -> Option<Violation>,
}

const fn baseline(since: u32, replaced_since: Option<u32>, run: fn(&Pod<'_>) -> Option<Violation>) -> Check {
    Check { level: Level::Baseline, since, replaced_since, run }
}

const fn restricted(since: u32, run: fn(&Pod<'_>) -> Option<Violation>) -> Check {
    Check { level: Level::Restricted, since, replaced_since: None, run }
}

const ALL: &[Check] = &[
    baseline(0, None, baseline::app_armor),
    baseline(0, Some(22), baseline::capabilities_baseline),
    baseline(0, None, baseline::host_namespaces),
    baseline(0, Some(0), baseline::host_path),
    baseline(0, None, baseline::host_ports),
    baseline(34, None, baseline::probe_hosts),
    baseline(0, None, baseline::privileged),
    baseline(0, Some(35), baseline::proc_mount_baseline),
    baseline(0, None, baseline::selinux),
    baseline(0, Some(19), baseline::seccomp_baseline),
    baseline(0, None, baseline::sysctls),
    baseline(0, None, baseline::windows_host_process),
    restricted(8, restricted::privilege_escalation),
    restricted(22, restricted::capabilities_restricted),
    restricted(35, baseline::proc_mount),
    restricted(0, restricted::volume_types),
    restricted(0, restricted::run_as_non_root),
    restricted(23, restricted::run_as_user),
    restricted(19, restricted::seccomp_restricted),
];

/// A pod, or a template, with the version it is judged by.
struct Pod<'a> {
    object: &'a Value,
    spec: &'a Value,
    minor: u32,
}

pub(super) fn run(standard: Standard, pod: &Value) -> Vec<Violation> {
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let pod = Pod { object: pod, spec: pod.get("spec").unwrap_or(&Value::Null), minor: standard.minor };
    let applies = |check: &&Check| {
        let replaced = standard.level == Level::Restricted && check.replaced_since.is_some_and(|v| v <= standard.minor);
        check.level <= standard.level && check.since <= standard.minor && !replaced
    };
    ALL.iter().filter(applies).filter_map(|check| (check.run)(&pod)).collect()
}

impl<'a> Pod<'a> {
    /// Names of the containers of which something holds.
    fn containers(&self, holds: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        all_containers(self.spec).filter(|c| holds(c)).map(|c| text(c, "/name")).collect()
    }
    /// Its own security context, if it has a value there.
    fn own(&self, pointer: &str) -> Option<&'a Value> {
        self.spec.get("securityContext")?.pointer(pointer).filter(|value| !value.is_null())
    }
    fn is_windows(&self) -> bool {
        text(self.spec, "/os/name") == "windows"
    }
    fn has_user_namespace(&self) -> bool {
        self.spec.get("hostUsers") == Some(&Value::Bool(false))
    }
}

fn context<'a>(container: &'a Value, pointer: &str) -> Option<&'a Value> {
    container.get("securityContext")?.pointer(pointer).filter(|value| !value.is_null())
}

fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let all: Vec<String> = names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    all.join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
fn named(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// `pod and container "a"`: all who set something.
fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    match (pod, containers.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(named(containers)),
        (true, false) => Some(format!("pod and {}", named(containers))),
    }
}

fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail })
}

fn strings<'a>(list: impl Iterator<Item = &'a Value>) -> BTreeSet<&'a str> {
    list.filter_map(Value::as_str).collect()
}
