//! Opening a log: whatever the last run left, a log that can be read and appended to.
//!
//! Invariant: nothing that holds a valid record is cut, and no position is given twice to records that anybody may have read. What is
//! found is synced before it counts: the last run may have died between its write and its sync.

use std::path::Path;
use std::sync::Arc;

use crate::model::Timestamp;

use super::Options;
use super::buffer::{Break, Buffer};
use super::cursor::{Cursors, Saved};
use super::directory::{Contents, LOCK, OpenError, at, inspect, segment_name};
use super::files::Files;
use super::format::{Position, Role, SEGMENT_HEADER_BYTES};
use super::log::{Log, Shared, State, Statistics, Wishes};
use super::scan::{Cause, Found, Lost, Scan};
use super::segments::{SegmentFile, Segments};
use super::writer::{Active, Journal};

/// What was found when a log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The position that the next record gets.
    pub end: Position,
    /// What stood behind the last whole record and was cut off: usually what the last run was writing when it died.
    pub cut: Option<Lost>,
    /// Synced records that are gone from the end, as a cursor proves that had passed them. The log goes on behind.
    pub behind_cursor: Option<Lost>,
}

/// The end of the newest segment.
struct Tail {
    end: Position,
    cut: Option<Lost>,
    /// The file, if it can be gone on with.
    active: Option<Active>,
}

impl Journal {
    /// Says what [`Journal::open`] would refuse, and changes nothing. Another process in the directory is no fault here.
    pub fn check(files: &dyn Files, dir: &Path, role: Role) -> Result<(), OpenError> {
        inspect(files, dir, role).map(|_| ())
    }

    /// Opens the log in `dir`, making the directory if it is not there, and keeps every other process out of it.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        options: Options,
        now: Timestamp,
    ) -> Result<(Journal, Recovery), OpenError> {
        inspect(&*files, dir, options.role)?;
        files.create_dir(dir).map_err(at(dir))?;
        let lock = files.lock(&dir.join(LOCK)).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Locked { dir: dir.to_owned() },
            _ => at(&dir.join(LOCK))(error),
        })?;
        // Once more, now that nobody else can change it.
        let contents = inspect(&*files, dir, options.role)?;
        remove_unfinished(&*files, dir, &contents)?;
        let ahead = furthest_cursor(files.clone(), dir, &contents)?;
        let segments = Segments::new(contents.segments, now);
        let mut tail = match segments.last() {
            Some(last) => recover(&*files, dir, last)?,
            None => Tail { end: Position::START, cut: None, active: None },
        };
        let behind_cursor = go_behind(&mut tail, ahead);
        let recovery = Recovery { end: tail.end, cut: tail.cut, behind_cursor };
        let (state, breaks) = state_of(segments, &tail, &options, now);
        let log = Log(Arc::new(Shared::new(files, dir.to_owned(), options, state)));
        Ok((Journal::new(log, tail.active, tail.end, breaks, lock), recovery))
    }
}

fn remove_unfinished(files: &dyn Files, dir: &Path, contents: &Contents) -> Result<(), OpenError> {
    for name in &contents.unfinished {
        files.remove(&dir.join(name)).map_err(at(&dir.join(name)))?;
    }
    files.sync_dir(dir).map_err(at(dir))
}

/// The position of the cursor that is furthest on. A damaged one says nothing.
fn furthest_cursor(files: Arc<dyn Files>, dir: &Path, contents: &Contents) -> Result<Position, OpenError> {
    let cursors = Cursors::new(files, dir);
    let mut furthest = Position::START;
    for name in &contents.cursors {
        let saved = cursors.load(name).map_err(|error| OpenError::Io {
            path: dir.join(super::directory::cursor_name(name)),
            source: std::io::Error::other(error),
        })?;
        if let Saved::At(cursor) = saved {
            furthest = furthest.max(cursor.position);
        }
    }
    Ok(furthest)
}

/// Finds the end of the newest segment, cuts off what no valid record follows, and syncs the rest.
fn recover(files: &dyn Files, dir: &Path, last: SegmentFile) -> Result<Tail, OpenError> {
    let path = dir.join(segment_name(last.first));
    let file = files.open(&path).map_err(at(&path))?;
    let length = file.length().map_err(at(&path))?;
    let until = last.first.plus(length.saturating_sub(SEGMENT_HEADER_BYTES));
    let Some(salt) = last.salt.filter(|_| !last.damaged) else {
        // It stays as it is, whatever of it can be read; its successor needs another name.
        return Ok(Tail { end: until.max(last.first.plus(1)), cut: None, active: None });
    };
    let (end, is_whole) = last_record_end(Scan::new(file, last.first, salt), last.first, until).map_err(at(&path))?;
    let file = files.open(&path).map_err(at(&path))?;
    let cut = (end < until).then_some(Lost { from: end, until, cause: Cause::Damaged });
    if cut.is_some() {
        file.cut(SEGMENT_HEADER_BYTES + end.since(last.first)).map_err(at(&path))?;
    }
    file.sync().map_err(at(&path))?;
    // What is damaged is not gone on with: more bytes behind it could change how it is read.
    Ok(Tail { end, cut, active: is_whole.then_some(Active { file, first: last.first }) })
}

/// Where the last whole record between two positions ends, the first of them if there is none; and whether nothing before it is lost.
fn last_record_end(mut scan: Scan, first: Position, until: Position) -> std::io::Result<(Position, bool)> {
    let (mut position, mut end, mut whole_bytes) = (first, first, 0);
    while position < until {
        position = match scan.next(position, until)? {
            Found::Record(placed) => {
                end = position.plus(placed.header.record_bytes());
                whole_bytes += placed.header.record_bytes();
                end
            }
            Found::Lost { lost, .. } => lost.until,
        };
    }
    Ok((end, end.since(first) == whole_bytes))
}

/// Moves the end behind the furthest cursor; what lies between is gone.
fn go_behind(tail: &mut Tail, ahead: Position) -> Option<Lost> {
    if ahead <= tail.end {
        return None;
    }
    let lost = Lost { from: tail.end, until: ahead, cause: Cause::Missing };
    tail.end = ahead;
    tail.active = None;
    Some(lost)
}

/// The state of the log as it was found, and the segment that the writer has to begin first, if any.
fn state_of(segments: Segments, tail: &Tail, options: &Options, now: Timestamp) -> (State, Vec<Break>) {
    let end = tail.end;
    let fresh = Break { at: end, begun: now };
    let shown = segments.shown(end).last().map(|segment| Break { at: segment.first, begun: segment.begun });
    let going_on = shown.filter(|_| tail.active.is_some());
    let salt = segments.last().and_then(|last| last.salt).unwrap_or(options.salt);
    let state = State {
        buffer: Buffer::new(end, going_on.unwrap_or(fresh), salt),
        reserved: 0,
        segments,
        written: end,
        synced: end,
        statistics: Statistics::default(),
        wishes: Wishes::default(),
    };
    (state, if going_on.is_some() { Vec::new() } else { vec![fresh] })
}
