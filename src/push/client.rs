//! The collector's end: every tick the finished scrapes become frames, and the frames go to the gateway until they are
//! acknowledged.
//!
//! One task owns the encoder, the state machine and the request in flight, so there is no lock and no second order of
//! events. All decisions are [`Sender`]'s; here are only the clock, the request and the words for the operator. Ticks go
//! on while a request is under way, so a slow gateway delays nothing but its own queue.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::protocol::Verdict;
use super::sender::{Body, Fresh, Outcome, Sender, SenderLimits, Step};
use super::transport::{SendError, Transport};
use crate::config::PushClientConfig;
use crate::model::Timestamp;
use crate::runtime::clock;
use crate::snapshot::negotiate::VERSION;
use crate::snapshot::{EncodedFrame, Encoder, FrameLimits, Scrape, StreamId};
use crate::telemetry::{CollectorMetrics, Repeats};

/// A KEY is due after so many ticks: what a gateway that lost its state has to be sent again at most.
const TICKS_PER_KEY: u32 = 40;
/// Until the first scrapes are there, at most for a tick, the collector looks this often: so a new cluster shows soon.
const EAGER: Duration = Duration::from_secs(1);
/// How long the last snapshot may take to get out at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// One line of a kind in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How pushing goes, for a status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushStatus {
    /// When the gateway last acknowledged something.
    pub acknowledged: Option<Timestamp>,
    /// What is wrong since then.
    pub fault: Option<String>,
}

/// Shared with whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard {
    status: Arc<Mutex<PushStatus>>,
}

