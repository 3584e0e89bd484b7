//! A cache's contents without their type: objects by key, indexed, and who is told of changes. Compiled once for all
//! kinds; `Store` gives the types back.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use kube::Client;
use kube::api::{Api, ApiResource, ObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::revision_of;
use super::undecoded::Undecoded;
use crate::key::Key;
use crate::owner;

/// An object of some kind.
pub type Anything = Arc<dyn Any + Send + Sync>;

/// What a shelf must know of the kind it holds.
pub struct Shape {
    pub resource: ApiResource,
    pub decode: fn(&str) -> serde_json::Result<Anything>,
    pub meta: fn(&Anything) -> Option<&ObjectMeta>,
    pub index_by: Box<dyn for<'a> Fn(&'a Anything) -> Option<&'a str> + Send + Sync>,
}

/// Called with the key, the object before and the object now.
pub type Handler = Box<dyn Fn(&Key, Option<&Anything>, Option<&Anything>) + Send + Sync>;

pub struct Shelf {
    shape: Shape,
    state: RwLock<State>,
    handlers: RwLock<Vec<Handler>>,
    synced: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Anything>,
    /// By the controlling owner's uid; objects without one under their namespace (see `orphans_of`).
    owned: HashMap<Box<str>, BTreeSet<Key>>,
    indexed: HashMap<Box<str>, BTreeSet<Key>>,
    revision: u64,
}

impl State {
    fn of(&self, keys: Option<&BTreeSet<Key>>) -> Vec<Anything> {
        keys.into_iter().flatten().filter_map(|key| self.objects.get(key).cloned()).collect()
    }
}

pub fn orphans_of(namespace: &str) -> String {
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

impl Shelf {
    pub fn new(shape: Shape) -> Self {
        Self { shape, state: RwLock::default(), handlers: RwLock::default(), synced: watch::Sender::new(false) }
    }

    pub fn on(&self, handler: Handler) {
        self.handlers.write().push(handler);
    }

    pub fn get(&self, key: &Key) -> Option<Anything> {
        self.state.read().objects.get(key).cloned()
    }

    pub fn list(&self, namespace: Option<&str>) -> Vec<Anything> {
        let state = self.state.read();
        let Some(namespace) = namespace else { return state.objects.values().cloned().collect() };
        let from = Bound::Included(Key::new(namespace, ""));
        let after = state.objects.range((from, Bound::Unbounded));
        after.take_while(|(key, _)| &*key.namespace == namespace).map(|(_, object)| object.clone()).collect()
    }

    pub fn keys(&self) -> Vec<Key> {
        self.state.read().objects.keys().cloned().collect()
    }

    pub fn owned_by(&self, uid: &str) -> Vec<Anything> {
        let state = self.state.read();
        state.of(state.owned.get(uid))
    }

    pub fn with(&self, value: &str) -> Vec<Anything> {
        let state = self.state.read();
        state.of(state.indexed.get(value))
    }

    pub fn revision(&self) -> u64 {
        self.state.read().revision
    }

    pub async fn wait_synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as this shelf.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Puts an object onto the shelf or takes it off, and tells the handlers.
    pub fn apply(&self, key: &Key, new: Option<Anything>) {
        let old = {
            let mut state = self.state.write();
            let old = match &new {
                Some(object) => state.objects.insert(key.clone(), object.clone()),
                None => state.objects.remove(key),
            };
            if let Some(old) = &old {
                if let Some(meta) = (self.shape.meta)(old) {
                    index_remove(&mut state.owned, &owned_by(meta), key);
                }
                if let Some(value) = (self.shape.index_by)(old) {
                    index_remove(&mut state.indexed, value, key);
                }
            }
            if let Some(new) = &new {
                if let Some(meta) = (self.shape.meta)(new) {
                    state.revision = state.revision.max(revision_of(meta));
                    state.owned.entry(owned_by(meta)).or_default().insert(key.clone());
                }
                if let Some(value) = (self.shape.index_by)(new) {
                    state.indexed.entry(value.into()).or_default().insert(key.clone());
                }
            }
            old
        };
        if old.is_none() && new.is_none() {
            return;
        }
        for handler in self.handlers.read().iter() {
            handler(key, old.as_ref(), new.as_ref());
        }
    }

    /// Keeps the shelf in step with the API, or with one namespace of it, until `shutdown`.
    pub fn start(
        self: Arc<Self>,
        client: Client,
        namespace: Option<&str>,
        config: watcher::Config,
        shutdown: CancellationToken,
    ) {
        let resource = &self.shape.resource;
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        };
        tokio::spawn(async move {
            tokio::select! { () = shutdown.cancelled() => {}, () = self.follow(api, config) => {} }
        });
    }

    async fn follow(&self, api: Api<Undecoded>, config: watcher::Config) {
        let mut events = watcher::watcher(api, config).default_backoff().boxed();
        let mut listed = Vec::new();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => self.step(event, &mut listed),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(kind = self.shape.resource.kind, %error, "a watch broke; it will be taken up again");
                }
            }
        }
    }

    pub fn step(&self, event: watcher::Event<Undecoded>, listed: &mut Vec<(Key, Anything)>) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => listed.extend(self.decode(&object)),
            watcher::Event::InitDone => {
                self.replace(std::mem::take(listed));
                self.synced.send_replace(true);
            }
            watcher::Event::Apply(object) => {
                if let Some((key, object)) = self.decode(&object) {
                    self.apply(&key, Some(object));
                }
            }
            watcher::Event::Delete(object) => {
                self.seen(revision_of(&object.metadata));
                self.apply(&Key::of(&object.metadata), None);
            }
        }
    }

    fn decode(&self, object: &Undecoded) -> Option<(Key, Anything)> {
        let key = Key::of(&object.metadata);
        match (self.shape.decode)(object.json.get()) {
            Ok(decoded) => Some((key, decoded)),
            Err(error) => {
                let kind = &self.shape.resource.kind;
                tracing::warn!(kind, object = %key, %error, "an object cannot be decoded; no controller sees it");
                self.seen(revision_of(&object.metadata));
                None
            }
        }
    }

    fn seen(&self, revision: u64) {
        let mut state = self.state.write();
        state.revision = state.revision.max(revision);
    }

    fn replace(&self, objects: Vec<(Key, Anything)>) {
        let version =
            |object: &Anything| (self.shape.meta)(object).map(|meta| (meta.uid.clone(), meta.resource_version.clone()));
        let mut gone: BTreeSet<Key> = self.keys().into_iter().collect();
        for (key, object) in objects {
            gone.remove(&key);
            if self.get(&key).is_none_or(|old| version(&old) != version(&object)) {
                self.apply(&key, Some(object));
            }
        }
        for key in gone {
            self.apply(&key, None);
        }
    }

    #[cfg(test)]
    pub fn is_bare(&self) -> bool {
        let state = self.state.read();
        state.objects.is_empty() && state.owned.is_empty() && state.indexed.is_empty()
    }
}
