//! What goes when, and who gives way where the journal is full.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedgate::config::{ByteSize, JournalConfig, JournalFull};
use fedgate::journal::{Cause, Position};
use fedgate::model::{METRIC_NAME, MatchOp, Matcher};
use fedgate::push::protocol::Verdict;
use fedgate::runtime::clock;
use fedgate::snapshot::EncodedFrame;
use fedgate::store::Keep;
use fedgate::wal::{Entry, FrameReader, Logs};

use super::lives::{Life, small_segments};
use crate::journal::faulty::{Crash, Faults, FaultyFiles};
use crate::store_pushes::Collector;

/// Frames of ten rounds, each a KEY so that nothing before it is needed.
fn frames(collector: &mut Collector, rounds: i64) -> Vec<Vec<EncodedFrame>> {
    let tick = |round: i64| {
        let at = clock::now().0 - 1000 + round;
        let lines: String = (0..100).map(|n| format!("m{{n=\"{n}\"}} {}.{}\n", n * 7919 % 1009, round * n)).collect();
        collector.scrape(&[("instance", "n"), ("job", "j")], at, &lines);
        collector.tick_with(at, true)
    };
    (0..rounds).map(tick).collect()
}

async fn filled(dir: &Path, config: &JournalConfig, keeps: Vec<Keep>) -> (Life, Collector) {
    let (life, mut collector) = (Life::begin(dir, config, &["alpha"], keeps).await, Collector::new(1, clock::now().0));
    for frames in frames(&mut collector, 60) {
        assert!(matches!(life.push("alpha-1", &frames).await, Verdict::Acked { .. }));
    }
    (life, collector)
}

