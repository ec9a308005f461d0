//! The way to one gateway: its state machine, its connection, and what is under way on either lane.
//!
//! Invariant: at most one request is in flight on each lane, one read of the spool and one saving of the cursor; each ends as one
//! [`Event`]. Nothing here waits for anything, so a gateway that is away delays no other.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use url::Url;

use super::entry::{Entry, Place, Totals};
use super::lane::Lane;
use super::protocol::Verdict;
use super::sender::{DropReason, Fresh, Mark, Sender, SenderLimits, Step};
use super::spool::{Spool, SpoolError, read};
use super::status::StatusBoard;
use super::transport::{SendError, Transport};
use crate::config::PushClientConfig;
use crate::journal::{CursorError, ReadError};
use crate::model::Timestamp;
use crate::runtime::{CpuPool, PoolError, clock};
use crate::snapshot::FrameLimits;
use crate::snapshot::negotiate::VERSION;
use crate::telemetry::{CollectorMetrics, Repeats};

/// A cursor is saved at most this often: an old one costs frames that are sent again.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// One line of a kind in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// A backlog that reaches so many ticks back lets the newest state overtake.
const TICKS_BEHIND: u32 = 2;

type Sending = Pin<Box<dyn Future<Output = Result<Verdict, SendError>> + Send>>;
type Loading = Pin<Box<dyn Future<Output = Result<Loaded, PoolError>> + Send>>;
type Saving = Pin<Box<dyn Future<Output = Result<Result<bool, CursorError>, PoolError>> + Send>>;
type Loaded = Result<(Vec<Entry>, Place), ReadError>;

/// A request under way.
struct Request {
    answer: Sending,
    bytes: usize,
    since: Instant,
}

/// What came of something that was under way.
pub(super) enum Event {
    /// On the ordered lane.
    Answer(Result<Verdict, SendError>),
    /// On the fast lane.
    LaneAnswer(Result<Verdict, SendError>),
    /// The spool, from here on.
    Loaded(Place, Result<Loaded, PoolError>),
    /// Of the cursor.
    Saved(Result<Result<bool, CursorError>, PoolError>),
}

/// What all deliveries share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) metrics: CollectorMetrics,
    pub(super) status: StatusBoard,
    pub(super) pool: CpuPool,
}

/// See the module's page.
pub(super) struct Delivery {
    config: PushClientConfig,
    /// The gateway's address, for people.
    pub(super) label: Arc<str>,
    /// Of its cursor.
    name: String,
    transport: Transport,
    sender: Sender,
    lane: Lane,
    request: Option<Request>,
    lane_request: Option<Request>,
    loading: Option<(Place, Loading)>,
    saving: Option<(Mark, Saving)>,
    /// What is on disk of the cursor.
    pub(super) saved: Mark,
    saved_at: Option<Instant>,
    /// The last request got a verdict.
    is_reachable: bool,
    /// Something went wrong since the process began to end.
    has_given_up: bool,
    shared: Shared,
    repeats: Repeats,
}

impl Delivery {
    /// Goes on where the spool says; nothing is sent yet.
    pub(super) fn new(
        config: PushClientConfig,
        transport: Transport,
        spool: &Spool,
        shared: Shared,
    ) -> Result<Delivery, SpoolError> {
        let (name, label) = (cursor_name(&config.url), label(&config.url));
        let (mark, (end, totals)) = (spool.mark(&name)?, spool.end());
        let limits = limits(&config, spool.log().is_some());
        let mut sender = Sender::new(mark.clone(), end, totals, limits);
        if let Some(first) = spool.log().map(|log| log.first()) {
            sender.lost_before(Place::behind(first), spool.totals_at(first)?, DropReason::Unreadable);
        }
        let delivery = Delivery {
            lane: Lane::new(body_bytes_max(&config)),
            sender,
            label,
            name,
            transport,
            config,
            request: None,
            lane_request: None,
            loading: None,
            saving: None,
            saved: mark,
            saved_at: None,
            is_reachable: false,
            has_given_up: false,
            shared,
            repeats: Repeats::every(LOG_INTERVAL),
        };
        delivery.show(None);
        Ok(delivery)
    }

    /// Takes another section for the same gateway.
    pub(super) fn reconfigure(&mut self, config: PushClientConfig, transport: Transport, has_spool: bool) {
        self.sender.set_limits(limits(&config, has_spool));
        (self.transport, self.config) = (transport, config);
    }

