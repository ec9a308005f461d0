//! Series as unit tests of rules write them: labels, and samples one interval apart.
//!
//! | written | samples |
//! |---|---|
//! | `1`, `-2.5e3`, `NaN`, `-Inf` | one |
//! | `_`, `_x3` | none for one interval, for three |
//! | `stale` | the series ends |
//! | `7x2` | 7 7 7 |
//! | `1+2x3`, `5-1x2` | 1 3 5 7; 5 4 3 |
//! | `{{schema:0 count:3 sum:5 buckets:[1 2]}}` | a native histogram |
//! | `{{…}}x2`, `{{…}}+{{…}}x2`, `{{…}}-{{…}}x2` | the same again; grown or shrunk each time |
//!
//! The keys of a histogram are `schema`, `sum`, `count`, `z_bucket`, `z_bucket_w`, `buckets`, `offset`, `n_buckets`, `n_offset`,
//! `custom_values`, `counter_reset_hint`.

use std::sync::Arc;

use super::super::template::go_unquote;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, NativeHistogram, ResetHint};
use crate::promql::Cell;
use crate::promql::histogram::FloatHistogram;

/// Most samples of one series.
const SAMPLES_MAX: usize = 1_000_000;

/// One interval of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// No sample.
    Omitted,
    /// The series' end.
    Stale,
    /// A sample.
    Sample(Cell),
}

/// What is wrong with what is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {reason}")]
pub struct NotationError {
    /// The piece at fault.
    pub text: String,
    /// What was expected.
    pub reason: String,
}

fn fault<T>(text: &str, reason: impl Into<String>) -> Result<T, NotationError> {
    Err(NotationError { text: text.to_owned(), reason: reason.into() })
}

/// Reads `name{label="value", …}`, either part of which may be missing.
pub fn parse_metric(written: &str) -> Result<Labels, NotationError> {
    let text = written.trim();
    let name_end = text.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    let mut labels = LabelsBuilder::default();
    if !name.is_empty() {
        if !crate::model::is_legacy_metric_name(name) {
            return fault(written, "expected a metric's name");
        }
        labels.set(METRIC_NAME, name);
    }
    let rest = rest.trim();
    if rest.is_empty() {
        return Ok(labels.build());
    }
    let Some(mut rest) = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return fault(written, "expected labels in braces");
    };
    while !rest.trim().is_empty() {
        rest = label(rest.trim(), &mut labels).ok_or_else(|| NotationError {
            text: written.to_owned(),
            reason: "expected label=\"value\" with commas between".to_owned(),
        })?;
    }
    Ok(labels.build())
}

/// Reads one label, or a metric's name in quotes; gives what is behind it and its comma.
fn label<'t>(text: &'t str, labels: &mut LabelsBuilder) -> Option<&'t str> {
    let (name, rest) = match quoted(text) {
        Some((name, rest)) => (name, rest),
        None => {
            let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(text.len());
            (Some(text[..end].to_owned()).filter(|name| !name.is_empty())?, &text[end..])
        }
    };
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('=') {
        Some(rest) => {
            let (value, rest) = quoted(rest.trim_start())?;
            labels.set(&name, &value);
            rest
        }
        None if text.starts_with(['"', '\'', '`']) => {
            labels.set(METRIC_NAME, &name);
            rest
        }
        None => return None,
    };
    let rest = rest.trim_start();
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(',') }
}

