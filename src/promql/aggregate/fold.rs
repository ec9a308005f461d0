//! Aggregations that take one number after the other: sums, means, extremes, counts, deviations.

use super::{Groups, is_float, is_sample};
use crate::promql::ast::{AggregateOp, Aggregation};
use crate::promql::compensated::CompensatedSum;
use crate::promql::evaluator::Evaluator;
use crate::promql::value::{ABSENT, Cells};

impl Evaluator<'_> {
    pub(super) fn folded(&self, aggregation: &Aggregation, groups: &Groups<'_>) -> Cells {
        let has_histograms = !groups.input.cells.histograms.is_empty();
        match aggregation.op {
            AggregateOp::Sum | AggregateOp::Avg if has_histograms => self.mixed(aggregation, groups),
            AggregateOp::Sum => groups.fold(is_float, CompensatedSum::starting, CompensatedSum::add, |sum| sum.total()),
            AggregateOp::Avg => groups.fold(is_float, Mean::starting, Mean::add, Mean::value),
            AggregateOp::Count => groups.fold(is_sample, |_| 1.0, |count, _| *count += 1.0, |count| count),
            AggregateOp::Group => groups.fold(is_sample, |_| 1.0, |_, _| (), |one| one),
            op => {
                self.note_ignored_histograms(aggregation, &groups.input.cells);
                groups.of_floats(op)
            }
        }
    }
}

impl Groups<'_> {
    fn of_floats(&self, op: AggregateOp) -> Cells {
        let least = |least: &mut f64, value| {
            if *least > value || least.is_nan() {
                *least = value;
            }
        };
        let greatest = |greatest: &mut f64, value| {
            if *greatest < value || greatest.is_nan() {
                *greatest = value;
            }
        };
        match op {
            AggregateOp::Min => self.fold(is_float, |value| value, least, |least| least),
            AggregateOp::Max => self.fold(is_float, |value| value, greatest, |greatest| greatest),
            AggregateOp::Stdvar => self.fold(is_float, Deviation::starting, Deviation::add, Deviation::variance),
            AggregateOp::Stddev => {
                self.fold(is_float, Deviation::starting, Deviation::add, |sum| sum.variance().sqrt())
            }
            op => unreachable!("{} is no fold over floats", op.name()),
        }
    }

    /// Begins with a group's first value at a step, adds the others.
    #[inline]
    fn fold<S: Clone>(
        &self,
        takes: impl Fn(&f64) -> bool,
        start: impl Fn(f64) -> S,
        add: impl Fn(&mut S, f64),
        finish: impl Fn(S) -> f64,
    ) -> Cells {
        let mut states: Vec<Option<S>> = vec![None; self.len * self.count];
        for (row, id) in self.input.cells.floats.chunks_exact(self.count).zip(&*self.ids) {
            let states = &mut states[*id as usize * self.count..][..self.count];
            for (value, state) in row.iter().zip(states).filter(|(value, _)| takes(value)) {
                match state {
                    Some(state) => add(state, *value),
                    None => *state = Some(start(*value)),
                }
            }
        }
        let floats = states.into_iter().map(|state| state.map_or(f64::from_bits(ABSENT), &finish));
        Cells { floats: floats.collect(), ..Cells::default() }
    }
}

impl CompensatedSum {
    fn starting(value: f64) -> CompensatedSum {
        CompensatedSum { sum: value, lost: 0.0 }
    }
}

/// A mean on its way: a sum as long as that is finite, from then on a mean that each number moves by its share.
#[derive(Clone, Copy)]
pub(super) struct Mean {
    sum: CompensatedSum,
    count: f64,
    is_moving: bool,
}

impl Mean {
    pub(super) fn starting(value: f64) -> Mean {
        Mean { sum: CompensatedSum::starting(value), count: 1.0, is_moving: false }
    }

    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.is_moving {
            let mut sum = self.sum;
            sum.add(value);
            if !sum.sum.is_infinite() {
                self.sum = sum;
                return;
            }
            self.is_moving = true;
            let before = self.count - 1.0;
            self.sum = CompensatedSum { sum: self.sum.sum / before, lost: self.sum.lost / before };
        }
        let share = (self.count - 1.0) / self.count;
        let mut mean = CompensatedSum { sum: share * self.sum.sum, lost: share * self.sum.lost };
        mean.add(value / self.count);
        self.sum = mean;
    }

    pub(super) fn value(self) -> f64 {
        if self.is_moving { self.sum.total() } else { self.sum.sum / self.count + self.sum.lost / self.count }
    }
}

/// Squares of distances from the mean, by Welford's method.
#[derive(Clone, Copy)]
struct Deviation {
    squares: f64,
    mean: f64,
    count: f64,
}

impl Deviation {
    fn starting(value: f64) -> Deviation {
        let squares = if value.is_finite() { 0.0 } else { f64::NAN };
        Deviation { squares, mean: value, count: 1.0 }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn variance(self) -> f64 {
        self.squares / self.count
    }
}
