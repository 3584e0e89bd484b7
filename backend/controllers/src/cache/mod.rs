//! Shared caches: one watch per kind for the whole process, indexed for the questions controllers ask.
//!
//! Invariants:
//! - Handlers run in the watch's task, in the order of the watch, and only enqueue.
//! - What no controller reads is dropped before it is kept (managed fields, last-applied configuration), so a
//!   cached object is never written back whole.
//! - After a broken watch the state is replaced at once, and handlers see the difference.

mod shelf;
mod undecoded;

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use kube::api::{ApiResource, ObjectMeta};
use kube::{Client, runtime::watcher};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use self::shelf::{Anything, Shape, Shelf, orphans_of};
use crate::key::Key;

pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub trait Cached: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Cached for K {}

/// One object's change: appeared (no `old`), changed, or gone (no `new`).
pub struct Change<'a, K> {
    pub key: &'a Key,
    pub old: Option<&'a Arc<K>>,
    pub new: Option<&'a Arc<K>>,
}

/// A further question the cache answers at once: the objects with this value, such as the pods of a node.
pub type IndexBy<K> = fn(&K) -> Option<&str>;

/// A cheap handle to one kind's cache.
pub struct Store<K: Cached>(Arc<Shelf>, PhantomData<fn() -> K>);

impl<K: Cached> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
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
        let shape = Shape {
            resource: ApiResource::erase::<K>(&()),
            decode: decode::<K>,
            meta: |object| object.downcast_ref::<K>().map(K::meta),
            index_by: Box::new(move |object| index_by?(object.downcast_ref()?)),
        };
        Self(Arc::new(Shelf::new(shape)), PhantomData)
    }

    /// Calls `handler` for every change from now on.
    pub fn on(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        self.0.on(Box::new(move |key, old, new| {
            let (old, new) = (old.and_then(typed), new.and_then(typed));
            handler(&Change { key, old: old.as_ref(), new: new.as_ref() });
        }));
    }

    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        typed(&self.0.get(key)?)
    }

    /// All objects, or a namespace's, by namespace and name.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<K>> {
        all(self.0.list(namespace))
    }

    pub fn keys(&self) -> Vec<Key> {
        self.0.keys()
    }

    /// The objects whose controller has this uid.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        all(self.0.owned_by(uid))
    }

    /// The namespace's objects that have no controller.
    pub fn orphans(&self, namespace: &str) -> Vec<Arc<K>> {
        self.owned_by(&orphans_of(namespace))
    }

    /// The objects for which the store's index function gives `value`.
    pub fn with(&self, value: &str) -> Vec<Arc<K>> {
        all(self.0.with(value))
    }

    /// Every change of this kind up to here is in the cache (more may be, too).
    pub fn revision(&self) -> u64 {
        self.0.revision()
    }

    pub async fn wait_synced(&self) {
        self.0.wait_synced().await;
    }

    /// Puts an object into the cache or takes it out, and tells the handlers.
    #[cfg(test)]
    pub fn apply(&self, key: &Key, new: Option<K>) {
        self.0.apply(key, new.map(|object| Arc::new(object) as Anything));
    }

    /// Keeps the cache in step with the API, or with one namespace of it, until `shutdown`.
    pub fn start(&self, client: Client, namespace: Option<&str>, config: watcher::Config, shutdown: CancellationToken) {
        self.0.clone().start(client, namespace, config, shutdown);
    }
}

fn typed<K: Cached>(object: &Anything) -> Option<Arc<K>> {
    object.clone().downcast().ok()
}

fn all<K: Cached>(objects: Vec<Anything>) -> Vec<Arc<K>> {
    objects.iter().filter_map(typed).collect()
}

fn decode<K: Cached>(json: &str) -> serde_json::Result<Anything> {
    let mut object: K = serde_json::from_str(json)?;
    trim(object.meta_mut());
    Ok(Arc::new(object))
}

fn trim(meta: &mut ObjectMeta) {
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

    use super::undecoded::Undecoded;
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
        let mut listed = Vec::new();
        let sent = |object: ConfigMap| {
            let json = serde_json::to_string(&object).expect("JSON");
            serde_json::from_str::<Undecoded>(&json).expect("an object")
        };
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(sent(config_map("a", "x", 1))),
            watcher::Event::InitApply(sent(config_map("a", "y", 2))),
            watcher::Event::InitDone,
            watcher::Event::Apply(sent(config_map("a", "x", 5))),
            watcher::Event::Init,
            watcher::Event::InitApply(sent(config_map("a", "x", 5))),
            watcher::Event::InitApply(sent(config_map("b", "z", 7))),
            watcher::Event::InitDone,
        ] {
            store.0.step(event, &mut listed);
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
        assert!(store.0.is_bare(), "nothing is left behind");
    }
}
