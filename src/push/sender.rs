//! The collector's state machine: what to send next, and what each answer means for the queue.
//!
//! Without I/O: time comes in as an argument and requests go out as values. So the property tests can lose, repeat and
//! delay anything, and restart either end, in any order.
//!
//! ```text
//!            frames()                  step() = Send            answered()
//!   ticks ───────────► queue ─────────────────────► in flight ──────────────► acknowledged, rewound
//!                        ▲                              │ failed()            or a fresh KEY wanted
//!                        └────── step() = Wait ◄────────┘
//! ```
//!
//! One request is in flight at a time, so frames cannot overtake each other. Nothing is dropped because of an answer:
//! a frame leaves when it is acknowledged, when the queue's bound is passed, or when a fresh KEY replaces it, and the
//! last two are counted.
//!
//! What cannot go on escalates: the same answer again without progress asks for a fresh KEY, and that failing too for
//! a new stream. A new stream needs nothing of the gateway, so the two ends always meet again.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::protocol::{Verdict, parse_schema_name};
use super::queue::{Dropped, Queue};
use crate::net::Backoff;
use crate::snapshot::{EncodedFrame, FrameLimits, StreamId, encode_schema};

/// First pause after a failure; each further one doubles it.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Answers of one kind without progress before the next means is tried.
const ATTEMPTS_MAX: u32 = 3;
/// A body is never made smaller than this, whatever a gateway answers.
const BODY_BYTES_MIN: usize = 64 << 10;
/// Frames of one body; gateways refuse bodies with more than some thousands.
const FRAMES_PER_BODY_MAX: usize = 1024;

/// Bounds of a sender.
#[derive(Clone, Debug)]
pub struct SenderLimits {
    /// Bytes of frames that the queue keeps.
    pub queue_bytes_max: usize,
    /// Bytes of one request body.
    pub body_bytes_max: usize,
    /// Longest pause between two tries.
    pub backoff_max: Duration,
    /// Bounds of one frame.
    pub frame: FrameLimits,
}

/// What a request did not get an answer for, or got one that is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, no answer in time, an answer of somebody else: the same again, later.
    Unanswered,
    /// The TLS handshake failed: certificates are to be read again before the next try.
    Tls,
}

/// What the owner of the encoder has to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fresh {
    /// A KEY with GAP set, which replaces everything in the queue.
    Key,
    /// A new stream, because the gateway takes nothing of this one.
    Stream,
}

/// One request body: pieces that follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The pieces, shared with the queue.
    pub pieces: Vec<Bytes>,
    /// Their bytes together.
    pub bytes: usize,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this and report its answer.
    Send(Body),
    /// Ask again at this time.
    Wait(Instant),
    /// Make this and give its frames to [`Sender::replace`].
    Make(Fresh),
    /// Everything is acknowledged, or a request is in flight.
    Idle,
}

/// What an answer means beyond the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Something new was acknowledged.
    pub progress: bool,
    /// Certificates are to be read again: the gateway does not accept the present ones.
    pub reload_certificates: bool,
}

/// What is on its way.
#[derive(Debug)]
struct InFlight {
    frames: Range<u64>,
    definitions: usize,
    bytes: usize,
}

/// The state machine of one stream.
#[derive(Debug)]
pub struct Sender {
    stream: StreamId,
    limits: SenderLimits,
    queue: Queue,
    /// Number of the frame that goes next.
    next: u64,
    /// Definitions that the gateway asked for; they go before the next frame.
    definitions: VecDeque<Bytes>,
    in_flight: Option<InFlight>,
    body_bytes_max: usize,
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// Refusals that called for something else than patience, since the last progress.
    refusals: u32,
    /// The frame that was refused as damaged and is sent once more.
    damaged: Option<u64>,
    fresh: Option<Fresh>,
}

impl Sender {
    /// A sender without frames.
    pub fn new(stream: StreamId, limits: SenderLimits) -> Sender {
        Sender {
            stream,
            queue: Queue::new(limits.queue_bytes_max),
            body_bytes_max: limits.body_bytes_max.max(BODY_BYTES_MIN),
            backoff: Backoff::new(BACKOFF_MIN, limits.backoff_max),
            limits,
            next: 0,
            definitions: VecDeque::new(),
            in_flight: None,
            retry_at: None,
            refusals: 0,
            damaged: None,
            fresh: None,
        }
    }

