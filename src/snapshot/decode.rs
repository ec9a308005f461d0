//! The gateway's end of a stream: frames in, targets with their columns out.
//!
//! Invariant: a frame is applied whole or not at all. It is decoded into clones, which share everything that it does not
//! change, and these take the old state's place only after its last byte was found right. Whatever a frame claims is compared
//! with a bound, or with the bytes that are there, before anything is allocated for it.
//!
//! Sequence: the next number is applied; one that was applied already is a [`ApplyError::Duplicate`], or a
//! [`ApplyError::Conflict`] where its bytes differ (of the last [`REMEMBERED_FRAMES`] frames; older ones count as duplicates); a
//! later one is a [`ApplyError::Gap`], unless it is a KEY that says so. A state that knows nothing begins at any KEY.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::apply::Work;
use super::beside::Beside;
use super::column::Column;
use super::define::Definitions;
use super::facts::Facts;
use super::frame::{Frame, FrameError, FrameHeader, FrameKind, FrameLimits, StreamId};
use super::payload::Sections;
use super::reader::Malformed;
use super::schema::{Schema, SchemaCache, SchemaHash};
use super::scrape::{Outcome, Report};
use super::values::ChunkState;
use crate::model::{Labels, Timestamp};

/// Frames whose checksums are remembered, to tell one that came again from another under its number.
pub const REMEMBERED_FRAMES: usize = 64;

/// Why a frame was not applied. Whatever the reason, the state is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Frames before it are missing.
    #[error("frame {found} came where {expected} was expected")]
    Gap {
        /// Its number.
        found: u64,
        /// The number that would have been applied.
        expected: u64,
    },
    /// It was applied before.
    #[error("frame was applied before")]
    Duplicate,
    /// Another frame with its number was applied before.
    #[error("frame {seq} differs from the one that was applied under this number")]
    Conflict {
        /// The number.
        seq: u64,
    },
    /// Nothing is known of the stream and the frame is no KEY.
    #[error("stream begins in the middle, expected a KEY")]
    NeedKey,
    /// It refers to schemas that the stream did not define.
    #[error("{} schemas are not known, the first {}", .0.len(), .0[0])]
    UnknownSchemas(Vec<SchemaHash>),
    /// Its stream is another one.
    #[error("frame of stream {found}, expected {expected}")]
    WrongStream {
        /// Whose it is.
        found: StreamId,
        /// Whose state this is.
        expected: StreamId,
    },
    /// A definition was given to `apply` or a state frame to `define`.
    #[error("frame is of the wrong kind")]
    WrongKind,
    /// The payload cannot be unpacked.
    #[error("frame {seq}: {reason}")]
    Packing {
        /// The frame.
        seq: u64,
        /// Why.
        reason: FrameError,
    },
    /// The payload makes no sense.
    #[error("frame {seq}: {reason}")]
    Corrupt {
        /// The frame.
        seq: u64,
        /// Why.
        reason: Malformed,
    },
}

/// What a frame did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Samples that the scrapes in it delivered, unchanged ones included, carried-over targets not.
    pub samples: u64,
    /// Numbers of the targets that were scraped in it, or newly carried by a KEY, ascending.
    pub changed_targets: Vec<u32>,
    /// Targets that were removed, with the time at which their series end.
    pub gone: Vec<(u32, Timestamp)>,
    /// The state is whole: no part of the same tick follows.
    pub publish: bool,
    /// The stream stops on purpose.
    pub ended: bool,
    /// The frame was a KEY (or a part of one): the state is as the KEY says, whatever was before.
    pub key: bool,
}

/// One target as the stream left it.
#[derive(Clone, Debug)]
pub struct TargetState {
    /// Its number in the stream; a number is given again after its target is gone.
    pub number: u32,
    /// Its labels, which its series have unless their own say otherwise.
    pub labels: Arc<Labels>,
    /// Its slots.
    pub schema: Arc<Schema>,
    /// The values beside them.
    pub column: Column,
    /// When its last scrape began: the timestamp of all samples without their own.
    pub started: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Its counts.
    pub report: Report,
    /// What few slots have beside their value.
    pub beside: Arc<Beside>,
}

/// One target with what only the decoder needs of it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) shown: TargetState,
    pub(super) states: Vec<Arc<ChunkState>>,
    /// Memory that its histograms take.
    pub(super) histogram_bytes: usize,
    /// The tick of the frame that told its last scrape.
    pub(super) tick: Timestamp,
    /// A scrape of it was read to its end.
    pub(super) is_told: bool,
}

