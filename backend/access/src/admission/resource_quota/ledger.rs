//! What was admitted and is not in the cache yet.
//!
//! Invariant: entries die after [`LIFE`] and there are at most [`MAX_ENTRIES`]; the oldest goes first. An entry whose
//! object is in the cache is not counted again, one whose object was deleted is forgotten.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

/// A write that has not shown up by then failed.
const LIFE: Duration = Duration::from_secs(5);
const MAX_ENTRIES: usize = 4096;

struct Entry {
    resource: String,
    namespace: String,
    name: String,
    object: Value,
    at: Timestamp,
}

#[derive(Default)]
pub(in super::super) struct Ledger(Mutex<VecDeque<Entry>>);

pub(super) struct Booked<'a>(MutexGuard<'a, VecDeque<Entry>>);

impl Ledger {
    pub(super) fn lock(&self) -> Booked<'_> {
        Booked(self.0.lock())
    }

    pub(super) fn forget(&self, resource: &str, namespace: &str, name: &str) {
        self.0.lock().retain(|entry| {
            (entry.resource.as_str(), entry.namespace.as_str(), entry.name.as_str()) != (resource, namespace, name)
        });
    }
}

impl Booked<'_> {
    pub(super) fn book(&mut self, resource: &str, namespace: &str, name: &str, object: Value, at: Timestamp) {
        while self.0.front().is_some_and(|oldest| oldest.at < at - LIFE) || self.0.len() >= MAX_ENTRIES {
            self.0.pop_front();
        }
        let (resource, namespace, name) = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.0.push_back(Entry { resource, namespace, name, object, at });
    }

    /// Names and objects that may not be in the cache yet.
    pub(super) fn coming<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.0
            .iter()
            .filter(move |e| e.resource == resource && e.namespace == namespace && e.at >= now - LIFE)
            .map(|entry| (&entry.name, &entry.object))
    }
}
