//! Configurations of admission, compiled when they change and kept as long as they do not.
//!
//! Invariant: what is used is what the watch cache has at that moment.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use pilothouse_storage::{Store, View};
use serde_json::Value;

/// The objects of one resource, in the order of their names, each compiled once per version.
pub struct Catalog<T> {
    resource: &'static str,
    compile: fn(&Value) -> T,
    state: ArcSwapOption<State<T>>,
}

struct State<T> {
    view: View,
    /// Revision and what was made of it.
    items: Arc<Vec<Item<T>>>,
}

pub struct Item<T> {
    name: Arc<str>,
    revision: u64,
    pub value: Arc<T>,
}

impl<T> Catalog<T> {
    pub const fn new(resource: &'static str, compile: fn(&Value) -> T) -> Self {
        Self { resource, compile, state: ArcSwapOption::const_empty() }
    }

    /// A number that changes when any of the objects does.
    pub fn stamp(&self, store: &Store) -> u64 {
        let items = self.current(store);
        items.iter().fold(items.len() as u64, |stamp, item| stamp.wrapping_mul(31).wrapping_add(item.revision))
    }

    pub fn current(&self, store: &Store) -> Arc<Vec<Item<T>>> {
        let view = store.view(self.resource);
        let state = self.state.load();
        if let Some(state) = state.as_ref()
            && state.view.is_same(&view)
        {
            return Arc::clone(&state.items);
        }
        let old = state.as_ref().map(|state| Arc::clone(&state.items));
        let items = view
            .iter(None, None)
            .map(|object| {
                let known = old.iter().flat_map(|items| items.iter());
                let known =
                    known.into_iter().find(|item| *item.name == *object.key.name && item.revision == object.revision);
                let value =
                    known.map_or_else(|| Arc::new((self.compile)(&object.value())), |item| Arc::clone(&item.value));
                Item { name: object.key.name.clone(), revision: object.revision, value }
            })
            .collect();
        let items = Arc::new(items);
        // Whoever comes second at the same moment does the same work once more, which is harmless.
        self.state.store(Some(Arc::new(State { view, items: Arc::clone(&items) })));
        items
    }
}
