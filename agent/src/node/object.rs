//! The Node object: what it says at registration, and its status of the moment. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;

use super::machine::{Load, Machine};
use crate::config::{Config, KUBELET_VERSION, MAX_PODS};

/// Upstream's eviction thresholds: memory.available<100Mi, nodefs.available<10%; pids as upstream's documentation suggests.
const MEMORY_PRESSURE_BYTES: u64 = 100 << 20;
const DISK_PRESSURE_PERCENT: u64 = 10;
const PID_PRESSURE_PERCENT: u64 = 5;
/// Upstream's `nodeStatusMaxImages`, and the most names told per image.
const MAX_IMAGES: usize = 50;
const MAX_NAMES: usize = 5;
/// What is kept back for the machine itself (upstream's hard eviction threshold for memory, and for storage).
const RESERVED_MEMORY: u64 = MEMORY_PRESSURE_BYTES;

/// The runtime's own word on itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// `name://version`.
    pub runtime_version: String,
    /// Why the node cannot run pods now; empty when it can.
    pub problems: Vec<String>,
}

pub fn labels(config: &Config, machine: &Machine) -> BTreeMap<String, String> {
    let own = [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", machine.arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", machine.arch),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    config.labels.clone().into_iter().chain(own).collect()
}

pub fn new_node(config: &Config, machine: &Machine) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels(config, machine)),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..Default::default()
        },
        spec: Some(NodeSpec {
            taints: Some(config.taints.clone()).filter(|taints| !taints.is_empty()),
            ..Default::default()
        }),
        status: None,
    }
}

fn quantities(machine: &Machine, reserved_memory: u64, storage_percent: u64) -> BTreeMap<String, Quantity> {
    let memory_kib = machine.memory_bytes.saturating_sub(reserved_memory) / 1024;
    let storage = u128::from(machine.storage_bytes) * u128::from(storage_percent) / 100;
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
        ("memory".to_owned(), Quantity(format!("{memory_kib}Ki"))),
        ("pods".to_owned(), Quantity(MAX_PODS.to_string())),
        ("ephemeral-storage".to_owned(), Quantity(storage.to_string())),
    ])
}

pub fn capacity(machine: &Machine) -> BTreeMap<String, Quantity> {
    quantities(machine, 0, 100)
}

pub fn allocatable(machine: &Machine) -> BTreeMap<String, Quantity> {
    quantities(machine, RESERVED_MEMORY, 100 - DISK_PRESSURE_PERCENT)
}

fn condition(
    previous: &[NodeCondition],
    type_: &str,
    (status, reason, message): (bool, &str, String),
    now: Timestamp,
) -> NodeCondition {
    let status = if status { "True" } else { "False" };
    let former = previous.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: former.and_then(|c| c.last_transition_time.clone()).or(Some(Time(now))),
    }
}

fn conditions(previous: &[NodeCondition], load: &Load, ready: &Readiness, now: Timestamp) -> Vec<NodeCondition> {
    let below = |part: u64, percent: u64, whole: u64| u128::from(part) * 100 < u128::from(whole) * u128::from(percent);
    let low_memory = load.memory_available > 0 && load.memory_available < MEMORY_PRESSURE_BYTES;
    let low_disk = below(load.fs.available, DISK_PRESSURE_PERCENT, load.fs.capacity);
    let low_pids = below(load.max_pids.saturating_sub(load.pids), PID_PRESSURE_PERCENT, load.max_pids);
    let memory = if low_memory {
        (true, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available".to_owned())
    } else {
        (false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available".to_owned())
    };
    let disk = if low_disk {
        (true, "KubeletHasDiskPressure", "kubelet has disk pressure".to_owned())
    } else {
        (false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure".to_owned())
    };
    let pids = if low_pids {
        (true, "KubeletHasInsufficientPID", "kubelet has insufficient PID available".to_owned())
    } else {
        (false, "KubeletHasSufficientPID", "kubelet has sufficient PID available".to_owned())
    };
    let ready = if ready.problems.is_empty() {
        (true, "KubeletReady", "kubelet is posting ready status".to_owned())
    } else {
        (false, "KubeletNotReady", ready.problems.join("; "))
    };
    [("MemoryPressure", memory), ("DiskPressure", disk), ("PIDPressure", pids), ("Ready", ready)]
        .into_iter()
        .map(|(type_, state)| condition(previous, type_, state, now))
        .collect()
}

/// The images, largest first, as upstream tells them.
pub fn images(found: Vec<pilothouse_cri::v1::Image>) -> Vec<ContainerImage> {
    let mut images: Vec<ContainerImage> = found
        .into_iter()
        .map(|image| ContainerImage {
            names: Some(image.repo_digests.into_iter().chain(image.repo_tags).take(MAX_NAMES).collect()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .filter(|image| image.names.as_ref().is_some_and(|names| !names.is_empty()))
        .collect();
    images.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.names.cmp(&b.names)));
    images.truncate(MAX_IMAGES);
    images
}

pub fn status(
    config: &Config,
    machine: &Machine,
    (load, ready, images): (&Load, &Readiness, Vec<ContainerImage>),
    previous: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let former = previous.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let mut all = conditions(former, load, ready, now);
    // Conditions of others are kept.
    all.extend(former.iter().filter(|c| !all.iter().any(|own| own.type_ == c.type_)).cloned().collect::<Vec<_>>());
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", config.node_ip.to_string()),
            address("Hostname", config.node_name.clone()),
        ]),
        capacity: Some(capacity(machine)),
        allocatable: Some(allocatable(machine)),
        conditions: Some(all),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: 10250 }) }),
        images: Some(images),
        node_info: Some(NodeSystemInfo {
            architecture: machine.arch.to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: ready.runtime_version.clone(),
            kernel_version: machine.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            ..Default::default()
        }),
        // What others say about the node stays.
        ..previous.cloned().unwrap_or_default()
    }
}