/// Waits until the thread has dropped what it was told to.
async fn first_is(life: &Life, expected: Position) {
    let log = life.wal.frames.log();
    for _ in 0..1000 {
        if log.first() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("begins at {}, expected {expected}", log.first());
}

fn everything(seconds: u64) -> Vec<Keep> {
    let matchers = vec![Matcher::new(METRIC_NAME, MatchOp::NotEqual, "").unwrap()];
    vec![Keep { matchers, duration: Duration::from_secs(seconds), is_of_recorded: false }]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_neither_a_restart_nor_an_endpoint_needs_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (life, _) = filled(dir.path(), &small_segments(), Vec::new()).await;
    let segments = life.wal.frames.log().segments();
    assert!(segments.len() > 6, "{}", segments.len());
    life.wal.retention.hold("endpoint", Logs::Frames, segments[2].first);
    life.round();
    first_is(&life, segments[2].first).await;
    life.wal.retention.hold("endpoint", Logs::Frames, segments[4].first);
    life.round();
    first_is(&life, segments[4].first).await;
    life.wal.retention.release("endpoint");
    life.round();
    let origin = life.wal.frames.origin(clock::now()).unwrap();
    first_is(&life, origin).await;
    assert!(origin > segments[4].first && life.wal.retention.skipped().is_empty());
    assert_eq!(life.wal.retention.checkpoint().unwrap(), origin);
    let before = life.shown();
    life.end().await;
    let life = Life::begin(dir.path(), &small_segments(), &["alpha"], Vec::new()).await;
    assert_eq!(life.shown(), before, "what is left is enough");
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_history_wants_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (life, _) = filled(dir.path(), &small_segments(), everything(600)).await;
    let first = life.wal.frames.log().first();
    life.round();
    life.round();
    assert_eq!(life.wal.frames.log().first(), first, "ten minutes are wanted");
    life.end().await;
}

fn full(on_full: JournalFull) -> JournalConfig {
    JournalConfig { bytes_max: ByteSize(16 << 10), on_full, ..small_segments() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_loses_its_oldest_and_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (life, mut collector) = filled(dir.path(), &full(JournalFull::DropOldest), everything(600)).await;
    let (log, start) = (life.wal.frames.log(), Position::START);
    life.wal.retention.hold("dead", Logs::Frames, start);
    let mut reader = FrameReader::new(log, start);
    life.round();
    let bytes: u64 = log.segments().iter().map(|segment| segment.bytes).sum();
    assert!(bytes > 16 << 10, "the thread drops, not the round");
    let skipped = life.wal.retention.skipped();
    let [(holder, Logs::Frames, lost_bytes)] = &skipped[..] else { panic!("{skipped:?}") };
    assert!(holder == "dead" && *lost_bytes > 0);
    first_is(&life, Position(*lost_bytes)).await;
    let bytes: u64 = log.segments().iter().map(|segment| segment.bytes).sum();
    assert!(bytes <= 16 << 10, "{bytes}");
    let Some(Entry::Lost { lost, cluster: None }) = reader.next().unwrap() else { panic!("something is lost") };
    assert_eq!((lost.cause, lost.bytes()), (Cause::Dropped, *lost_bytes), "and its reader is told how much");
    assert!(!life.wal.frames.is_refusing());
    for frames in frames(&mut collector, 1) {
        assert!(matches!(life.push("alpha-1", &frames).await, Verdict::Acked { .. }));
    }
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusing_stops_pushes_until_the_endpoint_has_taken_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let (life, mut collector) = filled(dir.path(), &full(JournalFull::Refuse), everything(600)).await;
    life.wal.retention.hold("slow", Logs::Frames, Position::START);
    let first = life.wal.frames.log().first();
    life.round();
    let next = frames(&mut collector, 1).remove(0);
    let shown = life.shown();
    assert!(matches!(life.push("alpha-1", &next).await, Verdict::Busy { .. }));
    assert_eq!(life.shown(), shown, "nothing of it was applied");
    assert_eq!((life.wal.frames.log().first(), life.wal.retention.skipped()), (first, Vec::new()));
    life.wal.retention.hold("slow", Logs::Frames, life.wal.frames.log().end());
    life.round();
    assert!(
        matches!(life.push("alpha-1", &next).await, Verdict::Acked { .. }),
        "what only a restart wants refuses nobody"
    );
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_in_the_buffer_nothing_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let (life, mut collector) = filled(dir.path(), &small_segments(), Vec::new()).await;
    // Whoever is first may ask for anything; the second finds it taken.
    let all = life.wal.frames.room(1 << 30).unwrap();
    let (next, shown) = (frames(&mut collector, 1).remove(0), life.shown());
    assert!(matches!(life.push("alpha-1", &next).await, Verdict::Busy { .. }));
    assert_eq!(life.shown(), shown);
    drop(all);
    assert!(matches!(life.push("alpha-1", &next).await, Verdict::Acked { .. }));
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_acknowledges_nothing_and_readers_see_the_present() {
    let (files, dir) = (FaultyFiles::new(1), Path::new("/journal"));
    let life = Life::begin_on(Arc::new(files.clone()), dir, &small_segments(), &["alpha"], Vec::new());
    let mut collector = Collector::new(1, clock::now().0);
    let mut next = frames(&mut collector, 3).into_iter();
    let [first, second, third] = [next.next(), next.next(), next.next()].map(Option::unwrap);
    assert!(matches!(life.push("alpha-1", &first).await, Verdict::Acked { .. }));
    files.set(Faults { room: Some(files.used()), ..Faults::default() });
    let before = life.shown();
    assert!(matches!(life.push("alpha-1", &second).await, Verdict::Busy { .. }), "the disk is full");
    let during = life.shown();
    assert_ne!(during, before, "it is shown, not acknowledged");
    assert!(matches!(life.push("alpha-1", &second).await, Verdict::Busy { .. }), "nor when it comes again");
    files.set(Faults::default());
    let again = loop {
        match life.push("alpha-1", &second).await {
            Verdict::Busy { .. } => tokio::time::sleep(Duration::from_millis(10)).await,
            verdict => break verdict,
        }
    };
    assert!(matches!(again, Verdict::Acked { .. }), "{again:?}");
    assert_eq!(life.shown(), during, "the duplicate changes nothing");
    assert!(matches!(life.push("alpha-1", &third).await, Verdict::Acked { .. }));
    let shown = life.shown();
    // Power is cut: what was not synced is gone, and that was acknowledged to nobody.
    let left = files.after(Crash::Forgets);
    let life = Life::begin_on(Arc::new(left), dir, &small_segments(), &["alpha"], Vec::new());
    assert_eq!(life.shown(), shown);
}
