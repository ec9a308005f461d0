//! One frame in the collector's log of what has to be delivered, and the record that holds it in the spool.
//!
//! Every entry says how many state frames and samples stand before it in the whole log. So what lies between two entries is known
//! without looking: whatever was dropped, skipped, damaged or never written is counted exactly, by a subtraction.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 8 | state frames before it, since the log began |
//! | 8 | 8 | samples in them |
//! | 16 | 4 | its own samples |
//! | 20 | | the frame, as it travels |
//!
//! The record's kind is 1 for a frame that every gateway gets, 2 for a *prelude*: before each KEY but a stream's first stand definitions
//! of all that it refers to, in full. They are sent only to a gateway that lost its state; so whoever begins at a KEY needs nothing from
//! before it, and segments can go one by one.

use std::collections::HashSet;

use bytes::Bytes;

use crate::journal::Position;
use crate::model::Timestamp;
use crate::snapshot::frame::with_gap;
use crate::snapshot::{EncodedFrame, Frame, FrameKind, FrameLimits, StreamId, encode_schema};

/// Bytes before the frame.
const ENVELOPE_BYTES: usize = 20;

/// Where an entry stands: its record's position, and behind all of them a place for what the spool could not take.
///
/// What no record holds stands before the record that comes next at the same position, in the order in which it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u128);

impl Place {
    /// Of the record at this position.
    pub fn of_record(position: Position) -> Place {
        Place(u128::from(position.0) << 64 | u128::from(u64::MAX))
    }

    /// Behind the records before this position.
    pub fn behind(position: Position) -> Place {
        Place(u128::from(position.0) << 64)
    }

    /// Directly behind this one, where nothing is recorded in between.
    #[must_use]
    pub fn next(self) -> Place {
        Place(self.0 + 1)
    }

    /// Directly before this one.
    #[must_use]
    pub fn before(self) -> Place {
        Place(self.0.saturating_sub(1))
    }

    /// Whether a record stands here.
    pub fn is_record(self) -> bool {
        self.0 as u64 == u64::MAX
    }

    /// The position from which on records are still to come.
    pub fn position(self) -> Position {
        Position((self.0 >> 64) as u64)
    }
}

/// Counts of what is in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Totals {
    /// State frames.
    pub frames: u64,
    /// Samples in them.
    pub samples: u64,
}

impl Totals {
    /// What came since `before`; nothing where that is later.
    pub fn since(self, before: Totals) -> Totals {
        Totals {
            frames: self.frames.saturating_sub(before.frames),
            samples: self.samples.saturating_sub(before.samples),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Totals) -> Totals {
        Totals { frames: self.frames + other.frames, samples: self.samples + other.samples }
    }
}

/// Which gateways an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// All.
    Frame = 1,
    /// Those that lost their state.
    Prelude = 2,
}

/// One frame of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it stands.
    pub at: Place,
    /// Where the entry behind it stands, or will.
    pub next: Place,
    /// Whom it is for.
    pub role: Role,
    /// What it is for.
    pub kind: FrameKind,
    /// Whose it is.
    pub stream: StreamId,
    /// Its place in the stream; 0 for definitions.
    pub seq: u64,
    /// Its tick; of definitions without meaning.
    pub tick: Timestamp,
    /// It is the first part of a KEY.
    pub begins_key: bool,
    /// What stands before it in the log.
    pub before: Totals,
    /// Samples in it.
    pub samples: u64,
    /// The frame.
    pub bytes: Bytes,
}

impl Entry {
    /// Of a frame just made or read; `None` where the bytes are no frame.
    pub fn new(role: Role, bytes: Bytes, samples: u64, before: Totals) -> Option<Entry> {
        // Frames of this program keep the limits; what another wrote is judged by the gateway.
        let (frame, _) = Frame::parse(&bytes, &LIMITS).ok()?;
        let header = *frame.header();
        Some(Entry {
            at: Place::default(),
            next: Place::default(),
            role,
            kind: header.kind,
            stream: header.stream,
            seq: header.seq,
            tick: header.tick,
            begins_key: header.kind == FrameKind::Key && !header.continued,
            before,
            samples,
            bytes,
        })
    }

