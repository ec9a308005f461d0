//! `absent` and `absent_over_time`: 1 at the steps at which nothing is there.

use std::sync::Arc;

use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp};
use crate::promql::ast::{Expr, ExprKind};
use crate::promql::remark::unwrapped;
use crate::promql::rows::{Block, Rows};
use crate::promql::value::{ABSENT, Cells, Steps, Vector};

/// 1 at each step at which no row has a sample, with the labels that `argument` asks for. For `absent_over_time` the vector
/// is that of `present_over_time`.
pub fn absent(vector: &Vector, argument: &Expr, steps: Steps) -> Vector {
    let mut floats = vec![1.0; steps.count as usize];
    for row in vector.cells.floats.chunks_exact(floats.len()) {
        let found = floats.iter_mut().zip(row).filter(|(_, cell)| cell.to_bits() != ABSENT);
        found.for_each(|(float, _)| *float = f64::from_bits(ABSENT));
    }
    let rows = Rows::new([Arc::new(Block::built(vec![absent_labels(argument)]))]);
    Vector { rows: Arc::new(rows), cells: Cells { floats, ..Cells::default() } }
}

/// The labels that a selector's series surely have: those with one equality and no other matcher. Of anything else none.
pub fn absent_labels(argument: &Expr) -> Labels {
    let matchers = match &unwrapped(argument).kind {
        ExprKind::Vector(selector) => &selector.matchers,
        ExprKind::Matrix(matrix) => &matrix.selector.matchers,
        _ => return Labels::empty(),
    };
    let mut builder = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != METRIC_NAME) {
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            builder.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            builder.remove(&matcher.name);
        }
    }
    builder.build()
}
