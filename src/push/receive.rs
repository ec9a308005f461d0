//! The gateway's end: a body and an identity in, a verdict out; no HTTP.
//!
//! Order of the checks, each cheaper than the next: who sends (deny by default), how much the cluster may send, how long
//! the body is, then frame by frame its checksum and its place in the stream. The frames of a body are applied in their
//! order until one cannot be; what was applied stays. Whatever is refused is counted by cluster and reason, and nothing
//! is allocated for a frame before its length, checksum and announced size were found right.
//!
//! With a journal the order is: room in its buffer, the store, the buffer, and the verdict when that is on the disk. While there is
//! no room, or the disk refuses, the answer is 503 and the collector keeps what it has; frames that only run ahead of a backlog
//! are never kept and are taken all the same, so that readers see the present.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::protocol::{IdentityAnswer, MISSING_SCHEMAS_MAX, Verdict, versions};
use super::rate::Rates;
use crate::journal::{Position, Reserved, TooLarge};
use crate::model::Timestamp;
use crate::runtime::{CpuPool, PoolError, clock};
use crate::snapshot::{ApplyError, Frame, FrameError, FrameLimits, StreamId};
use crate::store::{Accepted, Arrival, Inventory, Membership, Refusal, Store, Taken};
use crate::telemetry::{GatewayMetrics, Repeats};
use crate::tls::Identity;
use crate::wal::{FrameLog, NoRoom, NotDurable, is_kept};

/// When a gateway that is full wants to be asked again.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// When a collector beyond the cluster's number of streams may ask again: by then another may have fallen silent.
const STREAMS_WAIT: Duration = Duration::from_secs(15);
/// Bytes of bodies held at once, over all collectors; who comes when they are taken is asked to wait.
const BODIES_BYTES_MAX: usize = 512 << 20;
/// What a permit of the bodies' semaphore stands for.
const PERMIT_BYTES: usize = 1 << 10;
/// One log line of a kind in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Bounds of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of it.
    pub bytes_max: usize,
    /// Frames in it.
    pub frames_max: usize,
}

/// Who a request comes from, as its certificate and the inventory say.
#[derive(Clone, Debug)]
pub struct Pusher {
    /// The cluster's policy and the name that matched.
    pub membership: Membership,
    /// When the certificate ends.
    pub certificate_expires: Timestamp,
    /// How far the sender's clock is ahead, where the request says what it shows.
    pub clock_skew_ms: Option<i64>,
}

impl Pusher {
    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.membership.policy.cluster
    }
}

/// Why a body stopped being applied, with the word that counts it.
struct Stop {
    reason: &'static str,
    verdict: Verdict,
}

/// What became of a body, before it is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the collector is told, once all before `safe_after` is safe.
    pub verdict: Verdict,
    /// The last record of the journal that the verdict speaks of.
    pub safe_after: Option<Position>,
}

/// A body on its way through the store.
#[derive(Default)]
struct Progress {
    acked: u64,
    samples: u64,
    stream: Option<StreamId>,
    /// In the journal's buffer; taken when the first frame comes that is kept.
    room: Option<Reserved>,
    written: Option<Position>,
}

/// Takes pushes.
pub struct Receiver {
    store: Arc<Store>,
    pool: CpuPool,
    metrics: GatewayMetrics,
    rates: Rates,
    limits: BodyLimits,
    /// Permits of [`PERMIT_BYTES`]; a body holds its own from before it is read until its verdict.
    bodies: Arc<Semaphore>,
    repeats: Repeats,
    /// Where frames are kept before they are acknowledged.
    journal: Option<FrameLog>,
}

impl Receiver {
    /// A receiver that applies to `store`, on the threads of `pool`.
    pub fn new(store: Arc<Store>, pool: CpuPool, metrics: GatewayMetrics, limits: BodyLimits) -> Receiver {
        let repeats = Repeats::every(LOG_INTERVAL);
        let bodies = Arc::new(Semaphore::new(BODIES_BYTES_MAX.max(limits.bytes_max).div_ceil(PERMIT_BYTES)));
        Receiver { store, pool, metrics, rates: Rates::default(), limits, bodies, repeats, journal: None }
    }

