//! The one writer of a log: from the buffer to the files.
//!
//! Invariant: bytes leave memory only after they were synced. So whatever fails can be tried again from the last synced position on,
//! in a file that had no part in the failure.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::Timestamp;

use super::buffer::Break;
use super::directory::segment_name;
use super::files::{OpenFile, replace, write_full};
use super::format::{Position, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::log::Log;
use super::segments::{Segment, SegmentFile};

/// Buffers that grew beyond it are given back when they are empty.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// The disk did not take it. Everything is still in the buffer; the next commit tries again, in a new segment.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct CommitError {
    /// What was tried.
    pub doing: &'static str,
    /// The segment.
    pub path: PathBuf,
    /// The system's words.
    pub source: io::Error,
}

/// A segment could not be removed; those before it are gone.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove {}: {source}", path.display())]
pub struct DropError {
    /// The segment.
    pub path: PathBuf,
    /// The system's words.
    pub source: io::Error,
}

/// The writer; [`Journal::log`] is for everybody else.
pub struct Journal {
    log: Log,
    /// None: the next write begins a segment.
    active: Option<Active>,
    /// The bytes from `synced` on that were taken from the buffer, and where segments begin in them.
    pending: Vec<u8>,
    breaks: Vec<Break>,
    synced: Position,
    /// How far the pending bytes were written to the active file.
    written: Position,
    /// A file was removed, and the directory could not be synced.
    removal_unsynced: bool,
    _lock: Box<dyn Any + Send + Sync>,
}

/// The file that is written.
pub(super) struct Active {
    pub(super) file: Box<dyn OpenFile>,
    pub(super) first: Position,
}

impl Journal {
    pub(super) fn new(
        log: Log,
        active: Option<Active>,
        end: Position,
        breaks: Vec<Break>,
        lock: Box<dyn Any + Send + Sync>,
    ) -> Journal {
        Journal {
            log,
            active,
            pending: Vec::new(),
            breaks,
            synced: end,
            written: end,
            removal_unsynced: false,
            _lock: lock,
        }
    }

    /// The side of everybody else.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Writes and syncs everything that was appended; how far the log is synced now.
    pub fn commit(&mut self, now: Timestamp) -> Result<Position, CommitError> {
        self.write(now)?;
        self.sync()
    }

    /// Hands everything that was appended to the operating system. Segments that end on the way are synced.
    pub fn write(&mut self, now: Timestamp) -> Result<Position, CommitError> {
        let end = self.take();
        while self.written < end {
            self.write_stretch(end, now)?;
        }
        self.log.0.lock().written = self.written;
        Ok(self.written)
    }

    /// Makes durable what was written.
    pub fn sync(&mut self) -> Result<Position, CommitError> {
        if self.synced < self.written {
            if let Some(active) = &self.active {
                let first = active.first;
                active.file.sync().map_err(|source| self.failed("sync", first, source))?;
            }
            self.forget_synced();
        }
        Ok(self.synced)
    }

    /// Whether something was taken from the buffer that is not synced.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Drops the segments that end at or before `position`, oldest first, but never the last one. Whoever still needs
    /// one is told [`super::Cause::Dropped`].
    pub fn drop_before(&mut self, position: Position) -> Result<Vec<Segment>, DropError> {
        let mut segments = self.log.segments();
        segments.pop();
        segments.retain(|segment| segment.end <= position);
        for segment in &segments {
            self.drop_segment(segment)?;
        }
        Ok(segments)
    }

    fn drop_segment(&mut self, segment: &Segment) -> Result<(), DropError> {
        let files = self.log.0.lock().segments.files_of(segment);
        for first in files {
            self.drop_file(first)?;
        }
        let mut state = self.log.0.lock();
        state.statistics.segments_dropped += 1;
        state.statistics.bytes_dropped += segment.bytes;
        Ok(())
    }

