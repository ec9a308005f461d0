//! The grammar of text 0.0.4 and 1.0.0, as Prometheus 3.5 reads it.
//!
//! | line | form |
//! |---|---|
//! | sample | `[blanks] name [{labels}] value [milliseconds]` or `[blanks] {"name"[, labels]} value [milliseconds]` |
//! | metadata | `# HELP name text` or `# TYPE name type`, blanks around the words as one likes |
//! | comment | any other line that starts with `#` |
//!
//! Blanks before a name belong to the name; blanks and commas between labels are free; a carriage return is no blank.
//! Differences from Prometheus are deliberate and few: a NUL byte in a comment or at the start of a line ends the page
//! there without a word, here the first is passed over and the second refused; a bound of a histogram that Go reads and nobody
//! writes (`0x1p4`, `1_0`) is left as it is; and `{x} 1`, which ends the process of Prometheus 3.5.3, is refused.

use super::error::{Expected, Fault};
use super::key::unescape_help;
use super::parser::{Entry, Parser, Place, Remembered, SampleLine};
use super::scan::{Whose, labels_end, name_end, skip_blanks, starts_name};
use crate::model::{MetricType, Timestamp};

impl<'a> Parser<'a> {
    pub(super) fn next_text(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        loop {
            let start = self.at;
            let first = skip_blanks(self.page, start);
            match self.page.get(first).copied() {
                None => return Ok(None),
                Some(b'\n') => self.at = first + 1,
                Some(b'#') => {
                    if let Some(entry) = self.text_hash_line(first)? {
                        return Ok(Some(entry));
                    }
                }
                Some(b'{') => {
                    let key_end = labels_end::<false>(self.page, first, Whose::NamelessSeries, self.texts_valid)?;
                    return self.text_sample(start, key_end, None);
                }
                Some(byte) if starts_name(byte) => return self.text_named_sample(start, first),
                Some(_) => return Err((first, Expected::LineStart)),
            }
        }
    }

    #[inline]
    fn text_named_sample(&mut self, start: usize, name: usize) -> Result<Option<Entry<'a>>, Fault> {
        let name_end = name_end(self.page, name);
        let brace = skip_blanks(self.page, name_end);
        let key_end = match self.page.get(brace) {
            Some(b'{') => labels_end::<false>(self.page, brace, Whose::NamedSeries, self.texts_valid)?,
            _ => name_end,
        };
        self.text_sample(start, key_end, None)
    }

    /// What follows the key: value, perhaps a timestamp, the line's end.
    #[inline]
    pub(super) fn text_sample(
        &mut self,
        start: usize,
        key_end: usize,
        line: Option<Remembered<'_>>,
    ) -> Result<Option<Entry<'a>>, Fault> {
        let page = self.page;
        let value_at = skip_blanks(page, key_end);
        let value_end = page[value_at..]
            .iter()
            .position(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'{'))
            .map_or(page.len(), |length| value_at + length);
        if value_end == value_at {
            return Err((value_at, Expected::Value));
        }
        let value_text = &page[value_at..value_end];
        let value = self.value(value_at, value_text, line)?;
        let (timestamp, line_end) = match page.get(value_end) {
            Some(b'\n') => (None, value_end + 1),
            None => (None, value_end),
            Some(_) => text_timestamp(page, value_end)?,
        };
        self.at = line_end;
        Ok(Some(Entry::Sample(SampleLine {
            key: &page[start..key_end],
            value_text,
            value,
            timestamp,
            exemplar: None,
            is_remembered: line.is_some(),
            place: Place { page, start },
            kind: self.kind,
        })))
    }

    /// A line that starts with `#`; `None` for a comment.
    fn text_hash_line(&mut self, hash: usize) -> Result<Option<Entry<'a>>, Fault> {
        let word = skip_blanks(self.page, hash + 1);
        let is_metadata = word > hash + 1;
        let line_end = memchr::memchr(b'\n', &self.page[hash..]).map_or(self.page.len(), |length| hash + length);
        let name = match self.page[word..line_end].split_at_checked("HELP".len()) {
            Some((b"HELP" | b"TYPE", rest)) if is_metadata && matches!(rest, [b' ' | b'\t', ..]) => {
                skip_blanks(self.page, word + "HELP".len())
            }
            _ => {
                self.at = (line_end + 1).min(self.page.len());
                return Ok(None);
            }
        };
        self.text_metadata(self.page[word] == b'T', name).map(Some)
    }

    /// Name and text behind HELP or TYPE. The text starts one byte behind the name, whatever that byte is.
    fn text_metadata(&mut self, is_type: bool, name: usize) -> Result<Entry<'a>, Fault> {
        let page = self.page;
        let (family, name_end) = self.family_name(name)?;
        let line_end = memchr::memchr(b'\n', &page[name_end..]).map_or(page.len(), |length| name_end + length);
        let text_at = match skip_blanks(page, name_end) {
            end if end == line_end => line_end,
            _ => name_end + 1,
        };
        let text = &page[text_at..line_end];
        let entry = if is_type {
            self.kind = text_type(text).ok_or((text_at, Expected::MetricType))?;
            Entry::Type { family, kind: self.kind }
        } else {
            Entry::Help { family, help: unescape_help(self.text(text_at, line_end)?) }
        };
        self.at = (line_end + 1).min(page.len());
        Ok(entry)
    }
}

/// The five types of the text format.
fn text_type(word: &[u8]) -> Option<MetricType> {
    match word {
        b"counter" => Some(MetricType::Counter),
        b"gauge" => Some(MetricType::Gauge),
        b"histogram" => Some(MetricType::Histogram),
        b"summary" => Some(MetricType::Summary),
        b"untyped" => Some(MetricType::Unknown),
        _ => None,
    }
}

/// Reads blanks, perhaps digits, blanks and the line's end; returns the position behind it.
fn text_timestamp(page: &[u8], at: usize) -> Result<(Option<Timestamp>, usize), Fault> {
    let digits_at = skip_blanks(page, at);
    let digits = page[digits_at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let line_end = skip_blanks(page, digits_at + digits);
    let timestamp = match std::str::from_utf8(&page[digits_at..digits_at + digits]) {
        Ok(text) if digits > 0 => Some(Timestamp(text.parse().map_err(|_| (digits_at, Expected::Millis))?)),
        _ => None,
    };
    match page.get(line_end) {
        Some(b'\n') => Ok((timestamp, line_end + 1)),
        None => Ok((timestamp, line_end)),
        Some(_) if digits == 0 => Err((line_end, Expected::TimestampOrLineEnd)),
        Some(_) => Err((line_end, Expected::LineEnd)),
    }
}
