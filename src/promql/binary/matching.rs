//! Two vectors whose rows match: arithmetic and comparisons.
//!
//! Each row of the "many" side (the left one, where it is one to one) meets the rows of the "one" side that have its key. At
//! one step only one of those may have a sample. Errors are found where Prometheus finds them: step by step, and not at a step
//! where one side is empty.

use std::sync::Arc;

use super::operator::{Operator, Refusals};
use crate::model::{HISTOGRAM_NAN, Labels, LabelsBuilder};
use crate::promql::ast::{Binary, Cardinality, Span};
use crate::promql::evaluator::Evaluator;
use crate::promql::keys::{KeyId, KeyLabels, KeySpace, RowsByKey};
use crate::promql::notes::EvalError;
use crate::promql::plan::lock;
use crate::promql::repeats::Overlap;
use crate::promql::rows::Rows;
use crate::promql::value::{ABSENT, Cells, Steps, Vector};

impl Evaluator<'_> {
    /// The operator over each pair of samples that match.
    pub(super) fn matched(
        &self,
        operator: &Operator,
        left: Vector,
        right: Vector,
        binary: &Binary,
        span: Span,
        steps: &Steps,
    ) -> Result<Vector, EvalError> {
        let is_turned = binary.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if is_turned { (right, left) } else { (left, right) };
        let space = self.plan.space(KeyLabels::from(&binary.matching.labels));
        let mut space = lock(&space);
        let (many_ids, one_ids) = (space.ids(&many.rows), space.ids(&one.rows));
        let ones = RowsByKey::new(&one_ids, space.len());
        let sides = Sides { many: &many, one: &one, ones, many_ids: &many_ids, is_turned, count: steps.count as usize };
        space.note_live(many.rows.len() + one.rows.len());
        sides.check_ones(&space)?;
        self.budget.take(sides.pairs().count() * sides.count)?;
        let results = self.results(operator, binary, span, &sides, &mut space);
        let vector = sides.combine(operator, binary, results, |refusals| operator.remark(refusals, span, self))?;
        drop(space);
        match binary.matching.include.is_empty() {
            true => self.unrepeated(vector, steps, Overlap::Match),
            false => self.merged(vector, steps, Overlap::Match),
        }
    }

    /// Which row each pair's result goes to.
    fn results(
        &self,
        operator: &Operator,
        binary: &Binary,
        span: Span,
        sides: &Sides<'_>,
        space: &mut KeySpace,
    ) -> Results {
        let matching = &binary.matching;
        let drops_name = operator.drops_name();
        let named = |rows: Arc<Rows>| if drops_name { rows.without_names() } else { rows };
        if matching.cardinality != Cardinality::OneToOne {
            if matching.include.is_empty() {
                return Results { rows: named(sides.many.rows.clone()), by: By::Many };
            }
            // What is included may be a name, or what goes with one.
            let make = || sides.with_included(&named(sides.many.rows.clone()), &matching.include);
            let rows = self.plan.derived(span, &sides.many.rows, &sides.one.rows, make);
            return Results { rows, by: By::Pair };
        }
        match KeyLabels::from(&matching.labels) {
            KeyLabels::Without(ignored) if !drops_name && ignored.is_empty() => {
                Results { rows: sides.many.rows.clone(), by: By::Many }
            }
            KeyLabels::Without(ignored) if !drops_name => {
                let space = self.plan.space(KeyLabels::AllBut(ignored));
                let mut space = lock(&space);
                let ids = space.ids(&sides.many.rows);
                Results { rows: space.rows(), by: By::Key(ids) }
            }
            _ => Results { rows: named(space.rows()), by: By::Key(sides.many_ids.clone()) },
        }
    }
}

/// The rows of a result, and how a pair of rows finds its own.
struct Results {
    rows: Arc<Rows>,
    by: By,
}

enum By {
    /// The row of the "many" side.
    Many,
    /// A key of that row.
    Key(Arc<[KeyId]>),
    /// Each pair has its own, in the order in which pairs are visited.
    Pair,
}

struct Sides<'a> {
    many: &'a Vector,
    one: &'a Vector,
    /// Rows of the "one" side.
    ones: RowsByKey,
    many_ids: &'a Arc<[KeyId]>,
    /// Whether the "one" side is the left one.
    is_turned: bool,
    count: usize,
}

