//! Numbers for people: with a prefix, as a duration, as a share, as a moment.

use super::float::format_float;
use super::time::Time;
use super::value::Value;

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// The number that a value is or spells; the error is Prometheus's text.
pub(super) fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Text(text) => super::literal::parse_float(text)
            .ok_or_else(|| format!("strconv.ParseFloat: parsing {}: invalid syntax", super::literal::quote(text))),
        value => Err(format!("can't convert {} to float", value.type_name())),
    }
}

/// Four significant digits.
fn digits(value: f64) -> String {
    format_float(value, 'g', Some(4))
}

/// `1234` → `1.234k`, `0.00123` → `1.23m`
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return digits(value);
    }
    let (value, prefix) = if value.abs() >= 1.0 { large(value, 1000.0, &LARGE) } else { small(value) };
    digits(value) + prefix
}

/// `2048` → `2ki`
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return digits(value);
    }
    let (value, prefix) = large(value, 1024.0, &LARGE_BINARY);
    digits(value) + prefix
}

fn large(mut value: f64, base: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < base {
            break;
        }
        prefix = next;
        value /= base;
    }
    (value, prefix)
}

fn small(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    (value, prefix)
}

/// Seconds as `1d 2h 3m 4s`, below a minute as `4.5s`, below a second as `20ms`.
pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return digits(value);
    }
    if value == 0.0 {
        return digits(value) + "s";
    }
    if value.abs() < 1.0 {
        let (value, prefix) = small(value);
        return digits(value) + prefix + "s";
    }
    let (sign, value) = (if value < 0.0 { "-" } else { "" }, value.abs());
    let seconds = value as i64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let rest = seconds % 60;
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", digits(value)),
        (0, 0, _) => format!("{sign}{minutes}m {rest}s"),
        (0, ..) => format!("{sign}{hours}h {minutes}m {rest}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {rest}s"),
    }
}

/// `0.123` → `12.3%`
pub(super) fn humanize_percentage(value: f64) -> String {
    digits(value * 100.0) + "%"
}

/// Seconds since the epoch as a moment in UTC.
pub(super) fn humanize_timestamp(value: f64) -> Result<String, String> {
    if value.is_finite() { Time::of_seconds(value).map(|time| time.to_string()) } else { Ok(digits(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_prefixes() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (1_234_567.0, "1.235M"),
            (0.12, "120m"),
            (-0.000_012_3, "-12.3u"),
            (1e30, "1e+06Y"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(humanize(value), text);
        }
        assert_eq!((humanize_1024(1.0), humanize_1024(1_048_576.0)), ("1".to_owned(), "1Mi".to_owned()));
        assert_eq!(humanize_percentage(0.123456), "12.35%");
    }

    #[test]
    fn durations_have_units_down_to_seconds() {
        for (value, text) in [
            (0.0, "0s"),
            (0.02, "20ms"),
            (1.5, "1.5s"),
            (61.9, "1m 1s"),
            (-3661.0, "-1h 1m 1s"),
            (90_061.0, "1d 1h 1m 1s"),
        ] {
            assert_eq!(humanize_duration(value), text);
        }
        assert_eq!(humanize_timestamp(1_435_065_584.128).unwrap(), "2015-06-23 13:19:44.128 +0000 UTC");
        assert!(humanize_timestamp(1e30).is_err());
    }
}
