//! The baseline standard: what is known to lead out of a container.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::super::object::{all_containers, is_true, items};
use super::{Pod, Violation, context, named, plural, quoted, setters, strings, violation};
use crate::text;

pub(super) fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
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
pub(super) fn added<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let bad = |container: &'a Value| -> BTreeSet<&'a str> {
        let all = strings(items(container, "/securityContext/capabilities/add"));
        all.into_iter().filter(|name| !allowed.contains(name)).collect()
    };
    (pod.containers(|c| !bad(c).is_empty()), all_containers(pod.spec).flat_map(bad).collect())
}

pub(super) fn capabilities_baseline(pod: &Pod<'_>) -> Option<Violation> {
    let (containers, names) = added(pod, DEFAULT_CAPABILITIES);
    if containers.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", named(&containers), quoted(names));
    violation("non-default capabilities", detail)
}

pub(super) fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| is_true(pod.spec, &format!("/{field}")))
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() { None } else { violation("host namespaces", set.join(", ")) }
}

pub(super) fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let bad: Vec<&str> =
        items(pod.spec, "/volumes").filter(|v| v.get("hostPath").is_some()).map(|v| text(v, "/name")).collect();
    if bad.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural("volume", "volumes", bad.len()), quoted(&bad)))
}

pub(super) fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
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

pub(super) fn probe_hosts(pod: &Pod<'_>) -> Option<Violation> {
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

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.containers(|c| is_true(c, "/securityContext/privileged"));
    if bad.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", named(&bad)))
}

pub(super) fn proc_mount_baseline(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 35 && pod.has_user_namespace() { None } else { proc_mount(pod) }
}

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
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

pub(super) fn selinux(pod: &Pod<'_>) -> Option<Violation> {
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

pub(super) fn seccomp_baseline(pod: &Pod<'_>) -> Option<Violation> {
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

pub(super) fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let safe = |name: &str| SAFE_SYSCTLS.iter().any(|(since, known)| *known == name && *since <= pod.minor);
    let set = items(pod.spec, "/securityContext/sysctls").map(|sysctl| text(sysctl, "/name"));
    let bad: Vec<&str> = set.filter(|name| !safe(name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

pub(super) fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |value: Option<&Value>| value == Some(&Value::Bool(true));
    let own = bad(pod.own("/windowsOptions/hostProcess"));
    let containers = pod.containers(|c| bad(context(c, "/windowsOptions/hostProcess")));
    let who = setters(own, &containers)?;
    violation("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}
