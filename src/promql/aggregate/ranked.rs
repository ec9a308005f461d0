//! `topk`, `bottomk`, `limitk`, `limit_ratio`: some of the argument's own rows.
//!
//! Of an instant query the rows stand in the order in which the result is to be shown; of a range query rows stay where they
//! are and the other cells go. Which of equal values are kept follows from Prometheus's heap, whose steps are these.

use std::cmp::Ordering;

use super::{Groups, extent, is_float, is_sample, no_rows, param_of};
use crate::model::Labels;
use crate::promql::ast::{AggregateOp, Aggregation, Span};
use crate::promql::evaluator::Evaluator;
use crate::promql::keys::{KeyId, KeyLabels, RowsByKey};
use crate::promql::notes::{EvalError, Severity};
use crate::promql::plan::lock;
use crate::promql::remark::shortest;
use crate::promql::rows::Rows;
use crate::promql::value::{Cells, Steps, Vector};

impl Evaluator<'_> {
    pub(super) fn ranked(&self, aggregation: &Aggregation, span: Span, steps: &Steps) -> Result<Vector, EvalError> {
        let params = self.scalar(param_of(aggregation), steps)?;
        let input = self.vector(&aggregation.expr, steps)?;
        if self.takes_nothing(aggregation, &params) {
            return Ok(no_rows());
        }
        let space = self.plan.space(KeyLabels::from(&aggregation.grouping));
        let mut space = lock(&space);
        let ids = space.ids(&input.rows);
        let groups = Groups { input: &input, ids, len: space.len(), count: steps.count as usize };
        space.note_live(input.rows.len());
        let kept = self.kept(aggregation, span, &groups, &params)?;
        Ok(if steps.count == 1 { in_order(&input, &kept) } else { where_kept(&input, &kept) })
    }

    /// Whether no step can keep a row; remarks on ratios that are none.
    fn takes_nothing(&self, aggregation: &Aggregation, params: &[f64]) -> bool {
        let (min, max) = extent(params);
        if aggregation.op != AggregateOp::LimitRatio {
            return max < 1.0;
        }
        for (ratio, bound) in [(max, 1.0), (min, -1.0)] {
            if ratio / bound > 1.0 {
                let what = "ratio value should be between -1 and 1";
                let text = format!("{what}, got {}, capping to {bound}", shortest(ratio));
                self.annotate(Severity::Warning, param_of(aggregation).span, text);
            }
        }
        max == 0.0 && min == 0.0
    }

    /// The cells that stay, step by step, group by group, in the order in which they are shown.
    fn kept(
        &self,
        aggregation: &Aggregation,
        span: Span,
        groups: &Groups<'_>,
        params: &[f64],
    ) -> Result<Vec<usize>, EvalError> {
        let rows = RowsByKey::new(&groups.ids, groups.len);
        let cells = &groups.input.cells;
        let mut kept = Vec::new();
        for (step, param) in params.iter().enumerate() {
            let at_step = |row: usize| row * groups.count + step;
            if !(0..groups.input.rows.len()).any(|row| is_sample(&cells.floats[at_step(row)])) {
                continue;
            }
            let Some(choice) = Choice::new(aggregation.op, *param)? else { continue };
            let ignores_histograms = matches!(choice, Choice::Heap(..));
            if ignores_histograms && cells.histograms.keys().any(|at| *at as usize % groups.count == step) {
                let text = format!("ignored histogram in {} aggregation", aggregation.op.name());
                self.annotate(Severity::Info, span, text);
            }
            for group in 0..groups.len {
                let of_group = rows.rows(group as KeyId).iter().map(|row| at_step(*row as usize));
                choice.choose(groups, of_group, &mut kept);
            }
        }
        Ok(kept)
    }
}

/// What is chosen of each group at a step.
enum Choice {
    /// The greatest or least ones, by an order in which the first is the one to go.
    Heap(usize, fn(f64, f64) -> bool),
    /// The first ones.
    First(usize),
    /// Those whose labels' hash lies in a part of all hashes.
    Ratio(f64),
}

/// The greatest `f64` below 2⁶³.
const INT64_MAX: f64 = 9_223_372_036_854_774_784.0;

