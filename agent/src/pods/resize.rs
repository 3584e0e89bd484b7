//! Resources that change while a pod runs: what has to be set, and whether the node has room for it. Pure.
//! Source: <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>, KEP-1287

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use pilothouse_cri::v1::LinuxContainerResources;

use super::memory::Waiting;
use super::observed::{self, Observed};
use super::resources::{self, milli, pod_request, value};

/// Resources by container name, as its newest instance has them.
pub type Actual = BTreeMap<String, ResourceRequirements>;

/// What can change without another pod.
const CHANGEABLE: [&str; 2] = ["cpu", "memory"];

/// One running container that does not have what its spec says.
#[derive(Clone, Debug)]
pub struct Change {
    pub name: String,
    pub id: String,
    pub wanted: LinuxContainerResources,
    pub requirements: ResourceRequirements,
    /// Its `resizePolicy` has it restarted for this.
    pub restart: bool,
}

fn requirements(container: &Container) -> ResourceRequirements {
    container.resources.clone().unwrap_or_default()
}

fn differs(name: &str, a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    let of = |r: &ResourceRequirements| (milli(r.requests.as_ref(), name), milli(r.limits.as_ref(), name));
    of(a) != of(b)
}

/// What the API said of a container before this agent knew it.
#[must_use]
pub fn told(pod: &Pod, seen: &observed::Container) -> Option<ResourceRequirements> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let is_it = |id: &Option<String>| id.as_deref().is_some_and(|id| id.ends_with(&seen.id));
    all.into_iter().find(|status| status.name == seen.name && is_it(&status.container_id))?.resources.clone()
}

/// The running containers that do not have what their spec says.
#[must_use]
pub fn due(spec: &PodSpec, observed: &Observed, actual: &Actual, node_memory: u64) -> Vec<Change> {
    let mut due = Vec::new();
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let Some(seen) = observed.newest(&container.name).filter(|seen| seen.is_running()) else { continue };
        let Some(has) = actual.get(&container.name) else { continue };
        let wanted = requirements(container);
        let changed: Vec<&str> = CHANGEABLE.into_iter().filter(|name| differs(name, has, &wanted)).collect();
        if changed.is_empty() {
            continue;
        }
        let policies = || container.resize_policy.iter().flatten();
        let restarts = |name: &&str| {
            policies().any(|policy| policy.resource_name == **name && policy.restart_policy == "RestartContainer")
        };
        due.push(Change {
            name: container.name.clone(),
            id: seen.id.clone(),
            wanted: resources::of_container(spec, container, node_memory),
            requirements: wanted,
            restart: changed.iter().any(restarts),
        });
    }
    due
}

/// The pod with the resources that its containers have, where its spec says others by now; none if it says the same.
#[must_use]
pub fn held_back(pod: &Pod, actual: &Actual) -> Option<Pod> {
    let spec = pod.spec.as_ref()?;
    let is_other = |container: &Container| {
        let wanted = requirements(container);
        let has = actual.get(&container.name);
        has.is_some_and(|has| CHANGEABLE.into_iter().any(|name| differs(name, has, &wanted)))
    };
    if !spec.init_containers.iter().flatten().chain(&spec.containers).any(is_other) {
        return None;
    }
    let mut pod = pod.clone();
    let spec = pod.spec.as_mut()?;
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if is_other(container) {
            container.resources = actual.get(&container.name).cloned();
        }
    }
    Some(pod)
}

/// Why the node cannot give the pod what it asks for now: never, or not as long as the others are here.
#[must_use]
pub fn refuse(spec: &PodSpec, others: &[&PodSpec], allocatable: &BTreeMap<String, Quantity>) -> Option<Waiting> {
    for name in CHANGEABLE {
        let has = if name == "cpu" { milli(Some(allocatable), name) } else { value(Some(allocatable), name) };
        let (wants, has) = (pod_request(spec, name), has.unwrap_or(0));
        if wants > has {
            let message = format!("Node didn't have enough capacity: {name}, requested: {wants}, capacity: {has}");
            return Some(Waiting { reason: "Infeasible".to_owned(), message });
        }
        let used: i64 = others.iter().map(|other| pod_request(other, name)).sum();
        if wants > 0 && wants > has - used {
            let message =
                format!("Node didn't have enough resource: {name}, requested: {wants}, used: {used}, capacity: {has}");
            return Some(Waiting { reason: "Deferred".to_owned(), message });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn spec(cpu: &str, memory: &str) -> PodSpec {
        let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        let resources = json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}});
        let container: Value = json!({"name": "c", "image": "i", "resizePolicy": policy, "resources": resources});
        serde_json::from_value(json!({"containers": [container]})).unwrap()
    }

    fn running() -> Observed {
        let container = observed::Container {
            id: "id".into(),
            name: "c".into(),
            sandbox: "s".into(),
            restart_count: 0,
            hash: String::new(),
            state: observed::State::Running,
            created_at: Timestamp::UNIX_EPOCH,
            started_at: Timestamp::UNIX_EPOCH,
            image: String::new(),
            image_ref: String::new(),
            log_path: String::new(),
        };
        Observed { sandboxes: Vec::new(), containers: vec![container] }
    }

    #[test]
    fn what_changed_is_due_and_its_policy_counts() {
        let has = Actual::from([("c".to_owned(), requirements(&spec("100m", "64Mi").containers[0]))]);
        let due = |cpu: &str, memory: &str| {
            let changes = due(&spec(cpu, memory), &running(), &has, 1 << 34);
            changes.first().map(|change| (change.wanted.cpu_quota, change.wanted.memory_limit_in_bytes, change.restart))
        };
        assert_eq!(due("100m", "64Mi"), None);
        assert_eq!(due("0.1", "65536Ki"), None, "the same in other words");
        assert_eq!(due("200m", "64Mi"), Some((20_000, 64 << 20, false)));
        assert_eq!(due("200m", "32Mi"), Some((20_000, 32 << 20, true)));
    }

    #[test]
    fn what_was_refused_is_held_back() {
        let has = Actual::from([("c".to_owned(), requirements(&spec("100m", "64Mi").containers[0]))]);
        let held = |cpu: &str| {
            let pod = Pod { spec: Some(spec(cpu, "64Mi")), ..Pod::default() };
            let held = held_back(&pod, &has)?.spec?.containers.remove(0);
            milli(held.resources?.limits.as_ref(), "cpu")
        };
        assert_eq!(held("0.1"), None, "the same");
        assert_eq!(held("3"), Some(100));
    }

    #[test]
    fn the_node_must_have_room() {
        let node =
            BTreeMap::from([("cpu".to_owned(), Quantity("2".into())), ("memory".to_owned(), Quantity("1Gi".into()))]);
        let other = spec("1", "64Mi");
        let reason = |cpu: &str, memory: &str| refuse(&spec(cpu, memory), &[&other], &node).map(|why| why.reason);
        assert_eq!(reason("1", "64Mi"), None);
        assert_eq!(reason("1500m", "64Mi").as_deref(), Some("Deferred"));
        assert_eq!(reason("3", "64Mi").as_deref(), Some("Infeasible"));
        assert_eq!(reason("1", "2Gi").as_deref(), Some("Infeasible"));
    }
}
