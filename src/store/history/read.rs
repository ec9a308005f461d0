//! Reading the series of a strip.
//!
//! Invariant: a [`StripReader`] gives a series' samples as they were shown, oldest first, each time once; stale markers only to who wants
//! to know when a series ended.
//! Columns are best asked for in ascending order: each block is then read from its beginning to its end once. They are read some at a
//! time, block by block: what one column's values wait for, the next one's do not.

use std::ops::Range;
use std::sync::Arc;

use super::block::Cursor;
use super::row::{Row, RowBeside};
use super::strip::Strip;
use super::usage::Usage;
use crate::model::{HISTOGRAM_NAN, HistogramSample, Timestamp, is_stale, stale_nan};

/// Columns that are read at a time, and their values at most, but for one column: so many stay in the nearest cache.
pub(super) const TILE_COLUMNS: usize = 64;
const TILE_VALUES: usize = 2_048;

/// Samples of some series at the same times, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeptSamples<'a> {
    /// Milliseconds, strictly ascending.
    pub times: &'a [i64],
    /// Series by series, each beside `times`; `HISTOGRAM_NAN` where the sample is a native histogram.
    pub values: &'a [f64],
    /// How far behind a series' first value that of the next one stands.
    pub stride: usize,
    /// Whether of each series there are only the first value and the last, as no other is less than the one before it.
    pub is_outer: bool,
    /// By index into `values`, ascending; only where there is one series alone.
    pub histograms: &'a [(u32, Arc<HistogramSample>)],
}

/// Reads series within one range of time.
pub struct StripReader<'a> {
    pub(super) strip: &'a Strip,
    /// From the first block that is needed on.
    pub(super) first_block: usize,
    pub(super) cursors: Vec<Cursor>,
    from: i64,
    to: i64,
    /// Of all rows from `first_block` on.
    pub(super) times: Vec<i64>,
    /// The rows within the range.
    pub(super) within: Range<usize>,
    pub(super) has_beside: bool,
    pub(super) has_ends: bool,
    /// Column by column, a value for each of `times`.
    values: Vec<f64>,
    own: Own,
}

/// Samples of a series that are not simply all rows.
#[derive(Default)]
struct Own {
    times: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<(u32, Arc<HistogramSample>)>,
}

impl Strip {
    /// Reads samples later than `from` and not later than `to`.
    pub fn reader(&self, from: Timestamp, to: Timestamp) -> StripReader<'_> {
        // Samples with times of their own may be older than their row, never later.
        let ends_before = |at: &usize| self.blocks[*at].times().last().is_none_or(|last| *last <= from.0);
        let first_block = (0..self.blocks.len()).take_while(ends_before).count();
        let blocks = &self.blocks[first_block..];
        let mut times: Vec<i64> = blocks.iter().flat_map(|block| block.times()).copied().collect();
        times.extend(self.head.iter().map(|row| row.time));
        let has_beside = self.head.iter().any(|row| row.beside.is_some())
            || blocks.iter().any(|block| (0..block.times().len()).any(|row| block.beside(row).is_some()));
        let (start, end) = (times.partition_point(|time| *time <= from.0), times.partition_point(|time| *time <= to.0));
        StripReader {
            strip: self,
            first_block,
            cursors: vec![Cursor::default(); blocks.len()],
            from: from.0,
            to: to.0,
            within: start..end.max(start),
            has_beside,
            has_ends: false,
            values: Vec::new(),
            times,
            own: Own::default(),
        }
    }
}

