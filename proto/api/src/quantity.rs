//! Quantities: fixed-point numbers with a suffix (`100m`, `1.5Gi`, `2e3`).
//!
//! Held as nano units in an `i128`: every value upstream can hold (up to 2^63 with three more digits below milli) fits
//! exactly. Finer values are rounded away from zero and larger ones capped, as upstream does.
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use std::{
    fmt,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
};

const NANO: i128 = 1_000_000_000;
/// Upstream caps quantities at what a signed 64-bit integer holds.
const MAX: i128 = i64::MAX as i128 * NANO;
/// Longest text that is parsed: the longest sensible quantity has some 30 characters.
const MAX_TEXT: usize = 128;

const FORMAT_WRONG: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX_WRONG: &str = "unable to parse quantity's suffix";

/// The family of suffixes a quantity is printed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `Ki`, `Mi`, `Gi` …
    BinarySi,
    /// `m`, `k`, `M` …
    #[default]
    DecimalSi,
    /// `1e3`
    DecimalExponent,
}

/// A quantity; equality and order are by value, whatever the format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

impl Quantity {
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSi };

    pub fn new(value: i64, format: Format) -> Self {
        Self { nano: i128::from(value) * NANO, format }
    }

    pub fn from_milli(milli: i64, format: Format) -> Self {
        Self { nano: i128::from(milli) * (NANO / 1000), format }
    }

    /// # Errors
    /// Upstream's sentence on what a quantity must look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_TEXT {
            return Err(FORMAT_WRONG.to_owned());
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(FORMAT_WRONG.to_owned());
        }
        let (scale, format) = scale(suffix)?;
        let nano = magnitude(whole, fraction, scale).min(MAX);
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// In thousandths, rounded up.
    pub fn milli(&self) -> i128 {
        div_up(self.nano, NANO / 1000)
    }

    /// In whole units, rounded up.
    pub fn value(&self) -> i128 {
        div_up(self.nano, NANO)
    }

    /// In billionths, exact.
    pub fn nano(&self) -> i128 {
        self.nano
    }

    pub fn is_integer(&self) -> bool {
        self.nano % NANO == 0
    }

    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }
}

fn div_up(n: i128, d: i128) -> i128 {
    n.div_euclid(d) + i128::from(n.rem_euclid(d) != 0)
}

enum Scale {
    Binary(u32),
    Ten(i32),
}

fn scale(suffix: &str) -> Result<(Scale, Format), String> {
    let ten = |power| Ok((Scale::Ten(power), Format::DecimalSi));
    let two = |power| Ok((Scale::Binary(power), Format::BinarySi));
    match suffix {
        "n" => ten(-9),
        "u" => ten(-6),
        "m" => ten(-3),
        "" => ten(0),
        "k" => ten(3),
        "M" => ten(6),
        "G" => ten(9),
        "T" => ten(12),
        "P" => ten(15),
        "E" => ten(18),
        "Ki" => two(10),
        "Mi" => two(20),
        "Gi" => two(30),
        "Ti" => two(40),
        "Pi" => two(50),
        "Ei" => two(60),
        _ => {
            let Some(exponent) = suffix.strip_prefix(['e', 'E']) else {
                return Err(wrong_suffix(suffix).to_owned());
            };
            let exponent: i32 = exponent.parse().map_err(|_| wrong_suffix(suffix).to_owned())?;
            Ok((Scale::Ten(exponent), Format::DecimalExponent))
        }
    }
}

/// What is wrong with a suffix that is none: its form (letters, a sign, digits), or what it says.
fn wrong_suffix(suffix: &str) -> &'static str {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    if rest.bytes().all(|b| b.is_ascii_digit()) { SUFFIX_WRONG } else { FORMAT_WRONG }
}