    /// Acknowledges nothing before it stands in this journal.
    pub fn journalling(self, journal: Option<FrameLog>) -> Receiver {
        Receiver { journal, ..self }
    }

    /// Bounds of one body.
    pub fn limits(&self) -> BodyLimits {
        self.limits
    }

    /// Takes an inventory into force: whom it does not name is refused from the next request on.
    pub fn set_inventory(&self, inventory: Inventory) {
        inventory.iter().for_each(|policy| self.metrics.know_cluster(&policy.cluster));
        self.rates.retain(|cluster| inventory.get(cluster).is_some());
        self.store.set_inventory(inventory);
    }

    /// Looks up who a certificate speaks for. `None` is a connection without one.
    pub fn identify(&self, identity: Option<&Identity>) -> Result<Pusher, Verdict> {
        let Some(identity) = identity else {
            self.refused("", "no_certificate", "a connection without client certificate");
            return Err(Verdict::Unauthenticated { reason: "no client certificate".to_owned() });
        };
        match self.store.inventory().identify(identity.candidates()) {
            Some(membership) => Ok(Pusher { membership, certificate_expires: identity.not_after, clock_skew_ms: None }),
            None => {
                let names: Vec<&str> = identity.candidates().collect();
                let reason = format!("none of the certificate's names {names:?} is in the inventory");
                self.refused("", "unknown_identity", &reason);
                Err(Verdict::Forbidden { reason })
            }
        }
    }

    /// Whether the cluster may push now; to be asked before its body is read.
    pub fn check_rate(&self, pusher: &Pusher) -> Result<(), Verdict> {
        let rate = pusher.membership.policy.limits.samples_per_second;
        self.rates.check(pusher.cluster(), rate, clock::monotonic()).map_err(|retry_after| {
            self.refused(pusher.cluster(), "rate", "over the cluster's samples_per_second");
            Verdict::SlowDown { retry_after }
        })
    }

    /// Room for a body of so many bytes, `None` for one that does not say; kept until its verdict.
    pub fn room(&self, pusher: &Pusher, bytes: Option<usize>) -> Result<OwnedSemaphorePermit, Verdict> {
        let bytes = bytes.unwrap_or(self.limits.bytes_max).min(self.limits.bytes_max);
        self.bodies.clone().try_acquire_many_owned(bytes.div_ceil(PERMIT_BYTES) as u32).map_err(|_| {
            self.refused(pusher.cluster(), "bodies_full", "too many bytes of bodies are being taken in");
            Verdict::Busy { retry_after: BUSY_WAIT }
        })
    }

    /// Counts a body that was refused unread, and gives the verdict for it.
    pub fn too_large(&self, pusher: &Pusher) -> Verdict {
        self.refused(pusher.cluster(), "body_too_large", "a body over the limit");
        Verdict::TooLarge { limit_bytes: self.limits.bytes_max as u64 }
    }

    /// Counts a body that ended before its announced end; nobody is left to take a verdict.
    pub fn interrupted(&self, pusher: &Pusher) {
        self.refused(pusher.cluster(), "body_interrupted", "a body that broke off");
    }

    /// Counts a content type that is not spoken here, and gives the verdict for it.
    pub fn unsupported(&self, pusher: &Pusher) -> Verdict {
        self.refused(pusher.cluster(), "content_type", "a content type that is not spoken here");
        Verdict::Unsupported { versions: versions() }
    }

    /// What `GET /v1/identity` answers.
    pub fn describe(&self, pusher: &Pusher) -> IdentityAnswer {
        let policy = &pusher.membership.policy;
        let labels = policy.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        IdentityAnswer {
            cluster: policy.cluster.clone(),
            environment: policy.labels.get(crate::store::ENVIRONMENT).unwrap_or_default().to_owned(),
            labels,
            collector: pusher.membership.collector.to_string(),
            gateway_ms: clock::now().as_millis(),
            versions: versions(),
        }
    }

