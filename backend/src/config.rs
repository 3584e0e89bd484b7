//! Every flag of the long-running roles.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;

/// The control plane.
#[derive(clap::Args, Clone, Debug)]
pub struct Server {
    /// The PostgreSQL server and database.
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
    pub async fn run(self) -> Result<()> {
        anyhow::bail!("node {:?}: this build has no agent", self.node_name)
    }
}
