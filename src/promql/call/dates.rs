//! Parts of dates, in UTC, of seconds since 1970.
//!
//! Days are counted as H. Hinnant's "chrono-compatible low-level date algorithms" does: years begin in March, so that leap days
//! stand at their end. What is no time (NaN, infinities, numbers beyond 64 bits) gives what Prometheus gives on amd64: such a number
//! becomes the least integer, and its seconds wrap around Go's first year.

use crate::promql::function::Function;

/// The first second that Go knows, 1 March −292277022400, as seconds from 1970.
const FIRST_SECOND: i128 = -9_223_372_028_741_760_000;
const DAY: i64 = 86_400;
/// Days of 400 years, after which the calendar repeats itself.
const ERA_DAYS: i64 = 146_097;
/// From 1 March 0000 to 1 January 1970.
const EPOCH_DAYS: i64 = 719_468;

/// A day, and the second within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    days: i64,
    second: i64,
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
}

/// The functions that take a time and give a part of its date.
pub(super) fn of_date(function: Function) -> Option<fn(f64) -> f64> {
    Some(match function {
        Function::Minute => |time| (date(time).second / 60 % 60) as f64,
        Function::Hour => |time| (date(time).second / 3600) as f64,
        Function::DayOfWeek => |time| (date(time).days + 4).rem_euclid(7) as f64,
        Function::DayOfMonth => |time| date(time).day as f64,
        Function::DayOfYear => |time| day_of_year(&date(time)) as f64,
        Function::DaysInMonth => |time| days_in_month(&date(time)) as f64,
        Function::Month => |time| date(time).month as f64,
        Function::Year => |time| date(time).year as f64,
        _ => return None,
    })
}

fn date(time: f64) -> Date {
    let seconds = wrapped(whole(time));
    let (days, second) = (seconds.div_euclid(i128::from(DAY)) as i64, seconds.rem_euclid(i128::from(DAY)) as i64);
    let from_march = days + EPOCH_DAYS;
    let (era, day) = (from_march.div_euclid(ERA_DAYS), from_march.rem_euclid(ERA_DAYS));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    Date { days, second, year: year + era * 400 + i64::from(month <= 2), month, day }
}

/// A float as an integer, as the processor converts it for Go.
fn whole(time: f64) -> i64 {
    let bound = -(i64::MIN as f64);
    if time >= -bound && time < bound { time as i64 } else { i64::MIN }
}

/// Seconds before Go's first come after its last.
fn wrapped(seconds: i64) -> i128 {
    let seconds = i128::from(seconds);
    if seconds < FIRST_SECOND { seconds + (1 << 64) } else { seconds }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(date: &Date) -> i64 {
    match date.month {
        2 => 28 + i64::from(is_leap(date.year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn day_of_year(date: &Date) -> i64 {
    let before = (1..date.month).map(|month| days_in_month(&Date { month, ..*date }));
    before.sum::<i64>() + date.day
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(time: f64) -> [f64; 8] {
        [
            Function::Year,
            Function::Month,
            Function::DayOfMonth,
            Function::DayOfWeek,
            Function::DayOfYear,
            Function::DaysInMonth,
            Function::Hour,
            Function::Minute,
        ]
        .map(|function| of_date(function).unwrap()(time))
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(parts(0.0), [1970.0, 1.0, 1.0, 4.0, 1.0, 31.0, 0.0, 0.0]);
        assert_eq!(parts(-0.5), parts(0.0), "parts of a second are cut off, not rounded down");
        assert_eq!(parts(-1.0), [1969.0, 12.0, 31.0, 3.0, 365.0, 31.0, 23.0, 59.0]);
        assert_eq!(parts(951_782_400.0), [2000.0, 2.0, 29.0, 2.0, 60.0, 29.0, 0.0, 0.0]);
        assert_eq!(parts(4_107_542_399.0), [2100.0, 2.0, 28.0, 0.0, 59.0, 28.0, 23.0, 59.0]);
        assert_eq!(parts(1_735_689_599.0), [2024.0, 12.0, 31.0, 2.0, 366.0, 31.0, 23.0, 59.0]);
    }
}
