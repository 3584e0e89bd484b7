//! What nobody needs any more: grown logs, folders and cgroups of pods that are gone, images when the disk is full.
//!
//! Invariants: nothing of a pod that the API has is touched; the sandbox image, and any with the same id, is never
//! removed; where the runtime does not tell its sandbox image, no image is.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pilothouse_cri::v1;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::cri::labels;
use crate::events::{Subject, Type};
use crate::logs;
use crate::node::machine::filesystem;
use crate::pods::context::Context;
use crate::pods::{cri_config, execute, images};

const ROTATE: Duration = Duration::from_secs(10);
/// Every so many rotations.
const SWEEP: u32 = 6;
const IMAGES: u32 = 30;
/// Upstream's thresholds of disk use, and the least age of an unused image.
const HIGH_PERCENT: u64 = 85;
const LOW_PERCENT: u64 = 80;
const MIN_AGE: SignedDuration = SignedDuration::from_mins(2);

/// Runs until `shutdown`. To be started once the API has said which pods are here.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let mut round = 0_u32;
    let mut unused_since: BTreeMap<String, Timestamp> = BTreeMap::new();
    loop {
        tokio::select! { () = tokio::time::sleep(ROTATE) => {}, () = shutdown.cancelled() => return }
        round = round.wrapping_add(1);
        let Ok(containers) = context.runtime.list_containers(None).await else { continue };
        rotate(&context, &containers).await;
        if round.is_multiple_of(SWEEP) {
            sweep(&context, &containers).await;
        }
        if round.is_multiple_of(IMAGES)
            && let Err(error) = collect_images(&context, &containers, &mut unused_since).await
        {
            warn!(%error, "images were not collected");
        }
    }
}

async fn rotate(context: &Context, containers: &[v1::Container]) {
    for container in containers.iter().filter(|c| c.state == i32::from(v1::ContainerState::ContainerRunning)) {
        let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        let Some(pod) = context.registry.by_uid(&label(labels::POD_UID)) else { continue };
        let count = container.annotations.get(labels::RESTART_COUNT).and_then(|text| text.parse().ok()).unwrap_or(0);
        let path = context.log_dir(&pod).join(cri_config::log_path(&label(labels::CONTAINER_NAME), count));
        match logs::rotate(&path, logs::MAX_SIZE, logs::MAX_FILES, Timestamp::now()) {
            Ok(true) => {
                if let Err(error) = context.runtime.reopen_container_log(&container.id).await {
                    warn!(container = container.id, %error, "a container's log was not reopened");
                }
            }
            Ok(false) => {}
            Err(error) => debug!(path = %path.display(), %error, "a log was not rotated"),
        }
    }
}

/// Removes what pods have left that neither the API nor the runtime knows.
async fn sweep(context: &Context, containers: &[v1::Container]) {
    let Ok(sandboxes) = context.runtime.list_pod_sandboxes(None).await else { return };
    let known: HashSet<String> = {
        let of_labels = |labels: &std::collections::HashMap<String, String>| labels.get(labels::POD_UID).cloned();
        let pods = context.registry.all().into_iter().filter_map(|pod| pod.metadata.uid.clone());
        let sandboxes = sandboxes.iter().filter_map(|sandbox| of_labels(&sandbox.labels));
        pods.chain(sandboxes).chain(containers.iter().filter_map(|c| of_labels(&c.labels))).collect()
    };
    let dirs = std::fs::read_dir(context.config().pods_dir()).into_iter().flatten().flatten();
    let mut left: HashSet<String> = dirs.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    left.extend(context.cgroups.iter().flat_map(crate::cgroups::Cgroups::pods));
    for uid in left.difference(&known) {
        match execute::tear_down(context, uid).await {
            Ok(()) => info!(uid, "removed what a pod had left"),
            Err(message) => warn!(uid, message, "what a pod has left was not removed"),
        }
    }
    for entry in std::fs::read_dir(context.config().logs_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        if name.rsplit('_').next().is_some_and(|uid| !known.contains(uid))
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            warn!(name, %error, "the logs of a pod that is gone were not removed");
        }
    }
}

