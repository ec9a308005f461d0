//! Full series in memory, as unit tests of rules and of the engine give them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::histogram::FloatHistogram;
use super::notes::{Budget, EvalError};
use super::rows::{Block, Rows};
use super::source::{Batch, RangeReading, Samples, Source};
use super::value::{ABSENT, Cell, Cells, Steps, Vector};
use crate::model::{HISTOGRAM_NAN, Labels, METRIC_NAME, Matcher, Timestamp, is_stale};

/// Series with all their samples, sorted as Prometheus sorts them.
#[derive(Clone, Debug, Default)]
pub struct SeriesSource {
    series: BTreeMap<ByPairs, Series>,
}

/// Labels in the order of their pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ByPairs(Labels);

impl Ord for ByPairs {
    fn cmp(&self, other: &ByPairs) -> Ordering {
        self.0.compare_pairs(&other.0)
    }
}

impl PartialOrd for ByPairs {
    fn partial_cmp(&self, other: &ByPairs) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Times ascend; a stale marker is a value like others here.
#[derive(Clone, Debug, Default)]
struct Series {
    times: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<(u32, Arc<FloatHistogram>)>,
}

impl SeriesSource {
    /// Appends a sample; `None` is a stale marker. One that is not later than the series' last is refused: false.
    pub fn append(&mut self, labels: &Labels, at: Timestamp, sample: Option<Cell>) -> bool {
        let series = self.series.entry(ByPairs(labels.clone())).or_default();
        if series.times.last().is_some_and(|last| *last >= at.0) {
            return false;
        }
        series.times.push(at.0);
        series.values.push(match sample {
            None => f64::from_bits(ABSENT),
            Some(Cell::Float(value)) => value,
            Some(Cell::Histogram(histogram)) => {
                series.histograms.push((series.values.len() as u32, histogram));
                f64::from_bits(HISTOGRAM_NAN)
            }
        });
        true
    }

    /// The newest sample of a series, `None` inside where that is its end.
    pub fn newest(&self, labels: &Labels) -> Option<(Timestamp, Option<Cell>)> {
        let series = self.series.get(&ByPairs(labels.clone()))?;
        let last = series.times.len().checked_sub(1)?;
        let cell = (!is_stale(series.values[last])).then(|| series.cell(last));
        Some((Timestamp(series.times[last]), cell))
    }

    fn selected<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = (&'a Labels, &'a Series)> {
        let series = self.series.iter().map(|(labels, series)| (&labels.0, series));
        series.filter(move |(labels, _)| matchers.iter().all(|one| holds(one, labels)))
    }

    fn rows(&self, matchers: &[Matcher]) -> Arc<Rows> {
        let labels = self.selected(matchers).map(|(labels, _)| labels.clone()).collect();
        Arc::new(Rows::new([Arc::new(Block::built(labels))]))
    }

    /// The newest sample at each step, as `cell` makes it.
    fn newest_at(
        &self,
        matchers: &[Matcher],
        steps: &Steps,
        lookback: i64,
        budget: &Budget<'_>,
        cell: impl Fn(&Series, usize) -> Cell,
    ) -> Result<Vector, EvalError> {
        let rows = self.rows(matchers);
        let mut cells = Cells::absent(rows.len() * steps.count as usize);
        let mut at = 0;
        for (_, series) in self.selected(matchers) {
            budget.take(steps.count as usize)?;
            for time in steps.iter() {
                let newest = series.times.partition_point(|own| *own <= time.0).checked_sub(1);
                let newest = newest.filter(|newest| series.times[*newest] > time.0 - lookback);
                let newest = newest.filter(|newest| !is_stale(series.values[*newest]));
                cells.set(at, newest.map(|newest| cell(series, newest)));
                at += 1;
            }
        }
        Ok(Vector { rows, cells })
    }
}

impl Series {
    fn cell(&self, at: usize) -> Cell {
        match self.histograms.binary_search_by_key(&(at as u32), |(own, _)| *own) {
            Ok(found) => Cell::Histogram(self.histograms[found].1.clone()),
            Err(_) => Cell::Float(self.values[at]),
        }
    }
}

fn holds(matcher: &Matcher, labels: &Labels) -> bool {
    let name = if matcher.name.is_empty() { METRIC_NAME } else { &matcher.name };
    matcher.matches(labels.get(name).unwrap_or_default())
}

impl Source for SeriesSource {
    fn instant(
        &self,
        matchers: &[Matcher],
        steps: &Steps,
        lookback: i64,
        budget: &Budget<'_>,
    ) -> Result<Vector, EvalError> {
        self.newest_at(matchers, steps, lookback, budget, Series::cell)
    }

