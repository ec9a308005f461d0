//! Rows with the same labels, which are one series of a result or an error.
//!
//! They come about where metrics' names are taken away, or where operators bring rows of both sides together. Rows whose labels
//! cannot have become equal are not looked at.

use std::sync::Arc;

use super::evaluator::Evaluator;
use super::keys::{KeyId, KeyLabels, KeySpace};
use super::notes::EvalError;
use super::plan::lock;
use super::rows::Rows;
use super::value::{ABSENT, Cells, Steps, Vector};

/// When rows with the same labels are an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// When both have a sample at one step.
    Step,
    /// When both have a sample at one step, as results of an operator that matches one row with many.
    Match,
    /// When both have any sample.
    Series,
}

impl Evaluator<'_> {
    /// Checks rows that may have lost their names: those with the same labels become one.
    pub(super) fn unrepeated(&self, vector: Vector, steps: &Steps, overlap: Overlap) -> Result<Vector, EvalError> {
        if vector.rows.may_repeat() { self.merged(vector, steps, overlap) } else { Ok(vector) }
    }

    /// The same for rows that may have the same labels for another reason.
    pub(super) fn merged(&self, vector: Vector, steps: &Steps, overlap: Overlap) -> Result<Vector, EvalError> {
        let space = self.plan.space(KeyLabels::all());
        let mut space = lock(&space);
        let ids = space.ids(&vector.rows);
        space.note_live(vector.rows.len());
        let merge = Merge::new(&ids, space.len());
        if merge.firsts.len() == vector.rows.len() {
            return Ok(vector);
        }
        let count = steps.count as usize;
        if overlap == Overlap::Series {
            merge.check_series(&vector.cells, count)?;
        }
        let merged = merge.cells(&vector.cells, count, overlap)?;
        // Of one step every row is whole: rows that have no sample are none of the result's, whatever their labels.
        let vector = if count == 1 { vector } else { Vector { rows: merge.rows(&space), cells: merged } };
        Ok(vector)
    }
}

/// Which rows become which.
struct Merge {
    /// By row.
    targets: Vec<u32>,
    /// The keys of the merged rows.
    firsts: Vec<KeyId>,
}

impl Merge {
    fn new(ids: &[KeyId], keys: usize) -> Merge {
        let mut by_key: Vec<Option<u32>> = vec![None; keys];
        let mut firsts = Vec::with_capacity(ids.len());
        let target = |id: &KeyId| {
            *by_key[*id as usize].get_or_insert_with(|| {
                firsts.push(*id);
                firsts.len() as u32 - 1
            })
        };
        Merge { targets: ids.iter().map(target).collect(), firsts }
    }

    fn check_series(&self, cells: &Cells, count: usize) -> Result<(), EvalError> {
        let mut seen = vec![false; self.firsts.len()];
        for (row, target) in cells.floats.chunks_exact(count).zip(&self.targets) {
            let has_samples = row.iter().any(|value| value.to_bits() != ABSENT);
            if has_samples && std::mem::replace(&mut seen[*target as usize], true) {
                return Err(same_labels(Overlap::Series));
            }
        }
        Ok(())
    }

    fn cells(&self, cells: &Cells, count: usize, overlap: Overlap) -> Result<Cells, EvalError> {
        let mut merged = Cells::absent(self.firsts.len() * count);
        for (row, target) in self.targets.iter().enumerate() {
            for step in 0..count {
                let (from, to) = (row * count + step, *target as usize * count + step);
                if cells.floats[from].to_bits() == ABSENT {
                    continue;
                }
                if merged.floats[to].to_bits() != ABSENT {
                    return Err(same_labels(overlap));
                }
                merged.copy(to, cells, from);
            }
        }
        Ok(merged)
    }

    fn rows(&self, space: &KeySpace) -> Arc<Rows> {
        Rows::built(self.firsts.iter().map(|id| space.labels(*id)).collect())
    }
}

fn same_labels(overlap: Overlap) -> EvalError {
    let reason = match overlap {
        Overlap::Step | Overlap::Series => "vector cannot contain metrics with the same labelset",
        Overlap::Match => "multiple matches for labels: grouping labels must ensure unique matches",
    };
    EvalError::Execution(reason.to_owned())
}
