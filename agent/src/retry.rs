//! When to try again: later each time, and not everybody at the same moment, so that a backend that has fallen behind is
//! left room to catch up.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Delays from `first`, each about twice the one before, up to `last`.
pub struct Retry {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    last: Duration,
}

impl Retry {
    #[must_use]
    pub fn new(first: Duration, last: Duration) -> Self {
        // What chance adds is up to the delay once more.
        let builder = ExponentialBuilder::default()
            .with_min_delay(first / 2)
            .with_max_delay(last / 2)
            .without_max_times()
            .with_jitter();
        Self { builder, delays: builder.build(), last }
    }

    /// How long to wait after another failure.
    pub fn wait(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.last)
    }

    /// It went well: the next failure is the first again.
    pub fn reset(&mut self) {
        self.delays = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_each_time_until_it_went_well() {
        let (first, last) = (Duration::from_secs(1), Duration::from_secs(8));
        let mut retry = Retry::new(first, last);
        let waits: Vec<Duration> = (0..20).map(|_| retry.wait()).collect();
        for (index, wait) in waits.iter().enumerate() {
            let most = (first * (1 << index.min(3))).min(last);
            assert!(*wait >= most / 2 && *wait <= most, "{index}: {wait:?}");
        }
        assert!(waits.iter().skip(4).any(|wait| *wait != waits[3]), "all alike: {waits:?}");
        retry.reset();
        assert!(retry.wait() <= first);
    }
}
