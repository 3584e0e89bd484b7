//! When a schedule comes next, in a time zone. Pure.
//!
//! Real time is walked, not civil time: a minute that a clock change leaves out never comes, one that it repeats comes
//! twice.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pilothouse_api::cron::Schedule;

/// A schedule without a date within five years (29 February is within eight at worst, but so is upstream's limit).
const DAYS: i32 = 5 * 366;
const MINUTE: i64 = 60;

/// The first time after `after`; none within five years.
pub fn next(schedule: &Schedule, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    if let Some(every) = schedule.every() {
        let every = i64::try_from(every).ok()?;
        return Timestamp::from_second(after.as_second().checked_add(every)?).ok();
    }
    let from = Timestamp::from_second((after.as_second().div_euclid(MINUTE) + 1) * MINUTE).ok()?;
    let mut day = from.to_zoned(zone.clone()).date();
    for _ in 0..DAYS {
        if names(schedule, day) {
            let start = start_of(day, zone)?.max(from);
            let end = start_of(day.tomorrow().ok()?, zone)?;
            if let Some(found) = minutes(start, end).find(|at| is_at(schedule, zone, *at)) {
                return Some(found);
            }
        }
        day = day.tomorrow().ok()?;
    }
    None
}

/// The last time after `after` and not after `until`.
pub fn last(schedule: &Schedule, zone: &TimeZone, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
    if let Some(every) = schedule.every() {
        let every = i64::try_from(every).ok()?;
        let times = (until.as_second() - after.as_second()).div_euclid(every);
        return if times > 0 { Timestamp::from_second(after.as_second() + times * every).ok() } else { None };
    }
    let mut day = until.to_zoned(zone.clone()).date();
    for _ in 0..DAYS {
        let start = start_of(day, zone)?;
        if names(schedule, day) {
            let end = start_of(day.tomorrow().ok()?, zone)?.min(until + SignedDuration::from_secs(1));
            if let Some(found) = minutes(start, end).rev().find(|at| is_at(schedule, zone, *at)) {
                return (found > after).then_some(found);
            }
        }
        if start <= after {
            return None;
        }
        day = day.yesterday().ok()?;
    }
    None
}

fn names(schedule: &Schedule, day: Date) -> bool {
    let field = |n: i8| n.unsigned_abs();
    schedule.matches_day(field(day.day()), field(day.month()), field(day.weekday().to_sunday_zero_offset()))
}

fn start_of(day: Date, zone: &TimeZone) -> Option<Timestamp> {
    Some(day.to_zoned(zone.clone()).ok()?.start_of_day().ok()?.timestamp())
}

/// Every full minute from `start`, before `end`.
fn minutes(start: Timestamp, end: Timestamp) -> impl DoubleEndedIterator<Item = Timestamp> {
    let first = -((-start.as_second()).div_euclid(MINUTE));
    let past = -((-end.as_second()).div_euclid(MINUTE));
    (first..past).filter_map(|minute| Timestamp::from_second(minute * MINUTE).ok())
}

fn is_at(schedule: &Schedule, zone: &TimeZone, at: Timestamp) -> bool {
    let at = zone.to_datetime(at);
    let (date, field) = (at.date(), |n: i8| n.unsigned_abs());
    let weekday = field(date.weekday().to_sunday_zero_offset());
    schedule.matches(field(at.minute()), field(at.hour()), field(date.day()), field(date.month()), weekday)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_time_and_the_last() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (schedule, zone, from, expect) in [
            ("* * * * *", &TimeZone::UTC, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", &TimeZone::UTC, "2026-01-01T00:44:59Z", "2026-01-01T00:45:00Z"),
            ("0 0 29 2 *", &TimeZone::UTC, "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("@every 1h30m", &TimeZone::UTC, "2026-01-01T00:00:05Z", "2026-01-01T01:30:05Z"),
            ("0 9 * * mon", &berlin, "2026-06-01T07:00:00Z", "2026-06-08T07:00:00Z"),
            // Half past two is left out on 29 March …
            ("30 2 * * *", &berlin, "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"),
            // … and comes twice on 25 October.
            ("30 2 * * *", &berlin, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            ("30 2 * * *", &berlin, "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
        ] {
            let parsed = Schedule::parse(schedule).unwrap();
            let (from, expect) = (at(from), at(expect));
            assert_eq!(next(&parsed, zone, from), Some(expect), "{schedule} after {from}");
            let soon = expect + SignedDuration::from_secs(30);
            assert_eq!(last(&parsed, zone, from, soon), Some(expect), "{schedule} before {soon}");
            assert_eq!(last(&parsed, zone, expect, soon), None, "{schedule} between {expect} and {soon}");
        }
        let never = Schedule::parse("0 0 30 2 *").unwrap();
        assert_eq!(next(&never, &TimeZone::UTC, at("2026-01-01T00:00:00Z")), None);
        assert_eq!(last(&never, &TimeZone::UTC, at("2020-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z")), None);
    }
}
