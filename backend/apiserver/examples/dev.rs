//! A control plane without nodes, for trying clients: a private PostgreSQL, the API on a free port, an administrator's
//! kubeconfig. `cargo run --example dev -- /tmp/kubeconfig`; ends with its standard input or a signal.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use pilothouse_access::pki::{ClientCertificates, Credential, Kubeconfig, Leaf, Validity, server_config};
use pilothouse_apiserver::{ApiServer, Config, Deps, bootstrap, door, indexer};
use pilothouse_storage::{Store, testing};
use pilothouse_tunnel::Tunnels;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = std::env::args().nth(1).expect("the kubeconfig to write");
    let store = Store::open(pilothouse_storage::Config::new(testing::shared().await.database().await), indexer());
    let store = store.await.unwrap();
    let secrets = bootstrap::secrets(&store).await.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();

    let shutdown = CancellationToken::new();
    let api = ApiServer::new(Deps {
        store,
        secrets: &secrets,
        tunnels: Tunnels::new(),
        config: Config {
            advertise: Some((Ipv4Addr::LOCALHOST.into(), port)),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            cluster_domain: "cluster.local".into(),
            dashboard: None,
        },
        shutdown: shutdown.clone(),
    })
    .unwrap();
    let valid = Validity::one_year(jiff::Timestamp::now());
    let issued = secrets.ca.issue_server("kube-apiserver", &["127.0.0.1", "localhost"], valid).unwrap();
    let leaf = Leaf::new(&issued.certificate_pem, &issued.key_pem).unwrap();
    let ca = secrets.ca.certificate_pem();
    let tls = server_config(leaf, &[ca], ClientCertificates::Optional, &["h2", "http/1.1"]).unwrap();
    let admin = secrets.ca.issue_admin(valid).unwrap();
    let credential = Credential::ClientCertificate { certificate_pem: &admin.certificate_pem, key_pem: &admin.key_pem };
    let server = format!("https://127.0.0.1:{port}");
    let text = Kubeconfig { cluster: "dev", server: &server, ca_pem: ca, user: "admin", credential }.render();

    let (booting, stop) = (api.clone(), shutdown.clone());
    tokio::spawn(async move { booting.bootstrap(stop).await });
    let waiting = api.clone();
    tokio::spawn(async move {
        while !waiting.is_ready() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        tokio::fs::write(file, text).await.unwrap();
        tracing::info!(server, "ready");
    });
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let mut end = Vec::new();
        let _ = tokio::io::stdin().read_to_end(&mut end).await;
        stop.cancel();
    });
    door::serve_listeners(api, vec![listener], Arc::new(tls), 2, shutdown).await.unwrap();
}
