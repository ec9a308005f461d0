//! Which rows of a vector are buckets of which classic histograms.
//!
//! It follows from the rows' labels alone, so the plan keeps it for as long as the rows are the same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::exposition::parse_value;
use crate::model::{Labels, LabelsBuilder};
use crate::promql::rows::Rows;

/// The label of a bucket's upper bound.
pub(super) const BOUND: &str = "le";

/// The classic histograms among rows.
#[derive(Debug)]
pub(in crate::promql) struct BucketRows {
    pub(super) histograms: Vec<BucketsOfOne>,
    by_labels: HashMap<Labels, usize>,
    /// Rows whose `le` is no number.
    pub(super) unbounded: Vec<usize>,
    /// A row for each histogram, without the metric's name.
    pub(super) rows: Arc<Rows>,
}

/// One classic histogram.
#[derive(Debug)]
pub(super) struct BucketsOfOne {
    /// Without `le`, but with the metric's name where it has one.
    pub(super) labels: Labels,
    /// Upper bounds, ascending, and their rows.
    pub(super) bounds: Vec<(f64, usize)>,
}

impl BucketRows {
    /// How many buckets there are.
    pub(in crate::promql) fn len(&self) -> usize {
        self.histograms.iter().map(|histogram| histogram.bounds.len()).sum()
    }

    /// Sorts all rows into histograms.
    pub(in crate::promql) fn of(rows: &Rows) -> BucketRows {
        let mut found = BucketRows {
            histograms: Vec::new(),
            by_labels: HashMap::new(),
            unbounded: Vec::new(),
            rows: Arc::default(),
        };
        for (row, labels) in rows.labels_where(|_| true) {
            found.add(row, &labels);
        }
        for histogram in &mut found.histograms {
            histogram.bounds.sort_by(|one, two| one.0.total_cmp(&two.0));
        }
        let labels = found.histograms.iter().map(|histogram| histogram.labels.clone()).collect();
        found.rows = Rows::built(labels).without_names();
        found
    }

    fn add(&mut self, row: usize, labels: &Labels) {
        let Some(bound) = parse_value(labels.get(BOUND).unwrap_or_default().as_bytes()) else {
            self.unbounded.push(row);
            return;
        };
        let labels = LabelsBuilder::from_labels(labels).remove(BOUND).build();
        let number = *self.by_labels.entry(labels).or_insert_with_key(|labels| {
            self.histograms.push(BucketsOfOne { labels: labels.clone(), bounds: Vec::new() });
            self.histograms.len() - 1
        });
        self.histograms[number].bounds.push((bound, row));
    }

    /// The histogram with these labels.
    pub(super) fn number_of(&self, labels: &Labels) -> Option<usize> {
        self.by_labels.get(labels).copied()
    }
}
