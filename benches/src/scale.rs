//! How a cluster behaves as it grows: Deployments in steps, up to so many pods, then a rollout of all of them, then
//! their end. After each step: how long it took, what the API's latency was meanwhile, what it costs in memory, CPU and
//! on the disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::client::Connection;
use crate::histogram::{Latencies, Summary};
use crate::machine::{self, Process, Usage};
use crate::runner::{make_namespace, remove_namespace, target};
use crate::target::{Protocol, Target};
use crate::{object, report};

/// How often it is looked how far things are.
const LOOK: Duration = Duration::from_millis(500);
/// A probe of the API's latency, this often.
const PROBE: Duration = Duration::from_millis(50);

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The cluster: [NAME=]KUBECONFIG.
    #[arg(long)]
    pub target: String,
    /// Pods after each step, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    pub pods: Vec<u64>,
    /// Pods of one Deployment.
    #[arg(long, default_value_t = 50)]
    pub replicas: u64,
    /// Pods run only on nodes with this label, `key=value`; empty for any.
    #[arg(long, default_value = "pilothouse.io/hollow=true")]
    pub nodes: String,
    #[arg(long, default_value = "hollow:1")]
    pub image: String,
    /// Whether all of them are rolled out anew at the end.
    #[arg(long)]
    pub rollout: bool,
    /// Seconds that a step may take.
    #[arg(long, default_value_t = 900.0)]
    pub patience: f64,
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
    pods: u64,
    seconds: f64,
    pods_per_second: f64,
    /// GETs of one object, one after another, while it lasted.
    probe: Summary,
    processes: BTreeMap<String, (Usage, f64)>,
    folder_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Deployment>,
}

#[derive(Deserialize)]
struct Deployment {
    metadata: Meta,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    generation: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: i64,
    replicas: u64,
    updated_replicas: u64,
    ready_replicas: u64,
}

struct Scale {
    args: Args,
    target: Target,
    namespace: String,
    connection: Connection,
    deployments: u64,
    steps: Vec<Step>,
}

fn body(name: &str, args: &Args) -> String {
    let selector = match args.nodes.split_once('=') {
        Some((key, value)) => format!(",\"nodeSelector\":{{\"{key}\":\"{value}\"}}"),
        None => String::new(),
    };
    format!(
        "{{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{{\"name\":\"{name}\"}},\"spec\":{{\
         \"replicas\":{},\"selector\":{{\"matchLabels\":{{\"app\":\"{name}\"}}}},\"template\":{{\
         \"metadata\":{{\"labels\":{{\"app\":\"{name}\"}}}},\"spec\":{{\"terminationGracePeriodSeconds\":1,\
         \"automountServiceAccountToken\":false,\"containers\":[{{\
         \"name\":\"main\",\"image\":\"{}\",\"resources\":{{\"requests\":{{\"cpu\":\"1m\",\"memory\":\"1Mi\"}}}}}}]\
         {selector}}}}}}}}}",
        args.replicas, args.image
    )
}

