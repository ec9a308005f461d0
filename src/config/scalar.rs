//! Where a part of a scalar's value stands in the file, however the scalar is written.
//!
//! YAML changes nothing but blanks and escapes between a file and a value: lines are folded, indentation goes, and in quotes
//! some characters are written as several. So the place is found by counting what is neither: the n-th character of the value that
//! is no blank is the n-th of the source.

use super::tree::Spot;

/// The spot of the character at byte `offset` of `value`, which begins at `start` in `source`. At the end of the value it
/// is behind the last character that shows.
pub(super) fn spot_within(source: &str, start: Spot, value: &str, offset: usize) -> Spot {
    let before = value.get(..offset).unwrap_or(value).chars().filter(|c| !c.is_whitespace()).count();
    let is_end = value.get(offset..).is_none_or(|rest| rest.trim().is_empty());
    let mut reader = Reader::at(source, start);
    let mut last = start;
    for _ in 0..before {
        let Some(spot) = reader.next_shown() else { return last };
        last = Spot { column: spot.column + spot.width, width: 1, ..spot };
    }
    if is_end && before > 0 { last } else { reader.next_shown().unwrap_or(last) }
}

/// How a scalar is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Also a block's content.
    Plain,
    Single,
    Double,
}

/// Reads the characters of a scalar's value from the source.
struct Reader<'s> {
    rest: std::iter::Peekable<std::str::Chars<'s>>,
    style: Style,
    line: usize,
    column: usize,
}

impl<'s> Reader<'s> {
    fn at(source: &'s str, start: Spot) -> Reader<'s> {
        let line_start: usize = source.split_inclusive('\n').take(start.line.saturating_sub(1)).map(str::len).sum();
        let mut rest = source[line_start..].chars().peekable();
        for _ in 1..start.column {
            rest.next();
        }
        let mut reader = Reader { rest, style: Style::Plain, line: start.line, column: start.column };
        reader.open();
        reader
    }

    /// Goes behind what says how the scalar is written: a quote, or the line of a block's `|` or `>`.
    fn open(&mut self) {
        self.style = match self.rest.peek() {
            Some('\'') => Style::Single,
            Some('"') => Style::Double,
            Some('|' | '>') => {
                while self.bump().is_some_and(|c| c != '\n') {}
                return;
            }
            _ => return,
        };
        self.bump();
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        (self.line, self.column) = if next == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        Some(next)
    }

    /// The next character of the value that is no blank.
    fn next_shown(&mut self) -> Option<Spot> {
        loop {
            let (line, column) = (self.line, self.column);
            let shows = match (self.bump()?, self.style) {
                ('\'', Style::Single) => self.rest.next_if_eq(&'\'').is_some_and(|_| self.passed()),
                ('"', Style::Double) => return None,
                ('\\', Style::Double) => self.escape()?,
                (c, _) => !c.is_whitespace(),
            };
            match self.rest.peek() {
                _ if shows => return Some(Spot { line, column, width: self.column - column }),
                None => return None,
                Some(_) => {}
            }
        }
    }

    fn passed(&mut self) -> bool {
        self.column += 1;
        true
    }

    /// Behind a backslash; whether what it stands for shows.
    fn escape(&mut self) -> Option<bool> {
        let digits = match self.bump()? {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            c => return Some(!matches!(c, 'n' | 't' | 'r' | 'v' | 'f' | ' ' | '\t' | '\n' | 'N' | '_' | 'L' | 'P')),
        };
        let code: String = (0..digits).filter_map(|_| self.bump()).collect();
        let c = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32)?;
        Some(!c.is_whitespace())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Shape, parse};
    use super::*;

    /// The line and column of `wanted` in the value of the key `e`.
    fn found(source: &str, wanted: &str) -> (usize, usize) {
        let tree = parse(source).unwrap();
        let node = tree.find(&["e"]).0;
        let Shape::Scalar(value) = &node.shape else { panic!("{node:?}") };
        let offset = value.find(wanted).unwrap_or(value.len());
        let spot = spot_within(source, node.spot, value, offset);
        (spot.line, spot.column)
    }

    #[test]
    fn every_style_of_a_scalar_is_followed() {
        assert_eq!(found("e: sum(x) by z\n", "z"), (1, 14));
        assert_eq!(found("e: sum(x)\n  by z\n", "z"), (2, 6));
        assert_eq!(found("e: 'it''s z'\n", "z"), (1, 11));
        assert_eq!(found("e: 'sum(x)\n\n  by z\n\n  '\n", "z"), (3, 6));
        assert_eq!(found(r#"e: "a\n  {b=\"c\"} \u00e9 z""#, "z"), (1, 27));
        assert_eq!(found("e: |\n  sum(\n    x\n  ) z\n", "z"), (4, 5));
        assert_eq!(found("e: >-\n  sum(x)\n  by z\n", "z"), (3, 6));
        assert_eq!(found("d: 1\ne: &anchor sum(x) z\n", "z"), (2, 19));
    }

    #[test]
    fn the_end_is_behind_the_last_character() {
        assert_eq!(found("e: 'a +  '\n", "?"), (1, 8));
        assert_eq!(found("e: |\n  a +\n\nf: 1\n", "?"), (2, 6));
    }
}