/// Whether two statuses say the same, the times and the order of conditions and what is empty aside.
pub fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            (condition.last_heartbeat_time, condition.last_transition_time) = (None, None);
        }
        if let Some(conditions) = &mut status.conditions {
            conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        }
        status.images = status.images.filter(|images| !images.is_empty());
        // As it is written: times there have no fractions, and what is absent is not there.
        serde_json::to_value(&status).ok()
    };
    still(a) == still(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::machine::Filesystem;

    fn load() -> Load {
        let fs = Filesystem { capacity: 1000, available: 500, ..Default::default() };
        Load { memory_available: 1 << 30, fs, pids: 100, max_pids: 32768 }
    }

    fn status_of(conditions: &[NodeCondition], type_: &str) -> String {
        conditions.iter().find(|c| c.type_ == type_).unwrap().status.clone()
    }

    #[test]
    fn pressure_is_said_when_there_is_some() {
        let now = Timestamp::from_second(1000).unwrap();
        let calm = conditions(&[], &load(), &Readiness::default(), now);
        for (type_, status) in
            [("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False"), ("Ready", "True")]
        {
            assert_eq!(status_of(&calm, type_), status, "{type_}");
        }
        let mut pressed = load();
        (pressed.memory_available, pressed.fs.available, pressed.pids) = (1, 50, 32_700);
        let problem = Readiness { problems: vec!["container runtime is down".into()], ..Default::default() };
        let bad = conditions(&calm, &pressed, &problem, now);
        for (type_, status) in
            [("MemoryPressure", "True"), ("DiskPressure", "True"), ("PIDPressure", "True"), ("Ready", "False")]
        {
            assert_eq!(status_of(&bad, type_), status, "{type_}");
        }
    }

    #[test]
    fn a_condition_keeps_its_transition_until_it_changes() {
        let (first, later) = (Timestamp::from_second(1000).unwrap(), Timestamp::from_second(2000).unwrap());
        let before = conditions(&[], &load(), &Readiness::default(), first);
        let same = conditions(&before, &load(), &Readiness::default(), later);
        assert!(same.iter().all(|c| c.last_transition_time == Some(Time(first))));
        assert!(same.iter().all(|c| c.last_heartbeat_time == Some(Time(later))));
        let problem = Readiness { problems: vec!["x".into()], ..Default::default() };
        let changed = conditions(&same, &load(), &problem, later);
        assert_eq!(changed.iter().find(|c| c.type_ == "Ready").unwrap().last_transition_time, Some(Time(later)));
    }

    #[test]
    fn what_somebody_else_marked_is_noticed() {
        let config = Config {
            node_name: "a".into(),
            node_ip: "10.0.0.1".parse().unwrap(),
            server: "https://127.0.0.1:1".parse().unwrap(),
            tunnel: String::new(),
            ca_pem_file: "/ca".into(),
            bootstrap_token: None,
            data_dir: "/data".into(),
            cri_endpoint: "/cri".into(),
            cni_conf_dir: "/cni".into(),
            cni_bin_dir: "/bin".into(),
            cgroup_root: String::new(),
            cluster_dns: "10.96.0.10".parse().unwrap(),
            cluster_domain: "cluster.local".into(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
        };
        let make = |previous: Option<&NodeStatus>, at: i64| {
            let parts = (&load(), &Readiness::default(), Vec::new());
            status(&config, &Machine::default(), parts, previous, Timestamp::from_second(at).unwrap())
        };
        let first = make(None, 1000);
        assert!(same(&first, &make(Some(&first), 2000)), "only the time has passed");
        let mut marked = first.clone();
        marked.conditions.as_mut().unwrap()[3].status = "Unknown".into();
        let again = make(Some(&marked), 2000);
        assert!(!same(&marked, &again));
        assert_eq!(status_of(again.conditions.as_ref().unwrap(), "Ready"), "True");
    }

    #[test]
    fn the_largest_images_are_told() {
        let image =
            |n: u64| pilothouse_cri::v1::Image { repo_tags: vec![format!("image:{n}")], size: n, ..Default::default() };
        let told = images((0..80).map(image).collect());
        assert_eq!(told.len(), MAX_IMAGES);
        assert_eq!(told[0].names, Some(vec!["image:79".to_owned()]));
    }
}
