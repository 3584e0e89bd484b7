//! The sequencer without a connection, or with one to a database that is not what it was.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::link::Link;
use super::{Sequencer, lost};
use crate::{Error, Result};

/// Pauses between attempts to connect.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

impl Sequencer {
    pub(super) async fn rebuild(&mut self) -> Result<()> {
        let shared = self.shared.clone();
        let batch = self.next_batch();
        let link = self.link.as_mut().ok_or_else(lost)?;
        shared.metrics.resets.inc();
        tracing::warn!(
            revision = shared.cache.revision(),
            "the log is not the one the cache was made from: rebuilding"
        );
        link.start_timeline_if_needed(&shared, batch).await?;
        self.known = link.load(&shared).await?;
        Ok(())
    }

    pub(super) fn lose(&mut self, error: &Error) {
        tracing::warn!(%error, "the connection to PostgreSQL is lost");
        self.link = None;
        self.shared.writer_process.store(0, Ordering::Relaxed);
    }

    /// One attempt to connect, catch up, and clear up a doubt.
    pub(super) async fn connect(&mut self) -> Result<()> {
        let shared = self.shared.clone();
        self.link = None;
        let mut link = Link::open(&shared).await?;
        if self.doubt.is_some() {
            link.take_turn().await?;
        }
        if self.known.loaded {
            self.link = Some(link);
            self.catch_up().await?;
        } else {
            link.make_room(&shared, shared.cache.revision() + 1).await?;
            self.known = link.load(&shared).await?;
            self.link = Some(link);
        }
        self.clear_doubt().await?;
        shared.metrics.connects.inc();
        shared.set_available(true);
        Ok(())
    }

    /// Finds out whether the batch in doubt was committed. If not, its units are written again.
    async fn clear_doubt(&mut self) -> Result<()> {
        let Some(doubt) = &self.doubt else { return Ok(()) };
        let link = self.link.as_mut().ok_or_else(lost)?;
        let first = doubt.plan.base + 1;
        let committed = link.batch_of(first).await?;
        let Some(doubt) = self.doubt.take() else { return Ok(()) };
        if committed == Some(doubt.batch) {
            tracing::info!(revision = doubt.plan.top(), "the commit in doubt had happened");
            self.answer(doubt.units, doubt.plan);
        } else if committed.is_none() && first <= self.shared.compacted() {
            let error = Error::Unavailable(
                "the connection was lost during the commit, and the log has been compacted since: it is unknown whether \
                 the change was applied"
                    .to_owned(),
            );
            doubt.units.into_iter().for_each(|unit| unit.answer(Err(error.clone())));
        } else {
            tracing::info!(revision = first, "the commit in doubt had not happened; it is done again");
            self.waiting.extend(doubt.units);
        }
        Ok(())
    }

    /// Tries until it is connected or the store closes. Meanwhile writes wait, for as long as they are allowed to.
    pub(super) async fn reconnect(&mut self) {
        let shared = self.shared.clone();
        let (mut pause, longest) = BACKOFF;
        let started = Instant::now();
        loop {
            let attempt = tokio::select! {
                biased;
                () = shared.closing.cancelled() => return,
                attempt = self.connect() => attempt,
            };
            let Err(error) = attempt else {
                tracing::info!(after = ?started.elapsed(), "connected to PostgreSQL again");
                return;
            };
            if started.elapsed() >= shared.config.outage_grace {
                if shared.is_available() {
                    tracing::error!(%error, "PostgreSQL is out of reach; writes are refused until it is back");
                }
                shared.set_available(false);
                self.refuse_all(&error);
            }
            tokio::select! {
                () = shared.closing.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Refuses what has not been sent. What is in doubt is not refused: that would be a guess.
    pub(super) fn refuse_all(&mut self, error: &Error) {
        let error = match error {
            Error::Unavailable(_) => error.clone(),
            other => Error::Unavailable(other.to_string()),
        };
        let queued = std::iter::from_fn(|| self.queue.try_recv().ok());
        for unit in self.waiting.drain(..).chain(queued) {
            unit.answer(Err(error.clone()));
        }
    }
}
