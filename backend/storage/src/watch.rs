//! One watch.

use crate::WatchItem;

/// A watch: its events in revision order, without gap or repetition.
pub struct Watcher {
    revision: u64,
}

impl Watcher {
    /// The next thing to tell. Cancel-safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> WatchItem {
        WatchItem::Closed
    }

    /// Everything up to this revision has been delivered.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}
