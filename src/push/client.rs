//! The collector's end: every tick the finished scrapes become frames, the frames go to the log, and from there to each gateway until
//! it has acknowledged them.
//!
//! One task owns the encoder, the log and all deliveries, so there is no lock and no second order of events. All decisions about
//! what is sent are the senders'; here are the clock, the ticks and the log. Ticks go on while requests, reads and syncs are under way,
//! so a slow gateway or disk delays nothing but its own. With a spool, a tick's frames are sent once they are synced; while the
//! disk fails they are sent all the same, from memory, and that is counted and said.

use std::collections::VecDeque;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivery, Event, Shared, frame_limits};
use super::entry::{Entry, Place, entries};
use super::sender::{DropReason, Fresh};
use super::spool::{Spool, SpoolError};
pub use super::status::{PushStatus, StatusBoard};
use super::transport::{Transport, TransportError};
use crate::config::{PushClientConfig, SpoolConfig};
use crate::journal::{Committer, Limit, Limits, Options, Progress, Role};
use crate::model::Timestamp;
use crate::runtime::{CpuPool, clock};
use crate::snapshot::{Ahead, EncodedFrame, Encoder, Scrape, StreamId};
use crate::telemetry::{CollectorMetrics, Repeats};

/// A KEY is due after so many ticks: what a gateway that lost its state has to be sent again at most.
const TICKS_PER_KEY: u32 = 40;
/// Until the first scrapes are there, at most for a tick, the collector looks this often: so a new cluster shows soon.
const EAGER: Duration = Duration::from_secs(1);
/// How long the last snapshot may take to get out at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// One line of a kind in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Segments that a spool has room for at least.
const SEGMENTS: u64 = 32;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// A gateway that takes nothing of a stream gets a new one at most this often, for all gateways get it.
const STREAM_INTERVAL: Duration = Duration::from_secs(60);

/// A new way to the gateways, after a reload.
#[derive(Clone, Debug)]
pub struct Reconfigured {
    /// Its section.
    pub config: PushClientConfig,
    /// The spool's; its directory stays as it was.
    pub spool: SpoolConfig,
}

/// What a push client is made of.
pub struct PushClientParts {
    /// Its section of the configuration.
    pub config: PushClientConfig,
    /// The way to each of [`PushClientConfig::gateways`].
    pub transports: Vec<Transport>,
    /// The log, with the thread that commits it where it is on disk.
    pub spool: (Spool, Option<Committer>),
    /// What the log may take.
    pub limits: Limits,
    /// Where the spool is read.
    pub pool: CpuPool,
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

/// The newest state as it travels ahead of backlogs: its stream, and the number of the last snapshot in it.
struct Newest {
    ahead: Ahead,
    snapshots: u64,
}

/// The task's state.
pub struct PushClient {
    config: PushClientConfig,
    limits: Limits,
    take_finished: Box<dyn FnMut() -> Vec<Scrape> + Send>,
    scrape_own: Box<dyn FnMut() -> Scrape + Send>,
    reconfigured: mpsc::Receiver<Reconfigured>,
    shared: Shared,
    deliveries: Vec<Delivery>,
    encoder: Encoder,
    spool: Spool,
    committer: Option<Committer>,
    progress: Option<watch::Receiver<Progress>>,
    /// Appended, and not synced yet.
    unsynced: VecDeque<Vec<Entry>>,
    newest: Option<Newest>,
    snapshots: u64,
    ticks_since_key: u32,
    last_tick: Timestamp,
    /// Bytes that a tick's frames take in the log: of the last one, and of late.
    tick_bytes: usize,
    tick_bytes_mean: f64,
    last_stream: Instant,
    /// When to tick even if nothing was scraped yet; `None` after the first tick.
    first_tick: Option<Instant>,
    repeats: Repeats,
}

impl PushClient {
    /// A client with a new stream behind what the spool holds; nothing is sent before [`PushClient::run`].
    pub fn new(parts: PushClientParts) -> Result<PushClient, SpoolError> {
        let (spool, committer) = parts.spool;
        let shared = Shared { metrics: parts.metrics, status: parts.status, pool: parts.pool };
        let ways = parts.config.gateways().into_iter().zip(parts.transports);
        let deliveries = ways.map(|(config, transport)| Delivery::new(config, transport, &spool, shared.clone()));
        let now = clock::monotonic();
        Ok(PushClient {
            deliveries: deliveries.collect::<Result<_, _>>()?,
            encoder: Encoder::new(random_stream(), clock::now(), frame_limits(&parts.config)),
            first_tick: Some(now + parts.config.tick),
            config: parts.config,
            limits: parts.limits,
            take_finished: parts.take_finished,
            scrape_own: parts.scrape_own,
            reconfigured: parts.reconfigured,
            shared,
            spool,
            progress: committer.as_ref().map(Committer::progress),
            committer,
            unsynced: VecDeque::new(),
            newest: None,
            snapshots: 0,
            ticks_since_key: 0,
            last_tick: Timestamp::default(),
            tick_bytes: 0,
            tick_bytes_mean: 0.0,
            last_stream: now,
            repeats: Repeats::every(LOG_INTERVAL),
        })
    }

