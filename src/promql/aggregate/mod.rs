//! Aggregations: rows come together by their keys.
//!
//! Invariant: the samples of a group are visited in the order of their rows at every step, as Prometheus visits them, so that
//! sums over the same rows in the same order have the same bits. The result's rows are the keys themselves: the same `Arc`
//! from one evaluation to the next, until there is a new key.

mod count_values;
mod fold;
mod mixed;
mod ranked;

use std::sync::Arc;

use super::ast::{AggregateOp, Aggregation, Expr, Span};
use super::evaluator::Evaluator;
use super::keys::{KeyId, KeyLabels, RowsByKey};
use super::notes::{Annotations, EvalError, Severity};
use super::plan::lock;
use super::quantile::quantile;
use super::remark::warn_of_quantile;
use super::rows::Rows;
use super::value::{ABSENT, Cells, Steps, Vector};
use crate::model::HISTOGRAM_NAN;

/// The rows of an aggregation's argument, each with its group.
struct Groups<'a> {
    input: &'a Vector,
    ids: Arc<[KeyId]>,
    /// How many groups there may be.
    len: usize,
    /// Steps.
    count: usize,
}

impl Evaluator<'_> {
    /// An aggregation at each of `steps`.
    pub(super) fn aggregate(&self, aggregation: &Aggregation, span: Span, steps: &Steps) -> Result<Vector, EvalError> {
        use AggregateOp::{BottomK, CountValues, LimitK, LimitRatio, Quantile, TopK};
        match aggregation.op {
            CountValues => self.count_values(aggregation, steps),
            TopK | BottomK | LimitK | LimitRatio => self.ranked(aggregation, span, steps),
            Quantile => {
                let param = param_of(aggregation);
                let shares = self.scalar(param, steps)?;
                self.warn_of_quantiles(&shares, param.span);
                self.grouped(aggregation, steps, |groups| self.quantiles(aggregation, groups, &shares))
            }
            _ => self.grouped(aggregation, steps, |groups| self.folded(aggregation, groups)),
        }
    }

    /// A result with one row a group, whose cells `fill` makes.
    fn grouped(
        &self,
        aggregation: &Aggregation,
        steps: &Steps,
        fill: impl FnOnce(&Groups<'_>) -> Cells,
    ) -> Result<Vector, EvalError> {
        let input = self.vector(&aggregation.expr, steps)?;
        let space = self.plan.space(KeyLabels::from(&aggregation.grouping));
        let mut space = lock(&space);
        let ids = space.ids(&input.rows);
        let groups = Groups { input: &input, ids, len: space.len(), count: steps.count as usize };
        let cells = fill(&groups);
        let live = cells.floats.chunks_exact(groups.count).filter(|row| row.iter().any(is_sample)).count();
        space.note_live(live);
        Ok(Vector { rows: space.rows(), cells })
    }

    fn quantiles(&self, aggregation: &Aggregation, groups: &Groups<'_>, shares: &[f64]) -> Cells {
        self.note_ignored_histograms(aggregation, &groups.input.cells);
        let rows = RowsByKey::new(&groups.ids, groups.len);
        let mut cells = Cells::absent(groups.len * groups.count);
        let mut values = Vec::new();
        for group in 0..groups.len {
            for (step, share) in shares.iter().enumerate() {
                let of_group = rows.rows(group as KeyId).iter();
                let of_group = of_group.map(|row| groups.input.cells.floats[*row as usize * groups.count + step]);
                values.clear();
                values.extend(of_group.filter(is_float));
                if !values.is_empty() {
                    cells.floats[group * groups.count + step] = quantile(*share, &mut values);
                }
            }
        }
        cells
    }

    fn warn_of_quantiles(&self, shares: &[f64], span: Span) {
        let mut annotations = Annotations::default();
        let (min, max) = extent(shares);
        let has_nan = shares.iter().any(|share| share.is_nan());
        let odd = [has_nan.then_some(f64::NAN), (max > 1.0).then_some(max), (min < 0.0).then_some(min)];
        odd.into_iter().flatten().for_each(|share| warn_of_quantile(&mut annotations, span, share));
        self.annotate_all(annotations);
    }

    /// Remarks that an aggregation of floats passed over histograms.
    fn note_ignored_histograms(&self, aggregation: &Aggregation, cells: &Cells) {
        if !cells.histograms.is_empty() {
            let text = format!("ignored histogram in {} aggregation", aggregation.op.name());
            self.annotate(Severity::Info, aggregation.expr.span, text);
        }
    }
}

/// The argument before the vector.
fn param_of(aggregation: &Aggregation) -> &Expr {
    aggregation.param.as_ref().expect("a checked tree has the parameters that operators take")
}

/// The least and the greatest of a parameter's values; NaN where one is NaN.
fn extent(values: &[f64]) -> (f64, f64) {
    let either = |one: f64, other: f64, choose: fn(f64, f64) -> f64| match one.is_nan() || other.is_nan() {
        true => f64::NAN,
        false => choose(one, other),
    };
    let min = values.iter().fold(f64::MAX, |min, value| either(min, *value, f64::min));
    (min, values.iter().fold(f64::MIN, |max, value| either(max, *value, f64::max)))
}

fn is_sample(value: &f64) -> bool {
    value.to_bits() != ABSENT
}

fn is_float(value: &f64) -> bool {
    !matches!(value.to_bits(), ABSENT | HISTOGRAM_NAN)
}

fn no_rows() -> Vector {
    Vector { rows: Arc::new(Rows::default()), cells: Cells::default() }
}