/// The images to remove until so many bytes are free, those unused longest first. Pure.
fn choose(
    found: &[v1::Image],
    used: &BTreeMap<String, usize>,
    keep: &HashSet<String>,
    unused_since: &BTreeMap<String, Timestamp>,
    (bytes, now): (u64, Timestamp),
) -> Vec<String> {
    let names = |image: &v1::Image| -> Vec<String> {
        std::iter::once(&image.id).chain(&image.repo_tags).chain(&image.repo_digests).cloned().collect()
    };
    let mut free: Vec<(Timestamp, &v1::Image)> = found
        .iter()
        .filter(|image| !image.pinned)
        .filter(|image| !names(image).iter().any(|name| used.contains_key(name) || keep.contains(name)))
        .filter_map(|image| Some((*unused_since.get(&image.id)?, image)))
        .filter(|(since, _)| now.duration_since(*since) >= MIN_AGE)
        .collect();
    free.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.id.cmp(&b.1.id)));
    let (mut chosen, mut freed) = (Vec::new(), 0);
    for (_, image) in free {
        if freed >= bytes {
            break;
        }
        freed += image.size;
        chosen.push(image.id.clone());
    }
    chosen
}

async fn collect_images(
    context: &Context,
    containers: &[v1::Container],
    unused_since: &mut BTreeMap<String, Timestamp>,
) -> crate::cri::Result<()> {
    let Some(sandbox) = context.runtime.sandbox_image().await? else { return Ok(()) };
    let found = context.runtime.list_images().await?;
    let now = Timestamp::now();
    let mut used = images::in_use(containers);
    for pod in context.registry.all() {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for reference in volumes.filter_map(|volume| images::normalize(volume.image.as_ref()?.reference.as_deref()?)) {
            if let Some(image) = context.runtime.image_status(&reference).await? {
                *used.entry(image.id).or_default() += 1;
            }
        }
    }
    unused_since.retain(|id, _| found.iter().any(|image| image.id == *id) && !used.contains_key(id));
    for image in found.iter().filter(|image| !used.contains_key(&image.id)) {
        unused_since.entry(image.id.clone()).or_insert(now);
    }
    // Removing an image removes every name of its id.
    let mut keep = HashSet::from([sandbox.clone()]);
    keep.extend(context.runtime.image_status(&sandbox).await?.map(|image| image.id));
    let Some(mountpoint) = context.runtime.image_fs_info().await?.into_iter().find_map(|fs| fs.fs_id) else {
        return Ok(());
    };
    let fs = filesystem(std::path::Path::new(&mountpoint.mountpoint));
    if fs.capacity == 0 || fs.used * 100 / fs.capacity < HIGH_PERCENT {
        return Ok(());
    }
    let bytes = fs.used.saturating_sub(fs.capacity / 100 * LOW_PERCENT);
    let chosen = choose(&found, &used, &keep, unused_since, (bytes, now));
    if chosen.is_empty() {
        let message = format!(
            "Failed to garbage collect required amount of images. Attempted to free {bytes} bytes, but only found 0 bytes eligible to free."
        );
        let subject = Subject::node(&context.config().node_name);
        context.recorder.tell(subject, Type::Warning, "FreeDiskSpaceFailed", message);
    }
    for id in chosen {
        info!(id, "removing an unused image");
        context.runtime.remove_image(&id).await?;
        unused_since.remove(&id);
    }
    context.node.look.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_images_go_oldest_first_and_never_the_sandboxes() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let image = |id: &str| v1::Image {
            id: id.to_owned(),
            repo_tags: vec![format!("{id}:tag")],
            size: 10,
            ..Default::default()
        };
        let found = ["pause", "used", "old", "young", "new"].map(image);
        let used = BTreeMap::from([("used".to_owned(), 1)]);
        let keep = HashSet::from(["pause:tag".to_owned()]);
        let since: BTreeMap<String, Timestamp> = [("pause", 1), ("used", 1), ("old", 5), ("young", 9), ("new", 990)]
            .into_iter()
            .map(|(id, seconds)| (id.to_owned(), at(seconds)))
            .collect();
        let chosen = |bytes: u64| choose(&found, &used, &keep, &since, (bytes, at(1000)));
        assert_eq!(chosen(5), ["old"]);
        assert_eq!(chosen(1000), ["old", "young"]);
        assert!(chosen(0).is_empty());
    }
}
