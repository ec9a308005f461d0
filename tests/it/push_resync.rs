//! Whatever is lost, repeated, damaged or restarted between a collector and its gateway: what the gateway shows is at every
//! moment something that was scraped, and in the end what was scraped last. What was synced in the spool arrives, or is counted.
//!
//! Real encoder, spool, state machine, receiver and store; the network, the disk and the two processes' lives are the test's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::journal::{Cursors, Files, Journal, Options, Position, Role};
use fedgate::model::{
    Buckets, Counts, HISTOGRAM_NAN, HistogramCounts, HistogramSample, Labels, METRIC_NAME, Metadata, NativeHistogram,
    ResetHint, Span, Timestamp, stale_nan,
};
use fedgate::push::entry::{Place, entries};
use fedgate::push::protocol::Verdict;
use fedgate::push::receive::{BodyLimits, Pusher, Receiver};
use fedgate::push::sender::{Body, DropReason, Failure, Fresh, Sender, SenderLimits, Step};
use fedgate::push::spool::{Spool, read};
use fedgate::runtime::CpuPool;
use fedgate::snapshot::{
    Ahead, Beside, EncodedFrame, Encoder, Frame, FrameLimits, Outcome, OwnLabels, Report, Scrape, SlotTable, StreamId,
};
use fedgate::store::{ClusterLimits, ClusterPolicy, Inventory, Store, TargetView};
use fedgate::telemetry::{GatewayMetrics, Registry};
use proptest::prelude::*;

use crate::journal::faulty::{Crash, Faults, FaultyFiles};

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
    RestartCollector(Crash),
    /// The newest state travels ahead.
    Overtake,
    /// The disk fails a few times.
    FailDisk(u32),
    /// How far things were delivered is saved.
    SaveCursor,
    /// The oldest segments go.
    DropOldest,
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
        1 => prop_oneof![Just(Crash::Killed), Just(Crash::Forgets), Just(Crash::Mixes)].prop_map(Event::RestartCollector),
        2 => Just(Event::Overtake),
        1 => (1..4_u32).prop_map(Event::FailDisk),
        2 => Just(Event::SaveCursor),
        1 => Just(Event::DropOldest),
    ]
}

const DIR: &str = "/spool";

/// The log of a collector, and the disk under it.
struct Disk {
    files: FaultyFiles,
    journal: Journal,
}

/// One run of a collector, as `push::client` drives it.
struct Collector {
    encoder: Encoder,
    ahead: Ahead,
    sender: Sender,
    spool: Spool,
    disk: Option<Disk>,
    frame: FrameLimits,
    tables: HashMap<u8, SlotTable>,
    finished: Vec<Scrape>,
    ticks_since_key: u32,
    last_tick: Timestamp,
    /// State frames that are in the log, by their place, and may be found again by a later run.
    logged: Vec<(Position, (StreamId, u64))>,
}

impl Collector {
    /// Begins behind what an earlier run left on disk.
    fn new(
        stream: u8,
        started: Timestamp,
        limits: SenderLimits,
        frame: FrameLimits,
        files: Option<FaultyFiles>,
    ) -> Collector {
        let disk = files.map(|files| {
            // So small that a segment holds a few ticks.
            let options = Options { segment_bytes: 4 << 10, buffer_bytes_max: 64 << 10, ..Options::new(Role::Spool) };
            let (journal, _) = Journal::open(Arc::new(files.clone()), Path::new(DIR), options, started).unwrap();
            Disk { files, journal }
        });
        let spool = match &disk {
            Some(disk) => {
                let files: Arc<dyn Files> = Arc::new(disk.files.clone());
                Spool::on_disk(disk.journal.log().clone(), Cursors::new(files, Path::new(DIR))).unwrap()
            }
            None => Spool::in_memory(),
        };
        let (end, totals) = spool.end();
        let mut sender = Sender::new(spool.mark("gateway").unwrap(), end, totals, limits);
        if let Some(log) = spool.log() {
            let first = log.first();
            sender.lost_before(Place::behind(first), spool.totals_at(first).unwrap(), DropReason::Unreadable);
        }
        Collector {
            encoder: Encoder::new(StreamId([stream; 16]), started, frame.clone()),
            ahead: Ahead::new(StreamId([100; 16])),
            sender,
            spool,
            disk,
            frame,
            tables: HashMap::new(),
            finished: Vec::new(),
            ticks_since_key: 0,
            last_tick: started,
            logged: Vec::new(),
        }
    }

    /// Brings frames into the log and, whatever the disk says, to the sender.
    fn append(&mut self, frames: &[EncodedFrame], now: Timestamp) {
        let mut made = entries(frames, self.spool.totals_mut(), &self.frame);
        let is_taken = self.spool.append(&mut made, now).is_ok();
        for entry in made.iter().filter(|entry| entry.is_state() && is_taken) {
            self.logged.push((entry.at.position(), (entry.stream, entry.seq)));
        }
        if let Some(disk) = &mut self.disk {
            // A fault is tried again with the next tick, as the committer does.
            let _ = disk.journal.commit(now);
        }
        self.sender.push(&made);
    }

