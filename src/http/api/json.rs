//! The pieces of JSON that results are made of, to the byte as Prometheus 3.5 writes them.
//!
//! Numbers are texts in Go's shortest form; times are seconds with as many of three decimals as they need. Two kinds of texts
//! differ in their escapes, as there: label names and values stand as they are, all others have `<`, `>` and `&` escaped, so
//! that a browser that takes the answer for a page sees no tags.

use std::io::Write as _;

use crate::exposition::write_decimal;
use crate::promql::histogram::FloatHistogram;

/// From this magnitude on a value has an exponent.
const EXPONENT_FROM: f64 = 1e21;
/// Below this magnitude, zero aside, too.
const EXPONENT_BELOW: f64 = 1e-6;
/// Whole numbers up to here are exact, and their digits the shortest.
const WHOLE_END: f64 = 1e15;

/// Whether `<`, `>`, `&` and the two line separators that JavaScript knows are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Quotes, backslashes and control characters only: label sets.
    Plain,
    /// Those too: everything else.
    Html,
}

/// Appends a quoted text.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str, escapes: Escapes) {
    out.push(b'"');
    // Nearly no text has anything to escape, and most are short: a table tells that fastest.
    if !text.bytes().any(|byte| MAY_BE_ESCAPED[usize::from(byte)]) {
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let mut start = 0;
    for (at, char) in text.char_indices().filter(|(_, char)| is_escaped(*char, escapes)) {
        out.extend_from_slice(&text.as_bytes()[start..at]);
        write_escape(out, char);
        start = at + char.len_utf8();
    }
    out.extend_from_slice(&text.as_bytes()[start..]);
    out.push(b'"');
}

/// Whether a byte can be (the first) of a character that is escaped.
static MAY_BE_ESCAPED: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 256 {
        table[byte] = byte < b' ' as usize || matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2);
        byte += 1;
    }
    table
};

fn is_escaped(char: char, escapes: Escapes) -> bool {
    match char {
        '"' | '\\' | '\0'..='\x1f' => true,
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => escapes == Escapes::Html,
        _ => false,
    }
}

fn write_escape(out: &mut Vec<u8>, char: char) {
    match char {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        other => write!(out, "\\u{:04x}", u32::from(other)).expect("a vector takes everything"),
    }
}

/// Appends a label set.
pub(super) fn write_labels<'a>(out: &mut Vec<u8>, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
    out.push(b'{');
    for (at, (name, value)) in labels.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(out, name, Escapes::Plain);
        out.push(b':');
        write_text(out, value, Escapes::Plain);
    }
    out.push(b'}');
}

/// Appends a list of texts with a comma and its name before it, unless it is empty.
pub(super) fn write_list(out: &mut Vec<u8>, name: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    write!(out, ",\"{name}\":[").expect("a vector takes everything");
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(out, text, Escapes::Html);
    }
    out.push(b']');
}

/// Appends a time of so many milliseconds in seconds: `1435781451.781`, `60`.
pub(super) fn write_time(out: &mut Vec<u8>, at_ms: i64) {
    if at_ms < 0 {
        out.push(b'-');
    }
    let millis = at_ms.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(millis / 1000).as_bytes());
    if !millis.is_multiple_of(1000) {
        // Zeros at the end stand: `0.100`, as there.
        let digit = |unit: u64| b'0' + (millis / unit % 10) as u8;
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }
}

/// Appends a value as quoted text: `"1"`, `"0.25"`, `"1e+21"`, `"NaN"`, `"-0"`.
pub(super) fn write_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    let magnitude = value.abs();
    if magnitude != 0.0 && !(EXPONENT_BELOW..EXPONENT_FROM).contains(&magnitude) && value.is_finite() {
        write_exponential(out, value);
    } else {
        write_plain(out, value);
    }
    out.push(b'"');
}

/// Appends all digits of a value, however many: what a scalar is written in.
pub(super) fn write_plain(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude < WHOLE_END && magnitude as u64 as f64 == magnitude {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        out.extend_from_slice(itoa::Buffer::new().format(magnitude as u64).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        write_decimal(out, value);
    }
}

/// Go's exponents have a sign and at least two digits.
fn write_exponential(out: &mut Vec<u8>, value: f64) {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("the form has an exponent");
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    write!(out, "{digits}e{sign}{exponent:0>2}").expect("a vector takes everything");
}

/// Appends a native histogram: its count, its sum, and each bucket that is not empty as
/// `[which bounds are inside, lower, upper, count]`.
pub(super) fn write_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    out.extend_from_slice(b"{\"count\":");
    write_value(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    write_value(out, histogram.sum);
    let mut separator: &[u8] = b",\"buckets\":[";
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(separator);
        separator = b",";
        let inside = match (bucket.is_lower_inclusive, bucket.is_upper_inclusive) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        };
        out.extend_from_slice(&[b'[', inside]);
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            write_value(out, number);
        }
        out.push(b']');
    }
    if separator == b"," {
        out.push(b']');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_as_go_does() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e6, "1000000"),
            (1e15, "1000000000000000"),
            (123456789012345680.0, "123456789012345680"),
            (999999999999999900000.0, "999999999999999900000"),
            (1e21, "1e+21"),
            (-1.5e22, "-1.5e+22"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (0.000001, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, text) in cases {
            assert_eq!(written(|out| write_value(out, value)), format!("\"{text}\""));
        }
        assert_eq!(written(|out| write_plain(out, 1e22)), "10000000000000000000000");
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        for (at, text) in
            [(0, "0"), (1, "0.001"), (60_000, "60"), (1_435_781_451_781, "1435781451.781"), (-500, "-0.500")]
        {
            assert_eq!(written(|out| write_time(out, at)), text);
        }
    }

    #[test]
    fn labels_are_not_escaped_for_browsers() {
        let text = "a<b>&\"\\\n\u{1}ж\u{2028}";
        assert_eq!(written(|out| write_text(out, text, Escapes::Plain)), "\"a<b>&\\\"\\\\\\n\\u0001ж\u{2028}\"");
        let html = "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u0001ж\\u2028\"";
        assert_eq!(written(|out| write_text(out, text, Escapes::Html)), html);
    }
}
