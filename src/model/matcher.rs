//! Label matchers: `=`, `!=`, `=~`, `!~`.
//!
//! Regular expressions are anchored at both ends and a dot matches a newline too, as in Prometheus
//! (`labels/regexp.go`: `^(?s:…)$`). A missing label is the empty string, so `{foo=""}` matches series without `foo`.

use std::fmt;

use regex_automata::meta::{BuildError, Regex};
use regex_automata::util::syntax;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// A regular expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad regular expression {pattern:?}: {reason}")]
pub struct MatcherError {
    /// As the user wrote it.
    pub pattern: String,
    /// What the compiler says.
    pub reason: String,
}

/// One condition on one label.
#[derive(Clone)]
pub struct Matcher {
    /// The label's name, `__name__` for the metric name.
    pub name: String,
    /// The comparison.
    pub op: MatchOp,
    /// What it compares with: a string or a pattern.
    pub value: String,
    regex: Option<Regex>,
}

/// Largest compiled program of one pattern, in bytes; a larger one is refused.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Compiles `pattern` as Prometheus would: whole string, dot matches everything.
pub fn anchored_regex(pattern: &str) -> Result<Regex, MatcherError> {
    Regex::builder()
        .configure(Regex::config().nfa_size_limit(Some(REGEX_BYTES_MAX)))
        .syntax(syntax::Config::new().dot_matches_new_line(true))
        .build(&format!("^(?:{pattern})$"))
        .map_err(|error| MatcherError { pattern: pattern.to_owned(), reason: reason_of(&error) })
}

/// Compiles `pattern` to be looked for anywhere, as Go's regular expressions are.
pub fn search_regex(pattern: &str) -> Result<Regex, MatcherError> {
    Regex::builder()
        .configure(Regex::config().nfa_size_limit(Some(REGEX_BYTES_MAX)))
        .build(pattern)
        .map_err(|error| MatcherError { pattern: pattern.to_owned(), reason: reason_of(&error) })
}

/// The compiler draws the pattern with a caret over several lines; the last one says what is wrong.
fn reason_of(error: &BuildError) -> String {
    let drawn = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
    let last = drawn.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

impl Matcher {
    /// A matcher; fails only where `op` takes a pattern and `value` is none.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Matcher, MatcherError> {
        let regex = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(anchored_regex(value)?),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Matcher { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// Whether a label with this value (empty where it is missing) fulfils the condition.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => unreachable!("built with its pattern"),
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op, self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(op: MatchOp, pattern: &str, value: &str) -> bool {
        Matcher::new("l", op, pattern).unwrap().matches(value)
    }

    #[test]
    fn patterns_match_the_whole_value_and_dots_match_newlines() {
        assert!(matches(MatchOp::Regex, "a.c", "a\nc"));
        assert!(!matches(MatchOp::Regex, "a", "ab"));
        assert!(matches(MatchOp::Regex, "a|b", "b"));
        assert!(matches(MatchOp::NotRegex, "a|b", "ab"));
    }

    #[test]
    fn a_missing_label_is_the_empty_string() {
        assert!(matches(MatchOp::Equal, "", ""));
        assert!(matches(MatchOp::Regex, ".*", ""));
        assert!(!matches(MatchOp::Regex, ".+", ""));
    }

    #[test]
    fn bad_patterns_say_what_is_wrong() {
        let error = Matcher::new("l", MatchOp::Regex, "(").unwrap_err();
        assert!(error.to_string().contains("unclosed group"), "{error}");
        assert!(Matcher::new("l", MatchOp::Regex, &"a{1000}".repeat(1000)).is_err(), "a bound on the program");
    }
}
