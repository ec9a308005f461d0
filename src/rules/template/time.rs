//! Moments, as `toTime` gives them: in UTC, to the millisecond, formatted by Go's layouts.
//!
//! A layout is the moment 2006-01-02 15:04:05 written as wished; each part of it that is recognised is replaced by the same
//! part of the moment that is shown.

use jiff::Timestamp as Moment;
use jiff::tz::TimeZone;

use super::value::Value;

/// Milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(i64);

/// Parts of a layout and how they are written, longest first where one begins another.
const PARTS: [(&str, &str); 24] = [
    ("2006", "%Y"),
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("Z07:00", "Z"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("-07", "+00"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("_2", "%e"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
];

impl Time {
    /// Of seconds since the epoch, cut to milliseconds; the error is Go's text.
    pub(super) fn of_seconds(seconds: f64) -> Result<Time, String> {
        let nanos = seconds * 1e9;
        if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
            let shown = super::float::format_float(seconds, 'g', None);
            return Err(format!("{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"));
        }
        Ok(Time(nanos as i64 / 1_000_000))
    }

    fn moment(self) -> jiff::Zoned {
        let moment = Moment::from_millisecond(self.0).expect("nanoseconds in 64 bits lie within the calendar");
        moment.to_zoned(TimeZone::UTC)
    }

    /// By a layout.
    fn format(self, layout: &str) -> String {
        let (moment, mut out, mut rest) = (self.moment(), String::new(), layout);
        while let Some(c) = rest.chars().next() {
            if let Some((length, text)) = self.fraction(rest) {
                out.push_str(&text);
                rest = &rest[length..];
            } else if let Some((part, pattern)) = PARTS.iter().find(|(part, _)| rest.starts_with(part)) {
                out.push_str(&moment.strftime(pattern).to_string());
                rest = &rest[part.len()..];
            } else {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        out
    }

    /// `.000` and `,000` are as many digits of the second, `.999` the same without zeros at the end.
    fn fraction(self, layout: &str) -> Option<(usize, String)> {
        let digit = layout.chars().nth(1).filter(|c| matches!(c, '0' | '9'))?;
        let sign = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
        let count = layout[1..].chars().take_while(|c| *c == digit).count();
        if layout[1 + count..].starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let digits = format!("{:09}", self.0.rem_euclid(1000) * 1_000_000);
        let digits = &digits[..count.min(9)];
        let kept = if digit == '9' { digits.trim_end_matches('0') } else { digits };
        Some((1 + count, if kept.is_empty() { String::new() } else { format!("{sign}{kept}") }))
    }

    /// Calls a method; `None` where Go's type has none of that name (or none that is offered here).
    pub(super) fn method(self, name: &str) -> Option<Method> {
        Some(match name {
            "Format" => Method::Format,
            "String" => Method::Plain(|time| time.to_string().into()),
            "UTC" => Method::Plain(Value::Time),
            "Unix" => Method::Plain(|time| Value::Int(time.0.div_euclid(1000))),
            "UnixMilli" => Method::Plain(|time| Value::Int(time.0)),
            "UnixNano" => Method::Plain(|time| Value::Int(time.0 * 1_000_000)),
            "Year" => Method::Plain(|time| Value::Int(time.moment().year().into())),
            "Month" => Method::Plain(|time| time.format("January").into()),
            "Day" => Method::Plain(|time| Value::Int(time.moment().day().into())),
            "Hour" => Method::Plain(|time| Value::Int(time.moment().hour().into())),
            "Minute" => Method::Plain(|time| Value::Int(time.moment().minute().into())),
            "Second" => Method::Plain(|time| Value::Int(time.moment().second().into())),
            "Weekday" => Method::Plain(|time| time.format("Monday").into()),
            "YearDay" => Method::Plain(|time| Value::Int(time.moment().day_of_year().into())),
            _ => return None,
        })
    }

    /// What [`Method::Format`] gives.
    pub(super) fn formatted(self, layout: &str) -> Value {
        self.format(layout).into()
    }
}

/// What can be asked of a moment.
#[derive(Clone, Copy)]
pub(super) enum Method {
    /// `Format`, which takes a layout.
    Format,
    /// All others take nothing.
    Plain(fn(Time) -> Value),
}

/// As Go prints a moment: `2006-01-02 15:04:05.999 +0000 UTC`.
impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_read_as_go_reads_them() {
        let time = Time::of_seconds(1_136_214_245.06).unwrap();
        for (layout, text) in [
            ("2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z"),
            ("Mon Jan _2 3:04PM .000", "Mon Jan  2 3:04PM .060"),
            ("02/01/06 15h04, Monday", "02/01/06 15h04, Monday"),
        ] {
            assert_eq!(time.format(layout), text);
        }
        assert_eq!(time.to_string(), "2006-01-02 15:04:05.06 +0000 UTC");
        assert_eq!(Time(0).to_string(), "1970-01-01 00:00:00 +0000 UTC");
    }
}
