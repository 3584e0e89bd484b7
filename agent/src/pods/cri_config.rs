//! What the runtime is told to make: sandbox and container configurations out of the pod. Pure.
//!
//! Invariant: every container names its namespaces itself, since CRI's zero value is a shared PID namespace.

use std::collections::HashMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, Pod, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};
use pilothouse_cri::v1;
use pilothouse_cri::v1::security_profile::ProfileType;

use super::containers::hash;
use super::plan::DEFAULT_GRACE_SECONDS;
use crate::cri::labels;

/// What runc hides from unprivileged containers (upstream's default masked and read-only paths).
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the node adds to a pod's sandbox.
#[derive(Clone, Debug, Default)]
pub struct SandboxParts {
    pub attempt: u32,
    pub hostname: String,
    pub dns: v1::DnsConfig,
    pub log_directory: String,
    /// The pod's cgroup, as the runtime is to name it.
    pub cgroup_parent: String,
    pub resources: v1::LinuxContainerResources,
}

fn text(value: &Option<String>) -> String {
    value.clone().unwrap_or_default()
}

fn int(value: Option<i64>) -> Option<v1::Int64Value> {
    value.map(|value| v1::Int64Value { value })
}

fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    HashMap::from([
        (labels::POD_NAME.to_owned(), text(&pod.metadata.name)),
        (labels::POD_NAMESPACE.to_owned(), text(&pod.metadata.namespace)),
        (labels::POD_UID.to_owned(), text(&pod.metadata.uid)),
    ])
}

fn namespaces(spec: &PodSpec) -> v1::NamespaceOption {
    let mode = |host: Option<bool>| if host == Some(true) { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => v1::NamespaceMode::Node,
        (_, Some(true)) => v1::NamespaceMode::Pod,
        _ => v1::NamespaceMode::Container,
    };
    v1::NamespaceOption {
        network: mode(spec.host_network).into(),
        pid: pid.into(),
        ipc: mode(spec.host_ipc).into(),
        target_id: String::new(),
        userns_options: None,
    }
}

fn seccomp(profile: Option<&SeccompProfile>, folder: &Path) -> v1::SecurityProfile {
    let (kind, localhost_ref) = match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => (ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => {
            let name = profile.and_then(|profile| profile.localhost_profile.as_deref()).unwrap_or_default();
            (ProfileType::Localhost, folder.join(name).to_string_lossy().into_owned())
        }
        _ => (ProfileType::Unconfined, String::new()),
    };
    v1::SecurityProfile { profile_type: kind.into(), localhost_ref }
}

fn groups(context: &PodSecurityContext) -> Vec<i64> {
    let mut groups: Vec<i64> = context.supplemental_groups.clone().unwrap_or_default();
    groups.extend(context.fs_group);
    groups
}

fn groups_policy(context: &PodSecurityContext) -> i32 {
    match context.supplemental_groups_policy.as_deref() {
        Some("Strict") => v1::SupplementalGroupsPolicy::Strict.into(),
        _ => v1::SupplementalGroupsPolicy::Merge.into(),
    }
}

/// Whether any container of the pod is privileged: then its sandbox is too.
fn is_privileged(spec: &PodSpec) -> bool {
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.filter_map(|container| container.security_context.as_ref()).any(|context| context.privileged == Some(true))
}

#[must_use]
pub fn sandbox(pod: &Pod, spec: &PodSpec, parts: SandboxParts) -> v1::PodSandboxConfig {
    let context = spec.security_context.clone().unwrap_or_default();
    let on_host = spec.host_network == Some(true);
    let sysctls = context.sysctls.iter().flatten().map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect();
    let mut all_labels: HashMap<String, String> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    all_labels.extend(pod_labels(pod));
    let default = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            namespace: text(&pod.metadata.namespace),
            attempt: parts.attempt,
        }),
        hostname: if on_host { String::new() } else { parts.hostname },
        log_directory: parts.log_directory,
        dns_config: Some(parts.dns),
        // Host ports are the proxy's business.
        port_mappings: Vec::new(),
        labels: all_labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: parts.cgroup_parent,
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(spec)),
                run_as_user: int(context.run_as_user),
                run_as_group: int(context.run_as_group.filter(|_| context.run_as_user.is_some())),
                supplemental_groups: groups(&context),
                supplemental_groups_policy: groups_policy(&context),
                privileged: is_privileged(spec),
                seccomp: Some(seccomp(Some(&default), Path::new(""))),
                ..Default::default()
            }),
            sysctls,
            overhead: None,
            resources: Some(parts.resources),
        }),
        windows: None,
    }
}

/// What the node adds to a container.
#[derive(Clone, Debug, Default)]
pub struct ContainerParts {
    pub restart_count: i32,
    /// As the runtime knows it.
    pub image: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<v1::Mount>,
    pub resources: v1::LinuxContainerResources,
    pub seccomp_folder: std::path::PathBuf,
    /// Whose PID namespace an ephemeral container joins.
    pub target: Option<String>,
}

/// The user that a container runs as, from container and pod; `None` is the image's.
#[must_use]
pub fn run_as_user(spec: &PodSpec, container: &Container) -> Option<i64> {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
    own.or_else(|| spec.security_context.as_ref()?.run_as_user)
}

/// Whether the container may not run as root.
#[must_use]
pub fn must_not_be_root(spec: &PodSpec, container: &Container) -> bool {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_non_root);
    own.or_else(|| spec.security_context.as_ref()?.run_as_non_root).unwrap_or(false)
}

