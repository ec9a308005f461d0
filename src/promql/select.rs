//! Selectors, and functions over the ranges that they give.
//!
//! A range never stands in memory as a node's value: the source hands over one series after the other, and the window of each
//! step is a part of its samples.

use std::cell::Cell as Flag;
use std::ops::Range;
use std::sync::Arc;

use super::ast::{Call, ExprKind, MatrixSelector, Shift, VectorSelector};
use super::call::absent;
use super::engine::range_series;
use super::evaluator::Evaluator;
use super::function::Function;
use super::notes::{Annotations, Budget, EvalError};
use super::over_time::{
    CallNotes, Window, keeps_name, needs_outer, note_counter, over_window, rates_over, wants_counter,
};
use super::remark::unwrapped;
use super::repeats::Overlap;
use super::rows::Rows;
use super::source::{Batch, RangeReading, Samples};
use super::value::{ABSENT, Cell, Cells, RangeSeries, Steps, Value, Vector};
use crate::model::{HISTOGRAM_NAN, Timestamp};

/// What a selector reads of the samples that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The samples.
    Values,
    /// Their times, in seconds.
    Times,
}

impl Evaluator<'_> {
    /// The newest samples of a selector's series at each step.
    pub(super) fn select(
        &self,
        selector: &VectorSelector,
        steps: &Steps,
        reading: Reading,
    ) -> Result<Vector, EvalError> {
        let is_fixed = selector.shift.at.is_some();
        let start = Timestamp(self.shifted(&selector.shift, steps.start.0));
        let shifted = Steps { start, count: if is_fixed { 1 } else { steps.count }, ..*steps };
        let (matchers, lookback) = (&selector.matchers, self.engine.lookback);
        let vector = match reading {
            Reading::Values => self.source.instant(matchers, &shifted, lookback, &self.budget)?,
            Reading::Times => self.source.instant_times(matchers, &shifted, lookback, &self.budget)?,
        };
        if shifted.count == steps.count {
            return Ok(vector);
        }
        match self.spread(Value::Vector(vector), steps.count)? {
            Value::Vector(vector) => Ok(vector),
            _ => unreachable!("a vector stays one"),
        }
    }

    /// The samples of a range selector at the one step of an instant query.
    pub(super) fn range_series(&self, selector: &VectorSelector, range: i64) -> Result<Value, EvalError> {
        let end = self.shifted(&selector.shift, self.query.start.0);
        let (from, to) = (Timestamp(end.saturating_sub(range)), Timestamp(end));
        let mut found: Vec<(usize, Vec<(Timestamp, Cell)>)> = Vec::new();
        let samples = |(row, samples): (usize, Samples<'_>)| (row, samples.iter().collect());
        let mut keep = |batch: Batch<'_>| found.extend(batch.series().map(samples));
        let rows = self.source.range(&selector.matchers, from, to, &self.budget, RangeReading::All, &mut keep)?;
        let named = |(row, samples)| RangeSeries { labels: rows.labels(row), samples };
        Ok(Value::Matrix(found.into_iter().map(named).collect()))
    }

    /// A function whose argument `at` is a range.
    pub(super) fn call_over_range(&self, call: &Call, at: usize, steps: &Steps) -> Result<Vector, EvalError> {
        let others = call.args.iter().enumerate().filter(|(other, _)| *other != at);
        let params = others.map(|(_, arg)| self.scalar(arg, steps)).collect::<Result<_, _>>()?;
        let (rows, cells) = match &unwrapped(&call.args[at]).kind {
            ExprKind::Matrix(MatrixSelector { selector, range }) => {
                let mut run = self.range_call(call, params, self.windows(*range, &selector.shift, steps));
                (self.over_selector(selector, &mut run)?, run.cells)
            }
            ExprKind::Subquery(subquery) => {
                let mut run = self.range_call(call, params, self.windows(subquery.range, &subquery.shift, steps));
                let (vector, inner) = self.subquery(subquery, steps)?;
                self.over_subquery(&vector, &inner, &mut run)?;
                (vector.rows, run.cells)
            }
            _ => unreachable!("the caller saw a range"),
        };
        self.named_result(call, Vector { rows, cells }, steps)
    }

    fn range_call<'a>(&'a self, call: &'a Call, params: Vec<Vec<f64>>, windows: Windows) -> RangeCall<'a> {
        RangeCall { call, params, windows, budget: &self.budget, cells: Cells::default(), failure: None }
    }

    fn windows(&self, range: i64, shift: &Shift, steps: &Steps) -> Windows {
        let step = if shift.at.is_some() { 0 } else { steps.step };
        Windows { range, first_end: self.shifted(shift, steps.start.0), step, steps: *steps }
    }

    /// Remarks name the metric, and rows are known only when all series were seen. So a run that has a remark is made again.
    fn over_selector(&self, selector: &VectorSelector, run: &mut RangeCall<'_>) -> Result<Arc<Rows>, EvalError> {
        let (from, to) = (Timestamp(run.windows.from()), Timestamp(run.windows.to()));
        // Of one window, which is the whole range.
        let is_enough = run.windows.steps.count == 1 && needs_outer(run.call.function);
        let reading = if is_enough { RangeReading::Outer } else { RangeReading::All };
        let has_remarks = Flag::new(false);
        let unnamed = || {
            has_remarks.set(true);
            String::new()
        };
        let mut annotations = Annotations::default();
        let mut notes = CallNotes::new(&mut annotations, run.call, &unnamed);
        let mut each = |batch: Batch<'_>| run.batch(batch, &mut notes);
        let rows = self.source.range(&selector.matchers, from, to, &self.budget, reading, &mut each)?;
        if has_remarks.get() {
            annotations = Annotations::default();
            let mut each = |batch: Batch<'_>| {
                for (row, samples) in batch.series() {
                    let name = || rows.name(row).to_owned();
                    let notes = &mut CallNotes::new(&mut annotations, run.call, &name);
                    run.batch(Batch::one(&(row as u32), samples), notes);
                }
            };
            self.source.range(&selector.matchers, from, to, &self.budget, RangeReading::All, &mut each)?;
        }
        self.annotate_all(annotations);
        run.finish(rows.len())?;
        Ok(rows)
    }

    fn over_subquery(&self, vector: &Vector, inner: &Steps, run: &mut RangeCall<'_>) -> Result<(), EvalError> {
        let mut annotations = Annotations::default();
        let mut buffer = super::subquery::RowSamples::default();
        for row in 0..vector.rows.len() {
            let name = || vector.rows.name(row).to_owned();
            let samples = buffer.read(vector, row, inner);
            let notes = &mut CallNotes::new(&mut annotations, run.call, &name);
            run.batch(Batch::one(&(row as u32), samples), notes);
        }
        self.annotate_all(annotations);
        run.finish(vector.rows.len())
    }

    /// Names and remarks on them; `absent_over_time` turns the result about.
    fn named_result(&self, call: &Call, vector: Vector, steps: &Steps) -> Result<Vector, EvalError> {
        if call.function == Function::AbsentOverTime {
            return Ok(absent(&vector, &call.args[0], *steps));
        }
        if wants_counter(call.function) {
            self.note_counters(call, &vector, steps);
        }
        if keeps_name(call.function) {
            return Ok(vector);
        }
        let rows = vector.rows.without_names();
        self.unrepeated(Vector { rows, ..vector }, steps, Overlap::Series)
    }

    fn note_counters(&self, call: &Call, vector: &Vector, steps: &Steps) {
        let is_float = |value: &f64| !matches!(value.to_bits(), ABSENT | HISTOGRAM_NAN);
        let rows = vector.cells.floats.chunks_exact(steps.count as usize).enumerate();
        let mut with_floats = rows.filter(|(_, cells)| cells.iter().any(is_float)).map(|(row, _)| row);
        let named = if vector.rows.had_one_name() { 1 } else { usize::MAX };
        let mut annotations = Annotations::default();
        with_floats.by_ref().take(named).for_each(|row| note_counter(&mut annotations, call, vector.rows.name(row)));
        self.annotate_all(annotations);
    }
}

