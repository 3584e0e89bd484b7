//! How many objects of a resource each namespace has: one watch of their metadata per resource that some quota counts.
//!
//! Invariant: a watch lives as long as a quota names its resource.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ResourceQuota;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::plan;
use crate::cache::Store;
use crate::discovery::{self, Resource};
use crate::error::Result;
use crate::follow::{Source, Update, Versioned, follow};
use crate::key::Key;
use crate::queue::Queue;
use crate::run::Context;

/// How long what the API was found to serve is believed.
const DISCOVERED_FOR: Duration = Duration::from_secs(30);
const BUFFER: usize = 64;

#[derive(Debug, Deserialize)]
struct Object {
    metadata: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: Box<str>,
    namespace: Box<str>,
    resource_version: String,
}

impl Versioned for Object {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// The names of one resource's objects, by namespace.
#[derive(Default)]
struct Census {
    listed: bool,
    names: HashMap<Box<str>, HashSet<Box<str>>>,
}

impl Census {
    /// Returns the namespaces whose number changed.
    fn take(&mut self, update: Update<Object>) -> Vec<Box<str>> {
        match update {
            Update::Reset(objects) => {
                let mut before = std::mem::take(&mut self.names);
                for Meta { name, namespace, .. } in objects.into_iter().map(|o| o.metadata) {
                    self.names.entry(namespace).or_default().insert(name);
                }
                if !std::mem::replace(&mut self.listed, true) {
                    // Even nothing is news to a quota that did not know.
                    return Vec::new();
                }
                let mut changed = Vec::new();
                for (namespace, names) in &self.names {
                    if before.remove(namespace).is_none_or(|before| before.len() != names.len()) {
                        changed.push(namespace.clone());
                    }
                }
                changed.extend(before.into_keys());
                changed
            }
            Update::Put(Object { metadata }) => {
                let new = self.names.entry(metadata.namespace.clone()).or_default().insert(metadata.name);
                if new { vec![metadata.namespace] } else { Vec::new() }
            }
            Update::Gone(Object { metadata }) => {
                let Some(names) = self.names.get_mut(&metadata.namespace) else { return Vec::new() };
                let gone = names.remove(&metadata.name);
                if names.is_empty() {
                    self.names.remove(&metadata.namespace);
                }
                if gone { vec![metadata.namespace] } else { Vec::new() }
            }
        }
    }
}

struct Watch {
    stop: CancellationToken,
    census: Arc<Mutex<Census>>,
}

pub struct Counters {
    cx: Context,
    watches: Mutex<BTreeMap<String, Watch>>,
    discovered: tokio::sync::Mutex<Option<(Instant, Arc<Vec<Resource>>)>>,
}

impl Counters {
    pub fn new(cx: Context) -> Self {
        Self { cx, watches: Mutex::default(), discovered: tokio::sync::Mutex::default() }
    }

    /// Starts the watches the quotas need and ends the others. Returns when to look again for resources that are not
    /// served (yet).
    pub async fn keep(&self, quotas: &[Arc<ResourceQuota>]) -> Result<Option<Duration>> {
        let wanted: BTreeSet<&str> = quotas.iter().flat_map(|quota| plan::counted(quota)).collect();
        let missing: Vec<&str> = {
            let mut watches = self.watches.lock();
            watches.retain(|resource, watch| {
                let keep = wanted.contains(resource.as_str());
                if !keep {
                    watch.stop.cancel();
                }
                keep
            });
            wanted.into_iter().filter(|resource| !watches.contains_key(*resource)).collect()
        };
        if missing.is_empty() {
            return Ok(None);
        }
        let served = self.discover().await?;
        let mut unknown = false;
        for resource in missing {
            match served.iter().find(|r| r.group_resource() == resource && r.namespaced && r.can("watch")) {
                Some(found) => self.start(resource, found),
                None => unknown = true,
            }
        }
        Ok(unknown.then_some(DISCOVERED_FOR))
    }

    /// None while it is not known.
    pub fn count(&self, resource: &str, namespace: &str) -> Option<usize> {
        let census = self.watches.lock().get(resource)?.census.clone();
        let census = census.lock();
        census.listed.then(|| census.names.get(namespace).map_or(0, HashSet::len))
    }

    async fn discover(&self) -> Result<Arc<Vec<Resource>>> {
        let mut discovered = self.discovered.lock().await;
        if let Some((at, served)) = &*discovered
            && at.elapsed() < DISCOVERED_FOR
        {
            return Ok(served.clone());
        }
        let served = Arc::new(discovery::discover(&self.cx.client).await?.resources);
        *discovered = Some((Instant::now(), served.clone()));
        Ok(served)
    }

    fn start(&self, name: &str, resource: &Resource) {
        let mut watches = self.watches.lock();
        if watches.contains_key(name) {
            return;
        }
        let (stop, census) = (self.cx.shutdown.child_token(), Arc::new(Mutex::new(Census::default())));
        let root = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
        let path = format!("{root}/{}/{}", resource.version, resource.plural);
        let source = Source { path, fields: "", metadata_only: true };
        let (send, receive) = mpsc::channel(BUFFER);
        let following = follow(self.cx.client.clone(), source, send, |update: Update<Object>| update);
        let (quotas, queue) = (self.cx.caches.resource_quotas.clone(), self.cx.queue.clone());
        let counting = take_all(census.clone(), receive, quotas, queue);
        let token = stop.clone();
        tokio::spawn(async move {
            tokio::select! { () = token.cancelled() => {}, ((), ()) = async { tokio::join!(following, counting) } => {} }
        });
        watches.insert(name.to_owned(), Watch { stop, census });
    }
}

async fn take_all(
    census: Arc<Mutex<Census>>,
    mut updates: mpsc::Receiver<Update<Object>>,
    quotas: Store<ResourceQuota>,
    queue: Arc<Queue>,
) {
    while let Some(update) = updates.recv().await {
        let (first, changed) = {
            let mut census = census.lock();
            let first = !census.listed;
            (first, census.take(update))
        };
        let namespaces = if first { vec![None] } else { changed.iter().map(|ns| Some(&**ns)).collect() };
        for namespace in namespaces {
            quotas.list(namespace).iter().for_each(|quota| queue.add(Key::of(&quota.metadata)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, name: &str) -> Object {
        let (name, namespace) = (name.into(), namespace.into());
        Object { metadata: Meta { name, namespace, resource_version: "1".into() } }
    }

    #[test]
    fn a_census_names_the_namespaces_whose_number_changed() {
        let mut census = Census::default();
        census.take(Update::Reset(vec![object("a", "x"), object("a", "y"), object("b", "x")]));
        let count = |census: &Census, ns: &str| census.names.get(ns).map_or(0, HashSet::len);
        assert_eq!((census.listed, count(&census, "a"), count(&census, "b")), (true, 2, 1));
        let mut take = |update| {
            let mut changed = census.take(update);
            changed.sort();
            changed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(take(Update::Put(object("a", "x"))), "", "a change of an object is no news");
        assert_eq!(take(Update::Put(object("a", "z"))), "a");
        assert_eq!(take(Update::Gone(object("b", "x"))), "b");
        assert_eq!(take(Update::Gone(object("b", "x"))), "");
        // As many in a, fewer in none, some in c.
        let all = ["x", "y", "z"].map(|n| object("a", n));
        assert_eq!(take(Update::Reset(all.into_iter().chain([object("c", "x")]).collect())), "c");
        assert_eq!(take(Update::Reset(vec![])), "a c");
    }
}