impl Sides<'_> {
    /// Rows that match, in the order of the "many" side.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let many = self.many_ids.iter().enumerate();
        many.flat_map(|(row, id)| self.ones.rows(*id).iter().map(move |one| (row, *one as usize)))
    }

    /// Errors if two rows of the "one" side have the same key and a sample at the same step.
    fn check_ones(&self, space: &KeySpace) -> Result<(), EvalError> {
        let has_sample =
            |vector: &Vector, row: usize, step: usize| vector.cells.floats[row * self.count + step].to_bits() != ABSENT;
        let repeated = |id: KeyId, step: usize| {
            let mut present = self.ones.rows(id).iter().filter(|row| has_sample(self.one, **row as usize, step));
            Some((*present.next()?, *present.next()?))
        };
        let crowded: Vec<KeyId> = (0..space.len() as KeyId).filter(|id| self.ones.rows(*id).len() > 1).collect();
        if crowded.is_empty() {
            return Ok(());
        }
        for step in 0..self.count {
            let found = crowded.iter().find_map(|id| Some((*id, repeated(*id, step)?)));
            let Some((id, (first, second))) = found else { continue };
            if (0..self.many.rows.len()).any(|row| has_sample(self.many, row, step)) {
                return Err(self.many_to_many(&space.labels(id), first as usize, second as usize));
            }
        }
        Ok(())
    }

    fn many_to_many(&self, key: &Labels, first: usize, second: usize) -> EvalError {
        let side = if self.is_turned { "left" } else { "right" };
        let (first, second) = (self.one.rows.labels(first), self.one.rows.labels(second));
        EvalError::Execution(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
             many-to-many matching not allowed: matching labels must be unique on one side",
            in_braces(key),
            in_braces(&second),
            in_braces(&first),
        ))
    }

    /// A row for each pair: the labels of the "many" side with some of the other's.
    fn with_included(&self, many_rows: &Rows, include: &[Arc<str>]) -> Arc<Rows> {
        let pair = |(many, one): (usize, usize)| {
            let mut labels = LabelsBuilder::from_labels(&many_rows.labels(many));
            let one = self.one.rows.labels(one);
            include.iter().for_each(|name| {
                labels.set(name, one.get(name).unwrap_or_default());
            });
            labels.build()
        };
        Rows::built(self.pairs().map(pair).collect())
    }

    fn combine(
        &self,
        operator: &Operator,
        binary: &Binary,
        results: Results,
        remark: impl FnOnce(&Refusals),
    ) -> Result<Vector, EvalError> {
        let is_one_to_one = binary.matching.cardinality == Cardinality::OneToOne;
        let mut cells = Cells::absent(results.rows.len() * self.count);
        let mut matched = vec![false; if is_one_to_one { self.ones.keys() * self.count } else { 0 }];
        let mut refusals = Refusals::new();
        for (pair, (many, one)) in self.pairs().enumerate() {
            let row = match &results.by {
                By::Many => many,
                By::Key(ids) => ids[many] as usize,
                By::Pair => pair,
            };
            let places = (row * self.count, many * self.count, one * self.count);
            for step in 0..self.count {
                if !self.combine_cells(operator, &mut cells, places, step, &mut refusals) || !is_one_to_one {
                    continue;
                }
                let matched = &mut matched[self.many_ids[many] as usize * self.count + step];
                if std::mem::replace(matched, true) {
                    let reason =
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
                    return Err(EvalError::Execution(reason.to_owned()));
                }
            }
        }
        remark(&refusals);
        Ok(Vector { rows: results.rows, cells })
    }

    /// Writes the result of two cells; whether there is one.
    #[inline]
    fn combine_cells(
        &self,
        operator: &Operator,
        cells: &mut Cells,
        (result, many, one): (usize, usize, usize),
        step: usize,
        refusals: &mut Refusals,
    ) -> bool {
        let (many, one) = (many + step, one + step);
        let floats = (self.many.cells.floats[many], self.one.cells.floats[one]);
        let (first, second) = if self.is_turned { (floats.1, floats.0) } else { floats };
        if first.to_bits() == ABSENT || second.to_bits() == ABSENT {
            return false;
        }
        if first.to_bits() != HISTOGRAM_NAN && second.to_bits() != HISTOGRAM_NAN {
            let value = operator.floats(first, second);
            if value.to_bits() != ABSENT {
                cells.floats[result + step] = value;
            }
            return value.to_bits() != ABSENT;
        }
        let (many, one) = (self.many.cells.get(many), self.one.cells.get(one));
        let (Some(first), Some(second)) = (if self.is_turned { (one, many) } else { (many, one) }) else {
            return false;
        };
        let combined = operator.cells(first, second).map_err(|refusal| refusals.insert(step, refusal));
        let Ok(Some(cell)) = combined else { return false };
        cells.set(result + step, Some(cell));
        true
    }
}

/// Labels as Prometheus's errors show them: all in braces, the metric's name as one of them.
fn in_braces(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::METRIC_NAME;

    #[test]
    fn labels_of_errors_stand_in_braces() {
        let labels = Labels::from_pairs([(METRIC_NAME, "x"), ("a", "1")]);
        assert_eq!(in_braces(&labels), r#"{__name__="x", a="1"}"#);
    }
}
