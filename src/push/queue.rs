//! The collector's queue: encoded frames that may have to be sent (again), in memory.
//!
//! Invariant: the queue begins with a KEY (with the definitions that stand directly before it) which lies at or before
//! the first unacknowledged frame, and holds every frame since. So whatever the gateway lost, the queue can bring it
//! back with the same bytes. Only when nothing unacknowledged is left and no KEY was queued yet may it be empty.
//!
//! Frames are numbered by their place among all frames ever queued, definitions included (a sequence number has only
//! state frames). The bound is on bytes. When it is passed, everything before the next KEY is dropped, oldest first,
//! and counted; the KEY then says GAP (its only change ever). Where there is no later KEY everything goes and the
//! encoder has to make a fresh one. A KEY that alone is larger than the bound is kept all the same: without it the cluster would be silent for good.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::snapshot::frame::with_gap;
use crate::snapshot::{EncodedFrame, Frame, FrameKind, FrameLimits, Schema, SchemaHash};

/// What was dropped unacknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// State frames.
    pub frames: u64,
    /// Samples in them.
    pub samples: u64,
}

/// What pushing frames did to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What had to go.
    pub dropped: Dropped,
    /// Whether everything went and a fresh KEY has to come.
    pub wants_key: bool,
}

/// Frames with their numbers.
#[derive(Debug)]
pub struct Queue {
    frames: VecDeque<EncodedFrame>,
    /// Number of `frames[0]`.
    first: u64,
    /// Frames with smaller numbers are acknowledged.
    unacknowledged: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Queue {
    /// An empty queue for `bytes_max` bytes of frames.
    pub fn new(bytes_max: usize) -> Queue {
        Queue { frames: VecDeque::new(), first: 0, unacknowledged: 0, bytes: 0, bytes_max }
    }

    /// Another bound, in force from the next push on.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Appends the frames of one tick.
    pub fn push(&mut self, frames: Vec<EncodedFrame>) -> Pushed {
        let begin = self.end();
        for frame in frames {
            self.bytes += frame.bytes.len();
            self.frames.push_back(frame);
        }
        let mut pushed = Pushed { dropped: Dropped::default(), wants_key: false };
        while self.bytes > self.bytes_max {
            match self.next_key_after(self.first) {
                Some(key) => self.drop_before(key, &mut pushed.dropped),
                None if self.first >= begin => break,
                None => {
                    self.drop_before(self.end(), &mut pushed.dropped);
                    pushed.wants_key = true;
                }
            }
        }
        if pushed.dropped.frames > 0 {
            self.mark_gap();
        }
        pushed
    }

    /// Says in the KEY at the queue's beginning that frames before it were dropped.
    fn mark_gap(&mut self) {
        let Some(key) = self.frames.iter_mut().find(|frame| frame.seq != 0) else { return };
        if let Ok((frame, _)) = Frame::parse(&key.bytes, &FrameLimits::default()) {
            key.bytes = with_gap(&frame);
        }
    }

    /// Drops everything, acknowledged or not.
    pub fn clear(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        self.drop_before(self.end(), &mut dropped);
        dropped
    }

    /// Marks the frames before `number` as acknowledged, and forgets those before the KEY that is still needed.
    pub fn acknowledge_before(&mut self, number: u64) {
        self.unacknowledged = self.unacknowledged.max(number.min(self.end()));
        if let Some(key) = self.last_key_until(self.unacknowledged) {
            self.drop_before(key, &mut Dropped::default());
        }
    }

    /// The longest run of frames from `from` on that fits a body of `bytes_max` and `frames_max`; at least one frame
    /// where there is any, even if it is larger.
    pub fn batch(&self, from: u64, bytes_max: usize, frames_max: usize) -> Range<u64> {
        let (mut end, mut bytes) = (from, 0);
        for frame in self.frames.iter().skip(self.index(from)).take(frames_max) {
            bytes += frame.bytes.len();
            if end > from && bytes > bytes_max {
                break;
            }
            end += 1;
        }
        from..end
    }

    /// The bytes of some frames, one after the other.
    pub fn bytes_of(&self, range: Range<u64>) -> impl Iterator<Item = &Bytes> {
        self.frames.range(self.index(range.start)..self.index(range.end)).map(|frame| &frame.bytes)
    }

    /// The number of the state frame `seq` or of the first definition directly before it.
    pub fn number_of(&self, seq: u64) -> Option<u64> {
        let at = self.frames.iter().position(|frame| frame.seq == seq && seq != 0)?;
        Some(self.first + self.with_definitions(at) as u64)
    }

    /// One past the number of the last state frame with a sequence number up to `seq`.
    pub fn number_after(&self, seq: u64) -> Option<u64> {
        let at = self.frames.iter().rposition(|frame| frame.seq != 0 && frame.seq <= seq)?;
        Some(self.first + at as u64 + 1)
    }

    /// Where the KEY begins from which the gateway can rebuild everything unacknowledged.
    pub fn rewind(&self) -> Option<u64> {
        self.last_key_until(self.unacknowledged)
    }

    /// The schemas that the KEY at `number` refers to, all its parts together, each once.
    pub fn schemas_of_key(&self, number: u64) -> Vec<Arc<Schema>> {
        let mut seen = HashSet::new();
        let mut schemas = Vec::new();
        for frame in self.frames.iter().skip(self.index(number)).filter(|frame| frame.seq != 0) {
            schemas.extend(frame.schemas.iter().filter(|schema| seen.insert(schema.hash())).cloned());
            if !frame.more {
                break;
            }
        }
        schemas
    }

    /// Whether a state frame stands among these.
    pub fn has_state(&self, range: Range<u64>) -> bool {
        range.start < range.end
            && self.frames.range(self.index(range.start)..self.index(range.end)).any(|frame| frame.seq != 0)
    }

    /// A schema that some queued frame refers to.
    pub fn schema(&self, hash: SchemaHash) -> Option<Arc<Schema>> {
        self.frames.iter().rev().flat_map(|frame| &frame.schemas).find(|schema| schema.hash() == hash).cloned()
    }

    /// The number of the first frame that is not acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.unacknowledged
    }

