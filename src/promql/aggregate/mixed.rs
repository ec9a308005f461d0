//! Sums and means where native histograms are among the samples.
//!
//! A group is of floats or of histograms; one of both gives nothing and a warning. So does one of histograms that cannot be
//! added, and from the first of these on the rest of the group is not looked at.

use super::fold::Mean;
use super::{Groups, is_sample};
use crate::promql::ast::{AggregateOp, Aggregation};
use crate::promql::compensated::CompensatedSum;
use crate::promql::evaluator::Evaluator;
use crate::promql::histogram::{FloatHistogram, Incompatible};
use crate::promql::notes::{Annotations, Severity};
use crate::promql::remark::Remark;
use crate::promql::value::{Cell, Cells};

/// A group at one step.
#[derive(Clone)]
struct Group {
    floats: Option<(CompensatedSum, Mean)>,
    histogram: Option<FloatHistogram>,
    has_histogram: bool,
    is_incompatible: bool,
    count: f64,
}

impl Evaluator<'_> {
    pub(super) fn mixed(&self, aggregation: &Aggregation, groups: &Groups<'_>) -> Cells {
        let is_mean = aggregation.op == AggregateOp::Avg;
        let empty = Group { floats: None, histogram: None, has_histogram: false, is_incompatible: false, count: 0.0 };
        let mut states = vec![empty; groups.len * groups.count];
        let mut annotations = Annotations::default();
        let cells = &groups.input.cells;
        for at in (0..cells.floats.len()).filter(|at| is_sample(&cells.floats[*at])) {
            let (row, step) = (at / groups.count, at % groups.count);
            let state = &mut states[groups.ids[row] as usize * groups.count + step];
            if let Some(cell) = cells.get(at)
                && let Err(reason) = state.add(cell, is_mean)
            {
                state.is_incompatible = true;
                let name = groups.input.rows.name(row);
                Remark::from(reason).add_to(&mut annotations, aggregation.expr.span, name);
            }
        }
        let mut result = Cells::absent(states.len());
        for (at, state) in states.into_iter().enumerate() {
            if state.floats.is_some() && state.has_histogram {
                let text = "encountered a mix of histograms and floats for aggregation";
                annotations.add(Severity::Warning, aggregation.expr.span, text);
            } else {
                result.set(at, state.finish(is_mean));
            }
        }
        self.annotate_all(annotations);
        result
    }
}

impl Group {
    fn add(&mut self, cell: Cell, is_mean: bool) -> Result<(), Incompatible> {
        if self.is_incompatible {
            return Ok(());
        }
        let is_first = self.count == 0.0;
        self.count += 1.0;
        match (cell, &mut self.floats, &mut self.histogram) {
            (Cell::Float(value), Some((sum, mean)), _) => {
                sum.add(value);
                mean.add(value);
            }
            (Cell::Float(value), floats, _) => {
                *floats = Some((CompensatedSum { sum: value, lost: 0.0 }, Mean::starting(value)));
            }
            (Cell::Histogram(other), _, own) => {
                self.has_histogram = true;
                match own {
                    Some(own) if is_mean => return move_mean(own, &other, self.count),
                    Some(own) => return own.add(&other),
                    None if is_first => *own = Some((*other).clone()),
                    // A group that began with a float gives nothing anyway.
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn finish(self, is_mean: bool) -> Option<Cell> {
        if self.is_incompatible {
            return None;
        }
        if let Some(mut histogram) = self.histogram {
            histogram.compact();
            return Some(Cell::Histogram(histogram.into()));
        }
        let (sum, mean) = self.floats?;
        Some(Cell::Float(if is_mean { mean.value() } else { sum.total() }))
    }
}

/// Moves a mean of histograms by the share of one more.
fn move_mean(mean: &mut FloatHistogram, other: &FloatHistogram, count: f64) -> Result<(), Incompatible> {
    let (mut difference, mut own) = (other.clone(), mean.clone());
    difference.div(count);
    own.div(count);
    difference.sub(&own)?;
    mean.add(&difference)
}
