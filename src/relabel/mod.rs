//! Relabelling: Prometheus's `relabel_configs` and `metric_relabel_configs`, compiled and applied.
//!
//! A step sees the label set as the steps before it left it; a missing label is the empty string, and a label set to the
//! empty string is gone. Semantics are those of Prometheus 3.5 with UTF-8 names: whatever a template expands to is a label
//! name as long as it is not empty.

mod step;

pub use step::{Steps, compile, process};
