//! One endpoint's task: takes what was read from the journal, posts what its [`Queue`] orders, and writes down how far it came.
//!
//! A frame is posted only once the cursor's file says that it may have been (`mark`). So a later run knows of every frame whether this
//! one may have sent it, and a receiver that refuses such a frame has it already. What is read waits for the file at most
//! [`SAVE_INTERVAL`]; nothing else waits for the disk, and a disk that refuses stops nothing.
//!
//! The task holds at most `capacity` rows a shard; beyond that the journal is not read, and holds them instead.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::counts::EndpointCounts;
use super::follower::FamilyMetadata;
use super::headers::Headers;
use super::place::{Place, Progress};
use super::queue::{Lane, Next, Offer, Order, Queue, Settings, Settled, Source};
use super::request::{BodyEncoder, Version};
use super::rows::{Counts, FrameSamples, Options};
use super::verdict::{Answer, LossReason};
use crate::config::{ProtobufMessage, RemoteWriteConfig};
use crate::journal::Position;
use crate::model::{Labels, Timestamp};
use crate::net::client::{Body, ClientError, HttpClient, read_limited};
use crate::remote_write::message::put_metadata_v1;
use crate::runtime::{CpuPool, clock};

/// How often the cursor is saved at most.
pub const SAVE_INTERVAL: Duration = Duration::from_millis(250);
/// How long what is queued may take to go out when the process ends.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// What is kept of a receiver's words.
const TEXT_BYTES_MAX: u64 = 2048;
/// Refusals of one kind are logged no more often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What the reader of the journal hands over.
#[derive(Debug)]
pub enum Read {
    /// What a frame brings.
    Frame {
        /// Whose order it keeps.
        lane: Lane,
        /// The labels of its cluster, for headers.
        cluster: Arc<Labels>,
        /// Its record.
        position: Position,
        /// What.
        frame: FrameSamples,
    },
    /// Everything of a log before this was handed over.
    Progress {
        /// Of which log.
        source: Source,
        /// How far.
        progress: Progress,
    },
    /// Bytes of the journal that were gone or damaged before they were read.
    Lost(u64),
    /// What a cluster's families say of themselves.
    Metadata {
        /// The labels of the cluster.
        cluster: Arc<Labels>,
        /// Which.
        families: Vec<FamilyMetadata>,
    },
}

