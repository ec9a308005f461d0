//! How far an endpoint came, in a cursor beside each of the journal's logs.
//!
//! | in the cursor | what |
//! |---|---|
//! | position | everything before is settled |
//! | note, 8 bytes | where a later run begins to read, so that it can decode what lies behind the position |
//! | note, 8 bytes | mark: nothing from here on was sent |
//!
//! Invariant: a cursor is saved before anything behind its mark is sent. So of what a later run reads between position and mark it knows
//! that it may have been sent, and of what lies behind that it was not.

use std::collections::VecDeque;
use std::sync::Arc;

use super::queue::Source;
use crate::journal::{Cursor, CursorError, Cursors, Position, Saved};

/// How far a log was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything before was read.
    pub next: Position,
    /// Where to begin so that what lies behind `next` can be decoded.
    pub origin: Position,
}

/// What is wanted of a log, told to whoever drops its oldest segments.
pub type Hold = Arc<dyn Fn(Source, Position) + Send + Sync>;

/// Where an endpoint begins in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where reading begins.
    pub origin: Position,
    /// From where on what is read is sent.
    pub position: Position,
}

/// An endpoint's place in all logs.
pub struct Place {
    name: String,
    hold: Hold,
    logs: Vec<LogPlace>,
}

struct LogPlace {
    source: Source,
    cursors: Cursors,
    /// An earlier run may have sent what lies before.
    sent_before: Position,
    /// Everything before was read.
    read: Position,
    /// Where each origin was noted first, oldest first; the first is the newest that lies not behind what is settled.
    progress: VecDeque<Progress>,
    saved: Cursor,
}

impl Place {
    /// An endpoint's, before any log is opened. `name` is part of a file's name.
    pub fn new(name: &str, hold: Hold) -> Place {
        Place { name: cursor_name(name), hold, logs: Vec::new() }
    }

    /// Finds its place in a log, which ends at `end`; one that is new to it begins there, to decode from `origin` on. Where the cursor
    /// cannot be read, everything that is left is sent again. Blocks.
    pub fn open(
        &mut self,
        source: Source,
        cursors: Cursors,
        first: Position,
        (end, origin): (Position, Position),
    ) -> Result<Begin, CursorError> {
        let (begin, mark) = match cursors.load(&self.name)? {
            Saved::At(cursor) => {
                let (origin, mark) = decode_note(&cursor.note).unwrap_or((first, end));
                (Begin { origin: origin.max(first), position: cursor.position.max(first) }, mark)
            }
            Saved::Missing => (Begin { origin, position: end }, end),
            Saved::Damaged => {
                tracing::error!(name = self.name, "the cursor is damaged: all that the journal holds is sent again");
                (Begin { origin: first, position: first }, end)
            }
        };
        let progress = VecDeque::from([Progress { next: begin.position, origin: begin.origin }]);
        let saved = Cursor::default();
        (self.hold)(source, begin.origin);
        self.logs.push(LogPlace { source, cursors, sent_before: mark.min(end), read: begin.position, progress, saved });
        Ok(begin)
    }

    /// Whether an earlier run may have sent what stands here.
    pub fn may_have_sent(&self, source: Source, position: Position) -> bool {
        self.logs.iter().any(|log| log.source == source && position < log.sent_before)
    }

    /// Notes that more was read.
    pub fn note_read(&mut self, source: Source, progress: Progress) {
        let Some(log) = self.logs.iter_mut().find(|log| log.source == source) else { return };
        log.read = progress.next;
        // An origin is good for all that lies behind where it was noted first.
        if log.progress.back().is_none_or(|last| last.origin != progress.origin) {
            log.progress.push_back(progress);
        }
    }

    /// Saves how far all is settled: before `oldest`, the first record that is not, or before what was read. What was read may be
    /// sent afterwards. A disk that refuses is logged, and only means that more is sent again one day.
    pub async fn save(&mut self, source: Source, oldest: Option<Position>) {
        let name = self.name.clone();
        let Some(log) = self.logs.iter_mut().find(|log| log.source == source) else { return };
        let settled = oldest.unwrap_or(log.read).min(log.read);
        while log.progress.get(1).is_some_and(|second| second.next <= settled) {
            log.progress.pop_front();
        }
        let origin = log.progress.front().map_or(settled, |front| front.origin).min(settled);
        let cursor = Cursor { position: settled, note: encode_note(origin, log.read) };
        if cursor == log.saved {
            return;
        }
        let (cursors, saving) = (log.cursors.clone(), cursor.clone());
        match tokio::task::spawn_blocking(move || cursors.save(&name, &saving)).await {
            Ok(Ok(())) => {
                log.saved = cursor;
                (self.hold)(source, origin);
            }
            Ok(Err(fault)) => tracing::error!(%fault, name = self.name, "the cursor was not saved"),
            Err(fault) => tracing::error!(%fault, name = self.name, "the cursor was not saved"),
        }
    }
}

/// The name of an endpoint's cursors.
pub fn cursor_name(endpoint: &str) -> String {
    // A name may be as long as a cursor's; the hash tells apart what is cut.
    let hash = xxhash_rust::xxh3::xxh3_64(endpoint.as_bytes());
    let legal = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let readable: String = endpoint.chars().filter(legal).take(CURSOR_NAME_CHARS).collect();
    format!("remote-write-{readable}-{hash:016x}")
}

/// Of an endpoint's own name, in the name of its cursors.
const CURSOR_NAME_CHARS: usize = 32;

fn encode_note(origin: Position, mark: Position) -> Vec<u8> {
    [origin.0.to_le_bytes(), mark.0.to_le_bytes()].concat()
}

fn decode_note(note: &[u8]) -> Option<(Position, Position)> {
    let read = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes).map(Position);
    Some((read(note.get(..8)?)?, read(note.get(8..16)?)?))
}
