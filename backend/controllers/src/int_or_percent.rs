//! Counts given as a number or as a percentage.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    Up,
    Down,
}

/// The count that `value` means out of `total`; none if it is neither a number nor a percentage.
pub fn scaled(value: &IntOrString, total: i32, round: Round) -> Option<i32> {
    match value {
        IntOrString::Int(count) => Some(*count),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let product = i64::from(total) * percent;
            let count = match round {
                Round::Up => -(-product).div_euclid(100),
                Round::Down => product.div_euclid(100),
            };
            i32::try_from(count).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_percentages() {
        let text = |s: &str| IntOrString::String(s.into());
        for (value, total, up, down) in [
            (IntOrString::Int(3), 10, Some(3), Some(3)),
            (text("25%"), 10, Some(3), Some(2)),
            (text("25%"), 4, Some(1), Some(1)),
            (text("0%"), 10, Some(0), Some(0)),
            (text("100%"), 7, Some(7), Some(7)),
            (text("1%"), 1, Some(1), Some(0)),
            (text("25"), 10, None, None),
            (text("x%"), 10, None, None),
        ] {
            assert_eq!(scaled(&value, total, Round::Up), up, "{value:?} of {total}");
            assert_eq!(scaled(&value, total, Round::Down), down, "{value:?} of {total}");
        }
    }
}
