//! Functions over instant vectors, scalars and nothing, for all steps at once.
//!
//! A function of floats leaves histograms out, and one of histograms floats: rows stay, their cells go. Names of metrics are
//! dropped by [`Rows::without_names`]; that the remaining label sets are distinct is the engine's to check, once for all nodes.

mod absent;
mod bucket_rows;
mod buckets;
mod dates;
mod floats;
mod histograms;
mod info;
mod labels;
mod native;
mod order;

pub(super) use bucket_rows::BucketRows;

pub use absent::{absent, absent_labels};
pub use info::{info, info_matchers};

use std::sync::Arc;

use super::ast::{Call, ExprKind, Span};
use super::function::Function;
use super::notes::{Annotations, EvalError};
use super::plan::Plan;
use super::remark::unwrapped;
use super::rows::{Block, Rows};
use super::value::{ABSENT, Cells, Steps, Value, Vector};
use crate::model::Labels;

/// What a call sees beside its arguments.
pub struct CallContext<'a> {
    /// The evaluation's times.
    pub steps: Steps,
    /// Where remarks go.
    pub annotations: &'a mut Annotations,
    /// What is kept of earlier evaluations.
    pub plan: &'a Plan,
    /// The call's place, by which the plan knows it.
    pub node: Span,
}

/// What a call gives. `args` are the values of its arguments as written, for all steps.
///
/// `timestamp` of a bare selector wants [`Source::instant_times`](super::Source::instant_times) as its argument.
pub fn call(call: &Call, args: Vec<Value>, context: &mut CallContext<'_>) -> Result<Value, EvalError> {
    let mut args = Args { values: args.into_iter() };
    let steps = context.steps;
    Ok(match call.function {
        Function::Time => Value::Scalar(steps.iter().map(|at| at.0 as f64 / 1000.0).collect()),
        Function::Pi => Value::Scalar(vec![std::f64::consts::PI; steps.count as usize]),
        Function::Scalar => Value::Scalar(floats::scalar(&args.vector(), steps)),
        Function::Vector => Value::Vector(of_no_labels(args.scalar(steps))),
        Function::Absent => Value::Vector(absent(&args.vector(), &call.args[0], steps)),
        Function::Timestamp => Value::Vector(timestamp(call, args.vector(), steps)),
        Function::Clamp => {
            let (vector, min, max) = (args.vector(), args.scalar(steps), args.scalar(steps));
            Value::Vector(floats::clamp(vector, |step| (min[step], max[step]), steps))
        }
        Function::ClampMin => {
            let (vector, min) = (args.vector(), args.scalar(steps));
            Value::Vector(floats::clamp(vector, |step| (min[step], f64::INFINITY), steps))
        }
        Function::ClampMax => {
            let (vector, max) = (args.vector(), args.scalar(steps));
            Value::Vector(floats::clamp(vector, |step| (f64::NEG_INFINITY, max[step]), steps))
        }
        Function::Round => {
            let (vector, nearest) = (args.vector(), args.optional_scalar());
            Value::Vector(floats::round(vector, nearest.as_deref(), steps))
        }
        Function::HistogramQuantile => {
            let (q, vector) = (args.scalar(steps), args.vector());
            Value::Vector(histograms::quantile(call, &q, &vector, context))
        }
        Function::HistogramFraction => {
            let (lower, upper, vector) = (args.scalar(steps), args.scalar(steps), args.vector());
            Value::Vector(histograms::fraction(call, [&lower, &upper], &vector, context))
        }
        Function::LabelReplace => {
            let (vector, texts) = (args.vector(), args.strings());
            let [target, replacement, source, pattern] = &texts[..] else { unreachable!("a checked tree has four") };
            Value::Vector(labels::replace(vector, [target, replacement, source, pattern], context)?)
        }
        Function::LabelJoin => {
            let (vector, texts) = (args.vector(), args.strings());
            let [target, separator, sources @ ..] = &texts[..] else { unreachable!("a checked tree has two") };
            Value::Vector(labels::join(vector, target, separator, sources, context)?)
        }
        Function::Sort => Value::Vector(order::by_value(args.vector(), false, steps)),
        Function::SortDesc => Value::Vector(order::by_value(args.vector(), true, steps)),
        Function::SortByLabel => Value::Vector(order::by_labels(args.vector(), &args.strings(), false, steps)),
        Function::SortByLabelDesc => Value::Vector(order::by_labels(args.vector(), &args.strings(), true, steps)),
        function => Value::Vector(of_cells(function, args, steps)?),
    })
}

/// Functions that look at one cell at a time.
fn of_cells(function: Function, mut args: Args, steps: Steps) -> Result<Vector, EvalError> {
    if let Some(of_one) = floats::of_one(function) {
        return Ok(floats::mapped(args.vector(), of_one));
    }
    if let Some(of_histogram) = native::of_histogram(function) {
        return Ok(native::mapped(args.vector(), of_histogram));
    }
    if let Some(of_date) = dates::of_date(function) {
        // Without an argument it is the step's own time, in whole seconds.
        let now = || of_no_labels(steps.iter().map(|at| of_date((at.0 / 1000) as f64)).collect());
        return Ok(args.optional_vector().map_or_else(now, |vector| floats::mapped(vector, of_date)));
    }
    Err(EvalError::Execution(format!("{}() needs more than its arguments' values", function.name())))
}

/// Arguments in order. The tree's types are checked, so that each is what it must be.
struct Args {
    values: std::vec::IntoIter<Value>,
}

impl Args {
    fn vector(&mut self) -> Vector {
        match self.values.next() {
            Some(Value::Vector(vector)) => vector,
            other => unreachable!("a checked tree has a vector here, not {other:?}"),
        }
    }

    fn optional_vector(&mut self) -> Option<Vector> {
        (self.values.len() > 0).then(|| self.vector())
    }

    /// All that are left.
    fn strings(&mut self) -> Vec<Arc<str>> {
        let string = |value| match value {
            Value::String(string) => string,
            other => unreachable!("a checked tree has a string here, not {other:?}"),
        };
        self.values.by_ref().map(string).collect()
    }

    fn scalar(&mut self, steps: Steps) -> Vec<f64> {
        let scalar = self.optional_scalar().expect("a checked tree has a scalar here");
        debug_assert_eq!(scalar.len(), steps.count as usize);
        scalar
    }

    fn optional_scalar(&mut self) -> Option<Vec<f64>> {
        match self.values.next()? {
            Value::Scalar(scalar) => Some(scalar),
            other => unreachable!("a checked tree has a scalar here, not {other:?}"),
        }
    }
}

/// One row without labels.
fn of_no_labels(floats: Vec<f64>) -> Vector {
    let rows = Rows::new([Arc::new(Block::built(vec![Labels::empty()]))]);
    Vector { rows: Arc::new(rows), cells: Cells { floats, ..Cells::default() } }
}

/// The times of samples: those of a bare selector stand in its cells, all other samples are of their step.
fn timestamp(call: &Call, mut vector: Vector, steps: Steps) -> Vector {
    if !matches!(unwrapped(&call.args[0]).kind, ExprKind::Vector(_)) {
        let times: Vec<f64> = steps.iter().map(|at| at.0 as f64 / 1000.0).collect();
        for row in vector.cells.floats.chunks_exact_mut(times.len()) {
            let cells = row.iter_mut().zip(&times).filter(|(cell, _)| cell.to_bits() != ABSENT);
            cells.for_each(|(cell, time)| *cell = *time);
        }
        vector.cells.histograms.clear();
    }
    Vector { rows: vector.rows.without_names(), cells: vector.cells }
}