    /// Whether this section is for the same gateway.
    pub(super) fn is_to(&self, config: &PushClientConfig) -> bool {
        *self.config.url == *config.url
    }

    /// What was appended to the log, and may be sent.
    pub(super) fn push(&mut self, entries: &[Entry]) {
        self.sender.push(entries);
        self.count_dropped();
    }

    /// The log lost what stands before this place.
    pub(super) fn lost_before(&mut self, place: Place, totals: Totals, reason: DropReason) {
        self.sender.lost_before(place, totals, reason);
        self.count_dropped();
    }

    /// Begins what is due. Says what the log has to get, and when to ask again.
    pub(super) fn advance(&mut self, spool: &Spool) -> (Option<Fresh>, Option<Instant>) {
        let now = clock::monotonic();
        self.read_spool(spool, now);
        self.save_cursor(spool, now);
        if let Some(body) = self.lane.next_body().filter(|_| self.lane_request.is_none()) {
            let (bytes, answer) = (body.bytes, Box::pin(self.transport.push(body, VERSION)));
            self.lane_request = Some(Request { answer, bytes, since: now });
        }
        match self.sender.step(now) {
            Step::Send(body) => {
                let (bytes, answer) = (body.bytes, Box::pin(self.transport.push(body, VERSION)));
                self.request = Some(Request { answer, bytes, since: now });
                (None, None)
            }
            Step::Make(fresh) => (Some(fresh), None),
            Step::Wait(at) => (None, Some(at)),
            Step::Idle => {
                // What was skipped was thrown away, and more of it can be read.
                self.read_spool(spool, now);
                (None, None)
            }
        }
    }

    fn read_spool(&mut self, spool: &Spool, now: Instant) {
        let Some(log) = spool.log().filter(|_| self.loading.is_none()) else { return };
        if let Some(from) = self.sender.wants_read(now) {
            let (log, bytes, pool) = (log.clone(), self.sender.read_bytes(), self.shared.pool.clone());
            let key = self.label.clone();
            let loading = async move { pool.run(&key, move || read(&log, from, bytes)).await };
            self.loading = Some((from, Box::pin(loading)));
        }
    }

    fn save_cursor(&mut self, spool: &Spool, now: Instant) {
        let is_due = self.saved_at.is_none_or(|at| now >= at + SAVE_INTERVAL);
        if self.saving.is_some() || !is_due || self.saved == *self.sender.mark() {
            return;
        }
        let (Some(log), Some(cursors)) = (spool.log().cloned(), spool.cursors().cloned()) else { return };
        let (mark, pool, key, name) =
            (self.sender.mark().clone(), self.shared.pool.clone(), self.label.clone(), self.name.clone());
        let saved = mark.clone();
        let saving = async move { pool.run(&key, move || Spool::save(&log, &cursors, &name, &saved)).await };
        self.saving = Some((mark, Box::pin(saving)));
        self.saved_at = Some(now);
    }

    /// Saves the cursor at the end of the process, when nothing else is to be done.
    pub(super) fn save_last(&mut self, spool: &Spool) {
        let (Some(log), Some(cursors)) = (spool.log(), spool.cursors()) else { return };
        if self.saved != *self.sender.mark()
            && let Err(error) = Spool::save(log, cursors, &self.name, self.sender.mark())
        {
            tracing::warn!(%error, "the spool's cursor could not be saved, some frames will be sent again");
        }
    }

