//! Times as Go's `time.Parse` reads them, with its words for what it cannot read.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// `time.RFC3339`: a fraction of a second may follow though the layout has none.
pub const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
/// With exactly six digits after the second.
pub const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";
/// Digits of a fraction that count.
const NANO_DIGITS: usize = 9;

/// One part of a layout: what stands before it, itself, and what it is called when out of its range.
const PARTS: [(&str, &str, &str, std::ops::RangeInclusive<i32>); 6] = [
    ("", "2006", "year", 0..=9999),
    ("-", "01", "month", 1..=12),
    ("-", "02", "day", 0..=99),
    ("T", "15", "hour", 0..=23),
    (":", "04", "minute", 0..=59),
    (":", "05", "second", 0..=59),
];

/// # Errors
/// Go's sentence on where the text stops being a time.
pub fn parse(text: &str, layout: &str) -> Result<Timestamp, String> {
    let cannot = |part: &str, rest: &str| {
        let (text, layout) = (quote(text), quote(layout));
        format!("parsing time {text} as {layout}: cannot parse {} as {}", quote(rest), quote(part))
    };
    let because = |why: String| format!("parsing time {}: {why}", quote(text));
    let (mut rest, mut numbers) = (text, [0i32; PARTS.len()]);
    for ((before, part, what, range), number) in PARTS.iter().zip(&mut numbers) {
        rest = rest.strip_prefix(before).ok_or_else(|| cannot(before, rest))?;
        let digits = match *part {
            "2006" => 4,
            // An hour is the one part that may have a single digit, as Go has it.
            "15" if !rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => 1,
            _ => 2,
        };
        let (value, after) = number_of(rest, digits).ok_or_else(|| cannot(part, rest))?;
        *number = value;
        rest = after;
        if !range.contains(&value) {
            return Err(because(format!("{what} out of range")));
        }
    }
    let mut nanos = 0;
    if layout == MICROS {
        let fraction = rest.strip_prefix(['.', ',']).and_then(|after| number_of(after, 6));
        let (micros, after) = fraction.ok_or_else(|| cannot(".000000", rest))?;
        (nanos, rest) = (micros * 1000, after);
    } else if let Some(after) = rest.strip_prefix(['.', ',']) {
        let count = after.bytes().take_while(u8::is_ascii_digit).count();
        if count > 0 {
            let digits = &after[..count.min(NANO_DIGITS)];
            nanos = format!("{digits:0<NANO_DIGITS$}").parse().unwrap_or_default();
            rest = &after[count..];
        }
    }
    let (offset, rest) = offset(rest).ok_or_else(|| cannot("Z07:00", rest))?;
    let offset = offset.map_err(|what| because(format!("time zone offset {what} out of range")))?;
    if !rest.is_empty() {
        return Err(because(format!("extra text: {}", quote(rest))));
    }
    let [year, month, day, hour, minute, second] = numbers;
    let civil = || -> Option<DateTime> {
        let small = |number: i32| i8::try_from(number).ok();
        let year = i16::try_from(year).ok()?;
        DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, nanos).ok()
    };
    let time = civil().ok_or_else(|| because("day out of range".into()))?;
    // Beyond the last year there is none.
    offset.to_timestamp(time).map_err(|_| because("year out of range".into()))
}

/// Seconds east of Greenwich, or which part of them is too large; and what follows.
fn offset(text: &str) -> Option<(Result<Offset, &'static str>, &str)> {
    if let Some(after) = text.strip_prefix('Z') {
        return Some((Ok(Offset::UTC), after));
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, after) = number_of(&text[1..], 2)?;
    let (minutes, after) = number_of(after.strip_prefix(':')?, 2)?;
    let offset = match (hours, minutes) {
        (25.., _) => Err("hour"),
        (_, 61..) => Err("minute"),
        _ => Offset::from_seconds(sign * (hours * 60 + minutes) * 60).map_err(|_| "hour"),
    };
    Some((offset, after))
}

fn number_of(text: &str, digits: usize) -> Option<(i32, &str)> {
    let number = text.get(..digits).filter(|number| number.bytes().all(|b| b.is_ascii_digit()))?;
    Some((number.parse().ok()?, &text[digits..]))
}

/// As package `time` quotes: what is not plain ASCII byte by byte.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='\x7f' => out.push(c),
            _ => {
                let mut bytes = [0; 4];
                c.encode_utf8(&mut bytes).bytes().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, layout, read) in [
            ("2026-01-02T03:04:05Z", SECONDS, "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.25Z", SECONDS, "2026-01-02T03:04:05.25Z"),
            ("2026-01-02T3:04:05+01:30", SECONDS, "2026-01-02T01:34:05Z"),
            ("2026-01-02T03:04:05.000001-01:00", MICROS, "2026-01-02T04:04:05.000001Z"),
        ] {
            assert_eq!(parse(text, layout).map(|time| time.to_string()), Ok(read.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        let as_seconds = "as \"2006-01-02T15:04:05Z07:00\": cannot parse";
        for (text, why) in [
            ("", format!("parsing time \"\" {as_seconds} \"\" as \"2006\"")),
            ("yesterday", format!("parsing time \"yesterday\" {as_seconds} \"yesterday\" as \"2006\"")),
            ("1500m", format!("parsing time \"1500m\" {as_seconds} \"m\" as \"-\"")),
            ("2026-1-02T", format!("parsing time \"2026-1-02T\" {as_seconds} \"1-02T\" as \"01\"")),
            ("é", format!("parsing time \"\\xc3\\xa9\" {as_seconds} \"\\xc3\\xa9\" as \"2006\"")),
            (
                "2026-01-02 03:04:05Z",
                format!("parsing time \"2026-01-02 03:04:05Z\" {as_seconds} \" 03:04:05Z\" as \"T\""),
            ),
            ("2026-01-02T03:04:05", format!("parsing time \"2026-01-02T03:04:05\" {as_seconds} \"\" as \"Z07:00\"")),
            ("2026-13-02T03:04:05Z", "parsing time \"2026-13-02T03:04:05Z\": month out of range".to_owned()),
            ("2026-02-30T03:04:05Z", "parsing time \"2026-02-30T03:04:05Z\": day out of range".to_owned()),
            ("2026-01-02T03:04:05ZZ", "parsing time \"2026-01-02T03:04:05ZZ\": extra text: \"Z\"".to_owned()),
        ] {
            assert_eq!(parse(text, SECONDS), Err(why), "{text}");
        }
        let why = "parsing time \"2026-01-02T03:04:05Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\"";
        assert_eq!(parse("2026-01-02T03:04:05Z", MICROS), Err(why.to_owned()));
    }
}
