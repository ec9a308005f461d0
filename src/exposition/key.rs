//! The raw key of a sample: its name and labels as they stand on the page.
//!
//! Invariant: a key comes from the parser, which checked it, so walking it again cannot fail; only what the parser
//! leaves for later, a label given twice, is found here. The parser leaves it because a page's keys are nearly all known
//! from the page before, and a known key was read once already.

use std::borrow::Cow;

use super::scan::{name_end, quoted_end, skip_blanks};
use crate::model::{Exemplar, LabelsBuilder, Timestamp};

/// OpenMetrics §4.6.1: names and values of an exemplar's labels have at most 128 characters together.
pub(super) const EXEMPLAR_CHARS_MAX: usize = 128;

/// One name and value of a key, escapes still in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPair<'a> {
    /// Without quotes; `None` for the metric name.
    pub name: Option<&'a str>,
    /// The label's value or the metric name, without quotes.
    pub value: &'a str,
}

/// Walks over a key: the metric name where it stands, and the labels in the page's order.
#[derive(Clone, Debug)]
pub struct LabelPairs<'a> {
    key: &'a [u8],
    text: &'a str,
    at: usize,
}

impl<'a> LabelPairs<'a> {
    /// `key` must come from a parsed sample or exemplar.
    pub(super) fn new(key: &'a [u8]) -> LabelPairs<'a> {
        let text = std::str::from_utf8(key).expect("the parser checked the texts of a key");
        LabelPairs { key, text, at: 0 }
    }

    /// The quoted string at `at` without its quotes, and the position behind it.
    fn quoted(&self, at: usize) -> (&'a str, usize) {
        let end = quoted_end(self.key, at, false).expect("the parser checked the quotes of a key");
        (&self.text[at + 1..end - 1], end)
    }

    /// A name before the brace. Blanks before it belong to it, as in Prometheus 3.
    fn leading_name(&mut self) -> Option<RawPair<'a>> {
        let start = skip_blanks(self.key, 0);
        let end = name_end(self.key, start);
        self.at = skip_blanks(self.key, end) + 1;
        (end > start).then(|| RawPair { name: None, value: &self.text[..end] })
    }
}

impl<'a> Iterator for LabelPairs<'a> {
    type Item = RawPair<'a>;

    fn next(&mut self) -> Option<RawPair<'a>> {
        if self.at == 0
            && let Some(name) = self.leading_name()
        {
            return Some(name);
        }
        while matches!(self.key.get(self.at), Some(b' ' | b'\t' | b',')) {
            self.at += 1;
        }
        let (name, after) = match self.key.get(self.at)? {
            b'}' => return None,
            b'"' => self.quoted(self.at),
            _ => {
                let end = name_end(self.key, self.at);
                (&self.text[self.at..end], end)
            }
        };
        let after = skip_blanks(self.key, after);
        if self.key.get(after) != Some(&b'=') {
            self.at = after;
            return Some(RawPair { name: None, value: name });
        }
        let (value, after) = self.quoted(skip_blanks(self.key, after + 1));
        self.at = after;
        Some(RawPair { name: Some(name), value })
    }
}

/// Resolves `\\`, `\"` and `\n`; any other backslash stands for itself, as in Prometheus.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    unescape_these(raw, &[('\\', '\\'), ('"', '"'), ('n', '\n')])
}

/// Resolves the escapes that the text format allows in a HELP line: `\\` and `\n`.
pub(super) fn unescape_help(raw: &str) -> Cow<'_, str> {
    unescape_these(raw, &[('\\', '\\'), ('n', '\n')])
}

fn unescape_these<'a>(raw: &'a str, escapes: &[(char, char)]) -> Cow<'a, str> {
    let Some(first) = memchr::memchr(b'\\', raw.as_bytes()) else {
        return Cow::Borrowed(raw);
    };
    let mut text = String::with_capacity(raw.len());
    text.push_str(&raw[..first]);
    let mut rest = raw[first..].chars();
    while let Some(c) = rest.next() {
        let next = rest.clone().next();
        match escapes.iter().find(|(letter, _)| c == '\\' && Some(*letter) == next) {
            Some((_, meant)) => {
                text.push(*meant);
                rest.next();
            }
            None => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// An exemplar as it stands on the page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawExemplar<'a> {
    /// Its labels with their braces.
    pub labels: &'a [u8],
    /// The observed value.
    pub value: f64,
    /// When it was observed, where the page says so.
    pub timestamp: Option<Timestamp>,
}

impl RawExemplar<'_> {
    /// The exemplar with its labels read; `None` where they are longer than OpenMetrics allows. Prometheus drops such
    /// an exemplar and keeps the page, so this is for the caller to count. Of a label given twice the later one stays.
    pub fn read(&self, labels: &mut LabelsBuilder) -> Option<Exemplar> {
        labels.clear();
        let mut chars = 0;
        for pair in LabelPairs::new(self.labels) {
            let (name, value) = (unescape(pair.name.unwrap_or_default()), unescape(pair.value));
            chars += name.chars().count() + value.chars().count();
            labels.set(&name, &value);
        }
        (chars <= EXEMPLAR_CHARS_MAX).then(|| Exemplar {
            labels: labels.build(),
            value: self.value,
            timestamp: self.timestamp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(key: &str) -> Vec<(Option<&str>, &str)> {
        LabelPairs::new(key.as_bytes()).map(|pair| (pair.name, pair.value)).collect()
    }

    #[test]
    fn walks_every_form_of_key() {
        assert_eq!(pairs("a"), [(None, "a")]);
        assert_eq!(pairs("  a:b"), [(None, "  a:b")]);
        assert_eq!(pairs("a {}"), [(None, "a")]);
        assert_eq!(
            pairs("a{ x = \"1\" , y=\"2\" z=\"}\",}"),
            [(None, "a"), (Some("x"), "1"), (Some("y"), "2"), (Some("z"), "}")]
        );
        assert_eq!(pairs(r#"{"m.n","l.a"="v\"w"}"#), [(None, "m.n"), (Some("l.a"), r#"v\"w"#)]);
        assert_eq!(pairs(r#" {x="1", "m"}"#), [(Some("x"), "1"), (None, "m")]);
    }

    #[test]
    fn escapes_are_resolved_and_unknown_ones_kept() {
        assert_eq!(unescape(r#"a\\b\"c\nd\qe\"#), "a\\b\"c\nd\\qe\\");
        assert_eq!(unescape_help(r#"a\\b\"c\nd"#), "a\\b\\\"c\nd");
        assert!(matches!(unescape("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_exemplar_over_the_bound_is_not_read() {
        let of = |length: usize| format!("{{trace_id=\"{}\"}}", "é".repeat(length));
        let read = |labels: &str| {
            RawExemplar { labels: labels.as_bytes(), value: 1.0, timestamp: None }.read(&mut LabelsBuilder::default())
        };
        assert!(read(&of(EXEMPLAR_CHARS_MAX - "trace_id".len())).is_some());
        assert!(read(&of(EXEMPLAR_CHARS_MAX - "trace_id".len() + 1)).is_none());
    }
}