    /// Applies a body, in the cluster's turn, and waits until it is safe.
    pub async fn receive(self: &Arc<Self>, pusher: Pusher, body: Bytes) -> Verdict {
        let began = clock::monotonic();
        let key: Arc<str> = Arc::from(pusher.cluster());
        let cluster = key.clone();
        let receiver = self.clone();
        let job = move || receiver.apply(&pusher, &body, clock::now(), clock::monotonic());
        let verdict = match self.pool.run(&key, job).await {
            Ok(outcome) => self.when_safe(&cluster, outcome).await,
            Err(error) => {
                let reason = if error == PoolError::Full { "busy" } else { "panic" };
                self.refused(&cluster, reason, &error.to_string());
                Verdict::Busy { retry_after: BUSY_WAIT }
            }
        };
        self.metrics.push_took(clock::monotonic().saturating_duration_since(began));
        verdict
    }

    /// Runs `job` in the cluster's turn and waits as [`Receiver::receive`] does: for who makes frames here and applies them himself. The
    /// verdict is what the job says; beside it stands what else it gives, where it ran.
    pub async fn receive_made<T: Send + 'static>(
        self: &Arc<Self>,
        cluster: &str,
        job: impl FnOnce(&Receiver) -> (Outcome, T) + Send + 'static,
    ) -> (Verdict, Option<T>) {
        let (began, key, receiver) = (clock::monotonic(), Arc::from(cluster), self.clone());
        let (verdict, made) = match self.pool.run(&key, move || job(&receiver)).await {
            Ok((outcome, made)) => (self.when_safe(cluster, outcome).await, Some(made)),
            Err(error) => {
                let reason = if error == PoolError::Full { "busy" } else { "panic" };
                self.refused(cluster, reason, &error.to_string());
                (Verdict::Busy { retry_after: BUSY_WAIT }, None)
            }
        };
        self.metrics.push_took(clock::monotonic().saturating_duration_since(began));
        (verdict, made)
    }

    /// The store that frames are applied to.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Counts samples that were refused before they were in a frame, and says it, at most once a minute.
    pub fn samples_refused(&self, cluster: &str, reason: &'static str, samples: u64, what: &str) {
        self.metrics.samples_dropped(cluster, reason, samples);
        if let Some(repeated) = self.repeats.due(&format!("{cluster}/written/{reason}"), clock::monotonic()) {
            tracing::warn!(cluster, reason, samples, what, repeated, "samples refused");
        }
    }

    /// Counts samples of another replica of an HA pair, which is how it should be.
    pub fn samples_deduplicated(&self, cluster: &str, samples: u64) {
        self.metrics.samples_dropped(cluster, "deduplicated", samples);
    }

    /// Counts a request that was refused whole.
    pub fn request_refused(&self, pusher: &Pusher, reason: &'static str, what: &str) {
        self.refused(pusher.cluster(), reason, what);
    }

    /// The verdict of an outcome, when it may be told.
    async fn when_safe(&self, cluster: &str, outcome: Outcome) -> Verdict {
        let (Some(journal), Some(position)) = (&self.journal, outcome.safe_after) else { return outcome.verdict };
        match journal.wait(position).await {
            Ok(()) => outcome.verdict,
            Err(fault @ (NotDurable::Disk(_) | NotDurable::Closed)) => {
                self.refused(cluster, "journal_failed", &fault.to_string());
                Verdict::Busy { retry_after: BUSY_WAIT }
            }
        }
    }

    /// Applies a body at this moment.
    pub fn apply(&self, pusher: &Pusher, body: &[u8], wall: Timestamp, monotonic: Instant) -> Outcome {
        let cluster = pusher.cluster();
        self.metrics.body_received(cluster, body.len());
        let arrival = Arrival {
            collector: pusher.membership.collector.clone(),
            certificate_expires: pusher.certificate_expires,
            clock_skew_ms: pusher.clock_skew_ms,
            wall,
            monotonic,
        };
        let mut progress = Progress::default();
        let outcome = self.apply_frames(cluster, body, &arrival, &mut progress);
        self.rates.take(cluster, pusher.membership.policy.limits.samples_per_second, progress.samples, monotonic);
        let verdict = match outcome {
            Ok(()) => Verdict::Acked { acked: progress.acked },
            Err(stop) => {
                self.refused(cluster, stop.reason, &format!("{:?}", stop.verdict));
                stop.verdict
            }
        };
        // What a refusal says of the stream counts earlier bodies in, too.
        let known = |journal: &FrameLog| journal.last_of(progress.stream?);
        let safe_after = progress.written.or_else(|| self.journal.as_ref().and_then(known));
        Outcome { verdict, safe_after }
    }

    fn apply_frames(&self, cluster: &str, body: &[u8], arrival: &Arrival, progress: &mut Progress) -> Result<(), Stop> {
        let mut rest = body;
        for frames in 0.. {
            if rest.is_empty() {
                break;
            }
            if frames >= self.limits.frames_max {
                let limit_bytes = (body.len() - rest.len()) as u64;
                return Err(Stop { reason: "too_many_frames", verdict: Verdict::TooLarge { limit_bytes } });
            }
            let (frame, behind) =
                Frame::parse(rest, self.store.frame_limits()).map_err(|fault| self.unreadable(&fault))?;
            same_stream(&mut progress.stream, &frame)?;
            let accepted = self.apply_frame(cluster, &frame, rest.len(), arrival, progress)?;
            self.count(cluster, &frame, &accepted);
            if accepted.is_outrun && !accepted.is_duplicate {
                self.outrun(cluster, &arrival.collector);
            }
            progress.samples += accepted.samples;
            progress.acked = accepted.acked;
            rest = behind;
        }
        Ok(())
    }

    /// Applies one frame and, while its cluster is locked, appends it to the journal. `bytes` are left of the body.
    fn apply_frame(
        &self,
        cluster: &str,
        frame: &Frame<'_>,
        bytes: usize,
        arrival: &Arrival,
        progress: &mut Progress,
    ) -> Result<Accepted, Stop> {
        let refused = |refusal| stop(frame.header().seq, refusal);
        let Some(journal) = self.journal.as_ref().filter(|_| is_kept(frame.header())) else {
            return self.store.apply(cluster, frame, arrival).map_err(refused);
        };
        let room = match &progress.room {
            Some(room) => room,
            None => progress.room.insert(journal.room(bytes).map_err(no_room)?),
        };
        let append = |taken: Taken<'_>| journal.append(room, frame, &taken, arrival);
        let (accepted, written) = self.store.apply_then(cluster, frame, arrival, append).map_err(refused)?;
        progress.written = written.map_err(too_large)?.or(progress.written);
        Ok(accepted)
    }

    fn count(&self, cluster: &str, frame: &Frame<'_>, accepted: &Accepted) {
        if accepted.has_evicted {
            self.metrics.stream_evicted(cluster);
        }
        if frame.header().kind.is_definition() {
            return;
        }
        if accepted.is_duplicate {
            return self.metrics.frame_duplicate(cluster);
        }
        self.metrics.frame_applied(cluster, accepted.samples);
        for (reason, samples) in accepted.dropped.iter() {
            self.metrics.samples_dropped(cluster, reason.as_str(), samples);
        }
    }

    /// Counts a frame of a run that a later one of its collector goes beside, and says it, at most once a minute.
    fn outrun(&self, cluster: &str, collector: &str) {
        self.metrics.frame_outrun(cluster);
        if let Some(repeated) = self.repeats.due(&format!("{cluster}/{collector}/outrun"), clock::monotonic()) {
            tracing::warn!(
                cluster,
                collector,
                repeated,
                "two runs of one collector push: give each its own certificate"
            );
        }
    }

    /// The verdict on bytes that are no frame.
    fn unreadable(&self, fault: &FrameError) -> Stop {
        let limits: &FrameLimits = self.store.frame_limits();
        match fault {
            FrameError::TooLong { .. } => Stop {
                reason: "frame_too_large",
                verdict: Verdict::TooLarge { limit_bytes: limits.frame_bytes_max as u64 },
            },
            FrameError::Version(_) => {
                Stop { reason: "version", verdict: Verdict::Unsupported { versions: versions() } }
            }
            fault => damaged("frame", 0, fault.to_string()),
        }
    }

    /// Counts a refusal and says it, at most once a minute for each cluster and reason.
    fn refused(&self, cluster: &str, reason: &'static str, what: &str) {
        self.metrics.push_refused(cluster, reason);
        if let Some(repeated) = self.repeats.due(&format!("{cluster}/{reason}"), clock::monotonic()) {
            tracing::warn!(cluster, reason, what, repeated, "push refused");
        }
    }
}