    /// Reads a record; `None` where it holds none of ours.
    pub fn of_record(at: Position, next: Position, kind: u8, payload: &[u8]) -> Option<Entry> {
        let role = [Role::Frame, Role::Prelude].into_iter().find(|role| *role as u8 == kind)?;
        let (frames, rest) = payload.split_first_chunk::<8>()?;
        let (samples_before, rest) = rest.split_first_chunk::<8>()?;
        let (samples, frame) = rest.split_first_chunk::<4>()?;
        let before = Totals { frames: u64::from_le_bytes(*frames), samples: u64::from_le_bytes(*samples_before) };
        let samples = u64::from(u32::from_le_bytes(*samples));
        let entry = Entry::new(role, Bytes::copy_from_slice(frame), samples, before)?;
        Some(Entry { at: Place::of_record(at), next: Place::behind(next), ..entry })
    }

    /// What stands before the frame in its record.
    pub fn envelope(&self) -> [u8; ENVELOPE_BYTES] {
        let mut envelope = [0; ENVELOPE_BYTES];
        envelope[..8].copy_from_slice(&self.before.frames.to_le_bytes());
        envelope[8..16].copy_from_slice(&self.before.samples.to_le_bytes());
        envelope[16..].copy_from_slice(&u32::try_from(self.samples).unwrap_or(u32::MAX).to_le_bytes());
        envelope
    }

    /// Bytes of its record's payload.
    pub fn record_bytes(&self) -> usize {
        ENVELOPE_BYTES + self.bytes.len()
    }

    /// What it adds to the totals.
    pub fn own(&self) -> Totals {
        match self.is_state() {
            true => Totals { frames: 1, samples: self.samples },
            false => Totals::default(),
        }
    }

    /// What stands before the entry behind it.
    pub fn after(&self) -> Totals {
        self.before.plus(self.own())
    }

    /// Whether it has a place in its stream's sequence.
    pub fn is_state(&self) -> bool {
        self.seq != 0
    }

    /// Says in it that frames before it were dropped.
    pub fn mark_gap(&mut self) {
        if let Ok((frame, _)) = Frame::parse(&self.bytes, &LIMITS)
            && !frame.header().gap
        {
            self.bytes = with_gap(&frame);
        }
    }
}

/// Everything that this program can have written.
const LIMITS: FrameLimits = FrameLimits { frame_bytes_max: 1 << 30, raw_bytes_max: usize::MAX, ..FrameLimits::DEFAULT };

/// The entries of one tick's frames, a prelude before its KEY; `totals` goes on behind them.
pub fn entries(frames: &[EncodedFrame], totals: &mut Totals, limits: &FrameLimits) -> Vec<Entry> {
    let preludes = prelude(frames, limits);
    let preludes = preludes.iter().map(|frame| (Role::Prelude, frame));
    let all = preludes.chain(frames.iter().map(|frame| (Role::Frame, frame)));
    let mut made = Vec::with_capacity(frames.len());
    for (role, frame) in all {
        let entry = Entry::new(role, frame.bytes.clone(), frame.samples, *totals).expect("our own frame can be read");
        *totals = entry.after();
        made.push(entry);
    }
    made
}

/// Definitions of all that a KEY refers to; a stream's first KEY follows its own in any case.
fn prelude(frames: &[EncodedFrame], limits: &FrameLimits) -> Vec<EncodedFrame> {
    let keys = || frames.iter().filter(|frame| frame.kind == FrameKind::Key);
    let first = keys().next().filter(|first| first.seq > 1);
    let Some((first, _)) = first.and_then(|first| Frame::parse(&first.bytes, &LIMITS).ok()) else { return Vec::new() };
    let (stream, mut seen) = (first.header().stream, HashSet::new());
    let schemas = keys().flat_map(|frame| &frame.schemas).filter(|schema| seen.insert(schema.hash()));
    schemas.flat_map(|schema| encode_schema(stream, schema, limits)).collect()
}
