//! Byte scans that both grammars share: names, blanks, quoted strings, label lists.
//!
//! Each takes the page and a position and returns the position behind what it found. None allocates, none looks at a
//! byte twice. `OPEN_METRICS` is a constant parameter and not a value so that each grammar gets code of its own: these
//! loops are where a collector's parsing time goes.

use memchr::{memchr2, memchr3};

use super::error::{Expected, Fault};

/// Bits of [`CLASS`]: may start a metric name; may continue one; is a blank.
const START: u8 = 1;
const NAME: u8 = 2;
const BLANK: u8 = 4;

/// The class of each byte. `:` belongs to metric names only; label names check for it apart.
const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0usize;
    while byte < 256 {
        let c = byte as u8;
        if c.is_ascii_alphabetic() || c == b'_' || c == b':' {
            table[byte] = START | NAME;
        } else if c.is_ascii_digit() {
            table[byte] = NAME;
        } else if c == b' ' || c == b'\t' {
            table[byte] = BLANK;
        }
        byte += 1;
    }
    table
}

/// Whether an unquoted metric name may start with `byte`.
#[inline]
pub(super) fn starts_name(byte: u8) -> bool {
    CLASS[usize::from(byte)] & START != 0
}

/// The end of the unquoted metric name at `at`; `at` itself where none starts there.
#[inline]
pub(super) fn name_end(page: &[u8], at: usize) -> usize {
    if !page.get(at).is_some_and(|byte| starts_name(*byte)) {
        return at;
    }
    run(page, at, NAME)
}

/// The end of the unquoted label name at `at`: as a metric name, but without colons.
#[inline]
fn label_name_end(page: &[u8], at: usize) -> usize {
    let end = name_end(page, at);
    page[at..end].iter().position(|byte| *byte == b':').map_or(end, |colon| at + colon)
}

/// The first position from `at` on that is neither blank nor tab.
#[inline]
pub(super) fn skip_blanks(page: &[u8], at: usize) -> usize {
    run(page, at, BLANK)
}

#[inline]
fn run(page: &[u8], at: usize, class: u8) -> usize {
    page[at..].iter().position(|byte| CLASS[usize::from(*byte)] & class == 0).map_or(page.len(), |length| at + length)
}

/// The position behind the closing quote of the string whose opening quote stands at `at`. `None`: it does not close
/// (where `one_line`, not before the line's end).
#[inline]
pub(super) fn quoted_end(page: &[u8], at: usize, one_line: bool) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let rest = page.get(from..)?;
        let stop = if one_line { memchr3(b'"', b'\\', b'\n', rest) } else { memchr2(b'"', b'\\', rest) };
        let stop = from + stop?;
        match page[stop] {
            b'"' => return Some(stop + 1),
            b'\\' if page.get(stop + 1).is_some_and(|byte| *byte != b'\n') => from = stop + 2,
            _ => return None,
        }
    }
}

/// Whose labels a list holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of a series whose metric name stands before the brace.
    NamedSeries,
    /// Of a series whose metric name must be in the list.
    NamelessSeries,
    /// Of an exemplar: Prometheus takes an empty label name there, and nowhere else.
    Exemplar,
}

/// Reads a label list whose `{` stands at `at`; returns the position behind its `}`.
///
/// The text format allows blanks between tokens and a missing comma, OpenMetrics neither. A quoted string without `=`
/// is the metric name: at most one, and only where `whose` says that none stood before the brace. `texts_valid` says
/// that the whole page is UTF-8; otherwise each string is checked.
#[inline]
pub(super) fn labels_end<const OPEN_METRICS: bool>(
    page: &[u8],
    at: usize,
    whose: Whose,
    texts_valid: bool,
) -> Result<usize, Fault> {
    let scan = LabelScan::<OPEN_METRICS> { page, texts_valid };
    let mut named = whose != Whose::NamelessSeries;
    let mut at = scan.blanks(at + 1);
    loop {
        match page.get(at) {
            Some(b'}') if named => return Ok(at + 1),
            Some(b'}') => return Err((at, Expected::MetricName)),
            _ => {}
        }
        let name = scan.name(at)?;
        let after = scan.blanks(name.end);
        at = match page.get(after) {
            Some(b'=') if name.is_empty && whose != Whose::Exemplar => return Err((at, Expected::LabelName)),
            Some(b'=') => scan.value_end(after + 1)?,
            Some(b',' | b'}') if name.is_quoted && named => return Err((at, Expected::OneMetricName)),
            Some(b',' | b'}') if name.is_quoted && name.is_empty => return Err((at, Expected::MetricName)),
            Some(b',' | b'}') if name.is_quoted => {
                named = true;
                after
            }
            _ => return Err((after, Expected::Equals)),
        };
        match page.get(at) {
            Some(b',') => at = scan.blanks(at + 1),
            Some(b'}') => {}
            _ if OPEN_METRICS => return Err((at, Expected::CommaOrBrace)),
            _ => {}
        }
    }
}

/// The tokens of a label list.
struct LabelScan<'a, const OPEN_METRICS: bool> {
    page: &'a [u8],
    texts_valid: bool,
}

struct LabelName {
    end: usize,
    is_quoted: bool,
    is_empty: bool,
}

impl<const OPEN_METRICS: bool> LabelScan<'_, OPEN_METRICS> {
    #[inline]
    fn blanks(&self, at: usize) -> usize {
        if OPEN_METRICS { at } else { skip_blanks(self.page, at) }
    }

    #[inline]
    fn name(&self, at: usize) -> Result<LabelName, Fault> {
        if self.page.get(at) == Some(&b'"') {
            return self.quoted_name(at);
        }
        let end = label_name_end(self.page, at);
        if end == at {
            Err((at, Expected::LabelName))
        } else {
            Ok(LabelName { end, is_quoted: false, is_empty: false })
        }
    }

    /// A NUL byte may stand in a value, but in no name.
    fn quoted_name(&self, at: usize) -> Result<LabelName, Fault> {
        let end = self.string_end(at, false)?;
        if self.page[at..end].contains(&0) {
            return Err((at, Expected::LabelName));
        }
        Ok(LabelName { end, is_quoted: true, is_empty: end - at == 2 })
    }

    /// The position behind the value whose `=` stands before `at`, and behind the blanks that follow.
    #[inline]
    fn value_end(&self, at: usize) -> Result<usize, Fault> {
        let at = self.blanks(at);
        if self.page.get(at) != Some(&b'"') {
            return Err((at, Expected::LabelValue));
        }
        Ok(self.blanks(self.string_end(at, OPEN_METRICS)?))
    }

    #[inline]
    fn string_end(&self, at: usize, one_line: bool) -> Result<usize, Fault> {
        let end = quoted_end(self.page, at, one_line).ok_or((at, Expected::ClosingQuote))?;
        if self.texts_valid || std::str::from_utf8(&self.page[at..end]).is_ok() {
            Ok(end)
        } else {
            Err((at, Expected::Utf8))
        }
    }
}
