//! The wiring of the control plane, top to bottom: store, API, doors, what the leader runs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use pilothouse_access::UserInfo;
use pilothouse_access::pki::{self, ClientCertificates, Leaf, Validity};
use pilothouse_apiserver::{ApiServer, Deps, Secrets, bootstrap, door, indexer};
use pilothouse_controllers::ClusterConfig;
use pilothouse_storage::Store;
use pilothouse_tunnel::Tunnels;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::addons;
use crate::admin;
use crate::config::Server;

/// The database may come up after the backend: starting waits this long for it.
const DATABASE_PATIENCE: Duration = Duration::from_secs(60);
const DATABASE_RETRY: Duration = Duration::from_millis(50);
/// The server's certificate lives a year; it is issued anew when this much of it is left.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
const RENEW_CHECK: Duration = Duration::from_secs(3600);
const STOP_PATIENCE: Duration = Duration::from_secs(8);

async fn open_store(config: &Server) -> Result<Store> {
    let deadline = tokio::time::Instant::now() + DATABASE_PATIENCE;
    loop {
        let error = match Store::open(config.store(), indexer()).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        if !error.is_retryable() || tokio::time::Instant::now() > deadline {
            return Err(error).context("opening the store");
        }
        sleep(DATABASE_RETRY).await;
    }
}

/// Every name and address the server answers to.
fn server_names(config: &Server) -> Result<Vec<String>> {
    let first: ipnet::Ipv4Net = config.service_cidr.parse().context("--service-cidr")?;
    let kubernetes = first.hosts().next().context("--service-cidr has no room")?;
    let domain = &config.cluster_domain;
    let mut names: Vec<String> = vec![
        "localhost".into(),
        "kubernetes".into(),
        "kubernetes.default".into(),
        "kubernetes.default.svc".into(),
        format!("kubernetes.default.svc.{domain}"),
        "127.0.0.1".into(),
        kubernetes.to_string(),
    ];
    let addresses = config.listen.iter().chain(&config.listen_tunnel).map(SocketAddr::ip);
    names.extend(addresses.chain(config.advertise_address).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    names.extend(config.tls_san.iter().cloned());
    names.sort();
    names.dedup();
    Ok(names)
}

fn issue(secrets: &Secrets, names: &[String]) -> Result<pki::Issued> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(secrets.ca.issue_server("kube-apiserver", &names, Validity::one_year(jiff::Timestamp::now()))?)
}

/// Keeps the server's certificate young.
async fn renew(secrets: Arc<Secrets>, leaf: Arc<Leaf>, names: Vec<String>, shutdown: CancellationToken) {
    loop {
        tokio::select! { () = sleep(RENEW_CHECK) => {}, () = shutdown.cancelled() => return }
        let left = leaf.not_after().map(|end| end.duration_since(jiff::Timestamp::now()).unsigned_abs());
        if left.is_ok_and(|left| left > RENEW_BEFORE) {
            continue;
        }
        let renewed = issue(&secrets, &names).and_then(|new| Ok(leaf.replace(&new.certificate_pem, &new.key_pem)?));
        match renewed {
            Ok(()) => info!("the server's certificate was renewed"),
            Err(error) => warn!("the server's certificate was not renewed: {error:#}"),
        }
    }
}

/// What only the elected backend does.
async fn lead(api: ApiServer, secrets: Arc<Secrets>, config: Server, identity: String, stop: CancellationToken) {
    let signer = Arc::clone(&secrets);
    let clients = api.clone();
    let deps = pilothouse_controllers::Deps {
        client_for: Arc::new(move |name| clients.client_for(name)),
        root_ca_pem: secrets.ca.certificate_pem().to_owned(),
        sign: Arc::new(move |request| {
            let request = pki::SignRequest {
                signer_name: request.signer_name,
                csr_pem: request.csr_pem,
                usages: request.usages,
                expiration_seconds: request.expiration_seconds.map(i64::from),
            };
            signer.ca.sign_request(&request, jiff::Timestamp::now()).map_err(|error| error.to_string())
        }),
        identity,
        cluster: ClusterConfig {
            pod_cidr: config.pod_cidr.clone(),
            service_cidr: config.service_cidr.clone(),
            cluster_domain: config.cluster_domain.clone(),
            ..ClusterConfig::default()
        },
    };
    let scheduler = api.client(UserInfo::new("system:kube-scheduler", &["system:authenticated"]));
    let addons = addons::Config { cluster_dns: config.cluster_dns.to_string(), cluster_domain: config.cluster_domain };
    tokio::join!(
        pilothouse_controllers::run(deps, stop.clone()),
        pilothouse_scheduler::run(scheduler, config.scoring_strategy, stop.clone()),
        addons::run(api.client_for("pilothouse-addons"), addons, stop),
    );
}

