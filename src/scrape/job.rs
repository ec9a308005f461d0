//! A scrape job made ready: patterns compiled, client built. Everything that can fail about a configuration fails here,
//! before anything is changed, so that a reload takes effect whole or not at all.

use std::sync::Arc;

use super::fetch::Fetcher;
use super::rules::Rules;
use crate::config::{CollectorLimits, ScrapeConfig, ScrapeGlobal};
use crate::model::{Labels, LabelsBuilder, MatcherError};
use crate::net::client::ClientError;
use crate::relabel::{self, Steps};

/// Why a job cannot run.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A relabelling pattern.
    #[error("job {job}: {error}")]
    Pattern {
        /// The job's name.
        job: String,
        /// What is wrong.
        error: MatcherError,
    },
    /// The HTTP client: a file, a proxy's address, a header.
    #[error("job {job}: {error}")]
    Client {
        /// The job's name.
        job: String,
        /// What is wrong.
        error: ClientError,
    },
}

/// One job, ready to run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: Arc<str>,
    pub(super) config: ScrapeConfig,
    /// `relabel_configs`.
    pub(super) steps: Steps,
    /// What happens to its series.
    pub(super) rules: Rules,
    /// How its pages are fetched.
    pub(super) fetcher: Fetcher,
    /// Whether the reports have the extra `scrape_*` series.
    pub(super) extra_metrics: bool,
}

impl Job {
    pub(super) fn new(config: &ScrapeConfig, global: &ScrapeGlobal, limits: &CollectorLimits) -> Result<Job, JobError> {
        let pattern_error = |error| JobError::Pattern { job: config.job_name.clone(), error };
        let fetcher = Fetcher::new(config, limits.body_bytes_max)
            .map_err(|error| JobError::Client { job: config.job_name.clone(), error })?;
        Ok(Job {
            name: config.job_name.as_str().into(),
            config: config.clone(),
            steps: relabel::compile(&config.relabel_configs).map_err(pattern_error)?,
            rules: Rules::new(config).map_err(pattern_error)?,
            fetcher,
            extra_metrics: config.extra_scrape_metrics.unwrap_or(global.extra_scrape_metrics),
        })
    }

    /// Whether keys come to the same series under `other`'s rules: only what cannot change a label differs.
    pub(super) fn reads_alike(&self, other: &Job) -> bool {
        let labels_only = |config: &ScrapeConfig| ScrapeConfig {
            honor_labels: config.honor_labels,
            honor_timestamps: config.honor_timestamps,
            track_timestamps_staleness: config.track_timestamps_staleness,
            label_limit: config.label_limit,
            label_name_length_limit: config.label_name_length_limit,
            label_value_length_limit: config.label_value_length_limit,
            scrape_native_histograms: config.scrape_native_histograms,
            always_scrape_classic_histograms: config.always_scrape_classic_histograms,
            convert_classic_histograms_to_nhcb: config.convert_classic_histograms_to_nhcb,
            metric_relabel_configs: config.metric_relabel_configs.clone(),
            ..ScrapeConfig::default()
        };
        labels_only(&self.config) == labels_only(&other.config)
    }
}

/// The labels that identify a target in a snapshot: its own, and the external ones where it lacks them.
pub(super) fn with_external(labels: &Labels, global: &ScrapeGlobal) -> Labels {
    let mut all = LabelsBuilder::from_labels(labels);
    for (name, value) in &global.external_labels {
        if all.get(name).is_empty() {
            all.set(name, value);
        }
    }
    all.build()
}