/// What an endpoint's task works with.
pub struct Endpoint {
    name: String,
    url: Url,
    timeout: Duration,
    headers: Headers,
    metadata_rows_max: usize,
    age_limit: Duration,
    rows_max: u64,
    client: HttpClient,
    pool: CpuPool,
    key: Arc<str>,
    encoders: Arc<Mutex<Vec<BodyEncoder>>>,
    counts: Arc<EndpointCounts>,
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says it")]
pub enum EndpointError {
    #[error("remote_write: {0}")]
    Client(#[from] ClientError),
    #[error("remote_write: url: {0}")]
    Url(#[from] url::ParseError),
    #[error("remote_write: write_relabel_configs: {0}")]
    Regex(#[from] crate::model::MatcherError),
}

/// What its queue is told by a configuration.
pub fn settings_of(config: &RemoteWriteConfig) -> Settings {
    let queue = &config.queue_config;
    Settings {
        rows_max: queue.max_samples_per_send,
        shards: (queue.min_shards, queue.max_shards),
        pauses: (queue.min_backoff, queue.max_backoff),
        version: config.protobuf_message.map(|message| match message {
            ProtobufMessage::V1 => Version::V1,
            ProtobufMessage::V2 => Version::V2,
        }),
        options: Options { exemplars: config.send_exemplars, histograms: config.send_native_histograms, oldest: None },
    }
}

/// What came back of a request.
enum Returned {
    /// Of a part.
    Part { order: Order, answer: Result<Answer, String>, bytes: u64 },
    /// Of so many families, if they were taken.
    Metadata { taken: u64, bytes: u64 },
}

/// What an endpoint's task has at the moment.
struct Work<'a> {
    queue: Queue,
    /// Read, and not yet written down as possibly sent.
    staged: Vec<(Offer, Arc<Labels>)>,
    /// Of the lanes' clusters, as they were last.
    labels: HashMap<Lane, Arc<Labels>>,
    under_way: FuturesUnordered<BoxFuture<'a, Returned>>,
    place: Place,
    saved: Instant,
    logged: Option<Instant>,
}

impl Endpoint {
    /// Of a checked configuration.
    pub fn new(
        name: &str,
        config: &RemoteWriteConfig,
        pool: CpuPool,
        counts: Arc<EndpointCounts>,
    ) -> Result<Endpoint, EndpointError> {
        let queue = &config.queue_config;
        let capacity = queue.capacity.saturating_mul(queue.max_shards);
        Ok(Endpoint {
            name: name.to_owned(),
            url: Url::parse(&config.url)?,
            timeout: config.remote_timeout,
            headers: Headers::new(config),
            metadata_rows_max: config.metadata_config.max_samples_per_send,
            age_limit: queue.sample_age_limit,
            rows_max: capacity as u64,
            client: HttpClient::with_connections(&config.http_client(), queue.max_shards)?,
            pool,
            key: format!("remote_write {name}").into(),
            encoders: Arc::default(),
            counts,
        })
    }

    /// Whether a request's headers depend on the cluster of its series.
    pub fn names_labels(&self) -> bool {
        self.headers.names_labels()
    }

    /// Sends what comes until `stop` fires, and then what is queued, for a while.
    pub async fn run(
        &self,
        settings: Settings,
        place: Place,
        mut reads: mpsc::Receiver<Read>,
        stop: CancellationToken,
    ) {
        let mut work = Work {
            queue: Queue::new(settings),
            staged: Vec::new(),
            labels: HashMap::new(),
            under_way: FuturesUnordered::new(),
            place,
            saved: clock::monotonic(),
            logged: None,
        };
        let mut deadline: Option<Instant> = None;
        loop {
            let wait = self.post_all(&mut work);
            self.show(&work);
            let is_over = deadline.is_some_and(|deadline| clock::monotonic() >= deadline);
            if deadline.is_some() && (is_over || (work.queue.rows() == 0 && work.staged.is_empty())) {
                break;
            }
            let save_at = (!work.staged.is_empty()).then(|| work.saved + SAVE_INTERVAL);
            let wake = [wait, save_at, deadline].into_iter().flatten().min();
            let has_room = deadline.is_none() && work.rows() < self.rows_max;
            tokio::select! {
                Some(returned) = work.under_way.next() => self.settle(&mut work, returned),
                read = reads.recv(), if has_room => match read {
                    Some(read) => self.take(&mut work, read),
                    None => deadline = deadline.or_else(|| Some(clock::monotonic() + DRAIN_MAX)),
                },
                () = sleep_until(wake), if wake.is_some() => {}
                () = stop.cancelled(), if deadline.is_none() => deadline = Some(clock::monotonic() + DRAIN_MAX),
            }
            if !work.staged.is_empty() && clock::monotonic() >= work.saved + SAVE_INTERVAL {
                work.save().await;
            }
        }
        work.save().await;
    }

    /// Posts what is to be posted; says when there may be more.
    fn post_all<'a>(&'a self, work: &mut Work<'a>) -> Option<Instant> {
        let now = clock::monotonic();
        let oldest = (!self.age_limit.is_zero()).then(|| clock::now() - self.age_limit);
        loop {
            match work.queue.next(now, oldest) {
                Next::Idle => return None,
                Next::Wait(moment) => return Some(moment),
                Next::Post(order) if order.counts().rows() == 0 => {
                    let settled = work.queue.skipped(&order);
                    self.counts.note(&settled);
                }
                Next::Post(order) => {
                    let cluster = work.labels.get(&order.lane).cloned().unwrap_or_default();
                    work.under_way.push(Box::pin(self.post(order, cluster)));
                }
            }
        }
    }

    async fn post(&self, order: Order, cluster: Arc<Labels>) -> Returned {
        let (encoders, part, options) = (self.encoders.clone(), order.part, order.options);
        let (frame, version) = (order.frame.clone(), order.version);
        let encode = move || {
            let mut encoder = lock(&encoders).pop().unwrap_or_default();
            let body = encoder.body(version, &frame, &part, &options);
            lock(&encoders).push(encoder);
            body
        };
        let body = match self.pool.run(&self.key, encode).await {
            Ok(body) => body,
            // Too many wait for a CPU: the part is tried again as after any other failure.
            Err(fault) => return Returned::Part { order, answer: Err(fault.to_string()), bytes: 0 },
        };
        let bytes = body.len() as u64;
        let headers = self.headers.of_request(order.version, &cluster, order.tries);
        let answer = self.exchange(&headers, body).await;
        Returned::Part { order, answer, bytes }
    }

    async fn exchange(&self, headers: &HeaderMap, body: Bytes) -> Result<Answer, String> {
        let asking = async {
            let answer = self.client.post(self.url.clone(), headers, body).await.map_err(|fault| fault.to_string())?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut text = Body::default();
            if !status.is_success() {
                // Words are for people: whatever of them does not come is not missed.
                let _ = read_limited(answer, TEXT_BYTES_MAX, &mut text).await;
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            Ok(Answer::new(status, &headers, text, clock::now()))
        };
        let timed_out = |_| Err(format!("no answer within {:?}", self.timeout));
        tokio::time::timeout(self.timeout, asking).await.unwrap_or_else(timed_out)
    }

    fn settle(&self, work: &mut Work<'_>, returned: Returned) {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let (order, answer, bytes) = match returned {
            Returned::Part { order, answer, bytes } => (order, answer, bytes),
            Returned::Metadata { taken, bytes } => {
                self.counts.metadata.fetch_add(taken, Ordering::Relaxed);
                self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
                return;
            }
        };
        let settled = work.queue.answered(&order, answer.as_ref().ok(), clock::monotonic());
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counts.note(&settled);
        if settled.delivered.rows() > 0 {
            let newest = order.frame.scrapes.iter().map(|scrape| scrape.view.started).max();
            newest.into_iter().for_each(|at| self.counts.note_highest(at));
        }
        self.log(work, &settled, &answer);
    }

    fn log(&self, work: &mut Work<'_>, settled: &Settled, answer: &Result<Answer, String>) {
        if settled.has_fallen_back {
            tracing::info!(
                endpoint = self.name,
                "the endpoint does not know remote write 2.0: 1.0 is sent from now on"
            );
        }
        let is_quiet = settled.lost.is_none() && settled.again.rows() == 0;
        let now = clock::monotonic();
        let is_soon = work.logged.is_some_and(|logged| now.saturating_duration_since(logged) < LOG_INTERVAL);
        if is_quiet || settled.has_fallen_back || (is_soon && settled.lost.is_none()) {
            return;
        }
        work.logged = Some(now);
        let status = answer.as_ref().ok().map(|answer| answer.status.as_u16());
        let text = answer.as_ref().map_or_else(|fault| fault.as_str(), |answer| answer.text.as_str());
        self.counts.refused(text);
        match settled.lost {
            Some((reason, lost)) => tracing::error!(
                endpoint = self.name,
                status,
                reason = reason.as_str(),
                samples = lost.samples,
                histograms = lost.histograms,
                text,
                "the endpoint refused samples: they are lost to it"
            ),
            None if settled.is_misconfigured => tracing::error!(
                endpoint = self.name,
                status,
                text,
                "the endpoint refuses every request: nothing is sent until it takes one"
            ),
            None => tracing::warn!(endpoint = self.name, status, text, "not sent, and tried again"),
        }
    }

    fn take<'a>(&'a self, work: &mut Work<'a>, read: Read) {
        match read {
            Read::Frame { lane, cluster, position, frame } => {
                if !work.queue.options().histograms {
                    let histograms = frame.unsent_histograms();
                    let lost = Counts { histograms, ..Counts::default() };
                    self.counts.note_lost(LossReason::HistogramsOff, &lost);
                }
                let is_replayed = work.place.may_have_sent(lane.source(), position);
                work.staged.push((Offer { lane, position, frame: Arc::new(frame), is_replayed }, cluster));
            }
            Read::Progress { source, progress } => work.place.note_read(source, progress),
            Read::Lost(bytes) => drop(self.counts.journal_bytes_lost.fetch_add(bytes, Ordering::Relaxed)),
            Read::Metadata { cluster, families } => self.send_metadata(work, &cluster, &families),
        }
    }