    /// Ticks and sends until `stop` fires; then makes a last tick and gives it a few seconds to get out.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut next_tick = clock::monotonic() + EAGER.min(self.config.tick);
        let mut end: Option<Instant> = None;
        loop {
            let wake = self.advance();
            if end.is_some_and(|end| clock::monotonic() >= end || self.is_over()) {
                return self.leave();
            }
            tokio::select! {
                (index, event) = next_event(&mut self.deliveries) => {
                    let saves = matches!(event, Event::Saved(_));
                    self.deliveries[index].take(event);
                    self.after_event(saves);
                }
                () = changed(&mut self.progress) => self.release(),
                () = sleep_until(Some(next_tick)), if end.is_none() => next_tick = self.on_tick(next_tick),
                () = sleep_until(wake) => {}
                () = sleep_until(end) => {}
                Some(new) = self.reconfigured.recv() => self.reconfigure(&new),
                () = stop.cancelled(), if end.is_none() => {
                    self.farewell();
                    end = Some(clock::monotonic() + FAREWELL);
                }
            }
        }
    }

    /// Does what the state machines want done now; gives the time at which they are to be asked again.
    fn advance(&mut self) -> Option<Instant> {
        let mut wake: Option<Instant> = None;
        let mut fresh: Option<Fresh> = None;
        for delivery in &mut self.deliveries {
            let (wanted, at) = delivery.advance(&self.spool);
            fresh = fresh.max(wanted);
            wake = [wake, at].into_iter().flatten().min();
        }
        if let Some(fresh) = fresh {
            self.make(fresh);
            // Where it went into the log at once it can be sent at once.
            return Some(clock::monotonic());
        }
        wake
    }

    /// One tick; gives the time of the next.
    fn on_tick(&mut self, due: Instant) -> Instant {
        let scrapes = (self.take_finished)();
        let (now, tick) = (clock::monotonic(), self.config.tick);
        if scrapes.is_empty() && self.first_tick.is_some_and(|first| now < first) {
            return now + EAGER.min(tick);
        }
        self.deliveries.iter_mut().for_each(Delivery::refresh_certificates);
        self.tick(scrapes);
        self.overtake();
        self.keep_limits();
        self.show();
        if self.first_tick.take().is_some() {
            // From here on at a phase of this run's own: collectors that started together do not push together.
            return now + tick.mul_f64(phase(self.encoder.stream()));
        }
        // A tick that was missed is not made up for: the next one takes what both would have.
        if due + tick > now { due + tick } else { now + tick }
    }

    fn tick(&mut self, mut scrapes: Vec<Scrape>) {
        scrapes.push((self.scrape_own)());
        let is_back = self.spool.is_back(self.tick_bytes);
        if is_back {
            tracing::info!("the spool takes frames again");
            self.encoder.mark_gap();
        }
        let key = self.ticks_since_key >= TICKS_PER_KEY || is_back;
        self.ticks_since_key = if key { 0 } else { self.ticks_since_key + 1 };
        let now = self.tick_time();
        let frames = self.encode(now, &scrapes, key);
        self.append(&frames);
    }

    /// The frames of a tick; counts them, and what is in none.
    fn encode(&mut self, tick: Timestamp, scrapes: &[Scrape], key: bool) -> Vec<EncodedFrame> {
        let before = self.encoder.left_out();
        let frames = self.encoder.tick(tick, clock::now(), scrapes, key);
        let after = self.encoder.left_out();
        let scrapes = after.scrapes - before.scrapes;
        let (exemplars, histograms) = (after.exemplars - before.exemplars, after.histograms - before.histograms);
        self.shared.metrics.left_out(scrapes, exemplars, histograms);
        if scrapes > 0
            && let Some(repeated) = self.repeats.due("left_out", clock::monotonic())
        {
            tracing::warn!(scrapes, repeated, "left out scrapes of targets over what a gateway takes");
        }
        frames.iter().for_each(|frame| self.shared.metrics.frame_encoded(frame.bytes.len()));
        frames
    }

    /// The wall clock, never behind the tick before: samples of one stream must not go back when the clock is set.
    fn tick_time(&mut self) -> Timestamp {
        self.last_tick = self.last_tick.max(clock::now());
        self.last_tick
    }