impl Target {
    /// A target of which only the labels are known yet.
    pub(super) fn new(number: u32, labels: Labels, tick: Timestamp) -> Target {
        let facts = Facts::new(tick);
        let shown = TargetState {
            number,
            labels: Arc::new(labels),
            schema: Arc::new(Schema::new(Vec::new())),
            column: Column::default(),
            started: facts.started,
            duration: facts.duration,
            outcome: facts.outcome,
            report: facts.report,
            beside: Beside::nothing(),
        };
        Target { shown, states: Vec::new(), histogram_bytes: 0, tick, is_told: false }
    }

    pub(super) fn facts(&self) -> Facts {
        let TargetState { started, duration, outcome, report, .. } = self.shown;
        Facts { started, duration, outcome, report, tick: self.tick }
    }

    pub(super) fn set_facts(&mut self, facts: &Facts) {
        (self.shown.started, self.shown.duration) = (facts.started, facts.duration);
        (self.shown.outcome, self.shown.report) = (facts.outcome, facts.report);
        self.tick = facts.tick;
    }
}

/// A scrape of which a part is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenScrape {
    pub(super) number: u32,
    pub(super) next_chunk: usize,
}

/// The decoder's state of one stream.
#[derive(Debug)]
pub struct StreamState {
    stream: StreamId,
    started: Timestamp,
    last_seq: u64,
    /// Numbers and checksums of the newest frames.
    remembered: VecDeque<(u64, u32)>,
    definitions: Definitions,
    targets: BTreeMap<u32, Target>,
    /// Slots of all targets.
    slots: usize,
    /// Memory that the histograms of all targets take.
    histogram_bytes: usize,
    /// A KEY was applied, so frames that follow have something to stand on.
    is_begun: bool,
    /// The kind of the tick of which parts are still to come.
    open_tick: Option<FrameKind>,
    open_scrape: Option<OpenScrape>,
}

impl StreamState {
    /// Nothing is known yet; the first state frame must be a KEY, whatever its number.
    pub fn new(stream: StreamId) -> StreamState {
        StreamState {
            stream,
            started: Timestamp(0),
            last_seq: 0,
            remembered: VecDeque::new(),
            definitions: Definitions::default(),
            targets: BTreeMap::new(),
            slots: 0,
            histogram_bytes: 0,
            is_begun: false,
            open_tick: None,
            open_scrape: None,
        }
    }

    /// Whose state it is.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Takes a DEFINE frame. The same one twice does no harm.
    pub fn define(&mut self, frame: &Frame<'_>, limits: &FrameLimits, cache: &SchemaCache) -> Result<(), ApplyError> {
        self.check_stream(frame.header())?;
        if !frame.header().kind.is_definition() {
            return Err(ApplyError::WrongKind);
        }
        self.definitions.define(frame, limits, cache)
    }

    /// Takes a KEY, DELTA or END frame: all of it or nothing.
    pub fn apply(&mut self, frame: &Frame<'_>, limits: &FrameLimits) -> Result<Applied, ApplyError> {
        let header = frame.header();
        self.check_stream(header)?;
        if header.kind.is_definition() {
            return Err(ApplyError::WrongKind);
        }
        self.check_sequence(header, frame.crc())?;
        let seq = header.seq;
        let raw = frame.unpack().map_err(|reason| ApplyError::Packing { seq, reason })?;
        let applied = if header.kind == FrameKind::End {
            let bytes = raw.len();
            if bytes > 0 {
                return Err(ApplyError::Corrupt { seq, reason: Malformed::Trailing { what: "END", bytes } });
            }
            Applied { ended: true, publish: true, ..Applied::default() }
        } else {
            self.apply_scrapes(header, &raw, limits)?
        };
        self.last_seq = seq;
        if self.remembered.len() == REMEMBERED_FRAMES {
            self.remembered.pop_front();
        }
        self.remembered.push_back((seq, frame.crc()));
        Ok(applied)
    }

    /// Forgets all frames, not the definitions: frames are missing for good, and the next KEY begins the stream anew.
    pub fn forget_frames(&mut self) {
        let definitions = std::mem::take(&mut self.definitions);
        *self = StreamState { definitions, ..StreamState::new(self.stream) };
    }

