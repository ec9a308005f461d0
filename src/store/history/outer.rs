//! The outer samples of series that never fall, without the values between: all that the rate of a counter needs.
//!
//! Invariant: what is handed over as outer is what [`StripReader::read`] would give for these columns, cut down to the first value and the
//! last, and no value between is less than the one before it. Where that cannot be told from the steps alone (a counter
//! that began anew, a row without a sample), the values are read.

use std::ops::Range;

use super::read::{KeptSamples, StripReader, TILE_COLUMNS};

/// In place of a value: the column's values must be read.
pub(super) const MUST_READ: f64 = f64::NAN;

/// The outer values of some columns.
#[derive(Default)]
pub(super) struct Outer {
    /// The oldest that was looked at, or [`MUST_READ`].
    firsts: Vec<f64>,
    lasts: Vec<f64>,
    /// First and last, column by column.
    pairs: Vec<f64>,
}

impl StripReader<'_> {
    /// Reads columns as [`StripReader::read`] does, but hands over no more than the outer values where values do not fall.
    pub fn read_outer(&mut self, columns: &[u32], mut each: impl FnMut(Range<usize>, KeptSamples<'_>)) {
        if !self.has_outer() {
            return self.read(columns, each);
        }
        let mut outer = Outer::default();
        for (number, columns) in columns.chunks(TILE_COLUMNS).enumerate() {
            self.find_outer(columns, &mut outer);
            let mut first = 0;
            for firsts in outer.firsts.chunk_by(|one, other| one.is_nan() == other.is_nan()) {
                let (some, place) = (first..first + firsts.len(), number * TILE_COLUMNS + first);
                if firsts[0].is_nan() {
                    self.read(&columns[some], |places, samples| {
                        each(place + places.start..place + places.end, samples)
                    });
                } else {
                    let values = &outer.pairs[2 * some.start..2 * some.end];
                    each(place..place + firsts.len(), self.outer_samples(values));
                }
                first += firsts.len();
            }
        }
    }

    /// Whether the last row is not compressed and there is another one, and all samples have their row's time.
    fn has_outer(&self) -> bool {
        !self.has_beside && !self.has_ends && self.within.len() >= 2 && self.within.end > self.head_start()
    }

    fn head_start(&self) -> usize {
        self.times.len() - self.strip.head.len()
    }

    fn outer_samples<'a>(&'a self, values: &'a [f64]) -> KeptSamples<'a> {
        KeptSamples { times: &self.times[self.within.clone()], values, stride: 2, is_outer: true, histograms: &[] }
    }

    fn find_outer(&mut self, columns: &[u32], outer: &mut Outer) {
        let (mut start, Range { start: from, end }) = (self.head_start(), self.within.clone());
        let head = &self.strip.head[from.saturating_sub(start)..end - start];
        let (last, others) = head.split_last().expect("the last row of the range is in the head");
        let value = |values: &[f64], column: &u32| values.get(*column as usize).copied().unwrap_or(MUST_READ);
        outer.lasts.clear();
        outer.lasts.extend(columns.iter().map(|column| value(&last.values, column)));
        outer.firsts.clone_from(&outer.lasts);
        for row in others.iter().rev() {
            for (first, column) in outer.firsts.iter_mut().zip(columns) {
                let value = value(&row.values, column);
                *first = if value <= *first { value } else { MUST_READ };
            }
        }
        let blocks = self.strip.blocks[self.first_block..].iter();
        for (block, cursor) in blocks.zip(&mut self.cursors).rev() {
            start -= block.times().len();
            cursor.descend(block, columns, &mut outer.firsts, from.saturating_sub(start));
        }
        outer.pairs.clear();
        outer.pairs.extend(outer.firsts.iter().zip(&outer.lasts).flat_map(|(first, last)| [*first, *last]));
    }
}