impl StatusBoard {
    /// How pushing goes now.
    pub fn read(&self) -> PushStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, change: impl FnOnce(&mut PushStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A new way to the gateway, after a reload.
#[derive(Clone, Debug)]
pub struct Reconfigured {
    /// Its section.
    pub config: PushClientConfig,
}

type InFlight = Pin<Box<dyn Future<Output = Result<Verdict, SendError>> + Send>>;

/// What a push client is made of.
pub struct PushClientParts {
    /// The way to the gateway.
    pub transport: Transport,
    /// Its section of the configuration.
    pub config: PushClientConfig,
    /// Gives the scrapes that finished since it was last called.
    pub take_finished: Box<dyn FnMut() -> Vec<Scrape> + Send>,
    /// Scrapes the collector's own metrics.
    pub scrape_own: Box<dyn FnMut() -> Scrape + Send>,
    /// Where events are counted.
    pub metrics: CollectorMetrics,
    /// Where the state is shown.
    pub status: StatusBoard,
    /// New transports after a reload.
    pub reconfigured: mpsc::Receiver<Reconfigured>,
}

/// The task's state.
pub struct PushClient {
    parts: PushClientParts,
    encoder: Encoder,
    sender: Sender,
    ticks_since_key: u32,
    last_tick: Timestamp,
    /// When to tick even if nothing was scraped yet; `None` after the first tick.
    first_tick: Option<Instant>,
    repeats: Repeats,
}

impl PushClient {
    /// A client with a new stream; nothing is sent before [`PushClient::run`].
    pub fn new(parts: PushClientParts) -> PushClient {
        let stream = random_stream();
        let limits = limits(&parts.config);
        PushClient {
            encoder: Encoder::new(stream, clock::now(), limits.frame.clone()),
            sender: Sender::new(stream, limits),
            first_tick: Some(clock::monotonic() + parts.config.tick),
            parts,
            ticks_since_key: 0,
            last_tick: Timestamp::default(),
            repeats: Repeats::every(LOG_INTERVAL),
        }
    }

    /// Ticks and sends until `stop` fires; then makes a last tick and gives it a few seconds to get out.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut in_flight: Option<(InFlight, usize, Instant)> = None;
        let mut next_tick = clock::monotonic() + EAGER.min(self.parts.config.tick);
        let mut end: Option<Instant> = None;
        loop {
            let wake = self.advance(&mut in_flight);
            if end.is_some_and(|end| clock::monotonic() >= end || (in_flight.is_none() && self.sender.is_drained())) {
                return;
            }
            tokio::select! {
                answer = answer_of(&mut in_flight) => {
                    let (_, bytes, since) = in_flight.take().expect("an answer has a request");
                    self.take_answer(answer, bytes, since);
                }
                () = sleep_until(Some(next_tick)), if end.is_none() => next_tick = self.on_tick(next_tick),
                () = sleep_until(wake) => {}
                () = sleep_until(end) => {}
                Some(new) = self.parts.reconfigured.recv() => self.reconfigure(new),
                () = stop.cancelled(), if end.is_none() => {
                    self.farewell();
                    end = Some(clock::monotonic() + FAREWELL);
                }
            }
        }
    }

    /// Does what the state machine wants done now; gives the time at which it is to be asked again.
    fn advance(&mut self, in_flight: &mut Option<(InFlight, usize, Instant)>) -> Option<Instant> {
        loop {
            let now = clock::monotonic();
            match self.sender.step(now) {
                Step::Send(body) => *in_flight = Some(self.send(body, now)),
                Step::Make(fresh) => self.make(fresh),
                Step::Wait(at) => return Some(at),
                Step::Idle => return None,
            }
            if in_flight.is_some() {
                return None;
            }
        }
    }

    fn send(&self, body: Body, now: Instant) -> (InFlight, usize, Instant) {
        let bytes = body.bytes;
        (Box::pin(self.parts.transport.push(body, VERSION)), bytes, now)
    }

    /// One tick; gives the time of the next.
    fn on_tick(&mut self, due: Instant) -> Instant {
        let scrapes = (self.parts.take_finished)();
        let (now, tick) = (clock::monotonic(), self.parts.config.tick);
        if scrapes.is_empty() && self.first_tick.is_some_and(|first| now < first) {
            return now + EAGER.min(tick);
        }
        self.refresh_certificates();
        self.tick(scrapes);
        if self.first_tick.take().is_some() {
            // From here on at a phase of this run's own: collectors that started together do not push together.
            return now + tick.mul_f64(phase(self.encoder.stream()));
        }
        // A tick that was missed is not made up for: the next one takes what both would have.
        if due + tick > now { due + tick } else { now + tick }
    }

    fn tick(&mut self, mut scrapes: Vec<Scrape>) {
        scrapes.push((self.parts.scrape_own)());
        let key = self.ticks_since_key >= TICKS_PER_KEY;
        self.ticks_since_key = if key { 0 } else { self.ticks_since_key + 1 };
        let now = self.tick_time();
        let frames = self.encode(now, &scrapes, key);
        let dropped = self.sender.frames(frames);
        self.count_dropped(dropped);
    }

    /// The frames of a tick; counts them, and what is in none.
    fn encode(&mut self, tick: Timestamp, scrapes: &[Scrape], key: bool) -> Vec<EncodedFrame> {
        let before = self.encoder.left_out();
        let frames = self.encoder.tick(tick, clock::now(), scrapes, key);
        let after = self.encoder.left_out();
        let scrapes = after.scrapes - before.scrapes;
        let (exemplars, histograms) = (after.exemplars - before.exemplars, after.histograms - before.histograms);
        self.parts.metrics.left_out(scrapes, exemplars, histograms);
        if scrapes > 0
            && let Some(repeated) = self.repeats.due("left_out", clock::monotonic())
        {
            tracing::warn!(scrapes, repeated, "left out scrapes of targets over what a gateway takes");
        }
        frames.iter().for_each(|frame| self.parts.metrics.frame_encoded(frame.bytes.len()));
        frames
    }

    /// The wall clock, never behind the tick before: samples of one stream must not go back when the clock is set.
    fn tick_time(&mut self) -> Timestamp {
        self.last_tick = self.last_tick.max(clock::now());
        self.last_tick
    }

    fn make(&mut self, fresh: Fresh) {
        let scrapes = (self.parts.take_finished)();
        let now = self.tick_time();
        if fresh == Fresh::Stream {
            tracing::warn!(stream = %self.encoder.stream(), "the gateway takes nothing of this stream, beginning another");
            self.encoder = Encoder::new(random_stream(), now, limits(&self.parts.config).frame);
        } else {
            self.encoder.mark_gap();
        }
        self.ticks_since_key = 0;
        let frames = self.encode(now, &scrapes, true);
        let dropped = self.sender.replace(self.encoder.stream(), frames);
        self.count_dropped(dropped);
    }

    fn farewell(&mut self) {
        let scrapes = (self.parts.take_finished)();
        self.tick(scrapes);
        let now = self.tick_time();
        let end = self.encoder.end(now, clock::now());
        self.parts.metrics.frame_encoded(end.bytes.len());
        let dropped = self.sender.frames(vec![end]);
        self.count_dropped(dropped);
        self.sender.hurry();
    }

    fn take_answer(&mut self, answer: Result<Verdict, SendError>, bytes: usize, since: Instant) {
        let now = clock::monotonic();
        let took = now.saturating_duration_since(since);
        let outcome = match answer {
            Ok(verdict) => {
                self.parts.metrics.push_finished(&verdict.status().to_string(), bytes, took);
                self.say(&verdict, now);
                self.sender.answered(now, verdict)
            }
            Err(error) => {
                self.parts.metrics.push_finished(error.as_str(), bytes, took);
                self.complain(error.as_str(), &error.to_string(), now);
                self.sender.failed(now, error.failure())
            }
        };
        self.follow(outcome);
    }

    fn follow(&mut self, outcome: Outcome) {
        if outcome.progress {
            let now = clock::now();
            self.parts.metrics.acknowledged(now);
            self.parts.status.write(|status| *status = PushStatus { acknowledged: Some(now), fault: None });
        }
        if outcome.reload_certificates {
            self.refresh_certificates();
        }
        let (frames, bytes) = self.sender.queue().holds();
        self.parts.metrics.queue_holds(frames, bytes);
    }

    /// Words for the verdicts that an operator may have to act on.
    fn say(&self, verdict: &Verdict, now: Instant) {
        match verdict {
            Verdict::Acked { .. } => {
                if let Some(fault) = self.parts.status.read().fault {
                    tracing::info!(fault, "the gateway acknowledges again");
                }
            }
            Verdict::Missing { .. } | Verdict::Gap { .. } => {
                tracing::info!(?verdict, "resynchronising with the gateway")
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
            let (waiting, bytes) = self.sender.queue().holds();
            tracing::warn!(fault, repeated, queue_frames = waiting, queue_bytes = bytes, "push not acknowledged");
        }
        self.parts.status.write(|status| status.fault = Some(fault.to_owned()));
    }

    fn count_dropped(&self, dropped: super::queue::Dropped) {
        if dropped.frames > 0 {
            self.parts.metrics.queue_dropped(dropped.frames, dropped.samples);
            if let Some(repeated) = self.repeats.due("dropped", clock::monotonic()) {
                let (frames, samples) = (dropped.frames, dropped.samples);
                tracing::warn!(frames, samples, repeated, "dropped unacknowledged frames");
            }
        }
    }

    fn refresh_certificates(&mut self) {
        match self.parts.transport.refresh() {
            Ok(true) => tracing::info!("push certificates read again"),
            Ok(false) => {}
            Err(error) => self.complain("certificates", &error.to_string(), clock::monotonic()),
        }
    }

    fn reconfigure(&mut self, new: Reconfigured) {
        match Transport::new(&new.config) {
            Ok(transport) => {
                self.parts.transport = transport;
                self.parts.config = new.config;
                self.sender.set_limits(limits(&self.parts.config));
            }
            Err(error) => self.complain("reload", &error.to_string(), clock::monotonic()),
        }
    }
}

/// Resolves with the answer of what is in flight; never where nothing is.
async fn answer_of(in_flight: &mut Option<(InFlight, usize, Instant)>) -> Result<Verdict, SendError> {
    match in_flight {
        Some((request, ..)) => request.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn limits(config: &PushClientConfig) -> SenderLimits {
    let body_bytes_max = usize::try_from(config.body_bytes_max.0).unwrap_or(usize::MAX);
    let mut frame = FrameLimits::default();
    frame.frame_bytes_max = frame.frame_bytes_max.min(body_bytes_max).max(FrameLimits::FRAME_BYTES_MIN);
    SenderLimits {
        queue_bytes_max: usize::try_from(config.queue_bytes_max.0).unwrap_or(usize::MAX),
        body_bytes_max,
        backoff_max: config.backoff_max,
        frame,
    }
}

/// A part of a tick, 0 to 1, that follows from the stream's random id.
fn phase(stream: StreamId) -> f64 {
    f64::from(u16::from_le_bytes([stream.0[0], stream.0[1]])) / f64::from(u16::MAX)
}

/// A stream's id must differ from every other's, so it comes from the system's randomness.
fn random_stream() -> StreamId {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the system has randomness: TLS needs it too");
    StreamId(id)
}
