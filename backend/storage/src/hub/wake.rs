//! Calls the watches of a scope when it has something new, and not faster than they can be served.
//!
//! A wave of calls makes each watch write to its client what it finds. While the wave is under way the next one would
//! only cut that into smaller pieces, each as expensive as a larger one; so it comes when the last one can be over. A few
//! watches hear of everything at once; thousands hear of more at a time, and cost less.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Twice what it takes to serve one watch (measured, see `docs/performance.md`): half of the time is left for others.
const SERVING: Duration = Duration::from_micros(20);
/// Shorter waves do not wait for each other: timers are no finer.
const NOTICEABLE: Duration = Duration::from_millis(1);
/// Nobody hears of anything later than this.
const LONGEST: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(crate) struct Wake {
    calls: Notify,
    /// When the last wave is over.
    over: Mutex<Option<Instant>>,
    /// The next wave is on its way.
    coming: AtomicBool,
}

impl Wake {
    pub fn notified(&self) -> Notified<'_> {
        self.calls.notified()
    }

    /// Calls everyone now.
    pub fn call(&self) {
        self.calls.notify_waiters();
    }

    /// Calls so many watches, now or when the last wave is over.
    pub fn call_paced(self: &Arc<Self>, watchers: usize) {
        let wave = SERVING.saturating_mul(u32::try_from(watchers).unwrap_or(u32::MAX)).min(LONGEST);
        if wave < NOTICEABLE {
            return self.call();
        }
        let now = Instant::now();
        let mut over = self.over.lock();
        match *over {
            Some(until) if now < until => {
                drop(over);
                if !self.coming.swap(true, Ordering::AcqRel) {
                    let wake = Arc::clone(self);
                    tokio::spawn(async move {
                        tokio::time::sleep_until(until.into()).await;
                        *wake.over.lock() = Some(Instant::now() + wave);
                        // Before the call: whoever comes after it calls again.
                        wake.coming.store(false, Ordering::Release);
                        wake.call();
                    });
                }
            }
            _ => {
                *over = Some(now + wave);
                drop(over);
                self.call();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the waves that reach a watch.
    async fn waves(watchers: usize, calls: u32) -> u32 {
        let wake = Arc::new(Wake::default());
        let mut count = 0;
        for _ in 0..calls {
            let called = wake.notified();
            let mut called = std::pin::pin!(called);
            called.as_mut().enable();
            wake.call_paced(watchers);
            if futures::FutureExt::now_or_never(called).is_some() {
                count += 1;
            }
        }
        count
    }

    #[tokio::test]
    async fn a_few_hear_at_once_many_in_waves() {
        assert_eq!(waves(10, 1000).await, 1000);
        // Without a breath between the calls only the first wave comes at once.
        assert_eq!(waves(1_000_000, 100).await, 1);
    }

    #[tokio::test]
    async fn nothing_is_forgotten() {
        let wake = Arc::new(Wake::default());
        wake.call_paced(1000);
        for _ in 0..3 {
            let called = wake.notified();
            // The call comes after this, whether now or later.
            let mut called = std::pin::pin!(called);
            called.as_mut().enable();
            wake.call_paced(1000);
            tokio::time::timeout(Duration::from_secs(10), called).await.expect("the wave comes");
        }
    }
}