/// A string in any of PromQL's quotes, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if quote != '`' => is_escaped = true,
            c if c == quote => return Some((go_unquote(&text[..=at], quote)?, &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// Reads a sequence of samples.
pub fn parse_values(written: &str) -> Result<Vec<Point>, NotationError> {
    let (mut points, mut rest) = (Vec::new(), written.trim());
    while !rest.is_empty() {
        let end = token_end(rest);
        points.append(&mut token(&rest[..end])?);
        if points.len() > SAMPLES_MAX {
            return fault(&rest[..end], format!("more than {SAMPLES_MAX} samples"));
        }
        rest = rest[end..].trim_start();
    }
    Ok(points)
}

/// Spaces inside of braces end no token.
fn token_end(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            c if c.is_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn token(text: &str) -> Result<Vec<Point>, NotationError> {
    if text.starts_with("{{") {
        return histograms(text);
    }
    if text == "stale" {
        return Ok(vec![Point::Stale]);
    }
    if let Some(times) = text.strip_prefix('_') {
        let count = if times.is_empty() { Some(1) } else { times.strip_prefix('x').and_then(count) };
        return match count {
            Some(count) => Ok(vec![Point::Omitted; count]),
            None => fault(text, "expected _ or _xTIMES"),
        };
    }
    numbers(text)
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|count| *count < SAMPLES_MAX)
}

fn numbers(text: &str) -> Result<Vec<Point>, NotationError> {
    let expected = "expected a number, NUMBERxTIMES, NUMBER+STEPxTIMES, _ or stale";
    let Some((first, rest)) = number(text) else { return fault(text, expected) };
    let (step, rest) = match rest.starts_with(['+', '-']) {
        true => number(rest).map_or((None, rest), |(step, rest)| (Some(step), rest)),
        false => (Some(0.0), rest),
    };
    let times = match rest.strip_prefix('x') {
        Some(times) => count(times),
        None => (rest.is_empty() && step == Some(0.0)).then_some(0),
    };
    let (Some(step), Some(times)) = (step, times) else { return fault(text, expected) };
    // Added up one by one, as Prometheus does: the sums are its sums to the bit.
    let values = std::iter::successors(Some(first), |value| Some(value + step));
    Ok(values.take(times + 1).map(|value| Point::Sample(Cell::Float(value))).collect())
}

/// A number with its sign, and what is behind it.
fn number(text: &str) -> Option<(f64, &str)> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let sign = text.len() - unsigned.len();
    if sign > 1 {
        return None;
    }
    let lower = unsigned.to_ascii_lowercase();
    let word = ["infinity", "inf", "nan"].into_iter().find(|word| lower.starts_with(word));
    let length = word.map_or_else(|| digits_length(unsigned), str::len);
    let value: f64 = unsigned[..length].parse().ok()?;
    let value = if text.starts_with('-') { -value } else { value };
    Some((value, &unsigned[length..]))
}

fn digits_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let run = |mut at: usize| {
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.') {
            at += 1;
        }
        at
    };
    let mantissa = run(0);
    if !bytes.get(mantissa).is_some_and(|byte| matches!(byte, b'e' | b'E')) {
        return mantissa;
    }
    let sign = usize::from(bytes.get(mantissa + 1).is_some_and(|byte| matches!(byte, b'+' | b'-')));
    let exponent = run(mantissa + 1 + sign);
    if exponent > mantissa + 1 + sign { exponent } else { mantissa }
}

fn histograms(text: &str) -> Result<Vec<Point>, NotationError> {
    let (first, rest) = histogram(text)?;
    let (step, is_growth, rest) = match rest.chars().next() {
        Some(sign @ ('+' | '-')) => {
            let (step, rest) = histogram(&rest[1..])?;
            (Some(step), sign == '+', rest)
        }
        _ => (None, true, rest),
    };
    let times = match rest.strip_prefix('x') {
        Some(times) => count(times),
        None => (rest.is_empty() && step.is_none()).then_some(0),
    };
    let Some(times) = times else { return fault(text, "expected {{…}}, {{…}}xTIMES or {{…}}+{{…}}xTIMES") };
    let (mut current, mut points) = (first, Vec::new());
    for nth in 0..=times {
        if nth > 0
            && let Some(step) = &step
        {
            let combined = if is_growth { current.add(step) } else { current.sub(step) };
            if combined.is_err() || current.schema > step.schema && !current.has_custom_buckets() {
                return fault(text, "histograms of these schemas cannot be combined");
            }
        }
        points.push(Point::Sample(Cell::Histogram(Arc::new(current.clone()))));
    }
    Ok(points)
}

