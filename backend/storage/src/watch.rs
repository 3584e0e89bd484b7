//! One watch.
//!
//! Invariant: events come in revision order, each once, none left out, from the starting revision on; or the watch ends
//! with `Gone`. It starts in the log when the memory does not reach back so far, and moves over to the memory as soon as
//! what it has covers the memory's floor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::database::bounded;
use crate::hub::{Found, Hub, Position, Scope};
use crate::shared::Shared;
use crate::{Error, Event, Result, WatchItem, log};

/// Events taken from the memory at once: enough to make the lock cheap, few enough to hold.
const TAKE: usize = 64;

/// A replay that cannot reach PostgreSQL tries so often, with this pause, before the client has to list anew.
const REPLAY_ATTEMPTS: usize = 20;
const REPLAY_PAUSE: Duration = Duration::from_millis(250);

/// A watch: its events in revision order, without gap or repetition.
pub struct Watcher {
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    scope: Scope,
    source: Source,
    pending: VecDeque<Arc<Event>>,
    /// Everything up to here has been delivered.
    revision: u64,
    /// Everything up to here has been delivered or is pending.
    reached: u64,
    reported: u64,
    report_at: Instant,
    failures: usize,
}

enum Source {
    /// The log in PostgreSQL, from `reached` on.
    Log,
    Memory(Position),
    Ended,
}

impl Watcher {
    pub(crate) fn new(shared: Arc<Shared>, resource: &str, scope: Scope, from: u64) -> Result<Self> {
        let current = shared.cache.revision();
        if from > current {
            return Err(Error::FutureRevision { asked: from, current });
        }
        let hub = shared.cache.hub(resource);
        let source = match hub.join(&scope, from) {
            Some(position) => Source::Memory(position),
            None => Source::Log,
        };
        shared.watchers.fetch_add(1, Ordering::Relaxed);
        let oldest = shared.compacted();
        let report_at = Instant::now() + shared.config.progress_interval;
        let watcher = Self {
            shared,
            hub,
            scope,
            source,
            pending: VecDeque::new(),
            revision: from,
            reached: from,
            reported: from,
            report_at,
            failures: 0,
        };
        if matches!(watcher.source, Source::Log) && from < oldest {
            return Err(Error::Compacted { oldest });
        }
        Ok(watcher)
    }

    /// Everything up to this revision has been delivered: what a bookmark may say.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether [`Watcher::next_ready`] has something without looking for it.
    pub fn has_ready(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next event, if it is there already.
    pub fn next_ready(&mut self) -> Option<Arc<Event>> {
        if self.pending.is_empty() && matches!(self.source, Source::Memory(_)) {
            self.read_memory();
        }
        self.take_pending()
    }

    fn take_pending(&mut self) -> Option<Arc<Event>> {
        let event = self.pending.pop_front()?;
        self.revision = if self.pending.is_empty() { self.reached } else { event.revision };
        Some(event)
    }

    /// The next thing to tell. Cancel-safe: nothing is lost when the future is dropped. After `Gone` or `Closed` it
    /// gives the same again.
    pub async fn next(&mut self) -> WatchItem {
        loop {
            if let Some(event) = self.take_pending() {
                return WatchItem::Event(event);
            }
            if self.shared.closing.is_cancelled() {
                return WatchItem::Closed;
            }
            match &self.source {
                Source::Ended => return WatchItem::Gone,
                Source::Log => self.read_log().await,
                Source::Memory(position) => {
                    let wake = position.wake.clone();
                    let notified = wake.notified();
                    let mut notified = std::pin::pin!(notified);
                    // Registered before looking, so that nothing slips in between.
                    notified.as_mut().enable();
                    if self.read_memory() || self.shared.closing.is_cancelled() {
                        continue;
                    }
                    if let Some(progress) = self.progress() {
                        return progress;
                    }
                    tokio::select! {
                        () = notified => {}
                        () = tokio::time::sleep_until(self.report_at) => {}
                    }
                }
            }
        }
    }

    /// Looks into the memory; false when there is nothing new.
    fn read_memory(&mut self) -> bool {
        // Read first: the hub has everything up to it.
        let published = self.shared.cache.revision();
        let Source::Memory(position) = &mut self.source else { return true };
        match self.hub.read(&self.scope, position.next, TAKE) {
            Found::Events { events, more } => {
                position.next += events.len() as u64;
                let last = events.last().map_or(self.reached, |event| event.revision);
                self.reached = if more { last } else { last.max(published) };
                self.pending.extend(events);
                true
            }
            Found::Nothing => {
                self.reached = self.reached.max(published);
                self.revision = self.reached;
                false
            }
            Found::TooLate => {
                self.end();
                true
            }
        }
    }

    async fn read_log(&mut self) {
        let limit = self.shared.config.read_timeout;
        // Boxed: an idle watch is small.
        let page = Box::pin(bounded(limit, log::replay(&self.shared, &self.hub.resource, &self.scope, self.reached)));
        match page.await {
            Ok(page) => {
                self.failures = 0;
                self.reached = page.upto;
                self.pending.extend(page.events);
                if self.pending.is_empty() {
                    self.revision = self.reached;
                }
                if let Some(position) = self.hub.position(&self.scope, self.reached) {
                    self.source = Source::Memory(position);
                }
            }
            Err(Error::Unavailable(_)) if self.failures < REPLAY_ATTEMPTS => {
                self.failures += 1;
                tokio::time::sleep(REPLAY_PAUSE).await;
            }
            Err(Error::Compacted { .. }) => self.end(),
            Err(error) => {
                tracing::warn!(resource = &*self.hub.resource, from = self.reached, %error, "a watch cannot read the log");
                self.end();
            }
        }
    }

    fn progress(&mut self) -> Option<WatchItem> {
        let now = Instant::now();
        if now < self.report_at {
            return None;
        }
        self.report_at = now + self.shared.config.progress_interval;
        (self.revision > self.reported).then(|| {
            self.reported = self.revision;
            WatchItem::Progress(self.revision)
        })
    }

    fn end(&mut self) {
        self.shared.metrics.gone.inc();
        self.source = Source::Ended;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.leave(&self.scope);
        self.shared.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_watch_is_small() {
        fn waiting(watcher: &mut Watcher) -> impl Future<Output = WatchItem> {
            watcher.next()
        }
        fn size<'a, T: 'a>(_: impl Fn(&'a mut Watcher) -> T) -> usize {
            size_of::<T>()
        }
        let all = size_of::<Watcher>() + size(waiting);
        assert!(all < 4096, "{all} bytes");
    }
}
