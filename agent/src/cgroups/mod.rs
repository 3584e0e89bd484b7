//! The pods' cgroups: `ROOT/{guaranteed pods, burstable/, besteffort/}pod<uid>`, in version 1 and in version 2.
//!
//! Invariants: a pod's limits are set before its first process runs; a cgroup is removed only when it is empty.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{debug, warn};

use crate::pods::resources::{PodLimits, Qos};

/// The controllers of version 1 in which the agent makes groups itself; the runtime makes the others.
const V1_CONTROLLERS: &[&str] = &["cpu", "memory", "pids"];
/// What is delegated down the tree of version 2.
const V2_CONTROLLERS: &[&str] = &["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The hierarchies of this machine.
#[derive(Clone, Debug)]
pub struct Cgroups {
    mount: PathBuf,
    version: Version,
    /// Relative to the hierarchies' roots, without slashes around it.
    root: String,
}

fn write(path: &Path, value: impl ToString) -> io::Result<()> {
    let value = value.to_string();
    fs::write(path, &value)
        .map_err(|error| io::Error::new(error.kind(), format!("{} = {value}: {error}", path.display())))
}

/// Version 2's weight (1 to 10000) for version 1's shares (2 to 262144), as runtimes convert it.
fn weight(shares: i64) -> i64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

impl Cgroups {
    #[must_use]
    pub fn new(root: &str) -> Self {
        Self::at(Path::new("/sys/fs/cgroup"), root)
    }

    fn at(mount: &Path, root: &str) -> Self {
        // The hybrid layout has version 1's controllers, and version 2 without any of ours.
        let version = if mount.join("cgroup.controllers").exists() { Version::Two } else { Version::One };
        Self { mount: mount.to_owned(), version, root: root.trim_matches('/').to_owned() }
    }

    /// The pod's cgroup as the runtime is told it, from the hierarchy's root.
    #[must_use]
    pub fn parent(&self, uid: &str, qos: Qos) -> String {
        let class = match qos {
            Qos::Guaranteed => "",
            Qos::Burstable => "burstable/",
            Qos::BestEffort => "besteffort/",
        };
        format!("/{}/{class}pod{uid}", self.root)
    }

    fn hierarchies(&self) -> Vec<PathBuf> {
        match self.version {
            Version::Two => vec![self.mount.clone()],
            Version::One => {
                let all = fs::read_dir(&self.mount).into_iter().flatten().flatten();
                // Some are links to others (cpu -> cpu,cpuacct).
                all.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
            }
        }
    }

    /// Makes the pod's cgroup and sets its limits; again for new limits.
    ///
    /// # Errors
    /// What could not be made or written.
    pub fn create(&self, uid: &str, qos: Qos, limits: &PodLimits) -> io::Result<()> {
        let group = self.parent(uid, qos);
        let group = group.trim_start_matches('/');
        match self.version {
            Version::One => self.create_v1(group, limits),
            Version::Two => self.create_v2(group, limits),
        }
    }

    fn create_v1(&self, group: &str, limits: &PodLimits) -> io::Result<()> {
        for controller in V1_CONTROLLERS {
            let hierarchy = self.mount.join(controller);
            if !hierarchy.exists() {
                debug!(controller, "the machine has no such controller");
                continue;
            }
            let dir = hierarchy.join(group);
            fs::create_dir_all(&dir)?;
            match *controller {
                "cpu" => {
                    write(&dir.join("cpu.shares"), limits.cpu_shares)?;
                    write(&dir.join("cpu.cfs_period_us"), limits.cpu_period_micros)?;
                    write(&dir.join("cpu.cfs_quota_us"), limits.cpu_quota_micros.unwrap_or(-1))?;
                }
                "memory" => write(&dir.join("memory.limit_in_bytes"), limits.memory_bytes.unwrap_or(-1))?,
                _ => {}
            }
        }
        // The class as a whole yields to whoever asked for something.
        let _ = write(&self.mount.join("cpu").join(&self.root).join("besteffort/cpu.shares"), 2);
        Ok(())
    }

    fn create_v2(&self, group: &str, limits: &PodLimits) -> io::Result<()> {
        let available = fs::read_to_string(self.mount.join("cgroup.controllers"))?;
        let wanted: Vec<String> = available
            .split_whitespace()
            .filter(|controller| V2_CONTROLLERS.contains(controller))
            .map(|controller| format!("+{controller}"))
            .collect();
        let mut dir = self.mount.clone();
        for part in Path::new(group) {
            // A group hands controllers on only when told to, and only while no process is in it.
            let control = dir.join("cgroup.subtree_control");
            if let Err(error) = write(&control, wanted.join(" ")) {
                warn!(%error, "controllers are not handed on");
            }
            dir = dir.join(part);
            match fs::create_dir(&dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let period = limits.cpu_period_micros;
        let quota = limits.cpu_quota_micros.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        write(&dir.join("cpu.weight"), weight(limits.cpu_shares))?;
        write(&dir.join("cpu.max"), format!("{quota} {period}"))?;
        let memory = limits.memory_bytes.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
        write(&dir.join("memory.max"), memory)
    }

    /// Removes the pod's cgroup from every hierarchy, with the empty ones below it.
    ///
    /// # Errors
    /// When one is still in use.
    pub fn remove(&self, uid: &str) -> io::Result<()> {
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            let group = self.parent(uid, qos);
            for hierarchy in self.hierarchies() {
                remove_tree(&hierarchy.join(group.trim_start_matches('/')))?;
            }
        }
        Ok(())
    }

    /// The uids of the pods that have a cgroup.
    #[must_use]
    pub fn pods(&self) -> Vec<String> {
        let mut uids = Vec::new();
        for hierarchy in self.hierarchies() {
            for class in ["", "burstable", "besteffort"] {
                let dir = hierarchy.join(&self.root).join(class);
                for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                    let name = entry.file_name();
                    uids.extend(name.to_str().and_then(|name| name.strip_prefix("pod")).map(str::to_owned));
                }
            }
        }
        uids.sort_unstable();
        uids.dedup();
        uids
    }
}

/// Groups are removed from the leaves up; the files in them are the kernel's.
fn remove_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> PodLimits {
        PodLimits { cpu_shares: 512, cpu_quota_micros: Some(50_000), cpu_period_micros: 100_000, memory_bytes: None }
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn version_one() {
        let dir = tempfile::tempdir().unwrap();
        for controller in ["cpu", "memory", "pids", "freezer"] {
            fs::create_dir(dir.path().join(controller)).unwrap();
        }
        let cgroups = Cgroups::at(dir.path(), "/pilothouse/");
        assert_eq!(cgroups.parent("u1", Qos::Guaranteed), "/pilothouse/podu1");
        cgroups.create("u1", Qos::Burstable, &limits()).unwrap();
        let pod = |controller: &str| dir.path().join(controller).join("pilothouse/burstable/podu1");
        assert_eq!(read(pod("cpu").join("cpu.shares")), "512");
        assert_eq!(read(pod("cpu").join("cpu.cfs_quota_us")), "50000");
        assert_eq!(read(pod("memory").join("memory.limit_in_bytes")), "-1");
        assert_eq!(cgroups.pods(), ["u1"]);
    }

    #[test]
    fn version_two() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory rdma pids\n").unwrap();
        let cgroups = Cgroups::at(dir.path(), "pilothouse");
        cgroups.create("u1", Qos::BestEffort, &limits()).unwrap();
        assert_eq!(read(dir.path().join("cgroup.subtree_control")), "+cpuset +cpu +io +memory +pids");
        let pod = dir.path().join("pilothouse/besteffort/podu1");
        assert_eq!(read(pod.join("cpu.max")), "50000 100000");
        assert_eq!(read(pod.join("memory.max")), "max");
        assert_eq!(read(pod.join("cpu.weight")), weight(512).to_string());
    }

    #[test]
    fn weights_span_the_shares() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }

    #[test]
    fn empty_groups_are_removed_with_what_is_below() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("cpu/pilothouse/besteffort/podu1/container")).unwrap();
        let cgroups = Cgroups::at(dir.path(), "pilothouse");
        cgroups.remove("u1").unwrap();
        assert!(!dir.path().join("cpu/pilothouse/besteffort/podu1").exists());
        cgroups.remove("u1").unwrap();
    }
}
