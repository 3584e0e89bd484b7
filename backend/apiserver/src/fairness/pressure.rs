//! How many requests run at once, by how far behind the server is. More of them than it can keep up with would only
//! wait within the runtime, where nobody is preferred; in their queues a node's heartbeat goes before a list.
//!
//! How far behind: a request now and then lets everything go first that is ready to run on its thread, and measures
//! how long that takes.
//!
//! Invariants: a server that keeps up limits nobody beyond the configuration; one that does not still lets enough run to
//! be busy; an idle one does nothing.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often a thread measures, at most.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// How often the measured is judged.
const JUDGE_EVERY: Duration = Duration::from_millis(100);
/// Mean delays above which fewer requests run, and below which more do.
const TOO_LATE: Duration = Duration::from_millis(40);
const IN_TIME: Duration = Duration::from_millis(15);
const LESS: f64 = 0.7;
const MORE: f64 = 1.2;
/// Seats for each processor that are always there in all: what waits for a commit needs no processor meanwhile.
const LEAST_PER_PROCESSOR: u32 = 32;
/// And on each level: a request may be the cause of another one.
const LEAST_PER_LEVEL: u32 = 4;

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
    /// The part of its seats that each level has, as the bits of a number from `least` to 1.
    part: AtomicU64,
    least: f64,
}

impl Pressure {
    pub fn new(total_seats: u32) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let least = LEAST_PER_PROCESSOR.saturating_mul(u32::try_from(processors).unwrap_or(u32::MAX));
        Self {
            window: Mutex::new(Window { since: Instant::now(), sum: Duration::ZERO, count: 0 }),
            part: AtomicU64::new(1.0_f64.to_bits()),
            least: (f64::from(least) / f64::from(total_seats)).min(1.0),
        }
    }

    /// What is left of a level's seats.
    pub fn apply(&self, seats: u32) -> u32 {
        let part = self.part();
        if part >= 1.0 { seats } else { seats.min(((f64::from(seats) * part).ceil() as u32).max(LEAST_PER_LEVEL)) }
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
        let new = match mean {
            late if late > TOO_LATE => (old * LESS).max(self.least),
            early if early < IN_TIME => (old * MORE).min(1.0),
            _ => old,
        };
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
        let pressure = Pressure::new(600);
        let mut now = Instant::now();
        assert!(!judged(&pressure, &mut now, Duration::from_millis(1)));
        assert_eq!(pressure.apply(98), 98);
        assert!(judged(&pressure, &mut now, Duration::from_millis(100)));
        assert_eq!(pressure.apply(98), 69);
        assert!(!judged(&pressure, &mut now, Duration::from_millis(25)));
        for _ in 0..50 {
            judged(&pressure, &mut now, Duration::from_secs(1));
        }
        assert_eq!(pressure.part(), pressure.least);
        // Small levels keep what they have, or enough for a request and what it causes.
        assert_eq!((pressure.apply(3), pressure.apply(0)), (3, 0));
        assert!(pressure.apply(13) >= 4);
        for _ in 0..50 {
            judged(&pressure, &mut now, Duration::ZERO);
        }
        assert_eq!((pressure.part(), pressure.apply(98)), (1.0, 98));
    }

    #[tokio::test]
    async fn what_is_ready_to_run_is_what_is_measured() {
        let pressure = Pressure::new(10_000);
        for _ in 0..8 {
            let busy = (0..4).map(|_| tokio::spawn(async { std::thread::sleep(Duration::from_millis(20)) }));
            let busy: Vec<_> = busy.collect();
            pressure.probe().await;
            futures::future::join_all(busy).await;
        }
        assert!(pressure.part() < 0.5, "{}", pressure.part());
    }
}