    fn instant_times(
        &self,
        matchers: &[Matcher],
        steps: &Steps,
        lookback: i64,
        budget: &Budget<'_>,
    ) -> Result<Vector, EvalError> {
        self.newest_at(matchers, steps, lookback, budget, |series, at| Cell::Float(series.times[at] as f64 / 1000.0))
    }

    fn range(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        budget: &Budget<'_>,
        _: RangeReading,
        each: &mut dyn FnMut(Batch<'_>),
    ) -> Result<Arc<Rows>, EvalError> {
        for (row, (_, series)) in self.selected(matchers).enumerate() {
            let first = series.times.partition_point(|own| *own <= from.0);
            let end = series.times.partition_point(|own| *own <= to.0);
            budget.take(end.saturating_sub(first))?;
            let live = (first..end).filter(|at| !is_stale(series.values[*at]));
            let (mut times, mut values, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
            for at in live {
                if let Cell::Histogram(histogram) = series.cell(at) {
                    histograms.push((values.len() as u32, histogram));
                }
                times.push(series.times[at]);
                values.push(series.values[at]);
            }
            if !times.is_empty() {
                let samples = Samples { times: &times, values: &values, histograms: &histograms };
                each(Batch::one(&(row as u32), samples));
            }
        }
        Ok(self.rows(matchers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MatchOp;

    fn source() -> SeriesSource {
        let mut source = SeriesSource::default();
        let labels = Labels::from_pairs([(METRIC_NAME, "x"), ("a", "1")]);
        for (at, value) in [(0, Some(1.0)), (60_000, Some(2.0)), (120_000, None)] {
            assert!(source.append(&labels, Timestamp(at), value.map(Cell::Float)));
        }
        assert!(!source.append(&labels, Timestamp(120_000), None), "time must go on");
        source
    }

    fn name_is(name: &str) -> Vec<Matcher> {
        vec![Matcher::new(METRIC_NAME, MatchOp::Equal, name).unwrap()]
    }

    #[test]
    fn the_newest_sample_counts_until_its_marker_or_its_age_ends_it() {
        let budget = Budget::new(1_000, &|| false);
        let steps = Steps { start: Timestamp(30_000), step: 30_000, count: 4 };
        let vector = source().instant(&name_is("x"), &steps, 40_000, &budget).unwrap();
        let cells: Vec<Option<Cell>> = (0..4).map(|at| vector.cells.get(at)).collect();
        assert_eq!(cells, [Some(Cell::Float(1.0)), Some(Cell::Float(2.0)), Some(Cell::Float(2.0)), None]);
        assert!(source().instant(&name_is("y"), &steps, 40_000, &budget).unwrap().rows.is_empty());
    }

    #[test]
    fn a_range_is_open_on_the_left_and_has_no_markers() {
        let mut seen = Vec::new();
        let budget = Budget::new(1_000, &|| false);
        let mut each = |batch: Batch<'_>| seen.push((batch.rows.to_vec(), batch.times.to_vec()));
        source().range(&name_is("x"), Timestamp(0), Timestamp(120_000), &budget, RangeReading::All, &mut each).unwrap();
        assert_eq!(seen, [(vec![0], vec![60_000])]);
        let tight = Budget::new(0, &|| false);
        let (to, all) = (Timestamp(1_000_000), RangeReading::All);
        let refused = source().range(&name_is("x"), Timestamp(0), to, &tight, all, &mut |_| {});
        assert_eq!(refused.unwrap_err(), EvalError::TooManySamples);
    }
}