    /// Brings frames into the log; they are sent when they are safe there.
    fn append(&mut self, frames: &[EncodedFrame]) {
        let mut made = entries(frames, self.spool.totals_mut(), &frame_limits(&self.config));
        self.tick_bytes = made.iter().map(Entry::record_bytes).sum();
        self.tick_bytes_mean += (self.tick_bytes as f64 - self.tick_bytes_mean) / f64::from(TICKS_PER_KEY);
        if let Err(full) = self.spool.append(&mut made, clock::now()) {
            let frames = made.iter().filter(|entry| entry.is_state()).count() as u64;
            self.shared.metrics.not_spooled(frames);
            if let Some(repeated) = self.repeats.due("spool", clock::monotonic()) {
                tracing::error!(%full, repeated, "the spool takes no frames, they go on from memory alone");
            }
        }
        self.unsynced.push_back(made);
        self.release();
    }

    /// Hands what is safe to the senders. While the disk fails nothing is, and everything goes on all the same.
    fn release(&mut self) {
        let (synced, failure) = match &mut self.progress {
            None => (self.spool.end().0.position(), None),
            Some(progress) => {
                let now = *progress.borrow_and_update();
                (now.synced, now.failure)
            }
        };
        if let Some(kind) = failure
            && let Some(repeated) = self.repeats.due("disk", clock::monotonic())
        {
            tracing::error!(fault = %kind, repeated, "the spool's disk fails, frames are sent before they are safe");
        }
        self.shared.metrics.spool_failing(failure.is_some());
        let is_safe = |made: &Vec<Entry>| made.last().is_none_or(|last| last.next.position() <= synced);
        while let Some(made) = self.unsynced.pop_front_if(|made| is_safe(made) || failure.is_some()) {
            self.deliveries.iter_mut().for_each(|delivery| delivery.push(&made));
        }
    }

    /// Sends the newest state ahead to who is behind with the rest.
    fn overtake(&mut self) {
        let tick = self.last_tick;
        if !self.deliveries.iter().any(|delivery| delivery.wants_newest(tick)) {
            return;
        }
        let wanting = self.deliveries.iter_mut().filter(|delivery| delivery.wants_newest(tick));
        let mut lanes: Vec<_> = wanting.map(Delivery::lane).collect();
        let known = self.newest.take().filter(|newest| lanes.iter().all(|lane| lane.has(newest.snapshots)));
        let mut ahead = known.map_or_else(|| Ahead::new(random_stream()), |newest| newest.ahead);
        let frames = self.encoder.newest(&mut ahead, tick, clock::now());
        self.snapshots += 1;
        lanes.iter_mut().for_each(|lane| lane.offer(self.snapshots, &frames));
        self.newest = Some(Newest { ahead, snapshots: self.snapshots });
    }

    /// Makes what a gateway needs that takes nothing else any more.
    fn make(&mut self, fresh: Fresh) {
        let now = clock::monotonic();
        if fresh == Fresh::Stream {
            if now.saturating_duration_since(self.last_stream) < STREAM_INTERVAL {
                return;
            }
            self.last_stream = now;
            tracing::warn!(stream = %self.encoder.stream(), "a gateway takes nothing of this stream, beginning another");
            let started = self.tick_time();
            self.encoder = self.encoder.anew(random_stream(), started);
        }
        let scrapes = (self.take_finished)();
        self.ticks_since_key = 0;
        let now = self.tick_time();
        let frames = self.encode(now, &scrapes, true);
        self.append(&frames);
    }

    fn farewell(&mut self) {
        let scrapes = (self.take_finished)();
        self.tick(scrapes);
        let now = self.tick_time();
        let end = self.encoder.end(now, clock::now());
        self.shared.metrics.frame_encoded(end.bytes.len());
        self.append(&[end]);
        self.deliveries.iter_mut().for_each(Delivery::hurry);
    }

    fn is_over(&self) -> bool {
        let has_spool = self.spool.log().is_some();
        self.unsynced.is_empty() && self.deliveries.iter().all(|delivery| delivery.is_over(has_spool))
    }

    fn leave(mut self) {
        self.deliveries.iter_mut().for_each(|delivery| delivery.save_last(&self.spool));
    }

    fn after_event(&mut self, saves: bool) {
        let holds = self.deliveries.iter().map(Delivery::holds);
        let (frames, bytes) = holds.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        self.shared.metrics.queue_holds(frames, bytes);
        self.deliveries.iter().for_each(|delivery| delivery.show(Some(self.last_tick)));
        if saves {
            self.forget_delivered();
        }
    }

