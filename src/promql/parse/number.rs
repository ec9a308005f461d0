//! Numbers and durations as they are written, by the rules of Go's literals as far as Prometheus's scanner lets them through.

use std::time::Duration;

use super::token::is_name_part;
use crate::model::{DurationError, normal_nan, parse_duration};

/// How far a number reaches, and whether it is one: what follows it must not go on with it.
pub(super) fn scan(text: &str) -> (usize, bool) {
    let mut scanner = Scanner { text: text.as_bytes(), at: 0, is_hex: false };
    let is_number = scanner.number();
    (scanner.at, is_number)
}

struct Scanner<'s> {
    text: &'s [u8],
    at: usize,
    is_hex: bool,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: &[u8]) -> bool {
        let is_wanted = self.peek().is_some_and(|byte| wanted.contains(&byte));
        self.at += usize::from(is_wanted);
        is_wanted
    }

    fn take_digit(&mut self) -> bool {
        let is_digit =
            self.peek().is_some_and(|byte| byte.is_ascii_digit() || (self.is_hex && byte.is_ascii_hexdigit()));
        self.at += usize::from(is_digit);
        is_digit
    }

    fn number(&mut self) -> bool {
        self.is_hex = self.take(b"0") && self.take(b"xX");
        if self.is_hex {
            self.take(b"_");
        }
        self.take(b".");
        self.take_digit();
        let (mut has_dot, mut has_exponent) = (false, false);
        loop {
            // An `e` in front of a run of hexadecimal digits counts as an exponent, as it does in Prometheus.
            let goes_on = match self.peek() {
                Some(b'.') => self.once(&mut has_dot) && !self.take(b"_.") && !self.is_hex,
                Some(b'e' | b'E') => {
                    self.once(&mut has_exponent) && {
                        self.take(b"+-");
                        self.is_followed()
                    }
                }
                Some(b'_') => {
                    self.at += 1;
                    self.is_followed()
                }
                _ if self.take_digit() => {
                    while self.take_digit() {}
                    true
                }
                next => return !next.is_some_and(|byte| is_name_part(char::from(byte))),
            };
            if !goes_on {
                return false;
            }
        }
    }

    /// Takes what may stand once.
    fn once(&mut self, has_been: &mut bool) -> bool {
        self.at += 1;
        !std::mem::replace(has_been, true)
    }

    /// Something follows that can follow an exponent or an underscore.
    fn is_followed(&mut self) -> bool {
        !self.take(b"._eE") && self.peek().is_some()
    }
}

/// How far the units of a duration reach behind its first number, like `h30m` behind `1`; else how far they could be read.
pub(super) fn scan_units(text: &str) -> Result<usize, usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = 0;
    loop {
        let units: &[u8] = if at == 0 { b"smhdwy" } else { b"smhdw" };
        if !bytes.get(at).is_some_and(|byte| units.contains(byte)) {
            return Err(at);
        }
        at += 1 + usize::from(bytes.get(at + 1) == Some(&b's'));
        match digits(at) {
            0 => break,
            more => at += more,
        }
    }
    match text[at..].chars().next() {
        Some(next) if is_name_part(next) => Err(at + 1),
        _ => Ok(at),
    }
}

/// The value of a number's text; the error is Go's reason.
pub(super) fn value(text: &str) -> Result<f64, &'static str> {
    const SYNTAX: &str = "invalid syntax";
    match text.to_ascii_lowercase().as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(normal_nan()),
        _ if !has_good_underscores(text) => return Err(SYNTAX),
        _ => {}
    }
    let plain = text.replace('_', "");
    let integer = match plain.as_bytes() {
        [b'0', b'x' | b'X', ..] => i64::from_str_radix(&plain[2..], 16).map_err(|_| SYNTAX).map(Some)?,
        [b'0', _, ..] => i64::from_str_radix(&plain, 8).ok(),
        _ => None,
    };
    match integer {
        Some(integer) => Ok(integer as f64),
        None => match plain.parse::<f64>() {
            Ok(number) if number.is_infinite() => Err("value out of range"),
            Ok(number) => Ok(number),
            Err(_) => Err(SYNTAX),
        },
    }
}

/// An underscore stands between two digits, or between `0x` and one.
fn has_good_underscores(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_hex = matches!(bytes, [b'0', b'x' | b'X', ..]);
    let is_digit = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_digit() || (is_hex && b.is_ascii_hexdigit()));
    let is_good = |at: usize| (is_digit(at.wrapping_sub(1)) || (is_hex && at == 2)) && is_digit(at + 1);
    bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || is_good(at))
}

/// The length of a duration's text.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| match error {
        DurationError::TooLong(_) => "duration out of range".to_owned(),
        _ => match unknown_unit(text) {
            Some(unit) => format!("unknown unit {unit:?} in duration {text:?}"),
            None => format!("not a valid duration string: {text:?}"),
        },
    })
}

/// The first unit that is none, unless those before it are out of order.
fn unknown_unit(text: &str) -> Option<&str> {
    const UNITS: [&str; 7] = ["y", "w", "d", "h", "m", "s", "ms"];
    let mut known = &UNITS[..];
    for unit in text.split(|c: char| c.is_ascii_digit()).filter(|unit| !unit.is_empty()) {
        match known.iter().position(|known| *known == unit) {
            Some(at) => known = &known[at + 1..],
            None => return (!UNITS.contains(&unit)).then_some(unit),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_values_of_go_literals() {
        for (text, expected) in [
            ("1", 1.0),
            ("010", 8.0),
            ("089", 89.0),
            ("0x1F", 31.0),
            ("0X_ff", 255.0),
            ("1_000", 1000.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1.5e+3", 1500.0),
            ("99999999999999999999", 1e20),
            ("iNF", f64::INFINITY),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
        assert!(value("NaN").is_ok_and(f64::is_nan));
        for text in ["5_", "0x", "1e999", "1__0", "0xffffffffffffffff"] {
            assert!(value(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_ends_where_something_else_begins() {
        assert_eq!(scan("12+3"), (2, true));
        assert_eq!(scan("1e5)"), (3, true));
        assert_eq!(scan("0x1e2 "), (5, true));
        assert_eq!(scan("5m"), (1, false));
        assert_eq!(scan("1..2"), (3, false));
    }

    #[test]
    fn a_duration_has_units() {
        assert_eq!((scan_units("m"), scan_units("h30m]"), scan_units("ms)")), (Ok(1), Ok(4), Ok(2)));
        assert_eq!((scan_units("x"), scan_units("mx"), scan_units("h3")), (Err(0), Err(2), Err(2)));
    }
}
