//! What is wrong with a refused page, and where.
//!
//! The grammars report a [`Fault`], a position and what was expected there; line and column are counted from the page's
//! start when an error is made, because errors are rare and lines are not.

use std::fmt;

/// Where something else stood than should, and what should have stood there.
pub(super) type Fault = (usize, Expected);

/// How many bytes of a page an error quotes.
const EXCERPT_BYTES_MAX: usize = 40;

/// A page that was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: found {found}, expected {expected}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// In bytes, counted from 1.
    pub column: usize,
    /// What stands there, quoted and cut, or "end of page", "end of line".
    pub found: String,
    /// What should have stood there.
    pub expected: Expected,
}

/// What a page should have had where it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Lines: protobuf has none.
    TextPage,
    /// A line of a kind that the format knows.
    LineStart,
    /// The name of a metric, before or within the braces, not empty.
    MetricName,
    /// Nothing further: the sample has its name already.
    OneMetricName,
    /// A label's name, not empty.
    LabelName,
    /// A label that the sample does not have yet.
    OtherLabelName,
    /// `=` behind a label's name.
    Equals,
    /// A quoted label value.
    LabelValue,
    /// The quote that ends a string.
    ClosingQuote,
    /// `,` or `}` behind a label (OpenMetrics).
    CommaOrBrace,
    /// A value behind the name and labels; in OpenMetrics after exactly one space.
    Value,
    /// A number as Prometheus reads it.
    Number,
    /// A timestamp in whole milliseconds (text) that fits 64 bits.
    Millis,
    /// A finite timestamp in seconds (OpenMetrics).
    Seconds,
    /// A timestamp or the line's end.
    TimestampOrLineEnd,
    /// The line's end.
    LineEnd,
    /// A family's name behind HELP, TYPE or UNIT.
    FamilyName,
    /// A space and a text behind the family's name (OpenMetrics).
    MetadataText,
    /// A type that the format knows.
    MetricType,
    /// A unit that ends the family's name, behind an underscore.
    UnitSuffix,
    /// Text in UTF-8.
    Utf8,
    /// `# EOF`, without which an OpenMetrics page is cut short.
    Eof,
    /// Nothing behind `# EOF`.
    NothingAfterEof,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expected::TextPage => "a page of one of the text formats",
            Expected::LineStart => "a metric name, {, HELP, TYPE or a comment",
            Expected::MetricName => "a metric name",
            Expected::OneMetricName => "one metric name only",
            Expected::LabelName => "a label name or }",
            Expected::OtherLabelName => "each label name once",
            Expected::Equals => "= and a quoted label value",
            Expected::LabelValue => "a quoted label value",
            Expected::ClosingQuote => "a string that ends with a quote",
            Expected::CommaOrBrace => ", or }",
            Expected::Value => "a value after name and labels",
            Expected::Number => "a decimal number within 64-bit range, inf or nan",
            Expected::Millis => "a timestamp in whole milliseconds",
            Expected::Seconds => "a finite timestamp in seconds",
            Expected::TimestampOrLineEnd => "a timestamp or the end of the line",
            Expected::LineEnd => "the end of the line",
            Expected::FamilyName => "a metric family's name",
            Expected::MetadataText => "a space and a text",
            Expected::MetricType => "a metric type of this format",
            Expected::UnitSuffix => "a unit that ends the family's name after an underscore",
            Expected::Utf8 => "text in UTF-8",
            Expected::Eof => "# EOF as the last line",
            Expected::NothingAfterEof => "nothing after # EOF",
        })
    }
}

/// Turns a position into line and column and quotes what stands there.
pub(super) fn locate(page: &[u8], (at, expected): Fault) -> ParseError {
    let before = &page[..at];
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    ParseError {
        line: 1 + memchr::memchr_iter(b'\n', before).count(),
        column: 1 + at - line_start,
        found: excerpt(&page[at..]),
        expected,
    }
}

fn excerpt(rest: &[u8]) -> String {
    match rest.first() {
        None => return "end of page".to_owned(),
        Some(b'\n') => return "end of line".to_owned(),
        Some(_) => {}
    }
    let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
    let cut = &line[..line.len().min(EXCERPT_BYTES_MAX)];
    let dots = if cut.len() < line.len() { "…" } else { "" };
    format!("{:?}{dots}", String::from_utf8_lossy(cut))
}