    /// The targets, ascending by number. In the middle of a tick's parts some are already newer than others.
    pub fn targets(&self) -> impl Iterator<Item = &TargetState> {
        self.targets.values().map(|target| &target.shown)
    }

    /// One target by its number.
    pub fn target(&self, number: u32) -> Option<&TargetState> {
        self.targets.get(&number).map(|target| &target.shown)
    }

    /// Every schema that it defined and may still refer to.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.definitions.all()
    }

    /// When the stream's collector started, as its KEY says.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// The number of the last frame that was applied, 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    fn check_stream(&self, header: &FrameHeader) -> Result<(), ApplyError> {
        let (found, expected) = (header.stream, self.stream);
        if found == expected { Ok(()) } else { Err(ApplyError::WrongStream { found, expected }) }
    }

    fn check_sequence(&self, header: &FrameHeader, crc: u32) -> Result<(), ApplyError> {
        if !(1..u64::MAX).contains(&header.seq) {
            let reason = Malformed::OutOfBounds { what: "sequence number", found: header.seq, max: u64::MAX - 1 };
            return Err(ApplyError::Corrupt { seq: header.seq, reason });
        }
        let (found, expected) = (header.seq, self.last_seq + 1);
        let begins = header.kind == FrameKind::Key && !header.continued;
        if !self.is_begun {
            return if begins { Ok(()) } else { Err(ApplyError::NeedKey) };
        }
        if found < expected {
            let before = self.remembered.iter().find(|(seq, _)| *seq == found);
            return Err(match before {
                Some((seq, own)) if *own != crc => ApplyError::Conflict { seq: *seq },
                _ => ApplyError::Duplicate,
            });
        }
        if found > expected && !(begins && header.gap) {
            return Err(ApplyError::Gap { found, expected });
        }
        let goes_on = if header.continued { Some(header.kind) } else { None };
        // A KEY may cut short what was never finished: it stands on nothing.
        if goes_on != self.open_tick && !begins {
            return Err(ApplyError::Corrupt { seq: found, reason: Malformed::OutOfPlace("part of a tick") });
        }
        Ok(())
    }

    fn apply_scrapes(&mut self, header: &FrameHeader, raw: &[u8], limits: &FrameLimits) -> Result<Applied, ApplyError> {
        let corrupt = |reason| ApplyError::Corrupt { seq: header.seq, reason };
        let mut sections = Sections::parse(raw).map_err(corrupt)?;
        let unknown = self.unknown_schemas(&sections);
        if !unknown.is_empty() {
            return Err(ApplyError::UnknownSchemas(unknown));
        }
        let is_key = header.kind == FrameKind::Key;
        let mut started = self.started;
        if is_key {
            started = Timestamp(sections.stream.zigzag("stream's start").map_err(corrupt)?);
        }
        let begins = is_key && !header.continued;
        let nothing = BTreeMap::new();
        let before = if begins { &nothing } else { &self.targets };
        let held = if begins { (0, 0) } else { (self.slots, self.histogram_bytes) };
        let open = self.open_scrape.filter(|_| !begins);
        let mut work = Work::new(before, &self.definitions, held, open, header, limits);
        work.read(&mut sections).map_err(corrupt)?;
        let (changes, mut applied) = work.finish();
        (applied.publish, applied.key) = (!header.more, is_key);
        if begins {
            self.targets.clear();
        }
        for (number, target) in changes.targets {
            match target {
                Some(target) => self.targets.insert(number, target),
                None => self.targets.remove(&number),
            };
        }
        (self.slots, self.histogram_bytes) = (changes.slots, changes.histogram_bytes);
        (self.open_scrape, self.started, self.is_begun) = (changes.open, started, true);
        self.open_tick = header.more.then_some(header.kind);
        if applied.publish {
            let targets = &self.targets;
            self.definitions.retain(|| targets.values().map(|target| target.shown.schema.hash()).collect());
        }
        Ok(applied)
    }

    /// The schemas that a frame refers to and the stream did not define.
    fn unknown_schemas(&self, sections: &Sections<'_>) -> Vec<SchemaHash> {
        let hashes = sections.schemas.rest().chunks_exact(16);
        let hashes = hashes.map(|hash| SchemaHash(*hash.first_chunk().expect("chunks of sixteen bytes")));
        let mut seen = HashSet::new();
        hashes.filter(|hash| self.definitions.get(*hash).is_none() && seen.insert(*hash)).collect()
    }
}