/// Reads `{{…}}`; gives what is behind it.
fn histogram(text: &str) -> Result<(FloatHistogram, &str), NotationError> {
    let inner = text.strip_prefix("{{").and_then(|text| text.split_once("}}"));
    let Some((inner, rest)) = inner else { return fault(text, "expected {{…}}") };
    let mut histogram = empty();
    let (mut offset, mut negative_offset, mut pairs) = (0, 0, inner.trim());
    while !pairs.is_empty() {
        let (key, value, behind) = pair(pairs)?;
        let bad = || NotationError { text: format!("{key}:{value}"), reason: "expected a number".to_owned() };
        let float = || number(value).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value).ok_or_else(bad);
        match key {
            "schema" => histogram.schema = value.parse().map_err(|_| bad())?,
            "sum" => histogram.sum = float()?,
            "count" => histogram.count = float()?,
            "z_bucket" => histogram.zero = float()?,
            "z_bucket_w" => histogram.zero_threshold = float()?,
            "offset" => offset = value.parse().map_err(|_| bad())?,
            "n_offset" => negative_offset = value.parse().map_err(|_| bad())?,
            "custom_values" => histogram.custom_bounds = list(value).ok_or_else(bad)?.into(),
            "buckets" => histogram.positive = indexed(list(value).ok_or_else(bad)?),
            "n_buckets" => histogram.negative = indexed(list(value).ok_or_else(bad)?),
            "counter_reset_hint" => histogram.reset_hint = hint(value)?,
            _ => return fault(key, "no key of a histogram"),
        }
        pairs = behind.trim_start();
    }
    histogram.positive.iter_mut().for_each(|(index, _)| *index += offset);
    histogram.negative.iter_mut().for_each(|(index, _)| *index += negative_offset);
    match NativeHistogram::from(&histogram).check() {
        Ok(()) => Ok((histogram, rest)),
        Err(wrong) => fault(text, wrong.to_string()),
    }
}

fn empty() -> FloatHistogram {
    FloatHistogram {
        reset_hint: ResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        zero: 0.0,
        count: 0.0,
        sum: 0.0,
        positive: Vec::new(),
        negative: Vec::new(),
        custom_bounds: [].into(),
    }
}

/// `key:value`, a value in brackets up to their end.
fn pair(text: &str) -> Result<(&str, &str, &str), NotationError> {
    let Some((key, behind)) = text.split_once(':') else { return fault(text, "expected key:value") };
    let end = match behind.strip_prefix('[') {
        Some(list) => list.find(']').map(|end| end + 2),
        None => Some(behind.find(char::is_whitespace).unwrap_or(behind.len())),
    };
    match end {
        Some(end) => Ok((key, &behind[..end], &behind[end..])),
        None => fault(behind, "expected ]"),
    }
}

fn list(value: &str) -> Option<Vec<f64>> {
    let inner = value.strip_prefix('[')?.strip_suffix(']')?;
    let float = |text| number(text).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value);
    inner.split_whitespace().map(float).collect()
}

fn indexed(counts: Vec<f64>) -> Vec<(i32, f64)> {
    (0..).zip(counts).collect()
}

fn hint(value: &str) -> Result<ResetHint, NotationError> {
    match value {
        "unknown" => Ok(ResetHint::Unknown),
        "reset" => Ok(ResetHint::Reset),
        "not_reset" => Ok(ResetHint::NotReset),
        "gauge" => Ok(ResetHint::Gauge),
        _ => fault(value, "expected unknown, reset, not_reset or gauge"),
    }
}

