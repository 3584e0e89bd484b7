//! How many seats a level could have used over a time.

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    pub high: u32,
    pub average: f64,
    pub deviation: f64,
}

/// Invariant: between two changes the value was what was set last.
#[derive(Debug)]
pub struct Demand {
    since: f64,
    at: f64,
    value: u32,
    high: u32,
    sum: f64,
    squares: f64,
}

impl Demand {
    pub fn new(now: f64) -> Self {
        Self { since: now, at: now, value: 0, high: 0, sum: 0.0, squares: 0.0 }
    }

    pub fn set(&mut self, now: f64, value: u32) {
        let (passed, old) = ((now - self.at).max(0.0), f64::from(self.value));
        self.sum += passed * old;
        self.squares += passed * old * old;
        self.at = self.at.max(now);
        self.value = value;
        self.high = self.high.max(value);
    }

    /// What was seen since the last time; begins anew.
    pub fn take(&mut self, now: f64) -> Observed {
        self.set(now, self.value);
        let time = self.at - self.since;
        let (average, squares) =
            if time > 0.0 { (self.sum / time, self.squares / time) } else { (f64::from(self.value), 0.0) };
        let deviation = (squares - average * average).max(0.0).sqrt();
        let seen = Observed { high: self.high, average, deviation: if time > 0.0 { deviation } else { 0.0 } };
        *self = Self { value: self.value, high: self.value, ..Self::new(self.at) };
        seen
    }
}

/// The demand as it counts for the sharing: up at once, down slowly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Smoothed(pub f64);

/// What is kept of the old value, per period.
const INERTIA: f64 = 0.977;

impl Smoothed {
    pub fn update(&mut self, seen: &Observed) {
        let envelope = seen.average + seen.deviation;
        self.0 = envelope.max(INERTIA * self.0 + (1.0 - INERTIA) * envelope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_weigh_by_time() {
        let mut demand = Demand::new(0.0);
        demand.set(1.0, 10);
        demand.set(3.0, 0);
        let seen = demand.take(4.0);
        assert_eq!((seen.high, seen.average, seen.deviation), (10, 5.0, 5.0));
        assert_eq!(demand.take(5.0), Observed { high: 0, average: 0.0, deviation: 0.0 });
        let mut smoothed = Smoothed::default();
        smoothed.update(&seen);
        assert_eq!(smoothed.0, 10.0);
        smoothed.update(&Observed::default());
        assert_eq!(smoothed.0, 9.77);
    }
}
