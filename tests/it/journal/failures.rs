//! What the log does when the disk does not do its part.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::journal::{
    Cause, CommitOptions, Committer, Cursor, Cursors, Entry, Journal, Limit, Limits, Options, Position, RETRY_MIN,
    SEGMENT_HEADER_BYTES, Saved,
};
use fedgate::runtime::{Shutdown, Stage};

use super::faulty::{Crash, Faults, FaultyFiles};
use super::{NOW, Read, append, open_with, options, payloads, read_all};

const DIR: &str = "/log";
const LONG: Duration = Duration::from_secs(20);

fn open(files: &FaultyFiles, segment_bytes: u64) -> Journal {
    open_with(Arc::new(files.clone()), Path::new(DIR), segment_bytes).0
}

fn segment_names(files: &FaultyFiles) -> Vec<String> {
    files.names().into_iter().filter(|name| name.ends_with(".seg")).collect()
}

#[test]
fn a_commit_is_one_sync_however_much_it_holds() {
    let files = FaultyFiles::new(1);
    let mut journal = open(&files, 1 << 20);
    append(&journal, b"the first begins a segment");
    journal.commit(NOW).unwrap();
    let before = files.syncs();
    for number in 0..100u8 {
        append(&journal, &[number; 100]);
    }
    journal.commit(NOW).unwrap();
    assert_eq!(files.syncs() - before, 1);
    journal.commit(NOW).unwrap();
    assert_eq!(files.syncs() - before, 1, "there was nothing to sync");
}

#[test]
fn after_a_failed_sync_nothing_of_that_file_is_believed() {
    let files = FaultyFiles::new(1);
    let mut journal = open(&files, 1 << 20);
    append(&journal, b"safe");
    let safe = journal.commit(NOW).unwrap();
    for number in 0..20u8 {
        append(&journal, &[number; 600]);
    }
    files.set(Faults { syncs: 1, ..Faults::default() });
    let error = journal.commit(NOW).unwrap_err();
    assert_eq!(error.to_string(), "cannot sync /log/00000000000000000000.seg: Input/output error (os error 5)");
    assert_eq!((journal.log().synced(), journal.log().written()), (safe, safe));
    assert_eq!(payloads(&read_all(&journal)), [b"safe"]);
    // The disk works again: a second sync of the same file would now succeed, and bring nothing.
    let end = journal.commit(NOW).unwrap();
    assert_eq!(end, journal.log().end());
    assert_eq!(segment_names(&files).len(), 2);
    assert_eq!(journal.log().segments().len(), 1, "a segment without its preamble is part of the one before");
    drop(journal);
    let journal = open(&files.after(Crash::Forgets), 1 << 20);
    assert_eq!(payloads(&read_all(&journal)).len(), 21);
    assert_eq!(journal.log().segments().len(), 1);
    assert_eq!(journal.log().statistics().failures, 0);
}

#[test]
fn a_segment_that_goes_on_is_dropped_with_the_one_before() {
    let files = FaultyFiles::new(1);
    let mut journal = open(&files, 2000);
    for step in 0..8u32 {
        append(&journal, &[1; 600]);
        files.set(Faults { writes: step % 2, ..Faults::default() });
        let failed = journal.commit(NOW).is_err();
        assert_eq!(failed, step % 2 == 1);
        journal.commit(NOW).unwrap();
    }
    let segments = journal.log().segments();
    assert!(segments.len() < segment_names(&files).len());
    assert_eq!(journal.drop_before(segments[0].end).unwrap(), segments[..1]);
    assert_eq!(journal.log().first(), segments[1].first);
    assert_eq!(payloads(&read_all(&journal)).len() as u64, segments.last().unwrap().end.since(segments[1].first) / 628);
}

#[test]
fn an_older_segment_never_outlives_a_newer_one() {
    for seed in 0..50 {
        let files = FaultyFiles::new(seed);
        let mut journal = open(&files, 1);
        for number in 0..5u8 {
            append(&journal, &[number; 100]);
        }
        journal.commit(NOW).unwrap();
        for _ in 0..2 {
            files.set(Faults { dir_syncs: 1, ..Faults::default() });
            journal.drop_before(Position(u64::MAX)).unwrap_err();
        }
        drop(journal);
        let read = read_all(&open(&files.after(Crash::Mixes), 1));
        assert_eq!(payloads(&read).len(), read.len(), "seed {seed}: one is missing in between");
    }
}

