//! The log of what rules gave, as its writer sees it: frames of a stream of the gateway's own, one target a rule.
//!
//! Invariant: from the beginning of a segment on, all rules can be decoded from its first KEY on, before which the schemas of all
//! stand in full. Nobody waits for this log: what it does not take in is counted, and the next frame is a KEY that says so.
//!
//! A target's labels are `group` and `rule` (its number); its series have theirs whole, beside a target without labels.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::kind;
use crate::journal::{AppendError, Committer, Log, Position};
use crate::model::{Labels, Timestamp};
use crate::snapshot::{EncodedFrame, Encoder, FrameLimits, Outcome, Report, Schema, Scrape, StreamId, encode_schemas};
use crate::store::{RecordedResults, RuleId};

/// A reader that begins in the middle waits so long for everything, at most.
const KEY_EVERY: Duration = Duration::from_secs(300);

const GROUP: &str = "group";
const RULE: &str = "rule";

/// The labels of a rule's target.
fn target_of(rule: &RuleId) -> Labels {
    Labels::from_pairs([(GROUP, &*rule.group), (RULE, &rule.rule.to_string())])
}

/// The rule of a target with these labels.
pub(super) fn rule_of(target: &Labels) -> Option<RuleId> {
    Some(RuleId { group: target.get(GROUP)?.into(), rule: target.get(RULE)?.parse().ok()? })
}

/// The log of recorded series. Clones are the same log.
#[derive(Clone)]
pub struct RecordedLog {
    inner: Arc<Inner>,
}

struct Inner {
    committer: Committer,
    limits: FrameLimits,
    recording: Mutex<Recording>,
    /// Evaluations whose results are not in the log.
    lost: AtomicU64,
}

struct Recording {
    encoder: Encoder,
    rules: HashMap<RuleId, (Arc<Labels>, Arc<Schema>)>,
    /// When the last KEY was written, and in which segment; `None` where one is needed.
    key: Option<(Timestamp, Position)>,
    /// The segment that was written to last.
    segment: Option<Position>,
}

impl RecordedLog {
    /// Over a log of recorded series that is being committed, as the stream `stream` that begins at `now`.
    pub fn new(committer: Committer, stream: StreamId, limits: FrameLimits, now: Timestamp) -> RecordedLog {
        let encoder = Encoder::new(stream, now, limits.clone());
        let recording = Recording { encoder, rules: HashMap::new(), key: None, segment: None };
        let (recording, lost) = (Mutex::new(recording), AtomicU64::new(0));
        RecordedLog { inner: Arc::new(Inner { committer, limits, recording, lost }) }
    }

    /// Where to read, and how much there is.
    pub fn log(&self) -> &Log {
        self.inner.committer.log()
    }

    /// The thread that writes it.
    pub fn committer(&self) -> &Committer {
        &self.inner.committer
    }

    /// Evaluations whose results are not in the log.
    pub fn lost(&self) -> u64 {
        self.inner.lost.load(Ordering::Relaxed)
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        // A panic may leave an encoder that is ahead of the log: a KEY brings both together.
        self.inner.recording.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut recording = poisoned.into_inner();
            recording.key = None;
            recording.encoder.mark_gap();
            self.inner.recording.clear_poison();
            recording
        })
    }

    /// Writes down what an evaluation gave; evaluations of one rule in their order.
    pub fn record(&self, rule: &RuleId, results: &RecordedResults, now: Timestamp) {
        let mut recording = self.recording();
        let scrape = recording.scrape(rule, results);
        self.write(&mut recording, results.at, &[scrape], now);
    }

    /// Writes down that a rule is gone, which gave these last: its series end at `now`.
    pub fn end(&self, rule: &RuleId, last: &RecordedResults, now: Timestamp) {
        let mut recording = self.recording();
        let is_known = recording.rules.contains_key(rule);
        let scrape = recording.scrape(rule, last);
        let gone = Scrape { started: now, outcome: Outcome::Gone, ..scrape.clone() };
        let scrapes = if is_known { vec![gone] } else { vec![scrape, gone] };
        self.write(&mut recording, now, &scrapes, now);
        recording.rules.remove(rule);
    }

    fn write(&self, recording: &mut Recording, tick: Timestamp, scrapes: &[Scrape], now: Timestamp) {
        let is_key = recording.needs_key(now);
        let mut frames = recording.encoder.tick(tick, now, scrapes, is_key);
        if is_key {
            frames.retain(|frame| !frame.kind.is_definition());
            let schemas = recording.rules.values().map(|(_, schema)| schema);
            let definitions = encode_schemas(recording.encoder.stream(), schemas, &self.inner.limits);
            frames.splice(..0, definitions);
        }
        match self.append(&frames, now) {
            Ok(segment) => recording.wrote(segment, is_key, now),
            Err(error) => {
                tracing::debug!(%error, "results of a rule are not in the log");
                self.inner.lost.fetch_add(1, Ordering::Relaxed);
                recording.key = None;
                recording.encoder.mark_gap();
            }
        }
    }

    fn append(&self, frames: &[EncodedFrame], now: Timestamp) -> Result<Position, AppendError> {
        let written = now.0.to_le_bytes();
        let bytes = frames.iter().map(|frame| frame.bytes.len() + written.len()).sum();
        let room = self.log().reserve(bytes)?;
        let mut group = room.begin(now);
        for frame in frames {
            group.append(kind::RECORDED, &[&written, &frame.bytes])?;
        }
        Ok(group.segment())
    }

    /// The segment from which all rules can be decoded, `None` before the first KEY.
    pub fn origin(&self) -> Option<Position> {
        self.recording().key.map(|(_, segment)| segment)
    }
}

impl Recording {
    fn needs_key(&self, now: Timestamp) -> bool {
        self.key.is_none_or(|(at, segment)| now.since(at) >= KEY_EVERY || Some(segment) != self.segment)
    }

    fn wrote(&mut self, segment: Position, is_key: bool, now: Timestamp) {
        self.segment = Some(segment);
        if is_key {
            self.key = Some((now, segment));
        }
    }

    fn scrape(&mut self, rule: &RuleId, results: &RecordedResults) -> Scrape {
        let schema = results.schema.clone();
        let known = self.rules.entry(rule.clone()).or_insert_with(|| (Arc::new(target_of(rule)), schema.clone()));
        known.1 = schema.clone();
        Scrape {
            target: known.0.clone(),
            started: results.at,
            duration: Duration::ZERO,
            outcome: Outcome::Up,
            report: Report::default(),
            schema,
            values: results.column.iter().collect(),
            beside: results.beside.as_ref().clone(),
        }
    }
}
