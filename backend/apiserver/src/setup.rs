//! Puts the server together from its parts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pilothouse_access::Reader;
use pilothouse_access::admission::Admission;
use pilothouse_access::authn::Authenticator;
use pilothouse_access::authz::Authorizer;
use pilothouse_access::session::Sessions;
use pilothouse_access::tokens::{self, Keys, ServiceAccountTokens};
use pilothouse_kinds::Kind;
use pilothouse_storage::{Indexer, Store};
use pilothouse_tunnel::Tunnels;
use tokio_util::sync::CancellationToken;

use crate::admission::Dynamic;
use crate::aggregation::{Aggregator, FrontProxy};
use crate::bootstrap::{Error, Secrets};
use crate::fairness::{self, Fairness};
use crate::metrics::Metrics;
use crate::reader::StoreReader;
use crate::registry::Kinds;
use crate::server::{ApiServer, Config, Server};
use crate::{custom, discovery, expiry, feed, openapi, webhook};

/// What the server stands on.
pub struct Deps<'a> {
    /// Opened with [`indexer`].
    pub store: Store,
    /// Of [`crate::bootstrap::secrets`].
    pub secrets: &'a Secrets,
    pub tunnels: Tunnels,
    pub config: Config,
    /// Ends watches and streams, and the tasks that feed the authorizer.
    pub shutdown: CancellationToken,
}

/// The selectable fields of every built-in kind, for [`Store::open`].
pub fn indexer() -> Indexer {
    let mut by_storage: HashMap<&'static str, &'static Arc<Kind>> = HashMap::new();
    // Kinds without such fields are not asked, and their objects not parsed for it.
    for kind in pilothouse_kinds::builtin().iter().filter(|kind| !kind.selectable_names().is_empty()) {
        by_storage.entry(&kind.storage).or_insert(kind);
    }
    Arc::new(move |key, object| {
        let found = by_storage.get(&*key.resource);
        found.map_or_else(Vec::new, |kind| kind.selectable(object.value())) as Vec<(Cow<'static, str>, String)>
    })
}

impl ApiServer {
    /// The server, ready to answer; the cluster's first objects are written by [`ApiServer::bootstrap`]. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When the cluster's keys cannot be used.
    pub fn new(deps: Deps<'_>) -> Result<Self, Error> {
        let Deps { store, secrets, tunnels, config, shutdown } = deps;
        let reader: Arc<dyn Reader> = Arc::new(StoreReader::new(store.clone()));
        let authorizer = Arc::new(Authorizer::new());
        feed::start(&store, &authorizer, &shutdown);
        tokio::spawn(expiry::run(store.clone(), shutdown.clone()));
        let keys = Keys::load(&secrets.token_key, &[])?;
        let tokens = ServiceAccountTokens::new(keys, tokens::Config::for_domain(&config.cluster_domain));
        let tokens = Arc::new(tokens);
        let sessions = Arc::new(Sessions::new(secrets.session_key));
        let kinds = Kinds::default();
        let metrics = Metrics::default();
        metrics.register(|registry| store.register_metrics(registry));
        let front_proxy = FrontProxy::new(secrets.front_proxy.certificate_pem(), secrets.front_proxy.key_pem())?;
        let front_proxy = Arc::new(front_proxy);
        let webhooks = webhook::Client::new(store.clone(), tunnels.clone());
        let fairness = Arc::new(Fairness::default());
        metrics.register(|registry| fairness.register(registry));
        fairness::start(&store, &fairness, &shutdown);
        let api = Self(Arc::new(Server {
            authenticator: Authenticator::new(Arc::clone(&reader), Arc::clone(&tokens), Arc::clone(&sessions)),
            admission: Admission::new(Arc::clone(&reader), Arc::clone(&authorizer)),
            dynamic: Dynamic::default(),
            client_ca: secrets.ca.certificate_pem().to_owned(),
            aggregator: Arc::new(Aggregator::new(front_proxy, webhooks.dialer().clone())),
            discovery: discovery::Documents::default(),
            openapi: openapi::Documents::default(),
            fairness,
            ready: AtomicBool::new(false),
            webhooks,
            store,
            kinds,
            cleaning: custom::Cleaning::default(),
            reader,
            authorizer,
            sessions,
            tokens,
            tunnels,
            config,
            metrics,
            shutdown,
        }));
        custom::start(&api);
        Ok(api)
    }
}
