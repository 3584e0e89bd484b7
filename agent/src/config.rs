//! What an agent is told at its start.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Taint;
use url::Url;

#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    /// The address other nodes, and the backend, know this one by.
    pub node_ip: IpAddr,
    /// The API, `https://host:6443`.
    pub server: Url,
    /// The backend's tunnel, `host:6444`.
    pub tunnel: String,
    /// The cluster's CA certificates, PEM.
    pub ca_pem_file: PathBuf,
    /// `id.secret`; needed only as long as `data_dir` holds no valid certificate.
    pub bootstrap_token: Option<String>,
    /// The agent's own: `pki/`, `pods/` (volumes), `logs/pods/`.
    pub data_dir: PathBuf,
    /// The runtime's unix socket.
    pub cri_endpoint: PathBuf,
    pub cni_conf_dir: PathBuf,
    pub cni_bin_dir: PathBuf,
    /// The parent of the pods' cgroups, relative to the hierarchies' roots.
    pub cgroup_root: String,
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    /// Labels of the node beyond Kubernetes' own.
    pub labels: BTreeMap<String, String>,
    /// Taints that a new Node is registered with.
    pub taints: Vec<Taint>,
}

impl Config {
    #[must_use]
    pub fn pods_dir(&self) -> PathBuf {
        self.data_dir.join("pods")
    }

    #[must_use]
    pub fn logs_dir(&self) -> PathBuf {
        self.data_dir.join("logs/pods")
    }
}

/// The Kubernetes version whose kubelet this agent stands for.
pub const KUBELET_VERSION: &str = "v1.36.0";
/// Upstream's `maxPods`.
pub const MAX_PODS: i64 = 110;