    /// Tells an endpoint of 1.0 types and helps. What does not arrive is told again next time.
    fn send_metadata<'a>(&'a self, work: &mut Work<'a>, cluster: &Arc<Labels>, families: &[FamilyMetadata]) {
        if work.queue.version() != Version::V1 || work.queue.is_misconfigured() {
            return;
        }
        for some in families.chunks(self.metadata_rows_max) {
            let mut raw = Vec::new();
            some.iter().for_each(|one| put_metadata_v1(&mut raw, &one.name, one.kind, &one.help, &one.unit));
            let body = BodyEncoder::default().compressed(&raw);
            let (headers, count) = (self.headers.of_request(Version::V1, cluster, 0), some.len() as u64);
            work.under_way.push(Box::pin(async move {
                let bytes = body.len() as u64;
                let is_taken = self.exchange(&headers, body).await.is_ok_and(|answer| answer.status.is_success());
                Returned::Metadata { taken: if is_taken { count } else { 0 }, bytes }
            }));
        }
    }

    fn show(&self, work: &Work<'_>) {
        let counts = &self.counts;
        counts.rows.store(work.rows(), Ordering::Relaxed);
        counts.shards.store(work.queue.shards() as u64, Ordering::Relaxed);
        counts.is_misconfigured.store(u64::from(work.queue.is_misconfigured()), Ordering::Relaxed);
        let oldest = work.queue.oldest_sample().unwrap_or(Timestamp(0));
        counts.oldest_ms.store(oldest.as_millis(), Ordering::Relaxed);
    }
}

