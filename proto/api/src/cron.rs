//! Cron schedules: five fields or a descriptor, as CronJob's `spec.schedule` holds them.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax>. Times are plain
//! civil fields: the caller owns the calendar and the time zone.

/// Which minutes a schedule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// The field was `*` or `?`: then the other of day and weekday decides alone.
    any_day: bool,
    any_weekday: bool,
    /// `@every`: the interval in seconds; the fields are then meaningless.
    every: Option<u64>,
}

struct Field {
    low: u64,
    high: u64,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { low: 0, high: 59, names: &[] };
const HOUR: Field = Field { low: 0, high: 23, names: &[] };
const DAY: Field = Field { low: 1, high: 31, names: &[] };
const MONTH: Field = Field {
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field { low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// # Errors
    /// A sentence on the part that is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        if let Some(interval) = text.strip_prefix("@every ") {
            let wrong = || format!("failed to parse duration {text}: invalid duration {interval:?}");
            let every = duration(interval.trim()).ok_or_else(wrong)?.max(1);
            return Ok(Self { every: Some(every), ..Self::parse("* * * * *")? });
        }
        let expanded = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ if text.starts_with('@') => return Err(format!("unrecognized descriptor: {text}")),
            _ => text,
        };
        let fields: Vec<&str> = expanded.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        Ok(Self {
            minute: MINUTE.parse(minute)?,
            hour: HOUR.parse(hour)?,
            day: DAY.parse(day)?,
            month: MONTH.parse(month)?,
            weekday: WEEKDAY.parse(weekday)?,
            any_day: starts_with_star(day),
            any_weekday: starts_with_star(weekday),
            every: None,
        })
    }

    /// The interval of `@every`, in seconds.
    pub fn every(&self) -> Option<u64> {
        self.every
    }

    /// Does it name this minute? `weekday` counts from Sunday, 0; day and month count from 1.
    pub fn matches(&self, minute: u8, hour: u8, day: u8, month: u8, weekday: u8) -> bool {
        has(self.minute, minute) && has(self.hour, hour) && self.matches_day(day, month, weekday)
    }

    /// Does it name some minute of this day? Both day and weekday given: either will do.
    pub fn matches_day(&self, day: u8, month: u8, weekday: u8) -> bool {
        let (by_day, by_weekday) = (has(self.day, day), has(self.weekday, weekday));
        let day = if self.any_day || self.any_weekday { by_day && by_weekday } else { by_day || by_weekday };
        day && has(self.month, month)
    }
}

fn has(bits: u64, number: u8) -> bool {
    bits & (1 << number) != 0
}

fn starts_with_star(field: &str) -> bool {
    field.split(',').any(|part| part.starts_with('*') || part.starts_with('?'))
}

impl Field {
    fn parse(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |bits, part| Ok(bits | self.range(part)?))
    }

    /// `*`, `5`, `1-5`, `*/2`, `1-9/2`, `5/2`.
    fn range(&self, text: &str) -> Result<u64, String> {
        let (range, step) = match text.split_once('/') {
            Some((_, step)) if step.contains('/') => return Err(format!("too many slashes: {text}")),
            Some((range, step)) => (range, Some(number(step)?)),
            None => (text, None),
        };
        let (start, mut end) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (self.low, self.high),
            Some((_, end)) if end.contains('-') => return Err(format!("too many hyphens: {text}")),
            Some((start, end)) => (self.value(start)?, self.value(end)?),
            None => {
                let start = self.value(range)?;
                (start, start)
            }
        };
        if step.is_some() && start == end && !range.contains('-') {
            end = self.high;
        }
        let step = step.unwrap_or(1);
        if start < self.low {
            return Err(format!("beginning of range ({start}) below minimum ({}): {text}", self.low));
        }
        if end > self.high {
            return Err(format!("end of range ({end}) above maximum ({}): {text}", self.high));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        Ok((start..=end).step_by(step).fold(0, |bits, n| bits | 1 << n))
    }

    fn value(&self, text: &str) -> Result<u64, String> {
        match self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            Some(index) => Ok(self.low + index as u64),
            None => number(text),
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parsed = if digits { text.parse().ok() } else { None };
    parsed.ok_or_else(|| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
}

/// Seconds of a Go duration such as `1h30m`.
fn duration(text: &str) -> Option<u64> {
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let amount: u64 = rest[..end].parse().ok()?;
        let unit = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + end);
        let seconds = match &rest[end..unit] {
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            "ms" | "us" | "ns" => 0,
            _ => return None,
        };
        total = total.checked_add(amount.checked_mul(seconds)?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_right_minutes() {
        // (schedule, minute, hour, day, month, weekday, named)
        for (text, minute, hour, day, month, weekday, named) in [
            ("* * * * *", 7, 3, 1, 1, 2, true),
            ("*/15 * * * *", 45, 3, 1, 1, 2, true),
            ("*/15 * * * *", 46, 3, 1, 1, 2, false),
            ("5/20 * * * *", 25, 3, 1, 1, 2, true),
            ("0 9-17 * * mon-fri", 0, 12, 1, 1, 5, true),
            ("0 9-17 * * MON-FRI", 0, 12, 1, 1, 6, false),
            ("0 0 13 * 5", 0, 0, 13, 1, 2, true),
            ("0 0 13 * 5", 0, 0, 14, 1, 5, true),
            ("0 0 13 * 5", 0, 0, 14, 1, 4, false),
            ("0 0 13 * *", 0, 0, 14, 1, 5, false),
            ("@monthly", 0, 0, 1, 6, 3, true),
            ("0 0 1 jan,jul ?", 0, 0, 1, 7, 3, true),
        ] {
            let schedule = Schedule::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(schedule.matches(minute, hour, day, month, weekday), named, "{text}");
        }
        assert_eq!(Schedule::parse("@every 1h30m").unwrap().every(), Some(5400));
    }

    #[test]
    fn refuses() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "*/0 * * * *",
            "a * * * *",
            "5-1 * * * *",
            "@often",
            "@every x",
            "1-2-3 * * * *",
            "1/2/3 * * * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text:?}");
        }
    }
}