    /// Segments that every gateway has, and that none could ask for again, go.
    fn forget_delivered(&self) {
        let needed = |delivery: &Delivery| delivery.saved.rewind.unwrap_or(delivery.saved.unacknowledged).position();
        if let (Some(committer), Some(position)) = (&self.committer, self.deliveries.iter().map(needed).min()) {
            committer.drop_before(position);
        }
    }

    /// Over a limit the oldest segments go, whoever still lacks them.
    fn keep_limits(&mut self) {
        let (Some(log), Some(committer)) = (self.spool.log(), &self.committer) else { return };
        let space = log.space().inspect_err(|error| tracing::debug!(%error, "the spool's disk tells no free space"));
        let Ok(space) = space else { return };
        let segments = log.segments();
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        let free_min = space.total as f64 * self.limits.free_ratio_min;
        let room = self.limits.bytes_max.saturating_sub(bytes).min((space.free as f64 - free_min).max(0.0) as u64);
        let ticks_left = room as f64 / self.tick_bytes_mean.max(1.0);
        self.shared.metrics.spool_holds(bytes, self.limits.bytes_max, ticks_left * self.config.tick.as_secs_f64());
        let over = self.limits.over(&segments, space, clock::now());
        let Some(last) = over.last() else { return };
        let reason = match last.limit {
            Limit::Bytes => DropReason::Bytes,
            Limit::Age => DropReason::Age,
            Limit::Space => DropReason::Space,
        };
        let end = last.segment.end;
        match self.spool.totals_at(end) {
            Ok(totals) => {
                let place = Place::behind(end);
                self.deliveries.iter_mut().for_each(|delivery| delivery.lost_before(place, totals, reason));
                committer.drop_before(end);
            }
            Err(error) => tracing::error!(%error, "the spool is over its limits and cannot be read"),
        }
    }

    fn show(&self) {
        self.deliveries.iter().for_each(|delivery| delivery.show(Some(self.last_tick)));
    }

    /// Gateways that are still named go on where they are; others come and go.
    fn reconfigure(&mut self, new: &Reconfigured) {
        match new.config.gateways().iter().map(Transport::new).collect::<Result<Vec<Transport>, TransportError>>() {
            Ok(transports) => self.take_gateways(new, transports),
            Err(error) => tracing::error!(%error, "the way to a gateway cannot be used, the old ones stay"),
        }
    }

    fn take_gateways(&mut self, new: &Reconfigured, transports: Vec<Transport>) {
        let has_spool = self.spool.log().is_some();
        let mut before = std::mem::take(&mut self.deliveries);
        for (config, transport) in new.config.gateways().into_iter().zip(transports) {
            let known = before.iter().position(|delivery| delivery.is_to(&config));
            if let Some(known) = known {
                let mut delivery = before.swap_remove(known);
                delivery.reconfigure(config, transport, has_spool);
                self.deliveries.push(delivery);
                continue;
            }
            match Delivery::new(config, transport, &self.spool, self.shared.clone()) {
                Ok(delivery) => self.deliveries.push(delivery),
                Err(error) => tracing::error!(%error, "a further gateway gets nothing before a restart"),
            }
        }
        for delivery in &before {
            self.shared.status.write(|status| drop(status.faults.remove(&delivery.label)));
            self.shared.metrics.forget_gateway(&delivery.label);
        }
        self.limits = limits_of(&new.spool);
        self.config = new.config.clone();
    }
}

/// What a spool may take.
pub fn limits_of(config: &SpoolConfig) -> Limits {
    Limits {
        bytes_max: config.bytes_max.0,
        age_max: config.age_max,
        free_ratio_min: config.free_disk_min_ratio.as_f64(),
    }
}

/// Segments so small that dropping one costs little of what the spool may hold.
pub fn spool_options(config: &SpoolConfig) -> Options {
    let segment_bytes = (config.bytes_max.0 / SEGMENTS).max(SEGMENT_BYTES_MIN);
    let options = Options::new(Role::Spool);
    Options { segment_bytes: segment_bytes.min(options.segment_bytes), ..options }
}

/// Resolves with the next thing that ends, and whose it is.
async fn next_event(deliveries: &mut [Delivery]) -> (usize, Event) {
    std::future::poll_fn(|context| {
        for (index, delivery) in deliveries.iter_mut().enumerate() {
            if let Poll::Ready(event) = delivery.poll(context) {
                return Poll::Ready((index, event));
            }
        }
        Poll::Pending
    })
    .await
}

/// Resolves when the spool came further on its disk.
async fn changed(progress: &mut Option<watch::Receiver<Progress>>) {
    let is_open = match progress {
        Some(progress) => progress.changed().await.is_ok(),
        None => false,
    };
    if !is_open {
        std::future::pending().await
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
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
