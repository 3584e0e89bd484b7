//! What this process costs, read out of `/proc` when somebody asks.

use std::fmt;
use std::fs;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// `/proc` counts CPU time in hundredths of a second, and memory in pages of this size, wherever this runs.
const TICKS: f64 = 100.0;
const PAGE: f64 = 4096.0;

#[derive(Debug)]
pub struct Process {
    started: f64,
}

impl Default for Process {
    fn default() -> Self {
        Self { started: Timestamp::now().as_duration().as_secs_f64() }
    }
}

/// A number of `/proc/self/stat` by its place behind the command's name.
fn stat(at: usize) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(at)?.parse().ok()
}

fn limit(name: &str) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next()?.parse().ok())
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("process_resident_memory_bytes", "Memory held", stat(21).map(|pages| pages * PAGE))?;
        gauge("process_virtual_memory_bytes", "Address space", stat(20))?;
        gauge("process_start_time_seconds", "Start since the epoch", Some(self.started))?;
        gauge("process_threads", "Threads", stat(17))?;
        let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
        gauge("process_open_fds", "Open files", files)?;
        gauge("process_max_fds", "Most files that may be open", limit("Max open files"))?;
        let cpu = stat(11).zip(stat(12)).map_or(0.0, |(user, system)| (user + system) / TICKS);
        let cpu = ConstCounter::new(cpu);
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", "CPU time", None, cpu.metric_type())?)
    }
}
