//! Read-your-writes for controllers: what a controller wrote and its cache may not show yet.
//!
//! Revisions are one dense sequence, so a created object is in the cache once the cache's revision has reached the
//! object's. Until then the controller must not decide on counts, or it would create the same replica twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::api::ObjectMeta;
use parking_lot::Mutex;

use crate::cache::{Cached, Store, revision_of};
use crate::key::Key;

/// After this long a missing event is taken as lost; the decision is made on what is there.
const EXPIRES: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Expectations {
    pending: Mutex<HashMap<Key, Pending>>,
}

struct Pending {
    revision: u64,
    deleted: Vec<(Key, String)>,
    since: Instant,
}

impl Expectations {
    fn pend(&self, controller: &Key, change: impl FnOnce(&mut Pending)) {
        let mut pending = self.pending.lock();
        let fresh = || Pending { revision: 0, deleted: Vec::new(), since: Instant::now() };
        let entry = pending.entry(controller.clone()).or_insert_with(fresh);
        entry.since = Instant::now();
        change(entry);
    }

    /// `controller` wrote an object; the API answered with this metadata.
    pub fn written(&self, controller: &Key, answer: &ObjectMeta) {
        let revision = revision_of(answer);
        self.pend(controller, |p| p.revision = p.revision.max(revision));
    }

    /// `controller` asked for the deletion of an object.
    pub fn deleted(&self, controller: &Key, object: &ObjectMeta) {
        let entry = (Key::of(object), object.uid.clone().unwrap_or_default());
        self.pend(controller, |p| p.deleted.push(entry));
    }

    /// Whether the cache shows everything `controller` wrote.
    pub fn settled<K: Cached>(&self, controller: &Key, store: &Store<K>) -> bool {
        let mut pending = self.pending.lock();
        let Some(wait) = pending.get_mut(controller) else { return true };
        wait.deleted.retain(|(key, uid)| {
            store
                .get(key)
                .is_some_and(|o| o.meta().uid.as_deref() == Some(uid) && o.meta().deletion_timestamp.is_none())
        });
        let settled = wait.deleted.is_empty() && store.revision() >= wait.revision;
        if settled || wait.since.elapsed() > EXPIRES {
            pending.remove(controller);
            return true;
        }
        false
    }

    pub fn forget(&self, controller: &Key) {
        self.pending.lock().remove(controller);
    }
}

/// How soon to look again at a controller that is not settled, should its events not wake it before.
pub const LOOK_AGAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn meta(name: &str, revision: u64) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some("ns".into()),
            uid: Some(format!("uid-{name}")),
            resource_version: Some(revision.to_string()),
            ..Default::default()
        }
    }

    #[test]
    fn unsettled_until_the_cache_shows_the_writes() {
        let (expect, store) = (Expectations::default(), Store::<ConfigMap>::default());
        let put = |m: ObjectMeta| store.apply(&Key::of(&m), Some(ConfigMap { metadata: m, ..Default::default() }));
        let me = Key::new("ns", "controller");
        assert!(expect.settled(&me, &store));
        expect.written(&me, &meta("a", 5));
        expect.written(&me, &meta("b", 7));
        put(meta("a", 5));
        assert!(!expect.settled(&me, &store), "b is missing");
        put(meta("b", 7));
        assert!(expect.settled(&me, &store));
        expect.deleted(&me, &meta("a", 5));
        assert!(!expect.settled(&me, &store));
        let mut dying = meta("a", 8);
        dying.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH.into());
        put(dying);
        assert!(expect.settled(&me, &store), "marked for deletion is enough");
    }
}
