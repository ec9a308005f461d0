//! An append-only, checksummed log of records in segment files: the collector's spool and the gateway's journal.
//!
//! Invariant: what [`Log::synced`] covers is read again after any crash, in order, byte for byte; nothing is read that was not
//! appended; and what disk or operator destroyed is told ([`Lost`]), never passed over. Records are opaque here.
//!
//! ```text
//!  owners ── append ──► buffer (Log) ── commit: write, fdatasync ──► 00000000000000000000.seg
//!                                       (Journal, or the thread of    00000000000067108801.seg ──► Reader (what is synced)
//!                                        a Committer)                 sender.cursor, LOCK
//! ```
//!
//! # Positions
//!
//! A record's [`Position`] is the number of record bytes (headers of records included, those of segments not) before it in the
//! whole log. A segment is named by the position of its first record, 20 digits, and ends where the next one begins. What stands
//! in a file beyond that is not read: it was written, could not be synced, and stands in the next segment again.
//!
//! # Segment
//!
//! Two copies of one header, each in 64 bytes, so that a damaged one costs nothing, then records. Numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 8 | `fedgjrnl` |
//! | 8 | 2 | version of the format; 1 |
//! | 10 | 1 | role: 1 spool, 2 frames, 3 recorded series |
//! | 11 | 1 | flags: 1 goes on where a disk failed, so it has no preamble of its own |
//! | 12 | 4 | salt: seed of the headers' checksums in this segment, so that no payload can hold a valid header |
//! | 16 | 8 | position of the first record |
//! | 24 | 8 | when the segment was begun, milliseconds since the epoch |
//! | 32 | 28 | zero |
//! | 60 | 4 | CRC32C of bytes 0 to 59 |
//!
//! These fields stay where they are in every version, so that an old program knows a newer segment when it sees one. A file
//! gets its name only when its header is synced. If both copies are damaged, a neighbour's salt is tried: a log nearly always has one.
//!
//! # Record
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 4 | sync mark `9e f5 c7 1b` |
//! | 4 | 8 | its own position |
//! | 12 | 4 | length of the payload |
//! | 16 | 4 | CRC32C of the payload |
//! | 20 | 1 | kind, the owner's |
//! | 21 | 3 | zero |
//! | 24 | 4 | CRC32C of bytes 0 to 23, seeded with the salt |
//! | 28 | | payload |
//!
//! A header is believed if mark, checksum and position are right. Where one is not, the next valid one is looked for, byte by byte;
//! a payload with a wrong checksum costs that record alone. At the end of the last segment what no valid header follows is cut off
//! when the log is opened; in front of one it stays, and the log goes on in a new segment, since more bytes behind a damaged part
//! could change how it is read.
//!
//! # When the disk fails
//!
//! After a failed write or sync nobody knows what the file holds, and asking again may be answered from a page cache that
//! has forgotten the failure. So the buffer is kept until it is synced, and written again, into a new segment. Positions stay as they were.
//!
//! # Cursors
//!
//! How far a consumer came stands in a small file of its own ([`Cursors`]). A cursor may be old, never ahead: what lies behind a
//! cursor may be dropped. One that is ahead of the log proves that synced records are gone; the log then goes on behind it,
//! so no position names two records.

mod buffer;
mod committer;
mod cursor;
mod directory;
mod disk;
mod files;
mod format;
mod limits;
mod log;
mod open;
mod reader;
mod scan;
mod segments;
mod writer;

pub use committer::{
    Closed, CommitOptions, Committer, Durability, Progress, RELAXED_SYNC_INTERVAL, RETRY_MAX, RETRY_MIN,
};
pub use cursor::{Cursor, CursorError, Cursors, NOTE_BYTES_MAX, Saved};
pub use directory::OpenError;
pub use disk::DiskFiles;
pub use files::{Files, OpenFile, Space};
pub use format::{Position, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, Role, SEGMENT_HEADER_BYTES, VERSION};
pub use limits::{Limit, Limits, Over};
pub use log::{AppendError, Full, Group, Log, Reserved, Statistics, TooLarge};
pub use open::Recovery;
pub use reader::{Entry, ReadError, Reader, Record};
pub use scan::{Cause, Lost};
pub use segments::Segment;
pub use writer::{CommitError, DropError, Journal};

use std::time::Duration;

/// What an owner chooses.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whose log it is.
    pub role: Role,
    /// A segment ends before the group of records with which it would be larger.
    pub segment_bytes: u64,
    /// A segment ends before the first group that comes so long after its beginning: so a quiet log, too, has segments to drop.
    pub segment_age: Duration,
    /// Bytes that may wait to be synced, reservations included. Beyond them [`Full`].
    pub buffer_bytes_max: usize,
    /// Seeds the headers' checksums of a new log. No peer may be able to guess it.
    pub salt: u32,
}

impl Options {
    /// 64 MiB or an hour a segment, 64 MiB of buffer, a salt of chance.
    pub fn new(role: Role) -> Options {
        let mut salt = [0; 4];
        // Without chance a payload could pretend to be a header, where the header before it is damaged; all else is as good.
        if let Err(error) = getrandom::fill(&mut salt) {
            tracing::warn!(%error, "no chance for the journal's salt");
        }
        let (segment_bytes, segment_age) = (64 << 20, Duration::from_secs(3600));
        Options { role, segment_bytes, segment_age, buffer_bytes_max: 64 << 20, salt: u32::from_le_bytes(salt) }
    }
}
