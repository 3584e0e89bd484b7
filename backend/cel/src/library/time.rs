//! Times and durations.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Cost, Overload, T, member};
use crate::error::{Error, Result};
use crate::value::Value;

macro_rules! fields {
    ($($name:literal => $get:expr),* $(,)?) => {
        &[
            $(
                member($name, &[T::Timestamp], T::Int, Cost::One, |args| part(args, $get)),
                member($name, &[T::Timestamp, T::String], T::Int, Cost::One, |args| part(args, $get)),
            )*
            member("getHours", &[T::Duration], T::Int, Cost::One, |args| whole(args, 3_600_000_000_000)),
            member("getMinutes", &[T::Duration], T::Int, Cost::One, |args| whole(args, 60_000_000_000)),
            member("getSeconds", &[T::Duration], T::Int, Cost::One, |args| whole(args, 1_000_000_000)),
            member("getMilliseconds", &[T::Duration], T::Int, Cost::One, |args| whole(args, 1_000_000)),
        ]
    };
}

pub(crate) const ALL: &[Overload] = fields! {
    "getFullYear" => |time| i64::from(time.year()),
    "getMonth" => |time| i64::from(time.month()) - 1,
    "getDayOfYear" => |time| i64::from(time.day_of_year()) - 1,
    "getDate" => |time| i64::from(time.day()),
    "getDayOfMonth" => |time| i64::from(time.day()) - 1,
    "getDayOfWeek" => |time| i64::from(time.weekday().to_sunday_zero_offset()),
    "getHours" => |time| i64::from(time.hour()),
    "getMinutes" => |time| i64::from(time.minute()),
    "getSeconds" => |time| i64::from(time.second()),
    "getMilliseconds" => |time| i64::from(time.millisecond()),
};

fn part<'a>(args: &[Value<'a>], get: fn(&Zoned) -> i64) -> Result<Value<'a>> {
    let Value::Timestamp(time) = &args[0] else { return Err(Error::no_such_overload()) };
    let zone = match args.get(1).and_then(Value::as_str) {
        None => TimeZone::UTC,
        Some(name) => zone(name).ok_or_else(|| Error::new(format!("unknown time zone {name}")))?,
    };
    Ok(Value::Int(get(&time.to_zoned(zone))))
}

/// `Europe/Paris`, `+02:00`.
fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let Some((hours, minutes)) = name.split_once(':') else { return TimeZone::get(name).ok() };
    let negative = hours.starts_with('-');
    let hours: i32 = hours.trim_start_matches(['+', '-']).parse().ok().filter(|hours| *hours < 24)?;
    let minutes: i32 = minutes.parse().ok().filter(|minutes| (0..60).contains(minutes))?;
    let seconds = (hours * 60 + minutes) * 60;
    let offset = jiff::tz::Offset::from_seconds(if negative { -seconds } else { seconds }).ok()?;
    Some(TimeZone::fixed(offset))
}

fn whole<'a>(args: &[Value<'a>], unit: i128) -> Result<Value<'a>> {
    let Value::Duration(duration) = &args[0] else { return Err(Error::no_such_overload()) };
    Ok(Value::Int(i64::try_from(duration.as_nanos() / unit).unwrap_or(i64::MAX)))
}

/// RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let zoned = text.ends_with(['Z', 'z']) || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
    if zoned && !text.contains('[') { text.parse().ok() } else { None }
}

pub(crate) fn timestamp_text(time: Timestamp) -> String {
    time.to_string()
}

/// Go's durations: `1h30m`, `-1.5s`, `0`.
pub(crate) fn parse_duration(text: &str) -> Option<SignedDuration> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let units: [(&str, i128); 8] = [
            ("ns", 1),
            ("us", 1_000),
            ("µs", 1_000),
            ("μs", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
        ];
        let (unit, scale) = units.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(scale)?)?;
        let mut part = scale;
        for digit in fraction.bytes() {
            part /= 10;
            nanos = nanos.checked_add(i128::from(digit.checked_sub(b'0').filter(|d| *d < 10)?) * part)?;
        }
        rest = &after[unit.len()..];
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).ok()?;
    Some(SignedDuration::from_nanos(nanos))
}

/// In seconds, as protobuf writes durations.
pub(crate) fn duration_text(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let (whole, part) = (nanos.abs() / 1_000_000_000, nanos.abs() % 1_000_000_000);
    let sign = if nanos < 0 { "-" } else { "" };
    if part == 0 {
        return format!("{sign}{whole}s");
    }
    format!("{sign}{whole}.{}s", format!("{part:09}").trim_end_matches('0'))
}
