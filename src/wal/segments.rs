//! In which segment a position lies, for readers that go from one to the next.

use crate::journal::{Log, Position};

/// Remembers the last answer: a reader asks for the same segment again and again.
pub(super) struct SegmentFinder {
    log: Log,
    first: Position,
    end: Position,
}

impl SegmentFinder {
    pub(super) fn new(log: Log) -> SegmentFinder {
        SegmentFinder { log, first: Position::START, end: Position::START }
    }

    /// The first position of the segment in which `position` lies, which must have been synced.
    pub(super) fn of(&mut self, position: Position) -> Position {
        if !(self.first..self.end).contains(&position) {
            let segments = self.log.segments();
            let found = segments.iter().rev().find(|segment| segment.first <= position);
            // A segment that was dropped meanwhile is as good as any: who began there has read it.
            (self.first, self.end) = found.map_or((position, position), |segment| (segment.first, segment.end));
        }
        self.first
    }
}
