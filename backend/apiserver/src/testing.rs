//! A whole server in process, for tests of this crate and others.

use std::net::Ipv4Addr;
use std::time::Duration;

use pilothouse_storage::Store;
use pilothouse_tunnel::Tunnels;
use tokio_util::sync::CancellationToken;

use crate::{ApiServer, Config, Deps, bootstrap, indexer};

/// A backend starts sooner, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a server and waits until it is ready; it ends when the token is cancelled.
///
/// # Panics
/// When it does not start.
#[allow(clippy::expect_used)]
pub async fn start(config: pilothouse_storage::Config) -> (ApiServer, Store, CancellationToken) {
    let store = Store::open(config, indexer()).await.expect("the store opens");
    let secrets = bootstrap::secrets(&store).await.expect("the cluster's keys");
    let shutdown = CancellationToken::new();
    let deps = Deps {
        store: store.clone(),
        secrets: &secrets,
        tunnels: Tunnels::new(),
        config: Config {
            advertise: Some((Ipv4Addr::new(192, 0, 2, 1).into(), 6443)),
            service_cidr: ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16),
            cluster_domain: "cluster.local".into(),
            dashboard: None,
        },
        shutdown: shutdown.clone(),
    };
    let api = ApiServer::new(deps).expect("the server");
    let (booting, stop) = (api.clone(), shutdown.clone());
    tokio::spawn(async move { booting.bootstrap(stop).await });
    let ready = async {
        while !api.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("the server becomes ready");
    (api, store, shutdown)
}

/// What an answer says, in whichever format it was given; none when it cannot be read.
#[must_use]
pub fn read(headers: &http::HeaderMap, body: &[u8]) -> Option<serde_json::Value> {
    crate::negotiate::decode_options(headers, body).ok()
}
