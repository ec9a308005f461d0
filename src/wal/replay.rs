//! Reading the logs again at a start, so that the store is what it was.
//!
//! Invariant: a frame is applied as it was then: in its cluster's order, at the time at which it came, by the monotonic clock set back as
//! far as that lies back; so silence is judged as it was. Silence while no gateway ran is nobody's. What cannot be read costs its
//! stream the frames up to its next KEY, and is counted by cluster; nothing that is found makes the start fail but a disk that cannot
//! be read.
//!
//! Labels and limits are those of today's inventory, for that is what readers see; the log keeps those of then.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::frames::FrameLog;
use super::reader::{Entry, FrameReader, FrameRecord};
use super::recorded::RecordedLog;
use super::recorded_reader::{RecordedEntry, RecordedReader, RuleChange, RuleChanges};
use crate::journal::{Log, Position, ReadError};
use crate::model::Timestamp;
use crate::runtime::in_lanes;
use crate::snapshot::{ApplyError, Frame, FrameKind};
use crate::store::{Arrival, Refusal, RuleId, Store};

/// Frames that wait for one thread.
const LANE_DEPTH: usize = 32;

/// What became of a cluster's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// State frames that were applied.
    pub applied: u64,
    /// State frames whose KEY was not read: older than what is restored, or behind a frame that could not be read.
    pub passed: u64,
    /// Frames of a cluster or collector that the inventory does not name any more.
    pub refused: u64,
    /// Frames that could not be read, or not understood because ones before them could not be read.
    pub damaged: u64,
}

/// What a replay found.
#[derive(Debug, Default)]
pub struct Replayed {
    clusters: Mutex<BTreeMap<String, ReplayCounts>>,
    /// Evaluations of rules that were restored.
    evaluations: AtomicU64,
    /// Bytes of the logs that cannot be read.
    lost_bytes: AtomicU64,
}

impl Replayed {
    /// By cluster; under an empty name what belongs to none that could be told.
    pub fn clusters(&self) -> BTreeMap<String, ReplayCounts> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Evaluations of rules that were restored.
    pub fn evaluations(&self) -> u64 {
        self.evaluations.load(Ordering::Relaxed)
    }

    /// Bytes of the logs that cannot be read.
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes.load(Ordering::Relaxed)
    }

    fn count(&self, cluster: &str, change: impl FnOnce(&mut ReplayCounts)) {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        match clusters.get_mut(cluster) {
            Some(counts) => change(counts),
            None => change(clusters.entry(cluster.to_owned()).or_default()),
        }
    }

    fn lose(&self, bytes: u64) {
        self.lost_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Both clocks at the start.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock.
    pub monotonic: Instant,
}

impl Now {
    /// What the monotonic clock showed at a time before now; now, where that lies ahead.
    fn monotonic_at(&self, wall: Timestamp) -> Instant {
        let back = Duration::from_millis(u64::try_from(self.wall.0.saturating_sub(wall.0)).unwrap_or(0));
        self.monotonic.checked_sub(back).unwrap_or(self.monotonic)
    }
}

/// Where to begin so that everything that came within `reach` before now is read, too.
pub fn reaching_back(log: &Log, reach: Duration, now: Timestamp) -> Position {
    let segments = log.segments();
    let oldest = now - reach;
    // A segment is as new as the one behind it is old.
    let is_old = |at: &usize| segments.get(at + 1).is_some_and(|next| next.begun < oldest);
    let first = (0..segments.len()).find(|at| !is_old(at));
    first.map_or(log.end(), |at| segments[at].first)
}

enum Piece {
    Frame { cluster: String, arrival: Arrival, bytes: Vec<u8> },
    Resumed { cluster: String, at: Instant },
}

