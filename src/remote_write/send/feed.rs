//! From the journal's two logs to what an endpoint is to be sent.
//!
//! Both logs are read in steps, on a thread that may wait for the disk. What lies before the endpoint's place is only applied, so that what
//! comes behind it can be understood; from there on what each frame brings is handed over in the order of the log.
//!
//! Invariant: each record behind the place is handed over, or counted as lost; [`Read::Progress`] follows what it speaks of.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::by_cluster::by_cluster;
use super::endpoint::Read;
use super::follower::{Follower, Record};
use super::place::{Begin, Progress};
use super::queue::{Lane, Source};
use super::rows::FrameSamples;
use crate::journal::{Position, ReadError};
use crate::model::{Labels, Timestamp};
use crate::snapshot::{ApplyError, FrameKind};
use crate::store::{CLUSTER, ClusterPolicy, Refusal, RuleId};
use crate::wal::{
    Entry, FrameReader, FrameRecord, RecordedEntry, RecordedFrame, RecordedReader, RuleChange, RuleChanges,
    StreamOrigins, Wal,
};

/// Records of one step, of each log.
const STEP_RECORDS: usize = 64;
/// A stream is over for the origins a while after it is over for the store.
const PATIENCE_MARGIN: Duration = Duration::from_secs(60);
/// The stream of recorded series never is.
const RECORDED_PATIENCE: Duration = Duration::from_secs(1000 * 86_400);

/// Where both logs are read.
pub(super) struct Feed {
    frames: FrameLane,
    recorded: RecordedLane,
    follower: Follower,
    /// Labels of the clusters, for headers.
    clusters: HashMap<String, (Arc<ClusterPolicy>, Arc<Labels>)>,
    /// How often types and helps are told, and when next.
    metadata: Option<(Duration, Instant)>,
    /// Whether the results of rules are told apart by cluster.
    tells_clusters: bool,
}

struct FrameLane {
    reader: FrameReader,
    begin: Begin,
    origins: StreamOrigins,
    segment: Position,
}

struct RecordedLane {
    reader: RecordedReader,
    begin: Begin,
    origins: StreamOrigins,
    segment: Position,
    changes: RuleChanges,
    rules: BTreeSet<RuleId>,
}

impl Feed {
    /// Reads on where the endpoint left off.
    pub(super) fn new(
        wal: &Wal,
        (frames, recorded): (Begin, Begin),
        follower: Follower,
        metadata: Option<(Duration, Instant)>,
        tells_clusters: bool,
    ) -> Feed {
        let frames = FrameLane {
            reader: FrameReader::new(wal.frames.log(), frames.origin),
            begin: frames,
            origins: StreamOrigins::default(),
            segment: frames.origin,
        };
        let recorded = RecordedLane {
            reader: RecordedReader::new(wal.recorded.log(), recorded.origin),
            begin: recorded,
            origins: StreamOrigins::default(),
            segment: recorded.origin,
            changes: RuleChanges::new(),
            rules: BTreeSet::new(),
        };
        Feed { frames, recorded, follower, clusters: HashMap::new(), metadata, tells_clusters }
    }

    /// Reads some records of both logs; nothing where no more is synced. Blocks.
    pub(super) fn step(&mut self, now: Timestamp, monotonic: Instant) -> Result<Vec<Read>, ReadError> {
        let mut reads = Vec::new();
        let frames_are_over = self.step_frames(now, &mut reads)?;
        if frames_are_over {
            self.tell_metadata(monotonic, &mut reads);
        }
        self.step_recorded(now, &mut reads)?;
        Ok(reads)
    }

    /// Ends what is silent, where the log of frames was read to its end.
    pub(super) fn silence(&mut self, now: Timestamp) -> Vec<Read> {
        let position = self.frames.reader.position();
        let ended = self.follower.silence(now);
        let read = |(policy, frame): (Arc<ClusterPolicy>, FrameSamples)| {
            let cluster = self.labels_of(&policy);
            Read::Frame { lane: Lane::Cluster(policy.cluster.as_str().into()), cluster, position, frame }
        };
        let mut reads: Vec<Read> = ended.into_iter().map(read).collect();
        // Types and helps are due even where nothing comes any more.
        reads.retain(|read| !matches!(read, Read::Frame { frame, .. } if frame.ends.is_empty()));
        reads
    }

    fn labels_of(&mut self, policy: &Arc<ClusterPolicy>) -> Arc<Labels> {
        let known = self.clusters.get(&policy.cluster).filter(|(known, _)| Arc::ptr_eq(known, policy));
        if let Some((_, labels)) = known {
            return labels.clone();
        }
        let labels = Arc::new(policy.labels.clone());
        self.clusters.insert(policy.cluster.clone(), (policy.clone(), labels.clone()));
        labels
    }

