//! PromQL beside the real Prometheus 3.5: the same samples in both, the same questions, answers that are compared line by line.

pub(crate) mod answer;
pub(crate) mod both;
pub(crate) mod differences;
pub(crate) mod expressions;
pub(crate) mod faults;
pub(crate) mod notation;
pub(crate) mod samples;
pub(crate) mod script;
pub(crate) mod series;
