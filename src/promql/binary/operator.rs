//! What an operator makes of two samples.
//!
//! A comparison without `bool` gives its left sample where it holds and no sample ([`ABSENT`]) where not, so that all operators
//! are functions of two numbers. Native histograms can be added and subtracted, compared for equality, multiplied and divided
//! by a number; other pairings give nothing and a remark.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::promql::ast::{BinaryOp, Span};
use crate::promql::elementary;
use crate::promql::evaluator::Evaluator;
use crate::promql::histogram::FloatHistogram;
use crate::promql::notes::Severity;
use crate::promql::value::{ABSENT, Cell};

/// An operator as it is applied to samples.
pub(super) struct Operator {
    op: BinaryOp,
    returns_bool: bool,
    /// Whether the sides stand the wrong way round: the first argument is right of the operator, and the one that a
    /// comparison gives.
    is_turned: bool,
    function: fn(f64, f64) -> f64,
}

/// Why two samples give nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The operator is not for samples of these kinds.
    Kinds(&'static str, &'static str),
    /// The histograms' buckets cannot be brought together.
    Buckets,
}

/// The last refusal of each step, which is the one to be remarked on.
pub(super) type Refusals = BTreeMap<usize, Refusal>;

impl Operator {
    pub(super) fn new(op: BinaryOp, returns_bool: bool) -> Operator {
        Operator { op, returns_bool, is_turned: false, function: function_of(op, returns_bool) }
    }

    /// The same for sides that stand the other way round.
    pub(super) fn turned(self) -> Operator {
        Operator { is_turned: true, ..self }
    }

    /// Whether results are no longer of the metric that the samples are of.
    pub(super) fn drops_name(&self) -> bool {
        self.returns_bool || !self.op.is_comparison()
    }

    /// Of two numbers; [`ABSENT`] where a comparison does not hold.
    #[inline]
    pub(super) fn floats(&self, one: f64, other: f64) -> f64 {
        if !self.is_turned {
            return (self.function)(one, other);
        }
        let value = (self.function)(other, one);
        let is_filter = self.op.is_comparison() && !self.returns_bool;
        if is_filter && value.to_bits() != ABSENT { one } else { value }
    }

    /// Of any two samples.
    pub(super) fn cells(&self, one: Cell, other: Cell) -> Result<Option<Cell>, Refusal> {
        if let (Cell::Float(one), Cell::Float(other)) = (&one, &other) {
            let value = self.floats(*one, *other);
            return Ok((value.to_bits() != ABSENT).then_some(Cell::Float(value)));
        }
        let (left, right) = if self.is_turned { (other, one) } else { (one, other) };
        let kinds = Refusal::Kinds(kind(&left), kind(&right));
        match (left, right) {
            (Cell::Float(factor), Cell::Histogram(histogram)) | (Cell::Histogram(histogram), Cell::Float(factor))
                if self.op == BinaryOp::Mul =>
            {
                Ok(Some(changed(histogram, |histogram| histogram.mul(factor))))
            }
            (Cell::Histogram(histogram), Cell::Float(divisor)) if self.op == BinaryOp::Div => {
                Ok(Some(changed(histogram, |histogram| histogram.div(divisor))))
            }
            (Cell::Histogram(left), Cell::Histogram(right)) => self.histograms(left, &right).ok_or(kinds)?,
            _ => Err(kinds),
        }
    }

    /// `None` where the operator is not for two histograms.
    fn histograms(&self, left: Arc<FloatHistogram>, right: &FloatHistogram) -> Option<Result<Option<Cell>, Refusal>> {
        let equality = |holds: bool| match self.returns_bool {
            true => Some(Cell::Float(f64::from(holds))),
            false => holds.then(|| Cell::Histogram(left.clone())),
        };
        let mut result = (*left).clone();
        let combined = match self.op {
            BinaryOp::Add => result.add(right),
            BinaryOp::Sub => result.sub(right),
            BinaryOp::Equal => return Some(Ok(equality(left.is_equal(right)))),
            BinaryOp::NotEqual => return Some(Ok(equality(!left.is_equal(right)))),
            _ => return None,
        };
        result.compact();
        Some(combined.map(|()| Some(Cell::Histogram(Arc::new(result)))).map_err(|_| Refusal::Buckets))
    }

