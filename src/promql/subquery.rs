//! Subqueries: an expression evaluated over steps of its own, and each row read as a range of samples.
//!
//! All windows of the outer steps lie on one grid, the multiples of the subquery's step, so the expression is evaluated once
//! over all of it.

use std::sync::Arc;

use super::ast::Subquery;
use super::evaluator::Evaluator;
use super::histogram::FloatHistogram;
use super::notes::EvalError;
use super::rows::Rows;
use super::source::Samples;
use super::value::{ABSENT, Cells, Steps, Vector};
use crate::model::{HISTOGRAM_NAN, ResetHint, Timestamp};

impl Evaluator<'_> {
    /// The expression at every time that a window of `steps` may reach, and these times.
    pub(super) fn subquery(&self, subquery: &Subquery, steps: &Steps) -> Result<(Vector, Steps), EvalError> {
        let step = subquery.step.unwrap_or(self.engine.default_subquery_step);
        let from = self.shifted(&subquery.shift, steps.start.0).saturating_sub(subquery.range);
        let to = self.shifted(&subquery.shift, steps.end().0);
        let Some((start, count)) = grid(from, to, step) else {
            return Ok((Vector { rows: Arc::new(Rows::default()), cells: Cells::default() }, *steps));
        };
        let count = u32::try_from(count).ok().filter(|count| u64::from(*count) <= self.engine.samples_max);
        let inner = Steps { start: Timestamp(start), step, count: count.ok_or(EvalError::TooManySamples)? };
        Ok((self.vector(&subquery.expr, &inner)?, inner))
    }
}

/// The multiples of `step` later than `from` and not later than `to`: the first, and how many.
fn grid(from: i64, to: i64, step: i64) -> Option<(i64, i64)> {
    let start = from.div_euclid(step) * step + step;
    (start <= to).then(|| (start, (to - start) / step + 1))
}

/// The samples of one row, as a selector would give them.
#[derive(Default)]
pub(super) struct RowSamples {
    times: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<(u32, Arc<FloatHistogram>)>,
}

impl RowSamples {
    /// Reads a row of a vector over `steps`. Hints at resets are forgotten: the samples between may be missing.
    pub(super) fn read(&mut self, vector: &Vector, row: usize, steps: &Steps) -> Samples<'_> {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        let first = row * steps.count as usize;
        for (at, time) in (first..).zip(steps.iter()) {
            let value = vector.cells.floats[at];
            if value.to_bits() == ABSENT {
                continue;
            }
            if value.to_bits() == HISTOGRAM_NAN {
                let histogram = vector.cells.histograms[&(at as u32)].clone();
                self.histograms.push((self.values.len() as u32, without_reset_hint(histogram)));
            }
            self.times.push(time.0);
            self.values.push(value);
        }
        Samples { times: &self.times, values: &self.values, histograms: &self.histograms }
    }
}

fn without_reset_hint(mut histogram: Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
        Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_lies_on_multiples_of_its_step_open_on_the_left() {
        assert_eq!(grid(0, 100, 30), Some((30, 3)));
        assert_eq!(grid(-10, 100, 30), Some((0, 4)));
        assert_eq!(grid(-31, -29, 30), Some((-30, 1)));
        assert_eq!(grid(1, 29, 30), None);
    }
}
