//! A pod's volumes: made before its sandbox, brought up to date while it runs, unmade after its end.
//!
//! Invariants: preparing is idempotent (an agent that restarts prepares again); what is secret never touches a disk;
//! tearing down never follows a link and never deletes what a mount shows.

pub mod atomic;
pub mod claims;
pub mod content;
pub mod host_path;
pub mod image;
mod mounts;
pub mod ownership;
pub mod subpath;
pub mod token;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, PodSpec, Volume};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tracing::{debug, warn};

use self::content::{Fetched, Source};
use self::mounts::is_mounted;
use self::ownership::Ownership;
use self::token::Tokens;
use crate::objects::Objects;
use crate::pods::downward::Facts;

const EMPTY_DIR: &str = "kubernetes.io~empty-dir";

/// A volume of a prepared pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    pub path: PathBuf,
    pub read_only: bool,
}

/// By volume name.
pub type Volumes = BTreeMap<String, Mounted>;

/// Why a volume could not be made: the `FailedMount` event.
#[derive(Clone, Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {message}")]
pub struct Error {
    pub volume: String,
    pub message: String,
}

/// Makes the volumes of all pods on this node.
pub struct Mounter {
    pods_dir: PathBuf,
    /// A tmpfs of our own: what is secret lies there.
    memory_dir: PathBuf,
    objects: Arc<Objects>,
    tokens: Tokens,
}

fn mount_tmpfs(path: &Path, options: &str) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if is_mounted(path) {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options))?;
    Ok(())
}

fn fs_group(spec: &PodSpec) -> Option<u32> {
    u32::try_from(spec.security_context.as_ref()?.fs_group?).ok()
}

