//! Reading the series of a strip.
//!
//! Invariant: a [`StripReader`] gives a series' samples as they were shown, oldest first, each time once; stale markers only to who wants
//! to know when a series ended.
//! Columns are best asked for in ascending order: each block is then read from its beginning to its end once.

use std::sync::Arc;

use super::block::Cursor;
use super::row::{Row, RowBeside};
use super::strip::Strip;
use super::usage::Usage;
use crate::model::{HISTOGRAM_NAN, HistogramSample, Timestamp, is_stale, stale_nan};

/// Samples of one series, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeptSamples<'a> {
    /// Milliseconds, strictly ascending.
    pub times: &'a [i64],
    /// Beside `times`; `HISTOGRAM_NAN` where the sample is a native histogram.
    pub values: &'a [f64],
    /// By index into `values`, ascending.
    pub histograms: &'a [(u32, Arc<HistogramSample>)],
}

/// Reads series within one range of time.
pub struct StripReader<'a> {
    strip: &'a Strip,
    /// From the first block that is needed on.
    first_block: usize,
    cursors: Vec<Cursor>,
    from: i64,
    to: i64,
    /// Of all rows from `first_block` on.
    times: Vec<i64>,
    /// The rows within the range.
    within: std::ops::Range<usize>,
    has_beside: bool,
    has_ends: bool,
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
        let (cursors, values) = (vec![Cursor::default(); blocks.len()], vec![0.0; times.len()]);
        let (from, to, within) = (from.0, to.0, start..end.max(start));
        StripReader {
            strip: self,
            first_block,
            cursors,
            from,
            to,
            times,
            within,
            has_beside,
            has_ends: false,
            values,
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

    /// The samples of a column's series.
    pub fn read(&mut self, column: u32) -> KeptSamples<'_> {
        if self.is_empty() {
            return KeptSamples::default();
        }
        self.decode(column as usize);
        let within = self.within.clone();
        let is_plain = self.has_ends || !self.values[within.clone()].iter().any(|value| is_stale(*value));
        if !self.has_beside && is_plain {
            return KeptSamples { times: &self.times[within.clone()], values: &self.values[within], histograms: &[] };
        }
        self.choose(column);
        KeptSamples { times: &self.own.times, values: &self.own.values, histograms: &self.own.histograms }
    }

    /// A row for each time, as they were appended.
    pub(super) fn rows(mut self, usage: &Arc<Usage>) -> Vec<Arc<Row>> {
        let mut rows: Vec<Vec<f64>> = vec![Vec::with_capacity(self.strip.columns as usize); self.times.len()];
        for column in 0..self.strip.columns as usize {
            self.decode(column);
            rows.iter_mut().zip(&self.values).for_each(|(row, value)| row.push(*value));
        }
        let row = |(at, values): (usize, Vec<f64>)| Row::new(self.times[at], values, self.beside(at).cloned(), usage);
        rows.into_iter().enumerate().map(row).map(Arc::new).collect()
    }

    fn decode(&mut self, column: usize) {
        let head = &self.strip.head;
        let mut end = self.values.len() - head.len();
        for (value, row) in self.values[end..].iter_mut().zip(head) {
            *value = row.values.get(column).copied().unwrap_or_else(stale_nan);
        }
        let mut newer = self.values.get(end).copied().unwrap_or_else(stale_nan);
        let blocks = self.strip.blocks[self.first_block..].iter();
        for (block, cursor) in blocks.zip(&mut self.cursors).rev() {
            let start = end - block.times().len();
            cursor.read(block, column, &mut newer, &mut self.values[start..end]);
            end = start;
        }
    }

    /// Leaves out stale markers, and what has another time than its row.
    fn choose(&mut self, column: u32) {
        let mut own = std::mem::take(&mut self.own);
        own.times.clear();
        own.values.clear();
        own.histograms.clear();
        let rows = if self.has_beside { 0..self.times.len() } else { self.within.clone() };
        for row in rows {
            let value = self.values[row];
            let beside = self.beside(row).filter(|_| self.has_beside);
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
