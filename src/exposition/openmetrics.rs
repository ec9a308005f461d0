//! The grammar of OpenMetrics 1.0 text, as Prometheus 3.5 reads it.
//!
//! | line | form, with exactly the spaces shown |
//! |---|---|
//! | sample | `name[{labels}] value[ seconds][ # {labels} value[ seconds]]`, the last part an exemplar |
//! | metadata | `# HELP name text`, `# TYPE name type`, `# UNIT name unit` |
//! | end | `# EOF`, once, last, its newline optional |
//!
//! No other comments, no blank lines; a page of no bytes at all needs no end and is a page without series. What the
//! specification asks of families (`_total` on counters, no interleaving, one TYPE each, exemplars only where they make
//! sense) Prometheus does not, and neither does this.
//!
//! Timestamps are seconds; they are cut to milliseconds, not rounded.

use super::error::{Expected, Fault};
use super::key::{RawExemplar, unescape};
use super::parser::{Entry, Parser, Place, Remembered, SampleLine};
use super::scan::{Whose, labels_end, name_end};
use super::value::parse_value;
use crate::model::Timestamp;

const EXEMPLAR_MARK: &[u8] = b" # {";

impl<'a> Parser<'a> {
    pub(super) fn next_openmetrics(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        if self.has_ended {
            return Ok(None);
        }
        let (page, start) = (self.page, self.at);
        let key_end = match page.get(start) {
            None if page.is_empty() => return Ok(None),
            None => return Err((start, Expected::Eof)),
            Some(b'#') => return self.openmetrics_hash_line(start),
            Some(b'{') => labels_end::<true>(page, start, Whose::NamelessSeries, self.texts_valid)?,
            Some(_) => {
                let name_end = name_end(page, start);
                match page.get(name_end) {
                    _ if name_end == start => return Err((start, Expected::LineStart)),
                    Some(b'{') => labels_end::<true>(page, name_end, Whose::NamedSeries, self.texts_valid)?,
                    _ => name_end,
                }
            }
        };
        self.openmetrics_sample(start, key_end, None)
    }

    /// What follows the key: value, perhaps a timestamp, perhaps an exemplar, the line's end.
    #[inline]
    pub(super) fn openmetrics_sample(
        &mut self,
        start: usize,
        key_end: usize,
        line: Option<Remembered<'_>>,
    ) -> Result<Option<Entry<'a>>, Fault> {
        let page = self.page;
        let value_end = word_end(page, key_end).ok_or((key_end, Expected::Value))?;
        let value_text = &page[key_end + 1..value_end];
        let value = self.value(key_end + 1, value_text, line)?;
        let mut at = value_end;
        let timestamp = openmetrics_timestamp(page, &mut at)?;
        let exemplar = self.openmetrics_exemplar(&mut at)?;
        match page.get(at) {
            Some(b'\n') => self.at = at + 1,
            None => return Err((at, Expected::Eof)),
            Some(_) if timestamp.is_none() && exemplar.is_none() => return Err((at, Expected::TimestampOrLineEnd)),
            Some(_) => return Err((at, Expected::LineEnd)),
        }
        Ok(Some(Entry::Sample(SampleLine {
            key: &page[start..key_end],
            value_text,
            value,
            timestamp,
            exemplar,
            is_remembered: line.is_some(),
            place: Place { page, start },
            kind: self.kind,
        })))
    }

    fn openmetrics_exemplar(&self, at: &mut usize) -> Result<Option<RawExemplar<'a>>, Fault> {
        let page = self.page;
        if !page[*at..].starts_with(EXEMPLAR_MARK) {
            return Ok(None);
        }
        let labels_at = *at + EXEMPLAR_MARK.len() - 1;
        let labels_end = labels_end::<true>(page, labels_at, Whose::Exemplar, self.texts_valid)?;
        let value_end = word_end(page, labels_end).ok_or((labels_end, Expected::Value))?;
        let value = parse_value(&page[labels_end + 1..value_end]).ok_or((labels_end + 1, Expected::Number))?;
        *at = value_end;
        let timestamp = openmetrics_timestamp(page, at)?;
        Ok(Some(RawExemplar { labels: &page[labels_at..labels_end], value, timestamp }))
    }

    /// A line that starts with `#`: metadata or the end.
    fn openmetrics_hash_line(&mut self, start: usize) -> Result<Option<Entry<'a>>, Fault> {
        let page = self.page;
        if let Some(rest) = page[start..].strip_prefix(b"# EOF") {
            if !matches!(rest, b"" | b"\n") {
                return Err((start + "# EOF".len(), Expected::NothingAfterEof));
            }
            self.has_ended = true;
            return Ok(None);
        }
        let name = start + "# HELP ".len();
        let word = page.get(start..name).ok_or((start, Expected::LineStart))?;
        if !matches!(word, b"# HELP " | b"# TYPE " | b"# UNIT ") {
            return Err((start, Expected::LineStart));
        }
        self.openmetrics_metadata(word[2], name).map(Some)
    }

    /// Name and text behind the word that begins with `word`.
    fn openmetrics_metadata(&mut self, word: u8, name: usize) -> Result<Entry<'a>, Fault> {
        let page = self.page;
        let (family, family_end) = self.family_name(name)?;
        if page.get(family_end) != Some(&b' ') {
            return Err((family_end, Expected::MetadataText));
        }
        let at = family_end + 1;
        let end = at + memchr::memchr(b'\n', &page[at..]).ok_or((page.len(), Expected::Eof))?;
        let text = self.text(at, end)?;
        let entry = match word {
            b'H' => Entry::Help { family, help: unescape(text) },
            b'T' => {
                self.kind = text.parse().map_err(|()| (at, Expected::MetricType))?;
                Entry::Type { family, kind: self.kind }
            }
            _ if is_unit_of(text, &family) => Entry::Unit { family, unit: text },
            _ => return Err((at, Expected::UnitSuffix)),
        };
        self.at = end + 1;
        Ok(entry)
    }
}

/// Whether `family` ends with an underscore and `unit`; an empty unit says nothing and fits every family.
fn is_unit_of(unit: &str, family: &str) -> bool {
    unit.is_empty() || family.strip_suffix(unit).is_some_and(|stem| stem.ends_with('_'))
}

/// The end of the word that one space at `at` precedes; `None` where no word follows.
#[inline]
fn word_end(page: &[u8], at: usize) -> Option<usize> {
    if page.get(at) != Some(&b' ') {
        return None;
    }
    let word = &page[at + 1..];
    let length = word.iter().position(|byte| matches!(byte, b' ' | b'\n')).unwrap_or(word.len());
    (length > 0).then_some(at + 1 + length)
}

/// Reads a space and seconds, if that is what follows, and moves `at` behind them.
#[inline]
fn openmetrics_timestamp(page: &[u8], at: &mut usize) -> Result<Option<Timestamp>, Fault> {
    if page[*at..].starts_with(EXEMPLAR_MARK) {
        return Ok(None);
    }
    let Some(end) = word_end(page, *at) else {
        return Ok(None);
    };
    let seconds = parse_value(&page[*at + 1..end]).filter(|seconds| seconds.is_finite());
    let seconds = seconds.ok_or((*at + 1, Expected::Seconds))?;
    *at = end;
    Ok(Some(Timestamp((seconds * 1000.0) as i64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_a_suffix_behind_an_underscore() {
        assert!(is_unit_of("seconds", "a_seconds"));
        assert!(is_unit_of("", "a"));
        assert!(!is_unit_of("seconds", "aseconds"));
        assert!(!is_unit_of("seconds", "seconds"));
    }
}
