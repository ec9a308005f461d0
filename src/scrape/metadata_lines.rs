//! The memory of a page's metadata lines: HELP, TYPE and UNIT as they stood on the last page, with what they came to.
//!
//! On a page of node_exporter they are two lines in five, and they never change. So each is compared with the one that
//! stood in its turn on the last page; where it is the same nothing is read (one `memcmp`), and after the first that is
//! another one the rest is read as usual and remembered anew.
//!
//! Invariant: what is remembered was read, all of it, without changing any family. So passing a line over leaves the families
//! as reading it would, and a page that types a family twice is never remembered.

use crate::exposition::{Format, Parser};
use crate::model::MetricType;

/// What a line came to beside its family's metadata.
#[derive(Clone, Copy, Debug)]
struct Effect {
    /// The number of its family.
    family: usize,
    /// What the parser holds for the type of the samples that follow.
    kind: MetricType,
}

/// A line of the page that is being read, by its bytes' positions; comments before it belong to it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    from: usize,
    to: usize,
    effect: Effect,
}

/// Metadata lines of the last page.
#[derive(Debug, Default)]
pub(super) struct MetadataLines {
    /// Another format may read the same bytes otherwise.
    format: Option<Format>,
    text: Vec<u8>,
    /// Where each line ends in `text`, and what it came to.
    lines: Vec<(usize, Effect)>,
    /// The line that is expected next, and where it starts in `text`.
    expected: usize,
    expected_at: usize,
    /// All lines of this page.
    seen: Vec<Seen>,
    /// Whether a line of this page was read and not passed over.
    has_read: bool,
}

impl MetadataLines {
    /// Begins a page.
    pub(super) fn begin(&mut self, format: Format) {
        if self.format != Some(format) {
            *self = MetadataLines { format: Some(format), ..MetadataLines::default() };
        }
        (self.expected, self.expected_at, self.has_read) = (0, 0, false);
        self.seen.clear();
    }

    /// Passes over the line at which `parser` stands if it is the remembered one; then the number of its family.
    #[inline]
    pub(super) fn pass_over(&mut self, parser: &mut Parser<'_>) -> Option<usize> {
        let (end, effect) = *self.lines.get(self.expected).filter(|_| !self.has_read)?;
        let from = parser.position();
        if !parser.pass_over(&self.text[self.expected_at..end], effect.kind) {
            return None;
        }
        (self.expected, self.expected_at) = (self.expected + 1, end);
        self.seen.push(Seen { from, to: parser.position(), effect });
        Some(effect.family)
    }

    /// Notes the line from `from` on that `parser` has just read.
    pub(super) fn note(&mut self, from: usize, parser: &Parser<'_>, family: usize) {
        self.has_read = true;
        self.seen.push(Seen { from, to: parser.position(), effect: Effect { family, kind: parser.kind() } });
    }

    /// Ends a page that was good; `has_changed` says whether it changed a family.
    pub(super) fn settle(&mut self, page: &[u8], has_changed: bool) {
        let is_as_before = !std::mem::take(&mut self.has_read) && self.expected == self.lines.len();
        if has_changed {
            self.forget();
        } else if !is_as_before {
            self.forget();
            // The last line of a page may go on on the next one, unless it is closed.
            let is_closed = |seen: &&Seen| page[seen.from..seen.to].ends_with(b"\n");
            for seen in self.seen.iter().filter(is_closed) {
                self.text.extend_from_slice(&page[seen.from..seen.to]);
                self.lines.push((self.text.len(), seen.effect));
            }
        }
    }

    /// Ends a page that failed. What it changed is not undone, so a line read before need not hold any more.
    pub(super) fn abandon(&mut self) {
        if self.has_read {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.text.clear();
        self.lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Entry, parser};

    /// Reads a page; how many of its metadata lines were passed over.
    fn read(lines: &mut MetadataLines, page: &str, has_changed: bool) -> usize {
        lines.begin(Format::Text);
        let mut parser = parser(Format::Text, page.as_bytes());
        let mut passed = 0;
        loop {
            if lines.pass_over(&mut parser).is_some() {
                passed += 1;
                continue;
            }
            let from = parser.position();
            match parser.next().unwrap() {
                Some(Entry::Sample(_)) => {}
                Some(_) => lines.note(from, &parser, 0),
                None => break,
            }
        }
        lines.settle(page.as_bytes(), has_changed);
        passed
    }

    #[test]
    fn lines_are_passed_over_up_to_the_first_other_one() {
        let mut lines = MetadataLines::default();
        let page = "# HELP a x\n# TYPE a gauge\na 1\n# note\n# TYPE b gauge\nb 1\n";
        let other = page.replace("# TYPE a gauge\n", "");
        for (page, has_changed, passed) in [
            (page, true, 0),
            (page, false, 0),
            (page, false, 3),
            (&other, false, 1),
            (&other, false, 2),
            (page, true, 1),
        ] {
            assert_eq!(read(&mut lines, page, has_changed), passed, "{page}");
        }
        assert_eq!(read(&mut lines, page, false), 0, "a page that changed something is not remembered");
    }

    #[test]
    fn a_line_that_the_page_does_not_end_may_go_on() {
        let mut lines = MetadataLines::default();
        assert_eq!(read(&mut lines, "# HELP a x", false), 0);
        assert_eq!(read(&mut lines, "# HELP a xyz\n", false), 0);
    }
}
