//! One finished scrape of one target: what the collector hands to its encoder.
//!
//! `up` and the `scrape_*` series are not among the values: they follow from the facts that stand here, and the gateway
//! makes the series. Series that vanished are already told apart from those that stayed: the values say so, slot by slot.

use std::sync::Arc;
use std::time::Duration;

use super::beside::Beside;
use super::schema::Schema;
use crate::model::{Labels, METRIC_NAME, Timestamp};

/// Bits of a value that says "this series ends, but without a stale marker": an explicitly timestamped series of a target with
/// `track_timestamps_staleness: false`. The column then holds no sample, as with the stale marker; those who write series
/// elsewhere must not write a marker for it.
pub const FORGET_NAN: u64 = 0x7ff0_0000_0000_0003;

/// How a scrape ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// The page was read: `up 1`.
    #[default]
    Up = 0,
    /// No page, a bad page or one over a limit: `up 0`, and all its series end.
    Failed = 1,
    /// No scrape: the target was removed. Its series end, `up` and `scrape_*` too.
    Gone = 2,
    /// No scrape of ours: samples that somebody else scraped and sent by remote write, each with a timestamp of its own. `up` and
    /// `scrape_*` are among them, so none are made of it. Only a gateway writes such frames, for itself.
    Written = 3,
}

/// What a scrape says of itself; the `scrape_*` series are made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Samples on the page.
    pub samples_scraped: u64,
    /// Samples that metric relabelling left.
    pub samples_post_relabel: u64,
    /// Series that the scrape before did not have.
    pub series_added: u64,
    /// Bytes of the page, uncompressed; −1 where it was over its limit. Only with `extra_scrape_metrics`.
    pub body_bytes: Option<i64>,
    /// The time-out in force. Only with `extra_scrape_metrics`.
    pub timeout: Option<Duration>,
    /// The sample limit in force, 0 for none. Only with `extra_scrape_metrics`.
    pub sample_limit: Option<u64>,
}

/// One finished scrape, or the news that a target is gone.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The target's final labels, which all of its series have unless they say otherwise. They identify the target.
    pub target: Arc<Labels>,
    /// When the scrape began: the timestamp of every sample without its own. For [`Outcome::Gone`] when the series end.
    pub started: Timestamp,
    /// How long it took, kept to the microsecond.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Its counts.
    pub report: Report,
    /// The slots; what changed since the target's scrape before is told apart by chunk.
    pub schema: Arc<Schema>,
    /// The values, one a slot; the stale marker where there is no sample, [`FORGET_NAN`] where one ends without a marker.
    /// Slots behind the end are absent.
    pub values: Vec<f64>,
    /// What few slots have beside their value.
    pub beside: Beside,
}

/// Whether a target may have these labels: a nameless one, or a second metric name, would spoil the line of every series.
pub(super) fn are_target_labels(labels: &Labels) -> bool {
    labels.iter().all(|(name, _)| !name.is_empty() && name != METRIC_NAME)
}
