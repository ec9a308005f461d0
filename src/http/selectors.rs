//! What a reader asks for: the form of a request, and the selectors in it.
//!
//! A selector is what PromQL calls an instant vector selector, without `offset` and `@`; anything else is refused, as
//! Prometheus refuses it on /federate. The empty selector `{}` and selectors that match everything are allowed there,
//! though not in a query.

use percent_encoding::percent_decode;
use promql_parser::label::MatchOp as Written;
use promql_parser::parser::{self, Expr, VectorSelector};

use crate::model::{METRIC_NAME, MatchOp, Matcher, MatcherError};
use crate::store::Selector;

/// Bytes of one selector; far beyond what a person or a rule writes.
pub const SELECTOR_BYTES_MAX: usize = 64 << 10;

/// Why text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The parser's words.
    #[error("parse error: {0}")]
    Syntax(String),
    /// PromQL, but not a plain selector.
    #[error("parse error: found {found}, expected an instant vector selector like up{{job=\"node\"}}")]
    NotASelector {
        /// What it is.
        found: &'static str,
    },
    /// A regular expression that cannot be used.
    #[error("parse error: {0}")]
    Regex(#[from] MatcherError),
    /// Longer than [`SELECTOR_BYTES_MAX`].
    #[error("selector of {0} bytes, expected at most {SELECTOR_BYTES_MAX}")]
    TooLong(usize),
}

/// Reads one selector.
pub fn parse_selector(text: &str) -> Result<Selector, SelectorError> {
    if text.len() > SELECTOR_BYTES_MAX {
        return Err(SelectorError::TooLong(text.len()));
    }
    if begins_with_plus(text) {
        return Err(SelectorError::NotASelector { found: "an operator" });
    }
    let parsed = match parser::parse(text) {
        Err(reason) if reason.contains(NON_EMPTY) => parse_unbound(text, reason)?,
        Err(reason) if reason.contains(NAMED_TWICE) => parse_named_twice(text, reason)?,
        parsed => matchers_of(parsed.map_err(SelectorError::Syntax)?)?,
    };
    Ok(parsed)
}

/// The parser drops a plus before an expression, as if nobody had written it.
fn begins_with_plus(text: &str) -> bool {
    let mut rest = text.trim_start();
    while let Some(comment) = rest.strip_prefix('#') {
        rest = comment.split_once('\n').map_or("", |(_, behind)| behind).trim_start();
    }
    rest.starts_with('+')
}

/// What the parser says of a name before the braces and one in them: to Prometheus two matchers like any others.
const NAMED_TWICE: &str = "must not be set twice";

/// Puts the name before the braces into them.
fn parse_named_twice(text: &str, reason: String) -> Result<Selector, SelectorError> {
    let (name, inside) = text.split_once('{').unwrap_or_default();
    let moved = format!("{{\"{}\",{inside}", name.trim());
    matchers_of(parser::parse(&moved).map_err(|_| SelectorError::Syntax(reason))?)
}

/// What the parser says of a selector that may match everything: a rule of queries, not of selectors.
const NON_EMPTY: &str = "non-empty matcher";
/// Added to such a selector so that the parser takes it, and taken away again.
const BOUND: &str = "__bound__";

fn parse_unbound(text: &str, reason: String) -> Result<Selector, SelectorError> {
    let Some((head, tail)) = text.rsplit_once('}') else { return Err(SelectorError::Syntax(reason)) };
    let separator = if head.trim_end().ends_with(['{', ',']) { "" } else { "," };
    let bound = format!("{head}{separator}{BOUND}=\"x\"}}{tail}");
    let mut matchers = matchers_of(parser::parse(&bound).map_err(|_| SelectorError::Syntax(reason))?)?;
    matchers.retain(|matcher| matcher.name != BOUND);
    Ok(matchers)
}

fn matchers_of(parsed: Expr) -> Result<Selector, SelectorError> {
    let selector = match parsed {
        Expr::VectorSelector(selector) => selector,
        other => return Err(SelectorError::NotASelector { found: kind_of(&other) }),
    };
    if selector.offset.is_some() || selector.at.is_some() {
        return Err(SelectorError::NotASelector { found: "offset or @" });
    }
    if !selector.matchers.or_matchers.is_empty() {
        return Err(SelectorError::NotASelector { found: "or between matchers" });
    }
    to_matchers(&selector)
}

fn to_matchers(selector: &VectorSelector) -> Result<Selector, SelectorError> {
    let mut matchers = Vec::with_capacity(selector.matchers.matchers.len() + 1);
    if let Some(name) = &selector.name {
        matchers.push(Matcher::new(METRIC_NAME, MatchOp::Equal, name)?);
    }
    for written in &selector.matchers.matchers {
        let op = match written.op {
            Written::Equal => MatchOp::Equal,
            Written::NotEqual => MatchOp::NotEqual,
            Written::Re(_) => MatchOp::Regex,
            Written::NotRe(_) => MatchOp::NotRegex,
        };
        matchers.push(Matcher::new(&written.name, op, &written.value)?);
    }
    Ok(matchers)
}

fn kind_of(expression: &Expr) -> &'static str {
    match expression {
        Expr::Aggregate(_) => "an aggregation",
        Expr::Unary(_) | Expr::Binary(_) => "an operator",
        Expr::Paren(_) => "parentheses",
        Expr::Subquery(_) => "a subquery",
        Expr::NumberLiteral(_) => "a number",
        Expr::StringLiteral(_) => "a string",
        Expr::MatrixSelector(_) => "a range",
        Expr::Call(_) => "a function",
        _ => "another expression",
    }
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