    /// Resolves with the next thing that ends.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Some(request) = &mut self.request
            && let Poll::Ready(answer) = request.answer.as_mut().poll(context)
        {
            return Poll::Ready(Event::Answer(answer));
        }
        if let Some(request) = &mut self.lane_request
            && let Poll::Ready(answer) = request.answer.as_mut().poll(context)
        {
            return Poll::Ready(Event::LaneAnswer(answer));
        }
        if let Some((from, loading)) = &mut self.loading
            && let Poll::Ready(loaded) = loading.as_mut().poll(context)
        {
            return Poll::Ready(Event::Loaded(*from, loaded));
        }
        if let Some((_, saving)) = &mut self.saving
            && let Poll::Ready(saved) = saving.as_mut().poll(context)
        {
            return Poll::Ready(Event::Saved(saved));
        }
        Poll::Pending
    }

    /// Takes what [`Delivery::poll`] gave.
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Answer(answer) => self.take_answer(answer),
            Event::LaneAnswer(answer) => self.take_lane_answer(answer),
            Event::Loaded(from, loaded) => self.take_loaded(from, loaded),
            Event::Saved(saved) => self.take_saved(saved),
        }
        self.count_dropped();
    }

    fn take_answer(&mut self, answer: Result<Verdict, SendError>) {
        let Some(request) = self.request.take() else { return };
        let now = clock::monotonic();
        self.count(&request, &answer, now);
        self.is_reachable = answer.is_ok();
        let is_acked = matches!(answer, Ok(Verdict::Acked { .. }));
        self.has_given_up |= !is_acked;
        let outcome = match answer {
            Ok(verdict) => {
                self.say(&verdict, now);
                self.sender.answered(now, verdict)
            }
            Err(error) => {
                self.complain(error.as_str(), &error.to_string(), now);
                self.sender.failed(now, error.failure())
            }
        };
        if outcome.progress {
            self.note_progress();
        }
        if outcome.reload_certificates {
            self.refresh_certificates();
        }
    }

    fn note_progress(&self) {
        let now = clock::now();
        self.shared.metrics.acknowledged(now);
        if let Some(fault) = self.shared.status.acknowledged(&self.label, now) {
            tracing::info!(gateway = %self.label, fault, "the gateway acknowledges again");
        }
    }

    fn take_lane_answer(&mut self, answer: Result<Verdict, SendError>) {
        let Some(request) = self.lane_request.take() else { return };
        self.count(&request, &answer, clock::monotonic());
        match answer {
            Ok(verdict) => self.lane.answered(&verdict),
            Err(error) => {
                tracing::debug!(gateway = %self.label, %error, "the newest state was not taken");
                self.lane.failed();
            }
        }
    }

    fn count(&self, request: &Request, answer: &Result<Verdict, SendError>, now: Instant) {
        let took = now.saturating_duration_since(request.since);
        match answer {
            Ok(verdict) => self.shared.metrics.push_finished(&verdict.status().to_string(), request.bytes, took),
            Err(error) => self.shared.metrics.push_finished(error.as_str(), request.bytes, took),
        }
    }

    fn take_loaded(&mut self, from: Place, loaded: Result<Loaded, PoolError>) {
        self.loading = None;
        let now = clock::monotonic();
        match loaded {
            Ok(Ok((entries, read_to))) => return self.sender.loaded(now, from, entries, read_to),
            Ok(Err(error)) => self.complain("spool", &error.to_string(), now),
            Err(error) => tracing::debug!(%error, "the spool is read later"),
        }
        self.sender.loaded(now, from, Vec::new(), from);
    }

    fn take_saved(&mut self, saved: Result<Result<bool, CursorError>, PoolError>) {
        let Some((mark, _)) = self.saving.take() else { return };
        match saved {
            Ok(Ok(true)) => self.saved = mark,
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => {
                if let Some(repeated) = self.repeats.due("cursor", clock::monotonic()) {
                    tracing::error!(%error, repeated, "the spool's cursor is not saved, its frames stay");
                }
            }
        }
    }

    /// Whether the backlog reaches back so far that the newest state is to overtake it.
    pub(super) fn wants_newest(&self, newest: Timestamp) -> bool {
        self.is_reachable && self.is_behind(newest) && self.lane_request.is_none()
    }

    fn is_behind(&self, newest: Timestamp) -> bool {
        let behind = |oldest: Timestamp| newest.since(oldest) > self.config.tick * TICKS_BEHIND;
        self.sender.waiting().frames > 0 && self.sender.oldest_tick().is_none_or(behind)
    }

    /// The fast lane.
    pub(super) fn lane(&mut self) -> &mut Lane {
        &mut self.lane
    }

    /// The last tick was made: what waits is tried once more, now.
    pub(super) fn hurry(&mut self) {
        self.has_given_up = false;
        self.sender.hurry();
    }

    /// Whether nothing can be done any more before the process ends; what is in a spool is tried once.
    pub(super) fn is_over(&self, has_spool: bool) -> bool {
        self.request.is_none() && (self.sender.is_drained() || (has_spool && self.has_given_up))
    }

    /// Frames and bytes in memory.
    pub(super) fn holds(&self) -> (usize, usize) {
        (self.sender.window().len(), self.sender.window().bytes())
    }

    /// Shows how far this gateway has come; `newest` is the tick of the newest frame.
    pub(super) fn show(&self, newest: Option<Timestamp>) {
        let oldest = self.sender.oldest_tick().filter(|_| self.sender.waiting().frames > 0);
        let age = oldest.map_or(Duration::ZERO, |oldest| clock::now().since(oldest));
        let is_overtaken = newest.is_some_and(|newest| self.is_reachable && self.is_behind(newest));
        let Totals { frames, samples } = self.sender.waiting();
        self.shared.metrics.waits(&self.label, (frames, samples), age, is_overtaken);
    }

    fn count_dropped(&mut self) {
        for (reason, dropped) in self.sender.take_dropped() {
            let (reason, Totals { frames, samples }) = (reason.as_str(), dropped);
            self.shared.metrics.dropped(&self.label, reason, frames, samples);
            if let Some(repeated) = self.repeats.due(reason, clock::monotonic()) {
                tracing::warn!(gateway = %self.label, reason, frames, samples, repeated, "dropped unacknowledged frames");
            }
        }
    }

    /// Words for the verdicts that an operator may have to act on.
    fn say(&self, verdict: &Verdict, now: Instant) {
        match verdict {
            Verdict::Acked { .. } => {}
            Verdict::Missing { .. } | Verdict::Gap { .. } => {
                tracing::info!(gateway = %self.label, ?verdict, "resynchronising with the gateway")
            }
            Verdict::Unauthenticated { reason } | Verdict::Forbidden { reason } => {
                self.complain("identity", &format!("the gateway refuses our certificate: {reason}"), now);
            }
            Verdict::Damaged { seq, reason } => self.complain("damaged", &format!("frame {seq}: {reason}"), now),
            Verdict::TooLarge { limit_bytes } => {
                self.complain("size", &format!("bodies over {limit_bytes} bytes"), now)
            }
            Verdict::Unsupported { versions } => {
                self.complain("version", &format!("the gateway reads frames of versions {versions:?} only"), now);
            }
            Verdict::SlowDown { .. } => self.complain("rate", "over the cluster's samples_per_second", now),
            Verdict::Busy { .. } => self.complain("busy", "the gateway is busy", now),
        }
    }

    fn complain(&self, kind: &str, fault: &str, now: Instant) {
        if let Some(repeated) = self.repeats.due(kind, now) {
            let waiting = self.sender.waiting().frames;
            tracing::warn!(gateway = %self.label, fault, repeated, waiting, "push not acknowledged");
        }
        self.shared.status.failed(&self.label, fault);
    }

    /// Reads the certificates again, if they changed.
    pub(super) fn refresh_certificates(&mut self) {
        match self.transport.refresh() {
            Ok(true) => tracing::info!(gateway = %self.label, "push certificates read again"),
            Ok(false) => {}
            Err(error) => self.complain("certificates", &error.to_string(), clock::monotonic()),
        }
    }
}

