//! Whatever is lost, repeated, damaged or restarted between a collector and its gateway: what the gateway shows is at every
//! moment something that was scraped, and in the end what was scraped last.
//!
//! Real encoder, state machine, receiver and store; the network and the two processes' lives are the test's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::model::{
    Buckets, Counts, HISTOGRAM_NAN, HistogramCounts, HistogramSample, Labels, METRIC_NAME, Metadata, NativeHistogram,
    ResetHint, Span, Timestamp, stale_nan,
};
use fedgate::push::protocol::Verdict;
use fedgate::push::receive::{BodyLimits, Pusher, Receiver};
use fedgate::push::sender::{Body, Failure, Fresh, Sender, SenderLimits, Step};
use fedgate::runtime::CpuPool;
use fedgate::snapshot::{Beside, Encoder, FrameLimits, Outcome, OwnLabels, Report, Scrape, SlotTable, StreamId};
use fedgate::store::{ClusterLimits, ClusterPolicy, Inventory, Store, TargetView};
use fedgate::telemetry::{GatewayMetrics, Registry};
use proptest::prelude::*;

const TARGETS: u8 = 3;
/// A KEY comes this often, so that short runs have several.
const TICKS_PER_KEY: u32 = 5;
const COLLECTOR: &str = "alpha.example";

/// Series from this number on are native histograms.
const HISTOGRAMS_FROM: u8 = 6;

/// Samples by their series' number.
type Page = BTreeMap<u8, Sample>;

/// A value's bits, and what stands beside it.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    bits: u64,
    histogram: Option<Arc<HistogramSample>>,
    start: Option<Timestamp>,
}

/// The sample of series `n` at a time; no two are the same.
fn sample(n: u8, wall: Timestamp) -> Sample {
    let value = wall.as_millis() as f64 + f64::from(n) / 8.0;
    if n < HISTOGRAMS_FROM {
        return Sample {
            bits: value.to_bits(),
            histogram: None,
            start: n.is_multiple_of(2).then_some(Timestamp(i64::from(n))),
        };
    }
    let count = wall.as_millis().unsigned_abs();
    // Now and then a bucket more, which is another shape.
    let length = 2 + (count / 20_000 % 3) as u32;
    let spans = vec![Span { offset: i32::from(n), length }];
    let positive = Buckets { spans, counts: vec![count; length as usize] };
    let counts = Counts { count: count * u64::from(length), positive, ..Counts::default() };
    let histogram = NativeHistogram {
        reset_hint: ResetHint::Unknown,
        schema: 3,
        zero_threshold: 0.0,
        sum: value,
        custom_bounds: Vec::new(),
        counts: HistogramCounts::Integer(counts),
    };
    let histogram = Arc::new(HistogramSample { histogram, exemplars: Vec::new() });
    Sample { bits: HISTOGRAM_NAN, histogram: Some(histogram), start: Some(Timestamp(7)) }
}

fn target_labels(target: u8) -> Labels {
    Labels::from_pairs([("instance", format!("t{target}").as_str()), ("job", "test")])
}

#[derive(Clone, Debug)]
enum Event {
    /// A target is scraped: these series, or a failure.
    Scrape {
        target: u8,
        series: u8,
        fails: bool,
    },
    /// The finished scrapes become frames.
    Tick,
    /// What is due is sent, applied and answered.
    Deliver,
    /// What is due is sent and lost.
    LoseRequest,
    /// What is due is applied, its answer is lost.
    LoseAnswer,
    /// A body that was sent earlier arrives again, late.
    Repeat(usize),
    /// What is due arrives with a bit turned over.
    Damage(usize),
    RestartGateway,
    RestartCollector,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..TARGETS, any::<u8>(), prop::bool::weighted(0.1))
            .prop_map(|(target, series, fails)| Event::Scrape { target, series, fails }),
        6 => Just(Event::Tick),
        6 => Just(Event::Deliver),
        1 => Just(Event::LoseRequest),
        2 => Just(Event::LoseAnswer),
        2 => any::<usize>().prop_map(Event::Repeat),
        1 => any::<usize>().prop_map(Event::Damage),
        1 => Just(Event::RestartGateway),
        1 => Just(Event::RestartCollector),
    ]
}

