//! Whether this backend is the only one that can have written lately: then its cache is as new as the database, and
//! `fresh()` need not ask.
//!
//! Every writer's session holds an advisory lock with its backend's number for as long as it lives, and writes nothing
//! before it has held it for [`Sole::patience`]. Whoever asks the database where it stands looks first who holds such
//! locks. If nobody else does, then whatever others have committed lies behind it and is in the answer that follows, and
//! whoever comes now waits: until `trust` has passed since the question was sent, nobody but this backend commits.
//!
//! Invariants:
//! - The trust is counted from before the question was sent, the patience from after the lock was there; both by clocks
//!   that only go forward, and the patience is the longer one.
//! - A session whose connection is lost may still be committing; it holds its lock until that is over.
//! - What the cache has to have reached before the trust counts is what the database said after it was seen who writes.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::sequencer;

/// Until when nobody else writes, and what the cache needs to have by then.
#[derive(Clone, Copy, Debug)]
struct Trust {
    until: Instant,
    revision: u64,
}

#[derive(Debug)]
pub(crate) struct Sole {
    /// This backend's number among those that hold the lock.
    pub number: i32,
    trust: Duration,
    held: Mutex<Option<Trust>>,
}

impl Sole {
    pub fn new(trust: Duration) -> Self {
        Self { number: number(), trust, held: Mutex::new(None) }
    }

    /// How long a new session's first write waits: long enough for everyone's trust to have ended, and for clocks that
    /// do not run equally fast.
    pub fn patience(&self) -> Duration {
        self.trust + self.trust / 2
    }

    /// The database was asked at an instant; then nobody else wrote, and after that it stood at a revision.
    pub fn alone(&self, asked: Instant, revision: u64) {
        *self.held.lock() = Some(Trust { until: asked + self.trust, revision });
    }

    /// Somebody else may write.
    pub fn not_alone(&self) {
        *self.held.lock() = None;
    }

    /// Whether a cache that is at a revision has everything that is committed at this instant.
    pub fn knows(&self, cached: u64) -> bool {
        let held = *self.held.lock();
        held.is_some_and(|trust| cached >= trust.revision && Instant::now() < trust.until)
    }
}

fn number() -> i32 {
    sequencer::random().to_le_bytes().first_chunk().map_or(0, |four| i32::from_le_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn trust_counts_from_the_question_and_needs_the_revision() {
        let sole = Sole::new(LONG);
        assert!(!sole.knows(u64::MAX), "nobody has been asked");
        let now = Instant::now();
        sole.alone(now, 7);
        assert!(!sole.knows(6), "others have written up to 7");
        assert!(sole.knows(7) && sole.knows(8));
        sole.not_alone();
        assert!(!sole.knows(8));
        if let Some(long_ago) = now.checked_sub(LONG) {
            sole.alone(long_ago, 7);
            assert!(!sole.knows(8), "the answer took longer than the trust lasts");
        }
        assert!(sole.patience() > LONG);
        let never = Sole::new(Duration::ZERO);
        never.alone(Instant::now(), 0);
        assert!(!never.knows(1), "without trust it is always asked");
    }
}