impl Choice {
    fn new(op: AggregateOp, param: f64) -> Result<Option<Choice>, EvalError> {
        if op == AggregateOp::LimitRatio {
            if param.is_nan() {
                return Err(EvalError::Execution("Ratio value NaN is NaN".to_owned()));
            }
            return Ok((param != 0.0).then_some(Choice::Ratio(param.clamp(-1.0, 1.0))));
        }
        if !(-9_223_372_036_854_775_808.0..=INT64_MAX).contains(&param) {
            return Err(EvalError::Execution(format!("Scalar value {} overflows int64", shortest(param))));
        }
        let count = param as i64;
        Ok((count >= 1).then_some(match op {
            AggregateOp::TopK => Choice::Heap(count as usize, |one, other| one.is_nan() || one < other),
            AggregateOp::BottomK => Choice::Heap(count as usize, |one, other| one.is_nan() || one > other),
            _ => Choice::First(count as usize),
        }))
    }

    fn choose(&self, groups: &Groups<'_>, cells: impl Iterator<Item = usize>, kept: &mut Vec<usize>) {
        let floats = &groups.input.cells.floats;
        let mut samples = cells.filter(|at| is_sample(&floats[*at]));
        match *self {
            Choice::First(count) => kept.extend(samples.take(count)),
            Choice::Ratio(ratio) => {
                kept.extend(samples.filter(|at| is_in_ratio(&groups.input.rows.labels(at / groups.count), ratio)));
            }
            Choice::Heap(count, goes_before) => {
                let mut heap = Heap { entries: Vec::new(), goes_before };
                samples.by_ref().filter(|at| is_float(&floats[*at])).for_each(|at| heap.offer(floats[at], at, count));
                kept.extend(heap.into_sorted());
            }
        }
    }
}

/// The best values so far, the worst of them on top.
struct Heap {
    entries: Vec<(f64, usize)>,
    goes_before: fn(f64, f64) -> bool,
}

impl Heap {
    fn offer(&mut self, value: f64, at: usize, count: usize) {
        if self.entries.len() < count {
            self.entries.push((value, at));
            return self.rise();
        }
        let top = self.entries[0].0;
        let is_better = if top.is_nan() { !value.is_nan() } else { (self.goes_before)(top, value) };
        if is_better {
            self.entries[0] = (value, at);
            self.sink();
        }
    }

    fn is_before(&self, one: usize, other: usize) -> bool {
        (self.goes_before)(self.entries[one].0, self.entries[other].0)
    }

    fn rise(&mut self) {
        let mut at = self.entries.len() - 1;
        while at > 0 && self.is_before(at, (at - 1) / 2) {
            self.entries.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= self.entries.len() {
                return;
            }
            if child + 1 < self.entries.len() && self.is_before(child + 1, child) {
                child += 1;
            }
            if !self.is_before(child, at) {
                return;
            }
            self.entries.swap(at, child);
            at = child;
        }
    }

    /// The best first, NaN last.
    fn into_sorted(mut self) -> impl Iterator<Item = usize> {
        let goes_before = self.goes_before;
        self.entries.sort_by(|(one, _), (other, _)| match (one.is_nan(), other.is_nan()) {
            (false, false) if goes_before(*other, *one) => Ordering::Less,
            (false, false) if goes_before(*one, *other) => Ordering::Greater,
            (is_nan, other_is_nan) => is_nan.cmp(&other_is_nan),
        });
        self.entries.into_iter().map(|(_, at)| at)
    }
}

/// Whether the labels' hash, as a share of all hashes, lies below a ratio; of a negative one, in the rest that it leaves.
fn is_in_ratio(labels: &Labels, ratio: f64) -> bool {
    let share = hash_as_prometheus(labels) as f64 / u64::MAX as f64;
    if ratio >= 0.0 { share < ratio } else { share >= 1.0 + ratio }
}

/// Lengths up to here are one byte in the form that Prometheus hashes; longer ones are three bytes behind this mark.
const LONG_LENGTH: u8 = 255;

/// XXH64 over names and values, each behind its length.
fn hash_as_prometheus(labels: &Labels) -> u64 {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        if text.len() < usize::from(LONG_LENGTH) {
            bytes.push(text.len() as u8);
        } else {
            bytes.push(LONG_LENGTH);
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0)
}

/// A vector of one step with the rows of these cells alone, in this order.
fn in_order(input: &Vector, kept: &[usize]) -> Vector {
    let mut cells = Cells::absent(kept.len());
    kept.iter().enumerate().for_each(|(to, from)| cells.copy(to, &input.cells, *from));
    Vector { rows: Rows::built(kept.iter().map(|row| input.rows.labels(*row)).collect()), cells }
}

fn where_kept(input: &Vector, kept: &[usize]) -> Vector {
    let mut cells = Cells::absent(input.cells.floats.len());
    kept.iter().for_each(|at| cells.copy(*at, &input.cells, *at));
    Vector { rows: input.rows.clone(), cells }
}
