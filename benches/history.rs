//! Time a sample of what is kept of 5,000 series: taking a push in without and with history, reading it again, functions over it. Before that,
//! how much memory five minutes of it take.
//!
//! Keeping costs what `take_in` costs beyond `nothing`: a copy a value, and compressing it once there are rows enough.

mod site;

use std::time::{Duration, Instant};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use fedgate::model::{METRIC_NAME, MatchOp, Matcher, Timestamp};
use fedgate::promql::{Engine, ParseOptions, Plan, SelectionCache, Steps, StoreSource, parse};
use fedgate::snapshot::{EncodedFrame, Encoder, Frame, FrameLimits, StreamId};
use fedgate::store::{Arrival, ClusterPolicy, Inventory, Keep, SiteView, Store};
use site::{INTERVAL_MS, Page};

const SERIES: usize = 5_000;
const NODES: usize = 39;
const CLUSTER: &str = "alpha";
const FIVE_MINUTES: Duration = Duration::from_secs(300);
/// Scrapes in five minutes.
const SCRAPES: usize = 20;
/// Beside the newest sample.
const BYTES_GOAL: usize = 60;

fn main() {
    println!("five minutes of history: {} B a series at most, goal {BYTES_GOAL}", bytes_max());
    divan::main();
}

/// A store with one cluster, of which it keeps all series so long, if at all.
struct Kept {
    store: Store,
    now: Timestamp,
}

impl Kept {
    fn new(duration: Option<Duration>) -> Kept {
        let store = Store::new(FrameLimits::default());
        let policy =
            ClusterPolicy { identities: vec![CLUSTER.to_owned()], ..ClusterPolicy::new(CLUSTER, "production") };
        store.set_inventory(Inventory::new([policy]).expect("one name"));
        let matchers = vec![Matcher::new(METRIC_NAME, MatchOp::Regex, ".+").expect("a pattern")];
        let keeps = duration.map(|duration| Keep { matchers, duration, is_of_recorded: false });
        store.keep(keeps.into_iter().collect());
        Kept { store, now: Timestamp(0) }
    }

    fn take(&mut self, encoded: &EncodedFrame) {
        let (frame, _) = Frame::parse(&encoded.bytes, &FrameLimits::default()).expect("our own frame");
        self.now = frame.header().tick;
        let (collector, monotonic) = (CLUSTER.into(), Instant::now());
        let arrival =
            Arrival { collector, certificate_expires: self.now, clock_skew_ms: None, wall: self.now, monotonic };
        self.store.apply(CLUSTER, &frame, &arrival).expect("frames in order");
    }

    fn view(&self) -> SiteView {
        self.store.view(self.now, Instant::now(), None)
    }
}

/// The frames of so many scrapes, scrape by scrape.
fn pushes(scrapes: usize) -> Vec<Vec<EncodedFrame>> {
    let mut page = Page::new(1, NODES, SERIES);
    let mut encoder = Encoder::new(StreamId([7; 16]), page.now(), FrameLimits::default());
    let mut push = |round: usize| {
        page.advance();
        encoder.tick(page.now(), page.now(), &[page.scrape()], round == 0)
    };
    (0..scrapes).map(&mut push).collect()
}

/// The most that a series' history takes, while scrapes come and go.
fn bytes_max() -> usize {
    let mut kept = Kept::new(Some(FIVE_MINUTES));
    let bytes = pushes(3 * SCRAPES).into_iter().map(|frames| {
        frames.iter().for_each(|frame| kept.take(frame));
        kept.store.history().bytes / SERIES
    });
    bytes.max().unwrap_or(0)
}

/// How long everything is kept: not at all, in blocks of 4 rows, of 16, of 32.
const KEPT: [(&str, Option<Duration>); 4] = [
    ("nothing", None),
    ("5m", Some(FIVE_MINUTES)),
    ("1h", Some(Duration::from_secs(3_600))),
    ("6h", Some(Duration::from_secs(6 * 3_600))),
];

#[divan::bench(args = KEPT.map(|(name, _)| name))]
fn take_in(bencher: Bencher, name: &str) {
    // As many as give each of the blocks' lengths whole blocks.
    const ROWS: usize = 32;
    let pushes = pushes(2 * ROWS + 1);
    let duration = KEPT.iter().find(|(own, _)| *own == name).and_then(|(_, duration)| *duration);
    let begun = || {
        let mut kept = Kept::new(duration);
        pushes[..=ROWS].iter().flatten().for_each(|frame| kept.take(frame));
        kept
    };
    let rest = bencher.counter(ItemsCount::new(ROWS * SERIES)).with_inputs(begun);
    rest.bench_refs(|kept| pushes[ROWS + 1..].iter().flatten().for_each(|frame| kept.take(frame)));
}

fn full() -> Kept {
    let mut kept = Kept::new(Some(FIVE_MINUTES));
    pushes(SCRAPES + 2).iter().flatten().for_each(|frame| kept.take(frame));
    kept
}

/// All series, so many scrapes back.
#[divan::bench(args = [4, SCRAPES])]
fn read(bencher: Bencher, scrapes: usize) {
    let kept = full();
    let (view, from) = (kept.view(), Timestamp(kept.now.0 - scrapes as i64 * INTERVAL_MS));
    let strip = &view.targets[0].target.history[0];
    let columns: Vec<u32> = (0..SERIES as u32).collect();
    bencher.counter(ItemsCount::new(scrapes * SERIES)).bench(|| {
        let mut newest = 0.0;
        strip.reader(from, kept.now).read(&columns, |_, samples| newest += samples.values[samples.times.len() - 1]);
        newest
    });
}

/// Functions over five minutes of 936 counters, planned.
#[divan::bench(args = ["rate", "delta", "irate", "max_over_time", "avg_over_time", "count_over_time"])]
fn over_range(bencher: Bencher, function: &str) {
    const COUNTERS: usize = NODES * 24;
    let kept = full();
    let (view, cache, plan) = (kept.view(), SelectionCache::new(), Plan::default());
    let source = StoreSource::new(&view, &cache);
    let expr = parse(&format!("{function}(node_cpu_seconds_total[5m])"), &ParseOptions::default()).expect("a rule");
    bencher.counter(ItemsCount::new(COUNTERS * SCRAPES)).bench_local(|| {
        let steps = Steps::instant(kept.now);
        black_box(Engine::default().evaluate_planned(&source, &expr, steps, &plan, &|| false).expect("a result"))
    });
}
