//! Reading the log of recorded series: frames, and what they say of which rule.
//!
//! Invariant: [`RuleChanges`] tells each evaluation once, in its order for every rule: what a KEY repeats is passed over.

use std::collections::HashMap;

use super::kind;
use super::recorded::rule_of;
use super::segments::SegmentFinder;
use crate::journal::{self, Cause, Log, Lost, Position, ReadError, Reader};
use crate::model::Timestamp;
use crate::snapshot::{
    Applied, ApplyError, Frame, FrameKind, FrameLimits, Outcome, SchemaCache, StreamState, TargetState,
};
use crate::store::{RecordedResults, RuleId};

/// What a reader found.
#[derive(Debug)]
pub enum RecordedEntry<'a> {
    /// A frame.
    Frame(RecordedFrame<'a>),
    /// Something that cannot be read.
    Lost(Lost),
}

/// A frame in the log.
#[derive(Debug)]
pub struct RecordedFrame<'a> {
    /// Its position.
    pub position: Position,
    /// The position behind it: the cursor of who is done with it.
    pub next: Position,
    /// The first position of its segment.
    pub segment: Position,
    /// When it was written.
    pub written: Timestamp,
    /// The frame.
    pub frame: Frame<'a>,
}

/// A place in the log of recorded series.
pub struct RecordedReader {
    reader: Reader,
    segments: SegmentFinder,
    limits: FrameLimits,
}

impl RecordedReader {
    /// Reads from `from` on; see [`super::FrameReader::new`].
    pub fn new(log: &Log, from: Position) -> RecordedReader {
        let limits = FrameLimits {
            frame_bytes_max: journal::RECORD_BYTES_MAX,
            raw_bytes_max: u32::MAX as usize,
            ..FrameLimits::default()
        };
        RecordedReader { reader: log.reader(from), segments: SegmentFinder::new(log.clone()), limits }
    }

    /// The position of what is read next.
    pub fn position(&self) -> Position {
        self.reader.position()
    }

    /// What stands next; `None` if nothing more is synced now. After an error the same is tried again.
    #[expect(clippy::should_implement_trait, reason = "what it gives borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<RecordedEntry<'_>>, ReadError> {
        let record = match self.reader.next()? {
            None => return Ok(None),
            Some(journal::Entry::Lost { lost, .. }) => return Ok(Some(RecordedEntry::Lost(lost))),
            Some(journal::Entry::Record(record)) => record,
        };
        let (position, next) = (record.position, record.next);
        let parts = record.payload.split_first_chunk().filter(|_| record.kind == kind::RECORDED);
        let frame = parts.and_then(|(written, bytes)| {
            let (frame, _) = Frame::parse(bytes, &self.limits).ok()?;
            Some((Timestamp(i64::from_le_bytes(*written)), frame))
        });
        let segment = self.segments.of(position);
        Ok(Some(match frame {
            Some((written, frame)) => RecordedEntry::Frame(RecordedFrame { position, next, segment, written, frame }),
            None => RecordedEntry::Lost(Lost { from: position, until: next, cause: Cause::Damaged }),
        }))
    }
}

/// What a frame says of one rule.
#[derive(Clone, Debug)]
pub enum RuleChange {
    /// It gave these results.
    Gave(RuleId, RecordedResults),
    /// It is gone: all its series end at this time.
    Ended(RuleId, Timestamp),
}

/// Decodes the frames of the log in their order.
#[derive(Default)]
pub struct RuleChanges {
    state: Option<StreamState>,
    schemas: SchemaCache,
    limits: FrameLimits,
    /// Rules by their targets' numbers.
    rules: HashMap<u32, RuleId>,
    /// Of the newest results.
    told: HashMap<RuleId, Timestamp>,
}

impl RuleChanges {
    /// Nothing is known yet.
    pub fn new() -> RuleChanges {
        RuleChanges::default()
    }

    /// What the next frame brings. An error is a frame that cannot be understood; from the next KEY on all is well again.
    pub fn apply(&mut self, frame: &Frame<'_>) -> Result<Vec<RuleChange>, ApplyError> {
        let header = frame.header();
        let begins = header.kind == FrameKind::Key && !header.continued;
        let state = self.state.take().filter(|state| state.stream() == header.stream);
        let mut state = state.unwrap_or_else(|| StreamState::new(header.stream));
        if header.kind.is_definition() {
            let defined = state.define(frame, &self.limits, &self.schemas);
            self.state = Some(state);
            return defined.map(|()| Vec::new());
        }
        let mut applied = state.apply(frame, &self.limits);
        if begins && matches!(applied, Err(ApplyError::Gap { .. })) {
            // Frames before this KEY were lost, and it stands on none of them.
            state.forget_frames();
            applied = state.apply(frame, &self.limits);
        }
        let changes = applied.map(|applied| self.changes(&applied, &state));
        self.state = Some(state);
        changes
    }

    fn changes(&mut self, applied: &Applied, state: &StreamState) -> Vec<RuleChange> {
        let mut changes = Vec::new();
        for number in &applied.changed_targets {
            let Some((target, rule)) =
                state.target(*number).and_then(|target| Some((target, rule_of(&target.labels)?)))
            else {
                continue;
            };
            self.rules.insert(*number, rule.clone());
            let is_newer = self.told.get(&rule).is_none_or(|told| *told < target.started);
            if is_newer && target.outcome != Outcome::Gone {
                self.told.insert(rule.clone(), target.started);
                changes.push(RuleChange::Gave(rule, results_of(target)));
            }
        }
        for (number, at) in &applied.gone {
            changes.extend(self.rules.remove(number).map(|rule| RuleChange::Ended(rule, *at)));
        }
        changes
    }
}

fn results_of(target: &TargetState) -> RecordedResults {
    RecordedResults {
        at: target.started,
        schema: target.schema.clone(),
        column: target.column.clone(),
        beside: target.beside.clone(),
    }
}