    /// Whether the log was read to its end.
    fn step_frames(&mut self, now: Timestamp, reads: &mut Vec<Read>) -> Result<bool, ReadError> {
        let before = self.frames.reader.position();
        let mut is_over = false;
        for _ in 0..STEP_RECORDS {
            let Feed { frames: FrameLane { reader, begin, origins, segment }, follower, .. } = self;
            let found = match reader.next()? {
                None => {
                    is_over = true;
                    break;
                }
                Some(Entry::Frame(record)) => {
                    *segment = record.segment;
                    let patience = record.policy.series_end_after() + PATIENCE_MARGIN;
                    origins.note(record.segment, record.frame.header(), record.received, patience);
                    let position = record.position;
                    let frame = apply(follower, &record);
                    Some((position, record.next, record.policy.clone(), frame))
                }
                Some(Entry::Resumed { at, .. }) => {
                    origins.resume(at);
                    let moment = follower.monotonic_at(at);
                    follower.store().resume(moment, None);
                    None
                }
                Some(Entry::Epoch { .. }) => None,
                Some(Entry::Lost { lost, .. }) => {
                    if lost.until > begin.position {
                        reads.push(Read::Lost(lost.until.since(lost.from.max(begin.position))));
                    }
                    None
                }
            };
            let Some((position, next, policy, frame)) = found.filter(|(at, ..)| *at >= self.frames.begin.position)
            else {
                continue;
            };
            match frame {
                Ok(frame) if frame.scrapes.is_empty() && frame.ends.is_empty() => {}
                Ok(frame) => {
                    let cluster = self.labels_of(&policy);
                    reads.push(Read::Frame {
                        lane: Lane::Cluster(policy.cluster.as_str().into()),
                        cluster,
                        position,
                        frame,
                    });
                }
                Err(NotApplied::Passed) => {}
                Err(NotApplied::Lost) => reads.push(Read::Lost(next.since(position))),
            }
        }
        let next = self.frames.reader.position();
        if next > before && next > self.frames.begin.position {
            let origin = self.frames.origins.origin(now).unwrap_or(self.frames.segment);
            reads.push(Read::Progress { source: Source::Frames, progress: Progress { next, origin } });
        }
        Ok(is_over)
    }

    fn step_recorded(&mut self, now: Timestamp, reads: &mut Vec<Read>) -> Result<(), ReadError> {
        let before = self.recorded.reader.position();
        for _ in 0..STEP_RECORDS {
            let recorded = &mut self.recorded;
            let (position, changes) = match recorded.reader.next()? {
                None => break,
                Some(RecordedEntry::Lost(lost)) => {
                    if lost.until > recorded.begin.position {
                        reads.push(Read::Lost(lost.until.since(lost.from.max(recorded.begin.position))));
                    }
                    continue;
                }
                Some(RecordedEntry::Frame(record)) => {
                    recorded.segment = record.segment;
                    recorded.origins.note(record.segment, record.frame.header(), record.written, RECORDED_PATIENCE);
                    (record.position, changes_of(&mut recorded.changes, &record))
                }
            };
            for change in changes {
                let Feed { recorded, follower, .. } = self;
                let frame = follower.recorded(change, &mut recorded.rules);
                if position >= self.recorded.begin.position && !(frame.scrapes.is_empty() && frame.ends.is_empty()) {
                    self.hand_over_recorded(position, frame, reads);
                }
            }
        }
        let next = self.recorded.reader.position();
        if next > before && next > self.recorded.begin.position {
            let origin = self.recorded.origins.origin(now).unwrap_or(self.recorded.segment);
            reads.push(Read::Progress { source: Source::Recorded, progress: Progress { next, origin } });
        }
        Ok(())
    }

    fn hand_over_recorded(&mut self, position: Position, frame: FrameSamples, reads: &mut Vec<Read>) {
        if !self.tells_clusters {
            reads.push(Read::Frame { lane: Lane::Recorded(None), cluster: Arc::default(), position, frame });
            return;
        }
        for (name, frame) in by_cluster(&frame) {
            let cluster = match &name {
                None => Arc::default(),
                Some(name) => match self.follower.policy(name).cloned() {
                    Some(policy) => self.labels_of(&policy),
                    None => Arc::new(Labels::from_pairs([(CLUSTER, &**name)])),
                },
            };
            reads.push(Read::Frame { lane: Lane::Recorded(name), cluster, position, frame });
        }
    }

    fn tell_metadata(&mut self, now: Instant, reads: &mut Vec<Read>) {
        let Some((interval, due)) = &mut self.metadata else { return };
        if *due > now {
            return;
        }
        *due = now + *interval;
        for (policy, families) in self.follower.metadata() {
            let cluster = self.labels_of(&policy);
            reads.push(Read::Metadata { cluster, families });
        }
    }
}

/// Why a frame brings nothing.
enum NotApplied {
    /// It was not meant to: it stands before the stream's first KEY that is read, or repeats a definition.
    Passed,
    /// It cannot be understood, because something before it is missing.
    Lost,
}

fn apply(follower: &mut Follower, found: &FrameRecord<'_>) -> Result<FrameSamples, NotApplied> {
    let header = *found.frame.header();
    let record = Record {
        policy: found.policy.clone(),
        collector: found.collector,
        certificate_expires: found.certificate_expires,
        clock_skew_ms: found.clock_skew_ms,
        received: found.received,
        frame: &found.frame,
    };
    let mut outcome = follower.frame(&record);
    if matches!(outcome, Err(Refusal::State(ApplyError::Gap { .. }))) {
        follower.store().forget_frames(&found.policy.cluster, header.stream);
        if header.kind == FrameKind::Key && !header.continued {
            outcome = follower.frame(&record);
        }
    }
    outcome.map_err(|refusal| match refusal {
        _ if header.kind.is_definition() => NotApplied::Passed,
        Refusal::State(ApplyError::NeedKey) => NotApplied::Passed,
        _ => NotApplied::Lost,
    })
}

fn changes_of(changes: &mut RuleChanges, record: &RecordedFrame<'_>) -> Vec<RuleChange> {
    // What cannot be understood stands before the first KEY that is read, or behind something that was lost and counted.
    changes.apply(&record.frame).unwrap_or_default()
}
