//! The query API in Prometheus 3.5's form: the same paths, parameters, envelopes and status codes, so that what speaks to a
//! Prometheus (Grafana's data source, promtool, scripts) speaks to this.
//!
//! A request becomes a [`params::QueryRequest`] or an [`ApiError`] in Prometheus's words; an evaluation becomes an
//! [`values::Answer`], which is written a few rows at a time while it is sent, so that no text of the whole result exists.

mod envelope;
mod evaluate;
mod format;
mod json;
pub mod params;
mod query;
mod rules;
pub mod values;

pub use envelope::{ApiError, ErrorKind};
pub use evaluate::evaluate;
pub use query::{Queries, QueryOptions, routes};
pub use rules::routes as rule_routes;