/// The end of a list that is paged by one tells how many there are.
async fn count(connection: &mut Connection, path: &str) -> Result<u64> {
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

impl Scale {
    fn path(&self, resource: &str) -> String {
        format!("/apis/apps/v1/namespaces/{}/{resource}", self.namespace)
    }

    async fn look(&mut self) -> Result<List> {
        let path = self.path("deployments");
        Ok(serde_json::from_slice(&self.connection.expect(Method::GET, &path, Bytes::new()).await?)?)
    }

    /// Waits until every Deployment is as it should be; gives the number of ready pods.
    async fn settled(&mut self) -> Result<u64> {
        let deadline = Instant::now() + Duration::from_secs_f64(self.args.patience);
        let (replicas, deployments) = (self.args.replicas, self.deployments);
        let mut told = Instant::now();
        loop {
            let list = self.look().await?;
            let done = |one: &&Deployment| {
                let status = &one.status;
                status.observed_generation >= one.metadata.generation
                    && [status.replicas, status.updated_replicas, status.ready_replicas] == [replicas; 3]
            };
            let settled = list.items.iter().filter(done).count() as u64;
            let ready: u64 = list.items.iter().map(|one| one.status.ready_replicas).sum();
            if settled == deployments {
                return Ok(ready);
            }
            if Instant::now() > deadline {
                bail!("{settled} of {deployments} Deployments, {ready} ready pods: not in time");
            }
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                report::line(&format!("      {ready} ready, {settled} of {deployments} Deployments settled"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// GETs of one object until told to stop.
    fn probe(&self, stop: CancellationToken) -> tokio::task::JoinHandle<Latencies> {
        let (target, path) = (self.target.clone(), format!("/api/v1/namespaces/{}", self.namespace));
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

    async fn step(&mut self, what: &str, pods: u64, work: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let stop = CancellationToken::new();
        let probe = self.probe(stop.clone());
        let before: Vec<f64> = self.args.processes.iter().map(|one| one.usage().cpu_seconds).collect();
        let begun = Instant::now();
        work(self).await.with_context(|| what.to_owned())?;
        let seconds = begun.elapsed().as_secs_f64();
        stop.cancel();
        let processes = self.args.processes.iter().zip(before).map(|(process, before)| {
            let usage = process.usage();
            (process.label.clone(), (usage, (usage.cpu_seconds - before) / seconds))
        });
        let step = Step {
            what: what.to_owned(),
            nodes: count(&mut self.connection, "/api/v1/nodes").await?,
            pods: count(&mut self.connection, "/api/v1/pods").await?,
            seconds,
            pods_per_second: pods as f64 / seconds,
            probe: probe.await?.summary(),
            processes: processes.collect(),
            folder_bytes: self.args.folder.as_deref().map(machine::folder_bytes),
        };
        report::line(&step.line());
        self.steps.push(step);
        Ok(())
    }

    async fn grow(&mut self, to: u64) -> Result<()> {
        let path = self.path("deployments");
        while self.deployments * self.args.replicas < to {
            let body = body(&format!("d-{}", self.deployments), &self.args);
            self.connection.expect(Method::POST, &path, body.into()).await?;
            self.deployments += 1;
        }
        self.settled().await.map(drop)
    }

    async fn roll(&mut self) -> Result<()> {
        let now = object::clock();
        for number in 0..self.deployments {
            let path = format!("{}/d-{number}", self.path("deployments"));
            let patch =
                format!("{{\"spec\":{{\"template\":{{\"metadata\":{{\"annotations\":{{\"at\":\"{now}\"}}}}}}}}}}");
            self.connection.patch(&path, patch.into()).await?;
        }
        self.settled().await.map(drop)
    }

    async fn end(&mut self) -> Result<()> {
        let path = self.path("deployments");
        self.connection.expect(Method::DELETE, &path, Bytes::new()).await?;
        let pods = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let deadline = Instant::now() + Duration::from_secs_f64(self.args.patience);
        loop {
            let left = count(&mut self.connection, &pods).await?;
            if left == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{left} pods are still there");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Step {
    fn line(&self) -> String {
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut text = format!(
            "{:<10} {:>6} nodes {:>7} pods {:>7.1} s {:>7.0} pods/s  GET p50 {:.2} p99 {:.2} max {:.1} ms",
            self.what,
            self.nodes,
            self.pods,
            self.seconds,
            self.pods_per_second,
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

/// # Errors
/// When a step does not end in time.
pub async fn run(args: Args) -> Result<()> {
    let target = target(&args.target, Protocol::H1)?;
    let namespace = format!("scale-{:08x}", rand::random::<u32>());
    make_namespace(&target, &namespace).await?;
    let connection = Connection::open(&target).await?;
    let mut scale = Scale { args: args.clone(), target, namespace, connection, deployments: 0, steps: Vec::new() };
    scale
        .step("idle", 0, async |_| {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(())
        })
        .await?;
    let mut had = 0;
    for pods in args.pods.clone() {
        scale.step("grow", pods.saturating_sub(had), async |scale| scale.grow(pods).await).await?;
        had = scale.deployments * args.replicas;
    }
    if args.rollout {
        scale.step("rollout", had, async |scale| scale.roll().await).await?;
    }
    scale.step("end", had, async |scale| scale.end().await).await?;
    remove_namespace(&scale.target, &scale.namespace).await?;
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&scale.steps)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn deployments_are_json() {
        let args = Cli::parse_from(["x", "--target", "k", "--replicas", "7"]).args;
        let value: serde_json::Value = serde_json::from_str(&body("d", &args)).unwrap();
        assert_eq!(value["spec"]["replicas"], 7);
        assert_eq!(value["spec"]["template"]["spec"]["nodeSelector"]["pilothouse.io/hollow"], "true");
    }
}
