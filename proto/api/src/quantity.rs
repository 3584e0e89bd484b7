//! Quantities: `500m`, `1.5Gi`, `1e3`. Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
//!
//! Held exactly, in nano-units: upstream's finest scale. What is finer is rounded up, as upstream does.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

const NANO: i128 = 1_000_000_000;
/// Largest magnitude, in units: upstream's cap is 2^63 - 1.
const MAX_UNITS: i128 = i64::MAX as i128;
/// Digits of a mantissa; more are only ever attacks.
const MAX_LENGTH: usize = 64;

/// How the quantity was written, which is how it is printed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    BinarySi,
    DecimalSi,
    DecimalExponent,
}

#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct ParseError;

const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

fn power10(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

impl Quantity {
    pub fn zero() -> Self {
        Self { nano: 0, format: Format::DecimalSi }
    }
    pub fn from_units(units: i64) -> Self {
        Self { nano: i128::from(units) * NANO, format: Format::DecimalSi }
    }
    pub fn from_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }
    /// Bytes, printed with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nano: i128::from(bytes) * NANO, format: Format::BinarySi }
    }

    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(ParseError);
        }
        let end = text
            .char_indices()
            .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && (*c == '+' || *c == '-'))))
            .map_or(text.len(), |(at, _)| at);
        let (number, suffix) = text.split_at(end);
        let negative = number.starts_with('-');
        let digits = number.trim_start_matches(['+', '-']);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(ParseError);
        }
        let (format, scale) = scale(suffix)?;
        let fraction = fraction.trim_end_matches('0');
        let mantissa: i128 =
            format!("0{whole}{fraction}").trim_start_matches('0').parse().or_else(|_| zero_digits(whole, fraction))?;
        let nano = scaled(mantissa, u32::try_from(fraction.len()).map_err(|_| ParseError)?, scale);
        let capped = nano.min(MAX_UNITS * NANO);
        Ok(Self { nano: if negative { -capped } else { capped }, format })
    }

    pub fn nano(&self) -> i128 {
        self.nano
    }
    /// Thousandths, rounded up.
    pub fn milli(&self) -> i128 {
        ceil_div(self.nano, NANO / 1000)
    }
    /// Whole units, rounded up.
    pub fn value(&self) -> i128 {
        ceil_div(self.nano, NANO)
    }
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }
    /// Whether it is a whole number of units.
    pub fn is_integer(&self) -> bool {
        self.nano % NANO == 0
    }
}

/// A mantissa of nothing but zeros, which the trimming above leaves empty.
fn zero_digits(whole: &str, fraction: &str) -> Result<i128, ParseError> {
    let all_zero = whole.bytes().chain(fraction.bytes()).all(|b| b == b'0');
    // Otherwise it overflowed: the value is beyond any cap.
    Ok(if all_zero { 0 } else { i128::MAX / 4 })
}

enum Scale {
    Binary(u32),
    Decimal(i32),
}

fn scale(suffix: &str) -> Result<(Format, Scale), ParseError> {
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::BinarySi, Scale::Binary(*bits)));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::DecimalSi, Scale::Decimal(*power)));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).filter(|rest| rest.len() <= 4).ok_or(ParseError)?;
    let power: i32 = exponent.parse().map_err(|_| ParseError)?;
    Ok((Format::DecimalExponent, Scale::Decimal(power)))
}

/// `mantissa · 10^-fraction · scale`, in nano-units, rounded up, saturating.
fn scaled(mantissa: i128, fraction: u32, scale: Scale) -> i128 {
    let (factor, power) = match scale {
        Scale::Binary(bits) => (1_i128 << bits, 9_i64),
        Scale::Decimal(power) => (1, 9 + i64::from(power)),
    };
    let power = power - i64::from(fraction);
    let Some(value) = mantissa.checked_mul(factor) else { return i128::MAX / 4 };
    if power >= 0 {
        let Some(factor) = u32::try_from(power).ok().and_then(power10) else {
            return if value == 0 { 0 } else { i128::MAX / 4 };
        };
        value.checked_mul(factor).unwrap_or(i128::MAX / 4)
    } else {
        match u32::try_from(-power).ok().and_then(power10) {
            Some(divisor) => ceil_div(value, divisor),
            None => i128::from(value != 0),
        }
    }
}

fn ceil_div(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let units = self.nano / NANO;
        if self.format == Format::BinarySi && self.nano % NANO == 0 && units.abs() >= 1024 {
            let fitting = BINARY.iter().rev().find(|(_, bits)| units % (1_i128 << bits) == 0);
            return match fitting {
                Some((name, bits)) => write!(f, "{}{name}", units >> bits),
                None => write!(f, "{units}"),
            };
        }
        if self.format == Format::BinarySi && self.nano % NANO == 0 {
            return write!(f, "{units}");
        }
        // The largest power of a thousand that leaves a whole number.
        let mut power = -9;
        let mut number = self.nano;
        while power < 18 && number % 1000 == 0 {
            number /= 1000;
            power += 3;
        }
        match DECIMAL.iter().find(|(_, p)| *p == power) {
            Some((name, _)) if self.format != Format::DecimalExponent => write!(f, "{number}{name}"),
            _ if power == 0 => write!(f, "{number}"),
            _ => write!(f, "{number}e{power}"),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}
impl Default for Quantity {
    fn default() -> Self {
        Self::zero()
    }
}
impl Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        // A sum is printed as its first non-zero part was written.
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: self.nano.saturating_add(other.nano), format }
    }
}
impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: self.nano.saturating_sub(other.nano), format }
    }
}
impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::zero(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.0Gi", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1", "1"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Ki", "1Mi"),
            ("1025Ki", "1025Ki"),
            ("1000", "1k"),
            ("1500k", "1500k"),
            ("1e3", "1e3"),
            ("12E6", "12e6"),
            ("1E", "1E"),
            ("-1.5", "-1500m"),
            ("+5", "5"),
            ("100Ki", "100Ki"),
            ("0.5Ki", "512"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("5.", "5"),
            (".5", "500m"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", " ", "a", "1.1.1", "1 Gi", "1gi", "--1", "1e", "1e99999", "1KI", "\u{663}", "."] {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn arithmetic_and_order() {
        let q = |text| Quantity::parse(text).unwrap();
        assert_eq!((q("100m") + q("900m")).to_string(), "1");
        assert_eq!((q("1Gi") - q("512Mi")).to_string(), "512Mi");
        assert!(q("1Gi") > q("1G") && q("0.5") == q("500m"));
        assert_eq!((q("1500m").value(), q("1500m").milli(), q("1n").value()), (2, 1500, 1));
        assert_eq!(q("99999999999999999999").value(), i128::from(i64::MAX));
    }
}