/// One run of a collector, as `push::client` drives it.
struct Collector {
    encoder: Encoder,
    sender: Sender,
    tables: HashMap<u8, SlotTable>,
    finished: Vec<Scrape>,
    ticks_since_key: u32,
}

impl Collector {
    fn new(stream: StreamId, started: Timestamp, limits: SenderLimits) -> Collector {
        Collector {
            encoder: Encoder::new(stream, started, limits.frame.clone()),
            sender: Sender::new(stream, limits),
            tables: HashMap::new(),
            finished: Vec::new(),
            ticks_since_key: 0,
        }
    }

    fn scrape(&mut self, target: u8, page: &Page, started: Timestamp, outcome: Outcome) {
        let (labels, table) = (target_labels(target), self.tables.entry(target).or_default());
        let mut samples = Vec::new();
        let mut beside = Beside::default();
        for (n, sample) in page {
            let pairs = [(METRIC_NAME, "test_value"), ("n", &n.to_string())];
            let series = Labels::from_pairs(labels.iter().chain(pairs));
            let own = OwnLabels::between(&series, &labels);
            let slot = table.insert(own, "test_value", &Metadata::default()).unwrap();
            samples.push((slot, f64::from_bits(sample.bits)));
            beside.histograms.extend(sample.histogram.clone().map(|histogram| (slot, histogram)));
            beside.starts.extend(sample.start.map(|start| (slot, start)));
        }
        let mut values = vec![stale_nan(); table.len()];
        samples.iter().for_each(|(slot, value)| values[*slot as usize] = *value);
        self.finished.push(Scrape {
            target: Arc::new(labels),
            started,
            duration: Duration::from_millis(1),
            outcome,
            report: Report { samples_scraped: samples.len() as u64, ..Report::default() },
            schema: table.schema(),
            values,
            beside,
        });
    }

    fn tick(&mut self, now: Timestamp) {
        let key = self.ticks_since_key >= TICKS_PER_KEY;
        self.ticks_since_key = if key { 0 } else { self.ticks_since_key + 1 };
        let frames = self.encoder.tick(now, now, &std::mem::take(&mut self.finished), key);
        self.sender.frames(frames);
    }
}

struct World {
    monotonic: Instant,
    wall: Timestamp,
    limits: SenderLimits,
    streams: u8,
    collector: Collector,
    store: Arc<Store>,
    receiver: Receiver,
    pusher: Pusher,
    /// Everything that was ever sent.
    sent: Vec<Vec<u8>>,
    /// What each scrape found, by target and time.
    scraped: HashMap<(u8, i64), Page>,
    last: HashMap<u8, Page>,
    pool: CpuPool,
    tries: u32,
}

