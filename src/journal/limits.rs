//! Which segments have to go so that a log stays within its limits. Pure; what to do about it is its owner's policy.
//!
//! Invariant: oldest first, never the last segment, and no more than needed. Who drops them counts what was not done with.
//!
//! Ages are the wall clock's. A clock that was behind for a while makes nothing older than it is, for a segment is no older than its own
//! beginning; one that jumps ahead does. On a full disk no cursor can be saved, so segments are dropped before cursors are moved over them.

use std::time::Duration;

use crate::model::Timestamp;

use super::files::Space;
use super::segments::Segment;

/// What a log may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of all segments.
    pub bytes_max: u64,
    /// How long ago the newest record of a segment may be.
    pub age_max: Duration,
    /// The share of the file system that is to stay free, from 0 to 1.
    pub free_ratio_min: f64,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::bytes_max`].
    Bytes,
    /// [`Limits::age_max`].
    Age,
    /// [`Limits::free_ratio_min`].
    Space,
}

impl Limit {
    /// A word for a `reason` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Bytes => "bytes",
            Limit::Age => "age",
            Limit::Space => "space",
        }
    }
}

/// A segment that has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// The segment.
    pub segment: Segment,
    /// The limit that it breaks.
    pub limit: Limit,
}

impl Limits {
    /// The segments that have to go, oldest first: drop before the last one's end. `segments` as [`super::Log::segments`] gives them.
    pub fn over(&self, segments: &[Segment], space: Space, now: Timestamp) -> Vec<Over> {
        let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let mut free = space.free;
        let mut over = Vec::new();
        for pair in segments.windows(2) {
            let (segment, next) = (pair[0], pair[1]);
            // Its newest record came shortly before its successor was begun.
            let age = now.since(next.begun.max(segment.begun));
            let Some(limit) = self.broken(bytes, age, Space { free, ..space }) else { break };
            bytes -= segment.bytes;
            free += segment.bytes;
            over.push(Over { segment, limit });
        }
        over
    }

    fn broken(&self, bytes: u64, age: Duration, space: Space) -> Option<Limit> {
        let free_min = space.total as f64 * self.free_ratio_min;
        if bytes > self.bytes_max {
            Some(Limit::Bytes)
        } else if age > self.age_max {
            Some(Limit::Age)
        } else {
            ((space.free as f64) < free_min).then_some(Limit::Space)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Position;
    use super::*;

    const SEGMENTS: [Segment; 3] = [segment(0), segment(100), segment(200)];
    const ROOM: Space = Space { total: 1_000, free: 500 };
    const NOTHING: Limits = Limits { bytes_max: u64::MAX, age_max: Duration::MAX, free_ratio_min: 0.0 };

    const fn segment(first: u64) -> Segment {
        Segment { first: Position(first), end: Position(first + 100), begun: Timestamp(first as i64), bytes: 100 }
    }

    fn over(limits: Limits, space: Space, now: i64) -> Vec<(u64, Limit)> {
        let over = limits.over(&SEGMENTS, space, Timestamp(now));
        over.iter().map(|over| (over.segment.first.0, over.limit)).collect()
    }

    #[test]
    fn no_more_goes_than_has_to_and_never_the_last() {
        assert_eq!(over(NOTHING, ROOM, i64::MAX), []);
        let bytes = |bytes_max| over(Limits { bytes_max, ..NOTHING }, ROOM, 0);
        assert_eq!(bytes(300), []);
        assert_eq!(bytes(299), [(0, Limit::Bytes)]);
        assert_eq!(bytes(0), [(0, Limit::Bytes), (100, Limit::Bytes)]);
    }

    #[test]
    fn a_segment_is_as_old_as_its_newest_record() {
        let aged = |now| over(Limits { age_max: Duration::from_millis(50), ..NOTHING }, ROOM, now);
        assert_eq!(aged(150), []);
        assert_eq!(aged(151), [(0, Limit::Age)]);
    }

    #[test]
    fn a_clock_that_was_behind_makes_nothing_old() {
        let limits = Limits { age_max: Duration::from_millis(150), ..NOTHING };
        let mut segments = SEGMENTS;
        (segments[0].begun, segments[1].begun) = (Timestamp(200), Timestamp(0));
        let over = limits.over(&segments, ROOM, Timestamp(240));
        assert_eq!(over, []);
    }

    #[test]
    fn what_goes_makes_room() {
        let spaced = |free| over(Limits { free_ratio_min: 0.5, ..NOTHING }, Space { total: 1_000, free }, 0);
        assert_eq!(spaced(500), []);
        assert_eq!(spaced(400), [(0, Limit::Space)]);
        assert_eq!(spaced(399), [(0, Limit::Space), (100, Limit::Space)]);
    }
}
