//! Numbers as Prometheus reads them: Go's `strconv.ParseFloat` without hexadecimal forms and underscores.
//!
//! `fast-float2` reads the same decimal grammar with three exceptions, which stand here: a number too big for `f64` is
//! refused and not infinite, `nan` has no sign, and every NaN becomes the one ordinary NaN, so that no page can write
//! the stale marker.

use crate::model::normal_nan;

/// Digits that always fit an `f64` without rounding.
const EXACT_DIGITS: usize = 15;

/// The value of `text`, correctly rounded; `None` where Prometheus would refuse the page.
#[inline]
pub fn parse_value(text: &[u8]) -> Option<f64> {
    match short_integer(text) {
        Some(integer) => Some(integer as f64),
        None => parse_other(text),
    }
}

/// Most values of most pages: a plain integer of up to 15 digits.
#[inline]
fn short_integer(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > EXACT_DIGITS {
        return None;
    }
    let mut integer = 0u64;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        integer = integer * 10 + u64::from(digit);
    }
    Some(integer)
}

fn parse_other(text: &[u8]) -> Option<f64> {
    let value: f64 = fast_float2::parse(text).ok()?;
    if value.is_nan() {
        return (text.len() == "nan".len()).then(normal_nan);
    }
    let is_overflow = value.is_infinite() && !text.iter().any(|byte| matches!(byte, b'i' | b'I'));
    (!is_overflow).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NORMAL_NAN, is_stale};

    #[test]
    fn reads_what_go_reads() {
        let cases: [(&str, f64); 22] = [
            ("0", 0.0),
            ("-0", -0.0),
            ("+1", 1.0),
            ("1", 1.0),
            ("007", 7.0),
            ("999999999999999", 999_999_999_999_999.0),
            ("9223372036854775807", 9_223_372_036_854_775_807.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-.5e-3", -0.0005),
            ("1E+3", 1000.0),
            ("3.14e2", 314.0),
            ("1e-999", 0.0),
            ("0e999", 0.0),
            ("5e-324", 5e-324),
            ("1.7976931348623157e308", f64::MAX),
            ("inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-INF", f64::NEG_INFINITY),
            ("infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1795174520.1234567", 1795174520.1234567),
        ];
        for (text, value) in cases {
            assert_eq!(parse_value(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "", "+", "-", ".", "e5", "1e", "1e+", "1x", "1_0", "0x10", "0x1p-2", "1e999", "-1e999", "1.8e308", "+nan",
            "-nan", "nano", "in", "infin", "infinit", "1 ", " 1", "1\r", "--1", "+-1", "1\0", "1,5", "١",
        ] {
            assert_eq!(parse_value(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn every_nan_is_the_ordinary_one() {
        for text in ["nan", "NaN", "NAN"] {
            let value = parse_value(text.as_bytes()).unwrap();
            assert_eq!(value.to_bits(), NORMAL_NAN);
            assert!(!is_stale(value));
        }
    }
}
