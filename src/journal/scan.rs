//! Reading one segment file record by record, whatever is in it.
//!
//! Invariant: every byte between where a scan began and its bound is in exactly one record or in exactly one [`Lost`]. Memory is bounded
//! by the largest record, and time by the bytes: looking for the next header goes over each byte once.

use std::io;
use std::ops::Range;

use memchr::memmem::Finder;

use super::files::{OpenFile, read_full};
use super::format::{Position, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SYNC_MARK};

/// Bytes that are read at once, if a record is not longer.
const READ_BYTES: usize = 1 << 20;

/// Bytes that a disk fails to read together.
const PAGE_BYTES: usize = 4096;

/// A part of the log that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The position of its first byte.
    pub from: Position,
    /// The first position behind it that may be read again.
    pub until: Position,
    /// What became of it.
    pub cause: Cause,
}

impl Lost {
    /// How many bytes.
    pub fn bytes(&self) -> u64 {
        self.until.since(self.from)
    }
}

/// Why a part of the log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The bytes there are not those that were written.
    Damaged,
    /// There are no bytes: a file is too short, or is not there.
    Missing,
    /// The owner dropped the segment.
    Dropped,
}

/// What stands at a position.
#[derive(Debug)]
pub(super) enum Found {
    Record(Placed),
    Lost {
        lost: Lost,
        /// The payload, where the header is whole.
        remains: Option<Placed>,
    },
}

/// Where in the window a record's payload stands.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) header: RecordHeader,
    payload: Range<usize>,
}

/// One open segment.
pub(super) struct Scan {
    file: Box<dyn OpenFile>,
    first: Position,
    salt: u32,
    /// What was read last, and the position of its first byte.
    window: Vec<u8>,
    window_start: Position,
    mark: Finder<'static>,
    /// What the disk refuses to read is taken for zeros.
    passes_faults: bool,
}

impl Scan {
    pub(super) fn new(file: Box<dyn OpenFile>, first: Position, salt: u32) -> Scan {
        let mark = Finder::new(&SYNC_MARK).into_owned();
        Scan { file, first, salt, window: Vec::new(), window_start: first, mark, passes_faults: false }
    }

    /// From now on, what the disk refuses to read is damaged, page by page.
    pub(super) fn pass_faults(&mut self) {
        self.passes_faults = true;
    }

    /// What stands at `at`, which is before `bound`; nothing from `bound` on is looked at.
    pub(super) fn next(&mut self, at: Position, bound: Position) -> io::Result<Found> {
        let salt = self.salt;
        let bytes = self.fill(at, RECORD_HEADER_BYTES, bound)?;
        if bytes.is_empty() {
            return Ok(lost(at, bound, Cause::Missing, None));
        }
        let header = bytes.first_chunk().and_then(|header| RecordHeader::decode(header, at, salt));
        match header.filter(|header| header.record_bytes() <= bound.since(at)) {
            Some(header) => self.record(at, header, bound),
            None => self.damaged(at, bound),
        }
    }

    /// The bytes of a payload that the last call found.
    pub(super) fn payload(&self, placed: &Placed) -> &[u8] {
        &self.window[placed.payload.clone()]
    }

    /// The record behind a header that is whole.
    fn record(&mut self, at: Position, header: RecordHeader, bound: Position) -> io::Result<Found> {
        let length = header.record_bytes() as usize;
        let bytes = self.fill(at, length, bound)?;
        if bytes.len() < length {
            return self.damaged(at, bound);
        }
        let crc = crc32c::crc32c(&bytes[RECORD_HEADER_BYTES..length]);
        let begin = at.since(self.window_start) as usize;
        let placed = Placed { header, payload: begin + RECORD_HEADER_BYTES..begin + length };
        if crc == placed.header.payload_crc {
            return Ok(Found::Record(placed));
        }
        Ok(lost(at, at.plus(length as u64), Cause::Damaged, Some(placed)))
    }

    /// What lies between `at` and the next whole header, or the bound.
    fn damaged(&mut self, at: Position, bound: Position) -> io::Result<Found> {
        let mut from = at.plus(1);
        loop {
            let (mark, salt) = (self.mark.clone(), self.salt);
            let bytes = self.fill(from, RECORD_HEADER_BYTES, bound)?;
            if bytes.len() < RECORD_HEADER_BYTES {
                return Ok(lost(at, bound, Cause::Damaged, None));
            }
            let is_header = |place: &usize| {
                let position = from.plus(*place as u64);
                let header = bytes[*place..].first_chunk();
                header
                    .and_then(|header| RecordHeader::decode(header, position, salt))
                    .is_some_and(|header| header.record_bytes() <= bound.since(position))
            };
            if let Some(place) = mark.find_iter(bytes).find(is_header) {
                return Ok(lost(at, from.plus(place as u64), Cause::Damaged, None));
            }
            from = from.plus((bytes.len() - RECORD_HEADER_BYTES + 1) as u64);
        }
    }

    /// What the file holds from `at` on, before `bound`: at least `least` bytes, or all that there are.
    fn fill(&mut self, at: Position, least: usize, bound: Position) -> io::Result<&[u8]> {
        let window_end = self.window_start.plus(self.window.len() as u64);
        let least = (least as u64).min(bound.since(at));
        if at < self.window_start || at.plus(least) > window_end {
            self.read(at, least as usize, bound)?;
        }
        let rest = &self.window[at.since(self.window_start) as usize..];
        Ok(&rest[..rest.len().min(usize::try_from(bound.since(at)).unwrap_or(usize::MAX))])
    }

    /// Moves the window to `at`, keeping what it has from there on.
    fn read(&mut self, at: Position, least: usize, bound: Position) -> io::Result<()> {
        let passed = at.since(self.window_start) as usize;
        if at < self.window_start || passed >= self.window.len() {
            self.window.clear();
        } else {
            self.window.drain(..passed);
        }
        self.window_start = at;
        if least <= READ_BYTES && self.window.capacity() > 4 * READ_BYTES {
            self.window.shrink_to(READ_BYTES);
        }
        let kept = self.window.len();
        let wanted = usize::try_from(bound.since(at)).unwrap_or(usize::MAX).min(least.max(READ_BYTES));
        self.window.resize(wanted.max(kept), 0);
        let offset = SEGMENT_HEADER_BYTES + at.since(self.first) + kept as u64;
        let read = match read_full(&*self.file, &mut self.window[kept..], offset) {
            Err(_) if self.passes_faults => read_around(&*self.file, &mut self.window[kept..], offset),
            read => read,
        };
        self.window.truncate(kept + *read.as_ref().unwrap_or(&0));
        read.map(|_| ())
    }
}

/// As [`read_full`], page by page, zeros for pages that cannot be read.
fn read_around(file: &dyn OpenFile, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let wanted = usize::try_from(file.length()?.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
    for (number, page) in bytes[..wanted].chunks_mut(PAGE_BYTES).enumerate() {
        if read_full(file, page, offset + (number * PAGE_BYTES) as u64).is_err() {
            page.fill(0);
        }
    }
    Ok(wanted)
}

fn lost(from: Position, until: Position, cause: Cause, remains: Option<Placed>) -> Found {
    Found::Lost { lost: Lost { from, until, cause }, remains }
}
