//! What a gateway keeps of the past beside what its rules look back at.

use std::time::Duration;

use serde::Deserialize;

use super::text::{ByteSize, duration};

/// Default of [`HistoryConfig::memory_max`].
const MEMORY_MAX: ByteSize = ByteSize::mib(1024);

/// Samples before the newest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// What the history may take; where it would take more, everything is kept for a shorter time. Default 1GB.
    pub memory_max: ByteSize,
    /// Scraped series that are kept whatever the rules need. Default none.
    pub series: Vec<HistorySeries>,
    /// How long recorded series are kept; the longest of all that name a series counts. Default a day for `slurm:cluster:…` and
    /// `slurm:partition:…`, an hour for all.
    pub recorded: Vec<HistorySeries>,
}

/// Series and how long they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySeries {
    /// A selector. Required.
    #[serde(rename = "match")]
    pub selector: String,
    /// How long. Required, 31d at most.
    #[serde(rename = "for", with = "duration")]
    pub duration: Duration,
}

impl Default for HistoryConfig {
    fn default() -> HistoryConfig {
        let recorded = [(r#"{__name__=~"slurm:(cluster|partition):.+"}"#, 24), (r#"{__name__!=""}"#, 1)];
        let recorded = recorded.map(|(selector, hours)| HistorySeries {
            selector: selector.to_owned(),
            duration: Duration::from_secs(3600 * hours),
        });
        HistoryConfig { memory_max: MEMORY_MAX, series: Vec::new(), recorded: recorded.into() }
    }
}