pub async fn stop_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}

fn identity() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    format!("{host}_{:08x}", rand::random::<u32>())
}

pub async fn run(config: Server) -> Result<()> {
    let shutdown = CancellationToken::new();
    let store = open_store(&config).await?;
    let secrets = Arc::new(bootstrap::secrets(&store).await.context("the cluster's keys")?);
    let names = server_names(&config)?;
    let issued = issue(&secrets, &names)?;
    let leaf = Leaf::new(&issued.certificate_pem, &issued.key_pem)?;
    let ca = secrets.ca.certificate_pem().to_owned();
    let tls = |clients| pki::server_config(Arc::clone(&leaf), &[&ca], clients, &["h2", "http/1.1"]);

    let tunnels = Tunnels::new();
    let port = config.listen.first().map_or(6443, SocketAddr::port);
    let advertise: Option<IpAddr> = config.advertise_address;
    let api = ApiServer::new(Deps {
        store: store.clone(),
        secrets: &secrets,
        tunnels: tunnels.clone(),
        config: pilothouse_apiserver::Config {
            advertise: advertise.map(|ip| (ip, port)),
            service_cidr: config.service_cidr.parse().context("--service-cidr")?,
            cluster_domain: config.cluster_domain.clone(),
            dashboard: config.dashboard.clone(),
        },
        shutdown: shutdown.clone(),
    })?;

    api.register_metrics(|registry| {
        pilothouse_controllers::metrics::register(registry);
        pilothouse_scheduler::metrics::register(registry);
    });

    let mut tasks = tokio::task::JoinSet::new();
    let door = (api.clone(), config.listen.clone(), Arc::new(tls(ClientCertificates::Optional)?), shutdown.clone());
    tasks.spawn(async move {
        let (api, addresses, tls, shutdown) = door;
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        door::serve(api, &addresses, tls, workers, shutdown).await.context("serving the API")
    });
    for address in config.listen_tunnel.clone() {
        let (tunnels, tls, shutdown) =
            (tunnels.clone(), Arc::new(tls(ClientCertificates::Required)?), shutdown.clone());
        tasks.spawn(async move {
            let listener =
                tokio::net::TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
            tunnels.serve(listener, tls, shutdown).await.context("serving the tunnels")
        });
    }
    let bootstrapping = (api.clone(), shutdown.clone());
    tasks.spawn(async move {
        bootstrapping.0.bootstrap(bootstrapping.1).await;
        Ok(())
    });
    tasks.spawn(renewing(Arc::clone(&secrets), leaf, names, shutdown.clone()));
    let admin = (api.clone(), Arc::clone(&secrets), config.clone(), shutdown.clone());
    tasks.spawn(async move { admin::provide(&admin.0, &admin.1, &admin.2, &admin.3).await });
    let leading = (api.clone(), Arc::clone(&secrets), config.clone(), shutdown.clone());
    tasks.spawn(async move {
        let (api, secrets, config, shutdown) = leading;
        let (identity, client) = (identity(), api.client_for("pilothouse-leader"));
        let name = identity.clone();
        let on_lead = move |stop| lead(api.clone(), Arc::clone(&secrets), config.clone(), name.clone(), stop).boxed();
        pilothouse_controllers::leader::elect(client, identity, on_lead, shutdown).await;
        Ok(())
    });
    info!(listen = ?config.listen, "the control plane runs");

    let outcome = tokio::select! {
        outcome = stop_signal() => outcome,
        outcome = failed(&mut tasks) => outcome,
    };
    info!("stopping");
    shutdown.cancel();
    let rest = async { while tasks.join_next().await.is_some() {} };
    if timeout(STOP_PATIENCE, rest).await.is_err() {
        warn!("some work did not end in time");
    }
    store.close().await;
    outcome
}

async fn renewing(
    secrets: Arc<Secrets>,
    leaf: Arc<Leaf>,
    names: Vec<String>,
    shutdown: CancellationToken,
) -> Result<()> {
    renew(secrets, leaf, names, shutdown).await;
    Ok(())
}

/// Waits for the first task that fails; tasks that end well are done.
async fn failed(tasks: &mut tokio::task::JoinSet<Result<()>>) -> Result<()> {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(error)) => return Err(error).context("a task of the control plane panicked"),
            None => std::future::pending().await,
        }
    }
}
