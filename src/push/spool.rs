//! The collector's log of what has to be delivered: on disk, or in memory alone.
//!
//! Invariant: entries are numbered and counted in the order in which they are appended, whether the disk takes them or not; so what
//! is missing on disk shows as a difference of totals. One tick's entries stand in one segment. A cursor is saved for each push URL:
//! a later process goes on from there, under the streams' old ids.
//!
//! | bytes of a cursor's note | what |
//! |---:|---|
//! | 1 | version of the note, 1 |
//! | 8, 8 | state frames and samples before the cursor |
//! | 1, 8 | 1 and the position of the KEY that a gateway without state needs, or 0 |
//! | 8 each | positions of KEYs since then that said GAP to this gateway |

use crate::journal::{
    Cursor, CursorError, Cursors, Entry as Record, Full, Log, Position, RECORD_HEADER_BYTES, ReadError, Saved,
};
use crate::model::Timestamp;

use super::entry::{Entry, Place, Totals};
use super::step::Mark;

/// Of a cursor's note.
const NOTE_VERSION: u8 = 1;
/// KEYs with GAP that are remembered of a URL; one forgotten costs it another KEY.
const GAPS_MAX: usize = 64;

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It cannot be opened.
    #[error("spool: {0}")]
    Open(#[from] crate::journal::OpenError),
    /// What it holds cannot be read.
    #[error("spool: {0}")]
    Read(#[from] ReadError),
    /// How far it was delivered cannot be read.
    #[error("spool: {0}")]
    Cursor(#[from] CursorError),
}

/// The log, written by one owner.
pub struct Spool {
    disk: Option<(Log, Cursors)>,
    /// Where the next entry stands, or behind what.
    end: Place,
    totals: Totals,
    /// The disk could not take entries, and took none since.
    has_missed: bool,
}

impl Spool {
    /// A log in memory: what it holds is in the senders' windows.
    pub fn in_memory() -> Spool {
        Spool { disk: None, end: Place::default(), totals: Totals::default(), has_missed: false }
    }

    /// Goes on behind what earlier processes left in `log`.
    pub fn on_disk(log: Log, cursors: Cursors) -> Result<Spool, SpoolError> {
        let mut totals = totals_of(&log)?;
        for name in cursors.names()? {
            if let Saved::At(cursor) = cursors.load(&name)?
                && let Some(mark) = read_mark(&cursor)
            {
                // Only where synced records are gone again is it more than the log knows of.
                totals.frames = totals.frames.max(mark.totals.frames);
                totals.samples = totals.samples.max(mark.totals.samples);
            }
        }
        let end = Place::behind(log.end());
        Ok(Spool { disk: Some((log, cursors)), end, totals, has_missed: false })
    }

    /// Where what is on disk is written and read; `None` in memory.
    pub fn log(&self) -> Option<&Log> {
        self.disk.as_ref().map(|(log, _)| log)
    }

    /// The cursors on disk.
    pub fn cursors(&self) -> Option<&Cursors> {
        self.disk.as_ref().map(|(_, cursors)| cursors)
    }

    /// Where the log ends, and what is in it.
    pub fn end(&self) -> (Place, Totals) {
        (self.end, self.totals)
    }

    /// What the next entry is told to stand behind; entries move it on.
    pub fn totals_mut(&mut self) -> &mut Totals {
        &mut self.totals
    }

    /// Whether there is room again after something was not taken: what comes now must begin with a KEY that says GAP.
    pub fn is_back(&self, bytes: usize) -> bool {
        self.has_missed && self.log().is_some_and(|log| log.reserve(bytes).is_ok())
    }

    /// Appends the entries of one tick, and tells them where they stand. Where the disk's buffer is full they are in no record, and go
    /// on from memory to whoever has delivered everything before them.
    pub fn append(&mut self, entries: &mut [Entry], now: Timestamp) -> Result<(), Full> {
        let taken = match &self.disk {
            Some((log, _)) => append(log, entries, now),
            None => {
                entries.iter_mut().for_each(|entry| {
                    entry.at = Place::of_record(self.end.position());
                    entry.next = Place::behind(Position(self.end.position().0 + 1));
                    self.end = entry.next;
                });
                return Ok(());
            }
        };
        if taken.is_err() {
            for entry in entries.iter_mut() {
                self.end = self.end.next();
                (entry.at, entry.next) = (self.end, self.end.next());
            }
        }
        self.has_missed = taken.is_err();
        self.end = entries.last().map_or(self.end, |last| last.next);
        taken
    }

    /// Where a URL goes on. One that was never delivered to gets everything that is here.
    pub fn mark(&self, name: &str) -> Result<Mark, SpoolError> {
        let Some((log, cursors)) = &self.disk else {
            return Ok(Mark { unacknowledged: self.end, totals: self.totals, ..Mark::default() });
        };
        let saved = match cursors.load(name)? {
            Saved::At(cursor) => read_mark(&cursor),
            Saved::Missing => None,
            Saved::Damaged => {
                tracing::warn!(name, "a cursor of the spool is damaged, everything in the spool is sent again");
                None
            }
        };
        let first = Place::behind(log.first());
        let whole = || Ok(Mark { unacknowledged: first, totals: self.totals_at(log.first())?, ..Mark::default() });
        saved.map_or_else(whole, Ok)
    }

    /// Saves how far a URL was delivered; false where that is not on disk itself yet.
    pub fn save(log: &Log, cursors: &Cursors, name: &str, mark: &Mark) -> Result<bool, CursorError> {
        let is_synced = mark.unacknowledged.position() <= log.synced();
        if is_synced {
            cursors.save(name, &write_mark(mark))?;
        }
        Ok(is_synced)
    }

    /// What stands before the first record from this position on.
    pub fn totals_at(&self, position: Position) -> Result<Totals, SpoolError> {
        let Some(log) = self.log() else { return Ok(self.totals) };
        let (entries, _) = read(log, Place::behind(position), 1)?;
        Ok(entries.first().map_or(self.totals, |entry| entry.before))
    }
}

fn append(log: &Log, entries: &mut [Entry], now: Timestamp) -> Result<(), Full> {
    let bytes = entries.iter().map(|entry| entry.record_bytes() + RECORD_HEADER_BYTES).sum();
    let reserved = log.reserve(bytes)?;
    let mut group = reserved.begin(now);
    for entry in entries {
        let record_bytes = (RECORD_HEADER_BYTES + entry.record_bytes()) as u64;
        // A frame is far smaller than a record may be.
        if let Ok(position) = group.append(entry.role as u8, &[&entry.envelope(), &entry.bytes]) {
            entry.at = Place::of_record(position);
            entry.next = Place::behind(Position(position.0 + record_bytes));
        }
    }
    Ok(())
}

/// Reads from `from` on until there are so many bytes or nothing more is synced; says how far that was. What is damaged is passed
/// over: the totals tell how much it was.
pub fn read(log: &Log, from: Place, bytes_max: usize) -> Result<(Vec<Entry>, Place), ReadError> {
    let mut reader = log.reader(from.position());
    reader.pass_faults();
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_max {
        let Some(record) = reader.next()? else { break };
        if let Record::Record(record) = record
            && let Some(entry) = Entry::of_record(record.position, record.next, record.kind, record.payload)
        {
            bytes += entry.bytes.len();
            entries.push(entry);
        }
    }
    Ok((entries, Place::behind(reader.position())))
}

/// What is in the whole log: as its last readable record says.
fn totals_of(log: &Log) -> Result<Totals, ReadError> {
    for segment in log.segments().iter().rev() {
        let (mut place, end) = (Place::behind(segment.first), Place::behind(segment.end.min(log.synced())));
        let mut last = None;
        while place < end {
            let (entries, read_to) = read(log, place, READ_BYTES)?;
            last = entries.last().map(Entry::after).or(last);
            if read_to <= place {
                break;
            }
            place = read_to;
        }
        if let Some(totals) = last {
            return Ok(totals);
        }
    }
    Ok(Totals::default())
}

/// Read at once while the end of the log is looked for.
const READ_BYTES: usize = 4 << 20;

fn write_mark(mark: &Mark) -> Cursor {
    let mut note = vec![NOTE_VERSION];
    note.extend_from_slice(&mark.totals.frames.to_le_bytes());
    note.extend_from_slice(&mark.totals.samples.to_le_bytes());
    // What is in no record is not there any more for a later process.
    let rewind = mark.rewind.filter(|rewind| rewind.is_record());
    note.push(u8::from(rewind.is_some()));
    note.extend_from_slice(&rewind.map_or(0, |rewind| rewind.position().0).to_le_bytes());
    let gaps = mark.gaps.iter().filter(|gap| gap.is_record()).rev().take(GAPS_MAX);
    gaps.for_each(|gap| note.extend_from_slice(&gap.position().0.to_le_bytes()));
    Cursor { position: mark.unacknowledged.position(), note }
}

/// `None` where another program wrote it.
fn read_mark(cursor: &Cursor) -> Option<Mark> {
    let (version, note) = cursor.note.split_first()?;
    let (frames, note) = note.split_first_chunk::<8>()?;
    let (samples, note) = note.split_first_chunk::<8>()?;
    let (has_rewind, note) = note.split_first()?;
    let (rewind, gaps) = note.split_first_chunk::<8>()?;
    let place = |bytes: &[u8; 8]| Place::of_record(Position(u64::from_le_bytes(*bytes)));
    (*version == NOTE_VERSION).then(|| Mark {
        unacknowledged: Place::behind(cursor.position),
        totals: Totals { frames: u64::from_le_bytes(*frames), samples: u64::from_le_bytes(*samples) },
        rewind: (*has_rewind == 1).then(|| place(rewind)),
        gaps: gaps.as_chunks::<8>().0.iter().map(place).collect(),
    })
}