#[test]
fn a_full_disk_costs_nothing_that_waits_and_dropping_makes_room() {
    let files = FaultyFiles::new(1);
    let mut journal = open(&files, 2000);
    for number in 0..6u8 {
        append(&journal, &[number; 1000]);
    }
    journal.commit(NOW).unwrap();
    let used = files.used();
    files.set(Faults { room: Some(used + 500), ..Faults::default() });
    append(&journal, &[6; 1500]);
    for _ in 0..3 {
        assert_eq!(journal.commit(NOW).unwrap_err().source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(files.used(), used + SEGMENT_HEADER_BYTES as usize, "what could not be synced gives its room back");
        assert_eq!(journal.log().segments().len(), 7);
        assert!(!files.names().iter().any(|name| name.ends_with(".new")), "what was begun is removed");
    }
    let limits = Limits { bytes_max: u64::MAX, age_max: Duration::MAX, free_ratio_min: 0.25 };
    let over = limits.over(&journal.log().segments(), journal.log().space().unwrap(), NOW);
    assert_eq!(over.iter().map(|over| over.limit).collect::<Vec<_>>(), [Limit::Space; 2]);
    assert_eq!(journal.drop_before(over[1].segment.end).unwrap().len(), 2);
    journal.commit(NOW).unwrap();
    let read = payloads(&read_all(&journal));
    assert_eq!(read.iter().map(|payload| payload[0]).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
}

#[test]
fn what_the_disk_refuses_to_read_is_a_fault_first_and_damage_when_told_so() {
    let files = FaultyFiles::new(1);
    let mut journal = open(&files, 1 << 20);
    for number in 0..5u8 {
        append(&journal, &[number; 3000]);
    }
    journal.commit(NOW).unwrap();
    let mut reader = journal.log().reader(Position::START);
    files.set(Faults { reads: 1, ..Faults::default() });
    let error = reader.next().unwrap_err().to_string();
    assert!(error.starts_with("cannot read the journal at position 0, in /log/00000000000000000000.seg"), "{error}");
    assert!(matches!(reader.next(), Ok(Some(Entry::Record(_)))), "it was asked again, and answered");

    let mut reader = journal.log().reader(Position::START);
    reader.pass_faults();
    // The whole, then the first page.
    files.set(Faults { reads: 2, ..Faults::default() });
    let read = super::rest(&mut reader);
    assert_eq!(read[0], Read::Lost(0, 2 * 3028, Cause::Damaged));
    assert_eq!(payloads(&read).len(), 3);
}

#[test]
fn a_cursor_that_cannot_be_saved_is_the_one_before() {
    let files = FaultyFiles::new(1);
    let _journal = open(&files, 1 << 20);
    let cursors = |files: &FaultyFiles| Cursors::new(Arc::new(files.clone()), Path::new(DIR));
    let cursor = |position| Cursor { position: Position(position), note: vec![1; 900] };
    cursors(&files).save("sender", &cursor(1)).unwrap();
    for (writes, syncs, dir_syncs) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
        for crash in [Crash::Killed, Crash::Forgets, Crash::Mixes] {
            let files = files.after(crash);
            files.set(Faults { writes, syncs, dir_syncs, ..Faults::default() });
            cursors(&files).save("sender", &cursor(2)).unwrap_err();
            let found = cursors(&files.after(crash)).load("sender").unwrap();
            let saved = [1, 2].map(|position| Saved::At(cursor(position)));
            // Where only the directory was not synced, the new name is there, or not.
            assert!(saved[..1 + dir_syncs as usize].contains(&found), "{crash:?} {found:?}");
        }
    }
    cursors(&files).save("sender", &cursor(3)).unwrap();
    assert_eq!(cursors(&files.after(Crash::Forgets)).load("sender").unwrap(), Saved::At(cursor(3)));
}

#[test]
fn what_was_begun_and_not_finished_is_removed() {
    let files = FaultyFiles::new(1);
    for name in ["00000000000000000000.seg.new", "sender.cursor.new"] {
        files.place(&Path::new(DIR).join(name), b"half".to_vec());
    }
    let _journal = open(&files, 1 << 20);
    assert_eq!(files.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_disk_that_fails_is_asked_again_and_nobody_is_answered_until_it_took_all() {
    let files = FaultyFiles::new(1);
    let shutdown = Shutdown::new();
    let small = Options { buffer_bytes_max: 10_000, ..options(1 << 20) };
    let (journal, _) = Journal::open(Arc::new(files.clone()), Path::new(DIR), small, NOW).unwrap();
    let committer = Committer::start(journal, CommitOptions::default(), &shutdown.tasks(Stage::Rest)).unwrap();
    let log = committer.log().clone();
    files.set(Faults { room: Some(100), ..Faults::default() });
    let first = log.append(0, &[&[0; 4000]], NOW).unwrap();
    let mut progress = committer.progress();
    let begun = Instant::now();
    let failing = progress.wait_for(|progress| progress.failure.is_some()).await.unwrap().failure;
    assert_eq!(failing, Some(io::ErrorKind::StorageFull));
    while log.statistics().failures < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(begun.elapsed() >= 3 * RETRY_MIN, "the pause doubles");
    let second = log.append(0, &[&[0; 4000]], NOW).unwrap();
    assert!(log.append(0, &[&[0; 4000]], NOW).is_err(), "the buffer is full");
    assert_eq!(log.synced(), Position::START);
    files.set(Faults::default());
    committer.wait(first).await.unwrap();
    committer.wait(second).await.unwrap();
    assert_eq!(progress.wait_for(|progress| progress.synced > second).await.unwrap().failure, None);
    shutdown.ending().request();
    assert!(shutdown.run(LONG).await);
}

#[tokio::test]
async fn a_process_ends_though_the_disk_refuses_what_is_left() {
    let files = FaultyFiles::new(1);
    let shutdown = Shutdown::new();
    let journal = open(&files, 1 << 20);
    let committer = Committer::start(journal, CommitOptions::default(), &shutdown.tasks(Stage::Rest)).unwrap();
    files.set(Faults { room: Some(0), ..Faults::default() });
    let position = committer.log().append(0, &[b"never"], NOW).unwrap();
    shutdown.ending().request();
    assert!(shutdown.run(LONG).await);
    assert!(committer.wait(position).await.is_err());
    assert!(committer.log().statistics().failures >= 3);
}
