//! A cluster in a map, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use crate::{Reader, name_of, namespace_of};

type Key = (String, String, String);

#[derive(Default)]
pub(crate) struct Objects(RwLock<BTreeMap<Key, Arc<Value>>>);

impl Objects {
    pub(crate) fn with(objects: &[(&str, Value)]) -> Self {
        let all = Self::default();
        for (resource, object) in objects {
            all.put(resource, object.clone());
        }
        all
    }
    pub(crate) fn put(&self, resource: &str, object: Value) {
        let key = (resource.to_owned(), namespace_of(&object).to_owned(), name_of(&object).to_owned());
        self.0.write().insert(key, Arc::new(object));
    }
    pub(crate) fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.0.write().remove(&(resource.to_owned(), namespace.to_owned(), name.to_owned()));
    }
}

impl Reader for Objects {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.read().get(&(resource.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }
    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let all = self.0.read();
        let wanted = all.iter().filter(|((r, n, _), _)| r == resource && namespace.is_none_or(|ns| ns == n));
        wanted.map(|(_, object)| object.clone()).collect()
    }
}
