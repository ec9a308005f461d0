//! Restarts: what was acknowledged is there, and everybody goes on where they were.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fedgate::journal::Position;
use fedgate::model::{Labels, METRIC_NAME, MatchOp, Matcher, Timestamp};
use fedgate::push::protocol::Verdict;
use fedgate::runtime::clock;
use fedgate::snapshot::{EncodedFrame, FrameLimits};
use fedgate::store::{Inventory, Keep, RecordedSample, RuleId, Store};
use fedgate::wal::{Entry, FrameReader, Now, Replayed, replay_frames};

use super::lives::{Life, policy, shown, small_segments};
use crate::store_pushes::Collector;

const CLUSTERS: [&str; 2] = ["alpha", "beta"];

/// One collector of a cluster, its run and what it pushed last.
struct Pushing {
    identity: String,
    collector: Collector,
    run: u8,
    steps: i64,
    /// Whether its series stay the same.
    is_steady: bool,
    last: Vec<EncodedFrame>,
}

impl Pushing {
    fn new(identity: &str, run: u8) -> Pushing {
        let (identity, collector) = (identity.to_owned(), Collector::new(run, clock::now().0));
        Pushing { identity, collector, run, steps: 0, is_steady: false, last: Vec::new() }
    }

    /// A tick of two targets; series come and go.
    fn tick(&mut self, key: bool) {
        let (at, step) = (clock::now().0 - 60_000 + self.steps * 100, self.steps);
        self.steps += 1;
        for instance in ["n1", "n2"] {
            let job = format!("{}-{}", self.identity, self.run);
            let churn = if self.is_steady { 0 } else { step };
            let series = (0..20 + churn % 7).filter(|n| (n + churn) % 5 > 0);
            let lines: String = series.map(|n| format!("m{{n=\"{n}\"}} {}\n", n * 1000 + step)).collect();
            self.collector.scrape(&[("instance", instance), ("job", &job)], at, &format!("# TYPE m gauge\n{lines}"));
        }
        self.last = self.collector.tick_with(at, key);
    }

    async fn push(&mut self, life: &Life, key: bool) {
        self.tick(key);
        let acked = self.acked();
        assert_eq!(life.push(&self.identity, &self.last).await, Verdict::Acked { acked });
    }

    fn acked(&self) -> u64 {
        self.last.iter().map(|frame| frame.seq).max().unwrap_or_default()
    }
}

fn all() -> Vec<Pushing> {
    ["alpha-1", "alpha-2", "beta-1"].into_iter().zip(1..).map(|(identity, run)| Pushing::new(identity, run)).collect()
}

async fn push_all(life: &Life, pushing: &mut [Pushing], rounds: i64) {
    for round in 0..rounds {
        for (at, one) in pushing.iter_mut().enumerate() {
            one.push(life, (round + at as i64) % 10 == 9).await;
        }
    }
}