impl StripReader<'_> {
    /// Whether no series has a sample in the range, whatever its column.
    pub fn is_empty(&self) -> bool {
        self.within.is_empty() && !self.has_beside
    }

    /// The same with stale markers: where a series had no sample.
    pub fn with_ends(self) -> Self {
        StripReader { has_ends: true, ..self }
    }

    /// How many samples a series can have.
    pub fn samples_max(&self) -> usize {
        if self.has_beside { self.times.len() } else { self.within.len() }
    }

    /// Hands over the samples of these columns' series, with the place of each among `columns`; series without samples are passed over.
    pub fn read(&mut self, columns: &[u32], mut each: impl FnMut(Range<usize>, KeptSamples<'_>)) {
        if self.is_empty() {
            return;
        }
        let tile = self.tile_columns();
        for (number, columns) in columns.chunks(tile).enumerate() {
            self.decode(columns);
            self.hand_over(number * tile, columns, &mut each);
        }
    }

    fn tile_columns(&self) -> usize {
        (TILE_VALUES / self.times.len().max(1)).clamp(1, TILE_COLUMNS)
    }

    /// Those whose samples are all rows go together.
    fn hand_over(&mut self, first: usize, columns: &[u32], each: &mut impl FnMut(Range<usize>, KeptSamples<'_>)) {
        let is_whole =
            !self.has_beside && (self.has_ends || !self.values.iter().fold(false, |any, one| any | one.is_nan()));
        let mut at = 0;
        while at < columns.len() {
            let whole = if is_whole { columns.len() - at } else { self.whole_from(at, columns.len()) };
            if whole > 0 {
                each(first + at..first + at + whole, self.whole(at));
            } else {
                self.choose(at, columns[at]);
                let Own { times, values, histograms } = &self.own;
                if !times.is_empty() {
                    let samples = KeptSamples { times, values, stride: values.len(), is_outer: false, histograms };
                    each(first + at..first + at + 1, samples);
                }
            }
            at += whole.max(1);
        }
    }

    /// How many columns from this one on have a sample in each row of the range and nothing else.
    fn whole_from(&self, at: usize, columns: usize) -> usize {
        let is_whole = |at: &usize| !self.column(*at)[self.within.clone()].iter().any(|value| is_stale(*value));
        if self.has_beside { 0 } else { (at..columns).take_while(is_whole).count() }
    }

    fn column(&self, at: usize) -> &[f64] {
        &self.values[at * self.times.len()..][..self.times.len()]
    }

    fn whole(&self, at: usize) -> KeptSamples<'_> {
        let (stride, Range { start, end }) = (self.times.len(), self.within.clone());
        KeptSamples {
            times: &self.times[start..end],
            values: &self.values[at * stride + start..],
            stride,
            is_outer: false,
            histograms: &[],
        }
    }

    /// A row for each time, as they were appended.
    pub(super) fn rows(mut self, usage: &Arc<Usage>) -> Vec<Arc<Row>> {
        let mut rows: Vec<Vec<f64>> = vec![Vec::with_capacity(self.strip.columns as usize); self.times.len()];
        let columns: Vec<u32> = (0..self.strip.columns).collect();
        for columns in columns.chunks(self.tile_columns()) {
            self.decode(columns);
            for at in 0..columns.len() {
                rows.iter_mut().zip(self.column(at)).for_each(|(row, value)| row.push(*value));
            }
        }
        let row = |(at, values): (usize, Vec<f64>)| Row::new(self.times[at], values, self.beside(at).cloned(), usage);
        rows.into_iter().enumerate().map(row).map(Arc::new).collect()
    }

    fn decode(&mut self, columns: &[u32]) {
        let (strip, stride) = (self.strip, self.times.len());
        self.values.resize(columns.len() * stride, 0.0);
        let mut start = stride - strip.head.len();
        for (row, at) in strip.head.iter().zip(start..) {
            for (column, values) in columns.iter().zip(self.values.chunks_exact_mut(stride)) {
                values[at] = row.values.get(*column as usize).copied().unwrap_or_else(stale_nan);
            }
        }
        let blocks = strip.blocks[self.first_block..].iter();
        for (block, cursor) in blocks.zip(&mut self.cursors).rev() {
            start -= block.times().len();
            cursor.read(block, columns, &mut self.values, stride, start);
        }
    }

    /// Leaves out stale markers, and what has another time than its row.
    fn choose(&mut self, at: usize, column: u32) {
        let mut own = std::mem::take(&mut self.own);
        own.times.clear();
        own.values.clear();
        own.histograms.clear();
        if !self.has_beside {
            let samples = self.times.iter().zip(self.column(at)).skip(self.within.start).take(self.within.len());
            for (time, value) in samples.filter(|(_, value)| self.has_ends || !is_stale(**value)) {
                own.times.push(*time);
                own.values.push(*value);
            }
            self.own = own;
            return;
        }
        for row in 0..self.times.len() {
            let value = self.values[at * self.times.len() + row];
            let beside = self.beside(row);
            let time = beside.and_then(|beside| beside.stamp_of(column)).unwrap_or(self.times[row]);
            let is_new = own.times.last().is_none_or(|last| *last < time);
            if (is_stale(value) && !self.has_ends) || !is_new || time <= self.from || time > self.to {
                continue;
            }
            if value.to_bits() == HISTOGRAM_NAN {
                let Some(histogram) = beside.and_then(|beside| beside.histogram_of(column)) else { continue };
                own.histograms.push((own.values.len() as u32, histogram.clone()));
            }
            own.times.push(time);
            own.values.push(value);
        }
        self.own = own;
    }

    fn beside(&self, row: usize) -> Option<&Arc<RowBeside>> {
        let mut first = 0;
        for block in &self.strip.blocks[self.first_block..] {
            let rows = block.times().len();
            if row < first + rows {
                return block.beside(row - first);
            }
            first += rows;
        }
        self.strip.head[row - first].beside.as_ref()
    }
}
