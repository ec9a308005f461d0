//! Where a reader has to begin so that it can decode what comes.
//!
//! Invariant: who reads from [`StreamOrigins::origin`] on, which is the beginning of a segment, decodes every frame that follows the
//! ones that were noted, of every stream that is not over. A KEY counts only once its last part has come.

use std::collections::HashMap;
use std::time::Duration;

use crate::journal::Position;
use crate::model::Timestamp;
use crate::snapshot::{FrameHeader, FrameKind, StreamId};

/// The segments in which the streams' last KEYs began.
#[derive(Clone, Debug, Default)]
pub struct StreamOrigins {
    streams: HashMap<StreamId, Origin>,
}

#[derive(Clone, Copy, Debug)]
struct Origin {
    key: Position,
    /// The segment of a KEY whose parts are still coming.
    coming: Option<Position>,
    heard: Timestamp,
    patience: Duration,
}

impl StreamOrigins {
    /// A frame that came at `heard` stands in the segment that begins at `segment`. After a silence of `patience` its stream is over.
    pub fn note(&mut self, segment: Position, header: &FrameHeader, heard: Timestamp, patience: Duration) {
        let is_key = header.kind == FrameKind::Key;
        if is_key && !header.continued {
            let begun = Origin { key: segment, coming: None, heard, patience };
            self.streams.entry(header.stream).or_insert(begun).coming = Some(segment);
        }
        let Some(origin) = self.streams.get_mut(&header.stream) else { return };
        (origin.heard, origin.patience) = (heard, patience);
        if is_key && !header.more {
            origin.key = origin.coming.take().unwrap_or(origin.key);
        }
    }

    /// Nobody could push until `at`: silence before it is nobody's.
    pub fn resume(&mut self, at: Timestamp) {
        self.streams.values_mut().for_each(|origin| origin.heard = origin.heard.max(at));
    }

    /// The beginning of the segment to read from, `None` where no stream lives.
    pub fn origin(&mut self, now: Timestamp) -> Option<Position> {
        self.streams.retain(|_, origin| now.since(origin.heard) <= origin.patience);
        self.streams.values().map(|origin| origin.key).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn frame(stream: u8, kind: FrameKind, more: bool, continued: bool) -> FrameHeader {
        FrameHeader {
            version: 1,
            kind,
            stream: StreamId([stream; 16]),
            seq: 1,
            tick: Timestamp(0),
            clock: Timestamp(0),
            raw_bytes: 0,
            more,
            continued,
            gap: false,
            volatile: false,
        }
    }

    #[test]
    fn a_key_in_parts_counts_once_it_is_whole() {
        let mut origins = StreamOrigins::default();
        let note = |origins: &mut StreamOrigins, segment, kind, more, continued| {
            origins.note(Position(segment), &frame(1, kind, more, continued), Timestamp(0), PATIENCE);
        };
        note(&mut origins, 0, FrameKind::Delta, false, false);
        assert_eq!(origins.origin(Timestamp(0)), None, "what cannot be decoded needs nothing");
        note(&mut origins, 10, FrameKind::Key, true, false);
        assert_eq!(origins.origin(Timestamp(0)), Some(Position(10)));
        note(&mut origins, 20, FrameKind::Key, false, true);
        note(&mut origins, 30, FrameKind::Key, true, false);
        note(&mut origins, 40, FrameKind::Delta, false, false);
        assert_eq!(origins.origin(Timestamp(0)), Some(Position(10)), "its last part may never come");
        note(&mut origins, 50, FrameKind::Key, false, true);
        assert_eq!(origins.origin(Timestamp(0)), Some(Position(30)));
    }

    #[test]
    fn the_oldest_of_the_living_counts() {
        let mut origins = StreamOrigins::default();
        origins.note(Position(0), &frame(1, FrameKind::Key, false, false), Timestamp(0), PATIENCE);
        origins.note(Position(50), &frame(2, FrameKind::Key, false, false), Timestamp(10), PATIENCE);
        assert_eq!(origins.clone().origin(Timestamp(100)), Some(Position(0)));
        assert_eq!(origins.clone().origin(Timestamp(101)), Some(Position(50)));
        origins.resume(Timestamp(50));
        assert_eq!(origins.origin(Timestamp(150)), Some(Position(0)));
        assert_eq!(origins.origin(Timestamp(151)), None);
    }
}