    /// Remarks on what gave nothing.
    pub(super) fn remark(&self, refusals: &Refusals, span: Span, evaluator: &Evaluator<'_>) {
        let sign = self.op.symbol();
        for refusal in refusals.values() {
            match refusal {
                Refusal::Kinds(left, right) => {
                    let what = "incompatible sample types encountered for binary operator";
                    evaluator.annotate(Severity::Info, span, format!("{what} \"{sign}\": {left} {sign} {right}"));
                }
                Refusal::Buckets => {
                    let what = "incompatible bucket layout encountered for binary operator";
                    evaluator.annotate(Severity::Warning, span, format!("{what} {sign}"));
                }
            }
        }
    }
}

fn changed(mut histogram: Arc<FloatHistogram>, change: impl FnOnce(&mut FloatHistogram)) -> Cell {
    let own = Arc::make_mut(&mut histogram);
    change(own);
    own.compact();
    Cell::Histogram(histogram)
}

fn kind(cell: &Cell) -> &'static str {
    match cell {
        Cell::Float(_) => "float",
        Cell::Histogram(_) => "histogram",
    }
}

fn function_of(op: BinaryOp, returns_bool: bool) -> fn(f64, f64) -> f64 {
    match (op, returns_bool) {
        (BinaryOp::Add, _) => |left, right| left + right,
        (BinaryOp::Sub, _) => |left, right| left - right,
        (BinaryOp::Mul, _) => |left, right| left * right,
        (BinaryOp::Div, _) => |left, right| left / right,
        (BinaryOp::Mod, _) => |left, right| left % right,
        (BinaryOp::Pow, _) => elementary::pow,
        (BinaryOp::Atan2, _) => elementary::atan2,
        (BinaryOp::Equal, true) => |left, right| f64::from(left == right),
        (BinaryOp::NotEqual, true) => |left, right| f64::from(left != right),
        (BinaryOp::Greater, true) => |left, right| f64::from(left > right),
        (BinaryOp::Less, true) => |left, right| f64::from(left < right),
        (BinaryOp::GreaterOrEqual, true) => |left, right| f64::from(left >= right),
        (BinaryOp::LessOrEqual, true) => |left, right| f64::from(left <= right),
        (BinaryOp::Equal, false) => |left, right| left_where(left == right, left),
        (BinaryOp::NotEqual, false) => |left, right| left_where(left != right, left),
        (BinaryOp::Greater, false) => |left, right| left_where(left > right, left),
        (BinaryOp::Less, false) => |left, right| left_where(left < right, left),
        (BinaryOp::GreaterOrEqual, false) => |left, right| left_where(left >= right, left),
        (BinaryOp::LessOrEqual, false) => |left, right| left_where(left <= right, left),
        (BinaryOp::And | BinaryOp::Or | BinaryOp::Unless, _) => |left, _| left,
    }
}

fn left_where(holds: bool, left: f64) -> f64 {
    if holds { left } else { f64::from_bits(ABSENT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_gives_the_left_sample_or_none() {
        let greater = Operator::new(BinaryOp::Greater, false);
        assert_eq!(greater.floats(2.0, 1.0), 2.0);
        assert_eq!(greater.floats(1.0, 2.0).to_bits(), ABSENT);
        assert_eq!(greater.floats(f64::NAN, 2.0).to_bits(), ABSENT);
        // 1 > vector: the vector's sample is what stays.
        assert_eq!(greater.turned().floats(0.5, 1.0), 0.5);
        let flag = Operator::new(BinaryOp::Greater, true);
        assert_eq!((flag.floats(2.0, 1.0), flag.floats(1.0, 2.0)), (1.0, 0.0));
        assert_eq!(flag.turned().floats(0.5, 1.0), 1.0);
    }

    #[test]
    fn arithmetic_knows_its_sides() {
        let minus = Operator::new(BinaryOp::Sub, false);
        assert_eq!(minus.floats(3.0, 1.0), 2.0);
        assert_eq!(minus.turned().floats(3.0, 1.0), -2.0);
        assert_eq!(Operator::new(BinaryOp::Mod, false).floats(-7.0, 3.0), -1.0);
    }
}
