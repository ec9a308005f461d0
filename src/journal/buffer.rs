//! Records that wait to be written, already in the bytes that the file will hold.
//!
//! Invariant: the bytes are those of consecutive positions from `start` on, and every place where a segment begins is noted. Which
//! records share a segment is decided here, when they are appended, and nowhere else.

use std::time::Duration;

use crate::model::Timestamp;

use super::format::{Position, RECORD_HEADER_BYTES, RecordHeader};

/// Where a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Break {
    pub(super) at: Position,
    pub(super) begun: Timestamp,
}

/// A stretch of the log that is not on disk yet.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: Position,
    breaks: Vec<Break>,
    /// The segment that the next record belongs to.
    segment: Break,
    salt: u32,
}

impl Buffer {
    /// An empty buffer of a log that ends at `end`, in the segment that begins at `segment`.
    pub(super) fn new(end: Position, segment: Break, salt: u32) -> Buffer {
        Buffer { bytes: Vec::new(), start: end, breaks: Vec::new(), segment, salt }
    }

    /// The position of the next record.
    pub(super) fn end(&self) -> Position {
        self.start.plus(self.bytes.len() as u64)
    }

    /// The first position of the segment that the next record belongs to.
    pub(super) fn segment(&self) -> Position {
        self.segment.at
    }

    /// The seed of the headers' checksums.
    pub(super) fn salt(&self) -> u32 {
        self.salt
    }

    /// Begins a segment if this one is too old or too full for so many bytes more. An empty one never is.
    pub(super) fn roll(&mut self, bytes: u64, bytes_max: u64, age_max: Duration, now: Timestamp) {
        let end = self.end();
        if end == self.segment.at {
            self.segment.begun = now;
            return;
        }
        let full = end.since(self.segment.at) + bytes > bytes_max;
        if full || now.since(self.segment.begun) >= age_max {
            self.segment = Break { at: end, begun: now };
            self.breaks.push(self.segment);
        }
    }

    /// Appends a record; its position.
    pub(super) fn append(&mut self, kind: u8, pieces: &[&[u8]]) -> Position {
        let (position, header) = (self.end(), RecordHeader::of(kind, pieces));
        self.bytes.reserve(RECORD_HEADER_BYTES + header.length as usize);
        self.bytes.extend_from_slice(&header.encode(position, self.salt));
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        position
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Moves everything behind what `bytes` and `breaks` hold already. An empty `bytes` is swapped, not copied.
    pub(super) fn move_into(&mut self, bytes: &mut Vec<u8>, breaks: &mut Vec<Break>) {
        self.start = self.end();
        breaks.append(&mut self.breaks);
        if bytes.is_empty() {
            std::mem::swap(bytes, &mut self.bytes);
        } else {
            bytes.append(&mut self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_segment_ends_before_the_group_that_would_be_too_much_and_when_it_is_old() {
        let begin = Break { at: Position(100), begun: Timestamp(0) };
        let mut buffer = Buffer::new(Position(100), begin, 1);
        buffer.roll(1_000, 50, HOUR, Timestamp(5));
        assert_eq!(buffer.segment(), Position(100), "an empty segment takes what is larger than it may be");
        buffer.append(1, &[b"one", b""]);
        assert_eq!(buffer.end(), Position(131));
        buffer.roll(19, 50, HOUR, Timestamp(6));
        assert_eq!(buffer.segment(), Position(100));
        buffer.roll(20, 50, HOUR, Timestamp(7));
        assert_eq!(buffer.segment(), Position(131));
        buffer.append(1, &[b"two"]);
        buffer.roll(0, 50, HOUR, Timestamp(7) + HOUR);
        let (mut bytes, mut breaks) = (Vec::new(), Vec::new());
        buffer.move_into(&mut bytes, &mut breaks);
        assert_eq!(breaks.iter().map(|b| (b.at.0, b.begun.0)).collect::<Vec<_>>(), [(131, 7), (162, 3_600_007)]);
        assert_eq!((bytes.len(), buffer.end()), (62, Position(162)));
    }
}
