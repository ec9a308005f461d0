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
    /// the rows returned. A series without samples there may be among the rows, and is then not handed over.
    fn range(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        budget: &Budget<'_>,
        each: &mut dyn FnMut(usize, Samples<'_>),
    ) -> Result<Arc<Rows>, EvalError>;

    /// What whoever asked should know of the samples that were read so far, in words of a warning.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
