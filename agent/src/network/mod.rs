//! The node's place in the cluster's network: the CNI configuration of its own pods, routes to the other nodes' pods,
//! and the index of Services that `proxy` and `dns` answer from.
//!
//! Invariants: no overlay — nodes share a network segment, and a pod's address is seen unchanged by every other pod;
//! the index holds only what proxying and DNS need, never whole API objects.

pub mod cni;
pub mod index;
pub mod routes;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{dns, proxy};

/// What the network's tasks know about their node.
#[derive(Clone)]
pub struct Context {
    pub client: kube::Client,
    pub node_name: String,
    pub node_ip: Ipv4Addr,
    pub cluster_dns: Ipv4Addr,
    pub cluster_domain: String,
    pub cni_conf_dir: PathBuf,
    pub data_dir: PathBuf,
    /// The host ports of this node's running pods, kept by the pod workers.
    pub host_ports: Arc<index::HostPorts>,
    /// What is known of Services; they are followed elsewhere, since pods need them, too.
    pub services: Arc<index::Services>,
}

/// Runs everything until `shutdown`. Each part restarts its own watches; none of them ends by itself.
pub async fn run(context: Context, shutdown: CancellationToken) {
    let services = Arc::clone(&context.services);
    let nodes = Arc::new(routes::PodNetworks::default());
    tokio::join!(
        routes::run(&context, Arc::clone(&nodes), shutdown.clone()),
        index::follow_slices(&context, Arc::clone(&services), shutdown.clone()),
        proxy::run(&context, Arc::clone(&services), nodes, shutdown.clone()),
        dns::run(&context, services, shutdown.clone()),
    );
}
