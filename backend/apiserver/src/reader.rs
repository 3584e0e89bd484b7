//! How the access crate sees the cluster: the watch cache, parsed.
//!
//! Invariant: what is remembered of parsed objects is bounded, and only ever of the version the cache has now.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pilothouse_access::Reader;
use pilothouse_storage::{Key, Obj, Store};
use serde_json::Value;

/// Parsed objects that are remembered. Beyond it all are forgotten: it holds what requests keep asking for
/// (namespaces, accounts, quotas), which is soon there again.
const REMEMBERED: usize = 2048;
/// Longer objects are parsed anew each time, or a few of them would take the memory of thousands.
const MAX_BYTES: usize = 64 * 1024;

pub struct StoreReader {
    store: Store,
    parsed: Mutex<HashMap<Key, (u64, Arc<Value>)>>,
}

impl StoreReader {
    pub fn new(store: Store) -> Self {
        Self { store, parsed: Mutex::default() }
    }

    fn parse(&self, object: &Obj) -> Arc<Value> {
        if let Some((revision, value)) = self.parsed.lock().get(&object.key)
            && *revision == object.revision
        {
            return Arc::clone(value);
        }
        let value = Arc::new(object.value());
        if object.bytes.len() <= MAX_BYTES {
            let mut parsed = self.parsed.lock();
            if parsed.len() >= REMEMBERED {
                parsed.clear();
            }
            parsed.insert(object.key.clone(), (object.revision, Arc::clone(&value)));
        }
        value
    }
}

impl Reader for StoreReader {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.store.view(resource).get(namespace, name).map(|object| self.parse(object))
    }

    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let view = self.store.view(resource);
        // A long list would push everything else out.
        let short = view.len() <= REMEMBERED / 8;
        view.iter(namespace, None)
            .map(|object| if short { self.parse(object) } else { Arc::new(object.value()) })
            .collect()
    }
}
