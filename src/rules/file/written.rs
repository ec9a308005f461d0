//! A rule file as it is written: keys and text, nothing checked. A key that is not here is unknown.

use crate::config::LabelMap;

/// The whole file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) groups: Vec<Group>,
}

/// An element of `groups`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) interval: Option<String>,
    pub(super) limit: i64,
    pub(super) query_offset: Option<String>,
    /// What `query_offset` was called before, elsewhere.
    pub(super) evaluation_delay: Option<String>,
    pub(super) labels: LabelMap,
    pub(super) rules: Vec<Rule>,
}

/// An element of `rules`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) record: String,
    pub(super) alert: String,
    pub(super) expr: String,
    pub(super) r#for: Option<String>,
    pub(super) keep_firing_for: Option<String>,
    pub(super) labels: LabelMap,
    pub(super) annotations: LabelMap,
}
