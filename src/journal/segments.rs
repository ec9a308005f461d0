//! Which segment files there are, and what each of them holds.
//!
//! Invariant: ordered by first position, no two the same. A file ends where the next one begins, whatever else it holds. One that goes
//! on where a disk failed is, for everyone outside, a part of the one before.

use crate::model::Timestamp;

use super::format::{Position, SEGMENT_HEADER_BYTES};

/// A segment, with the files that go on with it: what can be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The position of its first record.
    pub first: Position,
    /// The first position that is no longer in it; of the last one, how far it was written.
    pub end: Position,
    /// When it was begun, by the wall clock of then.
    pub begun: Timestamp,
    /// Bytes on disk.
    pub bytes: u64,
}

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) first: Position,
    pub(super) begun: Timestamp,
    pub(super) continues: bool,
    /// Both copies of its header are damaged.
    pub(super) damaged: bool,
    /// None: nobody knows it any more, so no record in it can be told from chance.
    pub(super) salt: Option<u32>,
}

/// All files.
#[derive(Debug, Default)]
pub(super) struct Segments(Vec<SegmentFile>);

impl Segments {
    /// Where a header is damaged, the time is its successor's, or `now`, so that nobody looks older for it; and the salt is a
    /// neighbour's, because nearly always a log has one: records prove whether it was right.
    pub(super) fn new(mut files: Vec<SegmentFile>, now: Timestamp) -> Segments {
        files.sort_unstable_by_key(|file| file.first);
        let (mut later, mut salt) = (now, None);
        for file in files.iter_mut().rev() {
            if file.damaged {
                (file.begun, file.salt) = (later, salt);
            }
            (later, salt) = (file.begun, file.salt);
        }
        let mut salt = None;
        for file in &mut files {
            file.salt = file.salt.or(salt);
            salt = file.salt;
        }
        Segments(files)
    }

    /// Adds the newest file; one with the same first position, of which nothing was synced, has been replaced by it.
    pub(super) fn push(&mut self, file: SegmentFile) {
        self.0.retain(|other| other.first < file.first);
        self.0.push(file);
    }

    pub(super) fn remove(&mut self, first: Position) {
        self.0.retain(|file| file.first != first);
    }

    pub(super) fn last(&self) -> Option<SegmentFile> {
        self.0.last().copied()
    }

    /// The position of the oldest record, if there is any file.
    pub(super) fn first(&self) -> Option<Position> {
        self.0.first().map(|file| file.first)
    }

    /// Where the oldest segment ends and another begins, if there are two.
    pub(super) fn second(&self) -> Option<Position> {
        self.0.iter().skip(1).find(|file| !file.continues).map(|file| file.first)
    }

    /// The file in which a position lies, and where the next one begins; None before the oldest.
    pub(super) fn at(&self, position: Position) -> Option<(SegmentFile, Option<Position>)> {
        let after = self.0.partition_point(|file| file.first <= position);
        let file = *self.0[..after].last()?;
        Some((file, self.0.get(after).map(|next| next.first)))
    }

    /// The segments of a log that was written up to `end`, oldest first.
    pub(super) fn shown(&self, end: Position) -> Vec<Segment> {
        let mut shown: Vec<Segment> = Vec::with_capacity(self.0.len());
        for (at, file) in self.0.iter().enumerate() {
            let end = self.0.get(at + 1).map_or(end.max(file.first), |next| next.first);
            let bytes = SEGMENT_HEADER_BYTES + end.since(file.first);
            match shown.last_mut().filter(|_| file.continues) {
                Some(before) => {
                    before.end = end;
                    before.bytes += bytes;
                }
                None => shown.push(Segment { first: file.first, end, begun: file.begun, bytes }),
            }
        }
        shown
    }

    /// The first positions of the files of a segment, oldest first.
    pub(super) fn files_of(&self, segment: &Segment) -> Vec<Position> {
        let inside = |first: &Position| (segment.first..segment.end).contains(first);
        self.0.iter().map(|file| file.first).filter(inside).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1000);

    fn file(first: u64, continues: bool) -> SegmentFile {
        SegmentFile { first: Position(first), begun: Timestamp(first as i64), continues, damaged: false, salt: Some(1) }
    }

    #[test]
    fn files_that_go_on_are_part_of_the_segment_before() {
        let files = vec![file(0, false), file(20, true), file(10, false), file(30, false)];
        let segments = Segments::new(files, NOW);
        let shown = segments.shown(Position(35));
        let ends: Vec<_> = shown.iter().map(|segment| (segment.first.0, segment.end.0)).collect();
        assert_eq!(ends, [(0, 10), (10, 30), (30, 35)]);
        assert_eq!(shown[1].bytes, 2 * SEGMENT_HEADER_BYTES + 20);
        assert_eq!(segments.files_of(&shown[1]), [Position(10), Position(20)]);
    }

    #[test]
    fn a_position_lies_in_the_last_file_that_begins_before_it() {
        let segments = Segments::new(vec![file(10, false), file(30, false)], NOW);
        assert_eq!(segments.at(Position(9)), None);
        assert_eq!(segments.at(Position(29)), Some((file(10, false), Some(Position(30)))));
        assert_eq!(segments.at(Position(30)), Some((file(30, false), None)));
    }

    #[test]
    fn a_segment_with_a_damaged_header_is_as_old_as_the_next_one_and_has_a_neighbour_s_salt() {
        let damaged = |first| SegmentFile { damaged: true, salt: None, begun: Timestamp(0), ..file(first, false) };
        let segments = Segments::new(vec![damaged(10), file(20, false), damaged(30)], NOW);
        let begun: Vec<i64> = segments.shown(Position(40)).iter().map(|segment| segment.begun.0).collect();
        assert_eq!(begun, [20, 20, 1000]);
        assert!(segments.0.iter().all(|file| file.salt == Some(1)));
        assert_eq!(Segments::new(vec![damaged(10)], NOW).last().and_then(|last| last.salt), None);
    }
}
