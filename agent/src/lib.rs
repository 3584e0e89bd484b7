//! The agent: kubelet, kube-proxy and node DNS in one process.
//!
//! Invariants: it needs only outbound connections; containers outlive it, and are found again by looking at the
//! runtime; it keeps nothing that the API and the runtime cannot give back, except the node's certificate.

pub mod cgroups;
mod client;
mod config;
pub mod cri;
pub mod dns;
pub mod events;
mod eviction;
mod gc;
mod identity;
pub mod kubelet;
pub mod logs;
pub mod network;
pub mod node;
pub mod objects;
pub mod pods;
pub mod probes;
pub mod proxy;
mod retry;
mod tls;
pub mod volumes;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::BoxFuture;
use rustls_pki_types::ServerName;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use config::{Config, KUBELET_VERSION};

use cri::Runtime;
use node::Handle;
use node::machine::Machine;
use objects::Objects;
use pods::context::{Context, Registry};
use pods::manager::Manager;
use volumes::Mounter;

const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Runs a node on the container runtime of `config` until `shutdown`.
///
/// # Errors
/// When it cannot begin: a bad configuration, or no way to join the cluster. Once it runs, it only stops when told to.
pub fn run(config: Config, shutdown: CancellationToken) -> BoxFuture<'static, Result<()>> {
    let runtime: Arc<dyn Runtime> = Arc::new(cri::Client::new(&config.cri_endpoint));
    run_on(config, runtime, true, shutdown)
}

/// Runs a node on any runtime; `real`: there are processes, so cgroups and networking are needed.
///
/// # Errors
/// As [`run`].
pub fn run_on(
    config: Config,
    runtime: Arc<dyn Runtime>,
    real: bool,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<()>> {
    // Boxed: an `async fn` is compiled where it is first polled, and that should be this crate.
    Box::pin(work(config, runtime, real, shutdown))
}

async fn work(config: Config, runtime: Arc<dyn Runtime>, real: bool, shutdown: CancellationToken) -> Result<()> {
    std::fs::create_dir_all(&config.data_dir).with_context(|| format!("creating {}", config.data_dir.display()))?;
    let roots = identity::roots(&config)?;
    let identity = tokio::select! {
        identity = identity::join(&config, &roots) => identity?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let client = client::with_certificate(&config, identity::tls(&roots, Some(&identity))?)?;
    let node = Arc::new(Handle::new(config.clone(), Machine::read(&config.data_dir)));
    tokio::select! {
        () = node::register(&node, &client) => {}
        () = shutdown.cancelled() => return Ok(()),
    }

    let (recorder, events) = events::channel();
    let objects = Arc::new(Objects::new(client.clone()));
    let version = runtime.version().await.map_or_else(|_| "containerd".to_owned(), |version| version.runtime_name);
    let context = Arc::new(Context {
        runtime: Arc::clone(&runtime),
        runtime_name: version,
        node: Arc::clone(&node),
        objects: Arc::clone(&objects),
        services: Arc::default(),
        mounter: Mounter::new(&config.data_dir, objects),
        cgroups: real.then(|| cgroups::Cgroups::new(&config.cgroup_root)),
        recorder: recorder.clone(),
        host_ports: Arc::default(),
        registry: Arc::new(Registry::default()),
        changes: Arc::default(),
    });
    let name = &config.node_name;
    recorder.tell(events::Subject::node(name), events::Type::Normal, "Starting", "Starting kubelet.");

    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(events.run(client.clone(), name.clone(), shutdown.clone()));
    tasks.spawn(node::lease::keep(Arc::clone(&node), client.clone(), shutdown.clone()));
    tasks.spawn(node::keep_status(Arc::clone(&node), client.clone(), Arc::clone(&runtime), shutdown.clone()));
    tasks.spawn(Manager::new(Arc::clone(&context)).run(shutdown.clone()));
    tasks.spawn(gc::run(Arc::clone(&context), shutdown.clone()));
    tasks.spawn(eviction::run(Arc::clone(&context), shutdown.clone()));
    tasks.spawn(cri::changes::follow(runtime, Arc::clone(&context.changes), shutdown.clone()));
    tasks.spawn(network::index::follow_services(client.clone(), Arc::clone(&context.services), shutdown.clone()));
    if real {
        tasks.spawn(network::run(network_context(&config, &client, &context)?, shutdown.clone()));
    }
    let (renewal, shutdown_renewal) = ((config.clone(), Arc::clone(&identity), client), shutdown.clone());
    tasks.spawn(async move { identity::keep_fresh(&renewal.0, &renewal.1, renewal.2, shutdown_renewal).await });
    tasks.spawn(tunnel(&config, &roots, &identity, &context, shutdown.clone())?);

    info!(node = name, "the node is up");
    shutdown.cancelled().await;
    let ended = async { while tasks.join_next().await.is_some() {} };
    // Who hangs in a call to a backend that is away is not waited for.
    let _ = tokio::time::timeout(STOP_PATIENCE, ended).await;
    info!(node = name, "the node's agent has stopped; its containers go on");
    Ok(())
}

fn network_context(config: &Config, client: &kube::Client, context: &Context) -> Result<network::Context> {
    let (IpAddr::V4(node_ip), IpAddr::V4(cluster_dns)) = (config.node_ip, config.cluster_dns) else {
        bail!("the node's address and the cluster DNS address must be IPv4");
    };
    Ok(network::Context {
        client: client.clone(),
        node_name: config.node_name.clone(),
        node_ip,
        cluster_dns,
        cluster_domain: config.cluster_domain.clone(),
        cni_conf_dir: config.cni_conf_dir.clone(),
        data_dir: PathBuf::from(&config.data_dir),
        host_ports: Arc::clone(&context.host_ports),
        services: Arc::clone(&context.services),
    })
}

/// The connection by which the backend reaches this node.
fn tunnel(
    config: &Config,
    roots: &Arc<rustls::RootCertStore>,
    identity: &Arc<identity::Identity>,
    context: &Arc<Context>,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + 'static> {
    let host = config.tunnel.rsplit_once(':').map_or(config.tunnel.as_str(), |(host, _)| host);
    let server_name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .with_context(|| format!("the tunnel's address {:?}", config.tunnel))?;
    let tls = Arc::new(identity::tls(roots, Some(identity))?);
    let dialer = pilothouse_tunnel::Dialer {
        address: config.tunnel.clone(),
        server_name,
        tls: Arc::new(move || Arc::clone(&tls)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let server = kubelet::Server::new(Arc::clone(context));
    Ok(pilothouse_tunnel::connect(dialer, move |stream| server.serve(stream), shutdown))
}
