//! How a cluster behaves as it grows: Deployments in steps, up to so many pods, then a rollout of all of them, then
//! their end. After each step: how long it took, what the API's latency was meanwhile, what it costs in memory, CPU and
//! on the disk.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Method;
use serde::Deserialize;

use crate::client::Connection;
use crate::runner::{make_namespace, remove_namespace, target};
use crate::steps::{Measured, Steps, count};
use crate::target::Protocol;
use crate::{object, report};

/// How often it is looked how far things are.
const LOOK: Duration = Duration::from_millis(500);

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
    #[command(flatten)]
    pub measured: Measured,
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
    namespace: String,
    connection: Connection,
    deployments: u64,
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

/// # Errors
/// When a step does not end in time.
pub async fn run(args: Args) -> Result<()> {
    let target = target(&args.target, Protocol::H1)?;
    let namespace = format!("scale-{:08x}", rand::random::<u32>());
    make_namespace(&target, &namespace).await?;
    let connection = Connection::open(&target).await?;
    let mut scale = Scale { args: args.clone(), namespace: namespace.clone(), connection, deployments: 0 };
    let probed = format!("/api/v1/namespaces/{namespace}");
    let mut steps = Steps::new(target.clone(), probed, "/api/v1/pods", args.measured).await?;
    steps
        .step("idle", 0, async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(())
        })
        .await?;
    let mut had = 0;
    for pods in args.pods.clone() {
        steps.step("grow", pods.saturating_sub(had), scale.grow(pods)).await?;
        had = scale.deployments * args.replicas;
    }
    if args.rollout {
        steps.step("rollout", had, scale.roll()).await?;
    }
    steps.step("end", had, scale.end()).await?;
    remove_namespace(&target, &namespace).await?;
    steps.write()
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