/// The nano units of `whole.fraction × scale`, saturating, rounded up.
fn magnitude(whole: &str, fraction: &str, scale: Scale) -> i128 {
    match scale {
        Scale::Ten(power) => {
            // Position of the decimal point in the digits, counted in nano units.
            let digits = whole.bytes().chain(fraction.bytes());
            let point = i64::try_from(whole.len()).unwrap_or(i64::MAX).saturating_add(i64::from(power) + 9);
            let mut nano: i128 = 0;
            let mut inexact = false;
            let mut used = 0;
            for (index, digit) in digits.enumerate() {
                let digit = i128::from(digit - b'0');
                if (index as i64) < point {
                    nano = nano.saturating_mul(10).saturating_add(digit).min(MAX + 1);
                    used += 1;
                } else if digit != 0 {
                    inexact = true;
                }
            }
            let mut missing = point - used;
            while missing > 0 && nano > 0 && nano <= MAX {
                nano = nano.saturating_mul(10);
                missing -= 1;
            }
            nano.saturating_add(i128::from(inexact))
        }
        Scale::Binary(bits) => {
            let mut total: i128 = 0;
            for digit in whole.bytes() {
                total = total.saturating_mul(10).saturating_add(i128::from(digit - b'0')).min(MAX);
            }
            let unit = NANO << bits;
            let nano = total.saturating_mul(unit).min(MAX);
            // The fraction by long division from its last digit: nested floors are exact, a remainder rounds up.
            let (mut part, mut inexact) = (0_i128, false);
            for digit in fraction.bytes().rev() {
                let sum = i128::from(digit - b'0') * unit + part;
                inexact |= sum % 10 != 0;
                part = sum / 10;
            }
            let nano = nano.saturating_add(part);
            nano.saturating_add(i128::from(inexact))
        }
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix possible.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let small = self.nano.abs() < 1024 * NANO;
        match self.format {
            Format::BinarySi if !small => {
                // Binary quantities have no fraction: round away from zero.
                let mut number = div_up(self.nano.abs(), NANO);
                let mut index = 0;
                while number % 1024 == 0 && index < 6 {
                    number /= 1024;
                    index += 1;
                }
                let sign = if self.nano < 0 { "-" } else { "" };
                write!(f, "{sign}{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][index])
            }
            format => {
                let mut number = self.nano;
                let mut exponent = -9_i32;
                while number % 1000 == 0 && exponent < 18 {
                    number /= 1000;
                    exponent += 3;
                }
                if format == Format::DecimalExponent {
                    return if exponent == 0 { write!(f, "{number}") } else { write!(f, "{number}e{exponent}") };
                }
                let index = usize::try_from((exponent + 9) / 3).unwrap_or_default();
                write!(f, "{number}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][index])
            }
        }
    }
}

impl std::str::FromStr for Quantity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}
impl Eq for Quantity {}
impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.nano.hash(state);
    }
}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Add for Quantity {
    type Output = Self;
    /// The sum, in the format of the first operand that is not zero.
    fn add(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: self.nano.saturating_add(other.nano), format }
    }
}
impl Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}
impl Neg for Quantity {
    type Output = Self;
    fn neg(self) -> Self {
        Self { nano: -self.nano, format: self.format }
    }
}
impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}
impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        let table = [
            ("0", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1500m", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Ki", "1Mi"),
            ("1Mi", "1Mi"),
            ("1000Ki", "1000Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("1E", "1E"),
            ("12e2", "1200"),
            ("1e-3", "1e-3"),
            ("5n", "5n"),
            ("0.1n", "1n"),
            ("-1.5", "-1500m"),
            ("+2", "2"),
            (".5", "500m"),
            ("5.", "5"),
            ("1Ei", "1Ei"),
            ("100E", "9223372036854775807"),
            ("128974848", "128974848"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
            ("0.3Ki", "307200m"),
            ("1e30", "9223372036854775807"),
            ("0.0000000001Gi", "107374183n"),
        ];
        for (text, canonical) in table {
            let parsed = Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(parsed.to_string(), canonical, "{text}");
            assert_eq!(Quantity::parse(canonical).map(|q| q.nano()), Ok(parsed.nano()), "{text} survives its own text");
        }
    }

    #[test]
    fn refuses() {
        for text in ["", "a", "1.2.3", "1ki", "1KI", "Mi", "1 Mi", " 1", "1e", "1mm", "--1", "1e1.5", "1\u{0661}"] {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Quantity::parse("x").unwrap_err(), FORMAT_WRONG);
        assert_eq!(Quantity::parse("1ki").unwrap_err(), SUFFIX_WRONG);
    }

    #[test]
    fn rounds_up_and_adds() {
        let q = |s: &str| Quantity::parse(s).unwrap();
        assert_eq!((q("1u").milli(), q("1n").value(), q("-1500m").value(), q("1.5").value()), (1, 1, -1, 2));
        assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
        assert_eq!((q("0") + q("1Ki")).to_string(), "1Ki");
        assert_eq!((q("1") - q("250m")).to_string(), "750m");
        assert!(q("1Gi") > q("1G") && q("1000m") == q("1"));
    }
}
