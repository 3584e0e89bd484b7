//! How far behind the server is, and so how many of its seats are given out. More requests than it can keep up with
//! would only wait within the runtime, where nobody is preferred; in their queues a node's heartbeat goes before a list.
//!
//! How far behind: a request now and then lets everything go first that is ready to run on its thread, and measures
//! how long that takes. While that is too long, levels have fewer and fewer seats, but for those that hardly lend any:
//! they are for what must not wait (heartbeats of nodes, elections of leaders), and nodes thought lost only make more
//! work.
//!
//! Invariants: a server that keeps up limits nobody beyond the configuration; a level always has a few seats; an idle
//! server does nothing.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::sharing::Shares;

/// How often a thread measures, at most.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// How often the measured is judged.
const JUDGE_EVERY: Duration = Duration::from_millis(100);
/// The mean delay that is too long.
const TOO_LATE: Duration = Duration::from_millis(40);
/// What is left at each judgement then, and what is added otherwise.
const LESS: f64 = 0.7;
const MORE: f64 = 0.05;
/// What a level always has, for each processor.
const LEAST_PER_PROCESSOR: usize = 4;
/// Who lends no more than this keeps what it has.
const HARDLY_LENDS_PERCENT: u32 = 25;

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
    /// The part of its seats that a level has, as the bits of a number from 0 to 1.
    part: AtomicU64,
    least: u32,
}

impl Default for Pressure {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            least: u32::try_from(LEAST_PER_PROCESSOR * processors).unwrap_or(u32::MAX),
            window: Mutex::new(Window { since: Instant::now(), sum: Duration::ZERO, count: 0 }),
            part: AtomicU64::new(1.0_f64.to_bits()),
        }
    }
}

impl Pressure {
    /// What a level has of its seats.
    pub fn apply(&self, shares: &Shares, seats: u32) -> u32 {
        let least = if shares.lendable_percent <= HARDLY_LENDS_PERCENT { seats } else { self.least.min(seats) };
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
        let pressure = Pressure { least: 8, ..Pressure::default() };
        let shares = |lendable_percent| Shares { shares: 1, lendable_percent, borrowing_percent: None };
        let mut now = Instant::now();
        let mut after = |delay: Duration, times: usize| {
            for _ in 0..times {
                judged(&pressure, &mut now, delay);
            }
            pressure.apply(&shares(33), 108)
        };
        assert_eq!(after(Duration::from_millis(1), 1), 108);
        assert_eq!(after(Duration::from_millis(100), 1), 78);
        assert_eq!(after(Duration::from_secs(1), 50), 8);
        // What must not wait keeps its seats, and small levels theirs.
        assert_eq!((pressure.apply(&shares(25), 98), pressure.apply(&shares(90), 3)), (98, 3));
        assert_eq!(after(Duration::from_millis(30), 4), 28);
        assert_eq!(after(Duration::ZERO, 50), 108);
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
