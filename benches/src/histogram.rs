//! Latencies, at microsecond resolution and three digits, and what a report tells of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// From a microsecond to two minutes; what takes longer counts as two minutes.
const LONGEST_MICROS: u64 = 120_000_000;

#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u32>);

impl Default for Latencies {
    fn default() -> Self {
        // These bounds are valid, so this cannot fail; an empty histogram that resizes itself is the same thing slower.
        Self(Histogram::new_with_bounds(1, LONGEST_MICROS, 3).unwrap_or_else(|_| {
            let mut any = Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are allowed"));
            any.auto(true);
            any
        }))
    }
}

impl Latencies {
    pub fn record(&mut self, took: Duration) {
        self.record_micros(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn record_micros(&mut self, micros: u64) {
        self.0.saturating_record(micros.clamp(1, LONGEST_MICROS));
    }

    pub fn add(&mut self, other: &Self) {
        // Equal bounds: it fits.
        let _ = self.0.add(&other.0);
    }

    pub fn summary(&self) -> Summary {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Summary {
            count: self.0.len(),
            mean_ms: self.0.mean() / 1000.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.0.max() as f64 / 1000.0,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut all = Latencies::default();
        for millis in 1..=100 {
            let mut one = Latencies::default();
            one.record(Duration::from_millis(millis));
            all.add(&one);
        }
        let summary = all.summary();
        assert_eq!(summary.count, 100);
        assert!((summary.p50_ms - 50.0).abs() < 0.1 && (summary.p99_ms - 99.0).abs() < 0.2, "{summary:?}");
        all.record(Duration::from_secs(1000));
        assert!((all.summary().max_ms - 120_000.0).abs() < 100.0);
    }
}
