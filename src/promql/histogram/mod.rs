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

    /// Whether both hold the same, to the bit; reset hints do not count.
    pub fn is_same(&self, other: &FloatHistogram) -> bool {
        let same = |one: f64, two: f64| one.to_bits() == two.to_bits();
        let same_buckets = |one: &[(i32, f64)], two: &[(i32, f64)]| {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.0 == two.0 && same(one.1, two.1))
        };
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && same(self.zero, other.zero)
            && self.custom_bounds.len() == other.custom_bounds.len()
            && self.custom_bounds.iter().zip(&*other.custom_bounds).all(|(one, two)| same(*one, *two))
            && same_buckets(&self.positive, &other.positive)
            && same_buckets(&self.negative, &other.negative)
    }

    /// Leaves out buckets without observations.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }
}
