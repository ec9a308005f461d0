//! Pieces of a page, each appended to a byte vector: names, labels, timestamps, metadata lines.
//!
//! Those of the text formats; protobuf has no lines, its pieces are another file's.
//!
//! A page is written by many hands (the gateway keeps label pairs ready as text and joins them), so the pieces are
//! public and there is no page writer. Every piece is what the parsers here and Prometheus read back as the same thing.

use super::float::{write_openmetrics_value, write_value};
use super::format::Format;
use crate::model::{Exemplar, Labels, METRIC_NAME, MetricType, Timestamp, is_legacy_label_name, is_legacy_metric_name};

/// Appends a metric name: as it is, or quoted where the classic grammar has no such name.
pub fn write_name(out: &mut Vec<u8>, name: &str) {
    if is_legacy_metric_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        write_quoted(out, name);
    }
}

/// Appends `name="value"`, the value escaped, the name quoted where the classic grammar has no such name.
pub fn write_label(out: &mut Vec<u8>, name: &str, value: &str) {
    if is_legacy_label_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        write_quoted(out, name);
    }
    out.push(b'=');
    write_quoted(out, value);
}

fn write_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_label_value(out, text);
    out.push(b'"');
}

/// Appends a label value without its quotes: `\`, `"` and newline escaped.
pub fn write_label_value(out: &mut Vec<u8>, value: &str) {
    let mut rest = value.as_bytes();
    while let Some(at) = memchr::memchr3(b'\\', b'"', b'\n', rest) {
        write_escaped(out, rest, at);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends the bytes before `at`, and the one at `at` escaped.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8], at: usize) {
    out.extend_from_slice(&bytes[..at]);
    out.extend_from_slice(&[b'\\', if bytes[at] == b'\n' { b'n' } else { bytes[at] }]);
}

/// Appends name and labels: `name{a="b"}`, or `{"na.me",a="b"}` where the name needs quotes.
pub fn write_series(out: &mut Vec<u8>, labels: &Labels) {
    let name = labels.metric_name();
    let is_legacy = is_legacy_metric_name(name);
    if is_legacy {
        out.extend_from_slice(name.as_bytes());
    }
    let mut separator = b'{';
    if !is_legacy {
        out.push(separator);
        write_quoted(out, name);
        separator = b',';
    }
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        out.push(separator);
        write_label(out, name, value);
        separator = b',';
    }
    if separator == b',' {
        out.push(b'}');
    }
}

/// Appends a sample's line: series, value, timestamp in the format's unit, exemplar where the format has them.
pub fn write_sample(
    out: &mut Vec<u8>,
    format: Format,
    labels: &Labels,
    value: f64,
    timestamp: Option<Timestamp>,
    exemplar: Option<&Exemplar>,
) {
    write_series(out, labels);
    out.push(b' ');
    match format {
        Format::OpenMetrics => write_openmetrics_value(out, value),
        _ => write_value(out, value),
    }
    if let Some(timestamp) = timestamp {
        out.push(b' ');
        match format {
            Format::OpenMetrics => write_seconds(out, timestamp),
            _ => write_millis(out, timestamp),
        }
    }
    if let (Format::OpenMetrics, Some(exemplar)) = (format, exemplar) {
        write_exemplar(out, exemplar);
    }
    out.push(b'\n');
}

/// Appends ` # {labels} value[ seconds]`, what follows a sample's value in OpenMetrics.
pub fn write_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    out.extend_from_slice(b" # {");
    for (at, (name, value)) in exemplar.labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_label(out, name, value);
    }
    out.extend_from_slice(b"} ");
    write_openmetrics_value(out, exemplar.value);
    if let Some(timestamp) = exemplar.timestamp {
        out.push(b' ');
        write_seconds(out, timestamp);
    }
}

/// Appends a timestamp of the text format. Prometheus reads no negative ones, and neither does the parser here.
#[inline]
pub fn write_millis(out: &mut Vec<u8>, timestamp: Timestamp) {
    out.extend_from_slice(itoa::Buffer::new().format(timestamp.as_millis()).as_bytes());
}

/// Appends a timestamp of OpenMetrics: seconds with three decimals.
///
/// Readers multiply by 1000 and cut, and some thousandths lie below their decimal form in binary (1.001 would become
/// 1000 ms). Those get half a microsecond more, so that every millisecond is read back as itself.
pub fn write_seconds(out: &mut Vec<u8>, timestamp: Timestamp) {
    let millis = timestamp.as_millis();
    if millis < 0 {
        out.push(b'-');
    }
    let (seconds, thousandths) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    let digit = |divisor: u64| b'0' + (thousandths / divisor % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    if (timestamp.as_seconds() * 1000.0) as i64 != millis {
        out.extend_from_slice(b"0005");
    }
}

/// Appends a TYPE line. The text format lacks four of the types: what is an info or stateset there is a gauge, what is
/// unknown or a gauge histogram is untyped.
pub fn write_type(out: &mut Vec<u8>, format: Format, family: &str, kind: MetricType) {
    let word = match (format, kind) {
        (Format::Text | Format::Text1, MetricType::Unknown | MetricType::GaugeHistogram) => "untyped",
        (Format::Text | Format::Text1, MetricType::Info | MetricType::StateSet) => "gauge",
        _ => kind.as_str(),
    };
    write_metadata(out, b"# TYPE ", family, |out| out.extend_from_slice(word.as_bytes()));
}

/// Appends a HELP line; OpenMetrics escapes quotes in it, the text format does not.
pub fn write_help(out: &mut Vec<u8>, format: Format, family: &str, help: &str) {
    write_metadata(out, b"# HELP ", family, |out| match format {
        Format::OpenMetrics => write_label_value(out, help),
        _ => write_text_help(out, help),
    });
}

/// Appends a UNIT line, in OpenMetrics only: elsewhere it would be a comment. The family's name must end with `_unit`.
pub fn write_unit(out: &mut Vec<u8>, format: Format, family: &str, unit: &str) {
    if format == Format::OpenMetrics {
        write_metadata(out, b"# UNIT ", family, |out| out.extend_from_slice(unit.as_bytes()));
    }
}

/// Appends the end of an OpenMetrics page; nothing in the text formats.
pub fn write_eof(out: &mut Vec<u8>, format: Format) {
    if format == Format::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
}

fn write_metadata(out: &mut Vec<u8>, word: &[u8], family: &str, write_text: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(word);
    write_name(out, family);
    out.push(b' ');
    write_text(out);
    out.push(b'\n');
}

fn write_text_help(out: &mut Vec<u8>, help: &str) {
    let mut rest = help.as_bytes();
    while let Some(at) = memchr::memchr2(b'\\', b'\n', rest) {
        write_escaped(out, rest, at);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
