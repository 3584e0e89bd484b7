//! Every flag of the long-running roles.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use pilothouse_scheduler::ScoringStrategy;
use tokio_util::sync::CancellationToken;

/// The control plane.
#[derive(clap::Args, Clone, Debug)]
pub struct Server {
    /// The PostgreSQL server and database. Several servers, `postgres://user@one:5432,two:5432/database`, are a primary
    /// and its replicas: whichever takes writes is used, also after a failover.
    #[arg(long, env = "PILOTHOUSE_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// An address for the API and the dashboard (TLS). May be repeated.
    #[arg(long, default_value = "127.0.0.1:6443")]
    pub listen: Vec<SocketAddr>,
    /// An address for the agents' tunnels (TLS with client certificates). May be repeated.
    #[arg(long)]
    pub listen_tunnel: Vec<SocketAddr>,
    /// The address under which pods and nodes reach this backend.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// A further name or address in the server's certificate. May be repeated.
    #[arg(long)]
    pub tls_san: Vec<String>,
    /// Where kubeconfig, admin-password, ca.crt and bootstrap-token are written for the administrator.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// The dashboard's built files.
    #[arg(long)]
    pub dashboard: Option<PathBuf>,
    /// The pods' network; each node gets a /24 of it.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub pod_cidr: String,
    /// The Services' network.
    #[arg(long, default_value = "10.96.0.0/16")]
    pub service_cidr: String,
    /// The cluster DNS address in the Services' network.
    #[arg(long, default_value = "10.96.0.10")]
    pub cluster_dns: IpAddr,
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Which nodes the scheduler prefers: LeastAllocated spreads the load, MostAllocated packs it.
    #[arg(long, env = "PILOTHOUSE_SCORING_STRATEGY", default_value = "LeastAllocated")]
    pub scoring_strategy: ScoringStrategy,
    #[command(flatten)]
    pub log: Log,
    /// The OpenTelemetry collector that gets traces over gRPC, `http://host:4317` [default: OTEL_EXPORTER_OTLP_ENDPOINT;
    /// without it there are no traces].
    #[arg(long)]
    pub tracing_endpoint: Option<String>,
    /// Of a million requests that belong to no trace yet, so many begin one [default: OTEL_TRACES_SAMPLER, else none].
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub tracing_sampling_rate_per_million: Option<u32>,
}

/// What the log of changes keeps: for watches that resume, and lists that continue.
#[derive(clap::Args, Clone, Debug)]
pub struct Log {
    /// How often the log is compacted; 0s: never.
    #[arg(long, default_value = "1m", value_parser = duration)]
    pub compaction_interval: Duration,
    /// Changes younger than this stay.
    #[arg(long, default_value = "15m", value_parser = duration)]
    pub compaction_keep: Duration,
    /// So many of the newest changes stay, however old.
    #[arg(long, default_value_t = 10_000)]
    pub compaction_keep_revisions: u64,
    /// Changes in one partition of the log, which is dropped as a whole.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub log_partition_revisions: u64,
}

/// `90s`, `15m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    parsed.map_err(|error| error.to_string())?.try_into().map_err(|_| "a time cannot be negative".to_owned())
}

impl Server {
    /// How the store is opened.
    pub fn store(&self) -> pilothouse_storage::Config {
        let log = &self.log;
        pilothouse_storage::Config {
            partition_revisions: log.log_partition_revisions,
            compaction: pilothouse_storage::Compaction {
                interval: log.compaction_interval,
                keep_time: log.compaction_keep,
                keep_revisions: log.compaction_keep_revisions,
            },
            ..pilothouse_storage::Config::new(&self.database_url)
        }
    }
}

/// A node's agent.
#[derive(clap::Args, Clone, Debug)]
pub struct Agent {
    /// The node's name [default: the host name].
    #[arg(long, env = "NODE_NAME")]
    pub node_name: Option<String>,
    /// The address other nodes reach this one at.
    #[arg(long)]
    pub node_ip: IpAddr,
    /// The API's address, `https://host:6443`.
    #[arg(long)]
    pub server: String,
    /// The tunnel's address, `host:6444`.
    #[arg(long)]
    pub tunnel: String,
    /// The cluster's CA certificate (PEM).
    #[arg(long)]
    pub ca: PathBuf,
    /// The file with the bootstrap token; needed for the first start only.
    #[arg(long)]
    pub bootstrap_token_file: Option<PathBuf>,
    /// Where the agent keeps its certificate and the pods' volumes and logs.
    #[arg(long, default_value = "/var/lib/pilothouse/agent")]
    pub data_dir: PathBuf,
    /// The container runtime's CRI socket.
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    pub cri_endpoint: PathBuf,
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    #[arg(long, default_value = "/usr/lib/cni")]
    pub cni_bin_dir: PathBuf,
    /// The parent of the pods' cgroups.
    #[arg(long, default_value = "pilothouse")]
    pub cgroup_root: String,
    #[arg(long, default_value = "10.96.0.10")]
    pub cluster_dns: IpAddr,
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// A label of the node, `key=value`. May be repeated.
    #[arg(long = "label")]
    pub labels: Vec<String>,
}

impl Agent {
    fn config(self) -> Result<pilothouse_agent::Config> {
        let node_name = match self.node_name {
            Some(name) => name,
            None => {
                nix::unistd::gethostname()?.into_string().map_err(|_| anyhow::anyhow!("the host name is not UTF-8"))?
            }
        };
        // Only the first start needs it; a node that has its certificate joins without.
        let token = self.bootstrap_token_file.and_then(|file| std::fs::read_to_string(file).ok());
        let labels = self.labels.iter().map(|label| {
            let (key, value) =
                label.split_once('=').with_context(|| format!("--label {label:?}: expected KEY=VALUE"))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        Ok(pilothouse_agent::Config {
            node_name,
            node_ip: self.node_ip,
            server: self.server.parse().context("--server")?,
            tunnel: self.tunnel,
            ca_pem_file: self.ca,
            bootstrap_token: token.map(|token| token.trim().to_owned()),
            data_dir: self.data_dir,
            cri_endpoint: self.cri_endpoint,
            cni_conf_dir: self.cni_conf_dir,
            cni_bin_dir: self.cni_bin_dir,
            cgroup_root: self.cgroup_root,
            cluster_dns: self.cluster_dns,
            cluster_domain: self.cluster_domain,
            labels: labels.collect::<Result<_>>()?,
            taints: Vec::new(),
        })
    }

    pub async fn run(self) -> Result<()> {
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            if crate::server::stop_signal().await.is_ok() {
                stop.cancel();
            }
        });
        // The server may still be writing these two when the first node starts.
        while !self.ca.exists() || self.bootstrap_token_file.as_ref().is_some_and(|file| !file.exists()) {
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
        pilothouse_agent::run(self.config()?, shutdown).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", Some(90)), ("15m", Some(900)), ("1h30m", Some(5400)), ("0s", Some(0))] {
            assert_eq!(duration(text).ok().map(|found| found.as_secs()), seconds, "{text}");
        }
        assert!(duration("-1s").is_err() && duration("soon").is_err());
    }
}
