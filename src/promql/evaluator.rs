//! The walk over the tree: each node once, for all its steps.
//!
//! What does not depend on the step (`@` fixes its selectors) is evaluated for the first step alone and spread over the others.

use std::cell::RefCell;
use std::iter::repeat_n;
use std::sync::Arc;

use super::ast::{Call, Expr, ExprKind, MatrixSelector, Shift, Span};
use super::call::{CallContext, call, info, info_matchers};
use super::engine::Engine;
use super::function::Function;
use super::notes::{Annotations, Budget, EvalError, Severity};
use super::plan::Plan;
use super::remark::unwrapped;
use super::repeats::Overlap;
use super::select::Reading;
use super::source::Source;
use super::stack::with_room;
use super::value::{ABSENT, Cells, Steps, Value, Vector};
use crate::model::HISTOGRAM_NAN;

/// One evaluation under way.
pub(super) struct Evaluator<'a> {
    pub(super) engine: &'a Engine,
    pub(super) source: &'a dyn Source,
    pub(super) plan: &'a Plan,
    pub(super) budget: Budget<'a>,
    /// The whole query's times: `start()` and `end()` are theirs, inside subqueries too.
    pub(super) query: Steps,
    annotations: RefCell<Annotations>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        source: &'a dyn Source,
        plan: &'a Plan,
        budget: Budget<'a>,
        query: Steps,
    ) -> Evaluator<'a> {
        Evaluator { engine, source, plan, budget, query, annotations: RefCell::default() }
    }

    pub(super) fn into_annotations(self) -> Annotations {
        self.annotations.into_inner()
    }

    pub(super) fn annotate(&self, severity: Severity, span: Span, text: impl Into<String>) {
        self.annotations.borrow_mut().add(severity, span, text);
    }

    pub(super) fn annotate_all(&self, annotations: Annotations) {
        self.annotations.borrow_mut().merge(annotations);
    }

    /// The expression that the query is: it alone may be a range of samples, of an instant query.
    pub(super) fn whole(&self, expr: &Expr) -> Result<Value, EvalError> {
        let inner = unwrapped(expr);
        if !matches!(inner.kind, ExprKind::Matrix(_) | ExprKind::Subquery(_)) {
            return self.eval(expr, &self.query);
        }
        if self.query.count > 1 {
            let reason = "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector";
            return Err(EvalError::Execution(reason.to_owned()));
        }
        match &inner.kind {
            ExprKind::Subquery(subquery) => self.subquery_series(subquery),
            ExprKind::Matrix(MatrixSelector { selector, range }) => self.range_series(selector, *range),
            _ => unreachable!("looked at above"),
        }
    }

    /// What a node is at each of `steps`.
    pub(super) fn eval(&self, expr: &Expr, steps: &Steps) -> Result<Value, EvalError> {
        if steps.count > 1 && is_invariant(expr) {
            let value = self.node(expr, &Steps { count: 1, ..*steps })?;
            return self.spread(value, steps.count);
        }
        self.node(expr, steps)
    }

    fn node(&self, expr: &Expr, steps: &Steps) -> Result<Value, EvalError> {
        self.budget.check_time()?;
        with_room(|| self.node_here(expr, steps))
    }

    fn node_here(&self, expr: &Expr, steps: &Steps) -> Result<Value, EvalError> {
        let count = steps.count as usize;
        match &expr.kind {
            ExprKind::Number(number) | ExprKind::Duration(number) => Ok(Value::Scalar(vec![*number; count])),
            ExprKind::String(string) => Ok(Value::String(string.clone())),
            ExprKind::Vector(selector) => self.select(selector, steps, Reading::Values).map(Value::Vector),
            ExprKind::Call(call) => self.call(call, expr.span, steps),
            ExprKind::Aggregation(aggregation) => self.aggregate(aggregation, expr.span, steps).map(Value::Vector),
            ExprKind::Binary(binary) => self.binary(binary, expr.span, steps),
            ExprKind::Negation(inner) => self.negated(inner, steps),
            ExprKind::Plus(inner) | ExprKind::Paren(inner) => self.node(inner, steps),
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => {
                unreachable!("a checked tree has ranges only at its top and as arguments, where they are read")
            }
        }
    }

    /// An expression that the tree's types say is a vector.
    pub(super) fn vector(&self, expr: &Expr, steps: &Steps) -> Result<Vector, EvalError> {
        match self.eval(expr, steps)? {
            Value::Vector(vector) => Ok(vector),
            other => unreachable!("a checked tree has a vector here, not {other:?}"),
        }
    }

    /// An expression that the tree's types say is a scalar.
    pub(super) fn scalar(&self, expr: &Expr, steps: &Steps) -> Result<Vec<f64>, EvalError> {
        match self.eval(expr, steps)? {
            Value::Scalar(scalar) => Ok(scalar),
            other => unreachable!("a checked tree has a scalar here, not {other:?}"),
        }
    }

    /// A result of one step as that of `count` steps.
    pub(super) fn spread(&self, value: Value, count: u32) -> Result<Value, EvalError> {
        let count = count as usize;
        Ok(match value {
            Value::Scalar(values) => Value::Scalar(vec![values[0]; count]),
            Value::Vector(Vector { rows, cells }) => {
                self.budget.take(rows.len() * count)?;
                let floats = cells.floats.iter().flat_map(|value| repeat_n(*value, count)).collect();
                let repeated = cells.histograms.iter().flat_map(|(at, histogram)| {
                    let first = at * count as u32;
                    (first..first + count as u32).map(move |at| (at, histogram.clone()))
                });
                Value::Vector(Vector { rows, cells: Cells { floats, histograms: repeated.collect() } })
            }
            Value::String(_) | Value::Matrix(_) => value,
        })
    }

    fn call(&self, node: &Call, span: Span, steps: &Steps) -> Result<Value, EvalError> {
        let is_range = |arg: &Expr| matches!(unwrapped(arg).kind, ExprKind::Matrix(_) | ExprKind::Subquery(_));
        if let Some(at) = node.args.iter().position(is_range) {
            return self.call_over_range(node, at, steps).map(Value::Vector);
        }
        if node.function == Function::Info {
            return self.info(node, steps).map(Value::Vector);
        }
        let args = match node.args.first().map(|arg| &unwrapped(arg).kind) {
            Some(ExprKind::Vector(selector)) if node.function == Function::Timestamp => {
                vec![Value::Vector(self.select(selector, steps, Reading::Times)?)]
            }
            _ => node.args.iter().map(|arg| self.eval(arg, steps)).collect::<Result<_, _>>()?,
        };
        let mut annotations = Annotations::default();
        let mut context = CallContext { steps: *steps, annotations: &mut annotations, plan: self.plan, node: span };
        let value = call(node, args, &mut context)?;
        self.annotate_all(annotations);
        match value {
            Value::Vector(vector) if matches!(node.function, Function::LabelReplace | Function::LabelJoin) => {
                self.merged(vector, steps, Overlap::Series).map(Value::Vector)
            }
            Value::Vector(vector) => self.unrepeated(vector, steps, Overlap::Step).map(Value::Vector),
            other => Ok(other),
        }
    }

    /// Info series are looked for at the steps themselves, wherever the first argument looks.
    fn info(&self, node: &Call, steps: &Steps) -> Result<Vector, EvalError> {
        let Value::Vector(base) = self.eval(&node.args[0], steps)? else {
            unreachable!("a checked tree has a vector here")
        };
        let matchers = info_matchers(node);
        let times = self.source.instant_times(&matchers, steps, self.engine.lookback, &self.budget)?;
        info(node, &base, &times, steps.count as usize)
    }

    fn negated(&self, inner: &Expr, steps: &Steps) -> Result<Value, EvalError> {
        match self.eval(inner, steps)? {
            Value::Scalar(values) => Ok(Value::Scalar(values.into_iter().map(|value| -value).collect())),
            Value::Vector(mut vector) => {
                let is_float = |value: &&mut f64| !matches!(value.to_bits(), ABSENT | HISTOGRAM_NAN);
                vector.cells.floats.iter_mut().filter(is_float).for_each(|value| *value = -*value);
                vector.cells.histograms.values_mut().for_each(|histogram| Arc::make_mut(histogram).mul(-1.0));
                vector.rows = vector.rows.without_names();
                self.unrepeated(vector, steps, Overlap::Series).map(Value::Vector)
            }
            other => unreachable!("a checked tree negates no {other:?}"),
        }
    }

    /// Where a selector or a subquery looks at a time: the time itself, or that of `@`; less the offset.
    pub(super) fn shifted(&self, shift: &Shift, time: i64) -> i64 {
        use super::ast::At;
        let time = match shift.at {
            None => time,
            Some(At::Time(at)) => at.0,
            Some(At::Start) => self.query.start.0,
            Some(At::End) => self.query.end().0,
        };
        time.saturating_sub(shift.offset)
    }
}

