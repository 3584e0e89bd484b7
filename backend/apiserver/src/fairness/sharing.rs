//! How the seats of the server are divided among the priority levels: by shares at first, then by what each needs, as
//! far as the others lend.
//! Source: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#seats-borrowing>
//!
//! Invariant: no limited level falls below its lower bound, none rises above its upper one.

/// What the configuration of a level says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    pub shares: u32,
    pub lendable_percent: u32,
    /// None: as much as there is.
    pub borrowing_percent: Option<u32>,
}

/// Seats that follow from the configuration alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub nominal: u32,
    pub lower: u32,
    pub upper: u32,
}

impl Bounds {
    /// Before anything was seen, half of what may be lent is lent.
    pub fn at_first(self) -> u32 {
        self.nominal - (self.nominal - self.lower) / 2
    }
}

fn percent(of: u32, percent: u32) -> u32 {
    (f64::from(of) * f64::from(percent) / 100.0).round() as u32
}

pub fn bounds(total: u32, levels: &[Shares]) -> Vec<Bounds> {
    let sum: f64 = levels.iter().map(|level| f64::from(level.shares)).sum();
    let one = |level: &Shares| {
        let share = if sum > 0.0 { f64::from(level.shares) / sum } else { 0.0 };
        let nominal = (f64::from(total) * share).ceil() as u32;
        let borrowing = level.borrowing_percent.map_or(total, |limit| percent(nominal, limit));
        Bounds {
            nominal,
            lower: nominal - percent(nominal, level.lendable_percent.min(100)),
            upper: nominal.saturating_add(borrowing),
        }
    };
    levels.iter().map(one).collect()
}

/// A level and what it needed over the last period.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    pub exempt: bool,
    pub bounds: Bounds,
    pub high: u32,
    pub smoothed: f64,
}

impl Need {
    /// What it needed and owns is not lent.
    fn floor(&self) -> u32 {
        self.bounds.lower.max(self.high.min(self.bounds.nominal))
    }
    pub fn target(&self) -> f64 {
        if self.exempt { f64::from(self.high) } else { self.smoothed.max(f64::from(self.floor())) }
    }
}

/// A target of nothing still gets its part of what is left over.
const LEAST_TARGET: f64 = 0.001;
/// Halvings of the interval in which the fair fraction lies: enough for a double's precision.
const HALVINGS: usize = 80;

/// The seats of each level now, and the fraction of its target that each gets who is not at a bound.
pub fn divide(levels: &[Need]) -> (Vec<u32>, f64) {
    let exempt = |level: &Need| level.bounds.lower.max(level.high);
    let total: i64 = levels.iter().map(|level| i64::from(level.bounds.nominal)).sum();
    let taken: i64 = levels.iter().filter(|level| level.exempt).map(|level| i64::from(exempt(level))).sum();
    let left = total - taken;
    let limited = || levels.iter().filter(|level| !level.exempt);
    let lower: i64 = limited().map(|level| i64::from(level.bounds.lower)).sum();
    let floors: i64 = limited().map(|level| i64::from(level.floor())).sum();
    let mut fraction = 0.0;
    let give: Box<dyn Fn(&Need) -> f64> = if left <= lower {
        Box::new(|level| f64::from(level.bounds.lower))
    } else if left <= floors {
        let part = (left - lower) as f64 / (floors - lower) as f64;
        Box::new(move |level| f64::from(level.bounds.lower) + part * f64::from(level.floor() - level.bounds.lower))
    } else {
        fraction = fair_fraction(left as f64, &limited().copied().collect::<Vec<_>>());
        Box::new(move |level| clamped(level, fraction))
    };
    let seats = levels.iter().map(|level| if level.exempt { exempt(level) } else { give(level).round() as u32 });
    (seats.collect(), fraction)
}

fn clamped(level: &Need, fraction: f64) -> f64 {
    let floor = f64::from(level.floor());
    (level.target().max(LEAST_TARGET) * fraction).clamp(floor, f64::from(level.bounds.upper).max(floor))
}

/// The fraction of the targets at which, within the bounds, they add up to what there is.
fn fair_fraction(sum: f64, levels: &[Need]) -> f64 {
    let most = |level: &Need| f64::from(level.bounds.upper) / level.target().max(LEAST_TARGET);
    let (mut low, mut high) = (0.0, levels.iter().map(most).fold(0.0, f64::max));
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        let given: f64 = levels.iter().map(|level| clamped(level, middle)).sum();
        if given < sum {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_become_seats() {
        let level = |shares, lendable_percent| Shares { shares, lendable_percent, borrowing_percent: None };
        let all = [
            level(0, 0),
            level(5, 0),
            level(20, 50),
            level(10, 0),
            level(40, 25),
            level(30, 33),
            level(40, 50),
            level(100, 90),
        ];
        let seats: Vec<(u32, u32)> = bounds(600, &all).iter().map(|b| (b.nominal, b.lower)).collect();
        assert_eq!(seats, [(0, 0), (13, 13), (49, 24), (25, 25), (98, 73), (74, 50), (98, 49), (245, 24)]);
        let limited = Shares { borrowing_percent: Some(10), ..level(1, 20) };
        assert_eq!(bounds(100, &[limited]), [Bounds { nominal: 100, lower: 80, upper: 110 }]);
    }

    fn need(nominal: u32, lower: u32, high: u32, smoothed: f64) -> Need {
        Need { exempt: false, bounds: Bounds { nominal, lower, upper: nominal + 600 }, high, smoothed }
    }

    #[test]
    fn the_idle_lend_to_the_busy() {
        let (seats, _) = divide(&[need(100, 10, 0, 0.0), need(100, 50, 500, 500.0)]);
        assert_eq!(seats, [10, 190]);
        let (seats, fraction) = divide(&[need(100, 10, 300, 300.0), need(100, 50, 500, 500.0)]);
        assert_eq!((seats, fraction < 1.0), (vec![100, 100], true));
        let exempt = Need { exempt: true, ..need(0, 0, 150, 0.0) };
        let (seats, _) = divide(&[exempt, need(100, 10, 100, 100.0), need(100, 50, 100, 100.0)]);
        assert_eq!(seats, [150, 10, 50]);
    }

    proptest! {
        #[test]
        fn always_within_bounds(levels in prop::collection::vec((1u32..200, 0u32..100, 0u32..400, 0f64..400.0), 1..9)) {
            let needs: Vec<Need> =
                levels.iter().map(|(nominal, lend, high, smoothed)| need(*nominal, nominal - nominal * lend / 100, *high, *smoothed)).collect();
            let (seats, _) = divide(&needs);
            let total: u32 = needs.iter().map(|need| need.bounds.nominal).sum();
            for (need, seats) in needs.iter().zip(&seats) {
                prop_assert!(*seats >= need.bounds.lower && *seats <= need.bounds.upper, "{need:?} {seats}");
            }
            let given: u32 = seats.iter().sum();
            prop_assert!(given.abs_diff(total) <= needs.len() as u32, "{given} of {total}");
        }
    }
}