fn damaged(reason: &'static str, seq: u64, text: String) -> Stop {
    Stop { reason, verdict: Verdict::Damaged { seq, reason: text } }
}

fn no_room(fault: NoRoom) -> Stop {
    let reason = match fault {
        NoRoom::Buffer(_) => "journal_busy",
        NoRoom::Journal => "journal_full",
    };
    Stop { reason, verdict: Verdict::Busy { retry_after: BUSY_WAIT } }
}

/// The limits on frames lie below that of records, so this is a fault of ours; the frame is not acknowledged.
fn too_large(_: TooLarge) -> Stop {
    Stop { reason: "journal_record", verdict: Verdict::Busy { retry_after: BUSY_WAIT } }
}

/// A body holds frames of one stream: its verdict speaks of one sequence.
fn same_stream(stream: &mut Option<StreamId>, frame: &Frame<'_>) -> Result<(), Stop> {
    let header = frame.header();
    let first = *stream.get_or_insert(header.stream);
    if header.stream == first {
        return Ok(());
    }
    Err(damaged("second_stream", header.seq, format!("frame of stream {} after stream {first}", header.stream)))
}

/// The one map from what the store refuses to what the collector is told.
fn stop(seq: u64, refusal: Refusal) -> Stop {
    let text = refusal.to_string();
    match refusal {
        Refusal::UnknownCluster(_) => Stop { reason: "unknown_cluster", verdict: Verdict::Forbidden { reason: text } },
        Refusal::UnknownCollector { .. } => {
            Stop { reason: "unknown_collector", verdict: Verdict::Forbidden { reason: text } }
        }
        Refusal::ForeignStream { .. } => {
            Stop { reason: "foreign_stream", verdict: Verdict::Forbidden { reason: text } }
        }
        Refusal::TooManyStreams { .. } => {
            Stop { reason: "too_many_streams", verdict: Verdict::Busy { retry_after: STREAMS_WAIT } }
        }
        Refusal::State(fault) => stop_of_state(seq, fault, text),
    }
}

fn stop_of_state(seq: u64, fault: ApplyError, text: String) -> Stop {
    match fault {
        ApplyError::Gap { expected, .. } => Stop { reason: "gap", verdict: Verdict::Gap { expected } },
        ApplyError::NeedKey => {
            Stop { reason: "key_missing", verdict: Verdict::Missing { key: true, schemas: Vec::new() } }
        }
        ApplyError::UnknownSchemas(hashes) => {
            let schemas = hashes.iter().take(MISSING_SCHEMAS_MAX).map(ToString::to_string).collect();
            Stop { reason: "schema_missing", verdict: Verdict::Missing { key: false, schemas } }
        }
        ApplyError::Conflict { .. } => damaged("conflict", seq, text),
        _ => damaged("corrupt", seq, text),
    }
}
