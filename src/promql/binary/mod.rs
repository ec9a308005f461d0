//! Operators with two sides.
//!
//! Each kind of sides has its file: a vector and a scalar, two vectors whose rows match, two vectors as sets. What an operator
//! makes of two samples stands in `operator`, once for all of them.

mod matching;
mod operator;
mod sets;
mod with_scalar;

use super::ast::{Binary, BinaryOp, Span};
use super::evaluator::Evaluator;
use super::notes::EvalError;
use super::value::{Steps, Value};
use operator::Operator;

impl Evaluator<'_> {
    /// A binary operation at each of `steps`.
    pub(super) fn binary(&self, binary: &Binary, span: Span, steps: &Steps) -> Result<Value, EvalError> {
        let operator = Operator::new(binary.op, binary.returns_bool);
        let (left, right) = (self.eval(&binary.left, steps)?, self.eval(&binary.right, steps)?);
        Ok(match (left, right) {
            (Value::Scalar(mut left), Value::Scalar(right)) => {
                let operator = Operator::new(binary.op, true);
                left.iter_mut().zip(right).for_each(|(left, right)| *left = operator.floats(*left, right));
                Value::Scalar(left)
            }
            (Value::Vector(vector), Value::Scalar(scalar)) => {
                Value::Vector(self.vector_and_scalar(&operator, vector, &scalar, span, steps)?)
            }
            (Value::Scalar(scalar), Value::Vector(vector)) => {
                Value::Vector(self.vector_and_scalar(&operator.turned(), vector, &scalar, span, steps)?)
            }
            (Value::Vector(left), Value::Vector(right)) => Value::Vector(match binary.op {
                BinaryOp::And => self.kept_where(left, right, binary, steps, true),
                BinaryOp::Unless => self.kept_where(left, right, binary, steps, false),
                BinaryOp::Or => self.union(left, right, binary, span, steps)?,
                _ => self.matched(&operator, left, right, binary, span, steps)?,
            }),
            (left, right) => unreachable!("a checked tree has no {left:?} beside {right:?}"),
        })
    }
}
