//! Scalars with a form of their own: quantities, times, base64.

use jiff::Timestamp;

use super::gotime;

/// Upstream's words for text that is no quantity.
pub const NO_QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The canonical form of a quantity: `1000m` → `1`.
pub fn quantity(text: &str) -> Result<String, String> {
    // Quantities are written canonically nearly always; digits and a plain suffix need no arithmetic to see that.
    if is_canonical(text) {
        return Ok(text.to_owned());
    }
    let quantity = pilothouse_api::quantity::Quantity::parse(text)?;
    Ok(quantity.to_string())
}

/// A few digits, and perhaps a suffix, of which no larger suffix could be made: `5`, `100m`, `1500Mi`.
/// False says nothing.
fn is_canonical(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let Ok(value) = number.parse::<u32>() else { return false };
    let plain = number.len() <= 6 && !number.starts_with('0');
    match suffix {
        "" => (plain && value % 1000 != 0) || number == "0",
        "m" | "k" | "M" | "G" => plain && value % 1000 != 0,
        "Ki" | "Mi" | "Gi" => plain && value % 1024 != 0,
        _ => false,
    }
}

/// Seconds or microseconds, in UTC.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Seconds,
    Micros,
}

/// The canonical form of a time: RFC 3339, UTC.
pub fn time(text: &str, precision: Precision) -> Result<String, String> {
    if precision == Precision::Seconds && is_canonical_time(text) {
        return Ok(text.to_owned());
    }
    let (layout, format) = match precision {
        Precision::Seconds => (gotime::SECONDS, "%Y-%m-%dT%H:%M:%SZ"),
        Precision::Micros => (gotime::MICROS, "%Y-%m-%dT%H:%M:%S.%6fZ"),
    };
    Ok(gotime::parse(text, layout)?.strftime(format).to_string())
}

/// Go's zero time: it is none.
pub fn is_zero_time(text: &str) -> bool {
    text.starts_with("0001-01-01T00:00:00") && text.bytes().skip(19).all(|b| matches!(b, b'.' | b'0' | b'Z'))
}

/// A time that was written by the server.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    gotime::parse(text, gotime::SECONDS).ok()
}

/// `2026-01-02T03:04:05Z` with every part in its range, days of short months left to the parser.
fn is_canonical_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        bytes
            .get(from..to)
            .filter(|d| d.iter().all(u8::is_ascii_digit))
            .map(|digits| digits.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    };
    let within = |from, to, low, high| number(from, to).is_some_and(|n| (low..=high).contains(&n));
    bytes.len() == 20
        && matches!(bytes, [_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _, b'Z'])
        && within(0, 4, 1, 9999)
        && within(5, 7, 1, 12)
        && within(8, 10, 1, 28)
        && within(11, 13, 0, 23)
        && within(14, 16, 0, 59)
        && within(17, 19, 0, 59)
}

/// Standard base64 with padding; line breaks are ignored, as Go does. The error is the place Go tells of: the digit
/// that is none, or the beginning of a group that is not whole.
pub fn is_base64(text: &str) -> Result<(), usize> {
    let mut digits = 0usize;
    let mut padding = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if (digits + padding) % 4 >= 2 && padding < 2 => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return Err(at),
        }
    }
    let rest = (digits + padding) % 4;
    if rest == 0 { Ok(()) } else { Err(text.len() - rest) }
}

/// Base64 without the line breaks.
pub fn bytes(text: &str) -> Result<String, String> {
    match is_base64(text) {
        Ok(()) if text.bytes().any(|b| b == b'\n' || b == b'\r') => {
            Ok(text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect())
        }
        Ok(()) => Ok(text.to_owned()),
        Err(at) => Err(format!("illegal base64 data at input byte {at}")),
    }
}
