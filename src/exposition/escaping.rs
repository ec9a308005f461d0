//! UTF-8 names for readers that know only the classic ones.
//!
//! A name of the classic grammar is never touched, whatever the scheme, so that a site without UTF-8 names looks the
//! same to every reader. Schemes and spellings are those of prometheus/common, with one difference: a colon in a label's
//! name is replaced, because a classic reader refuses it there.

use std::borrow::Cow;
use std::fmt::Write;

use crate::model::{is_legacy_label_name, is_legacy_metric_name};

/// How names outside the classic grammar are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// Every foreign character becomes `_`: what a reader gets that says nothing. Two names can become one.
    #[default]
    Underscores,
    /// `.` becomes `_dot_`, `_` and every foreign character `__`.
    Dots,
    /// `U__` in front, `_` becomes `__`, every foreign character `_<hex>_`: the only scheme that can be undone.
    Values,
}

impl Escaping {
    /// The word in `escaping=…` of Accept and Content-Type.
    pub fn as_str(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }

    /// The scheme of that word.
    pub fn of_word(word: &str) -> Option<Escaping> {
        [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values]
            .into_iter()
            .find(|scheme| scheme.as_str() == word)
    }
}

/// A metric name under `scheme`.
pub fn escape_metric_name(name: &str, scheme: Escaping) -> Cow<'_, str> {
    if name.is_empty() || is_legacy_metric_name(name) {
        return Cow::Borrowed(name);
    }
    escape(name, scheme, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// A label name under `scheme`.
pub fn escape_label_name(name: &str, scheme: Escaping) -> Cow<'_, str> {
    if name.is_empty() || is_legacy_label_name(name) {
        return Cow::Borrowed(name);
    }
    escape(name, scheme, |c| c.is_ascii_alphanumeric() || c == '_')
}

fn escape(name: &str, scheme: Escaping, is_classic: impl Fn(char) -> bool) -> Cow<'_, str> {
    let mut escaped = String::with_capacity(name.len() + 8);
    if scheme == Escaping::AllowUtf8 {
        return Cow::Borrowed(name);
    }
    if scheme == Escaping::Values {
        escaped.push_str("U__");
    }
    for (at, c) in name.char_indices() {
        let is_classic = is_classic(c) && !(at == 0 && c.is_ascii_digit());
        match scheme {
            Escaping::Dots | Escaping::Values if c == '_' => escaped.push_str("__"),
            Escaping::Dots if c == '.' => escaped.push_str("_dot_"),
            _ if is_classic => escaped.push(c),
            Escaping::Dots => escaped.push_str("__"),
            Escaping::Values => write!(escaped, "_{:x}_", u32::from(c)).expect("a string takes all that is written"),
            Escaping::AllowUtf8 | Escaping::Underscores => escaped.push('_'),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_under_each_scheme() {
        for (name, underscores, dots, values) in [
            ("http_requests:rate5m", "http_requests:rate5m", "http_requests:rate5m", "http_requests:rate5m"),
            ("http.status", "http_status", "http_dot_status", "U__http_2e_status"),
            ("no_under.score", "no_under_score", "no__under_dot_score", "U__no__under_2e_score"),
            ("0starts", "_starts", "__starts", "U___30_starts"),
            ("label with 😱", "label_with__", "label__with____", "U__label_20_with_20__1f631_"),
        ] {
            assert_eq!(escape_metric_name(name, Escaping::AllowUtf8), name);
            assert_eq!(escape_metric_name(name, Escaping::Underscores), underscores);
            assert_eq!(escape_metric_name(name, Escaping::Dots), dots);
            assert_eq!(escape_metric_name(name, Escaping::Values), values);
        }
    }

    #[test]
    fn a_colon_is_foreign_to_label_names_only() {
        assert_eq!(escape_metric_name("a:b", Escaping::Underscores), "a:b");
        assert_eq!(escape_label_name("a:b", Escaping::Underscores), "a_b");
        assert_eq!(escape_label_name("a:b", Escaping::Values), "U__a_3a_b");
    }

    #[test]
    fn words_name_their_schemes() {
        assert_eq!(Escaping::of_word("dots"), Some(Escaping::Dots));
        assert_eq!(Escaping::of_word("allow-utf-8"), Some(Escaping::AllowUtf8));
        assert_eq!(Escaping::of_word("none"), None);
    }
}
