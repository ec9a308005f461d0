//! The log of frames as its writer sees it.
//!
//! Invariant: frames of one cluster stand in the order in which they were applied, for they are appended while the cluster is locked;
//! each segment can be read from its beginning on (see the module's page). What was applied is visible before it is synced, and
//! acknowledged after: a collector that is told nothing sends it again, and then it is a duplicate, acknowledged as soon as the
//! one before it is safe.
//!
//! | state | written by | read by |
//! |---|---|---|
//! | `places` | appends, under the lock of their cluster and then their own | appends, the checkpoint |
//! | `is_refusing` | the retention | pushes, before they are read |

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::envelope::Envelope;
use super::epoch::{EpochId, encode_epoch};
use super::kind;
use super::origins::StreamOrigins;
use super::reader::FrameRecord;
use crate::journal::{
    AppendError, CommitOptions, Committer, Durability, Full, Group, Log, Position, Progress, Reserved, TooLarge,
};
use crate::model::Timestamp;
use crate::snapshot::{EncodedFrame, Frame, FrameHeader, FrameKind, FrameLimits, StreamId, encode_schemas};
use crate::store::{Arrival, ClusterPolicy, Taken};

/// A stream is over for the log a while after it is over for the store.
const PATIENCE_MARGIN: Duration = Duration::from_secs(60);

/// Why nothing is taken in now; nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Too much waits for the disk.
    #[error(transparent)]
    Buffer(#[from] Full),
    /// The journal is as large as it may be, and somebody still wants its oldest records.
    #[error("the journal is full and its oldest records have not been taken by every endpoint")]
    Journal,
}

/// Why a frame is not acknowledged though it was applied. It stays in the buffer and is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDurable {
    /// The disk refuses.
    #[error("the journal cannot be written: {0}")]
    Disk(io::ErrorKind),
    /// The process ends.
    #[error("the journal is closed")]
    Closed,
}

/// The log of frames. Clones are the same log.
#[derive(Clone)]
pub struct FrameLog {
    inner: Arc<Inner>,
}

struct Inner {
    committer: Committer,
    durability: Durability,
    limits: FrameLimits,
    places: Mutex<Places>,
    is_refusing: AtomicBool,
}

/// What was written where.
#[derive(Default)]
struct Places {
    /// The segment that was written to last, and the epochs that stand in it.
    segment: Option<Position>,
    epochs: HashSet<EpochId>,
    policies: HashMap<String, Policy>,
    streams: HashMap<StreamId, Place>,
    origins: StreamOrigins,
}

/// A cluster's policy as it was encoded last.
#[derive(Clone)]
struct Policy {
    policy: Arc<ClusterPolicy>,
    id: EpochId,
    bytes: Arc<[u8]>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// The segment in which its schemas stand.
    defined_in: Option<Position>,
    /// Its newest record.
    last: Position,
    heard: Timestamp,
    patience: Duration,
}

impl FrameLog {
    /// Over a log of frames that is being committed. Its schemas are written within `limits`.
    pub fn new(committer: Committer, options: CommitOptions, limits: FrameLimits) -> FrameLog {
        let (places, is_refusing) = (Mutex::default(), AtomicBool::new(false));
        FrameLog { inner: Arc::new(Inner { committer, durability: options.durability, limits, places, is_refusing }) }
    }

    /// Where to read, and how much there is.
    pub fn log(&self) -> &Log {
        self.inner.committer.log()
    }