/// A histogram as [`histogram`] reads it, in Prometheus's order of keys: what differs in a test can be compared as text.
pub(super) fn show_histogram(histogram: &FloatHistogram) -> String {
    let mut histogram = histogram.clone();
    histogram.compact();
    let float = super::super::template::go_float;
    let mut parts = Vec::new();
    if histogram.schema != 0 {
        parts.push(format!("schema:{}", histogram.schema));
    }
    let numbers = [
        ("count", histogram.count),
        ("sum", histogram.sum),
        ("z_bucket", histogram.zero),
        ("z_bucket_w", histogram.zero_threshold),
    ];
    parts.extend(
        numbers.iter().filter(|(_, value)| *value != 0.0).map(|(key, value)| format!("{key}:{}", float(*value))),
    );
    if histogram.has_custom_buckets() {
        let bounds: Vec<String> = histogram.custom_bounds.iter().copied().map(float).collect();
        parts.push(format!("custom_values:[{}]", bounds.join(" ")));
    }
    match histogram.reset_hint {
        ResetHint::Unknown => {}
        ResetHint::Reset => parts.push("counter_reset_hint:reset".to_owned()),
        ResetHint::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
        ResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    show_buckets(&mut parts, ("offset", "buckets"), &histogram.positive);
    show_buckets(&mut parts, ("n_offset", "n_buckets"), &histogram.negative);
    format!("{{{{{}}}}}", parts.join(" "))
}

/// From the first bucket with observations to the last, empty ones between them included.
fn show_buckets(parts: &mut Vec<String>, (offset_key, key): (&str, &str), buckets: &[(i32, f64)]) {
    let (Some((first, _)), Some((last, _))) = (buckets.first(), buckets.last()) else { return };
    if *first != 0 {
        parts.push(format!("{offset_key}:{first}"));
    }
    let count = |index: i32| buckets.iter().find(|(own, _)| *own == index).map_or(0.0, |(_, count)| *count);
    let counts: Vec<String> = (*first..=*last).map(|index| super::super::template::go_float(count(index))).collect();
    parts.push(format!("{key}:[{}]", counts.join(" ")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(written: &str) -> Vec<String> {
        let shown = |point: &Point| match point {
            Point::Omitted => "_".to_owned(),
            Point::Stale => "stale".to_owned(),
            Point::Sample(Cell::Float(value)) => value.to_string(),
            Point::Sample(Cell::Histogram(histogram)) => show_histogram(histogram),
        };
        parse_values(written).unwrap().iter().map(shown).collect()
    }

    #[test]
    fn progressions_gaps_and_ends() {
        assert_eq!(
            shown("1+2x2 _x2 -0.5 1e3x1 5-1x1 stale _ NaN -Inf"),
            ["1", "3", "5", "_", "_", "-0.5", "1000", "1000", "5", "4", "stale", "_", "NaN", "-inf"]
        );
        assert_eq!(shown("1e-2+1e-2x1 0x2"), ["0.01", "0.02", "0", "0", "0"]);
        assert!(shown("").is_empty());
    }

    #[test]
    fn histograms_grow_and_are_written_as_they_are_read() {
        let written = "{{schema:1 count:5 sum:2.5 z_bucket:1 z_bucket_w:0.01 offset:-2 buckets:[1 0 2] n_buckets:[1]}}";
        assert_eq!(shown(written), [written]);
        assert_eq!(
            shown("{{count:2 sum:3 buckets:[2]}}+{{count:1 sum:1 buckets:[1]}}x1"),
            ["{{count:2 sum:3 buckets:[2]}}", "{{count:3 sum:4 buckets:[3]}}"]
        );
        assert_eq!(shown("{{}}x1"), ["{{}}", "{{}}"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for written in [
            "abc",
            "1+",
            "1x",
            "1+1",
            "_3",
            "1x-1",
            "--1",
            "{{x:1}}",
            "{{count:a}}",
            "{{",
            "{{count:1}}y",
            "stalex",
            "1x9999999999",
        ] {
            assert!(parse_values(written).is_err(), "{written}");
        }
    }

    #[test]
    fn metrics_with_any_quotes() {
        let labels = parse_metric(r#"up{job='a"b', instance="h:1",x=`\n`,}"#).unwrap();
        assert_eq!(
            labels,
            Labels::from_pairs([("__name__", "up"), ("job", "a\"b"), ("instance", "h:1"), ("x", "\\n")])
        );
        assert_eq!(parse_metric(r#"{"my.metric", "a.b"="c"}"#).unwrap().to_string(), r#"{"my.metric", "a.b"="c"}"#);
        assert_eq!(parse_metric("").unwrap(), Labels::empty());
        assert_eq!(parse_metric("{}").unwrap(), Labels::empty());
        for written in ["a b", "up{a}", "up{a=b}", "up{a=\"b\"", "up{a=\"b\" c=\"d\"}", "1up"] {
            assert!(parse_metric(written).is_err(), "{written}");
        }
    }
}
