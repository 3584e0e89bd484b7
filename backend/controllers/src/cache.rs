//! Shared caches: one watch per kind for the whole process, indexed for the questions controllers ask.
//!
//! Invariants:
//! - Handlers run in the watch's task, in the order of the watch, and only enqueue.
//! - What no controller reads is dropped before it is kept (managed fields, last-applied configuration), so a
//!   cached object is never written back whole.
//! - After a broken watch the state is replaced at once, and handlers see the difference.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use kube::Api;
use kube::api::ObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::key::Key;
use crate::owner;

pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub trait Cached: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Cached for K {}

/// One object's change: appeared (no `old`), changed, or gone (no `new`).
pub struct Change<'a, K> {
    pub key: &'a Key,
    pub old: Option<&'a Arc<K>>,
    pub new: Option<&'a Arc<K>>,
}

type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;
/// A further question the cache answers at once: the objects with this value, such as the pods of a node.
pub type IndexBy<K> = fn(&K) -> Option<&str>;

/// A cheap handle to one kind's cache.
pub struct Store<K: Cached>(Arc<Inner<K>>);

impl<K: Cached> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<K> {
    state: RwLock<State<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
    index_by: Option<IndexBy<K>>,
}

struct State<K> {
    objects: BTreeMap<Key, Arc<K>>,
    /// By the controlling owner's uid; objects without one under their namespace (see `orphans_of`).
    owned: HashMap<Box<str>, BTreeSet<Key>>,
    indexed: HashMap<Box<str>, BTreeSet<Key>>,
    revision: u64,
}

fn orphans_of(namespace: &str) -> String {
    // A uid has no slash, so the two kinds of index keys cannot meet.
    format!("{namespace}/")
}

fn owned_by(meta: &ObjectMeta) -> Box<str> {
    match owner::controller_of(meta) {
        Some(owner) => owner.uid.as_str().into(),
        None => orphans_of(meta.namespace.as_deref().unwrap_or("")).into(),
    }
}

fn index_remove(index: &mut HashMap<Box<str>, BTreeSet<Key>>, value: &str, key: &Key) {
    if let Some(keys) = index.get_mut(value) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(value);
        }
    }
}

/// The object's revision; revisions are one sequence for all kinds.
pub fn revision_of(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

impl<K: Cached> Default for Store<K> {
    fn default() -> Self {
        Self::indexed(None)
    }
}

impl<K: Cached> Store<K> {
    pub fn indexed(index_by: Option<IndexBy<K>>) -> Self {
        let state = State { objects: BTreeMap::new(), owned: HashMap::new(), indexed: HashMap::new(), revision: 0 };
        Self(Arc::new(Inner {
            state: RwLock::new(state),
            handlers: RwLock::default(),
            synced: watch::Sender::new(false),
            index_by,
        }))
    }

    /// Calls `handler` for every change from now on.
    pub fn on(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        self.0.handlers.write().push(Box::new(handler));
    }

    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.0.state.read().objects.get(key).cloned()
    }

    /// All objects, or a namespace's, by namespace and name.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<K>> {
        let state = self.0.state.read();
        match namespace {
            None => state.objects.values().cloned().collect(),
            Some(ns) => {
                let from = Bound::Included(Key::new(ns, ""));
                state
                    .objects
                    .range((from, Bound::Unbounded))
                    .take_while(|(k, _)| &*k.namespace == ns)
                    .map(|(_, o)| o.clone())
                    .collect()
            }
        }
    }

    pub fn keys(&self) -> Vec<Key> {
        self.0.state.read().objects.keys().cloned().collect()
    }

    /// The objects whose controller has this uid.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        let state = self.0.state.read();
        state.owned.get(uid).into_iter().flatten().filter_map(|k| state.objects.get(k).cloned()).collect()
    }

    /// The namespace's objects that have no controller.
    pub fn orphans(&self, namespace: &str) -> Vec<Arc<K>> {
        self.owned_by(&orphans_of(namespace))
    }

    /// The objects for which the store's index function gives `value`.
    pub fn with(&self, value: &str) -> Vec<Arc<K>> {
        let state = self.0.state.read();
        state.indexed.get(value).into_iter().flatten().filter_map(|k| state.objects.get(k).cloned()).collect()
    }

    /// Every change of this kind up to here is in the cache (more may be, too).
    pub fn revision(&self) -> u64 {
        self.0.state.read().revision
    }

    pub async fn wait_synced(&self) {
        let mut synced = self.0.synced.subscribe();
        // The sender lives as long as this handle.
        let _ = synced.wait_for(|s| *s).await;
    }

    /// Puts an object into the cache or takes it out, and tells the handlers.
    pub fn apply(&self, key: &Key, new: Option<K>) {
        let new = new.map(Arc::new);
        let old = {
            let mut state = self.0.state.write();
            let old = match &new {
                Some(object) => state.objects.insert(key.clone(), object.clone()),
                None => state.objects.remove(key),
            };
            if let Some(old) = &old {
                index_remove(&mut state.owned, &owned_by(old.meta()), key);
                if let Some(value) = self.0.index_by.and_then(|by| by(old)) {
                    index_remove(&mut state.indexed, value, key);
                }
            }
            if let Some(new) = &new {
                state.revision = state.revision.max(revision_of(new.meta()));
                state.owned.entry(owned_by(new.meta())).or_default().insert(key.clone());
                if let Some(value) = self.0.index_by.and_then(|by| by(new)) {
                    state.indexed.entry(value.into()).or_default().insert(key.clone());
                }
            }
            old
        };
        if old.is_none() && new.is_none() {
            return;
        }
        let change = Change { key, old: old.as_ref(), new: new.as_ref() };
        for handler in self.0.handlers.read().iter() {
            handler(&change);
        }
    }

    fn seen(&self, revision: u64) {
        let mut state = self.0.state.write();
        state.revision = state.revision.max(revision);
    }

    /// Keeps the cache in step with the API until `shutdown`.
    pub fn start(&self, api: Api<K>, config: watcher::Config, shutdown: CancellationToken) {
        let store = self.clone();
        let task = async move {
            let mut events = watcher::watcher(api, config).modify(trim).default_backoff().boxed();
            let mut listed: Option<Vec<K>> = None;
            loop {
                match events.try_next().await {
                    Ok(Some(event)) => store.step(event, &mut listed),
                    Ok(None) => return,
                    Err(error) => {
                        tracing::warn!(kind = %K::kind(&()), %error, "a watch broke; it will be taken up again")
                    }
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! { () = shutdown.cancelled() => {}, () = task => {} }
        });
    }

    fn step(&self, event: watcher::Event<K>, listed: &mut Option<Vec<K>>) {
        match event {
            watcher::Event::Init => *listed = Some(Vec::new()),
            watcher::Event::InitApply(object) => listed.get_or_insert_default().push(object),
            watcher::Event::InitDone => {
                self.replace(listed.take().unwrap_or_default());
                self.0.synced.send_replace(true);
            }
            watcher::Event::Apply(object) => self.apply(&Key::of(object.meta()), Some(object)),
            watcher::Event::Delete(object) => {
                self.seen(revision_of(object.meta()));
                self.apply(&Key::of(object.meta()), None);
            }
        }
    }

    fn replace(&self, objects: Vec<K>) {
        let mut gone: BTreeSet<Key> = self.keys().into_iter().collect();
        for object in objects {
            let key = Key::of(object.meta());
            gone.remove(&key);
            let same = self.get(&key).is_some_and(|old| {
                old.meta().resource_version == object.meta().resource_version && old.meta().uid == object.meta().uid
            });
            if !same {
                self.apply(&key, Some(object));
            }
        }
        for key in gone {
            self.apply(&key, None);
        }
    }
}