/// Applies the frames from `from` on, `threads` clusters at once; ends early if `is_over`.
pub fn replay_frames(
    log: &FrameLog,
    store: &Store,
    from: Position,
    now: Now,
    threads: usize,
    is_over: &dyn Fn() -> bool,
    replayed: &Replayed,
) -> Result<(), ReadError> {
    let mut outcome = Ok(());
    let work = |piece: Piece| match piece {
        Piece::Frame { cluster, arrival, bytes } => apply(store, &cluster, &arrival, &bytes, replayed),
        Piece::Resumed { cluster, at } => store.resume(at, Some(&cluster)),
    };
    in_lanes(threads, LANE_DEPTH, work, |put| {
        let (mut reader, mut seen) = (FrameReader::new(log.log(), from), HashSet::new());
        while !is_over() {
            match reader.next() {
                Ok(Some(Entry::Frame(record))) => {
                    log.note(&record);
                    if !seen.contains(&record.policy.cluster) {
                        seen.insert(record.policy.cluster.clone());
                    }
                    put(lane_of(&record.policy.cluster), piece(&record, now));
                }
                Ok(Some(Entry::Resumed { at, .. })) => {
                    let at = now.monotonic_at(at);
                    for cluster in &seen {
                        put(lane_of(cluster), Piece::Resumed { cluster: cluster.clone(), at });
                    }
                }
                Ok(Some(Entry::Lost { lost, cluster })) => {
                    replayed.lose(lost.bytes());
                    let cluster = cluster.map_or_else(String::new, |policy| policy.cluster.clone());
                    replayed.count(&cluster, |counts| counts.damaged += 1);
                }
                Ok(Some(Entry::Epoch { .. })) => {}
                Ok(None) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
    });
    outcome
}

fn lane_of(cluster: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(cluster.as_bytes())
}

fn piece(record: &FrameRecord<'_>, now: Now) -> Piece {
    let arrival = Arrival {
        collector: record.collector.into(),
        certificate_expires: record.certificate_expires,
        clock_skew_ms: record.clock_skew_ms,
        wall: record.received,
        monotonic: now.monotonic_at(record.received),
    };
    Piece::Frame { cluster: record.policy.cluster.clone(), arrival, bytes: record.frame.as_bytes().to_vec() }
}

fn apply(store: &Store, cluster: &str, arrival: &Arrival, bytes: &[u8], replayed: &Replayed) {
    let Ok((frame, _)) = Frame::parse(bytes, store.frame_limits()) else {
        // The limits on frames are tighter today than they were.
        return replayed.count(cluster, |counts| counts.refused += 1);
    };
    let header = *frame.header();
    let begins = header.kind == FrameKind::Key && !header.continued;
    let mut outcome = store.apply(cluster, &frame, arrival);
    let is_missing_frames = matches!(outcome, Err(Refusal::State(ApplyError::Gap { .. })));
    if is_missing_frames {
        store.forget_frames(cluster, header.stream);
        if begins {
            outcome = store.apply(cluster, &frame, arrival);
        }
    }
    if header.kind.is_definition() {
        // Those before a stream's first KEY may lack what they are told against; it has all of them before it once more.
        return;
    }
    replayed.count(cluster, |counts| match outcome {
        Ok(_) => counts.applied += 1,
        Err(Refusal::State(ApplyError::NeedKey)) => counts.passed += 1,
        Err(Refusal::State(_)) => counts.damaged += 1,
        Err(_) => counts.refused += 1,
    });
}

/// Brings back what rules gave, from `from` on.
pub fn replay_recorded(
    log: &RecordedLog,
    store: &Store,
    from: Position,
    is_over: &dyn Fn() -> bool,
    replayed: &Replayed,
) -> Result<(), ReadError> {
    let (mut reader, mut changes) = (RecordedReader::new(log.log(), from), RuleChanges::new());
    let mut ended = Vec::new();
    while !is_over() {
        match reader.next()? {
            None => break,
            Some(RecordedEntry::Lost(lost)) => replayed.lose(lost.bytes()),
            // What cannot be understood stands before the first KEY, or behind something lost.
            Some(RecordedEntry::Frame(record)) => {
                for change in changes.apply(&record.frame).unwrap_or_default() {
                    replayed.evaluations.fetch_add(1, Ordering::Relaxed);
                    restore(store, change, &mut ended);
                }
            }
        }
    }
    store.retain_rules(|rule| !ended.contains(rule));
    store.show_restored();
    Ok(())
}

fn restore(store: &Store, change: RuleChange, ended: &mut Vec<RuleId>) {
    match change {
        RuleChange::Gave(rule, results) => {
            ended.retain(|gone| *gone != rule);
            store.restore(&rule, &results);
        }
        RuleChange::Ended(rule, _) => ended.push(rule),
    }
}