    /// Reads what the sender wants of the spool.
    fn read(&mut self, now: Instant) {
        if let (Some(from), Some(log)) = (self.sender.wants_read(now), self.spool.log()) {
            let (entries, read_to) = read(log, from, 2000).unwrap();
            self.sender.loaded(now, from, entries, read_to);
        }
    }

    fn save(&self) {
        if let (Some(log), Some(cursors)) = (self.spool.log(), self.spool.cursors()) {
            let _ = Spool::save(log, cursors, "gateway", self.sender.mark());
        }
    }

    /// All segments but the last two go.
    fn drop_oldest(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let segments = disk.journal.log().segments();
        if let Some(last) = segments.len().checked_sub(3).map(|last| segments[last]) {
            let totals = self.spool.totals_at(last.end).unwrap();
            self.sender.lost_before(Place::behind(last.end), totals, DropReason::Bytes);
            let _ = disk.journal.drop_before(last.end);
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
        let is_back = self.spool.is_back(1000);
        if is_back {
            self.encoder.mark_gap();
        }
        let key = self.ticks_since_key >= TICKS_PER_KEY || is_back;
        self.ticks_since_key = if key { 0 } else { self.ticks_since_key + 1 };
        let frames = self.encoder.tick(now, now, &std::mem::take(&mut self.finished), key);
        self.last_tick = now;
        self.append(&frames, now);
    }
}

struct World {
    monotonic: Instant,
    wall: Timestamp,
    limits: SenderLimits,
    frame: FrameLimits,
    streams: u8,
    /// `None` while it is restarted.
    collector: Option<Collector>,
    /// State frames that were synced when their run ended, and that nothing dropped before.
    safe: HashSet<(StreamId, u64)>,
    /// State frames that were acknowledged.
    delivered: HashSet<(StreamId, u64)>,
    /// Counted as dropped.
    dropped: u64,
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
    fn new(queue_bytes_max: usize, has_spool: bool) -> World {
        let frame = FrameLimits::default();
        let backoff_max = Duration::from_secs(2);
        let backlog_bytes_per_second = None;
        let limits =
            SenderLimits { queue_bytes_max, has_spool, body_bytes_max: 1 << 20, backoff_max, backlog_bytes_per_second };
        let wall = Timestamp(1_800_000_000_000);
        let pool = CpuPool::new(1).unwrap();
        let (store, receiver, pusher) = gateway(&pool);
        let files = has_spool.then(|| FaultyFiles::new(7));
        World {
            monotonic: Instant::now(),
            wall,
            streams: 1,
            collector: Some(Collector::new(1, wall, limits.clone(), frame.clone(), files)),
            safe: HashSet::new(),
            delivered: HashSet::new(),
            dropped: 0,
            limits,
            frame,
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

    fn collector(&mut self) -> &mut Collector {
        self.collector.as_mut().expect("it runs but for a moment")
    }

    /// The process ends as it may, and another one begins.
    fn restart_collector(&mut self, crash: Crash) {
        let mut before = self.collector.take().expect("it runs");
        self.dropped += before.sender.take_dropped().iter().map(|(_, totals)| totals.frames).sum::<u64>();
        let files = before.disk.take().map(|disk| {
            let (first, synced) = (disk.journal.log().first(), disk.journal.log().synced());
            let is_safe = |at: &Position| *at >= first && *at < synced;
            self.safe.extend(before.logged.iter().filter(|(at, _)| is_safe(at)).map(|(_, frame)| *frame));
            disk.files.after(crash)
        });
        drop(before);
        self.streams += 1;
        self.collector = Some(Collector::new(self.streams, self.wall, self.limits.clone(), self.frame.clone(), files));
    }

    fn overtake(&mut self) {
        self.streams += 1;
        let streams = self.streams;
        let collector = self.collector();
        if collector.encoder.left_out().scrapes > 0 || collector.last_tick == Timestamp(0) {
            return;
        }
        collector.ahead = Ahead::new(StreamId([100 + streams; 16]));
        let frames = collector.encoder.newest(&mut collector.ahead, collector.last_tick, collector.last_tick);
        let body: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
        assert!(matches!(self.apply(&body), Verdict::Acked { .. }), "a stream that stands on nothing");
    }

    fn pass(&mut self, time: Duration) {
        self.monotonic += time;
        self.wall = self.wall + time;
    }

    fn happen(&mut self, event: &Event) {
        self.pass(Duration::from_secs(1));
        match event {
            Event::Scrape { target, series, fails } => self.scrape(*target, *series, *fails),
            Event::Tick => {
                let wall = self.wall;
                self.collector().tick(wall);
            }
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
            Event::RestartCollector(crash) => self.restart_collector(*crash),
            Event::Overtake => self.overtake(),
            Event::FailDisk(times) => {
                if let Some(disk) = &self.collector().disk {
                    disk.files.set(Faults { writes: *times, syncs: *times / 2, ..Faults::default() });
                }
            }
            Event::SaveCursor => self.collector().save(),
            Event::DropOldest => self.collector().drop_oldest(),
        }
    }

    /// Series `n` is there where bit `n` is set; values never repeat, so that an old one shows.
    fn scrape(&mut self, target: u8, series: u8, fails: bool) {
        let page = (0..8).filter(|n| !fails && series >> n & 1 == 1).map(|n| (n, sample(n, self.wall)));
        let page: Page = page.collect();
        let outcome = if fails { Outcome::Failed } else { Outcome::Up };
        self.scraped.insert((target, self.wall.as_millis()), page.clone());
        let wall = self.wall;
        self.collector().scrape(target, &page, wall, outcome);
        self.last.insert(target, page);
    }

    /// The body that is due, if any; time passes while the sender waits.
    fn send(&mut self) -> Option<Vec<u8>> {
        // What the disk has not taken yet cannot be read, however long one waits.
        for _ in 0..50 {
            let now = self.monotonic;
            self.collector().read(now);
            match self.collector().sender.step(now) {
                Step::Send(body) => {
                    let bytes = joined(&body);
                    self.sent.push(bytes.clone());
                    return Some(bytes);
                }
                Step::Wait(until) => self.pass(until.duration_since(self.monotonic)),
                Step::Make(fresh) => self.make(fresh),
                Step::Idle if self.collector().sender.wants_read(now).is_none() => return None,
                Step::Idle => {}
            }
        }
        None
    }

    fn make(&mut self, fresh: Fresh) {
        let (wall, streams) = (self.wall, self.streams + 1);
        let collector = self.collector();
        if fresh == Fresh::Stream {
            collector.encoder = collector.encoder.anew(StreamId([streams; 16]), wall);
        }
        collector.ticks_since_key = 0;
        let scrapes = std::mem::take(&mut collector.finished);
        let frames = collector.encoder.tick(wall, wall, &scrapes, true);
        collector.last_tick = wall;
        collector.append(&frames, wall);
        self.streams = streams;
    }

    /// Notes what an acknowledged body brought.
    fn answered(&mut self, body: &[u8], verdict: Verdict) {
        if let Verdict::Acked { acked } = verdict {
            let mut rest = body;
            while let Ok((frame, behind)) = Frame::parse(rest, &FrameLimits::default()) {
                let header = frame.header();
                self.delivered.extend((header.seq != 0 && header.seq <= acked).then_some((header.stream, header.seq)));
                rest = behind;
            }
        }
        let now = self.monotonic;
        self.collector().sender.answered(now, verdict);
    }

    fn apply(&self, body: &[u8]) -> Verdict {
        self.receiver.apply(&self.pusher, body, self.wall, self.monotonic).verdict
    }

    fn fail(&mut self) {
        let now = self.monotonic;
        self.collector().sender.failed(now, Failure::Unanswered);
    }

    fn deliver(&mut self) {
        if let Some(body) = self.send() {
            let verdict = self.apply(&body);
            self.answered(&body, verdict);
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
        self.answered(&body, verdict);
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

    /// What was synced has arrived, or is counted as dropped.
    fn check_deliveries(&mut self) {
        self.dropped += self.collector().sender.take_dropped().iter().map(|(_, totals)| totals.frames).sum::<u64>();
        let missing: Vec<_> = self.safe.difference(&self.delivered).collect();
        assert!(missing.len() as u64 <= self.dropped, "{missing:?} are missing, {} are counted", self.dropped);
    }

    /// Every target is scraped once more and the network works again.
    fn heal(&mut self) {
        if let Some(disk) = &self.collector().disk {
            disk.files.set(Faults::default());
        }
        for _ in 0..100 {
            // A new stream learns of a target when it is scraped, so all of them are, as in life.
            (0..TARGETS).for_each(|target| self.scrape(target, 0b1010_0101, false));
            let wall = self.wall;
            self.collector().tick(wall);
            while !self.collector().sender.is_drained() {
                self.pass(Duration::from_secs(1));
                self.deliver();
                self.check_truth();
                self.tries += 1;
                assert!(self.tries < 1000, "the two ends do not meet: {:?}", self.collector().sender);
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
        has_spool in any::<bool>(),
    ) {
        let mut world = World::new(queue_bytes_max, has_spool);
        for event in &events {
            world.happen(event);
            world.check_truth();
        }
        world.heal();
        world.check_deliveries();
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
