//! What a reader asks for: the form of a request, and the selectors in it.
//!
//! A selector is what PromQL calls an instant vector selector, without `offset` and `@`; anything else is refused, as
//! Prometheus refuses it on /federate. The empty selector `{}` and selectors that match everything are allowed there,
//! though not in a query.

use percent_encoding::percent_decode;

use crate::promql::parse;
use crate::store::Selector;

/// Why text is no selector: the parser's words, with line and column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

/// Reads one selector.
pub fn parse_selector(text: &str) -> Result<Selector, SelectorError> {
    parse::parse_selector(text).map_err(|fault| SelectorError(fault.in_source(text).to_string()))
}

/// A form that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// `%` without two hexadecimal digits.
    #[error("invalid URL escape {0:?}")]
    Escape(String),
    /// `;` between pairs: some readers split there, others do not.
    #[error("invalid semicolon separator in query")]
    Semicolon,
    /// Not UTF-8 after unescaping.
    #[error("not UTF-8: {0:?}")]
    Utf8(String),
}

/// Reads `a=b&c=d` strictly: names and values in their order.
pub fn parse_form(form: &str) -> Result<Vec<(String, String)>, FormError> {
    if form.contains(';') {
        return Err(FormError::Semicolon);
    }
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((unescape(name)?, unescape(value)?))
        })
        .collect()
}

fn unescape(text: &str) -> Result<String, FormError> {
    for (at, _) in text.match_indices('%') {
        let digits = text.as_bytes().get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(FormError::Escape(text[at..].chars().take(3).collect()));
        }
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8();
    Ok(decoded.map_err(|_| FormError::Utf8(text.to_owned()))?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_prometheus() {
        let shown = |text| parse_selector(text).map(|matchers| format!("{matchers:?}"));
        assert_eq!(shown("up").as_deref(), Ok(r#"[__name__="up"]"#));
        assert_eq!(shown(r#"{__name__=~".*"}"#).as_deref(), Ok(r#"[__name__=~".*"]"#));
        assert_eq!(shown("{}").as_deref(), Ok("[]"));
        assert_eq!(shown(r#"{foo="",}"#).as_deref(), Ok(r#"[foo=""]"#));
        assert_eq!(shown(r#"up {"down"}"#).as_deref(), Ok(r#"[__name__="up", __name__="down"]"#));
        assert_eq!(shown(r#"a:b{x!="1",y!~"2|3"}"#).as_deref(), Ok(r#"[__name__="a:b", x!="1", y!~"2|3"]"#));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "foo-bar",
            "up offset 5m",
            "up @ 0",
            "up[5m]",
            "sum(up)",
            "(up)",
            "-up",
            "# plus\n +up",
            "1",
            r#"{a="b" or c="d"}"#,
            "{",
            r#"{a=~"("}"#,
        ] {
            assert!(parse_selector(text).is_err(), "{text}");
        }
    }

    #[test]
    fn forms_are_read_strictly() {
        let pairs = parse_form("match[]=up%7Ba%3D%22b+c%22%7D&limit=3&x").unwrap();
        assert_eq!(pairs[0], ("match[]".to_owned(), "up{a=\"b c\"}".to_owned()));
        assert_eq!(pairs[2], ("x".to_owned(), String::new()));
        assert_eq!(parse_form("a=%zz"), Err(FormError::Escape("%zz".to_owned())));
        assert_eq!(parse_form("a=%"), Err(FormError::Escape("%".to_owned())));
        assert_eq!(parse_form("a=1;b=2"), Err(FormError::Semicolon));
        assert!(matches!(parse_form("a=%ff"), Err(FormError::Utf8(_))));
    }
}
