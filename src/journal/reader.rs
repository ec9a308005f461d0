//! Reading the log from a position on.
//!
//! Invariant: a reader gives every record between where it began and [`super::Log::synced`] once and in order, and tells the bytes of all
//! that it cannot give. It never looks at what is not synced, so what it gave cannot vanish in a power cut.
//!
//! A segment that is dropped while it is read is read to its end; the next look finds what is left.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::directory::segment_name;
use super::format::Position;
use super::log::Shared;
use super::scan::{Cause, Found, Lost, Scan};
use super::segments::SegmentFile;

/// What stands next in the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A record, byte for byte as it was appended.
    Record(Record<'a>),
    /// Something that cannot be read.
    Lost {
        /// Where, how much and why.
        lost: Lost,
        /// Kind and payload of a record whose header is whole and whose payload is damaged: perhaps enough to see whose it was.
        remains: Option<(u8, &'a [u8])>,
    },
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position.
    pub position: Position,
    /// The position behind it: the cursor of who is done with it.
    pub next: Position,
    /// The owner's kind.
    pub kind: u8,
    /// What was appended.
    pub payload: &'a [u8],
}

/// The disk refused to read. The next call tries again, and [`Reader::pass_faults`] gives up on it.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the journal at position {position}, in {}: {source}", path.display())]
pub struct ReadError {
    /// Where the reader stands.
    pub position: Position,
    /// The file.
    pub path: PathBuf,
    /// The system's words.
    pub source: io::Error,
}

/// A place in the log.
pub struct Reader {
    log: Arc<Shared>,
    position: Position,
    /// The open file, and up to where it may be read.
    open: Option<(SegmentFile, Scan)>,
    bound: Position,
    passes_faults: bool,
}

impl Reader {
    pub(super) fn new(log: Arc<Shared>, from: Position) -> Reader {
        Reader { log, position: from, open: None, bound: from, passes_faults: false }
    }

    /// The position of what is read next.
    pub fn position(&self) -> Position {
        self.position
    }

    /// From now on, what the disk refuses to read is told as damaged, and the reader goes on behind it. For who has tried often enough.
    pub fn pass_faults(&mut self) {
        self.passes_faults = true;
    }

    /// What stands next; None if nothing more is synced now.
    #[expect(clippy::should_implement_trait, reason = "what it gives borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        let Some(found) = self.find()? else { return Ok(None) };
        let position = self.position;
        let (record_bytes, payload) = match &found {
            Found::Record(placed) | Found::Lost { remains: Some(placed), .. } => {
                (placed.header.record_bytes(), self.open.as_ref().map_or(&[][..], |(_, scan)| scan.payload(placed)))
            }
            Found::Lost { remains: None, .. } => (0, &[][..]),
        };
        Ok(Some(match found {
            Found::Record(placed) => {
                self.position = position.plus(record_bytes);
                Entry::Record(Record { position, next: self.position, kind: placed.header.kind, payload })
            }
            Found::Lost { lost, remains } => {
                self.position = lost.until;
                Entry::Lost { lost, remains: remains.map(|placed| (placed.header.kind, payload)) }
            }
        }))
    }

    fn find(&mut self) -> Result<Option<Found>, ReadError> {
        if self.position >= self.bound {
            let Some(stretch) = self.log.stretch(self.position) else { return Ok(None) };
            self.bound = stretch.until;
            if let Err(cause) = self.open(stretch.file)? {
                return Ok(Some(self.pass(cause)));
            }
        }
        let Some((file, scan)) = &mut self.open else { return Ok(Some(self.pass(Cause::Missing))) };
        let first = file.first;
        let found = scan.next(self.position, self.bound);
        found.map(Some).map_err(|source| self.fault(first, source))
    }

    /// Makes `file` the open one; or why it cannot be read.
    fn open(&mut self, file: Option<SegmentFile>) -> Result<Result<(), Cause>, ReadError> {
        let Some(file) = file else { return Ok(Err(Cause::Dropped)) };
        let Some(salt) = file.salt else { return Ok(Err(Cause::Damaged)) };
        if self.open.as_ref().is_some_and(|(open, _)| *open == file) {
            return Ok(Ok(()));
        }
        self.open = None;
        match self.log.files.open(&self.log.dir.join(segment_name(file.first))) {
            Ok(opened) => {
                let mut scan = Scan::new(opened, file.first, salt);
                if self.passes_faults {
                    scan.pass_faults();
                }
                self.open = Some((file, scan));
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Err(self.gone())),
            Err(source) => return Err(self.fault(file.first, source)),
        }
        Ok(Ok(()))
    }

    /// Why a file is not there: it was dropped just now, or somebody took it.
    fn gone(&mut self) -> Cause {
        match self.log.stretch(self.position) {
            Some(Stretch { file: None, until }) => {
                self.bound = until;
                Cause::Dropped
            }
            _ => Cause::Missing,
        }
    }

    /// Everything up to the bound, unread.
    fn pass(&self, cause: Cause) -> Found {
        Found::Lost { lost: Lost { from: self.position, until: self.bound, cause }, remains: None }
    }

    /// The next call opens the file anew.
    fn fault(&mut self, file: Position, source: io::Error) -> ReadError {
        self.open = None;
        self.bound = self.position;
        ReadError { position: self.position, path: self.log.dir.join(segment_name(file)), source }
    }
}

/// How far one can read from a position without looking anew.
struct Stretch {
    /// The file to read; None where it was dropped.
    file: Option<SegmentFile>,
    until: Position,
}

impl Shared {
    /// None if nothing is synced there yet.
    fn stretch(&self, position: Position) -> Option<Stretch> {
        let state = self.lock();
        let synced = state.synced;
        let (file, until) = match state.segments.at(position) {
            Some((file, next)) => (Some(file), next.unwrap_or(synced)),
            None => (None, state.segments.first().unwrap_or(synced)),
        };
        // No segment begins beyond what is synced: the one before is synced first.
        (position < synced).then_some(Stretch { file, until })
    }
}
