//! `/metrics`: the agent about itself.

use std::fmt::Write;

use http::StatusCode;

use super::{Answer, full};
use crate::pods::context::Context;

/// Resident bytes and CPU seconds of this process.
fn process() -> (u64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = crate::node::machine::meminfo(&status, "VmRSS").unwrap_or(0);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold spaces; after it come state, ppid, ...; utime and stime are the 12th and 13th.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    (resident, ticks as f64 / 100.0)
}

pub(super) async fn own(context: &Context) -> Answer {
    let containers = context.runtime.list_containers(None).await.unwrap_or_default();
    let mut by_state = [0_usize; 4];
    for container in &containers {
        if let Some(count) = usize::try_from(container.state).ok().and_then(|state| by_state.get_mut(state)) {
            *count += 1;
        }
    }
    let names = ["created", "running", "exited", "unknown"];
    let running = |pod: &&std::sync::Arc<k8s_openapi::api::core::v1::Pod>| {
        pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
    };
    let pods = context.registry.all().iter().filter(running).count();
    let (resident, cpu) = process();
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: &[String]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for line in lines {
            let _ = writeln!(text, "{name}{line}");
        }
    };
    let node = &context.config().node_name;
    family(
        "kubelet_node_name",
        "gauge",
        "The node's name. The count is always 1.",
        &[format!("{{node=\"{node}\"}} 1")],
    );
    family("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox", &[format!(" {pods}")]);
    let lines: Vec<String> =
        names.iter().zip(by_state).map(|(name, count)| format!("{{container_state=\"{name}\"}} {count}")).collect();
    family("kubelet_running_containers", "gauge", "Number of containers by state", &lines);
    family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", &[format!(" {resident}")]);
    family(
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
        &[format!(" {cpu}")],
    );
    full(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}