impl World {
    fn new(queue_bytes_max: usize, frame_bytes_max: usize) -> World {
        let frame = FrameLimits { frame_bytes_max, ..FrameLimits::default() };
        let backoff_max = Duration::from_secs(2);
        let limits = SenderLimits { queue_bytes_max, body_bytes_max: 1 << 20, backoff_max, frame };
        let wall = Timestamp(1_800_000_000_000);
        let pool = CpuPool::new(1).unwrap();
        let (store, receiver, pusher) = gateway(&pool);
        World {
            monotonic: Instant::now(),
            wall,
            streams: 1,
            collector: Collector::new(StreamId([1; 16]), wall, limits.clone()),
            limits,
            store,
            receiver,
            pusher,
            sent: Vec::new(),
            scraped: HashMap::new(),
            last: HashMap::new(),
            pool,
            tries: 0,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.monotonic += time;
        self.wall = self.wall + time;
    }

    fn happen(&mut self, event: &Event) {
        self.pass(Duration::from_secs(1));
        match event {
            Event::Scrape { target, series, fails } => self.scrape(*target, *series, *fails),
            Event::Tick => self.collector.tick(self.wall),
            Event::Deliver => self.deliver(),
            Event::LoseRequest => {
                if self.send().is_some() {
                    self.fail();
                }
            }
            Event::LoseAnswer => {
                if let Some(body) = self.send() {
                    self.apply(&body);
                    self.fail();
                }
            }
            Event::Repeat(which) => self.repeat(*which),
            Event::Damage(bit) => self.deliver_damaged(*bit),
            Event::RestartGateway => (self.store, self.receiver, self.pusher) = gateway(&self.pool),
            Event::RestartCollector => {
                self.streams += 1;
                self.collector = Collector::new(StreamId([self.streams; 16]), self.wall, self.limits.clone());
            }
        }
    }

    /// Series `n` is there where bit `n` is set; values never repeat, so that an old one shows.
    fn scrape(&mut self, target: u8, series: u8, fails: bool) {
        let page = (0..8).filter(|n| !fails && series >> n & 1 == 1).map(|n| (n, sample(n, self.wall)));
        let page: Page = page.collect();
        let outcome = if fails { Outcome::Failed } else { Outcome::Up };
        self.scraped.insert((target, self.wall.as_millis()), page.clone());
        self.collector.scrape(target, &page, self.wall, outcome);
        self.last.insert(target, page);
    }

    /// The body that is due, if any; time passes while the sender waits.
    fn send(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.collector.sender.step(self.monotonic) {
                Step::Send(body) => {
                    let bytes = joined(&body);
                    self.sent.push(bytes.clone());
                    return Some(bytes);
                }
                Step::Wait(until) => self.pass(until.duration_since(self.monotonic)),
                Step::Make(fresh) => self.make(fresh),
                Step::Idle => return None,
            }
        }
    }

    fn make(&mut self, fresh: Fresh) {
        let collector = &mut self.collector;
        match fresh {
            Fresh::Key => collector.encoder.mark_gap(),
            Fresh::Stream => {
                self.streams += 1;
                let (stream, frame) = (StreamId([self.streams; 16]), self.limits.frame.clone());
                collector.encoder = Encoder::new(stream, self.wall, frame);
            }
        }
        collector.ticks_since_key = 0;
        let scrapes = std::mem::take(&mut collector.finished);
        let frames = collector.encoder.tick(self.wall, self.wall, &scrapes, true);
        collector.sender.replace(collector.encoder.stream(), frames);
    }

    fn apply(&self, body: &[u8]) -> Verdict {
        self.receiver.apply(&self.pusher, body, self.wall, self.monotonic)
    }

    fn fail(&mut self) {
        self.collector.sender.failed(self.monotonic, Failure::Unanswered);
    }

    fn deliver(&mut self) {
        if let Some(body) = self.send() {
            let verdict = self.apply(&body);
            self.collector.sender.answered(self.monotonic, verdict);
        }
    }

    fn repeat(&self, which: usize) {
        if !self.sent.is_empty() {
            self.apply(&self.sent[which % self.sent.len()]);
        }
    }

    fn deliver_damaged(&mut self, bit: usize) {
        let Some(mut body) = self.send() else { return };
        let at = bit / 8 % body.len();
        body[at] ^= 1 << (bit % 8);
        let verdict = self.apply(&body);
        assert!(!matches!(verdict, Verdict::Acked { .. }), "a turned bit is seen");
        self.collector.sender.answered(self.monotonic, verdict);
    }

    /// What the gateway shows of each target.
    fn shown(&self) -> HashMap<u8, (i64, Page)> {
        let view = self.store.view(self.wall, self.monotonic, None);
        let entry = |target: &TargetView| {
            let instance = target.labels.get("instance").unwrap();
            (instance[1..].parse().unwrap(), (target.started.as_millis(), page_of(target)))
        };
        view.targets.iter().map(|target| entry(&target.target)).collect()
    }

