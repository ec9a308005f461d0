//! Unit tests of rules: promtool's files, run on the engine and the groups that the gateway runs.
//!
//! A test has series in memory from time zero on, evaluates all groups every `evaluation_interval` up to the latest time that is
//! asked about, compares the alerts that fire on the way, and at the end what expressions give. Verdicts are promtool's.

mod compare;
mod file;
mod notation;
mod run;

pub use notation::{NotationError, Point, parse_metric, parse_values};
pub use run::{Verdict, test_file};
