//! The collector's own metrics as one more target: its page is written in the process and read like any other.

use std::sync::Arc;
use std::time::Duration;

use super::cache::{PageCache, Reading, Timing};
use super::counters::Counters;
use super::error::ScrapeError;
use super::rules::{HistogramRules, Rules};
use super::series::SeriesBudget;
use crate::exposition::Format;
use crate::model::{INSTANCE, JOB, Labels, Timestamp};
use crate::relabel::Steps;
use crate::snapshot::{Outcome, Report, Scrape};

/// The job of a collector's own metrics.
pub const OWN_JOB: &str = "fedgate-collector";

/// The collector as its own target.
#[derive(Debug)]
pub struct OwnTarget {
    cache: PageCache,
    rules: Rules,
    counters: Arc<Counters>,
}

impl OwnTarget {
    /// The target `job="fedgate-collector"` with this `instance`, and what else `external` says of all targets.
    pub fn new(instance: &str, external: &Labels, budget: Arc<SeriesBudget>, counters: Arc<Counters>) -> OwnTarget {
        let target = [(JOB, OWN_JOB), (INSTANCE, instance)];
        let labels = Arc::new(Labels::from_pairs(target));
        let identity = Arc::new(Labels::from_pairs(external.iter().chain(target)));
        let rules = Rules {
            honor_labels: false,
            honor_timestamps: false,
            track_timestamps_staleness: false,
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            histograms: HistogramRules::default(),
            steps: Steps::default(),
        };
        OwnTarget { cache: PageCache::new(labels, identity, budget), rules, counters }
    }

    /// The scrape of a page of the collector's own, which took `took` to write. A page that cannot be read would be a
    /// fault of the program's; it is then `up 0`, like any target's.
    pub fn scrape(&mut self, page: &[u8], format: Format, started: Timestamp, took: Duration) -> Scrape {
        let (reading, result) = self.cache.read(page, format, started, &self.rules);
        let error = result.err().map(ScrapeError::Page);
        self.counters.scraped(&reading, error.as_ref());
        if let Some(error) = &error {
            tracing::error!(%error, "the collector's own metrics cannot be read");
        }
        let outcome = if error.is_none() { Outcome::Up } else { Outcome::Failed };
        self.cache.scrape(Timing { started, duration: took }, outcome, report(&reading))
    }
}

/// The counts that every scrape reports.
pub(super) fn report(reading: &Reading) -> Report {
    Report {
        samples_scraped: reading.scraped,
        samples_post_relabel: reading.post_relabel,
        series_added: reading.added,
        ..Report::default()
    }
}
