//! One scrape of all columns of a strip, as it came.

use std::sync::Arc;

use super::usage::{Counted, Usage};
use crate::model::HistogramSample;

/// A value a column; the stale marker where a series has no sample.
#[derive(Debug)]
pub(super) struct Row {
    /// When it was scraped, in milliseconds.
    pub(super) time: i64,
    /// By column. Later columns did not exist yet.
    pub(super) values: Box<[f64]>,
    /// What few columns have beside their value.
    pub(super) beside: Option<Arc<RowBeside>>,
    _counted: Counted,
}

/// Exceptions of a row, each list ascending by column.
#[derive(Debug, Default)]
pub(super) struct RowBeside {
    /// Timestamps of samples that brought their own.
    pub(super) stamps: Vec<(u32, i64)>,
    /// Native histograms.
    pub(super) histograms: Vec<(u32, Arc<HistogramSample>)>,
}

impl Row {
    pub(super) fn new(time: i64, values: Vec<f64>, beside: Option<Arc<RowBeside>>, usage: &Arc<Usage>) -> Row {
        let values: Box<[f64]> = values.into();
        let beside_bytes = beside.as_ref().map_or(0, |beside| beside.bytes());
        let counted = usage.count(size_of::<Row>() + size_of_val(&*values) + beside_bytes, values.len());
        Row { time, values, beside, _counted: counted }
    }
}

/// About what a native histogram takes, its buckets aside.
const HISTOGRAM_BYTES: usize = 256;

impl RowBeside {
    pub(super) fn bytes(&self) -> usize {
        self.stamps.len() * size_of::<(u32, i64)>() + self.histograms.len() * HISTOGRAM_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stamps.is_empty() && self.histograms.is_empty()
    }

    pub(super) fn stamp_of(&self, column: u32) -> Option<i64> {
        let at = self.stamps.binary_search_by_key(&column, |(own, _)| *own).ok()?;
        Some(self.stamps[at].1)
    }

    pub(super) fn histogram_of(&self, column: u32) -> Option<&Arc<HistogramSample>> {
        let at = self.histograms.binary_search_by_key(&column, |(own, _)| *own).ok()?;
        Some(&self.histograms[at].1)
    }
}