/// The rows of a vector as ranges of samples, as a result shows them.
impl Evaluator<'_> {
    /// The samples of a subquery at the one step of an instant query.
    pub(super) fn subquery_series(&self, subquery: &super::ast::Subquery) -> Result<Value, EvalError> {
        let (vector, inner) = self.subquery(subquery, &self.query)?;
        Ok(Value::Matrix(range_series(&vector, &inner)))
    }
}

/// The window of each step.
struct Windows {
    range: i64,
    first_end: i64,
    /// Zero where `@` fixes the window.
    step: i64,
    steps: Steps,
}

impl Windows {
    fn end(&self, step: u32) -> i64 {
        self.first_end + self.step * i64::from(step)
    }

    fn from(&self) -> i64 {
        self.first_end.saturating_sub(self.range)
    }

    fn to(&self) -> i64 {
        self.end(self.steps.count - 1)
    }

    /// Of each step that has some of these times in its window: which of them, and the window's bounds.
    fn each(&self, times: &[i64], mut then: impl FnMut(u32, Range<usize>, (i64, i64))) {
        let (mut first, mut behind) = (0, 0);
        for step in 0..self.steps.count {
            let end = self.end(step);
            let start = end.saturating_sub(self.range);
            behind += times[behind..].iter().take_while(|time| **time <= end).count();
            first += times[first..behind].iter().take_while(|time| **time <= start).count();
            if first < behind {
                then(step, first..behind, (start, end));
            }
        }
    }
}

