//! The state machine of one push URL: what to send next, and what each answer means for the log.
//!
//! Without I/O: time comes in as an argument, requests go out as values, and what is to be read from disk is asked for. So the
//! property tests can lose, repeat and delay anything, and restart either end, in any order.
//!
//! ```text
//!   log ── push(), loaded() ──► window ── step() = Send ──► in flight ── answered() ──► acknowledged, rewound
//!                                 ▲                           │ failed()               or a KEY further on wanted
//!                                 └─────── step() = Wait ◄────┘
//! ```
//!
//! Invariant: `rewind` is the last KEY that begins at or before the first entry that is not acknowledged, and everything from there on
//! can be had again, from the window or the spool. So whatever the gateway lost, the log can bring it back with the same bytes.
//! One request is in flight at a time, so frames cannot overtake each other. Nothing is dropped because of an answer but what
//! stands in front of the next KEY, and that is counted: what lies between two entries is the difference of their totals.
//!
//! What cannot go on escalates: the same kind of answer again without progress skips to the next KEY, and that failing too to the next
//! stream. Where the log has no such thing yet it is asked for. A new stream needs nothing of the gateway, so the two ends always meet
//! again.

use std::time::{Duration, Instant};

use super::entry::{Entry, Place, Role, Totals};
use super::protocol::Verdict;
pub use super::step::{Body, DropReason, Failure, Fresh, Mark, Outcome, SenderLimits, Step};
use super::window::Window;
use crate::model::Timestamp;
use crate::net::Backoff;
use crate::snapshot::StreamId;

/// First pause after a failure; each further one doubles it.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// When a disk that gave nothing is asked again.
const LOAD_PAUSE: Duration = Duration::from_secs(1);
/// Answers of one kind without progress before the next means is tried.
const ATTEMPTS_MAX: u32 = 3;
/// A body is never made smaller than this, whatever a gateway answers.
const BODY_BYTES_MIN: usize = 64 << 10;
/// Frames of one body; gateways refuse bodies with more than some thousands.
const FRAMES_PER_BODY_MAX: usize = 1024;

/// What is on its way.
#[derive(Debug)]
struct InFlight {
    stream: StreamId,
    from: Place,
    to: Place,
    bytes: usize,
}

/// What is looked for further on.
#[derive(Clone, Copy, Debug)]
struct Skip {
    wanted: Fresh,
    /// Where a KEY begins behind this.
    after: Place,
    /// Or a stream other than this one.
    stream: Option<StreamId>,
    reason: DropReason,
    /// It was asked for and is to come.
    is_asked: bool,
}

/// See the module's page.
#[derive(Debug)]
pub struct Sender {
    limits: SenderLimits,
    window: Window,
    mark: Mark,
    /// Number of the KEY at `mark.rewind`.
    rewind_seq: u64,
    /// Where the entry stands that goes next.
    next: Place,
    /// The gateway lost its state: preludes are sent until a state frame is.
    is_rewound: bool,
    in_flight: Option<InFlight>,
    body_bytes_max: usize,
    retry_at: Option<Instant>,
    /// When the backlog may take the line again.
    paced_until: Option<Instant>,
    load_at: Option<Instant>,
    backoff: Backoff,
    /// Refusals that called for something else than patience, since the last progress.
    refusals: u32,
    /// The frame that was refused as damaged and is sent once more.
    damaged: Option<u64>,
    skip: Option<Skip>,
    dropped: Vec<(DropReason, Totals)>,
}

impl Sender {
    /// Goes on from `mark` in a log that ends at `end` with so much in it.
    pub fn new(mark: Mark, end: Place, totals: Totals, limits: SenderLimits) -> Sender {
        let from = mark.unacknowledged.min(end);
        Sender {
            window: Window::new(from, end, totals),
            next: from,
            mark: Mark { unacknowledged: from, ..mark },
            rewind_seq: 0,
            is_rewound: false,
            body_bytes_max: limits.body_bytes_max.max(BODY_BYTES_MIN),
            backoff: Backoff::new(BACKOFF_MIN, limits.backoff_max),
            limits,
            in_flight: None,
            retry_at: None,
            paced_until: None,
            load_at: None,
            refusals: 0,
            damaged: None,
            skip: None,
            dropped: Vec::new(),
        }
    }

