//! Nodes without containers: the real agent, on the runtime that lives in memory, many times in one process. They join
//! by bootstrap token, heartbeat, run whatever pods they are given and report on them, as real nodes do.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use pilothouse_agent::cri::{Runtime, fake::Fake};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{machine, report};

const PROGRESS: Duration = Duration::from_secs(10);

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The API's address, `https://host:6443`.
    #[arg(long)]
    pub server: String,
    /// The tunnel's address, `host:6444`.
    #[arg(long)]
    pub tunnel: String,
    /// The cluster's CA certificate (PEM); `ca.crt` in the home of `pilothouse up`.
    #[arg(long)]
    pub ca: PathBuf,
    /// The file with the bootstrap token; `bootstrap-token` in the home of `pilothouse up`.
    #[arg(long)]
    pub token_file: PathBuf,
    #[arg(long, default_value_t = 10)]
    pub nodes: u32,
    /// The first node's number: several processes can share a cluster.
    #[arg(long, default_value_t = 0)]
    pub from: u32,
    /// Nodes that begin to join per second.
    #[arg(long, default_value_t = 20.0)]
    pub rate: f64,
    /// Where the nodes keep their certificates and volumes [default: a temporary folder]. With a folder that is kept,
    /// nodes come back as themselves.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Ends after so many seconds [default: never].
    #[arg(long)]
    pub seconds: Option<f64>,
}

fn config(args: &Args, token: &str, dir: &std::path::Path, number: u32) -> Result<pilothouse_agent::Config> {
    let name = format!("hollow-{number:05}");
    Ok(pilothouse_agent::Config {
        data_dir: dir.join(&name),
        node_name: name,
        // 10.64.0.0/10 is nobody's: these nodes are reached through their tunnels only.
        node_ip: IpAddr::V4(Ipv4Addr::from_bits(0x0a40_0001 + number)),
        server: args.server.parse().context("--server")?,
        tunnel: args.tunnel.clone(),
        ca_pem_file: args.ca.clone(),
        bootstrap_token: Some(token.to_owned()),
        cri_endpoint: PathBuf::new(),
        cni_conf_dir: PathBuf::new(),
        cni_bin_dir: PathBuf::new(),
        cgroup_root: String::new(),
        cluster_dns: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)),
        cluster_domain: "cluster.local".to_owned(),
        labels: BTreeMap::from([("pilothouse.io/hollow".to_owned(), "true".to_owned())]),
        taints: Vec::new(),
    })
}

async fn ended(seconds: Option<f64>) {
    let time = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! { () = time => {}, _ = tokio::signal::ctrl_c() => {}, () = terminated => {} }
}

/// Takes the nodes' volumes in memory down: an agent leaves its own for when it comes back.
fn unmount(dir: &std::path::Path) {
    for node in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        // One that was never mounted is as good.
        let _ = umount2(&node.path().join("memory"), MntFlags::MNT_DETACH);
    }
}

/// # Errors
/// When a node cannot begin.
pub async fn run(args: Args) -> Result<()> {
    let token = std::fs::read_to_string(&args.token_file)
        .with_context(|| format!("reading {}", args.token_file.display()))?
        .trim()
        .to_owned();
    let (dir, kept) = match &args.dir {
        Some(dir) => (dir.clone(), true),
        None => (std::env::temp_dir().join(format!("hollow-{}", std::process::id())), false),
    };
    let home = dir.clone();
    let stop = CancellationToken::new();
    let (before, begun) = (own_memory(), Instant::now());
    let mut tasks = JoinSet::new();
    let starting = {
        let (args, stop) = (args.clone(), stop.clone());
        async move {
            for number in args.from..args.from + args.nodes {
                let config = config(&args, &token, &dir, number)?;
                let runtime: Arc<dyn Runtime> = Arc::new(Fake::hollow());
                tasks.spawn(pilothouse_agent::run_on(config, runtime, false, stop.clone()));
                tokio::time::sleep(Duration::from_secs_f64(1.0 / args.rate.max(0.01))).await;
            }
            report::line(&format!("{} nodes begun after {:.0} s", args.nodes, begun.elapsed().as_secs_f64()));
            while let Some(node) = tasks.join_next().await {
                node??;
            }
            anyhow::Ok(())
        }
    };
    let telling = async {
        loop {
            let cpu = machine::own_cpu_seconds();
            tokio::time::sleep(PROGRESS).await;
            let cores = (machine::own_cpu_seconds() - cpu) / PROGRESS.as_secs_f64();
            let each = own_memory().saturating_sub(before) as f64 / 1024.0 / f64::from(args.nodes.max(1));
            report::line(&format!(
                "{:>5.0} s: {:.0} MiB, {each:.0} KiB a node, {cores:.2} cores",
                begun.elapsed().as_secs_f64(),
                own_memory() as f64 / f64::from(1 << 20),
            ));
        }
    };
    tokio::select! {
        outcome = starting => outcome?,
        () = telling => {}
        () = ended(args.seconds) => stop.cancel(),
    }
    unmount(&home);
    if !kept {
        std::fs::remove_dir_all(&home).with_context(|| format!("removing {}", home.display()))?;
    }
    Ok(())
}

fn own_memory() -> u64 {
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    machine::Process { target: String::new(), label: String::new(), pid }.resident_bytes()
}