/// A function on its way over series.
struct RangeCall<'a> {
    call: &'a Call,
    /// The scalar arguments, each with a value a step.
    params: Vec<Vec<f64>>,
    windows: Windows,
    /// Of which cells are taken: a series of few samples has a cell a step.
    budget: &'a Budget<'a>,
    cells: Cells,
    failure: Option<EvalError>,
}

impl RangeCall<'_> {
    fn batch(&mut self, batch: Batch<'_>, notes: &mut CallNotes<'_>) {
        if self.failure.is_some() {
            return;
        }
        let rows = batch.rows.iter().max().map_or(0, |last| *last as usize + 1);
        let done = self.reach(rows).and_then(|()| self.over_batch(batch, notes));
        self.failure = done.err();
    }

    fn over_batch(&mut self, batch: Batch<'_>, notes: &mut CallNotes<'_>) -> Result<(), EvalError> {
        let RangeCall { call, params, windows, cells, .. } = self;
        let count = windows.steps.count as usize;
        let mut at_step: Vec<f64> = Vec::with_capacity(params.len());
        let mut failure = None;
        windows.each(batch.times, |step, within, bounds| {
            let rates = rates_over(call.function, &batch.times[within.clone()], bounds);
            if let Some(rates) = rates.filter(|_| batch.histograms.is_empty()) {
                let within = if batch.is_outer { 0..2 } else { within };
                for (row, values) in batch.rows.iter().zip(batch.values.chunks(batch.stride)) {
                    let value = rates.of(&values[within.clone()]).unwrap_or(f64::from_bits(ABSENT));
                    cells.floats[*row as usize * count + step as usize] = value;
                }
                return;
            }
            at_step.clear();
            at_step.extend(params.iter().map(|param| param[step as usize]));
            let at = windows.steps.at(step).0;
            for (row, samples) in batch.series() {
                let samples = samples.part(within.start, within.end);
                let window = Window { samples, start: bounds.0, end: bounds.1, at };
                match over_window(call.function, &window, &at_step, notes) {
                    Ok(cell) => cells.set(row * count + step as usize, cell),
                    Err(error) => failure = failure.take().or(Some(error)),
                }
            }
        });
        failure.map_or(Ok(()), Err)
    }

    /// Fills up to `rows`, of which the last may have had no samples.
    fn finish(&mut self, rows: usize) -> Result<(), EvalError> {
        self.failure.take().map_or(Ok(()), Err)?;
        self.reach(rows)
    }

    /// Has cells for at least so many rows.
    fn reach(&mut self, rows: usize) -> Result<(), EvalError> {
        let (cells, known) = (rows * self.windows.steps.count as usize, self.cells.floats.len());
        if known < cells {
            self.budget.take(cells - known)?;
            self.cells.floats.resize(cells, f64::from_bits(ABSENT));
        }
        Ok(())
    }
}
