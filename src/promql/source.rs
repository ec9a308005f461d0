//! Where an evaluation reads samples.

use std::sync::Arc;

use super::histogram::FloatHistogram;
use super::notes::{Budget, EvalError};
use super::rows::Rows;
use super::value::{Cell, Steps, Vector};
use crate::model::{HISTOGRAM_NAN, Matcher, Timestamp};

/// Samples of one series, oldest first, without stale markers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Samples<'a> {
    /// Milliseconds, strictly ascending.
    pub times: &'a [i64],
    /// Beside `times`; `HISTOGRAM_NAN` where the sample is a histogram.
    pub values: &'a [f64],
    /// By index into `values`, ascending: exactly those that are `HISTOGRAM_NAN`.
    pub histograms: &'a [(u32, Arc<FloatHistogram>)],
}

impl<'a> Samples<'a> {
    /// Those from index `first` to before `end`; histograms keep the indices of the whole.
    pub(super) fn part(&self, first: usize, end: usize) -> Samples<'a> {
        let at = |index: usize| self.histograms.partition_point(|(own, _)| (*own as usize) < index);
        Samples {
            times: &self.times[first..end],
            values: &self.values[first..end],
            histograms: if self.histograms.is_empty() { &[] } else { &self.histograms[at(first)..at(end)] },
        }
    }

    /// All, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Timestamp, Cell)> {
        let mut histograms = self.histograms.iter();
        self.times.iter().zip(self.values).map(move |(time, value)| {
            let cell = match value.to_bits() {
                HISTOGRAM_NAN => Cell::Histogram(histograms.next().expect("one beside each marker").1.clone()),
                _ => Cell::Float(*value),
            };
            (Timestamp(*time), cell)
        })
    }
}

/// What is needed of the samples of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeReading {
    /// All of them.
    All,
    /// The first value and the last, where no value between is less than the one before it and none is a histogram. A source may give all,
    /// but where it does not all values are floats.
    Outer,
}

/// Samples of some series at the same times: what they have in common is looked at once.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The series' rows.
    pub rows: &'a [u32],
    /// As those of [`Samples`].
    pub times: &'a [i64],
    /// Series by series, each beside `times`.
    pub values: &'a [f64],
    /// How far behind a series' first value that of the next one stands.
    pub stride: usize,
    /// Whether of each series there are only the first value and the last; see [`RangeReading::Outer`].
    pub is_outer: bool,
    /// As those of [`Samples`], where there is one series alone; else there are none.
    pub histograms: &'a [(u32, Arc<FloatHistogram>)],
}

impl<'a> Batch<'a> {
    /// Of one series.
    pub fn one(row: &'a u32, samples: Samples<'a>) -> Batch<'a> {
        let Samples { times, values, histograms } = samples;
        Batch { rows: std::slice::from_ref(row), times, values, stride: values.len(), is_outer: false, histograms }
    }

    /// Each series with its row, where all its values are there.
    pub fn series(&self) -> impl Iterator<Item = (usize, Samples<'a>)> + use<'a> {
        let Batch { rows, times, values, stride, histograms, .. } = *self;
        let samples = move |at: usize| Samples { times, values: &values[at * stride..][..times.len()], histograms };
        rows.iter().enumerate().map(move |(at, row)| (*row as usize, samples(at)))
    }
}

/// Samples by series. The store's views are one; full series in memory, as unit tests of rules give them, are another.
pub trait Source: Sync {
    /// At each step the newest sample of each selected series that is not later and younger than `lookback` milliseconds; absent
    /// where that is a stale marker. The metric's name stands. Errors when the budget is spent.
    fn instant(
        &self,
        matchers: &[Matcher],
        steps: &Steps,
        lookback: i64,
        budget: &Budget<'_>,
    ) -> Result<Vector, EvalError>;

    /// The same, each cell the time of the sample in seconds.
    fn instant_times(
        &self,
        matchers: &[Matcher],
        steps: &Steps,
        lookback: i64,
        budget: &Budget<'_>,
    ) -> Result<Vector, EvalError>;

    /// Hands the samples later than `from` and not later than `to` of each selected series to `each`, with the series' row in
    /// the rows returned. Each has a sample; a series without one may be among the rows, and is then not handed over.
    fn range(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        budget: &Budget<'_>,
        reading: RangeReading,
        each: &mut dyn FnMut(Batch<'_>),
    ) -> Result<Arc<Rows>, EvalError>;

    /// What whoever asked should know of the samples that were read so far, in words of a warning.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
