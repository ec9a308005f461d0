//! How far back an expression looks, series by series: what the store must keep for it.
//!
//! Invariant: an evaluation at `t` reads nothing of a selector that is older than what stands here for it; `@` with a fixed time is
//! left out, as nobody can say how far back it will be.

use std::time::Duration;

use super::ast::{At, Expr, ExprKind, Shift, VectorSelector};
use super::function::Function;
use super::stack::with_room;
use crate::model::{METRIC_NAME, MatchOp, Matcher};
use crate::store::Keep;

/// The metric that `info` looks at where it is not told another.
const INFO_METRIC: &str = "target_info";

/// An evaluation that is so many milliseconds late still finds what it looks for among the two newest samples.
const NEAR_MS: i64 = 10_000;

/// What must be kept so that `expr` can be evaluated `delay` after its time; both in milliseconds, as `lookback`.
pub fn needs(expr: &Expr, delay: i64, lookback: i64) -> Vec<Keep> {
    let mut needs = Needs { lookback, keeps: Vec::new() };
    needs.walk(expr, delay.max(0));
    needs.keeps
}

struct Needs {
    lookback: i64,
    keeps: Vec<Keep>,
}

impl Needs {
    /// `back`: how long ago the node is evaluated.
    fn walk(&mut self, expr: &Expr, back: i64) {
        with_room(|| self.walk_node(expr, back));
    }

    fn walk_node(&mut self, expr: &Expr, back: i64) {
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::Duration(_) | ExprKind::String(_) => {}
            ExprKind::Vector(selector) => {
                // The newest sample not later than a moment ago is one of the two newest; one from before may be as old as it may be.
                let back = shifted(&selector.shift, back);
                let lookback = if back <= NEAR_MS { 0 } else { self.lookback };
                self.add(selector, back.saturating_add(lookback));
            }
            ExprKind::Matrix(matrix) => {
                let back = shifted(&matrix.selector.shift, back);
                self.add(&matrix.selector, back.saturating_add(matrix.range));
            }
            ExprKind::Subquery(subquery) => {
                let back = shifted(&subquery.shift, back);
                self.walk(&subquery.expr, back.saturating_add(subquery.range));
            }
            ExprKind::Call(call) => {
                if call.function == Function::Info {
                    let matcher = Matcher::new(METRIC_NAME, MatchOp::Equal, INFO_METRIC).expect("no pattern");
                    self.keep(vec![matcher], back);
                }
                call.args.iter().for_each(|arg| self.walk(arg, back));
            }
            ExprKind::Aggregation(aggregation) => {
                aggregation.param.iter().for_each(|param| self.walk(param, back));
                self.walk(&aggregation.expr, back);
            }
            ExprKind::Binary(binary) => {
                self.walk(&binary.left, back);
                self.walk(&binary.right, back);
            }
            ExprKind::Negation(inner) | ExprKind::Plus(inner) | ExprKind::Paren(inner) => self.walk(inner, back),
        }
    }

    fn add(&mut self, selector: &VectorSelector, back: i64) {
        self.keep(selector.matchers.clone(), back);
    }

    fn keep(&mut self, matchers: Vec<Matcher>, back: i64) {
        let duration = Duration::from_millis(u64::try_from(back).unwrap_or(0));
        self.keeps.push(Keep { matchers, duration, is_of_recorded: false });
    }
}

/// How long before now a selector looks.
fn shifted(shift: &Shift, back: i64) -> i64 {
    let back = match shift.at {
        Some(At::Time(_)) => 0,
        Some(At::Start | At::End) | None => back,
    };
    back.saturating_add(shift.offset).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{ParseOptions, parse};

    fn seconds(source: &str, delay: i64) -> Vec<u64> {
        let expr = parse(source, &ParseOptions { experimental: true }).unwrap();
        needs(&expr, delay, 300_000).iter().map(|keep| keep.duration.as_secs()).collect()
    }

    #[test]
    fn every_selector_counts_with_all_that_stands_around_it() {
        assert_eq!(seconds("sum by (a) (x) / 2 + vector(1)", 0), [0]);
        assert_eq!(seconds("rate(x[5m]) and x offset 1h", 0), [300, 3_900]);
        assert_eq!(
            seconds("max_over_time(rate(x[5m] offset 1m)[1h:1m] offset 1d)", 60_000),
            [60 + 86_400 + 3_600 + 360]
        );
        assert_eq!(seconds("x offset -5m", 0), [0]);
        assert_eq!(seconds("topk(scalar(n), -(x @ 0))", 0), [0, 0]);
        assert_eq!(seconds("x", 30_000), [330]);
    }
}