/// Whether a node is the same at every step. What stands in a subquery does not count: it has steps of its own.
fn is_invariant(expr: &Expr) -> bool {
    with_room(|| is_node_invariant(&expr.kind))
}

fn is_node_invariant(kind: &ExprKind) -> bool {
    match kind {
        ExprKind::Number(_) | ExprKind::Duration(_) | ExprKind::String(_) => true,
        ExprKind::Vector(selector) => selector.shift.at.is_some(),
        ExprKind::Matrix(matrix) => matrix.selector.shift.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.shift.at.is_some(),
        ExprKind::Call(call) => !looks_at_the_time(call.function) && call.args.iter().all(is_invariant),
        ExprKind::Aggregation(aggregation) => is_invariant(&aggregation.expr),
        ExprKind::Binary(binary) => is_invariant(&binary.left) && is_invariant(&binary.right),
        ExprKind::Negation(inner) | ExprKind::Plus(inner) | ExprKind::Paren(inner) => is_invariant(inner),
    }
}

/// Functions that give something else at another time though their arguments are the same.
fn looks_at_the_time(function: Function) -> bool {
    matches!(
        function,
        Function::DaysInMonth
            | Function::DayOfMonth
            | Function::DayOfWeek
            | Function::DayOfYear
            | Function::Hour
            | Function::Minute
            | Function::Month
            | Function::Year
            | Function::PredictLinear
            | Function::Time
            | Function::Timestamp
    )
}
