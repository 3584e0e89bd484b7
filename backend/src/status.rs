//! `pilothouse status`: whether the cluster of this machine runs and is ready, and how to reach it.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use tokio::time::sleep;

use crate::up::Home;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    home: Home,
    /// Waits up to this many seconds until API and nodes are ready.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Only says by the exit code whether the cluster is supervised.
    #[arg(long)]
    quiet: bool,
}

/// How long a supervisor may take to say that it runs.
const START_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// What is still missing, in words; the API's address when nothing is.
async fn look(home: &Home) -> Result<String> {
    let kubeconfig = Kubeconfig::read_from(home.kubeconfig()?).context("no kubeconfig yet")?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let address = config.cluster_url.to_string();
    let client = Client::try_from(config)?;
    let ready =
        client.request_text(http::Request::get("/readyz").body(Vec::new())?).await.context("the API is not ready")?;
    if ready.trim() != "ok" {
        bail!("the API is not ready: {ready}");
    }
    let wanted: usize = std::fs::read_to_string(home.path()?.join("nodes.count"))?.trim().parse()?;
    // As `up` names them; nodes that joined from elsewhere are not waited for.
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.context("listing the nodes")?;
    let ours = |node: &&Node| {
        let number = node.name_any().strip_prefix("node-").and_then(|n| n.parse::<usize>().ok());
        number.is_some_and(|n| n >= 1 && n <= wanted)
    };
    let ready: Vec<&Node> = nodes.items.iter().filter(ours).filter(|node| is_ready(node)).collect();
    if ready.len() < wanted {
        bail!("{} of {wanted} nodes are ready", ready.len());
    }
    // A condition may be left from before a stop, so each agent is asked, too.
    for node in ready {
        let path = format!("/api/v1/nodes/{}/proxy/healthz", node.name_any());
        let answer = client.request_text(http::Request::get(path).body(Vec::new())?).await;
        answer.with_context(|| format!("the agent of {} does not answer", node.name_any()))?;
    }
    Ok(address)
}

pub async fn run(args: Args) -> Result<()> {
    if args.quiet {
        std::process::exit(i32::from(!args.home.is_supervised()?));
    }
    let begun = Instant::now();
    // Who waits may have started the supervisor a moment ago.
    while !args.home.is_supervised()? {
        if args.wait.is_none() || begun.elapsed() > START_PATIENCE {
            bail!("no cluster of {} runs", args.home.path()?.display());
        }
        sleep(LOOK_EVERY).await;
    }
    let deadline = begun + Duration::from_secs(args.wait.unwrap_or(0));
    let address = loop {
        match look(&args.home).await {
            Ok(address) => break address,
            Err(error) if Instant::now() >= deadline => {
                return Err(
                    error.context(format!("not ready; the logs are in {}", args.home.path()?.join("logs").display()))
                );
            }
            Err(_) if !args.home.is_supervised()? => {
                bail!("the cluster's supervisor ended; see {}", args.home.path()?.join("logs/up.log").display());
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    };
    let home = args.home.path()?;
    let password = std::fs::read_to_string(home.join("admin-password")).unwrap_or_default();
    let mut out = std::io::stdout();
    writeln!(out, "Pilothouse is ready.")?;
    writeln!(out, "  dashboard and API  {}", address.trim_end_matches('/'))?;
    writeln!(out, "  user and password  admin  {}", password.trim())?;
    writeln!(out, "  kubeconfig         {}", args.home.kubeconfig()?.display())?;
    Ok(())
}
