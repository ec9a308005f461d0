//! Constants as Go writes and reads them: quoted strings, characters, numbers.

use super::value::Value;

/// A string in double quotes, as Go's `%q` writes it.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    text.chars().for_each(|c| push_escaped(&mut out, c, '"'));
    out.push('"');
    out
}

/// A character in single quotes.
pub(super) fn quote_char(c: char) -> String {
    let mut out = String::from("'");
    push_escaped(&mut out, c, '\'');
    out.push('\'');
    out
}

fn push_escaped(out: &mut String, c: char, quote: char) {
    match c {
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        '\\' => out.push_str("\\\\"),
        c if c == quote => out.extend(['\\', c]),
        c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if !is_printable(c) && u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c if !is_printable(c) => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        c => out.push(c),
    }
}

/// Roughly what Go prints as it is: no controls, no spaces but the common one.
pub(super) fn is_printable(c: char) -> bool {
    c == ' ' || !(c.is_control() || c.is_whitespace() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}'))
}

/// Reads `"…"` or `` `…` `` with their quotes; `None` where an escape is none.
pub(super) fn unquote(written: &str) -> Option<String> {
    unquote_with(written, '"')
}

/// The same where strings may stand in other quotes than Go's.
pub(super) fn unquote_with(written: &str, quote: char) -> Option<String> {
    let inner = written.get(1..written.len().checked_sub(1)?)?;
    if written.starts_with('`') {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\\' {
            rest = read_escape(rest, quote, &mut bytes)?;
        } else {
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads what follows a backslash and gives what is behind it. `\x` and octal escapes are bytes, the others characters.
fn read_escape<'a>(rest: &'a str, quote: char, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let c = rest.chars().next()?;
    let after = &rest[c.len_utf8()..];
    let simple = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        c if c == quote => c as u8,
        'x' => {
            bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
            return Some(&after[2..]);
        }
        '0'..='7' => {
            bytes.push(u8::from_str_radix(rest.get(..3)?, 8).ok()?);
            return Some(&rest[3..]);
        }
        'u' | 'U' => {
            let length = if c == 'u' { 4 } else { 8 };
            let code = char::from_u32(u32::from_str_radix(after.get(..length)?, 16).ok()?)?;
            bytes.extend(code.encode_utf8(&mut [0; 4]).bytes());
            return Some(&after[length..]);
        }
        _ => return None,
    };
    bytes.push(simple);
    Some(after)
}

/// Reads a number or a `'character'`; the error is Go's text.
pub(super) fn constant(written: &str) -> Result<Value, String> {
    if let Some(inner) = written.strip_prefix('\'') {
        return character(inner).ok_or_else(|| format!("malformed character constant: {written}"));
    }
    let (negative, magnitude) = match written.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, written.strip_prefix('+').unwrap_or(written)),
    };
    if let Some(value) = integer(magnitude, negative) {
        return Ok(Value::Int(value));
    }
    match parse_float(written) {
        Some(_) if !written.contains(['.', 'e', 'E', 'p', 'P']) => Err(format!("integer overflow: {}", quote(written))),
        Some(value) => Ok(Value::Float(value)),
        None => Err(format!("illegal number syntax: {}", quote(written))),
    }
}

fn character(inner: &str) -> Option<Value> {
    let mut bytes = Vec::new();
    let rest = match inner.strip_prefix('\\') {
        Some(rest) => read_escape(rest, '\'', &mut bytes)?,
        None => {
            let c = inner.chars().next()?;
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            &inner[c.len_utf8()..]
        }
    };
    let code = match bytes[..] {
        [byte] => u32::from(byte),
        _ => u32::from(std::str::from_utf8(&bytes).ok()?.chars().next()?),
    };
    (rest == "'").then_some(Value::Int(i64::from(code)))
}

/// Digits with an optional base prefix and underscores between them.
fn integer(magnitude: &str, negative: bool) -> Option<i64> {
    let lower = magnitude.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    if base == 10 && digits.contains('_') || digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(&digits.replace('_', ""), base).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Reads a float as Go's `ParseFloat` does, hexadecimal ones aside.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    // Both languages know `inf`, `infinity` and `nan` in any case; Go knows no signed NaN.
    let unsigned = text.trim_start_matches(['+', '-']);
    let is_signed_nan = unsigned.eq_ignore_ascii_case("nan") && unsigned.len() != text.len();
    if is_signed_nan { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_read_as_go_reads_them() {
        for (written, value) in
            [("12", 12), ("-7", -7), ("0x1F", 31), ("017", 15), ("0b101", 5), ("'a'", 97), ("'\\n'", 10)]
        {
            assert_eq!(constant(written), Ok(Value::Int(value)), "{written}");
        }
        for (written, value) in [("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("-2.0", -2.0)] {
            assert_eq!(constant(written), Ok(Value::Float(value)), "{written}");
        }
        assert_eq!(constant("99999999999999999999"), Err("integer overflow: \"99999999999999999999\"".to_owned()));
        assert_eq!(constant("'ab'"), Err("malformed character constant: 'ab'".to_owned()));
        assert!(constant("0x").is_err() && constant("1_000").is_err());
    }

    #[test]
    fn strings_survive_being_quoted() {
        for text in ["", "plain", "a\"b\\c\nd\te", "\u{7}\u{1}é\u{2028}"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Some(text));
        }
        assert_eq!(unquote("\"\\x41\\101\\u00e9\"").as_deref(), Some("AAé"));
        assert_eq!(unquote("`a\\n`").as_deref(), Some("a\\n"));
        assert_eq!(unquote("\"\\'\""), None);
        assert_eq!(quote("\u{1}\u{2028}"), "\"\\x01\\u2028\"");
    }
}
