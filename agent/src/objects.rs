//! The ConfigMaps and Secrets that this node's pods refer to, fetched when needed.
//!
//! Invariants: what was fetched is kept for a short while only, so that a hundred pods starting together ask once; an
//! object that is not there is an answer, not an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Long enough for pods that start together, short enough that a pod made after its ConfigMap sees it.
pub const FRESH: Duration = Duration::from_millis(500);
/// How old a mounted ConfigMap may be when its volume is looked at again.
pub const SETTLED: Duration = Duration::from_secs(10);

type Cache<T> = Mutex<HashMap<(String, String), (Instant, Arc<T>)>>;

pub struct Objects {
    client: kube::Client,
    config_maps: Cache<Option<ConfigMap>>,
    secrets: Cache<Option<Secret>>,
}

async fn cached<T>(
    cache: &Cache<T>,
    key: (&str, &str),
    max_age: Duration,
    fetch: impl Future<Output = kube::Result<T>>,
) -> Result<Arc<T>, String> {
    let key = (key.0.to_owned(), key.1.to_owned());
    let found = cache.lock().get(&key).filter(|(at, _)| at.elapsed() < max_age).map(|(_, value)| Arc::clone(value));
    if let Some(found) = found {
        return Ok(found);
    }
    let value = Arc::new(fetch.await.map_err(|error| message(&error))?);
    let mut cache = cache.lock();
    cache.retain(|_, (at, _)| at.elapsed() < SETTLED);
    cache.insert(key, (Instant::now(), Arc::clone(&value)));
    Ok(value)
}

/// What the API said, without what the client adds around it.
#[must_use]
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl Objects {
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client, config_maps: Cache::default(), secrets: Cache::default() }
    }

    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// # Errors
    /// What the API said, or why it could not be asked; so for the others.
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
        max_age: Duration,
    ) -> Result<Arc<Option<ConfigMap>>, String> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        cached(&self.config_maps, (namespace, name), max_age, api.get_opt(name)).await
    }

    pub async fn secret(&self, namespace: &str, name: &str, max_age: Duration) -> Result<Arc<Option<Secret>>, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        cached(&self.secrets, (namespace, name), max_age, api.get_opt(name)).await
    }
}