fn body_bytes_max(config: &PushClientConfig) -> usize {
    usize::try_from(config.body_bytes_max.0).unwrap_or(usize::MAX)
}

/// Bounds of frames that fit a body.
pub(super) fn frame_limits(config: &PushClientConfig) -> FrameLimits {
    let mut frame = FrameLimits::default();
    frame.frame_bytes_max = frame.frame_bytes_max.min(body_bytes_max(config)).max(FrameLimits::FRAME_BYTES_MIN);
    frame
}

fn limits(config: &PushClientConfig, has_spool: bool) -> SenderLimits {
    SenderLimits {
        queue_bytes_max: usize::try_from(config.queue_bytes_max.0).unwrap_or(usize::MAX),
        has_spool,
        body_bytes_max: body_bytes_max(config),
        backoff_max: config.backoff_max,
        backlog_bytes_per_second: Some(config.backlog_bytes_per_second.0).filter(|rate| *rate > 0),
    }
}

/// A name that stays the same as long as the URL does.
fn cursor_name(url: &str) -> String {
    format!("push-{:016x}", xxhash_rust::xxh3::xxh3_64(url.as_bytes()))
}

/// Host and port, without user and password.
fn label(url: &str) -> Arc<str> {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map_or_else(|| "gateway".to_owned(), |(host, port)| format!("{host}:{port}")).into()
}
