//! `/stats/summary` and `/metrics/resource`: what containers and the node use. Rates are computed here, since runtimes
//! leave them at zero.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use pilothouse_cri::v1;
use serde_json::{Value, json};

use super::{Answer, Refusal, full};
use crate::cri::labels;
use crate::node::machine::{self, Filesystem};
use crate::pods::context::Context;

/// A rate over a longer time says little about now; over a shorter one it is noise.
const OLDEST: Duration = Duration::from_secs(60);
const YOUNGEST: Duration = Duration::from_millis(900);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_nanos: i64,
    cpu_nanos: u64,
}

#[derive(Default)]
struct Known {
    samples: HashMap<String, Sample>,
    rates: HashMap<String, u64>,
    taken: Option<tokio::time::Instant>,
}

/// Remembers the last samples, so that the next ones give rates.
#[derive(Default)]
pub(super) struct Sampler {
    known: Mutex<Known>,
}

/// The name of the node's own sample; no container has it.
const NODE: &str = "";

/// The node's CPU time, in nanoseconds, from /proc/stat.
fn node_cpu(stat: &str) -> u64 {
    let Some(line) = stat.lines().find_map(|line| line.strip_prefix("cpu ")) else { return 0 };
    let ticks: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    // user nice system idle iowait irq softirq steal: all but idle and iowait; a tick is 10 ms.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum();
    busy * 10_000_000
}

struct Usage {
    stats: Vec<v1::ContainerStats>,
    rates: HashMap<String, u64>,
    node_cpu: u64,
    now: Timestamp,
}

