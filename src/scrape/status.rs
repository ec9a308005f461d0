//! How each target is doing, for the targets page and the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::ScrapeError;
use crate::discovery::Target;
use crate::model::Timestamp;

/// Whether a target can be scraped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
}

impl Health {
    /// Prometheus's word for it in `/api/v1/targets`.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// What is known of one target.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    /// The job, which relabelling may have named otherwise in the labels.
    pub job: Arc<str>,
    /// Labels, URL, interval.
    pub target: Target,
    /// Of the last scrape.
    pub health: Health,
    /// Why the last scrape failed.
    pub last_error: Option<ScrapeError>,
    /// When it began; none before the first.
    pub last_scrape: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// Samples on the last page.
    pub samples: u64,
}

/// A target's status, written by its loop after each scrape and read by anyone.
#[derive(Debug)]
pub(super) struct StatusCell(Mutex<TargetStatus>);

impl StatusCell {
    pub(super) fn new(job: Arc<str>, target: Target) -> StatusCell {
        StatusCell(Mutex::new(TargetStatus {
            job,
            target,
            health: Health::Unknown,
            last_error: None,
            last_scrape: None,
            last_duration: Duration::ZERO,
            samples: 0,
        }))
    }

    pub(super) fn get(&self) -> TargetStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over another job or URL for the same labels.
    pub(super) fn set_target(&self, job: Arc<str>, target: Target) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (status.job, status.target) = (job, target);
    }

    /// Notes a finished scrape and logs what is news: the first failure, another one, the recovery.
    pub(super) fn note(&self, started: Timestamp, took: Duration, samples: u64, result: Result<(), ScrapeError>) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let error = result.err();
        let (job, url) = (&*status.job, &*status.target.url);
        match (&status.last_error, &error) {
            // Only another kind of failure is news: a page that is bad in another line each time must not fill the log.
            (before, Some(error)) if before.as_ref().map(ScrapeError::reason) != Some(error.reason()) => {
                tracing::warn!(job, url, reason = error.reason(), %error, "scrape failed");
            }
            (Some(_), None) => tracing::info!(job, url, "scrape succeeds again"),
            _ => {}
        }
        status.health = if error.is_none() { Health::Up } else { Health::Down };
        status.last_error = error;
        status.last_scrape = Some(started);
        status.last_duration = took;
        status.samples = samples;
    }
}