fn security(spec: &PodSpec, container: &Container, parts: &ContainerParts) -> v1::LinuxContainerSecurityContext {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let caps: Capabilities = own.capabilities.clone().unwrap_or_default();
    let mut namespaces = namespaces(spec);
    if let Some(target) = &parts.target {
        namespaces.pid = v1::NamespaceMode::Target.into();
        namespaces.target_id.clone_from(target);
    }
    let hidden = !privileged && own.proc_mount.as_deref() != Some("Unmasked");
    let paths = |list: &[&str]| if hidden { list.iter().map(|path| (*path).to_owned()).collect() } else { Vec::new() };
    let run_as_user = run_as_user(spec, container);
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: caps.add.unwrap_or_default(),
            drop_capabilities: caps.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces),
        run_as_user: int(run_as_user),
        run_as_group: int(own.run_as_group.or(pod.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(&pod),
        supplemental_groups_policy: groups_policy(&pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: (!privileged)
            .then(|| seccomp(own.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref()), &parts.seccomp_folder)),
        ..Default::default()
    }
}

/// Where a container's log lies under the pod's log folder.
#[must_use]
pub fn log_path(container: &str, restart_count: i32) -> String {
    format!("{container}/{restart_count}.log")
}

#[must_use]
pub fn container(pod: &Pod, spec: &PodSpec, container: &Container, parts: ContainerParts) -> v1::ContainerConfig {
    let name = &container.name;
    let mut all_labels = pod_labels(pod);
    all_labels.insert(labels::CONTAINER_NAME.to_owned(), name.clone());
    let grace = spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
    let annotations = HashMap::from([
        (labels::HASH.to_owned(), hash(container)),
        (labels::RESTART_COUNT.to_owned(), parts.restart_count.to_string()),
        (labels::TERMINATION_MESSAGE_PATH.to_owned(), text(&container.termination_message_path)),
        (labels::TERMINATION_MESSAGE_POLICY.to_owned(), text(&container.termination_message_policy)),
        (labels::TERMINATION_GRACE_PERIOD.to_owned(), grace.to_string()),
    ]);
    let security_context = security(spec, container, &parts);
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: name.clone(),
            attempt: u32::try_from(parts.restart_count).unwrap_or_default(),
        }),
        image: Some(v1::ImageSpec {
            image: parts.image,
            user_specified_image: text(&container.image),
            ..Default::default()
        }),
        command: parts.command,
        args: parts.args,
        working_dir: text(&container.working_dir),
        envs: parts.env.into_iter().map(|(key, value)| v1::KeyValue { key, value: value.into_bytes() }).collect(),
        mounts: parts.mounts,
        labels: all_labels,
        annotations,
        log_path: log_path(name, parts.restart_count),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        stop_signal: container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| v1::Signal::from_str_name(lifecycle.stop_signal.as_deref()?))
            .unwrap_or(v1::Signal::RuntimeDefault)
            .into(),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(parts.resources),
            security_context: Some(security_context),
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn build(pod_spec: Value, own: Value) -> v1::LinuxContainerSecurityContext {
        let mut spec = pod_spec;
        spec["containers"] = json!([{"name": "c", "image": "i:1", "securityContext": own}]);
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}))
                .unwrap();
        let spec = pod.spec.clone().unwrap();
        let parts = ContainerParts { seccomp_folder: "/seccomp".into(), ..Default::default() };
        let config = container(&pod, &spec, &spec.containers[0], parts);
        assert_eq!(config.labels[labels::POD_UID], "u");
        config.linux.unwrap().security_context.unwrap()
    }

    #[test]
    fn an_ordinary_container_is_fenced_in() {
        let got = build(json!({}), json!({}));
        let namespaces = got.namespace_options.unwrap();
        assert_eq!(namespaces.pid, i32::from(v1::NamespaceMode::Container));
        assert_eq!(namespaces.network, i32::from(v1::NamespaceMode::Pod));
        assert!(!got.privileged && !got.no_new_privs && got.masked_paths.len() == MASKED.len());
        assert_eq!(got.seccomp.unwrap().profile_type, i32::from(ProfileType::Unconfined));
    }

    #[test]
    fn the_containers_word_counts_before_the_pods() {
        let pod = json!({"hostNetwork": true, "shareProcessNamespace": true, "securityContext": {"runAsUser": 1,
            "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4], "seccompProfile": {"type": "RuntimeDefault"}}});
        let own = json!({"runAsUser": 10, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}});
        let got = build(pod, own);
        assert_eq!((got.run_as_user.unwrap().value, got.run_as_group.unwrap().value), (10, 2));
        assert_eq!(got.supplemental_groups, [4, 3]);
        assert!(got.no_new_privs && got.readonly_rootfs);
        assert_eq!(got.capabilities.unwrap().drop_capabilities, ["ALL"]);
        assert_eq!(got.seccomp.unwrap().localhost_ref, "/seccomp/p.json");
        let namespaces = got.namespace_options.unwrap();
        assert_eq!(namespaces.network, i32::from(v1::NamespaceMode::Node));
        assert_eq!(namespaces.pid, i32::from(v1::NamespaceMode::Pod));
    }

    #[test]
    fn a_privileged_container_sees_everything() {
        let got = build(json!({}), json!({"privileged": true}));
        assert!(got.privileged && got.masked_paths.is_empty() && got.seccomp.is_none());
    }
}