    /// Takes what was appended to the log.
    pub fn push(&mut self, entries: &[Entry]) {
        let bound = if self.limits.has_spool { self.limits.queue_bytes_max } else { usize::MAX };
        let begin = self.window.end();
        let bytes: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
        if self.limits.has_spool && self.window.bytes() + bytes > bound {
            self.window.forget_before(self.mark.unacknowledged.min(self.next));
        }
        entries.iter().for_each(|entry| self.window.push(entry.clone(), bound));
        if let Some(skip) = &mut self.skip {
            skip.is_asked = false;
        }
        if !self.limits.has_spool {
            self.keep_bound(begin);
        }
    }

    /// Memory alone: over the bound everything before the next KEY goes. A KEY that alone is larger is kept all the same; without it
    /// the cluster would be silent for good.
    fn keep_bound(&mut self, begin: Place) {
        while self.window.bytes() > self.limits.queue_bytes_max {
            let (first, end, totals) = (self.window.first(), self.window.end(), self.window.totals());
            match self.window.next_key_after(first) {
                Some((_, key)) => self.jump(key, DropReason::Queue),
                None if first >= begin => break,
                None => self.lost_before(end, totals, DropReason::Queue),
            }
        }
    }

    /// Takes other bounds, from the next body on.
    pub fn set_limits(&mut self, limits: SenderLimits) {
        self.backoff = Backoff::new(BACKOFF_MIN, limits.backoff_max);
        self.body_bytes_max = limits.body_bytes_max.max(BODY_BYTES_MIN);
        self.limits = limits;
    }

    /// From where the log is to be read now, if it is; answer with [`Sender::loaded`].
    pub fn wants_read(&self, now: Instant) -> Option<Place> {
        let is_short = self.window.bytes_from(self.next) < self.body_bytes_max;
        let is_behind = self.window.read_to() < self.window.end() || self.window.read_to() < self.next;
        let is_due = self.load_at.is_none_or(|at| at <= now);
        (self.limits.has_spool && is_short && is_behind && is_due).then_some(self.window.read_to())
    }

    /// How many bytes to read at once.
    pub fn read_bytes(&self) -> usize {
        2 * self.body_bytes_max
    }

    /// What the log holds behind `from`, up to `read_to`.
    pub fn loaded(&mut self, now: Instant, from: Place, mut entries: Vec<Entry>, read_to: Place) {
        self.load_at = (read_to <= from).then_some(now + LOAD_PAUSE);
        let gaps = &self.mark.gaps;
        entries.iter_mut().filter(|entry| gaps.contains(&entry.at)).for_each(Entry::mark_gap);
        self.window.load(from, entries, read_to);
        if self.window.read_to() == self.window.end() {
            self.load_at = None;
        }
    }

    /// The log lost what stands before `place`; before it stood `totals`.
    pub fn lost_before(&mut self, place: Place, totals: Totals, reason: DropReason) {
        if self.mark.rewind.is_some_and(|rewind| rewind < place) {
            self.mark.rewind = None;
        }
        self.window.forget_before(place);
        self.next = self.next.max(place);
        if self.mark.unacknowledged < place {
            self.drop_until(place, totals, reason);
            // What follows builds on what is gone, up to the next KEY.
            self.skip_to(Fresh::Key, place.before(), None, reason);
        }
    }

