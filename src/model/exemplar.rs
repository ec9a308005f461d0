//! A pointer from a sample to one event behind it, usually a trace.

use super::{Labels, Timestamp};

/// OpenMetrics §4.6.1: labels of at most 128 UTF-8 characters in all, a value, and perhaps a time of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Its own labels, `trace_id` by convention.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When it was observed, where the page says so.
    pub timestamp: Option<Timestamp>,
}
