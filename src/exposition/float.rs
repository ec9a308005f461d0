//! Numbers as Go writes them: the shortest digits that read back as the same `f64`, in `%g` form.
//!
//! Prometheus and the Go exporters write `strconv.FormatFloat(v, 'g', -1, 64)`: plain digits while the decimal exponent
//! is between -4 and 5, otherwise an exponent of at least two digits (`100000`, `1e+06`, `1.234567e+06`, `1e-05`).
//! `zmij` finds the digits of fractions, their arrangement is ours; whole numbers need no search at all. Both zeros are
//! written `0`, as Prometheus does.

use std::io::Write as _;

/// From this magnitude on, numbers have an exponent.
const PLAIN_END: f64 = 1e6;
/// Below this magnitude too.
const PLAIN_START: f64 = 1e-4;
/// Whole numbers up to here are exact, so that their own digits are the shortest ones.
const WHOLE_END: f64 = 1e15;
/// The most digits that an `f64` needs.
const DIGITS_MAX: usize = 17;

/// Appends `value` as the text format has it: `1`, `0.25`, `1e+06`, `+Inf`, `NaN`.
#[inline]
pub fn write_value(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude < PLAIN_END && value as i32 as f64 == value {
        write_small_integer(out, value as i32);
    } else if value.is_finite() {
        write_long(out, value, magnitude);
    } else {
        write_special(out, value);
    }
}

/// Appends a finite value in the shortest digits that read back as the same, without an exponent however many zeros that takes.
pub fn write_decimal(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if !(PLAIN_START..WHOLE_END).contains(&magnitude) {
        write!(out, "{value}").expect("a vector takes everything");
        return;
    }
    let mut text = zmij::Buffer::new();
    let text = text.format_finite(value);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// Appends `value` as OpenMetrics has it: as [`write_value`], but never like an integer: `1.0`.
#[inline]
pub fn write_openmetrics_value(out: &mut Vec<u8>, value: f64) {
    let start = out.len();
    write_value(out, value);
    if value.is_finite() && !out[start..].iter().any(|byte| matches!(byte, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
}

#[inline]
fn write_small_integer(out: &mut Vec<u8>, value: i32) {
    if (0..10).contains(&value) {
        out.push(b'0' + value as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

fn write_special(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(match value {
        _ if value.is_nan() => b"NaN".as_slice(),
        _ if value > 0.0 => b"+Inf",
        _ => b"-Inf",
    });
}

/// Finite numbers that are no integers below a million.
fn write_long(out: &mut Vec<u8>, value: f64, magnitude: f64) {
    if value < 0.0 {
        out.push(b'-');
    }
    if magnitude < WHOLE_END && magnitude as u64 as f64 == magnitude {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(magnitude as u64).as_bytes();
        return write_scientific(out, digits, digits.len() as i32 - 1);
    }
    let mut text = zmij::Buffer::new();
    let text = text.format_finite(magnitude).as_bytes();
    match text.iter().position(|byte| *byte == b'.') {
        Some(_) if (PLAIN_START..PLAIN_END).contains(&magnitude) => out.extend_from_slice(text),
        Some(dot) if (PLAIN_END..WHOLE_END).contains(&magnitude) => move_dot(out, text, dot),
        _ => rewrite_scientific(out, text),
    }
}

/// Appends `1795174520.123` as `1.795174520123e+09`, the commonest case for it: a time in seconds.
fn move_dot(out: &mut Vec<u8>, text: &[u8], dot: usize) {
    out.extend_from_slice(&[text[0], b'.']);
    out.extend_from_slice(&text[1..dot]);
    out.extend_from_slice(&text[dot + 1..]);
    write_exponent(out, dot as i32 - 1);
}

/// Takes digits and exponent from any decimal form (`0.000012`, `123456789.5`, `1.5e-7`, `1e300`).
fn rewrite_scientific(out: &mut Vec<u8>, text: &[u8]) {
    let (mantissa, exponent) = match text.iter().position(|byte| *byte == b'e') {
        Some(e) => (&text[..e], read_exponent(&text[e + 1..])),
        None => (text, 0),
    };
    let dot = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let mut digits = [0; DIGITS_MAX + 8];
    let mut count = 0;
    let mut leading_zeros = 0;
    for byte in mantissa.iter().filter(|byte| **byte != b'.') {
        if count == 0 && *byte == b'0' {
            leading_zeros += 1;
        } else {
            digits[count] = *byte;
            count += 1;
        }
    }
    write_scientific(out, &digits[..count], exponent + dot as i32 - 1 - leading_zeros);
}

fn read_exponent(text: &[u8]) -> i32 {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let exponent = digits.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    if is_negative { -exponent } else { exponent }
}

/// Appends `d.ddde±xx`; `digits` start with their first that is not zero, `exponent` is that one's.
fn write_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
    let digits = &digits[..digits.len() - zeros];
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    write_exponent(out, exponent);
}

fn write_exponent(out: &mut Vec<u8>, exponent: i32) {
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let exponent = exponent.unsigned_abs();
    if exponent < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        write_value(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_decimal_has_all_digits_and_no_exponent() {
        let mut seed = 1u64;
        let random = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            f64::from_bits(seed)
        });
        let edges = [1e-4, 9.999e-5, 0.1, 1.0, -2.5, 1e6, 123_456.789, 999_999_999_999_999.9, 1e15, 1e21, 5e-324];
        let near = (0..2_000).map(|at| f64::from(at) * 1.7_f64.powi(at % 40 - 15));
        for value in random.take(2_000).filter(|value| value.is_finite()).chain(edges).chain(near) {
            let mut out = Vec::new();
            write_decimal(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{value}"));
        }
    }

    #[test]
    fn writes_as_go_does() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (12345.5, "12345.5"),
            (100_000.0, "100000"),
            (999_999.0, "999999"),
            (-999_999.0, "-999999"),
            (1e6, "1e+06"),
            (-1e6, "-1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (999_999.5, "999999.5"),
            (1_000_000.5, "1.0000005e+06"),
            (1_795_174_520.123, "1.795174520123e+09"),
            (16_727_896_064.0, "1.6727896064e+10"),
            (1e15, "1e+15"),
            (1e20, "1e+20"),
            (1e21, "1e+21"),
            (1e22, "1e+22"),
            (1e100, "1e+100"),
            (9_223_372_036_854_775_807.0, "9.223372036854776e+18"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (0.1, "0.1"),
            (0.5, "0.5"),
            (-0.0001, "-0.0001"),
            (0.00012345, "0.00012345"),
            (0.0001, "0.0001"),
            (0.00009999, "9.999e-05"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e-10, "1e-10"),
            (2.0 / 3.0, "0.6666666666666666"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn openmetrics_numbers_never_look_like_integers() {
        let openmetrics = |value| {
            let mut out = Vec::new();
            write_openmetrics_value(&mut out, value);
            String::from_utf8(out).unwrap()
        };
        for (value, expected) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (10.0, "10.0"),
            (1e6, "1e+06"),
            (0.5, "0.5"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(openmetrics(value), expected);
        }
    }
}
