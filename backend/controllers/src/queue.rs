//! The work queue: keys to reconcile, each at most once at a time.
//!
//! Invariants:
//! - A key handed out is not handed out again before `done`; added meanwhile, it comes back right after.
//! - Adding a queued key is free: many events make one reconcile.
//! - Failures of one key delay only that key: 10 ms doubling to `MAX_BACKOFF`, with jitter.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::key::Key;
use crate::metrics::Meter;

const MIN_BACKOFF: Duration = Duration::from_millis(10);
/// Upstream waits up to 1000 s; an interactive cluster should heal sooner once the cause is gone.
const MAX_BACKOFF: Duration = Duration::from_secs(120);

pub struct Queue {
    state: Mutex<State>,
    wake: Notify,
    meter: Meter,
}

#[derive(Default)]
struct State {
    /// With the time since when they are ready.
    ready: VecDeque<(Key, Instant)>,
    queued: HashSet<Key>,
    /// Keys being worked on, and since when.
    active: HashMap<Key, Instant>,
    /// Keys to add at a time; one time per key, the earliest asked for.
    due: BTreeSet<(Instant, Key)>,
    due_at: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
}

impl State {
    /// True when a worker must be woken.
    fn push(&mut self, key: Key) -> bool {
        if !self.queued.insert(key.clone()) || self.active.contains_key(&key) {
            return false;
        }
        self.ready.push_back((key, Instant::now()));
        true
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, _)) = self.due.first() {
            if *at > now {
                return;
            }
            if let Some((_, key)) = self.due.pop_first() {
                self.due_at.remove(&key);
                self.push(key);
            }
        }
    }
}

impl Queue {
    /// An empty queue under this name in the metrics.
    pub fn new(name: &'static str) -> Self {
        Self { state: Mutex::default(), wake: Notify::new(), meter: Meter::of(name) }
    }

    pub fn add(&self, key: Key) {
        self.meter.adds.inc();
        let pushed = {
            let mut state = self.state.lock();
            let pushed = state.push(key);
            self.measure(&state);
            pushed
        };
        if pushed {
            self.wake.notify_one();
        }
    }

    fn measure(&self, state: &State) {
        self.meter.depth.set(i64::try_from(state.ready.len()).unwrap_or(i64::MAX));
    }

    pub fn add_after(&self, key: Key, delay: Duration) {
        let at = Instant::now() + delay;
        let mut state = self.state.lock();
        match state.due_at.get(&key).copied() {
            Some(earlier) if earlier <= at => return,
            Some(later) => {
                state.due.remove(&(later, key.clone()));
            }
            None => {}
        }
        state.due_at.insert(key.clone(), at);
        state.due.insert((at, key));
        drop(state);
        // A waiting worker may have to wait for less now.
        self.wake.notify_one();
    }

    /// The next key to work on; waits for one.
    pub async fn next(&self) -> Key {
        loop {
            let notified = self.wake.notified();
            let (key, more, due) = {
                let mut state = self.state.lock();
                state.promote(Instant::now());
                let now = Instant::now();
                let key = state.ready.pop_front().map(|(key, since)| {
                    self.meter.queued.observe(now.duration_since(since).as_secs_f64());
                    state.queued.remove(&key);
                    state.active.insert(key.clone(), now);
                    key
                });
                self.measure(&state);
                (key, !state.ready.is_empty(), state.due.first().map(|(at, _)| *at))
            };
            if more {
                self.wake.notify_one();
            }
            if let Some(key) = key {
                if !more && due.is_some() {
                    // Somebody must watch the clock while this worker is busy.
                    self.wake.notify_one();
                }
                return key;
            }
            match due {
                Some(at) => tokio::select! { () = notified => {}, () = sleep_until(at) => {} },
                None => notified.await,
            }
        }
    }

    /// Ends the work on a key: it may be handed out again.
    pub fn done(&self, key: &Key) {
        let mut state = self.state.lock();
        if let Some(since) = state.active.remove(key) {
            self.meter.worked.observe(since.elapsed().as_secs_f64());
        }
        if state.queued.contains(key) {
            state.ready.push_back((key.clone(), Instant::now()));
            drop(state);
            self.wake.notify_one();
        }
    }

    pub fn forget_failures(&self, key: &Key) {
        self.state.lock().failures.remove(key);
    }

    /// Adds the key again after its back-off, which is returned.
    pub fn retry(&self, key: &Key) -> Duration {
        self.meter.retries.inc();
        let failures = {
            let mut state = self.state.lock();
            let count = state.failures.entry(key.clone()).or_insert(0);
            *count = count.saturating_add(1);
            *count
        };
        let delay = backoff(failures, rand::random::<f64>());
        self.add_after(key.clone(), delay);
        delay
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.state.lock().ready.is_empty()
    }
}

/// The delay before try number `failures` + 1; `jitter` in 0..1 adds up to a quarter.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let base = MIN_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(MAX_BACKOFF);
    base.mul_f64(1.0 + jitter / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    #[tokio::test]
    async fn a_key_is_worked_on_by_one_at_a_time_and_never_lost() {
        let queue = Queue::new("test");
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("a"));
        queue.add(key("a"));
        assert!(queue.is_empty(), "an active key waits for done");
        queue.add(key("b"));
        assert_eq!(queue.next().await, key("b"));
        queue.done(&key("a"));
        assert_eq!(queue.next().await, key("a"));
        queue.done(&key("a"));
        queue.done(&key("b"));
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_keys_come_at_the_earliest_time_asked_for() {
        let queue = Queue::new("test");
        let start = Instant::now();
        queue.add_after(key("a"), Duration::from_secs(60));
        queue.add_after(key("a"), Duration::from_secs(5));
        queue.add_after(key("a"), Duration::from_secs(90));
        assert_eq!(queue.next().await, key("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done(&key("a"));
        assert!(queue.state.lock().due.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn two_workers_share_the_clock() {
        let queue = std::sync::Arc::new(Queue::new("test"));
        queue.add(key("now"));
        queue.add_after(key("later"), Duration::from_secs(1));
        let other = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.next().await, queue.next().await) }
        });
        let (first, second) = other.await.unwrap();
        assert_eq!((first, second), (key("now"), key("later")));
    }

    #[test]
    fn back_off_doubles_up_to_its_limit() {
        assert_eq!(backoff(1, 0.0), Duration::from_millis(10));
        assert_eq!(backoff(4, 0.0), Duration::from_millis(80));
        assert_eq!(backoff(40, 0.0), MAX_BACKOFF);
        assert!(backoff(3, 0.999) < Duration::from_millis(51));
    }
}
