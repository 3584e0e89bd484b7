//! How far behind the server is, and so how many of its seats are given out. More requests than it can keep up with
//! would only wait within the runtime, where nobody is preferred; in their queues a node's heartbeat goes before a list.
//!
//! How far behind: a request now and then lets everything go first that is ready to run on its thread, and measures
//! how long that takes. While that is too long, levels have fewer and fewer of the seats that they might lend.
//!
//! Invariants: a server that keeps up limits nobody beyond the configuration; a level always has what it does not lend;
//! an idle server does nothing.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::sharing::Bounds;

/// How often a thread measures, at most.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// How often the measured is judged.
const JUDGE_EVERY: Duration = Duration::from_millis(100);
/// The mean delay that is too long.
const TOO_LATE: Duration = Duration::from_millis(40);
/// What is left at each judgement then, and what is added otherwise.
const LESS: f64 = 0.7;
const MORE: f64 = 0.05;

thread_local! {
    static PROBED: Cell<Option<Instant>> = const { Cell::new(None) };
}

struct Window {
    since: Instant,
    sum: Duration,
    count: u32,
}

pub struct Pressure {
    window: Mutex<Window>,
    /// The part that each level has of the seats it might lend, as the bits of a number from 0 to 1.
    part: AtomicU64,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            window: Mutex::new(Window { since: Instant::now(), sum: Duration::ZERO, count: 0 }),
            part: AtomicU64::new(1.0_f64.to_bits()),
        }
    }
}

impl Pressure {
    /// What a level has of its seats.
    pub fn apply(&self, bounds: Bounds, seats: u32) -> u32 {
        let least = bounds.lower.min(seats);
        least + (f64::from(seats - least) * self.part()).round() as u32
    }

    pub fn part(&self) -> f64 {
        f64::from_bits(self.part.load(Ordering::Relaxed))
    }

    /// Measures if it is time to; true when the part has changed.
    pub async fn probe(&self) -> bool {
        let now = Instant::now();
        if PROBED.get().is_some_and(|at| now.duration_since(at) < PROBE_EVERY) {
            return false;
        }
        PROBED.set(Some(now));
        tokio::task::yield_now().await;
        self.note(now.elapsed(), Instant::now())
    }

    fn note(&self, delay: Duration, now: Instant) -> bool {
        let mut window = self.window.lock();
        window.sum += delay;
        window.count += 1;
        if now.duration_since(window.since) < JUDGE_EVERY {
            return false;
        }
        let mean = window.sum / window.count;
        *window = Window { since: now, sum: Duration::ZERO, count: 0 };
        let old = self.part();
        let new = if mean > TOO_LATE { old * LESS } else { (old + MORE).min(1.0) };
        self.part.store(new.to_bits(), Ordering::Relaxed);
        new != old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pressure: &Pressure, now: &mut Instant, delay: Duration) -> bool {
        pressure.note(delay, *now);
        *now += JUDGE_EVERY;
        pressure.note(delay, *now)
    }

    #[test]
    fn who_falls_behind_runs_less_at_once_until_it_has_caught_up() {
        let (pressure, bounds) = (Pressure::default(), Bounds { nominal: 98, lower: 73, upper: 698 });
        let mut now = Instant::now();
        let mut after = |delay: Duration, times: usize| {
            for _ in 0..times {
                judged(&pressure, &mut now, delay);
            }
            pressure.apply(bounds, 173)
        };
        assert_eq!(after(Duration::from_millis(1), 1), 173);
        assert_eq!(after(Duration::from_millis(100), 1), 143);
        assert_eq!(after(Duration::from_secs(1), 50), 73);
        assert_eq!(after(Duration::from_millis(30), 4), 93);
        assert_eq!(after(Duration::ZERO, 50), 173);
        // Whose level has less than it would not lend keeps what it has.
        assert_eq!(pressure.apply(bounds, 10), 10);
    }

    #[tokio::test]
    async fn what_is_ready_to_run_is_what_is_measured() {
        let pressure = Pressure::default();
        for _ in 0..8 {
            let busy = (0..4).map(|_| tokio::spawn(async { std::thread::sleep(Duration::from_millis(20)) }));
            let busy: Vec<_> = busy.collect();
            pressure.probe().await;
            futures::future::join_all(busy).await;
        }
        assert!(pressure.part() < 0.5, "{}", pressure.part());
    }
}
