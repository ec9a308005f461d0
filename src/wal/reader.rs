//! Reading the log of frames: each with the policy under which it came.
//!
//! Invariant: every frame that is synced is given once and in order, or told as lost. The policy is the one of then, not of now.

use std::collections::HashMap;
use std::sync::Arc;

use super::envelope::Envelope;
use super::epoch::{EpochId, decode_epoch};
use super::kind;
use super::segments::SegmentFinder;
use crate::journal::{self, Cause, Log, Lost, Position, ReadError, Reader};
use crate::model::Timestamp;
use crate::snapshot::{Frame, FrameLimits};
use crate::store::ClusterPolicy;

/// What a reader found.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A frame.
    Frame(FrameRecord<'a>),
    /// A policy that frames behind it came under; it may stand there again and again.
    Epoch {
        /// The position behind it.
        next: Position,
        /// The policy.
        policy: Arc<ClusterPolicy>,
    },
    /// A gateway begins to take frames here; until then, from the frame before on, nobody could push.
    Resumed {
        /// The position behind it.
        next: Position,
        /// When.
        at: Timestamp,
    },
    /// Something that cannot be read.
    Lost {
        /// Where, how much and why.
        lost: Lost,
        /// Whose it was, where that can be told.
        cluster: Option<Arc<ClusterPolicy>>,
    },
}

/// A frame in the log.
#[derive(Debug)]
pub struct FrameRecord<'a> {
    /// Its position.
    pub position: Position,
    /// The position behind it: the cursor of who is done with it.
    pub next: Position,
    /// The first position of its segment.
    pub segment: Position,
    /// The gateway's clock when it came.
    pub received: Timestamp,
    /// Labels, limits and policies of then.
    pub policy: Arc<ClusterPolicy>,
    /// Who pushed it.
    pub collector: &'a str,
    /// When the collector's certificate expires.
    pub certificate_expires: Timestamp,
    /// How far the sender's clock was ahead, if it said so.
    pub clock_skew_ms: Option<i64>,
    /// The frame as it came, or a definition that the gateway wrote so that a reader can begin in this segment.
    pub frame: Frame<'a>,
}

/// A place in the log of frames.
pub struct FrameReader {
    reader: Reader,
    segments: SegmentFinder,
    /// Of the epochs that were read.
    epochs: HashMap<EpochId, Arc<ClusterPolicy>>,
    /// The log's frames were within these when they came; another configuration may have other limits now.
    limits: FrameLimits,
}

/// Limits under which every frame of a log can be read, whichever configuration it came under.
fn widest() -> FrameLimits {
    let bytes = journal::RECORD_BYTES_MAX;
    FrameLimits { frame_bytes_max: bytes, raw_bytes_max: u32::MAX as usize, ..FrameLimits::default() }
}

impl FrameReader {
    /// Reads from `from` on. Frames can be decoded from each stream's next KEY if that is the beginning of a segment.
    pub fn new(log: &Log, from: Position) -> FrameReader {
        let segments = SegmentFinder::new(log.clone());
        FrameReader { reader: log.reader(from), segments, epochs: HashMap::new(), limits: widest() }
    }

    /// The position of what is read next.
    pub fn position(&self) -> Position {
        self.reader.position()
    }

    /// What stands next; `None` if nothing more is synced now. After an error the same is tried again.
    #[expect(clippy::should_implement_trait, reason = "what it gives borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        let FrameReader { reader, segments, epochs, limits } = self;
        let Some(found) = reader.next()? else { return Ok(None) };
        let record = match found {
            journal::Entry::Lost { lost, remains } => {
                let envelope = remains.filter(|(kind, _)| *kind == kind::FRAME).map(|(_, bytes)| bytes);
                let epoch = envelope.and_then(|bytes| Envelope::decode(bytes).ok()).map(|(envelope, _)| envelope.epoch);
                let cluster = epoch.and_then(|epoch| epochs.get(&epoch)).cloned();
                return Ok(Some(Entry::Lost { lost, cluster }));
            }
            journal::Entry::Record(record) => record,
        };
        if let Some(at) = resumed(&record) {
            return Ok(Some(Entry::Resumed { next: record.next, at }));
        }
        let lost = Lost { from: record.position, until: record.next, cause: Cause::Damaged };
        if record.kind == kind::EPOCH {
            let Ok(policy) = decode_epoch(record.payload) else { return Ok(Some(Entry::Lost { lost, cluster: None })) };
            let policy = Arc::new(policy);
            epochs.insert(EpochId::of(record.payload), policy.clone());
            return Ok(Some(Entry::Epoch { next: record.next, policy }));
        }
        Ok(Some(match frame_of(&record, segments.of(record.position), epochs, limits) {
            Ok(frame) => Entry::Frame(frame),
            Err(cluster) => Entry::Lost { lost, cluster },
        }))
    }
}

fn resumed(record: &journal::Record<'_>) -> Option<Timestamp> {
    let bytes = record.payload.first_chunk().filter(|_| record.kind == kind::RESUMED)?;
    Some(Timestamp(i64::from_le_bytes(*bytes)))
}

/// The frame in a record, or whose it was as far as that can be told.
fn frame_of<'r>(
    record: &journal::Record<'r>,
    segment: Position,
    epochs: &HashMap<EpochId, Arc<ClusterPolicy>>,
    limits: &FrameLimits,
) -> Result<FrameRecord<'r>, Option<Arc<ClusterPolicy>>> {
    if record.kind != kind::FRAME {
        return Err(None);
    }
    let (envelope, bytes) = Envelope::decode(record.payload).map_err(|_| None)?;
    let policy = epochs.get(&envelope.epoch).cloned().ok_or(None)?;
    let (frame, _) = Frame::parse(bytes, limits).map_err(|_| Some(policy.clone()))?;
    let (position, next) = (record.position, record.next);
    let Envelope { received, certificate_expires, clock_skew_ms, collector, .. } = envelope;
    Ok(FrameRecord { position, next, segment, received, policy, collector, certificate_expires, clock_skew_ms, frame })
}
