//! Ends pods that use more of the node's disk than they may: an emptyDir over its `sizeLimit`, containers over their
//! limits of `ephemeral-storage`.
//!
//! Invariants: a pod is ended only for limits of its own; what cannot be measured counts as nothing.
//! Source: <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#local-ephemeral-storage>

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use pilothouse_api::quantity::Quantity;
use pilothouse_cri::v1;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::cri::labels;
use crate::events::{Subject, Type};
use crate::pods::context::Context;
use crate::pods::memory::Failure;
use crate::pods::{plan, resources};

/// Upstream's monitoring period.
const PERIOD: Duration = Duration::from_secs(10);
/// Folders with more entries than this are not measured to their end: nobody's limit is worth the time.
const MAX_ENTRIES: usize = 200_000;
const RESOURCE: &str = "ephemeral-storage";

/// What a pod has on the node's disk, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Usage {
    /// By volume name; those in memory count as memory.
    empty_dirs: BTreeMap<String, u64>,
    /// By container name: its writable layer and its logs.
    containers: BTreeMap<String, u64>,
}

fn bytes(text: &str) -> Option<u64> {
    Quantity::parse(text).ok()?.value().try_into().ok()
}

/// Volumes on the node's disk that are measured: name, and limit if it has one.
fn empty_dirs(spec: &PodSpec) -> impl Iterator<Item = (&str, Option<&str>)> {
    spec.volumes.iter().flatten().filter_map(|volume| {
        let source = volume.empty_dir.as_ref()?;
        let on_disk = source.medium.as_deref().unwrap_or_default().is_empty();
        on_disk.then_some((volume.name.as_str(), source.size_limit.as_ref().map(|limit| limit.0.as_str())))
    })
}

fn limit(container: &k8s_openapi::api::core::v1::Container) -> Option<u64> {
    u64::try_from(resources::value(resources::limits(container), RESOURCE)?).ok()
}

/// The sum of the containers' limits, if all of them have one.
fn pod_limit(spec: &PodSpec) -> Option<u64> {
    spec.containers.iter().map(limit).sum()
}

/// Whether anything of the pod has a limit.
fn is_limited(spec: &PodSpec) -> bool {
    empty_dirs(spec).any(|(_, limit)| limit.is_some()) || spec.containers.iter().any(|c| limit(c).is_some())
}

/// Which limit the pod has exceeded, in upstream's words.
fn exceeded(spec: &PodSpec, usage: &Usage) -> Option<String> {
    for (name, limit) in empty_dirs(spec) {
        let Some(limit) = limit else { continue };
        if bytes(limit).is_some_and(|most| most > 0 && usage.empty_dirs.get(name).is_some_and(|used| *used > most)) {
            return Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. "));
        }
    }
    let total: u64 = usage.empty_dirs.values().chain(usage.containers.values()).sum();
    if let Some(most) = pod_limit(spec)
        && total > most
    {
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {most}. "));
    }
    spec.containers.iter().find_map(|container| {
        let (most, used) = (limit(container)?, usage.containers.get(&container.name)?);
        let shown = &resources::limits(container)?.get(RESOURCE)?.0;
        let name = &container.name;
        (*used > most).then(|| format!("Container {name} exceeded its local ephemeral storage limit {shown:?}. "))
    })
}

/// The bytes on disk at and below `path`, other filesystems aside.
fn disk_usage(path: &Path) -> u64 {
    let Ok(root) = std::fs::symlink_metadata(path) else { return 0 };
    let (mut total, mut seen, mut waiting) = (0, 0, vec![path.to_owned()]);
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            seen += 1;
            if found.dev() != root.dev() || seen > MAX_ENTRIES {
                continue;
            }
            total += found.blocks() * 512;
            if found.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    total
}

