//! The thread that commits, and who waits for it.

use std::sync::Arc;
use std::time::Duration;

use fedgate::journal::{Closed, CommitOptions, Committer, DiskFiles, Durability, Entry, Journal, Position};
use fedgate::runtime::{Shutdown, Stage};

use super::{NOW, append, open, options, payloads, read_all};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_record_that_was_waited_for_is_there_for_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    for durability in [Durability::Strict, Durability::Relaxed] {
        let shutdown = Shutdown::new();
        let (journal, recovery) = open(dir.path(), 1 << 20);
        let options = CommitOptions { durability, ..CommitOptions::default() };
        let committer = Committer::start(journal, options, &shutdown.tasks(Stage::Rest)).unwrap();
        let log = committer.log().clone();
        for number in 0..20u8 {
            let position = log.append(number, &[&[number]], NOW).unwrap();
            committer.wait(position).await.unwrap();
            assert!(log.written() > position);
            assert!(durability == Durability::Relaxed || log.synced() > position);
        }
        committer.flush().await.unwrap();
        assert_eq!(log.synced(), log.end());
        assert_eq!(log.reader(recovery.end).next().unwrap().map(|_| ()), Some(()));
        log.append(99, &[b"the last"], NOW).unwrap();
        shutdown.ending().request();
        assert!(shutdown.run(LONG).await);
        assert_eq!(committer.wait(log.end()).await, Err(Closed));
        assert_eq!(log.buffered(), 0, "what was appended before the end is synced");
    }
    let (journal, _) = open(dir.path(), 1 << 20);
    assert_eq!(payloads(&read_all(&journal)).len(), 2 * 21);
}

#[tokio::test]
async fn many_waiters_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let (journal, _) = open(dir.path(), 1 << 20);
    let slow = CommitOptions { interval: Duration::from_millis(100), ..CommitOptions::default() };
    let committer = Committer::start(journal, slow, &shutdown.tasks(Stage::Rest)).unwrap();
    committer.wait(committer.log().append(0, &[b"first"], NOW).unwrap()).await.unwrap();
    let waiters = (0..100u8).map(|number| {
        let position = committer.log().append(number, &[&[number]], NOW).unwrap();
        let committer = committer.clone();
        tokio::spawn(async move { committer.wait(position).await })
    });
    for waiter in waiters.collect::<Vec<_>>() {
        waiter.await.unwrap().unwrap();
    }
    let commits = committer.log().statistics().commits;
    assert!((2..20).contains(&commits), "101 records took {commits} commits");
}

#[tokio::test]
async fn segments_are_dropped_by_the_thread() {
    let dir = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let (mut journal, _) = Journal::open(Arc::new(DiskFiles), dir.path(), options(40), NOW).unwrap();
    for number in 0..4u8 {
        append(&journal, &[number; 30]);
    }
    journal.commit(NOW).unwrap();
    let committer = Committer::start(journal, CommitOptions::default(), &shutdown.tasks(Stage::Rest)).unwrap();
    for _ in 0..2 {
        committer.drop_before(Position(u64::MAX));
        committer.wait(committer.log().append(9, &[&[9; 30]], NOW).unwrap()).await.unwrap();
    }
    committer.drop_before(Position(u64::MAX));
    shutdown.ending().request();
    assert!(shutdown.run(LONG).await);
    assert_eq!(committer.log().segments().len(), 1);
    assert_eq!(committer.log().statistics().segments_dropped, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_append_while_one_reads_and_segments_go() {
    const APPENDERS: u8 = 4;
    const GROUPS: u32 = 200;
    let dir = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let (journal, _) = open(dir.path(), 4000);
    let fast = CommitOptions { interval: Duration::from_millis(1), ..CommitOptions::default() };
    let committer = Committer::start(journal, fast, &shutdown.tasks(Stage::Rest)).unwrap();
    for appender in 0..APPENDERS {
        let log = committer.log().clone();
        std::thread::spawn(move || {
            for number in 0..GROUPS {
                let reserved = log.reserve(8).unwrap();
                let mut group = reserved.begin(NOW);
                for half in 0..2 {
                    group.append(appender, &[&number.to_le_bytes(), &[half; 40]]).unwrap();
                }
            }
        });
    }
    let mut reader = committer.log().reader(Position::START);
    let mut progress = committer.progress();
    let mut next = [0u32; APPENDERS as usize];
    let mut half_read = None;
    while next.iter().any(|number| *number < GROUPS) {
        match reader.next().unwrap() {
            Some(Entry::Record(record)) => {
                let (number, half) = record.payload.split_first_chunk::<4>().unwrap();
                let next = &mut next[usize::from(record.kind)];
                assert_eq!(u32::from_le_bytes(*number), *next, "each appender's groups are in order");
                assert_eq!(half_read, (half[0] == 1).then_some((record.kind, *next)), "a group is together");
                half_read = (half[0] == 0).then_some((record.kind, *next));
                *next += u32::from(half[0]);
                committer.drop_before(record.position);
            }
            Some(lost) => panic!("{lost:?}"),
            None => progress.changed().await.unwrap(),
        }
    }
    assert_eq!(reader.position(), committer.log().end());
    shutdown.ending().request();
    assert!(shutdown.run(LONG).await);
    let statistics = committer.log().statistics();
    assert_eq!(statistics.records, 2 * u64::from(APPENDERS) * u64::from(GROUPS));
    assert!(statistics.segments_dropped > 5 && committer.log().segments().len() < 5, "{statistics:?}");
}