fn segments(dir: &Path, log: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join(log)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_again_and_collectors_go_on_without_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut pushing = all();
    let life = Life::begin(dir.path(), &small_segments(), &CLUSTERS, Vec::new()).await;
    push_all(&life, &mut pushing, 35).await;
    let mut before = life.shown();
    assert!(before.len() > 60 && segments(dir.path(), "frames").len() > 3, "{}", before.len());
    life.end().await;
    for _ in 0..3 {
        let life = Life::begin(dir.path(), &small_segments(), &CLUSTERS, Vec::new()).await;
        assert_eq!(life.shown(), before);
        let clusters = life.replayed.clusters();
        assert!(clusters["alpha"].applied > 10 && clusters["alpha"].damaged == 0, "{clusters:?}");
        for one in &pushing {
            assert_eq!(life.push(&one.identity, &one.last).await, Verdict::Acked { acked: one.acked() }, "a duplicate");
        }
        assert_eq!(life.shown(), before);
        push_all(&life, &mut pushing, 3).await;
        before = life.shown();
        life.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_can_begin_at_every_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut pushing = all();
    let life = Life::begin(dir.path(), &small_segments(), &CLUSTERS, Vec::new()).await;
    push_all(&life, &mut pushing, 40).await;
    let whole = life.shown();
    let firsts: Vec<Position> = life.wal.frames.log().segments().iter().map(|segment| segment.first).collect();
    assert!(firsts.len() > 4, "{firsts:?}");
    let now = Now { wall: clock::now(), monotonic: clock::monotonic() };
    let mut were_whole = 0;
    for first in &firsts {
        let store = Store::new(FrameLimits::default());
        store.set_inventory(Inventory::new(CLUSTERS.map(policy)).unwrap());
        let replayed = Replayed::default();
        replay_frames(&life.wal.frames, &store, *first, now, 2, &|| false, &replayed).unwrap();
        let found = shown(&store);
        assert!(found.iter().all(|(series, sample)| whole.get(series) == Some(sample)), "from {first}: only what is");
        assert!(replayed.clusters().values().all(|counts| counts.damaged == 0), "{:?}", replayed.clusters());
        were_whole += usize::from(found == whole);
    }
    // KEYs come every ten rounds: only behind the last of one of the three streams something is missing.
    assert!(were_whole >= firsts.len() / 2, "{were_whole} of {}", firsts.len());
    let origin = life.wal.frames.origin(clock::now()).unwrap();
    assert!(firsts.contains(&origin) && origin > firsts[0], "{origin:?} of {firsts:?}");
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_costs_its_stream_the_frames_to_the_next_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = small_segments();
    config.segment_bytes.0 = 1 << 20;
    let mut pushing = vec![Pushing::new("alpha-1", 1), Pushing::new("beta-1", 2)];
    pushing.iter_mut().for_each(|one| one.is_steady = true);
    let life = Life::begin(dir.path(), &config, &CLUSTERS, Vec::new()).await;
    push_all(&life, &mut pushing, 5).await;
    let hit = life.wal.frames.log().end();
    pushing[0].push(&life, false).await;
    push_all(&life, &mut pushing, 2).await;
    let before = life.shown();
    life.end().await;

    // Into the payload of the record that stands at `hit`: behind two headers of the segment and one of the record.
    let file = OpenOptions::new().read(true).write(true).open(&segments(dir.path(), "frames")[0]).unwrap();
    let (offset, mut byte) = (128 + hit.0 + 28 + 60, [0]);
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], offset).unwrap();

    let life = Life::begin(dir.path(), &config, &CLUSTERS, Vec::new()).await;
    let clusters = life.replayed.clusters();
    let (alpha, beta) = (clusters["alpha"], clusters["beta"]);
    assert_eq!((alpha.applied, alpha.damaged, alpha.passed), (5, 2, 1), "it, and those behind it: {clusters:?}");
    assert_eq!((beta.applied, beta.damaged, beta.passed), (7, 0, 0));
    let is_beta = |series: &&String| series.starts_with('1');
    let shown_before: Vec<_> = before.iter().filter(|(series, _)| is_beta(series)).collect();
    let again = life.shown();
    assert_eq!(again.iter().filter(|(series, _)| is_beta(series)).collect::<Vec<_>>(), shown_before);
    pushing[0].tick(false);
    let verdict = life.push("alpha-1", &pushing[0].last).await;
    assert_eq!(verdict, Verdict::Missing { key: true, schemas: Vec::new() }, "what is missing is asked for");
    pushing[0].push(&life, true).await;
    life.end().await;
    let life = Life::begin(dir.path(), &config, &CLUSTERS, Vec::new()).await;
    pushing[0].push(&life, false).await;
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_judged_as_it_was_and_silence_without_a_gateway_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let mut pushing = all();
    let life = Life::begin(dir.path(), &small_segments(), &CLUSTERS, Vec::new()).await;
    push_all(&life, &mut pushing, 2).await;
    let end_after = policy("alpha").series_end_after();
    // Two hours later, by both clocks: as if the gateway had been away.
    let away = Duration::from_secs(7200);
    let now = Now { wall: clock::now() + away, monotonic: clock::monotonic() + away };
    let store = Store::new(FrameLimits::default());
    store.set_inventory(Inventory::new(CLUSTERS.map(policy)).unwrap());
    let first = life.wal.frames.log().first();
    replay_frames(&life.wal.frames, &store, first, now, 1, &|| false, &Replayed::default()).unwrap();
    let live = |at: Instant| store.view(now.wall, at, None).targets.len();
    assert_eq!((live(Instant::now()), live(now.monotonic)), (6, 0), "they are as old as they are");
    store.resume(now.monotonic, None);
    store.sweep(now.monotonic + end_after);
    pushing[0].tick(false);
    let arrival = fedgate::store::Arrival {
        collector: "alpha-1".into(),
        certificate_expires: Timestamp(i64::MAX),
        clock_skew_ms: None,
        wall: now.wall,
        monotonic: now.monotonic + end_after,
    };
    for frame in &pushing[0].last {
        let (frame, _) = fedgate::snapshot::Frame::parse(&frame.bytes, &FrameLimits::default()).unwrap();
        store.apply("alpha", &frame, &arrival).unwrap();
    }
    assert_eq!(live(now.monotonic + end_after), 2, "a DELTA is enough");
    store.sweep(now.monotonic + 2 * end_after);
    assert_eq!(live(now.monotonic + 2 * end_after), 2, "the others had their time");
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_inventory_does_not_relabel_the_past() {
    let dir = tempfile::tempdir().unwrap();
    let mut pushing = Pushing::new("alpha-1", 1);
    let life = Life::begin(dir.path(), &small_segments(), &CLUSTERS, Vec::new()).await;
    pushing.push(&life, false).await;
    let mut moved = policy("alpha");
    moved.labels = Labels::from_pairs([("cluster", "alpha"), ("environment", "test"), ("site", "south")]);
    life.receiver.set_inventory(Inventory::new([moved]).unwrap());
    pushing.push(&life, false).await;
    life.end().await;
    let life = Life::begin(dir.path(), &small_segments(), &CLUSTERS, Vec::new()).await;
    pushing.push(&life, false).await;
    let mut reader = FrameReader::new(life.wal.frames.log(), life.wal.frames.log().first());
    let mut sites = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        if let Entry::Frame(record) = entry
            && !record.frame.header().kind.is_definition()
        {
            assert_eq!((record.collector, record.clock_skew_ms), ("alpha-1", Some(7)));
            sites.push(record.policy.labels.get("site").map(str::to_owned));
        }
    }
    assert_eq!(sites, [None, Some("south".to_owned()), None]);
    life.end().await;
}

