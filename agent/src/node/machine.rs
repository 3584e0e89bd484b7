//! What the machine is: read from /proc, /etc and the filesystem, pure functions over their text.

use std::fs;
use std::path::Path;

/// Facts that do not change while the agent runs.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub cpus: u64,
    pub memory_bytes: u64,
    /// Of the filesystem that holds the agent's data.
    pub storage_bytes: u64,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
    /// Kubernetes' name of the architecture (`amd64`, `arm64`).
    pub arch: &'static str,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A value of /proc/meminfo, in bytes.
pub fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim().trim_matches('"')).to_owned()
}

/// Total, available and used bytes, total and used inodes of a filesystem.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filesystem {
    pub capacity: u64,
    pub available: u64,
    pub used: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

#[must_use]
pub fn filesystem(path: &Path) -> Filesystem {
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else { return Filesystem::default() };
    let block = stat.fragment_size();
    Filesystem {
        capacity: stat.blocks() * block,
        available: stat.blocks_available() * block,
        used: stat.blocks().saturating_sub(stat.blocks_free()) * block,
        inodes: stat.files(),
        inodes_free: stat.files_free(),
    }
}

impl Machine {
    #[must_use]
    pub fn read(data_dir: &Path) -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory_bytes: meminfo(&read("/proc/meminfo"), "MemTotal").unwrap_or_default(),
            storage_bytes: filesystem(data_dir).capacity,
            machine_id: read("/etc/machine-id"),
            system_uuid: read("/sys/class/dmi/id/product_uuid").to_lowercase(),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image: os_image(&read("/etc/os-release")),
            arch,
        }
    }
}

/// What changes: looked at for pressure conditions and statistics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    pub memory_available: u64,
    pub fs: Filesystem,
    pub pids: u64,
    pub max_pids: u64,
}

impl Load {
    #[must_use]
    pub fn read(data_dir: &Path) -> Self {
        let loadavg = read("/proc/loadavg");
        // The fourth field is `running/all` kernel scheduling entities.
        let pids = loadavg.split(' ').nth(3).and_then(|field| field.split('/').nth(1)?.parse().ok());
        Self {
            memory_available: meminfo(&read("/proc/meminfo"), "MemAvailable").unwrap_or_default(),
            fs: filesystem(data_dir),
            pids: pids.unwrap_or_default(),
            max_pids: read("/proc/sys/kernel/pid_max").parse().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_bytes() {
        let text = "MemTotal:       24601512 kB\nMemFree:         1000 kB\nHugePages_Total:       3\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(24_601_512 * 1024));
        assert_eq!(meminfo(text, "MemFree"), Some(1_024_000));
        assert_eq!(meminfo(text, "Mem"), None);
    }

    #[test]
    fn the_os_is_named_as_it_names_itself() {
        assert_eq!(os_image("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!(os_image(""), "Linux");
    }

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::read(Path::new("/"));
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && machine.storage_bytes > 0);
        let load = Load::read(Path::new("/"));
        assert!(load.memory_available > 0 && load.pids > 0 && load.max_pids > 0);
    }
}
