//! Aggregation: group versions that extension servers answer for.
//!
//! ```text
//! APIService ─► services (whom) ─► link (connections, front-proxy certificate) ─► proxy (requests)
//!            └► availability (checks, conditions) ─► what they serve, for discovery and OpenAPI
//! kinds ─► local (an APIService for every group version of our own)
//! ```
//!
//! Source: <https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/>
//!
//! Invariants: what we serve ourselves is never given away; an extension server that hangs costs those who ask it, and
//! nobody else; authentication, flow control and authorization come before it.

mod availability;
mod identity;
mod link;
mod listing;
mod local;
mod proxy;
mod services;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use pilothouse_api::Status;
use pilothouse_storage::Store;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::link::HttpClient;
use self::services::Remote;
use crate::admission::catalog::Catalog;
use crate::body::Body;
use crate::door::UpgradeSlot;
use crate::server::{Answer, ApiServer, Call, Server};
use crate::webhook::{Dialer, Trust};

pub use identity::{FrontProxy, NAME};
pub use listing::{RemoteGroup, groups};

const RESOURCE: &str = "apiservices.apiregistration.k8s.io";

/// What an extension server says it serves in one group version.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// The `resources` of its APIResourceList.
    pub resources: Vec<Value>,
    /// The entry of its OpenAPI v3 index, when it has one.
    pub openapi: Option<Value>,
    /// Its OpenAPI v2 document, when it has one.
    pub swagger: Option<Arc<Value>>,
}

/// A remote group version for discovery.
pub struct Listed {
    pub remote: Remote,
    pub offer: Offer,
}

pub struct Aggregator {
    catalog: Catalog<Option<Remote>>,
    identity: Arc<FrontProxy>,
    dialer: Dialer,
    trust: Trust,
    links: Mutex<HashMap<String, (Remote, HttpClient)>>,
    offers: RwLock<HashMap<String, Offer>>,
    stamp: AtomicU64,
}

impl Aggregator {
    pub fn new(identity: Arc<FrontProxy>, dialer: Dialer) -> Self {
        Self {
            catalog: Catalog::new(RESOURCE, services::remote),
            identity,
            dialer,
            trust: Trust::default(),
            links: Mutex::default(),
            offers: RwLock::default(),
            stamp: AtomicU64::new(1),
        }
    }

    /// The authority whose certificates prove that a request comes from us.
    pub fn authority_pem(&self) -> &str {
        self.identity.authority_pem()
    }

    fn remotes(&self, store: &Store) -> Vec<Remote> {
        self.catalog.current(store).iter().filter_map(|item| (*item.value).clone()).collect()
    }

    /// Who answers for a group version, when it is not us.
    fn find(&self, store: &Store, group: &str, version: &str) -> Option<Remote> {
        let items = self.catalog.current(store);
        let mut remotes = items.iter().filter_map(|item| item.value.as_ref().as_ref());
        remotes.find(|remote| remote.group == group && remote.version == version).cloned()
    }

    /// The client for an extension server; another one when the way to it has changed.
    fn client(&self, remote: &Remote) -> Result<HttpClient, String> {
        let mut links = self.links.lock();
        if let Some((known, client)) = links.get(&remote.name)
            && known.same_way(remote)
        {
            return Ok(client.clone());
        }
        let client = link::client(remote, &self.dialer, &self.trust, &self.identity)?;
        links.insert(remote.name.clone(), (remote.clone(), client.clone()));
        Ok(client)
    }

    /// All remote group versions with what they offer.
    pub fn listed(&self, store: &Store) -> Vec<Listed> {
        let offers = self.offers.read();
        let listed = |remote: Remote| Listed { offer: offers.get(&remote.name).cloned().unwrap_or_default(), remote };
        self.remotes(store).into_iter().map(listed).collect()
    }

    /// Changes when what is offered does, or an APIService.
    pub fn stamp(&self, store: &Store) -> u64 {
        self.catalog.stamp(store).wrapping_mul(31).wrapping_add(self.stamp.load(Ordering::Acquire))
    }

    fn set_offer(&self, name: &str, offer: Option<Offer>) {
        let mut offers = self.offers.write();
        let same = match (&offer, offers.get(name)) {
            (Some(new), Some(old)) => {
                new.resources == old.resources && new.openapi == old.openapi && new.swagger == old.swagger
            }
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        match offer {
            Some(offer) => offers.insert(name.to_owned(), offer),
            None => offers.remove(name),
        };
        self.stamp.fetch_add(1, Ordering::AcqRel);
    }
}

/// Sends the call to the extension server that answers for its group version. None: there is none.
pub async fn answer(
    server: &Arc<Server>,
    call: &Call,
    body: Body,
    upgrade: Option<UpgradeSlot>,
) -> Result<Answer, Body> {
    let (group, version) = if call.info.is_resource {
        (call.info.group.as_str(), call.info.version.as_str())
    } else {
        match address(&call.info.path) {
            Some(address) => address,
            None => return Err(body),
        }
    };
    let Some(remote) = server.aggregator.find(&server.store, group, version) else { return Err(body) };
    if !remote.available {
        return Ok(Err(Status::unavailable("service unavailable", 1)));
    }
    let client = match server.aggregator.client(&remote) {
        Ok(client) => client,
        Err(why) => return Ok(Err(Status::unavailable(why, 1))),
    };
    Ok(proxy::forward(&client, &remote, &call.user, &call.parts, body, upgrade).await)
}

/// Group and version of a plain path that lies below them: `/apis/GROUP/VERSION`, `/openapi/v3/apis/GROUP/VERSION`.
fn address(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
    let (group, rest) = path.strip_prefix("/apis/")?.split_once('/')?;
    let version = rest.split('/').next().filter(|version| !version.is_empty())?;
    Some((group, version))
}

/// Keeps APIServices in order until `shutdown`: local ones are there, remote ones say whether they can be reached.
pub async fn run(api: ApiServer, shutdown: CancellationToken) {
    tokio::select! {
        () = async { tokio::join!(local::run(&api), availability::run(&api)); } => {}
        () = shutdown.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (path, expected) in [
            ("/apis/a.b/v1", Some(("a.b", "v1"))),
            ("/apis/a.b/v1/", Some(("a.b", "v1"))),
            ("/apis/a.b/v1/x", Some(("a.b", "v1"))),
            ("/openapi/v3/apis/a.b/v1", Some(("a.b", "v1"))),
            ("/apis/a.b", None),
            ("/apis/a.b/", None),
            ("/apis", None),
            ("/api/v1", None),
        ] {
            assert_eq!(address(path), expected, "{path}");
        }
    }
}
