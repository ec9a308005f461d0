//! What an endpoint is and has done, as numbers that its task writes and the metrics page reads.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::queue::Settled;
use super::rows::Counts;
use super::verdict::LossReason;
use crate::model::Timestamp;

/// Things of each kind, added up.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) samples: AtomicU64,
    pub(super) histograms: AtomicU64,
    pub(super) exemplars: AtomicU64,
}

impl Totals {
    fn add(&self, counts: &Counts) {
        self.samples.fetch_add(counts.samples, Ordering::Relaxed);
        self.histograms.fetch_add(counts.histograms, Ordering::Relaxed);
        self.exemplars.fetch_add(counts.exemplars, Ordering::Relaxed);
    }

    /// Samples, histograms, exemplars.
    pub(super) fn read(&self) -> [u64; 3] {
        [&self.samples, &self.histograms, &self.exemplars].map(|total| total.load(Ordering::Relaxed))
    }
}

/// An endpoint's numbers. Written by its task alone.
#[derive(Debug, Default)]
pub struct EndpointCounts {
    pub(super) delivered: Totals,
    pub(super) again: Totals,
    /// By [`LossReason::ALL`].
    pub(super) lost: [Totals; LossReason::ALL.len()],
    pub(super) metadata: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) requests: AtomicU64,
    /// Journal bytes that were gone or damaged before they were read.
    pub(super) journal_bytes_lost: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) shards: AtomicU64,
    pub(super) is_misconfigured: AtomicU64,
    /// Of the oldest sample that waits; 0 while none does.
    pub(super) oldest_ms: AtomicI64,
    /// Of the newest sample delivered; 0 before the first.
    pub(super) highest_ms: AtomicI64,
    /// What the endpoint said last when it refused something, cut.
    pub(super) last_refusal: Mutex<String>,
}

impl EndpointCounts {
    pub(super) fn note(&self, settled: &Settled) {
        self.delivered.add(&settled.delivered);
        self.again.add(&settled.again);
        if let Some((reason, counts)) = &settled.lost {
            self.note_lost(*reason, counts);
        }
        self.note_lost(LossReason::SampleAge, &settled.aged);
    }

    pub(super) fn note_lost(&self, reason: LossReason, counts: &Counts) {
        let at = LossReason::ALL.iter().position(|other| *other == reason).unwrap_or_default();
        self.lost[at].add(counts);
    }

    pub(super) fn note_highest(&self, at: Timestamp) {
        self.highest_ms.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// What [`EndpointCounts::refused`] was told last.
    pub(super) fn last_refusal(&self) -> String {
        self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn refused(&self, text: &str) {
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = text.to_owned();
    }
}
