//! What callers ask the store to change.

use std::sync::Arc;

use crate::Key;

/// The state a mutation expects to find; otherwise it fails and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No object of that key exists: a create.
    Absent,
    /// The object exists at exactly this revision: a compare and set.
    Revision(u64),
    /// The object exists, at whatever revision.
    Any,
}

/// How sure a write must be before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Flushed to PostgreSQL's disk (and its synchronous standbys).
    #[default]
    Synced,
    /// Visible to everyone, but a crash of PostgreSQL may lose the last fraction of a second. For Leases and Events.
    Relaxed,
}

/// The new state; the bytes come from [`crate::encode`].
#[derive(Clone, Debug)]
pub enum Change {
    Put(Vec<u8>),
    /// The last state, which goes into the `DELETED` event.
    Delete(Vec<u8>),
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub key: Key,
    pub expect: Expect,
    pub change: Change,
    /// Who did it, for the history.
    pub user: Arc<str>,
    pub durability: Durability,
}

impl Mutation {
    pub fn create(key: Key, bytes: Vec<u8>, user: impl Into<Arc<str>>) -> Self {
        Self::new(key, Expect::Absent, Change::Put(bytes), user)
    }

    pub fn update(key: Key, expect: Expect, bytes: Vec<u8>, user: impl Into<Arc<str>>) -> Self {
        Self::new(key, expect, Change::Put(bytes), user)
    }

    pub fn delete(key: Key, expect: Expect, last: Vec<u8>, user: impl Into<Arc<str>>) -> Self {
        Self::new(key, expect, Change::Delete(last), user)
    }

    pub fn relaxed(mut self) -> Self {
        self.durability = Durability::Relaxed;
        self
    }

    fn new(key: Key, expect: Expect, change: Change, user: impl Into<Arc<str>>) -> Self {
        Self { key, expect, change, user: user.into(), durability: Durability::Synced }
    }
}
