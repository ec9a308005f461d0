//! promtool's unit-test files, as data.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::model::parse_duration;

/// A whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TestFile {
    /// Paths and globs, from the file's folder.
    #[serde(deserialize_with = "or_empty")]
    pub(super) rule_files: Vec<String>,
    /// Time between evaluations. Default one minute.
    pub(super) evaluation_interval: Option<Span>,
    /// Names of groups: those are evaluated in this order.
    #[serde(deserialize_with = "or_empty")]
    pub(super) group_eval_order: Vec<String>,
    /// Each begins with empty storage.
    #[serde(deserialize_with = "or_empty")]
    pub(super) tests: Vec<TestGroup>,
    /// Values that are neighbouring floats count as equal.
    pub(super) fuzzy_compare: bool,
}

/// Series, and what is expected of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TestGroup {
    /// Time between samples. Default the file's evaluation interval.
    pub(super) interval: Option<Span>,
    /// The samples.
    #[serde(deserialize_with = "or_empty")]
    pub(super) input_series: Vec<InputSeries>,
    /// Expected alerts.
    #[serde(deserialize_with = "or_empty")]
    pub(super) alert_rule_test: Vec<AlertTest>,
    /// Expected results.
    #[serde(deserialize_with = "or_empty")]
    pub(super) promql_expr_test: Vec<ExpressionTest>,
    /// As in `global`.
    #[serde(deserialize_with = "or_empty")]
    pub(super) external_labels: BTreeMap<String, String>,
    /// As `http.external_url`.
    pub(super) external_url: String,
    /// For messages.
    pub(super) name: String,
}

/// One series in the expanding notation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InputSeries {
    /// Its labels.
    pub(super) series: String,
    /// Its samples.
    pub(super) values: String,
}

/// The alerts of one name that are to fire at one time.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AlertTest {
    /// Since the beginning.
    pub(super) eval_time: Span,
    /// Required.
    pub(super) alertname: String,
    /// None of them: nothing fires.
    #[serde(deserialize_with = "or_empty")]
    pub(super) exp_alerts: Vec<ExpectedAlert>,
}

/// One alert that is to fire.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpectedAlert {
    /// Without `alertname`.
    #[serde(deserialize_with = "or_empty")]
    pub(super) exp_labels: BTreeMap<String, String>,
    /// Expanded.
    #[serde(deserialize_with = "or_empty")]
    pub(super) exp_annotations: BTreeMap<String, String>,
}

/// What an expression is to give at one time.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpressionTest {
    /// PromQL.
    pub(super) expr: String,
    /// Since the beginning.
    pub(super) eval_time: Span,
    /// In any order.
    #[serde(deserialize_with = "or_empty")]
    pub(super) exp_samples: Vec<ExpectedSample>,
}

/// One sample of an expected result.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpectedSample {
    /// As a selector is written.
    pub(super) labels: String,
    /// Passed over where there is a histogram.
    pub(super) value: f64,
    /// In the notation of series.
    pub(super) histogram: String,
}

/// A duration as Prometheus writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Span).map_err(serde::de::Error::custom)
    }
}

/// A key without a value is as good as none.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
