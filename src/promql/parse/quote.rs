//! Strings as Go quotes them, both ways.

/// What a quoted string holds. The lexer let only good escapes through; those of bytes may still make no UTF-8, which Go
/// allows. No label is such a string, so what stands for it need only differ from all labels that there could be.
pub(super) fn unquote(quoted: &str) -> String {
    let inner = &quoted[1..quoted.len() - 1];
    if quoted.starts_with('`') || !inner.contains('\\') {
        return inner.to_owned();
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        rest = push_escape(&mut bytes, escaped);
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Adds what an escape stands for, and gives what follows it.
fn push_escape<'s>(bytes: &mut Vec<u8>, escaped: &'s str) -> &'s str {
    let kind = escaped.as_bytes().first().copied().unwrap_or_default();
    let (digits, radix) = match kind {
        b'0'..=b'7' => (&escaped[..3], 8),
        b'x' => (&escaped[1..3], 16),
        b'u' => (&escaped[1..5], 16),
        b'U' => (&escaped[1..9], 16),
        _ => {
            bytes.push(named(kind));
            return &escaped[1..];
        }
    };
    let code = u32::from_str_radix(digits, radix).unwrap_or_default();
    match (kind, char::from_u32(code)) {
        (b'u' | b'U', Some(c)) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        _ => bytes.push(code as u8),
    }
    &escaped[digits.len() + usize::from(radix == 16)..]
}

fn named(letter: u8) -> u8 {
    match letter {
        b'a' => 7,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 11,
        b'f' => 12,
        b'r' => b'\r',
        itself => itself,
    }
}

/// In double quotes, what cannot be shown escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            '\r' => quoted.push_str("\\r"),
            ' '..='~' => quoted.push(c),
            _ if is_shown(c) => quoted.push(c),
            _ => push_code(&mut quoted, u32::from(c)),
        }
    }
    quoted.push('"');
    quoted
}

/// Beyond ASCII: what the standard library would show, and marks on letters, which it would not.
fn is_shown(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && c.escape_debug().len() == 1
}

fn push_code(quoted: &mut String, code: u32) {
    match code {
        0..0x80 => quoted.push_str(&format!("\\x{code:02x}")),
        0x80..0x1_0000 => quoted.push_str(&format!("\\u{code:04x}")),
        _ => quoted.push_str(&format!("\\U{code:08x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        assert_eq!(unquote(r#""a\n\x41\101\u00e9\U0001F600\"""#), "a\nAA\u{e9}\u{1f600}\"");
        assert_eq!(unquote(r#""\xc3\xa9""#), "\u{e9}", "bytes may make a character together");
        assert_eq!(unquote(r"`a\d`"), r"a\d");
        assert_eq!(unquote(r#""\xff""#), "\u{fffd}");
    }

    #[test]
    fn what_is_quoted_is_read_back() {
        for text in ["", "a\"b\\c", "\u{7}\u{8}\t\n\u{b}\u{c}\r\u{0}\u{7f}", "\u{e9}\u{85}\u{200b}\u{e000}\u{10ffff}"] {
            assert_eq!(unquote(&quote(text)), text);
        }
        assert_eq!(quote("\u{0}\u{200b}\u{e9}"), "\"\\x00\\u200b\u{e9}\"");
    }
}
