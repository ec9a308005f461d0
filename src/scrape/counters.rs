//! What scraping counts; the collector's page shows it.
//!
//! Plain atomics, read by whoever writes the page, so that no scrape depends on how metrics are kept.

use std::sync::atomic::{AtomicU64, Ordering};

use super::cache::Reading;
use super::error::ScrapeError;

/// Reasons for a failed scrape, as [`ScrapeError::reason`] names them.
const FAILURE_REASONS: [&str; 11] = [
    "request",
    "timeout",
    "status",
    "body_size_limit",
    "content_type",
    "page",
    "sample_limit",
    "bucket_limit",
    "label_limit",
    "target_limit",
    "overload",
];

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    scrapes: AtomicU64,
    samples: AtomicU64,
    failures: [AtomicU64; FAILURE_REASONS.len()],
    duplicates: AtomicU64,
    out_of_order: AtomicU64,
    out_of_bounds: AtomicU64,
    no_room: AtomicU64,
    bad_exemplars: AtomicU64,
    histograms_left_out: AtomicU64,
    histograms_unconverted: AtomicU64,
    dropped_scrapes: AtomicU64,
    target_faults: AtomicU64,
    targets_refused: AtomicU64,
    missed_ticks: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    pub(super) fn scraped(&self, reading: &Reading, error: Option<&ScrapeError>) {
        add(&self.scrapes, 1);
        add(&self.samples, reading.scraped);
        add(&self.duplicates, reading.duplicates);
        add(&self.out_of_order, reading.out_of_order);
        add(&self.out_of_bounds, reading.out_of_bounds);
        add(&self.no_room, reading.no_room);
        add(&self.bad_exemplars, reading.bad_exemplars);
        add(&self.histograms_left_out, reading.histograms_left_out);
        add(&self.histograms_unconverted, reading.histograms_unconverted);
        if let Some(error) = error {
            let at = FAILURE_REASONS.iter().position(|reason| *reason == error.reason());
            add(&self.failures[at.expect("every reason stands in the list")], 1);
        }
    }

    pub(super) fn dropped_scrapes(&self, count: u64) {
        add(&self.dropped_scrapes, count);
    }

    pub(super) fn target_faults(&self, count: usize) {
        add(&self.target_faults, count as u64);
    }

    pub(super) fn targets_refused(&self, count: usize) {
        add(&self.targets_refused, count as u64);
    }

    pub(super) fn missed_ticks(&self, count: u64) {
        add(&self.missed_ticks, count);
    }

    /// Scrapes finished, failed ones included.
    pub fn scrapes(&self) -> u64 {
        read(&self.scrapes)
    }

    /// Samples on the pages that were read.
    pub fn samples(&self) -> u64 {
        read(&self.samples)
    }

    /// Failed scrapes by reason.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FAILURE_REASONS.into_iter().zip(self.failures.iter().map(read))
    }

    /// Samples of good pages that were dropped, by reason; `bad_exemplar` counts exemplars, `native_histogram`
    /// the native histograms that a job does not ask for, `classic_histogram` those that could not be converted.
    pub fn dropped_samples(&self) -> [(&'static str, u64); 7] {
        [
            ("duplicate", read(&self.duplicates)),
            ("out_of_order", read(&self.out_of_order)),
            ("out_of_bounds", read(&self.out_of_bounds)),
            ("no_room", read(&self.no_room)),
            ("bad_exemplar", read(&self.bad_exemplars)),
            ("native_histogram", read(&self.histograms_left_out)),
            ("classic_histogram", read(&self.histograms_unconverted)),
        ]
    }

    /// Finished scrapes that were dropped because no tick took them in time.
    pub fn scrapes_dropped(&self) -> u64 {
        read(&self.dropped_scrapes)
    }

    /// Addresses that gave no target, counted at every change of a job's targets, by reason: `invalid` or over the bound
    /// on all targets.
    pub fn refused_targets(&self) -> [(&'static str, u64); 2] {
        [("invalid", read(&self.target_faults)), ("targets_max", read(&self.targets_refused))]
    }

    /// Intervals in which a target was not scraped because its scrape before took too long to begin or to be read.
    pub fn intervals_missed(&self) -> u64 {
        read(&self.missed_ticks)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exposition::{ContentTypeError, Expected, ParseError};
    use crate::model::Labels;
    use crate::scrape::PageError;

    #[test]
    fn every_reason_is_counted() {
        let parse = ParseError { line: 1, column: 1, found: String::new(), expected: Expected::Value };
        let label = || PageError::LabelLimit { metric: String::new(), labels: 2, limit: 1 };
        let errors: [ScrapeError; 12] = [
            ScrapeError::Request(String::new()),
            ScrapeError::Timeout(Duration::ZERO),
            ScrapeError::Status(500),
            ScrapeError::BodySize { limit: 1 },
            ContentTypeError::Missing.into(),
            PageError::Parse(parse).into(),
            PageError::NameMissing { labels: Labels::empty() }.into(),
            PageError::SampleLimit { samples: 2, limit: 1 }.into(),
            PageError::BucketLimit { limit: 1 }.into(),
            label().into(),
            ScrapeError::TargetLimit { targets: 2, limit: 1 },
            ScrapeError::Overload(String::new()),
        ];
        let counters = Counters::default();
        for error in &errors {
            counters.scraped(&Reading::default(), Some(error));
        }
        assert_eq!(counters.failures().map(|(_, count)| count).sum::<u64>(), errors.len() as u64);
        assert!(counters.failures().all(|(_, count)| count > 0));
    }
}
