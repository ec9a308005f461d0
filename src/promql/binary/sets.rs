//! `and`, `or`, `unless`: rows stay or go by whether the other side has a sample of the same key.

use std::sync::Arc;

use crate::promql::ast::{Binary, Span};
use crate::promql::evaluator::Evaluator;
use crate::promql::keys::{KeyId, KeyLabels};
use crate::promql::notes::EvalError;
use crate::promql::plan::lock;
use crate::promql::repeats::Overlap;
use crate::promql::rows::Rows;
use crate::promql::value::{ABSENT, Cells, Steps, Vector};

impl Evaluator<'_> {
    /// `and`: the left samples whose key the right side has; `unless`: those whose key it has not.
    pub(super) fn kept_where(
        &self,
        mut left: Vector,
        right: Vector,
        binary: &Binary,
        steps: &Steps,
        is_there: bool,
    ) -> Vector {
        let space = self.plan.space(KeyLabels::from(&binary.matching.labels));
        let mut space = lock(&space);
        let (left_ids, right_ids) = (space.ids(&left.rows), space.ids(&right.rows));
        let there = Presence::new(&right_ids, &right.cells, space.len(), steps.count as usize);
        there.keep(&left_ids, &mut left.cells, is_there);
        space.note_live(left.rows.len() + right.rows.len());
        left
    }

    /// `or`: the left samples, and the right ones whose key the left side has not.
    pub(super) fn union(
        &self,
        mut left: Vector,
        mut right: Vector,
        binary: &Binary,
        span: Span,
        steps: &Steps,
    ) -> Result<Vector, EvalError> {
        if left.rows.is_empty() {
            return Ok(right);
        }
        if right.rows.is_empty() {
            return Ok(left);
        }
        let space = self.plan.space(KeyLabels::from(&binary.matching.labels));
        let mut space = lock(&space);
        let (left_ids, right_ids) = (space.ids(&left.rows), space.ids(&right.rows));
        let there = Presence::new(&left_ids, &left.cells, space.len(), steps.count as usize);
        there.keep(&right_ids, &mut right.cells, false);
        let join = || Arc::new(Rows::joined(&left.rows, &right.rows));
        let rows = self.plan.derived(span, &left.rows, &right.rows, join);
        space.note_live(rows.len());
        left.cells.append(right.cells);
        let vector = Vector { rows, cells: left.cells };
        // Rows of both sides with the same labels have the same key: at one step only one of them is left.
        if steps.count == 1 { Ok(vector) } else { self.merged(vector, steps, Overlap::Step) }
    }
}

/// Which keys have a sample at which steps.
struct Presence {
    by_key: Vec<bool>,
    count: usize,
}

impl Presence {
    fn new(ids: &[KeyId], cells: &Cells, keys: usize, count: usize) -> Presence {
        let mut by_key = vec![false; keys * count];
        for (row, id) in cells.floats.chunks_exact(count).zip(ids) {
            let of_key = &mut by_key[*id as usize * count..][..count];
            row.iter().zip(of_key).for_each(|(value, there)| *there |= value.to_bits() != ABSENT);
        }
        Presence { by_key, count }
    }

    /// Empties the cells whose key is there, or those whose key is not.
    fn keep(&self, ids: &[KeyId], cells: &mut Cells, is_there: bool) {
        let Cells { floats, histograms } = cells;
        for (row, id) in floats.chunks_exact_mut(self.count).zip(ids) {
            let of_key = &self.by_key[*id as usize * self.count..][..self.count];
            for (value, there) in row.iter_mut().zip(of_key) {
                if *there != is_there {
                    *value = f64::from_bits(ABSENT);
                }
            }
        }
        histograms.retain(|at, _| floats[*at as usize].to_bits() != ABSENT);
    }
}