    /// Removes a file, durably before the next one and after the one before: so an older one never outlives a newer one.
    fn drop_file(&mut self, first: Position) -> Result<(), DropError> {
        self.sync_removals(first)?;
        let (shared, path) = (&self.log.0, self.path(first));
        match shared.files.remove(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(DropError { path, source }),
            _ => shared.lock().segments.remove(first),
        }
        self.removal_unsynced = true;
        self.sync_removals(first)
    }

    fn sync_removals(&mut self, first: Position) -> Result<(), DropError> {
        if self.removal_unsynced {
            let shared = &self.log.0;
            let synced = shared.files.sync_dir(&shared.dir);
            synced.map_err(|source| DropError { path: self.path(first), source })?;
            self.removal_unsynced = false;
        }
        Ok(())
    }

    /// Takes what is in the buffer; the position behind it.
    fn take(&mut self) -> Position {
        let mut state = self.log.0.lock();
        state.buffer.move_into(&mut self.pending, &mut self.breaks);
        state.buffer.end()
    }

    /// Writes up to the end of a segment or of what is pending.
    fn write_stretch(&mut self, end: Position, now: Timestamp) -> Result<(), CommitError> {
        let begins = self.breaks.iter().any(|segment| segment.at == self.written);
        if begins && self.active.as_ref().is_some_and(|active| active.first != self.written) {
            self.sync()?;
            self.active = None;
        }
        if self.active.is_none() {
            self.begin_segment(now)?;
        }
        let until = self.breaks.iter().map(|segment| segment.at).find(|at| *at > self.written).unwrap_or(end).min(end);
        let Some(Active { file, first }) = &self.active else { return Ok(()) };
        let bytes = &self.pending[self.index(self.written)..self.index(until)];
        let offset = SEGMENT_HEADER_BYTES + self.written.since(*first);
        let (first, outcome) = (*first, write_full(&**file, bytes, offset));
        outcome.map_err(|source| self.failed("write", first, source))?;
        self.written = until;
        Ok(())
    }

    /// Begins a segment at the written position, under its final name only when its header is durable.
    fn begin_segment(&mut self, now: Timestamp) -> Result<(), CommitError> {
        let first = self.written;
        let planned = self.breaks.iter().find(|segment| segment.at == first);
        let (continues, begun) = (planned.is_none(), planned.map_or(now, |segment| segment.begun));
        let shared = self.log.0.clone();
        let salt = shared.lock().buffer.salt();
        let header = SegmentHeader { role: shared.options.role, continues, salt, first, begun };
        let placed = replace(&*shared.files, &self.path(first), &header.encode());
        let file = placed.map_err(|source| self.failed("begin", first, source))?;
        let mut state = shared.lock();
        state.segments.push(SegmentFile { first, begun, continues, damaged: false, salt: Some(salt) });
        state.statistics.segments_begun += 1;
        self.active = Some(Active { file, first });
        Ok(())
    }

    /// After a failure nothing of the file beyond the last sync is believed. What cannot be read is cut off, as well as that goes: on
    /// a full disk it is the room that the next try needs.
    fn failed(&mut self, doing: &'static str, first: Position, source: io::Error) -> CommitError {
        if let Some(active) = self.active.take() {
            let _ = active.file.cut(SEGMENT_HEADER_BYTES + self.synced.since(active.first));
        }
        self.written = self.synced;
        let mut state = self.log.0.lock();
        state.written = self.synced;
        state.statistics.failures += 1;
        drop(state);
        CommitError { doing, path: self.path(first), source }
    }

    fn forget_synced(&mut self) {
        self.pending.drain(..self.index(self.written));
        if self.pending.is_empty() {
            self.pending.shrink_to(KEPT_BYTES_MAX);
        }
        self.synced = self.written;
        self.breaks.retain(|segment| segment.at >= self.synced);
        let mut state = self.log.0.lock();
        (state.written, state.synced) = (self.written, self.synced);
        state.statistics.commits += 1;
    }

    fn index(&self, position: Position) -> usize {
        position.since(self.synced) as usize
    }

    fn path(&self, first: Position) -> PathBuf {
        Path::join(&self.log.0.dir, segment_name(first))
    }
}