    /// The number that the next frame gets.
    pub fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Number of the first frame held.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// How many frames wait to be acknowledged, and how many bytes all frames have that are held.
    pub fn holds(&self) -> (usize, usize) {
        ((self.end() - self.unacknowledged) as usize, self.bytes)
    }

    /// Place of frame `number` in the deque, inside its bounds.
    fn index(&self, number: u64) -> usize {
        (number.clamp(self.first, self.end()) - self.first) as usize
    }

    /// Whether a whole KEY begins with `frames[at]`; later parts of one do not count.
    fn begins_key(&self, at: usize) -> bool {
        let before = self.frames.range(..at).rev().find(|frame| frame.seq != 0);
        self.frames[at].kind == FrameKind::Key
            && !before.is_some_and(|frame| frame.kind == FrameKind::Key && frame.more)
    }

    /// Steps back over the definitions directly before `frames[at]`.
    fn with_definitions(&self, at: usize) -> usize {
        at - self.frames.range(..at).rev().take_while(|frame| frame.seq == 0).count()
    }

    /// The last KEY that begins at or before frame `number`.
    fn last_key_until(&self, number: u64) -> Option<u64> {
        let keys = (0..self.frames.len()).rev().filter(|at| self.begins_key(*at));
        keys.map(|at| self.first + self.with_definitions(at) as u64).find(|key| *key <= number)
    }

    /// The first KEY that begins after frame `number`.
    fn next_key_after(&self, number: u64) -> Option<u64> {
        let keys = (0..self.frames.len()).filter(|at| self.begins_key(*at));
        keys.map(|at| self.first + self.with_definitions(at) as u64).find(|key| *key > number)
    }

    fn drop_before(&mut self, number: u64, dropped: &mut Dropped) {
        while self.first < number {
            let Some(frame) = self.frames.pop_front() else { break };
            self.bytes -= frame.bytes.len();
            if self.first >= self.unacknowledged && frame.seq != 0 {
                dropped.frames += 1;
                dropped.samples += frame.samples;
            }
            self.first += 1;
        }
        self.unacknowledged = self.unacknowledged.max(self.first);
    }
}