/// Everything that rules gave is back: series, times, ends, and the slots in which the next evaluation goes on.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_series_come_back_with_their_history() {
    let dir = tempfile::tempdir().unwrap();
    let everything = Matcher::new(METRIC_NAME, MatchOp::NotEqual, "").unwrap();
    let keeps =
        || vec![Keep { matchers: vec![everything.clone()], duration: Duration::from_secs(3600), is_of_recorded: true }];
    let rules: Vec<RuleId> = (0..3).map(|rule| RuleId { group: "file;group".into(), rule }).collect();
    let start = clock::now().0 - 600_000;
    let evaluate = |life: &Life, store: &Store, step: i64| {
        for rule in &rules {
            let at = Timestamp(start + step * 1000 + i64::from(rule.rule));
            let series = (0..30).filter(|n| (n * 7 + step + i64::from(rule.rule)) % 11 > 2).map(|n| {
                let labels =
                    Labels::from_pairs([(METRIC_NAME, "r"), ("n", &n.to_string()), ("rule", &rule.rule.to_string())]);
                (labels, RecordedSample::Float((n * step) as f64))
            });
            let results = store.record(rule, at, series).unwrap();
            life.wal.recorded.record(rule, &results, at);
        }
    };
    // One store that never ends, beside the lives.
    let steady = Store::new(FrameLimits::default());
    steady.keep(keeps());
    for run in 0..3 {
        let life = Life::begin(dir.path(), &small_segments(), &CLUSTERS, keeps()).await;
        assert_eq!(history_of(&life.store), history_of(&steady), "run {run}");
        assert_eq!(life.shown(), shown(&steady));
        for step in run * 40..(run + 1) * 40 {
            evaluate(&life, &life.store, step);
            for rule in &rules {
                let results = life.store.all_recorded().into_iter().find(|(id, _)| id == rule).unwrap().1;
                let series = series_of(&results);
                steady.record(rule, results.at, series).unwrap();
            }
        }
        assert_eq!(history_of(&life.store), history_of(&steady), "run {run}, on the way");
        if run == 1 {
            for (rule, last) in life.store.retain_rules(|rule| rule.rule != 1) {
                life.wal.recorded.end(&rule, &last, clock::now());
            }
            steady.retain_rules(|rule| rule.rule != 1);
            assert_eq!(life.shown(), shown(&steady));
        }
        life.wal.recorded.committer().flush().await.unwrap();
        assert_eq!(life.wal.recorded.lost(), 0);
        life.end().await;
    }
    assert!(segments(dir.path(), "recorded").len() > 3);
}

fn series_of(results: &fedgate::store::RecordedResults) -> Vec<(Labels, RecordedSample)> {
    let chunks = results.schema.chunks().iter();
    let slots = chunks.flat_map(|chunk| (0..chunk.len()).map(move |slot| chunk.labels(slot, &Labels::empty())));
    let samples = slots.zip(results.column.iter()).filter(|(_, value)| !fedgate::model::is_stale(*value));
    samples.filter_map(|(labels, value)| Some((labels?, RecordedSample::Float(value)))).collect()
}

/// Every sample that is kept of recorded series, as a range query gives them.
fn history_of(store: &Store) -> Vec<String> {
    use fedgate::promql::{Engine, ParseOptions, SelectionCache, Steps, StoreSource, parse};
    let view = store.view(clock::now(), Instant::now(), None);
    let cache = SelectionCache::new();
    let source = StoreSource::new(&view, &cache);
    let expr = parse("{__name__=~\"r|m\"}[1h]", &ParseOptions::default()).unwrap();
    let engine = Engine { samples_max: u64::MAX, ..Engine::default() };
    let outcome = engine.evaluate(&source, &expr, Steps::instant(clock::now()), &|| false).unwrap();
    let mut lines: Vec<String> = format!("{:?}", outcome.value).split("Labels").map(str::to_owned).collect();
    lines.sort();
    lines
}
