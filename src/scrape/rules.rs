//! What becomes of a series' labels on the way from page to target: target labels merged in, metric relabelling, limits.
//!
//! This is the cold path: it runs once for a key that the page before did not have. The order is Prometheus 3.5's
//! (`scrapeLoop.append`): merge, relabel, then the checks, so the limits speak of the labels that would be stored.

use std::time::Duration;

use super::error::PageError;
use super::exposed::Exposed;
use crate::config::ScrapeConfig;
use crate::model::{EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, Labels, LabelsBuilder, METRIC_NAME, MatcherError};
use crate::relabel::{self, Steps};

/// What is put before a page's own label that has a target label's name.
const EXPORTED_PREFIX: &str = "exported_";

/// What a job says about the series of its pages.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The page's labels win over the target's.
    pub honor_labels: bool,
    /// The page's timestamps count.
    pub honor_timestamps: bool,
    /// Series with timestamps of their own end with a marker too.
    pub track_timestamps_staleness: bool,
    /// Most samples of a page after relabelling, 0 for no limit.
    pub sample_limit: u64,
    /// Most labels of a series, the metric name among them; 0 for no limit.
    pub label_limit: u64,
    /// Longest label name in bytes, 0 for no limit.
    pub label_name_length_limit: u64,
    /// Longest label value in bytes, 0 for no limit.
    pub label_value_length_limit: u64,
    /// What is taken of histograms.
    pub histograms: HistogramRules,
    /// `metric_relabel_configs`.
    pub steps: Steps,
}

/// What a job takes of histograms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramRules {
    /// `scrape_native_histograms`: native histograms are taken.
    pub native: bool,
    /// `always_scrape_classic_histograms`: the classic samples of a histogram that comes in both forms, too.
    pub also_classic: bool,
    /// `convert_classic_histograms_to_nhcb`: classic histograms become native ones with custom buckets.
    pub convert_classic: bool,
    /// `native_histogram_bucket_limit`: most buckets, 0 for no limit. What has more gets a coarser schema.
    pub bucket_limit: u64,
    /// Finest schema, of `native_histogram_min_bucket_factor`.
    pub schema_max: i8,
}

impl Default for HistogramRules {
    /// Those of a job that says nothing of histograms.
    fn default() -> Self {
        HistogramRules {
            native: false,
            also_classic: false,
            convert_classic: false,
            bucket_limit: 0,
            schema_max: EXPONENTIAL_SCHEMA_MAX,
        }
    }
}

/// The finest schema whose buckets are each at least `factor` times as wide as the one below.
fn schema_of_factor(factor: f64) -> i8 {
    if factor <= 1.0 {
        return EXPONENTIAL_SCHEMA_MAX;
    }
    let schema = (-factor.log2().log2()).floor();
    schema.clamp(EXPONENTIAL_SCHEMA_MIN.into(), EXPONENTIAL_SCHEMA_MAX.into()) as i8
}

impl Rules {
    /// The rules of a job.
    pub fn new(job: &ScrapeConfig) -> Result<Rules, MatcherError> {
        Ok(Rules {
            honor_labels: job.honor_labels,
            honor_timestamps: job.honor_timestamps,
            track_timestamps_staleness: job.track_timestamps_staleness,
            sample_limit: job.sample_limit,
            label_limit: job.label_limit,
            label_name_length_limit: job.label_name_length_limit,
            label_value_length_limit: job.label_value_length_limit,
            histograms: HistogramRules {
                native: job.scrape_native_histograms.unwrap_or_default(),
                also_classic: job.always_scrape_classic_histograms.unwrap_or_default(),
                convert_classic: job.convert_classic_histograms_to_nhcb.unwrap_or_default(),
                bucket_limit: job.native_histogram_bucket_limit,
                schema_max: schema_of_factor(job.native_histogram_min_bucket_factor),
            },
            steps: relabel::compile(&job.metric_relabel_configs)?,
        })
    }

    /// How long after its timestamp a series that vanished without a marker can still be read: Prometheus's lookback.
    pub const LOOKBACK: Duration = Duration::from_secs(300);

    /// The final labels of a sample, whose own ones `labels` holds; `None` where relabelling drops it.
    pub(super) fn series(
        &self,
        sample: &impl Exposed,
        target: &Labels,
        labels: &mut LabelsBuilder,
    ) -> Result<Option<Labels>, PageError> {
        match self.honor_labels {
            true => add_missing(sample, target, labels),
            false => rename_conflicting(target, labels),
        }
        if !relabel::process(&self.steps, labels) || labels.is_empty() {
            return Ok(None);
        }
        if labels.get(METRIC_NAME).is_empty() {
            return Err(PageError::NameMissing { labels: labels.build() });
        }
        self.check_limits(labels)?;
        Ok(Some(labels.build()))
    }

    fn check_limits(&self, labels: &LabelsBuilder) -> Result<(), PageError> {
        let metric = || labels.get(METRIC_NAME).to_owned();
        let count = labels.iter().count() as u64;
        if self.label_limit > 0 && count > self.label_limit {
            return Err(PageError::LabelLimit { metric: metric(), labels: count, limit: self.label_limit });
        }
        let (name_max, value_max) = (self.label_name_length_limit, self.label_value_length_limit);
        for (name, value) in labels.iter() {
            let (label, bytes) = (|| name.to_owned(), |text: &str| text.len() as u64);
            if name_max > 0 && bytes(name) > name_max {
                return Err(PageError::LabelNameLength { metric: metric(), label: label(), limit: name_max });
            }
            if value_max > 0 && bytes(value) > value_max {
                return Err(PageError::LabelValueLength { metric: metric(), label: label(), limit: value_max });
            }
        }
        Ok(())
    }
}

/// `honor_labels: true`: the target's labels come in where the page says nothing, not even an empty value.
fn add_missing(sample: &impl Exposed, target: &Labels, labels: &mut LabelsBuilder) {
    for (name, value) in target {
        if labels.get(name).is_empty() && !sample.has_label(name) {
            labels.set(name, value);
        }
    }
}

/// `honor_labels: false`: the target's labels win; the page's go to `exported_…`, shortest names first, with as many
/// prefixes as it takes to find a free name.
fn rename_conflicting(target: &Labels, labels: &mut LabelsBuilder) {
    let mut conflicting = Vec::new();
    for (name, value) in target {
        let own = labels.get(name);
        if !own.is_empty() {
            conflicting.push((name, own.to_owned()));
        }
        labels.set(name, value);
    }
    conflicting.sort_by_key(|(name, _)| name.len());
    for (name, value) in conflicting {
        let mut exported = format!("{EXPORTED_PREFIX}{name}");
        while !labels.get(&exported).is_empty() {
            exported.insert_str(0, EXPORTED_PREFIX);
        }
        labels.set(&exported, &value);
    }
}
