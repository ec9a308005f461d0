//! The way into an evaluation and what comes out of it.

use super::ast::Expr;
use super::evaluator::Evaluator;
use super::notes::{Annotations, Budget, EvalError};
use super::plan::Plan;
use super::source::Source;
use super::value::{ABSENT, Cell, RangeSeries, Steps, Value, Vector};
use crate::model::Labels;

/// How expressions are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Milliseconds after which a sample no longer counts as a series' newest.
    pub lookback: i64,
    /// Samples that one evaluation may touch.
    pub samples_max: u64,
    /// Milliseconds between the steps of a subquery that does not say.
    pub default_subquery_step: i64,
}

/// Five minutes, as in Prometheus.
const LOOKBACK_MS: i64 = 300_000;
/// As in Prometheus.
const SAMPLES_MAX: u64 = 50_000_000;
/// Prometheus's default for `global.evaluation_interval`, which its subqueries follow.
const SUBQUERY_STEP_MS: i64 = 60_000;

impl Default for Engine {
    fn default() -> Engine {
        Engine { lookback: LOOKBACK_MS, samples_max: SAMPLES_MAX, default_subquery_step: SUBQUERY_STEP_MS }
    }
}

/// A result and what there is to say of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The result. Of an instant query its rows stand in the order in which they are to be shown.
    pub value: Value,
    /// Remarks.
    pub annotations: Annotations,
    /// The times that it is of.
    pub steps: Steps,
}

impl Engine {
    /// Evaluates an expression for all `steps` at once, until `is_over` says that time has run out.
    pub fn evaluate(
        &self,
        source: &dyn Source,
        expr: &Expr,
        steps: Steps,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Outcome, EvalError> {
        self.evaluate_planned(source, expr, steps, &Plan::passing(), is_over)
    }

    /// The same for an expression that is evaluated again and again: `plan` is its own and outlives the evaluation.
    pub fn evaluate_planned(
        &self,
        source: &dyn Source,
        expr: &Expr,
        steps: Steps,
        plan: &Plan,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Outcome, EvalError> {
        let budget = Budget::new(self.samples_max, is_over);
        let evaluator = Evaluator::new(self, source, plan, budget, steps);
        let value = evaluator.whole(expr);
        plan.forget_dead();
        let value = value?;
        Ok(Outcome { value, annotations: evaluator.into_annotations(), steps })
    }
}

impl Outcome {
    /// The series of an instant vector; none of other results.
    pub fn samples(&self) -> impl Iterator<Item = (Labels, Cell)> {
        let vector = match &self.value {
            Value::Vector(vector) if self.steps.count == 1 => Some(vector),
            _ => None,
        };
        vector.into_iter().flat_map(|vector| {
            let rows = vector.rows.labels_where(|row| vector.cells.floats[row].to_bits() != ABSENT);
            rows.filter_map(|(row, labels)| Some((labels, vector.cells.get(row)?)))
        })
    }

    /// The result as series over the steps, sorted by labels as Prometheus does; a scalar is one without labels, a string none.
    pub fn series(&self) -> Vec<RangeSeries> {
        let mut series = match &self.value {
            Value::Scalar(values) => {
                let samples = self.steps.iter().zip(values.iter().map(|value| Cell::Float(*value))).collect();
                vec![RangeSeries { labels: Labels::empty(), samples }]
            }
            Value::String(_) => Vec::new(),
            Value::Vector(vector) => range_series(vector, &self.steps),
            Value::Matrix(series) => series.clone(),
        };
        series.sort_by(|one, two| one.labels.compare_pairs(&two.labels));
        series
    }
}

/// The rows that have samples, with their times.
pub(super) fn range_series(vector: &Vector, steps: &Steps) -> Vec<RangeSeries> {
    let count = steps.count as usize;
    let cells_of = |row: usize| &vector.cells.floats[row * count..][..count];
    let rows = vector.rows.labels_where(|row| cells_of(row).iter().any(|cell| cell.to_bits() != ABSENT));
    let samples = |row: usize| {
        let cells = (0..count).map(|step| vector.cells.get(row * count + step));
        steps.iter().zip(cells).filter_map(|(time, cell)| Some((time, cell?))).collect()
    };
    rows.map(|(row, labels)| RangeSeries { labels, samples: samples(row) }).collect()
}
