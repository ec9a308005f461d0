//! The pull parser's face: entries and samples. The two grammars stand in [`super::text`] and
//! [`super::openmetrics`].
//!
//! Invariant: the parser moves only over lines that it accepted, so after an error it stays at the faulty line and gives
//! the same error again.

use std::borrow::Cow;
use std::fmt;

use super::error::{Expected, Fault, ParseError, locate};
use super::float::write_openmetrics_value;
use super::format::Format;
use super::key::{LabelPairs, RawExemplar, RawPair, unescape};
use super::scan::{name_end, quoted_end};
use super::value::parse_value;
use crate::model::{LabelsBuilder, METRIC_NAME, MetricType, Timestamp};

/// One line of a page that says something; comments and blank lines are passed over.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry<'a> {
    /// `# TYPE`
    Type {
        /// The family's name, unescaped.
        family: Cow<'a, str>,
        /// Its type; `untyped` is [`MetricType::Unknown`].
        kind: MetricType,
    },
    /// `# HELP`
    Help {
        /// The family's name, unescaped.
        family: Cow<'a, str>,
        /// The text, unescaped.
        help: Cow<'a, str>,
    },
    /// `# UNIT` (OpenMetrics)
    Unit {
        /// The family's name, unescaped.
        family: Cow<'a, str>,
        /// A suffix of the family's name, or empty.
        unit: &'a str,
    },
    /// A sample.
    Sample(SampleLine<'a>),
}

/// One sample as it stands on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleLine<'a> {
    /// Name and labels as on the page: equal bytes are the same series under the same TYPE line, so this is the cache key.
    pub key: &'a [u8],
    /// The value's text, to be compared with the next page's.
    pub value_text: &'a [u8],
    /// The value; every NaN is the ordinary one.
    pub value: f64,
    /// The sample's own timestamp, where the page gives one.
    pub timestamp: Option<Timestamp>,
    /// OpenMetrics only.
    pub exemplar: Option<RawExemplar<'a>>,
    /// Whether the key is the one that [`Parser::next_remembering`] was given.
    pub is_remembered: bool,
    pub(super) place: Place<'a>,
    pub(super) kind: MetricType,
}

/// Where a line starts on its page, so that a fault found later still has a line and a column.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Place<'a> {
    pub(super) page: &'a [u8],
    pub(super) start: usize,
}

/// The page itself is left out.
impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of {}", self.start, self.page.len())
    }
}

impl<'a> SampleLine<'a> {
    /// The key's parts in the page's order, escapes still in them.
    pub fn pairs(&self) -> LabelPairs<'a> {
        LabelPairs::new(self.key)
    }

    /// Replaces the content of `labels` by this sample's labels: unescaped, with `__name__`, without empty ones, `le`
    /// and `quantile` in the one form that Prometheus 3 gives them. Fails where a label is given twice; but where one of
    /// its values is empty, the label is not there at all, as in Prometheus.
    pub fn labels(&self, labels: &mut LabelsBuilder) -> Result<(), ParseError> {
        labels.clear();
        for pair in self.pairs() {
            let (name, value) = (name_of(&pair), unescape(pair.value));
            if !labels.add(&name, &self.value_of(&name, value)) {
                return self.labels_with_repetition(labels);
            }
        }
        Ok(())
    }

    /// A label may stand on a line twice if one of its values is empty; then the series lacks it.
    fn labels_with_repetition(&self, labels: &mut LabelsBuilder) -> Result<(), ParseError> {
        labels.clear();
        for (at, pair) in self.pairs().enumerate() {
            let name = name_of(&pair);
            if self.pairs().take(at).all(|other| name_of(&other) != name) {
                labels.set(&name, &self.value_of(&name, unescape(pair.value)));
            } else if self.pairs().any(|other| other.value.is_empty() && name_of(&other) == name) {
                labels.remove(&name);
            } else {
                return Err(locate(self.place.page, (self.place.start, Expected::OtherLabelName)));
            }
        }
        Ok(())
    }

    /// A value as a series has it: bounds in the one form that Prometheus 3 gives them.
    fn value_of(&self, name: &str, value: Cow<'a, str>) -> Cow<'a, str> {
        let is_bound = matches!((self.kind, name), (MetricType::Histogram, "le") | (MetricType::Summary, "quantile"));
        let Some(bound) = is_bound.then(|| parse_value(value.as_bytes())).flatten() else { return value };
        let mut text = Vec::new();
        write_openmetrics_value(&mut text, bound);
        Cow::Owned(String::from_utf8(text).expect("numbers are written in ASCII"))
    }
}

fn name_of<'a>(pair: &RawPair<'a>) -> Cow<'a, str> {
    pair.name.map_or(Cow::Borrowed(METRIC_NAME), unescape)
}

