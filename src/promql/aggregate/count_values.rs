//! `count_values`: a row for each value that occurs in a group, its label the value.

use std::collections::HashMap;

use super::{is_sample, param_of};
use crate::model::{HISTOGRAM_NAN, LabelsBuilder};
use crate::promql::ast::{Aggregation, ExprKind, Grouping};
use crate::promql::evaluator::Evaluator;
use crate::promql::histogram::{Bucket, FloatHistogram};
use crate::promql::keys::{KeyId, KeyLabels, KeySpace};
use crate::promql::notes::{Budget, EvalError};
use crate::promql::remark::{shortest, unwrapped};
use crate::promql::rows::Rows;
use crate::promql::value::{Cells, Steps, Vector};

impl Evaluator<'_> {
    pub(super) fn count_values(&self, aggregation: &Aggregation, steps: &Steps) -> Result<Vector, EvalError> {
        let ExprKind::String(label) = &unwrapped(param_of(aggregation)).kind else {
            unreachable!("a checked tree has a string here");
        };
        if label.is_empty() {
            return Err(EvalError::Execution("invalid label name \"\"".to_owned()));
        }
        let input = self.vector(&aggregation.expr, steps)?;
        let (grouping, shows_value) = without_label(&aggregation.grouping, label);
        let mut space = KeySpace::new(grouping, false);
        let ids = space.ids(&input.rows);
        let count = steps.count as usize;
        let mut counted = Counted::default();
        for at in (0..input.cells.floats.len()).filter(|at| is_sample(&input.cells.floats[*at])) {
            let value = if shows_value { text_of(&input.cells, at) } else { String::new() };
            let row = counted.row(ids[at / count], value, count, &self.budget)?;
            counted.add(row * count + at % count);
        }
        let labels = counted.rows.iter().map(|(group, value)| {
            let mut labels = LabelsBuilder::from_labels(&space.labels(*group));
            labels.set(label, value).build()
        });
        Ok(Vector { rows: Rows::built(labels.collect()), cells: counted.cells })
    }
}

/// The grouping but for the label that the value is written over, and whether that label stays.
fn without_label(grouping: &Grouping, label: &str) -> (KeyLabels, bool) {
    match grouping {
        Grouping::By(names) => (KeyLabels::By(names.iter().filter(|name| ***name != *label).cloned().collect()), true),
        Grouping::Without(names) => {
            let shows_value = !names.iter().any(|name| **name == *label);
            (KeyLabels::Without(names.iter().cloned().chain([label.into()]).collect()), shows_value)
        }
    }
}

/// Rows by group and value, in the order of their first sample.
#[derive(Default)]
struct Counted {
    by_value: HashMap<(KeyId, String), usize>,
    rows: Vec<(KeyId, String)>,
    cells: Cells,
}

impl Counted {
    /// The row of a value. A new one takes its cells from the budget: values can be as many as samples, and each has a cell a step.
    fn row(&mut self, group: KeyId, value: String, count: usize, budget: &Budget<'_>) -> Result<usize, EvalError> {
        let key = (group, value);
        if let Some(row) = self.by_value.get(&key) {
            return Ok(*row);
        }
        budget.take(count)?;
        self.cells.append(Cells::absent(count));
        self.rows.push(key.clone());
        self.by_value.insert(key, self.rows.len() - 1);
        Ok(self.rows.len() - 1)
    }

    fn add(&mut self, at: usize) {
        let cell = &mut self.cells.floats[at];
        *cell = if is_sample(cell) { *cell + 1.0 } else { 1.0 };
    }
}

/// A sample as a label's value.
fn text_of(cells: &Cells, at: usize) -> String {
    let value = cells.floats[at];
    match value.to_bits() {
        HISTOGRAM_NAN => {
            cells.histograms.get(&(at as u32)).map(|histogram| histogram_text(histogram)).unwrap_or_default()
        }
        _ => plain(value),
    }
}

/// All digits, never an exponent.
fn plain(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

/// Count, sum and the buckets that are not empty, from the lowest on.
fn histogram_text(histogram: &FloatHistogram) -> String {
    let mut text = format!("{{count:{}, sum:{}", shortest(histogram.count), shortest(histogram.sum));
    let buckets = histogram.whole_buckets().filter(|bucket| bucket.count != 0.0);
    buckets.for_each(|bucket| text.push_str(&format!(", {}", bucket_text(&bucket))));
    text + "}"
}

fn bucket_text(bucket: &Bucket) -> String {
    let opening = if bucket.is_lower_inclusive { '[' } else { '(' };
    let closing = if bucket.is_upper_inclusive { ']' } else { ')' };
    let (lower, upper) = (shortest(bucket.lower), shortest(bucket.upper));
    format!("{opening}{lower},{upper}{closing}:{}", shortest(bucket.count))
}
