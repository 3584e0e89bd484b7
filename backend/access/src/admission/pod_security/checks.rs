//! The checks of the standards, in the order their violations are told: baseline by name, then restricted by name.
//! A restricted check may stand in for a baseline one that is weaker.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::object::{all_containers, is_true, items};
use super::policy::{Level, Standard};
use super::volumes;
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
    baseline(0, None, app_armor),
    baseline(0, Some(22), capabilities_baseline),
    baseline(0, None, host_namespaces),
    baseline(0, Some(0), host_path),
    baseline(0, None, host_ports),
    baseline(34, None, probe_hosts),
    baseline(0, None, privileged),
    baseline(0, Some(35), proc_mount_baseline),
    baseline(0, None, selinux),
    baseline(0, Some(19), seccomp_baseline),
    baseline(0, None, sysctls),
    baseline(0, None, windows_host_process),
    restricted(8, privilege_escalation),
    restricted(22, capabilities_restricted),
    restricted(35, proc_mount),
    restricted(0, volume_types),
    restricted(0, run_as_non_root),
    restricted(23, run_as_user),
    restricted(19, seccomp_restricted),
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

// ---- baseline ----

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let bad_type = |value: Option<&Value>| -> Option<String> {
        let kind = text(value?, "/type");
        (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    };
    let own = bad_type(pod.own("/appArmorProfile"));
    let containers = pod.containers(|c| bad_type(context(c, "/appArmorProfile")).is_some());
    let types = all_containers(pod.spec).filter_map(|c| bad_type(context(c, "/appArmorProfile")));
    let mut values: Vec<String> = own.iter().cloned().chain(types).collect::<BTreeSet<_>>().into_iter().collect();
    let annotations = pod.object.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten();
    let mut bad: Vec<String> = annotations
        .filter(|(key, _)| key.starts_with(ANNOTATION))
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(_, value)| !value.is_empty() && *value != "runtime/default" && !value.starts_with("localhost/"))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    bad.sort();
    let mut who: Vec<String> = setters(own.is_some(), &containers).into_iter().collect();
    if !bad.is_empty() {
        who.push(plural("annotation", "annotations", bad.len()).to_owned());
        values.extend(bad);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    violation(reason, format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)))
}

const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Added capabilities outside a list: by which containers, and which.
fn added<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let bad = |container: &'a Value| -> BTreeSet<&'a str> {
        let all = strings(items(container, "/securityContext/capabilities/add"));
        all.into_iter().filter(|name| !allowed.contains(name)).collect()
    };
    (pod.containers(|c| !bad(c).is_empty()), all_containers(pod.spec).flat_map(bad).collect())
}

fn capabilities_baseline(pod: &Pod<'_>) -> Option<Violation> {
    let (containers, names) = added(pod, DEFAULT_CAPABILITIES);
    if containers.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", named(&containers), quoted(names));
    violation("non-default capabilities", detail)
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| is_true(pod.spec, &format!("/{field}")))
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() { None } else { violation("host namespaces", set.join(", ")) }
}

fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let bad: Vec<&str> = volumes(pod.spec).filter(|v| v.get("hostPath").is_some()).map(|v| text(v, "/name")).collect();
    if bad.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural("volume", "volumes", bad.len()), quoted(&bad)))
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let ports = |container: &Value| -> Vec<i64> {
        let all = items(container, "/ports").filter_map(|p| p.get("hostPort").and_then(Value::as_i64));
        all.filter(|port| *port != 0).collect()
    };
    let containers = pod.containers(|c| !ports(c).is_empty());
    if containers.is_empty() {
        return None;
    }
    let all: BTreeSet<String> = all_containers(pod.spec).flat_map(ports).map(|port| port.to_string()).collect();
    let list: Vec<String> = all.into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        named(&containers),
        plural("uses", "use", containers.len()),
        plural("hostPort", "hostPorts", list.len()),
        list.join(", ")
    );
    violation("hostPort", detail)
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Violation> {
    const HANDLERS: &[&str] =
        &["livenessProbe", "readinessProbe", "startupProbe", "lifecycle/postStart", "lifecycle/preStop"];
    fn hosts(container: &Value) -> impl Iterator<Item = &str> {
        HANDLERS
            .iter()
            .flat_map(|handler| ["httpGet", "tcpSocket"].map(|action| format!("/{handler}/{action}/host")))
            .map(|pointer| text(container, &pointer))
            .filter(|host| !host.is_empty())
    }
    let containers: BTreeSet<&str> = pod.containers(|c| hosts(c).next().is_some()).into_iter().collect();
    if containers.is_empty() {
        return None;
    }
    let containers: Vec<&str> = containers.into_iter().collect();
    let all: BTreeSet<&str> = all_containers(pod.spec).flat_map(hosts).collect();
    let detail = format!(
        "{} {} {} {}",
        named(&containers),
        plural("uses", "use", containers.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", all.len()),
        quoted(&all)
    );
    violation("probe or lifecycle host", detail)
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.containers(|c| is_true(c, "/securityContext/privileged"));
    if bad.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", named(&bad)))
}

fn proc_mount_baseline(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 35 && pod.has_user_namespace() { None } else { proc_mount(pod) }
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |c: &Value| !matches!(text(c, "/securityContext/procMount"), "" | "Default");
    let containers = pod.containers(bad);
    if containers.is_empty() {
        return None;
    }
    let bad_ones = all_containers(pod.spec).filter(|c| bad(c));
    let types: BTreeSet<&str> = bad_ones.map(|c| text(c, "/securityContext/procMount")).collect();
    let detail = format!("{} must not set securityContext.procMount to {}", named(&containers), quoted(types));
    violation("procMount", detail)
}

fn selinux(pod: &Pod<'_>) -> Option<Violation> {
    let bad_type = |options: &Value| {
        let kind = text(options, "/type");
        !(matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (kind == "container_engine_t" && pod.minor >= 31))
    };
    let bad =
        |options: &Value| bad_type(options) || !text(options, "/user").is_empty() || !text(options, "/role").is_empty();
    let own = pod.own("/seLinuxOptions").filter(|options| bad(options));
    let containers = pod.containers(|c| context(c, "/seLinuxOptions").is_some_and(bad));
    let who = setters(own.is_some(), &containers)?;
    let all: Vec<&Value> =
        own.into_iter().chain(all_containers(pod.spec).filter_map(|c| context(c, "/seLinuxOptions"))).collect();
    let types: BTreeSet<&str> = all.iter().filter(|o| bad_type(o)).map(|o| text(o, "/type")).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    for field in ["user", "role"] {
        if all.iter().any(|options| !text(options, &format!("/{field}")).is_empty()) {
            what.push(format!("{field} may not be set"));
        }
    }
    violation("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; ")))
}

fn valid_seccomp(profile: &Value) -> bool {
    matches!(text(profile, "/type"), "RuntimeDefault" | "Localhost")
}

fn seccomp_baseline(pod: &Pod<'_>) -> Option<Violation> {
    let own = pod.own("/seccompProfile").filter(|profile| !valid_seccomp(profile));
    let containers = pod.containers(|c| context(c, "/seccompProfile").is_some_and(|p| !valid_seccomp(p)));
    let who = setters(own.is_some(), &containers)?;
    let profiles = own.into_iter().chain(all_containers(pod.spec).filter_map(|c| context(c, "/seccompProfile")));
    let types: BTreeSet<&str> = profiles.filter(|p| !valid_seccomp(p)).map(|p| text(p, "/type")).collect();
    violation("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(types)))
}

const SAFE_SYSCTLS: &[(u32, &str)] = &[
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let safe = |name: &str| SAFE_SYSCTLS.iter().any(|(since, known)| *known == name && *since <= pod.minor);
    let set = items(pod.spec, "/securityContext/sysctls").map(|sysctl| text(sysctl, "/name"));
    let bad: Vec<&str> = set.filter(|name| !safe(name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |value: Option<&Value>| value == Some(&Value::Bool(true));
    let own = bad(pod.own("/windowsOptions/hostProcess"));
    let containers = pod.containers(|c| bad(context(c, "/windowsOptions/hostProcess")));
    let who = setters(own, &containers)?;
    violation("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}

// ---- restricted ----

fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
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

fn capabilities_restricted(pod: &Pod<'_>) -> Option<Violation> {
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

fn volume_types(pod: &Pod<'_>) -> Option<Violation> {
    let kinds = |volume: &Value| -> Vec<String> {
        let fields = volume.as_object().into_iter().flatten();
        fields.filter(|(field, value)| *field != "name" && !value.is_null()).map(|(field, _)| field.clone()).collect()
    };
    let bad: Vec<&Value> =
        volumes(pod.spec).filter(|v| !kinds(v).iter().any(|k| RESTRICTED_VOLUMES.contains(&k.as_str()))).collect();
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

fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
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

fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 35 && pod.has_user_namespace() {
        return None;
    }
    let root = |value: Option<&Value>| value.and_then(Value::as_i64) == Some(0);
    let containers = pod.containers(|c| root(context(c, "/runAsUser")));
    let who = setters(root(pod.own("/runAsUser")), &containers)?;
    violation("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

fn seccomp_restricted(pod: &Pod<'_>) -> Option<Violation> {
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
