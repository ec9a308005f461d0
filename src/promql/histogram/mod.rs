//! Native histograms as PromQL computes with them.
//!
//! Invariant: each side is a list of buckets ascending by index, each index once; indices lie where
//! [`NativeHistogram::check`](crate::model::NativeHistogram::check) allows them. Spans, which every wire form has, are gone: an
//! addition is a merge of two sorted lists, a coarser resolution a fold over one.
//!
//! Semantics, order of float operations included, are those of Prometheus 3.5 (`model/histogram`, `promql/quantile.go`), so that
//! results agree to the bit.

mod arithmetic;
mod bounds;
mod convert;
mod quantile;
mod reset;

use std::sync::Arc;

pub use arithmetic::Incompatible;
pub use bounds::Bucket;
pub use quantile::{Estimate, NanNote};

use crate::model::{CUSTOM_BUCKETS_SCHEMA, ResetHint};

/// A histogram with float counts.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatHistogram {
    /// What is known of a reset before it.
    pub reset_hint: ResetHint,
    /// −4 to 8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i8,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero: f64,
    /// All observations, NaN ones included.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Buckets above zero (all, with custom buckets): index and count.
    pub positive: Vec<(i32, f64)>,
    /// Buckets below zero: index and count.
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds of custom buckets.
    pub custom_bounds: Arc<[f64]>,
}

impl FloatHistogram {
    /// Whether the buckets have bounds of their own.
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Leaves out buckets without observations.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }
}