    /// The thread that writes it.
    pub fn committer(&self) -> &Committer {
        &self.inner.committer
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // What is noted of a record is noted once it stands; a panic before leaves what was.
        self.inner.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps room for frames of so many bytes, before any of them is applied.
    pub fn room(&self, bytes: usize) -> Result<Reserved, NoRoom> {
        if self.inner.is_refusing.load(Ordering::Relaxed) {
            return Err(NoRoom::Journal);
        }
        Ok(self.log().reserve(bytes)?)
    }

    /// Appends a frame that was applied just now; to be called while its cluster is locked. Gives the record's position, which is to be
    /// waited for before the frame is acknowledged: the position of the one before it, where it is a duplicate.
    pub fn append(
        &self,
        room: &Reserved,
        frame: &Frame<'_>,
        taken: &Taken<'_>,
        arrival: &Arrival,
    ) -> Result<Option<Position>, TooLarge> {
        let header = frame.header();
        if taken.accepted.is_duplicate {
            return Ok(self.places().streams.get(&header.stream).map(|place| place.last));
        }
        let begins = header.kind == FrameKind::Key && !header.continued;
        let mut schemas = if begins { self.definitions(header.stream, taken) } else { None };
        let mut places = self.places();
        let policy = places.policy(taken.policy);
        let mut group = room.begin(arrival.wall);
        let segment = group.segment();
        places.enter(segment, &policy, &mut group)?;
        let envelope = envelope(arrival, policy.id).encode();
        let place = places.streams.entry(header.stream).or_default();
        if begins && place.defined_in.replace(segment) != Some(segment) {
            // Rarely the segment began just now, and they are encoded while others wait.
            let frames = schemas.take().unwrap_or_else(|| encode_all(header.stream, taken, &self.inner.limits));
            for definition in &frames {
                group.append(kind::FRAME, &[&envelope, &definition.bytes])?;
            }
        }
        place.last = group.append(kind::FRAME, &[&envelope, frame.as_bytes()])?;
        drop(group);
        (place.heard, place.patience) = (arrival.wall, patience(&policy.policy));
        let (last, patience) = (place.last, place.patience);
        places.origins.note(segment, header, arrival.wall, patience);
        Ok(Some(last))
    }

    /// A stream's schemas, if they do not stand in the segment that was written to last.
    fn definitions(&self, stream: StreamId, taken: &Taken<'_>) -> Option<Vec<EncodedFrame>> {
        let places = self.places();
        let defined_in = places.streams.get(&stream).and_then(|place| place.defined_in);
        let is_defined = defined_in.is_some() && defined_in == places.segment;
        drop(places);
        (!is_defined).then(|| encode_all(stream, taken, &self.inner.limits))
    }

    /// Waits until the record at `position` is as safe as is configured, or the disk refuses.
    pub async fn wait(&self, position: Position) -> Result<(), NotDurable> {
        let is_safe = |progress: &Progress| match self.inner.durability {
            Durability::Strict => progress.synced > position,
            Durability::Relaxed => progress.written > position,
        };
        let mut progress = self.inner.committer.progress();
        let told = progress.wait_for(|progress| is_safe(progress) || progress.failure.is_some()).await;
        let told = told.map_err(|_| NotDurable::Closed)?;
        match told.failure {
            Some(failure) if !is_safe(&told) => Err(NotDurable::Disk(failure)),
            _ => Ok(()),
        }
    }

    /// The newest record of a stream, if this run wrote one.
    pub fn last_of(&self, stream: StreamId) -> Option<Position> {
        self.places().streams.get(&stream).map(|place| place.last)
    }

    /// Notes a record that an earlier run wrote.
    pub fn note(&self, record: &FrameRecord<'_>) {
        let (header, patience) = (record.frame.header(), patience(&record.policy));
        self.places().origins.note(record.segment, header, record.received, patience);
    }

    /// Writes that from now on pushes are taken, and that until now they could not be.
    pub fn resume(&self, now: Timestamp) -> Result<Position, AppendError> {
        self.places().origins.resume(now);
        self.log().append(kind::RESUMED, &[&now.0.to_le_bytes()], now)
    }

    /// The segment from which all live streams can be decoded, `None` where there are none.
    pub fn origin(&self, now: Timestamp) -> Option<Position> {
        let mut places = self.places();
        places.streams.retain(|_, place| now.since(place.heard) <= place.patience);
        places.origins.origin(now)
    }

    /// Whether pushes are refused because the journal is full.
    pub fn set_refusing(&self, is_refusing: bool) {
        self.inner.is_refusing.store(is_refusing, Ordering::Relaxed);
    }

    /// See [`FrameLog::set_refusing`].
    pub fn is_refusing(&self) -> bool {
        self.inner.is_refusing.load(Ordering::Relaxed)
    }
}

impl Places {
    fn policy(&mut self, policy: &Arc<ClusterPolicy>) -> Policy {
        if let Some(known) = self.policies.get(&policy.cluster)
            && (Arc::ptr_eq(&known.policy, policy) || *known.policy == **policy)
        {
            return known.clone();
        }
        let bytes: Arc<[u8]> = encode_epoch(policy).into();
        let encoded = Policy { policy: policy.clone(), id: EpochId::of(&bytes), bytes };
        self.policies.insert(policy.cluster.clone(), encoded.clone());
        encoded
    }

    /// Sees to it that the policy stands in the group's segment.
    fn enter(&mut self, segment: Position, policy: &Policy, group: &mut Group<'_>) -> Result<(), TooLarge> {
        if self.segment.replace(segment) != Some(segment) {
            self.epochs.clear();
        }
        if self.epochs.insert(policy.id) {
            group.append(kind::EPOCH, &[&policy.bytes])?;
        }
        Ok(())
    }
}

fn patience(policy: &ClusterPolicy) -> Duration {
    policy.series_end_after() + PATIENCE_MARGIN
}

fn envelope(arrival: &Arrival, epoch: EpochId) -> Envelope<'_> {
    Envelope {
        received: arrival.wall,
        epoch,
        certificate_expires: arrival.certificate_expires,
        clock_skew_ms: arrival.clock_skew_ms,
        collector: &arrival.collector,
    }
}

fn encode_all(stream: StreamId, taken: &Taken<'_>, limits: &FrameLimits) -> Vec<EncodedFrame> {
    encode_schemas(stream, taken.schemas(), limits)
}

/// Whether a frame is kept at all: what only runs ahead of a backlog comes again in order.
pub fn is_kept(header: &FrameHeader) -> bool {
    !header.volatile
}
