//! What a cluster costs step by step: for each, how long it took, what the API's latency was meanwhile, memory, CPU and
//! the disk.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::client::Connection;
use crate::histogram::{Latencies, Summary};
use crate::machine::{self, Process, Usage};
use crate::report;
use crate::target::Target;

/// A probe of the API's latency, this often.
const PROBE: Duration = Duration::from_millis(50);

/// What is measured besides time, and where it is written.
#[derive(clap::Args, Clone, Debug)]
pub struct Measured {
    /// A process whose memory and CPU time are reported: TARGET:LABEL=PID. May be repeated.
    #[arg(long = "process", value_parser = Process::parse)]
    pub processes: Vec<Process>,
    /// A folder whose size is reported: the database's.
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// Where the steps are written as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// One step of the curve.
#[derive(Serialize)]
struct Step {
    what: String,
    nodes: u64,
    objects: u64,
    seconds: f64,
    per_second: f64,
    /// GETs of one object, one after another, while it lasted.
    probe: Summary,
    processes: BTreeMap<String, (Usage, f64)>,
    folder_bytes: Option<u64>,
}

/// Steps that are measured alike.
pub struct Steps {
    target: Target,
    connection: Connection,
    /// What is asked for all the time.
    probed: String,
    /// What is counted.
    collection: String,
    measured: Measured,
    steps: Vec<Step>,
}

/// The end of a list that is paged by one tells how many there are.
pub async fn count(connection: &mut Connection, path: &str) -> Result<u64> {
    #[derive(Deserialize)]
    struct Counted {
        metadata: Remaining,
        items: Vec<serde::de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Remaining {
        #[serde(default)]
        remaining_item_count: u64,
    }
    let answer = connection.expect(Method::GET, &format!("{path}?limit=1"), Bytes::new()).await?;
    let counted: Counted = serde_json::from_slice(&answer)?;
    Ok(counted.metadata.remaining_item_count + counted.items.len() as u64)
}

impl Steps {
    /// # Errors
    /// When there is no connection.
    pub async fn new(target: Target, probed: String, collection: &str, measured: Measured) -> Result<Self> {
        let connection = Connection::open(&target).await?;
        Ok(Self { target, connection, probed, collection: collection.to_owned(), measured, steps: Vec::new() })
    }

    /// GETs of one object until told to stop.
    fn probe(&self, stop: CancellationToken) -> tokio::task::JoinHandle<Latencies> {
        let (target, path) = (self.target.clone(), self.probed.clone());
        tokio::spawn(async move {
            let mut latencies = Latencies::default();
            let Ok(mut connection) = Connection::open(&target).await else { return latencies };
            while !stop.is_cancelled() {
                let begun = Instant::now();
                match connection.call(Method::GET, &path, Bytes::new()).await {
                    Ok((status, _)) if status.is_success() => latencies.record(begun.elapsed()),
                    _ => match Connection::open(&target).await {
                        Ok(new) => connection = new,
                        Err(_) => tokio::time::sleep(PROBE).await,
                    },
                }
                tokio::time::sleep(PROBE.saturating_sub(begun.elapsed())).await;
            }
            latencies
        })
    }

    /// Does and measures `work` on so many objects.
    ///
    /// # Errors
    /// When the work fails.
    pub async fn step(&mut self, what: &str, objects: u64, work: impl Future<Output = Result<()>>) -> Result<()> {
        let stop = CancellationToken::new();
        let probe = self.probe(stop.clone());
        let before: Vec<f64> = self.measured.processes.iter().map(|one| one.usage().cpu_seconds).collect();
        let begun = Instant::now();
        work.await.with_context(|| what.to_owned())?;
        let seconds = begun.elapsed().as_secs_f64();
        stop.cancel();
        let processes = self.measured.processes.iter().zip(before).map(|(process, before)| {
            let usage = process.usage();
            (process.label.clone(), (usage, (usage.cpu_seconds - before) / seconds))
        });
        let step = Step {
            what: what.to_owned(),
            nodes: count(&mut self.connection, "/api/v1/nodes").await?,
            objects: count(&mut self.connection, &self.collection).await?,
            seconds,
            per_second: objects as f64 / seconds,
            probe: probe.await?.summary(),
            processes: processes.collect(),
            folder_bytes: self.measured.folder.as_deref().map(machine::folder_bytes),
        };
        report::line(&step.line());
        self.steps.push(step);
        Ok(())
    }

    /// Writes the steps where they are wanted.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn write(&self) -> Result<()> {
        let Some(path) = &self.measured.json else { return Ok(()) };
        std::fs::write(path, serde_json::to_string_pretty(&self.steps)?)
            .with_context(|| format!("writing {}", path.display()))
    }
}

impl Step {
    fn line(&self) -> String {
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut text = format!(
            "{:<14} {:>6} nodes {:>7} objects {:>7.1} s {:>7.0}/s  GET p50 {:.2} p99 {:.2} max {:.1} ms",
            self.what,
            self.nodes,
            self.objects,
            self.seconds,
            self.per_second,
            self.probe.p50_ms,
            self.probe.p99_ms,
            self.probe.max_ms
        );
        for (label, (usage, cores)) in &self.processes {
            text.push_str(&format!("  [{label} {:.0} MiB, {cores:.2} cores]", megabytes(usage.memory_bytes)));
        }
        if let Some(bytes) = self.folder_bytes {
            text.push_str(&format!("  disk {:.0} MiB", megabytes(bytes)));
        }
        text
    }
}