impl Work<'_> {
    /// Rows that are not settled, read ones included.
    fn rows(&self) -> u64 {
        let scrapes = self.staged.iter().flat_map(|(offer, _)| &offer.frame.scrapes);
        self.queue.rows() + scrapes.map(|scrape| scrape.view.layout.live() as u64).sum::<u64>()
    }

    /// Writes down how far everything is done and what may be sent from now on, and lets that be sent.
    async fn save(&mut self) {
        for source in [Source::Frames, Source::Recorded] {
            let staged = self.staged.iter().filter(|(offer, _)| offer.lane.source() == source);
            let staged = staged.map(|(offer, _)| offer.position).min();
            let oldest = [self.queue.oldest(source), staged].into_iter().flatten().min();
            self.place.save(source, oldest).await;
        }
        self.saved = clock::monotonic();
        for (offer, cluster) in self.staged.drain(..) {
            self.labels.insert(offer.lane.clone(), cluster);
            self.queue.offer(offer);
        }
        // Rules may name any number of clusters in the course of time.
        self.labels.retain(|lane, _| self.queue.has(lane));
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

fn lock(encoders: &Mutex<Vec<BodyEncoder>>) -> std::sync::MutexGuard<'_, Vec<BodyEncoder>> {
    encoders.lock().unwrap_or_else(PoisonError::into_inner)
}
