//! Remembers verified tokens for a moment, because a signature costs more than the rest of a request.
//!
//! Two generations of a map: when the young one is full it becomes the old one and the old one is dropped, so memory is
//! bounded and eviction costs nothing. A token is kept by its digest, never itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::claims::Claims;
use crate::UserInfo;

/// Most entries of one generation.
const GENERATION: usize = 2048;
/// How long the account and the bound objects of a token are taken to be alive (upstream: 10 s).
pub(super) const FRESH: Duration = Duration::from_secs(1);

pub(super) type Key = [u8; 32];

#[derive(Clone)]
pub(super) struct Entry {
    pub claims: Arc<Claims>,
    /// Whom they name.
    pub user: Arc<UserInfo>,
    /// When the account and the bound objects were last looked up and found alive.
    pub alive: Timestamp,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Key, Entry>,
    old: HashMap<Key, Entry>,
}

#[derive(Default)]
pub(super) struct Cache(Mutex<Generations>);

pub(super) fn key(token: &str) -> Key {
    Sha256::digest(token).into()
}

impl Cache {
    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        let mut all = self.0.lock();
        if let Some(entry) = all.young.get(key) {
            return Some(entry.clone());
        }
        let entry = all.old.remove(key)?;
        insert(&mut all, *key, entry.clone());
        Some(entry)
    }

    pub(super) fn put(&self, key: Key, entry: Entry) {
        insert(&mut self.0.lock(), key, entry);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let all = self.0.lock();
        all.young.len() + all.old.len()
    }
}

fn insert(all: &mut Generations, key: Key, entry: Entry) {
    if all.young.len() >= GENERATION {
        all.old = std::mem::take(&mut all.young);
    }
    all.young.insert(key, entry);
}

#[cfg(test)]
mod tests {
    use super::super::claims::{Kubernetes, Reference};
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_used_survive() {
        let claims = Arc::new(Claims {
            iss: String::new(),
            sub: String::new(),
            aud: Vec::new(),
            exp: 0,
            nbf: 0,
            iat: 0,
            jti: String::new(),
            kubernetes: Kubernetes {
                namespace: String::new(),
                serviceaccount: Reference::default(),
                pod: None,
                secret: None,
                node: None,
            },
        });
        let entry = Entry { claims, user: Arc::default(), alive: Timestamp::UNIX_EPOCH };
        let cache = Cache::default();
        let used = key("used");
        cache.put(used, entry.clone());
        for n in 0..10 * GENERATION {
            cache.put(key(&n.to_string()), entry.clone());
            if n % 100 == 0 {
                assert!(cache.get(&used).is_some());
            }
        }
        assert!(cache.len() <= 2 * GENERATION);
        assert!(cache.get(&key("0")).is_none());
    }
}
