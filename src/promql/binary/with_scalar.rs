//! A vector and a scalar: every sample for itself, rows as they were.

use super::operator::{Operator, Refusals};
use crate::model::HISTOGRAM_NAN;
use crate::promql::ast::Span;
use crate::promql::evaluator::Evaluator;
use crate::promql::notes::EvalError;
use crate::promql::repeats::Overlap;
use crate::promql::value::{ABSENT, Cell, Steps, Vector};

impl Evaluator<'_> {
    /// The operator over each sample and the scalar of its step; the vector is the operator's first side.
    pub(super) fn vector_and_scalar(
        &self,
        operator: &Operator,
        mut vector: Vector,
        scalar: &[f64],
        span: Span,
        steps: &Steps,
    ) -> Result<Vector, EvalError> {
        let histograms = std::mem::take(&mut vector.cells.histograms);
        for row in vector.cells.floats.chunks_exact_mut(scalar.len()) {
            for (cell, scalar) in row.iter_mut().zip(scalar) {
                if !matches!(cell.to_bits(), ABSENT | HISTOGRAM_NAN) {
                    *cell = operator.floats(*cell, *scalar);
                }
            }
        }
        let mut refusals = Refusals::new();
        for (at, histogram) in histograms {
            let (at, step) = (at as usize, at as usize % scalar.len());
            let result = operator.cells(Cell::Histogram(histogram), Cell::Float(scalar[step]));
            let result = result.map_err(|refusal| refusals.insert(step, refusal));
            vector.cells.set(at, result.unwrap_or_default());
        }
        operator.remark(&refusals, span, self);
        if !operator.drops_name() {
            return Ok(vector);
        }
        vector.rows = vector.rows.without_names();
        self.unrepeated(vector, steps, Overlap::Step)
    }
}
