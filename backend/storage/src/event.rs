//! What watchers are told.

use std::fmt;

use bytes::Bytes;

use crate::entry::{self, Parsed};
use crate::{Key, Obj, Result};

/// The kinds of a watch event that a change causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }

    pub(crate) fn line_start(self) -> &'static [u8] {
        match self {
            Self::Added => br#"{"type":"ADDED","object":"#,
            Self::Modified => br#"{"type":"MODIFIED","object":"#,
            Self::Deleted => br#"{"type":"DELETED","object":"#,
        }
    }

    /// The letter in the log's `kind` column.
    pub(crate) fn letter(self) -> i8 {
        match self {
            Self::Added => b'A' as i8,
            Self::Modified => b'M' as i8,
            Self::Deleted => b'D' as i8,
        }
    }

    /// None for a letter that stands for no change of an object.
    pub(crate) fn from_letter(letter: i8) -> Option<Self> {
        [Self::Added, Self::Modified, Self::Deleted].into_iter().find(|kind| kind.letter() == letter)
    }
}

/// One change of one object.
pub struct Event {
    pub kind: EventKind,
    /// The new state; for `Deleted` the last one, at the revision of the deletion.
    pub object: Obj,
    /// The state before, for selectors: an object that stops matching is `DELETED` to that watcher.
    pub previous: Option<Obj>,
    pub revision: u64,
    line: Bytes,
}

impl Event {
    pub(crate) fn new(
        kind: EventKind,
        key: Key,
        revision: u64,
        stored: &[u8],
        parsed: Parsed,
        previous: Option<Obj>,
    ) -> Result<Self> {
        let (object, line) = entry::framed(kind, key, revision, stored, parsed)?;
        Ok(Self { kind, object: object.into(), previous, revision, line })
    }

    /// The values of a selectable field before and after the change: none after a deletion, one if it has not changed.
    pub fn fields(&self, field: &str) -> impl Iterator<Item = &str> {
        let after = if self.kind == EventKind::Deleted { None } else { self.object.field(field) };
        let before = self.previous.as_ref().and_then(|previous| previous.field(field));
        before.filter(|before| Some(*before) != after).into_iter().chain(after)
    }

    /// `{"type":"ADDED","object":{…}}` and a newline; encoded once, shared by all watchers.
    pub fn json_line(&self) -> Bytes {
        self.line.clone()
    }

    /// The line for a watcher to whom this change makes the object appear.
    pub fn json_line_added(&self) -> Bytes {
        if self.kind == EventKind::Added { self.line.clone() } else { self.relabelled(EventKind::Added, &self.object) }
    }

    /// The line for a watcher from whose sight this change takes the object: the state it last matched in, at the
    /// revision of this event (as upstream does).
    pub fn json_line_deleted(&self) -> Bytes {
        match &self.previous {
            Some(previous) if self.kind != EventKind::Deleted => self.relabelled(EventKind::Deleted, previous),
            _ if self.kind == EventKind::Deleted => self.line.clone(),
            _ => self.relabelled(EventKind::Deleted, &self.object),
        }
    }

    fn relabelled(&self, kind: EventKind, state: &Obj) -> Bytes {
        match entry::line(kind, &state.stored(), self.revision) {
            Ok((line, _)) => line,
            // Entries are only ever made of spliceable bytes.
            Err(error) => {
                tracing::error!(event = ?self, %error, "cannot relabel an event");
                self.line.clone()
            }
        }
    }

    /// What the event keeps in memory beyond the cache.
    pub(crate) fn weight(&self) -> usize {
        self.line.len() + self.previous.as_ref().map_or(0, |previous| previous.bytes.len()) + size_of::<Self>()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.as_str(), self.object)
    }
}

/// What [`crate::Watcher::next`] gives.
#[derive(Clone, Debug)]
pub enum WatchItem {
    Event(std::sync::Arc<Event>),
    /// Everything up to this revision has been delivered: material for a bookmark.
    Progress(u64),
    /// The watcher was too slow, or the log has been compacted or rewritten under it: answer 410, the client lists anew.
    Gone,
    /// The store is being closed.
    Closed,
}