    /// Nothing is shown that was not scraped so at that time.
    fn check_truth(&self) {
        for (target, (started, page)) in self.shown() {
            let scraped = self.scraped.get(&(target, started));
            assert_eq!(Some(&page), scraped, "target {target} at {started}");
        }
    }

    /// Every target is scraped once more and the network works again.
    fn heal(&mut self) {
        for _ in 0..100 {
            // A new stream learns of a target when it is scraped, so all of them are, as in life.
            (0..TARGETS).for_each(|target| self.scrape(target, 0b1010_0101, false));
            self.collector.tick(self.wall);
            while !self.collector.sender.is_drained() {
                self.pass(Duration::from_secs(1));
                self.deliver();
                self.check_truth();
                self.tries += 1;
                assert!(self.tries < 1000, "the two ends do not meet: {:?}", self.collector.sender);
            }
            let shown = self.shown().into_iter().map(|(target, (_, page))| (target, page));
            if shown.collect::<HashMap<u8, Page>>() == self.last {
                return;
            }
        }
        panic!("expected {:?}, found {:?}", self.last, self.shown());
    }
}

fn gateway(pool: &CpuPool) -> (Arc<Store>, Receiver, Pusher) {
    let store = Arc::new(Store::new(FrameLimits::default()));
    let metrics = GatewayMetrics::new(&mut Registry::new());
    let limits = BodyLimits { bytes_max: 1 << 20, frames_max: 4096 };
    let receiver = Receiver::new(store.clone(), pool.clone(), metrics, limits);
    let limits = ClusterLimits { samples_per_second: u64::MAX, ..ClusterLimits::default() };
    let policy =
        ClusterPolicy { identities: vec![COLLECTOR.to_owned()], limits, ..ClusterPolicy::new("alpha", "test") };
    receiver.set_inventory(Inventory::new([policy]).unwrap());
    let membership = store.inventory().identify([COLLECTOR]).unwrap();
    (store, receiver, Pusher { membership, certificate_expires: Timestamp(i64::MAX), clock_skew_ms: None })
}

fn joined(body: &Body) -> Vec<u8> {
    body.pieces.concat()
}

fn page_of(target: &TargetView) -> Page {
    let mut page = Page::new();
    for (at, indexed) in target.layout.chunks().iter().enumerate() {
        for slot in indexed.slots().iter().map(|slot| usize::from(*slot)) {
            let chunk = indexed.chunk();
            let at = (at * fedgate::snapshot::CHUNK_SLOTS + slot) as u32;
            let bits = target.column.get(at as usize).to_bits();
            if bits != stale_nan().to_bits() {
                let n = chunk.pairs_of(slot).iter().map(|pair| chunk.pair(*pair)).find(|pair| pair.name == "n");
                let histogram = target.beside.histogram_of(at).cloned();
                let sample = Sample { bits, histogram, start: target.beside.start_of(at) };
                page.insert(n.unwrap().value.parse().unwrap(), sample);
            }
        }
    }
    page
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_two_ends_always_meet_again_and_never_show_what_was_not(
        events in prop::collection::vec(event(), 1..80),
        queue_bytes_max in prop_oneof![Just(64 << 20), 500_usize..4000],
    ) {
        let mut world = World::new(queue_bytes_max, FrameLimits::default().frame_bytes_max);
        for event in &events {
            world.happen(event);
            world.check_truth();
        }
        world.heal();
    }
}

#[test]
fn bodies_taken_in_at_once_are_bounded_together() {
    let (_, receiver, pusher) = gateway(&CpuPool::new(1).unwrap());
    let mut held: Vec<_> = Vec::new();
    while let Ok(room) = receiver.room(&pusher, None) {
        held.push(room);
        assert!(held.len() <= 512, "bodies of 1 MiB, 512 MiB together");
    }
    assert_eq!(held.len(), 512);
    assert!(matches!(receiver.room(&pusher, Some(1)), Err(Verdict::Busy { .. })), "not a byte more");
    held.pop();
    assert!(receiver.room(&pusher, Some(1 << 20)).is_ok(), "a finished body makes room");
}