fn measure(context: &Context, pod: &Pod, layers: &BTreeMap<(String, String), u64>) -> Usage {
    let (Some(spec), Some(uid)) = (&pod.spec, &pod.metadata.uid) else { return Usage::default() };
    let logs = context.log_dir(pod);
    let path = |name: &str| -> PathBuf { context.mounter.empty_dir(uid, name) };
    let layer = |name: &str| layers.get(&(uid.clone(), name.to_owned())).copied().unwrap_or(0);
    Usage {
        empty_dirs: empty_dirs(spec).map(|(name, _)| (name.to_owned(), disk_usage(&path(name)))).collect(),
        containers: spec
            .containers
            .iter()
            .map(|c| (c.name.clone(), layer(&c.name) + disk_usage(&logs.join(&c.name))))
            .collect(),
    }
}

async fn layers(context: &Context) -> BTreeMap<(String, String), u64> {
    let all = context.runtime.list_container_stats().await.unwrap_or_default();
    let of = |stats: v1::ContainerStats| {
        let labels = stats.attributes?.labels;
        let key = (labels.get(labels::POD_UID)?.clone(), labels.get(labels::CONTAINER_NAME)?.clone());
        Some((key, stats.writable_layer?.used_bytes?.value))
    };
    all.into_iter().filter_map(of).collect()
}

/// Looks after the pods' use of the disk until `shutdown`.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    loop {
        tokio::select! { () = tokio::time::sleep(PERIOD) => {}, () = shutdown.cancelled() => return }
        let pods = context.registry.all();
        let limited = |pod: &Arc<Pod>| pod.spec.as_ref().is_some_and(is_limited) && !plan::is_terminal(pod);
        let pods: Vec<Arc<Pod>> = pods.into_iter().filter(limited).collect();
        if pods.is_empty() {
            continue;
        }
        let layers = layers(&context).await;
        let measuring = Arc::clone(&context);
        let look = move || {
            let over = |pod: Arc<Pod>| {
                let message = exceeded(pod.spec.as_ref()?, &measure(&measuring, &pod, &layers))?;
                Some((pod, message))
            };
            pods.into_iter().filter_map(over).collect::<Vec<_>>()
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(over) => over.into_iter().for_each(|(pod, message)| evict(&context, &pod, message)),
            Err(error) => debug!(%error, "the use of the disk was not measured"),
        }
    }
}

fn evict(context: &Context, pod: &Pod, message: String) {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let failure = Failure { reason: "Evicted".to_owned(), message: message.clone(), disruption: None };
    if context.registry.end(uid, failure) {
        info!(pod = pod.metadata.name, message, "evicting");
        context.recorder.tell(Subject::pod(pod), Type::Warning, "Evicted", message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_limit_counts() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [
                {"name": "a", "resources": {"limits": {"ephemeral-storage": "1Ki"}}},
                {"name": "b", "resources": {"limits": {"ephemeral-storage": "2Ki"}}}],
            "volumes": [
                {"name": "v", "emptyDir": {"sizeLimit": "2Ki"}}, {"name": "free", "emptyDir": {}},
                {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1"}}]}))
        .unwrap();
        let check = |dirs: &[(&str, u64)], containers: &[(&str, u64)], want: Option<&str>| {
            let map = |all: &[(&str, u64)]| all.iter().map(|(name, used)| ((*name).to_owned(), *used)).collect();
            let usage = Usage { empty_dirs: map(dirs), containers: map(containers) };
            assert_eq!(exceeded(&spec, &usage).as_deref(), want, "{usage:?}");
        };
        check(&[("v", 2048)], &[("a", 1024)], None);
        check(&[("v", 2049)], &[], Some("Usage of EmptyDir volume \"v\" exceeds the limit \"2Ki\". "));
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 3072. ";
        check(&[("free", 3000)], &[("b", 100)], Some(whole));
        let one = "Container a exceeded its local ephemeral storage limit \"1Ki\". ";
        check(&[], &[("a", 1025)], Some(one));
        assert!(is_limited(&spec));
        let free: PodSpec = serde_json::from_value(json!({"containers": [{"name": "a"}]})).unwrap();
        assert!(!is_limited(&free) && exceeded(&free, &Usage::default()).is_none());
    }

    #[test]
    fn what_is_on_disk_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), vec![1; 100_000]).unwrap();
        let used = disk_usage(dir.path());
        assert!((100_000..200_000).contains(&used), "{used}");
        assert_eq!(disk_usage(&dir.path().join("none")), 0);
    }
}