fn value(value: Option<&v1::UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

fn time(nanos: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Sampler {
    async fn sample(&self, context: &Context) -> crate::cri::Result<Usage> {
        let stats = context.runtime.list_container_stats().await?;
        let (now, instant) = (Timestamp::now(), tokio::time::Instant::now());
        let node_cpu = node_cpu(&std::fs::read_to_string("/proc/stat").unwrap_or_default());
        let mut samples: HashMap<String, Sample> = stats
            .iter()
            .filter_map(|stats| {
                let (id, cpu) = (stats.attributes.as_ref()?.id.clone(), stats.cpu.as_ref()?);
                let cpu_nanos = value(cpu.usage_core_nano_seconds.as_ref())?;
                Some((id, Sample { at_nanos: cpu.timestamp, cpu_nanos }))
            })
            .collect();
        let at_nanos = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        samples.insert(NODE.to_owned(), Sample { at_nanos, cpu_nanos: node_cpu });
        let mut known = self.known.lock();
        for (id, sample) in &samples {
            let Some(former) = known.samples.get(id) else { continue };
            let nanos = sample.at_nanos.saturating_sub(former.at_nanos);
            if u128::try_from(nanos).is_ok_and(|nanos| nanos >= YOUNGEST.as_nanos()) {
                let used = u128::from(sample.cpu_nanos.saturating_sub(former.cpu_nanos));
                let rate = used * 1_000_000_000 / u128::try_from(nanos).unwrap_or(1);
                known.rates.insert(id.clone(), u64::try_from(rate).unwrap_or(0));
            }
        }
        if known.taken.is_none_or(|taken| instant.duration_since(taken) >= YOUNGEST) {
            known.rates.retain(|id, _| samples.contains_key(id));
            known.samples = samples;
            known.taken = Some(instant);
        }
        Ok(Usage { stats, rates: known.rates.clone(), node_cpu, now })
    }

    async fn usage(&self, context: &Context) -> Result<Usage, Refusal> {
        let stale = self.known.lock().taken.is_none_or(|taken| taken.elapsed() > OLDEST);
        let failed = |error: crate::cri::Error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        if stale {
            // Two looks make a rate.
            self.sample(context).await.map_err(failed)?;
            tokio::time::sleep(YOUNGEST + Duration::from_millis(200)).await;
        }
        self.sample(context).await.map_err(failed)
    }

    pub(super) async fn summary(&self, context: &Context) -> Result<Answer, Refusal> {
        let usage = self.usage(context).await?;
        let fs = machine::filesystem(&context.config().data_dir);
        let image_fs = context.runtime.image_fs_info().await.unwrap_or_default();
        let mut pods: BTreeMap<String, (Value, Vec<Value>, u64, u64, u64)> = BTreeMap::new();
        for stats in &usage.stats {
            let Some(attributes) = &stats.attributes else { continue };
            let label = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
            let uid = label(labels::POD_UID);
            let reference =
                json!({"name": label(labels::POD_NAME), "namespace": label(labels::POD_NAMESPACE), "uid": uid});
            let rate = usage.rates.get(&attributes.id).copied().unwrap_or(0);
            let cpu = stats.cpu.unwrap_or_default();
            let memory = stats.memory.unwrap_or_default();
            let cpu_nanos = value(cpu.usage_core_nano_seconds.as_ref()).unwrap_or(0);
            let working_set = value(memory.working_set_bytes.as_ref()).unwrap_or(0);
            let started =
                context.registry.by_uid(&uid).and_then(|pod| started_at(&pod, &label(labels::CONTAINER_NAME)));
            let layer = stats.writable_layer.clone().unwrap_or_default();
            let container = json!({
                "name": label(labels::CONTAINER_NAME),
                "startTime": started,
                "cpu": {"time": time(cpu.timestamp), "usageNanoCores": rate, "usageCoreNanoSeconds": cpu_nanos},
                "memory": {
                    "time": time(memory.timestamp),
                    "availableBytes": value(memory.available_bytes.as_ref()),
                    "usageBytes": value(memory.usage_bytes.as_ref()).unwrap_or(working_set),
                    "workingSetBytes": working_set,
                    "rssBytes": value(memory.rss_bytes.as_ref()).unwrap_or(0),
                    "pageFaults": value(memory.page_faults.as_ref()).unwrap_or(0),
                    "majorPageFaults": value(memory.major_page_faults.as_ref()).unwrap_or(0),
                },
                "rootfs": {
                    "time": time(layer.timestamp),
                    "availableBytes": fs.available,
                    "capacityBytes": fs.capacity,
                    "usedBytes": value(layer.used_bytes.as_ref()).unwrap_or(0),
                    "inodesUsed": value(layer.inodes_used.as_ref()).unwrap_or(0),
                },
            });
            let pod = pods.entry(uid).or_insert_with(|| (reference, Vec::new(), 0, 0, 0));
            pod.1.push(container);
            pod.2 += rate;
            pod.3 += cpu_nanos;
            pod.4 += working_set;
        }
        let now = usage.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let pods: Vec<Value> = pods
            .into_iter()
            .map(|(uid, (reference, containers, rate, cpu_nanos, working_set))| {
                let pod = context.registry.by_uid(&uid);
                let started = pod.as_ref().and_then(|pod| pod.status.as_ref()?.start_time.clone());
                json!({
                    "podRef": reference,
                    "startTime": started,
                    "containers": containers,
                    "cpu": {"time": now, "usageNanoCores": rate, "usageCoreNanoSeconds": cpu_nanos},
                    "memory": {"time": now, "workingSetBytes": working_set, "usageBytes": working_set},
                })
            })
            .collect();
        let body = json!({"node": node(context, &usage, &fs, &image_fs, &now), "pods": pods});
        Ok(full(StatusCode::OK, "application/json", body.to_string()))
    }

    pub(super) async fn resource_metrics(&self, context: &Context) -> Result<Answer, Refusal> {
        let usage = self.usage(context).await?;
        let mut families: BTreeMap<(&str, &str, &str), Vec<String>> = BTreeMap::new();
        let cpu_help = "Cumulative cpu time consumed in core-seconds";
        let memory_help = "Current working set in bytes";
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        let mut pods: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        for stats in &usage.stats {
            let Some(attributes) = &stats.attributes else { continue };
            let label = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
            let (namespace, pod) = (label(labels::POD_NAMESPACE), label(labels::POD_NAME));
            let names =
                format!("{{container=\"{}\",namespace=\"{namespace}\",pod=\"{pod}\"}}", label(labels::CONTAINER_NAME));
            let cpu = stats.cpu.as_ref().and_then(|cpu| value(cpu.usage_core_nano_seconds.as_ref())).unwrap_or(0);
            let memory = stats.memory.as_ref().and_then(|memory| value(memory.working_set_bytes.as_ref())).unwrap_or(0);
            let mut push = |name, kind, help, line: String| families.entry((name, kind, help)).or_default().push(line);
            push("container_cpu_usage_seconds_total", "counter", cpu_help, format!("{names} {}", seconds(cpu)));
            push("container_memory_working_set_bytes", "gauge", memory_help, format!("{names} {memory}"));
            let total = pods.entry((namespace, pod)).or_default();
            *total = (total.0 + cpu, total.1 + memory);
        }
        let mut push = |name, kind, help, line: String| families.entry((name, kind, help)).or_default().push(line);
        for ((namespace, pod), (cpu, memory)) in pods {
            let names = format!("{{namespace=\"{namespace}\",pod=\"{pod}\"}}");
            push("pod_cpu_usage_seconds_total", "counter", cpu_help, format!("{names} {}", seconds(cpu)));
            push("pod_memory_working_set_bytes", "gauge", memory_help, format!("{names} {memory}"));
        }
        let used = node_memory(context).0;
        push("node_cpu_usage_seconds_total", "counter", cpu_help, format!(" {}", seconds(usage.node_cpu)));
        push("node_memory_working_set_bytes", "gauge", memory_help, format!(" {used}"));
        push(
            "scrape_error",
            "gauge",
            "1 if there was an error while getting container metrics, 0 otherwise",
            " 0".to_owned(),
        );
        let mut text = String::new();
        for ((name, kind, help), lines) in families {
            let _ = writeln!(text, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
            for line in lines {
                let _ = writeln!(text, "{name}{line}");
            }
        }
        Ok(full(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
    }
}

fn started_at(pod: &k8s_openapi::api::core::v1::Pod, container: &str) -> Option<Value> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|status| status.name == container)?;
    serde_json::to_value(found.state.as_ref()?.running.as_ref()?.started_at.as_ref()?).ok()
}

/// Used and available bytes.
fn node_memory(context: &Context) -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = machine::meminfo(&text, "MemAvailable").unwrap_or(0);
    (context.node.machine.memory_bytes.saturating_sub(available), available)
}

fn node(context: &Context, usage: &Usage, fs: &Filesystem, images: &[v1::FilesystemUsage], now: &str) -> Value {
    let (used, available) = node_memory(context);
    let image_used = images.first().and_then(|fs| value(fs.used_bytes.as_ref()));
    json!({
        "nodeName": context.config().node_name,
        "startTime": now,
        "cpu": {
            "time": now,
            "usageNanoCores": usage.rates.get(NODE).copied().unwrap_or(0),
            "usageCoreNanoSeconds": usage.node_cpu,
        },
        "memory": {"time": now, "availableBytes": available, "usageBytes": used, "workingSetBytes": used},
        "fs": {
            "time": now,
            "availableBytes": fs.available,
            "capacityBytes": fs.capacity,
            "usedBytes": fs.used,
            "inodesFree": fs.inodes_free,
            "inodes": fs.inodes,
            "inodesUsed": fs.inodes.saturating_sub(fs.inodes_free),
        },
        "runtime": {"imageFs": {
            "time": now,
            "availableBytes": fs.available,
            "capacityBytes": fs.capacity,
            "usedBytes": image_used,
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_busy_time_leaves_idling_out() {
        assert_eq!(node_cpu("cpu  10 1 5 1000 500 2 3 4 9 9\ncpu0 1 1 1 1\n"), 25 * 10_000_000);
        assert_eq!(node_cpu(""), 0);
    }
}