/// The user that all of the pod's containers run as, if it is one: then its token belongs to that user.
fn common_user(spec: &PodSpec) -> Option<u32> {
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut users = all.map(|container| crate::pods::cri_config::run_as_user(spec, container));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

impl Mounter {
    #[must_use]
    pub fn new(data_dir: &Path, objects: Arc<Objects>) -> Self {
        let memory_dir = data_dir.join("memory");
        if let Err(error) = mount_tmpfs(&memory_dir, "mode=0755") {
            warn!(%error, "no tmpfs for secrets could be mounted: they lie on the disk");
        }
        Self { pods_dir: data_dir.join("pods"), memory_dir, objects, tokens: Tokens::default() }
    }

    fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir.join(uid)
    }

    fn volume_dir(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod_dir(uid).join("volumes").join(plugin).join(name)
    }

    /// Where an emptyDir lies.
    #[must_use]
    pub fn empty_dir(&self, uid: &str, name: &str) -> PathBuf {
        self.volume_dir(uid, EMPTY_DIR, name)
    }

    /// Makes every volume of the pod, or says which one could not be made.
    ///
    /// # Errors
    /// The first volume that failed. What was made stays, for the next attempt.
    pub async fn prepare(&self, pod: &Pod, facts: &Facts) -> Result<Volumes, Error> {
        let mut volumes = Volumes::new();
        let Some(spec) = &pod.spec else { return Ok(volumes) };
        for volume in spec.volumes.iter().flatten() {
            let made = self.make(pod, spec, volume, facts).await;
            let made = made.map_err(|message| Error { volume: volume.name.clone(), message })?;
            volumes.insert(volume.name.clone(), made);
        }
        Ok(volumes)
    }

    /// Mounts an image for [`Self::prepare`].
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn mount_image(&self, socket: &Path, uid: &str, volume: &str, id: &str) -> Result<(), Error> {
        let mounted = image::mount(socket, id, &self.volume_dir(uid, image::PLUGIN, volume)).await;
        mounted.map_err(|message| Error { volume: volume.to_owned(), message })
    }

    /// Brings the files of ConfigMaps, Secrets, tokens and the downward API up to date.
    pub async fn refresh(&self, pod: &Pod, facts: &Facts) {
        let Some(spec) = &pod.spec else { return };
        for volume in spec.volumes.iter().flatten() {
            if content::sources(volume).is_some()
                && let Err(message) = self.write_files(pod, spec, volume, facts, crate::objects::SETTLED).await
            {
                // What is there stays: an object that was deleted does not take its files from a running pod.
                warn!(pod = pod.metadata.name, volume = volume.name, message, "a volume is not up to date");
            }
        }
    }

    /// Whether the pod has volumes that may have to be brought up to date.
    #[must_use]
    pub fn is_live(pod: &Pod) -> bool {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        volumes.into_iter().flatten().any(|volume| content::sources(volume).is_some())
    }

    async fn make(&self, pod: &Pod, spec: &PodSpec, volume: &Volume, facts: &Facts) -> Result<Mounted, String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if content::sources(volume).is_some() {
            let path = self.write_files(pod, spec, volume, facts, crate::objects::FRESH).await?;
            return Ok(Mounted { path, read_only: true });
        }
        if let Some(empty) = &volume.empty_dir {
            let path = self.empty_dir(uid, &volume.name);
            let ownership = self.ownership(spec, false);
            let empty = empty.clone();
            let made = path.clone();
            run_blocking(move || make_empty_dir(&made, &empty, &ownership)).await?;
            return Ok(Mounted { path, read_only: false });
        }
        if let Some(host) = &volume.host_path {
            let path = PathBuf::from(&host.path);
            host_path::check(&path, host.type_.as_deref().unwrap_or_default())?;
            return Ok(Mounted { path, read_only: false });
        }
        if volume.image.is_some() {
            let path = self.volume_dir(uid, image::PLUGIN, &volume.name);
            let mounted = is_mounted(&path);
            return if mounted {
                Ok(Mounted { path, read_only: true })
            } else {
                Err("the image is not mounted".into())
            };
        }
        if let Some((claim, read_only)) = claims::claim_name(pod, volume) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let claimed = claims::resolve(self.objects.client(), namespace, &claim, read_only).await?;
            if claimed.owned && !claimed.read_only {
                let (path, ownership) = (claimed.path.clone(), self.ownership(spec, false));
                run_blocking(move || ownership.apply(&path)).await?;
            }
            return Ok(Mounted { path: claimed.path, read_only: claimed.read_only });
        }
        Err("volumes of this type are not supported by this node".to_owned())
    }

    fn ownership(&self, spec: &PodSpec, read_only: bool) -> Ownership {
        let policy = spec.security_context.as_ref().and_then(|context| context.fs_group_change_policy.as_deref());
        Ownership { group: fs_group(spec), read_only, only_on_mismatch: policy == Some("OnRootMismatch") }
    }

    async fn write_files(
        &self,
        pod: &Pod,
        spec: &PodSpec,
        volume: &Volume,
        facts: &Facts,
        max_age: Duration,
    ) -> Result<PathBuf, String> {
        let Some(sources) = content::sources(volume) else { return Err("the volume has no files".to_owned()) };
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let fetched = self.fetch(pod, &sources.0, max_age).await?;
        let owner = (common_user(spec), fs_group(spec).is_some());
        let payload = content::payload(pod, &sources, &fetched, facts, owner)?;
        let is_secret = sources.0.iter().any(|source| matches!(source, Source::Secret { .. } | Source::Token(_)));
        let dir = if is_secret {
            self.memory_dir.join(uid).join(&volume.name)
        } else {
            self.volume_dir(uid, "kubernetes.io~projected", &volume.name)
        };
        // The group's part of every generation is set as it is written, whatever the policy says of the root.
        let ownership = Ownership { only_on_mismatch: false, ..self.ownership(spec, true) };
        let made = dir.clone();
        let stamp = jiff::Timestamp::now().as_nanosecond().to_string();
        run_blocking(move || {
            fs::create_dir_all(&made)?;
            fs::set_permissions(&made, fs::Permissions::from_mode(0o777))?;
            atomic::write(&made, &payload, &ownership, &stamp).map(drop)
        })
        .await?;
        Ok(dir)
    }

    async fn fetch(&self, pod: &Pod, sources: &[Source], max_age: Duration) -> Result<Fetched, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut fetched = Fetched::default();
        for source in sources {
            match source {
                Source::ConfigMap { name, .. } => {
                    let map = self.objects.config_map(namespace, name, max_age).await?;
                    fetched.config_maps.insert(name.clone(), (*map).clone());
                }
                Source::Secret { name, .. } => {
                    let secret = self.objects.secret(namespace, name, max_age).await?;
                    fetched.secrets.insert(name.clone(), (*secret).clone());
                }
                Source::Token(projection) => {
                    let token = self.tokens.get(self.objects.client(), pod, projection).await?;
                    fetched.tokens.insert(projection.path.clone(), token);
                }
                Source::Downward { .. } | Source::Unsupported(_) => {}
            }
        }
        Ok(fetched)
    }

    /// The host's path for a mount of a part of a volume. `index` tells the mounts of one container apart.
    ///
    /// # Errors
    /// Upstream's words for a path that leads out of its volume.
    pub async fn sub_path(
        &self,
        uid: &str,
        volume: &Mounted,
        sub: &str,
        (container, index): (&str, usize),
    ) -> Result<PathBuf, String> {
        let target = self.pod_dir(uid).join("volume-subpaths").join(container).join(index.to_string());
        let (root, sub, made) = (volume.path.clone(), PathBuf::from(sub), target.clone());
        let failed = |error| format!("failed to prepare subPath for volumeMount of container {container:?}: {error}");
        run_blocking(move || subpath::bind(&root, &sub, &made)).await.map_err(failed)?;
        Ok(target)
    }

    /// Unmounts and removes everything of the pod. What cannot be removed now is removed with the next attempt.
    ///
    /// # Errors
    /// What is still in use.
    pub async fn tear_down(&self, socket: &Path, uid: &str) -> Result<(), String> {
        if uid.is_empty() || uid.contains('/') || uid.starts_with('.') {
            return Err(format!("{uid:?} is no pod's uid"));
        }
        self.tokens.forget(uid);
        let (pod_dir, memory) = (self.pod_dir(uid), self.memory_dir.join(uid));
        let images = entries(&pod_dir.join("volumes").join(image::PLUGIN));
        let mounted = [entries(&pod_dir.join("volumes").join(EMPTY_DIR)), images.clone()].concat();
        let subpaths = pod_dir.join("volume-subpaths");
        run_blocking(move || {
            subpath::unbind_all(&subpaths);
            for volume in mounted.iter().filter(|volume| is_mounted(volume)) {
                umount2(volume, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
            }
            Ok(())
        })
        .await?;
        for image in &images {
            // containerd forgets it by itself after a day.
            if let Err(error) = image::release(socket, image).await {
                debug!(target = %image.display(), error, "the view of an image was not released");
            }
        }
        run_blocking(move || {
            // What is still mounted (by whomever) must survive.
            if let Some(held) = mounts::first_below(&pod_dir)? {
                return Err(io::Error::other(format!("{} is still mounted", held.display())));
            }
            remove(&memory)?;
            remove(&pod_dir)
        })
        .await
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_empty_dir(path: &Path, source: &EmptyDirVolumeSource, ownership: &Ownership) -> io::Result<()> {
    let fresh = !path.exists();
    fs::create_dir_all(path)?;
    if source.medium.as_deref() == Some("Memory") {
        let limit = source.size_limit.as_ref();
        let bytes =
            limit.and_then(|limit| pilothouse_api::quantity::Quantity::parse(&limit.0).ok()?.value().try_into().ok());
        let bytes = bytes.filter(|bytes: &u64| *bytes > 0);
        mount_tmpfs(path, &bytes.map_or_else(String::new, |bytes| format!("size={bytes}")))?;
    } else if source.medium.as_deref().is_some_and(|medium| medium.starts_with("HugePages")) {
        return Err(io::Error::other("huge pages are not supported by this node"));
    }
    if fresh || source.medium.is_some() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    }
    ownership.apply(path)
}

async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) => Err(format!("the work was interrupted: {error}")),
    }
}
