//! The recent events of one scope: what a watch reads.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Wake;
use crate::Event;

/// Which of a resource's events a watch wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    All,
    Namespace(Arc<str>),
    Name(Arc<str>),
    Object(Arc<str>, Arc<str>),
    /// Objects whose selectable field has the value, before or after the change.
    Field(Arc<str>, Arc<str>),
}

impl Scope {
    pub fn matches(&self, event: &Event) -> bool {
        let key = &event.object.key;
        match self {
            Scope::All => true,
            Scope::Namespace(namespace) => *namespace == key.namespace,
            Scope::Name(name) => *name == key.name,
            Scope::Object(namespace, name) => *namespace == key.namespace && *name == key.name,
            Scope::Field(field, value) => event.fields(field).any(|found| found == &**value),
        }
    }
}

/// The recent events of one scope.
pub(super) struct Lane {
    pub ring: VecDeque<Arc<Event>>,
    /// The sequence number of the ring's first event.
    pub first: u64,
    /// Every event of the scope with a revision above this is in the ring.
    pub floor: u64,
    pub wake: Arc<Wake>,
    pub watchers: usize,
}

impl Lane {
    pub fn new(ring: VecDeque<Arc<Event>>, floor: u64) -> Self {
        Self { ring, first: 0, floor, wake: Arc::default(), watchers: 0 }
    }

    pub fn end(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    pub fn drop_front(&mut self, revision: u64) {
        if self.ring.front().is_some_and(|event| event.revision == revision) {
            self.ring.pop_front();
            self.first += 1;
            self.floor = revision;
            // A burst must not be paid for in memory ever after.
            if self.ring.capacity() > 64 && self.ring.len() * 8 < self.ring.capacity() {
                self.ring.shrink_to(self.ring.len() * 2);
            }
        }
    }

    /// The position of the first event behind `from`; none if the lane does not reach back so far.
    pub fn position(&self, from: u64) -> Option<Position> {
        (from >= self.floor).then(|| {
            let index = self.ring.partition_point(|event| event.revision <= from);
            Position { next: self.first + index as u64, wake: self.wake.clone() }
        })
    }

    /// The events from a position on, at most `limit`.
    pub fn read(&self, next: u64, limit: usize) -> Found {
        if next < self.first {
            return Found::TooLate;
        }
        if next >= self.end() {
            return Found::Nothing;
        }
        // The ring's length fits into memory, and so does a position in it.
        let start = (next - self.first) as usize;
        let end = self.ring.len().min(start + limit);
        Found::Events { events: self.ring.range(start..end).cloned().collect(), more: end < self.ring.len() }
    }

    /// Every position anyone holds becomes too old.
    pub fn break_off(&mut self, revision: u64) {
        self.first = self.end() + 1;
        self.ring = VecDeque::new();
        self.floor = revision;
    }
}

/// A place in a lane.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub next: u64,
    pub wake: Arc<Wake>,
}

/// What a watcher finds at its position.
pub(crate) enum Found {
    /// The next events, and whether there are more behind them.
    Events {
        events: Vec<Arc<Event>>,
        more: bool,
    },
    Nothing,
    /// The next event has left the memory.
    TooLate,
}