fn trim<K: Cached>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    meta.self_link = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use parking_lot::Mutex;

    use super::*;

    fn config_map(namespace: &str, name: &str, revision: u64) -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            resource_version: Some(revision.to_string()),
            uid: Some(format!("uid-{name}")),
            ..Default::default()
        };
        ConfigMap { metadata, ..Default::default() }
    }

    #[test]
    fn a_relist_shows_handlers_the_difference() {
        let store = Store::<ConfigMap>::default();
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        store.on(move |c| seen.lock().push(format!("{} {} {}", c.key, c.old.is_some(), c.new.is_some())));
        let mut listed = None;
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(config_map("a", "x", 1)),
            watcher::Event::InitApply(config_map("a", "y", 2)),
            watcher::Event::InitDone,
            watcher::Event::Apply(config_map("a", "x", 5)),
            watcher::Event::Init,
            watcher::Event::InitApply(config_map("a", "x", 5)),
            watcher::Event::InitApply(config_map("b", "z", 7)),
            watcher::Event::InitDone,
        ] {
            store.step(event, &mut listed);
        }
        let expect = ["a/x false true", "a/y false true", "a/x true true", "b/z false true", "a/y true false"];
        assert_eq!(*log.lock(), expect);
        assert_eq!(store.revision(), 7);
        assert_eq!(store.list(Some("a")).len(), 1);
        assert_eq!(store.orphans("a").len(), 1);
        assert_eq!(store.orphans("c").len(), 0);
    }

    #[test]
    fn the_indexes_follow_the_objects() {
        let store = Store::<ConfigMap>::indexed(Some(|c| c.data.as_ref()?.get("node").map(String::as_str)));
        let key = Key::new("a", "x");
        let mut object = config_map("a", "x", 1);
        object.data = Some([("node".to_owned(), "n1".to_owned())].into());
        store.apply(&key, Some(object.clone()));
        assert_eq!(store.with("n1").len(), 1);
        object.data = None;
        store.apply(&key, Some(object));
        assert_eq!(store.with("n1").len(), 0);
        store.apply(&key, None);
        assert_eq!(store.orphans("a").len(), 0);
        assert!(store.0.state.read().owned.is_empty(), "nothing is left behind");
    }
}
