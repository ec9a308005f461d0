//! How long the logs are kept.
//!
//! Invariant: a segment goes when neither a restart nor an endpoint of remote write needs it; or when a limit is broken, and then it is
//! counted by whom it was taken from. Where a replay begins stands in a cursor, `checkpoint`, which is durable before a segment that
//! the one before it needed is dropped.
//!
//! What is held is a position: what lies before it is not wanted. With `on_full: refuse` an endpoint's hold is respected, but by the
//! limit on age, and pushes are refused instead. What only a restart wants never refuses anybody: if nothing came any more, it would
//! be wanted for ever. The results of rules cannot be refused, so their log always drops its oldest.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::frames::FrameLog;
use super::recorded::RecordedLog;
use super::replay::reaching_back;
use crate::journal::{Committer, Cursor, CursorError, Cursors, Limit, Limits, Log, Position, Saved, Space};
use crate::model::Timestamp;

/// The name of the cursor that says where a replay begins.
pub const CHECKPOINT: &str = "checkpoint";
/// The part of the limit on bytes that the log of recorded series may take.
const RECORDED_SHARE: u64 = 8;

/// One of the two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Logs {
    /// What collectors pushed.
    Frames,
    /// What rules gave.
    Recorded,
}

impl Logs {
    /// Its name: that of its directory, and the value of the label `log`.
    pub fn as_str(self) -> &'static str {
        match self {
            Logs::Frames => "frames",
            Logs::Recorded => "recorded",
        }
    }
}

/// What gives way where a limit is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Who still wants the oldest segment.
    DropOldest,
    /// Who pushes.
    Refuse,
}

/// Keeps the logs within their limits. Clones are the same.
#[derive(Clone)]
pub struct Retention {
    inner: Arc<Inner>,
}

struct Inner {
    frames: FrameLog,
    recorded: RecordedLog,
    cursors: Cursors,
    limits: Limits,
    on_full: OnFull,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By name and log: what the holder may still want begins here.
    holds: BTreeMap<(String, Logs), Position>,
    /// Bytes that holders wanted and that were dropped.
    skipped: BTreeMap<(String, Logs), u64>,
    checkpoint: Option<Position>,
}

/// What a round decides for one log.
struct Verdict {
    drop_before: Position,
    /// Somebody still wants what should go.
    is_stuck: bool,
}

impl Retention {
    /// Over two logs; `cursors` are those of the log of frames.
    pub fn new(
        (frames, recorded): (FrameLog, RecordedLog),
        cursors: Cursors,
        limits: Limits,
        on_full: OnFull,
    ) -> Retention {
        Retention { inner: Arc::new(Inner { frames, recorded, cursors, limits, on_full, state: Mutex::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lies from `position` on is wanted under this name; a later call moves it. A reader holds where it would have to begin
    /// again, not how far it is done.
    pub fn hold(&self, name: &str, log: Logs, position: Position) {
        self.state().holds.insert((name.to_owned(), log), position);
    }

    /// Nothing is wanted under this name any more.
    pub fn release(&self, name: &str) {
        self.state().holds.retain(|(own, _), _| own != name);
    }

    /// Bytes that were dropped though they were held, by name and log.
    pub fn skipped(&self) -> Vec<(String, Logs, u64)> {
        self.state().skipped.iter().map(|((name, log), bytes)| (name.clone(), *log, *bytes)).collect()
    }

    /// Where a replay has to begin so that all streams go on. Blocks.
    pub fn checkpoint(&self) -> Result<Position, CursorError> {
        let first = self.inner.frames.log().first();
        Ok(match self.inner.cursors.load(CHECKPOINT)? {
            Saved::At(cursor) => cursor.position.max(first),
            Saved::Missing | Saved::Damaged => first,
        })
    }

    /// Saves where a replay begins, and drops what is not needed or too much. `reach`: how far back scraped and recorded series are kept.
    /// Blocks.
    pub fn round(&self, now: Timestamp, reach: (Duration, Duration)) -> Result<(), RoundError> {
        let Inner { frames, recorded, limits, .. } = &*self.inner;
        let space = frames.log().space()?;
        let end = frames.log().synced();
        let origin = frames.origin(now).unwrap_or(end).min(end);
        self.save(origin)?;
        let recorded_limits = Limits { bytes_max: limits.bytes_max / RECORDED_SHARE, ..*limits };
        let needed = reaching_back(recorded.log(), reach.1, now).min(recorded.origin().unwrap_or(Position::START));
        let verdict = self.judge((Logs::Recorded, recorded.log()), needed, recorded_limits, space, now);
        drop_before(recorded.committer(), verdict.drop_before);

        let recorded_bytes: u64 = recorded.log().segments().iter().map(|segment| segment.bytes).sum();
        let frames_limits = Limits { bytes_max: limits.bytes_max.saturating_sub(recorded_bytes), ..*limits };
        let needed = reaching_back(frames.log(), reach.0, now).min(origin);
        let verdict = self.judge((Logs::Frames, frames.log()), needed, frames_limits, space, now);
        drop_before(frames.committer(), verdict.drop_before);
        if verdict.is_stuck != frames.is_refusing() {
            match verdict.is_stuck {
                true => {
                    tracing::error!("the journal is full and an endpoint wants its oldest records: pushes are refused")
                }
                false => tracing::info!("the journal has room again"),
            }
            frames.set_refusing(verdict.is_stuck);
        }
        Ok(())
    }

    fn save(&self, origin: Position) -> Result<(), CursorError> {
        if self.state().checkpoint != Some(origin) {
            self.inner.cursors.save(CHECKPOINT, &Cursor { position: origin, note: Vec::new() })?;
            self.state().checkpoint = Some(origin);
        }
        Ok(())
    }

    /// What of a log may go, and has to.
    fn judge(
        &self,
        (which, log): (Logs, &Log),
        needed: Position,
        limits: Limits,
        space: Space,
        now: Timestamp,
    ) -> Verdict {
        let mut state = self.state();
        let held = state.holds.iter().filter(|((_, log), _)| *log == which).map(|(_, position)| *position).min();
        let wanted = held.map_or(needed, |held| held.min(needed));
        let respects = self.inner.on_full == OnFull::Refuse && which == Logs::Frames;
        let (mut forced, mut is_stuck) = (Position::START, false);
        for over in limits.over(&log.segments(), space, now) {
            let is_held = held.is_some_and(|held| held < over.segment.end);
            if respects && is_held && over.limit != Limit::Age {
                is_stuck = true;
                break;
            }
            forced = over.segment.end;
        }
        state.skip(which, forced);
        Verdict { drop_before: wanted.max(forced), is_stuck }
    }
}

impl State {
    /// Moves holds over what is dropped.
    fn skip(&mut self, which: Logs, until: Position) {
        let behind = self.holds.iter_mut().filter(|((_, log), held)| *log == which && **held < until);
        for (holder, held) in behind {
            *self.skipped.entry(holder.clone()).or_default() += until.since(*held);
            *held = until;
        }
    }
}

fn drop_before(committer: &Committer, position: Position) {
    if position > committer.log().first() {
        committer.drop_before(position);
    }
}

/// Why a round was not done; the next one tries again.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The checkpoint was not saved.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The disk does not say how full it is.
    #[error("cannot ask how much room the disk has: {0}")]
    Space(#[from] io::Error),
}
