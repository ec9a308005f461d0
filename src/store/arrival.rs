//! Who pushed, when, and what came of it.
//!
//! Invariant: no clock is read in the store; every time stands in an [`Arrival`].

use std::sync::Arc;
use std::time::Instant;

use super::drops::DropCounts;
use super::inventory::ClusterPolicy;
use crate::model::Timestamp;
use crate::snapshot::{Schema, StreamState};

/// Who pushed a frame, and when it came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The identity that matched: the collector.
    pub collector: Arc<str>,
    /// When its certificate expires.
    pub certificate_expires: Timestamp,
    /// How far its clock was ahead when it sent this, if it said so.
    pub clock_skew_ms: Option<i64>,
    /// The gateway's wall clock.
    pub wall: Timestamp,
    /// The gateway's monotonic clock.
    pub monotonic: Instant,
}

/// What a frame did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Highest sequence number of the stream that is applied; 0 while there is none.
    pub acked: u64,
    /// It had been applied before, byte for byte, or is volatile and not ahead of anything any more; it did nothing.
    pub is_duplicate: bool,
    /// Samples that the scrapes in the frame delivered.
    pub samples: u64,
    /// Of those, what readers do not get to see; counted when the snapshot is whole.
    pub dropped: DropCounts,
    /// It began a stream in place of another one, whose series ended with it.
    pub has_evicted: bool,
    /// It is of a run whose collector had begun a later one: two processes push with one certificate, or a clock was set back
    /// between two starts. The later run's targets stay its own.
    pub is_outrun: bool,
}

/// A frame that was applied, before another one of its cluster can be.
#[derive(Clone, Copy)]
pub struct Taken<'a> {
    /// What it did.
    pub accepted: &'a Accepted,
    /// The cluster's policy, under which it was applied.
    pub policy: &'a Arc<ClusterPolicy>,
    /// `None` of a volatile frame that is ahead of nothing.
    pub(super) stream: Option<&'a StreamState>,
}

impl<'a> Taken<'a> {
    /// All schemas that its stream has defined and may refer to.
    pub fn schemas(&self) -> impl Iterator<Item = &'a Arc<Schema>> {
        self.stream.into_iter().flat_map(StreamState::schemas)
    }
}

/// What is remembered of a collector, whichever of its runs.
#[derive(Clone, Debug)]
pub(super) struct CollectorSeen {
    pub(super) collector: Arc<str>,
    pub(super) heard: Instant,
    pub(super) certificate_expires: Timestamp,
    /// What its newest state frame said; `None` while only definitions came.
    pub(super) told: Option<Told>,
}

/// What a state frame says of its sender's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) tick: Timestamp,
    pub(super) clock_skew_ms: i64,
}