    /// What is to be done at `now`.
    pub fn step(&mut self, now: Instant) -> Step {
        if self.in_flight.is_some() {
            return Step::Idle;
        }
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Step::Wait(at);
        }
        if self.skip.is_some() && !self.find_skipped() {
            return self.ask();
        }
        if let Some(at) = self.paced_until.filter(|at| *at > now) {
            return Step::Wait(at);
        }
        let body = self.next_body();
        match (body.pieces.is_empty(), self.load_at) {
            (false, _) => Step::Send(body),
            (true, Some(at)) if at > now && self.window.read_to() < self.window.end() => Step::Wait(at),
            (true, _) => Step::Idle,
        }
    }

    /// What is skipped to, if it has come by now.
    fn find_skipped(&mut self) -> bool {
        let Some(skip) = self.skip else { return true };
        let found = match (skip.wanted, skip.stream) {
            (Fresh::Stream, Some(stream)) => self.window.next_stream_after(skip.after, stream),
            _ => self.window.next_key_after(skip.after).map(|(_, begin)| begin),
        };
        if let Some(begin) = found {
            self.jump(begin, skip.reason);
        } else if self.limits.has_spool && self.window.read_to() < self.window.end() {
            // Read and thrown away until there is one.
            let read_to = self.window.read_to();
            self.window.begin_at(read_to);
            self.next = read_to;
        }
        found.is_some()
    }

    fn ask(&mut self) -> Step {
        let is_at_end = self.window.read_to() == self.window.end();
        match &mut self.skip {
            Some(skip) if is_at_end && !skip.is_asked => {
                skip.is_asked = true;
                Step::Make(skip.wanted)
            }
            _ => Step::Idle,
        }
    }

    fn skip_to(&mut self, wanted: Fresh, after: Place, stream: Option<StreamId>, reason: DropReason) {
        let before = self.skip.take();
        let wanted = before.map_or(wanted, |skip| skip.wanted.max(wanted));
        let after = before.map_or(after, |skip| skip.after.max(after));
        let stream = stream.or_else(|| before.and_then(|skip| skip.stream));
        self.skip = Some(Skip { wanted, after, stream, reason, is_asked: false });
        self.damaged = None;
    }

    /// Goes on at a KEY that begins at `place`, in the window, and says in it what came of those before.
    fn jump(&mut self, place: Place, reason: DropReason) {
        let index = self.window.index(place);
        let totals = self.window.get(index).map_or(self.window.totals(), |entry| entry.before);
        let is_gap = self.drop_until(place, totals, reason) || self.skip.is_some();
        let key = (index..self.window.len()).find(|at| self.window.get(*at).is_some_and(Entry::is_state));
        if let Some(key) = key.and_then(|key| self.window.get_mut(key)).filter(|key| key.begins_key && is_gap) {
            key.mark_gap();
            self.mark.gaps.push(key.at);
        }
        (self.next, self.skip, self.is_rewound) = (place, None, false);
        self.settle();
        self.window.forget_before(place);
    }

    /// Everything before `place` counts as done; says whether some of it was not.
    fn drop_until(&mut self, place: Place, totals: Totals, reason: DropReason) -> bool {
        let lost = totals.since(self.mark.totals);
        if place > self.mark.unacknowledged {
            (self.mark.unacknowledged, self.mark.totals) = (place, totals);
        }
        if lost.frames > 0 {
            self.dropped.push((reason, lost));
        }
        lost.frames > 0
    }

    /// What was dropped since the last call.
    pub fn take_dropped(&mut self) -> Vec<(DropReason, Totals)> {
        std::mem::take(&mut self.dropped)
    }

    /// As many frames of one stream as a body takes; at least one where there is any, even if it is larger.
    fn next_body(&mut self) -> Body {
        let first = self.window.index(self.next);
        let (mut body, mut stream, mut to) = (Body::default(), None, self.next);
        let mut with_prelude = self.is_rewound;
        for entry in self.window.range(first..self.window.len()) {
            let is_prelude = entry.role == Role::Prelude;
            if *stream.get_or_insert(entry.stream) != entry.stream || body.pieces.len() == FRAMES_PER_BODY_MAX {
                break;
            }
            if !is_prelude || with_prelude {
                if !body.pieces.is_empty() && body.bytes + entry.bytes.len() > self.body_bytes_max {
                    break;
                }
                body.bytes += entry.bytes.len();
                body.pieces.push(entry.bytes.clone());
            }
            with_prelude &= is_prelude;
            to = entry.next;
        }
        match stream.filter(|_| !body.pieces.is_empty()) {
            Some(stream) => self.in_flight = Some(InFlight { stream, from: self.next, to, bytes: body.bytes }),
            // Nothing but a prelude, which this gateway does not need.
            None => self.next = to,
        }
        body
    }

    /// Takes the gateway's verdict on the body in flight.
    pub fn answered(&mut self, now: Instant, verdict: Verdict) -> Outcome {
        let Some(sent) = self.in_flight.take() else { return Outcome::default() };
        self.retry_at = None;
        let mut outcome = Outcome::default();
        match verdict {
            Verdict::Acked { acked } => outcome.progress = self.acked(now, &sent, acked),
            Verdict::Gap { expected } => self.gap(now, &sent, expected),
            Verdict::Missing { .. } => self.missing(now, &sent),
            Verdict::Damaged { seq, .. } => self.damaged(now, &sent, seq),
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

    fn acked(&mut self, now: Instant, sent: &InFlight, acked: u64) -> bool {
        let range = self.window.index(sent.from)..self.window.index(sent.to);
        let last = range
            .clone()
            .rev()
            .find(|index| self.window.get(*index).is_some_and(|entry| entry.is_state() && entry.seq <= acked));
        let has_state = self.window.range(range.clone()).any(|entry| entry.is_state() && entry.seq > acked);
        let through = match last.and_then(|index| self.window.get(index)) {
            Some(entry) if has_state => entry.next,
            None if has_state => sent.from,
            _ => sent.to,
        };
        self.is_rewound &= !self.window.range(range).any(Entry::is_state);
        let before = self.mark.unacknowledged;
        self.acknowledge_before(through);
        self.next = through.max(self.window.first());
        self.backoff.reset();
        (self.refusals, self.damaged) = (0, None);
        self.pace(now, sent.bytes);
        self.mark.unacknowledged > before
    }

    /// What of it was never sent was lost on the way through the disk.
    fn acknowledge_before(&mut self, through: Place) {
        if through > self.mark.unacknowledged {
            let (from, to) = (self.window.index(self.mark.unacknowledged), self.window.index(through));
            let delivered = self.window.range(from..to).fold(Totals::default(), |all, entry| all.plus(entry.own()));
            let last = to.checked_sub(1).and_then(|index| self.window.get(index));
            let totals = last.filter(|_| to > from).map_or(self.mark.totals, Entry::after);
            let lost = totals.since(self.mark.totals.plus(delivered));
            if lost.frames > 0 {
                self.dropped.push((DropReason::Unreadable, lost));
            }
            (self.mark.unacknowledged, self.mark.totals) = (through, totals);
        }
        self.settle();
        let kept = self.mark.rewind.unwrap_or(self.mark.unacknowledged).min(self.next);
        self.window.forget_before(kept);
        if self.limits.has_spool && self.window.bytes() > self.limits.queue_bytes_max {
            self.window.forget_before(self.mark.unacknowledged.min(self.next));
        }
    }

    /// Notes the KEY that a gateway without state needs, before it leaves the window.
    fn settle(&mut self) {
        if let Some((index, begin)) = self.window.last_key_until(self.mark.unacknowledged) {
            self.mark.rewind = Some(begin);
            self.rewind_seq = self.window.get(index).map_or(0, |key| key.seq);
            self.mark.gaps.retain(|at| *at >= begin);
        }
    }

    fn gap(&mut self, now: Instant, sent: &InFlight, expected: u64) {
        self.refused(now, sent);
        if let Some(index) = self.window.find(sent.stream, expected) {
            let index = self.window.with_definitions(index);
            self.next = self.window.get(index).map_or(self.next, |entry| entry.at);
        } else if self.can_rewind_to(sent, expected) {
            self.rewind();
        } else {
            self.skip_to(Fresh::Key, sent.from, None, DropReason::Refused);
        }
    }

    /// Whether the number lies between the KEY and what was sent.
    fn can_rewind_to(&self, sent: &InFlight, expected: u64) -> bool {
        let sent_first = self.window.range(self.window.index(sent.from)..self.window.index(sent.to));
        let sent_first = sent_first.filter(|entry| entry.is_state()).map(|entry| entry.seq).next();
        self.mark.rewind.is_some_and(|rewind| rewind < sent.from)
            && expected >= self.rewind_seq
            && sent_first.is_some_and(|first| expected < first)
    }

    fn missing(&mut self, now: Instant, sent: &InFlight) {
        self.refused(now, sent);
        self.settle();
        match self.mark.rewind {
            Some(_) => self.rewind(),
            None => self.skip_to(Fresh::Key, sent.from, None, DropReason::Refused),
        }
    }

    /// From the last KEY on again, with all that it refers to.
    fn rewind(&mut self) {
        let Some(rewind) = self.mark.rewind else { return };
        (self.next, self.is_rewound) = (rewind, true);
        if rewind < self.window.first() {
            self.window.begin_at(rewind);
        }
    }

    fn damaged(&mut self, now: Instant, sent: &InFlight, seq: u64) {
        self.refused(now, sent);
        if self.damaged.replace(seq) == Some(seq) {
            let at = self.window.find(sent.stream, seq).and_then(|index| self.window.get(index)).map(|entry| entry.at);
            let after = at.unwrap_or(sent.from).max(self.mark.unacknowledged);
            self.skip_to(Fresh::Key, after, None, DropReason::Refused);
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
    fn refused(&mut self, now: Instant, sent: &InFlight) {
        self.refusals += 1;
        if self.refusals > ATTEMPTS_MAX {
            self.pause(now);
            let wanted = if self.refusals > 2 * ATTEMPTS_MAX { Fresh::Stream } else { Fresh::Key };
            let after = self.window.place_of(self.next.max(self.mark.unacknowledged));
            self.skip_to(wanted, after, Some(sent.stream), DropReason::Refused);
        }
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

    /// A backlog leaves the line to others for as long as its bytes take at the rate that it may have.
    fn pace(&mut self, now: Instant, bytes: usize) {
        let is_backlog = self.window.read_to() < self.window.end() || self.window.bytes_from(self.next) > 0;
        let rate = self.limits.backlog_bytes_per_second.filter(|_| is_backlog);
        self.paced_until = rate.map(|rate| now + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64));
    }

    /// Ends a pause, because the process ends: there is no later.
    pub fn hurry(&mut self) {
        (self.retry_at, self.paced_until) = (None, None);
    }

    /// Whether nothing waits to be acknowledged.
    pub fn is_drained(&self) -> bool {
        self.mark.unacknowledged >= self.window.end() && self.skip.is_none()
    }

    /// How far everything is done.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// State frames and samples that wait to be acknowledged.
    pub fn waiting(&self) -> Totals {
        self.window.totals().since(self.mark.totals)
    }

    /// The tick of the oldest frame that waits, once it was read.
    pub fn oldest_tick(&self) -> Option<Timestamp> {
        let from = self.window.index(self.mark.unacknowledged);
        self.window.range(from..self.window.len()).find(|entry| entry.is_state()).map(|entry| entry.tick)
    }

    /// The part of the log that is in memory, to be looked at.
    pub fn window(&self) -> &Window {
        &self.window
    }
}
