//! What processes cost: memory and CPU time, out of `/proc`.

use std::collections::HashMap;
use std::fs;

use serde::{Deserialize, Serialize};

/// A process to look at, with its children.
#[derive(Clone, Debug)]
pub struct Process {
    /// The target it belongs to.
    pub target: String,
    pub label: String,
    pub pid: i32,
}

/// Memory (proportional share, so shared memory counts once) and CPU time so far, of a process and its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub memory_bytes: u64,
    pub cpu_seconds: f64,
}

impl Process {
    /// Reads `TARGET:LABEL=PID`.
    ///
    /// # Errors
    /// When it is written otherwise.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: expected TARGET:LABEL=PID");
        let (name, pid) = text.split_once('=').ok_or_else(wrong)?;
        let (target, label) = name.split_once(':').ok_or_else(wrong)?;
        let pid = pid.parse().map_err(|_| wrong())?;
        Ok(Self { target: target.to_owned(), label: label.to_owned(), pid })
    }

    /// What the process alone holds in memory, shared parts included: quick to ask.
    pub fn resident_bytes(&self) -> u64 {
        /// Every Linux that this runs on has pages of this size.
        const PAGE: u64 = 4096;
        let text = fs::read_to_string(format!("/proc/{}/statm", self.pid)).unwrap_or_default();
        text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
    }

    pub fn usage(&self) -> Usage {
        family(self.pid).into_iter().fold(Usage::default(), |sum, pid| Usage {
            memory_bytes: sum.memory_bytes + memory(pid),
            cpu_seconds: sum.cpu_seconds + cpu(pid),
        })
    }
}

/// The process and all its descendants.
fn family(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = vec![root];
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        all.extend(children.remove(&pid).unwrap_or_default());
        at += 1;
    }
    all
}

/// The fields of `/proc/PID/stat` behind the command's name, which may hold anything: state, parent, …
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

fn memory(pid: i32) -> u64 {
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    let proportional = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    proportional
        .and_then(|text| field(&text, "Pss:"))
        .or_else(|| field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:"))
        .unwrap_or(0)
}

/// User and system time; `/proc` counts in hundredths of a second on every Linux that exists.
fn cpu(pid: i32) -> f64 {
    let ticks = stat(pid).and_then(|fields| {
        let time = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(time(11)? + time(12)?)
    });
    ticks.unwrap_or(0.0) / 100.0
}

/// The bytes that a folder's files take on the disk.
pub fn folder_bytes(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Seconds of CPU the whole machine has spent busy so far.
pub fn busy_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let times: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    times.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, time)| time).sum::<f64>() / 100.0
}

pub fn own_cpu_seconds() -> f64 {
    i32::try_from(std::process::id()).map_or(0.0, cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_parent() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(memory(pid) > 100_000);
        assert!(family(pid).contains(&pid));
        assert!(busy_seconds() > 0.0);
    }

    #[test]
    fn processes_are_named() {
        let process = Process::parse("a:server=12").unwrap();
        assert_eq!((process.target.as_str(), process.label.as_str(), process.pid), ("a", "server", 12));
        assert!(Process::parse("a=12").is_err() && Process::parse("a:b=c").is_err());
    }
}