    /// Queues the frames of a tick.
    pub fn frames(&mut self, frames: Vec<EncodedFrame>) -> Dropped {
        let pushed = self.queue.push(frames);
        if pushed.wants_key {
            self.want(Fresh::Key);
        }
        self.next = self.next.max(self.queue.first());
        pushed.dropped
    }

    /// Takes what [`Step::Make`] asked for in place of all that is queued. `stream` is the one the frames belong to.
    pub fn replace(&mut self, stream: StreamId, frames: Vec<EncodedFrame>) -> Dropped {
        let mut dropped = self.queue.clear();
        if stream != self.stream {
            // Definitions belong to their stream; those of this one are still awaited, by the KEY too.
            self.definitions.clear();
            self.stream = stream;
        }
        self.fresh = None;
        self.damaged = None;
        self.next = self.queue.end();
        let more = self.frames(frames);
        dropped.frames += more.frames;
        dropped.samples += more.samples;
        dropped
    }

    /// Takes other bounds, from the next body on.
    pub fn set_limits(&mut self, limits: SenderLimits) {
        self.queue.set_bytes_max(limits.queue_bytes_max);
        self.backoff = Backoff::new(BACKOFF_MIN, limits.backoff_max);
        self.body_bytes_max = limits.body_bytes_max.max(BODY_BYTES_MIN);
        self.limits = limits;
    }

