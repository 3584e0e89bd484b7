//! Termination messages: what a container left behind about its end.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use super::containers;
use super::context::Context;
use super::cri_config::log_path;
use super::observed::Observed;

/// Upstream's limits: of the message, and of the log that stands in for it.
const MAX_MESSAGE: u64 = 4096;
const MAX_LOG_BYTES: u64 = 2048;
const MAX_LOG_LINES: usize = 80;

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let _ = std::fs::File::open(path).map(|file| file.take(MAX_MESSAGE).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the messages of containers that have ended since the last time, and forgets those that are gone.
pub fn collect(context: &Context, pod: &Pod, observed: &Observed, messages: &mut BTreeMap<String, String>) {
    messages.retain(|id, _| observed.containers.iter().any(|container| container.id == *id));
    let Some(spec) = &pod.spec else { return };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    for seen in &observed.containers {
        let Some(code) = seen.exit_code() else { continue };
        if messages.contains_key(&seen.id) {
            continue;
        }
        let mut message = read(&context.message_file(uid, &seen.name, seen.restart_count));
        let policy = containers::find(spec, &seen.name).and_then(|(_, c)| c.termination_message_policy);
        if message.is_empty() && code != 0 && policy.as_deref() == Some("FallbackToLogsOnError") {
            let log = context.log_dir(pod).join(log_path(&seen.name, seen.restart_count));
            message = crate::logs::tail(&log, MAX_LOG_LINES, MAX_LOG_BYTES);
        }
        // An empty one is noted, too, so that the runtime's own message is used and nothing is read again.
        if !message.is_empty() {
            messages.insert(seen.id.clone(), message);
        }
    }
}
