//! Durations as Prometheus writes them: `15s`, `1h30m`, `1w`, `500ms`, `0`.
//!
//! Units go from large to small, each at most once: `y` = 365 d, `w`, `d`, `h`, `m`, `s`, `ms`
//! (prometheus/common `model.ParseDuration`). Other spellings (`1.5h`, `90 s`, `30`) are refused there and here.

use std::time::Duration;

/// Why a duration could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("empty duration, expected a number and a unit like 30s or 1h30m")]
    Empty,
    /// Something else than numbers with units in falling order.
    #[error("bad duration {0:?}, expected numbers with units y, w, d, h, m, s, ms from large to small, like 1h30m")]
    Syntax(String),
    /// Over 292 years.
    #[error("duration {0:?} is over 292 years")]
    TooLong(String),
}

/// Unit and milliseconds in one, from large to small; `ms` stands last so that `m` is tried first and refused by it.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration; bounds as `i64` nanoseconds, as in Prometheus.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let syntax = || DurationError::Syntax(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let (mut rest, mut units, mut total_ms) = (text, &UNITS[..], 0u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(syntax)?;
        let number: u64 = rest[..digits].parse().map_err(|_| too_long())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let at = units.iter().position(|(unit, _)| *unit == &rest[..unit_end]).ok_or_else(syntax)?;
        total_ms = number.checked_mul(units[at].1).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(too_long)?;
        units = &units[at + 1..];
        rest = &rest[unit_end..];
    }
    if total_ms > i64::MAX as u64 / 1_000_000 {
        return Err(too_long());
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration so that [`parse_duration`] reads it back; parts of a millisecond are cut.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, ms) in UNITS {
        // Years and weeks are written only where nothing is left over, as Prometheus does: 8d, not 1w1d.
        let whole_only = matches!(unit, "y" | "w") && !rest.is_multiple_of(ms);
        if rest >= ms && !whole_only {
            text.push_str(&format!("{}{unit}", rest / ms));
            rest %= ms;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prometheus_reads() {
        for (text, ms) in
            [("0", 0), ("15s", 15_000), ("1h30m", 5_400_000), ("1w", 604_800_000), ("4d1h5ms", 349_200_005)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        for text in ["", "1", "1.5h", "30m1h", "1m1m", "-5s", "5 s", "s", "1ms1s", "400y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["15s", "1h30m", "2w", "8d", "5ms", "1d2h3m4s5ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