    /// What is to be done at `now`.
    pub fn step(&mut self, now: Instant) -> Step {
        if self.in_flight.is_some() {
            return Step::Idle;
        }
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Step::Wait(at);
        }
        if let Some(fresh) = self.fresh {
            return Step::Make(fresh);
        }
        let body = self.next_body();
        if body.pieces.is_empty() { Step::Idle } else { Step::Send(body) }
    }

    /// Definitions that were asked for come first; frames join them only when all of them fit.
    fn next_body(&mut self) -> Body {
        let mut body = Body::default();
        for definition in self.definitions.iter().take(FRAMES_PER_BODY_MAX) {
            if !body.pieces.is_empty() && body.bytes + definition.len() > self.body_bytes_max {
                break;
            }
            body.bytes += definition.len();
            body.pieces.push(definition.clone());
        }
        let definitions = body.pieces.len();
        let mut frames = self.next..self.next;
        let room = self.body_bytes_max.saturating_sub(body.bytes);
        if definitions == self.definitions.len() {
            let fitting = self.queue.batch(self.next, room, FRAMES_PER_BODY_MAX - definitions);
            let bytes: usize = self.queue.bytes_of(fitting.clone()).map(Bytes::len).sum();
            // A batch holds at least one frame, which may be more than what is left beside definitions.
            if definitions == 0 || bytes <= room {
                body.pieces.extend(self.queue.bytes_of(fitting.clone()).cloned());
                body.bytes += bytes;
                frames = fitting;
            }
        }
        if !body.pieces.is_empty() {
            self.in_flight = Some(InFlight { frames, definitions, bytes: body.bytes });
        }
        body
    }

    /// Takes the gateway's verdict on the body in flight.
    pub fn answered(&mut self, now: Instant, verdict: Verdict) -> Outcome {
        let Some(sent) = self.in_flight.take() else { return Outcome::default() };
        self.retry_at = None;
        let mut outcome = Outcome::default();
        match verdict {
            Verdict::Acked { acked } => outcome.progress = self.acked(&sent, acked),
            Verdict::Gap { expected } => self.gap(now, expected),
            Verdict::Missing { key, schemas } => self.missing(now, key, &schemas),
            Verdict::Damaged { seq, .. } => self.damaged(now, seq),
            Verdict::TooLarge { limit_bytes } => self.too_large(now, &sent, limit_bytes),
            Verdict::Unsupported { .. } => self.pause(now),
            Verdict::Unauthenticated { .. } | Verdict::Forbidden { .. } => {
                outcome.reload_certificates = true;
                self.pause(now);
            }
            Verdict::SlowDown { retry_after } | Verdict::Busy { retry_after } => self.pause_for(now, retry_after),
        }
        outcome
    }

    /// Takes that the body in flight got no verdict: it may or may not have been applied.
    pub fn failed(&mut self, now: Instant, failure: Failure) -> Outcome {
        self.in_flight = None;
        self.pause(now);
        Outcome { progress: false, reload_certificates: failure == Failure::Tls }
    }

    fn acked(&mut self, sent: &InFlight, acked: u64) -> bool {
        self.definitions.drain(..sent.definitions.min(self.definitions.len()));
        let through = match self.queue.number_after(acked) {
            Some(number) if self.queue.has_state(number..sent.frames.end) => number,
            _ => sent.frames.end,
        };
        let before = self.queue.unacknowledged();
        self.queue.acknowledge_before(through);
        self.next = through.max(self.queue.first());
        self.backoff.reset();
        self.refusals = 0;
        self.damaged = None;
        self.queue.unacknowledged() > before || sent.definitions > 0
    }

    fn gap(&mut self, now: Instant, expected: u64) {
        self.refused(now);
        match self.queue.number_of(expected) {
            Some(number) => {
                self.queue.acknowledge_before(number);
                self.next = number.max(self.queue.first());
            }
            None => self.want(Fresh::Key),
        }
    }

    fn missing(&mut self, now: Instant, key: bool, schemas: &[String]) {
        self.refused(now);
        self.definitions.clear();
        let mut wanted = Vec::new();
        for name in schemas {
            let schema = parse_schema_name(name).and_then(|hash| self.queue.schema(hash));
            let Some(schema) = schema else { return self.want(Fresh::Key) };
            wanted.push(schema);
        }
        if key {
            let Some(rewind) = self.queue.rewind() else { return self.want(Fresh::Key) };
            self.next = rewind;
            // Who lacks the KEY lacks what it refers to: sent unasked, they save a round trip.
            wanted.extend(self.queue.schemas_of_key(rewind));
        }
        for schema in wanted {
            let frames = encode_schema(self.stream, &schema, &self.limits.frame);
            self.definitions.extend(frames.into_iter().map(|frame| frame.bytes));
        }
    }

    fn damaged(&mut self, now: Instant, seq: u64) {
        self.refused(now);
        if self.damaged.replace(seq) == Some(seq) {
            self.want(Fresh::Key);
        }
    }

    fn too_large(&mut self, now: Instant, sent: &InFlight, limit_bytes: u64) {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        let smaller = limit.min(sent.bytes / 2).max(BODY_BYTES_MIN);
        if smaller >= self.body_bytes_max {
            // One frame alone is too large: only time and an operator can help.
            return self.pause(now);
        }
        self.body_bytes_max = smaller;
    }

    /// Notes a refusal that another means than patience may lift, and which means it is by now.
    fn refused(&mut self, now: Instant) {
        self.refusals += 1;
        if self.refusals > ATTEMPTS_MAX {
            self.pause(now);
            self.want(if self.refusals > 2 * ATTEMPTS_MAX { Fresh::Stream } else { Fresh::Key });
        }
    }

    fn want(&mut self, fresh: Fresh) {
        self.fresh = self.fresh.max(Some(fresh));
    }

    fn pause(&mut self, now: Instant) {
        self.retry_at = Some(now + self.backoff.pause());
    }

    /// The gateway's own wish wins over the backoff; a wish of nothing is none.
    fn pause_for(&mut self, now: Instant, wish: Duration) {
        if wish.is_zero() {
            return self.pause(now);
        }
        self.retry_at = Some(now + wish);
    }

    /// Ends a pause, because the process ends: there is no later.
    pub fn hurry(&mut self) {
        self.retry_at = None;
    }

    /// Whether nothing waits to be acknowledged.
    pub fn is_drained(&self) -> bool {
        self.queue.unacknowledged() == self.queue.end() && self.definitions.is_empty() && self.fresh.is_none()
    }

    /// The queue, to be looked at.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }
}