/// What a caller remembers of the line that it expects next, from the page before.
#[derive(Debug, Clone, Copy)]
pub struct Remembered<'k> {
    /// [`SampleLine::key`] of then.
    pub key: &'k [u8],
    /// [`SampleLine::value_text`] of then.
    pub value_text: &'k [u8],
    /// The value that this text meant.
    pub value: f64,
}

/// Reads one page, entry by entry.
#[derive(Debug, Clone)]
pub struct Parser<'a> {
    pub(super) page: &'a [u8],
    pub(super) at: usize,
    format: Format,
    /// Of the TYPE line read last, whatever family it named: what Prometheus goes by when it normalises `le`.
    pub(super) kind: MetricType,
    /// Whether the whole page is UTF-8, so that no string needs a check of its own.
    pub(super) texts_valid: bool,
    pub(super) has_ended: bool,
}

/// A parser at the start of `page`.
pub fn parser(format: Format, page: &[u8]) -> Parser<'_> {
    Parser {
        page,
        at: 0,
        format,
        kind: MetricType::Unknown,
        texts_valid: std::str::from_utf8(page).is_ok(),
        has_ended: false,
    }
}

impl<'a> Parser<'a> {
    /// The next entry; `None` at the page's end. After an error the page is refused, and asking again gives the error again.
    // Not `Iterator`: a `Result<Option<_>>` cannot be passed over by accident.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let entry = match self.format {
            Format::Text | Format::Text1 => self.next_text(),
            Format::OpenMetrics => self.next_openmetrics(),
            Format::Protobuf => Err((self.at, Expected::TextPage)),
        };
        entry.map_err(|fault| locate(self.page, fault))
    }

    /// As [`Parser::next`], but quicker where the next line is the sample that `line` remembers: then its key is
    /// compared and not read, and its number is read only if its text changed. Where it is another line, that line is
    /// read as usual.
    pub fn next_remembering(&mut self, line: Remembered<'_>) -> Result<Option<Entry<'a>>, ParseError> {
        if !self.stands_at(line.key) {
            return self.next();
        }
        let (start, key_end) = (self.at, self.at + line.key.len());
        let sample = match self.format {
            Format::Text | Format::Text1 => self.text_sample(start, key_end, Some(line)),
            Format::OpenMetrics => self.openmetrics_sample(start, key_end, Some(line)),
            Format::Protobuf => Err((self.at, Expected::TextPage)),
        };
        sample.map_err(|fault| locate(self.page, fault))
    }

    /// Passes over `lines` if they stand here: metadata, comments before it included, that an accepted page of this format
    /// had, each with its newline. `kind` is what [`Parser::kind`] was behind them.
    #[inline]
    pub fn pass_over(&mut self, lines: &[u8], kind: MetricType) -> bool {
        let is_here = self.page[self.at..].starts_with(lines);
        if is_here {
            self.at += lines.len();
            self.kind = kind;
        }
        is_here
    }

    /// How many bytes of the page are read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The type that the samples from here on are read with, see [`SampleLine::labels`].
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// Whether the line here begins with `key` and no longer key. A key with braces ends with its `}`; behind one
    /// without, a blank must follow and no brace.
    fn stands_at(&self, key: &[u8]) -> bool {
        let Some(rest) = self.page[self.at..].strip_prefix(key) else {
            return false;
        };
        match (key.last(), rest.first()) {
            (Some(b'}'), _) => true,
            (Some(_), Some(b' ')) => rest.get(1).is_some_and(|next| !matches!(next, b'{' | b' ' | b'\t')),
            _ => false,
        }
    }

    /// The value of `text`, taken from memory where the text is the remembered one.
    #[inline]
    pub(super) fn value(&self, at: usize, text: &[u8], line: Option<Remembered<'_>>) -> Result<f64, Fault> {
        match line {
            Some(line) if line.value_text == text => Ok(line.value),
            _ => parse_value(text).ok_or((at, Expected::Number)),
        }
    }

    /// The family's name at `at`, quoted or not, and the position behind it.
    pub(super) fn family_name(&self, at: usize) -> Result<(Cow<'a, str>, usize), Fault> {
        if self.page.get(at) == Some(&b'"') {
            let end = quoted_end(self.page, at, false).ok_or((at, Expected::ClosingQuote))?;
            return Ok((unescape(self.text(at + 1, end - 1)?), end));
        }
        let end = name_end(self.page, at);
        if end == at { Err((at, Expected::FamilyName)) } else { Ok((self.text(at, end)?.into(), end)) }
    }

    /// The string from `from` to `to`, checked unless the whole page is known to be UTF-8.
    pub(super) fn text(&self, from: usize, to: usize) -> Result<&'a str, Fault> {
        std::str::from_utf8(&self.page[from..to]).map_err(|_| (from, Expected::Utf8))
    }
}
