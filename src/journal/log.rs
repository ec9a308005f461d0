//! The log as everybody but its writer sees it: appending to the buffer, reading what is synced, asking how much there is.
//!
//! Invariant: positions are given under one lock, in the order of the bytes, so the order of records is the order in which groups were
//! begun. What waits to be synced, with what is reserved, stays within [`Options::buffer_bytes_max`], but for records that their
//! owner appends beyond what it reserved (preambles), and for one that alone is larger.
//!
//! | state | written by | read by |
//! |---|---|---|
//! | `buffer`, `reserved` | appenders; the writer takes the bytes | the writer |
//! | `segments`, `written`, `synced` | the writer | readers, owners |
//! | `statistics` | both | owners |
//! | `wishes` | owners | the committer's thread |

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::Timestamp;

use super::Options;
use super::buffer::Buffer;
use super::files::{Files, Space};
use super::format::{Position, RECORD_BYTES_MAX, RECORD_HEADER_BYTES};
use super::reader::Reader;
use super::segments::{Segment, Segments};

/// The buffer has no room; nothing was done. It has again when the disk has caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} bytes wait to be written to the journal, {asked} more would pass the bound of {max}")]
pub struct Full {
    /// Bytes that wait or are reserved.
    pub waiting: usize,
    /// Bytes that were asked for.
    pub asked: usize,
    /// [`Options::buffer_bytes_max`].
    pub max: usize,
}

/// A record is larger than [`RECORD_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record of {0} bytes, expected at most {RECORD_BYTES_MAX}")]
pub struct TooLarge(pub usize);

/// Why a record was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room now.
    #[error(transparent)]
    Full(#[from] Full),
    /// No room ever.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// What happened since the log was opened; everything only grows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Records appended.
    pub records: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
    /// Groups that [`Full`] refused.
    pub refused: u64,
    /// Times that something was made durable.
    pub commits: u64,
    /// How long those took, all together.
    pub commit_time: Duration,
    /// Writes and syncs that failed; each was tried again.
    pub failures: u64,
    /// Segments that were begun.
    pub segments_begun: u64,
    /// Segments that were dropped.
    pub segments_dropped: u64,
    /// Bytes that those had on disk.
    pub bytes_dropped: u64,
}

/// A handle of the log; clones are of the same.
#[derive(Clone)]
pub struct Log(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) files: Arc<dyn Files>,
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    state: Mutex<State>,
    /// Notified when the committer's thread has something to do.
    pub(super) work: Condvar,
}

pub(super) struct State {
    pub(super) buffer: Buffer,
    pub(super) reserved: usize,
    pub(super) segments: Segments,
    pub(super) written: Position,
    pub(super) synced: Position,
    pub(super) statistics: Statistics,
    pub(super) wishes: Wishes,
}

/// What owners want of the committer's thread.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) drop_before: Option<Position>,
    pub(super) end: bool,
}

impl Shared {
    pub(super) fn new(files: Arc<dyn Files>, dir: PathBuf, options: Options, state: State) -> Shared {
        Shared { files, dir, options, state: Mutex::new(state), work: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No step under the lock panics half-way, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.buffer.end().since(self.synced) as usize + self.reserved
    }
}

impl Log {
    /// Appends one record, a group of its own, to the buffer. Nothing is durable yet.
    pub fn append(&self, kind: u8, pieces: &[&[u8]], now: Timestamp) -> Result<Position, AppendError> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        Ok(self.reserve(length)?.begin(now).append(kind, pieces)?)
    }

    /// Keeps room for a group whose payloads have so many bytes, before the work that leads to it is done. An empty buffer
    /// has room for anything.
    pub fn reserve(&self, bytes: usize) -> Result<Reserved, Full> {
        let (asked, max) = (bytes.saturating_add(RECORD_HEADER_BYTES), self.0.options.buffer_bytes_max);
        let mut state = self.0.lock();
        let waiting = state.waiting();
        if waiting > 0 && waiting.saturating_add(asked) > max {
            state.statistics.refused += 1;
            return Err(Full { waiting, asked, max });
        }
        state.reserved += asked;
        Ok(Reserved { log: self.clone(), bytes: asked })
    }

    /// The oldest position that there is.
    pub fn first(&self) -> Position {
        let state = self.0.lock();
        state.segments.first().unwrap_or(state.synced)
    }

    /// The position that the next record gets.
    pub fn end(&self) -> Position {
        self.0.lock().buffer.end()
    }

    /// Records before this position were handed to the operating system: the end of this process does not touch them.
    pub fn written(&self) -> Position {
        self.0.lock().written
    }

    /// Records before this position survive a power cut, and can be read.
    pub fn synced(&self) -> Position {
        self.0.lock().synced
    }

    /// Bytes appended and not yet synced.
    pub fn buffered(&self) -> u64 {
        let state = self.0.lock();
        state.buffer.end().since(state.synced)
    }

    /// What is on disk, oldest first; the last one is still written.
    pub fn segments(&self) -> Vec<Segment> {
        let state = self.0.lock();
        state.segments.shown(state.written)
    }

    /// The room of the log's file system.
    pub fn space(&self) -> io::Result<Space> {
        self.0.files.space(&self.0.dir)
    }

    /// Reads from `from` on; a position where a record begins, or the log's first or end.
    pub fn reader(&self, from: Position) -> Reader {
        Reader::new(self.0.clone(), from)
    }

    /// What happened so far.
    pub fn statistics(&self) -> Statistics {
        self.0.lock().statistics.clone()
    }
}

/// Room in the buffer, given back when it is dropped.
pub struct Reserved {
    log: Log,
    bytes: usize,
}

impl Reserved {
    /// Begins the group: the buffer is locked until it is dropped, so be short, and await nothing. A segment that is too full for the
    /// reserved bytes, or too old, ends here and only here.
    pub fn begin(&self, now: Timestamp) -> Group<'_> {
        let Shared { options, .. } = &*self.log.0;
        let mut state = self.log.0.lock();
        state.buffer.roll(self.bytes as u64, options.segment_bytes, options.segment_age, now);
        Group { reserved: self, state }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.log.0.lock().reserved -= self.bytes;
    }
}

/// Records that stand one after the other, in one segment.
pub struct Group<'a> {
    reserved: &'a Reserved,
    state: MutexGuard<'a, State>,
}

impl Group<'_> {
    /// Whether the next record is the first of its segment: the time for a preamble. It need not have been reserved.
    pub fn begins_segment(&self) -> bool {
        self.state.buffer.end() == self.state.buffer.segment()
    }

    /// The first position of the segment that the group is in.
    pub fn segment(&self) -> Position {
        self.state.buffer.segment()
    }

    /// Appends a record whose payload is given in pieces; its position.
    pub fn append(&mut self, kind: u8, pieces: &[&[u8]]) -> Result<Position, TooLarge> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if length > RECORD_BYTES_MAX {
            return Err(TooLarge(length));
        }
        self.state.statistics.records += 1;
        self.state.statistics.bytes += (RECORD_HEADER_BYTES + length) as u64;
        Ok(self.state.buffer.append(kind, pieces))
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if !self.state.buffer.is_empty() {
            self.reserved.log.0.work.notify_one();
        }
    }
}
