//! What the journal costs: appending with a commit for each batch, on the disk of the temporary directory and in memory where that is
//! one, and reading it all again.
//!
//! `TMPDIR=/dev/shm cargo bench --bench journal` measures the code alone, without it the disk's syncs are in.

use std::path::Path;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fedgate::journal::{DiskFiles, Entry, Journal, Options, Position, RECORD_HEADER_BYTES, Role};
use fedgate::model::Timestamp;

const NOW: Timestamp = Timestamp(1_795_000_000_000);
/// Payload bytes of a frame: 200 series that changed, a target's scrape, a cluster's tick.
const FRAME_BYTES: [usize; 3] = [400, 4_000, 40_000];
/// Records of one commit, as pushes of so many clusters share it.
const BATCH: usize = 50;
/// Bytes that are replayed.
const REPLAY_BYTES: usize = 64 << 20;

fn main() {
    divan::main();
}

fn open(dir: &Path) -> Journal {
    let options = Options { buffer_bytes_max: 1 << 30, ..Options::new(Role::Frames) };
    Journal::open(Arc::new(DiskFiles), dir, options, NOW).expect("the temporary directory can be written").0
}

/// Bytes that are not all the same.
fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 % 251) as u8).collect()
}

fn append(journal: &Journal, payload: &[u8], records: usize) {
    for _ in 0..records {
        let (envelope, frame) = payload.split_at(40);
        journal.log().append(1, &[envelope, frame], NOW).expect("there is room");
    }
}

/// Into the buffer, written and synced once a batch.
#[divan::bench(args = FRAME_BYTES)]
fn append_and_commit(bencher: Bencher<'_, '_>, bytes: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut journal, payload) = (open(dir.path()), payload(bytes));
    bencher
        .counter(ItemsCount::new(BATCH))
        .counter(BytesCount::new(BATCH * (RECORD_HEADER_BYTES + bytes)))
        .bench_local(|| {
            append(&journal, &payload, BATCH);
            journal.commit(NOW).expect("the disk takes it");
            journal.drop_before(journal.log().synced()).expect("segments can be removed")
        });
}

/// Into the buffer alone.
#[divan::bench(args = FRAME_BYTES)]
fn append_only(bencher: Bencher<'_, '_>, bytes: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut journal, payload) = (open(dir.path()), payload(bytes));
    bencher
        .counter(ItemsCount::new(BATCH))
        .counter(BytesCount::new(BATCH * (RECORD_HEADER_BYTES + bytes)))
        .bench_local(|| append(&journal, &payload, BATCH));
    journal.commit(NOW).expect("the disk takes it");
}

/// Every record from the first on, checksums compared; the files are in the page cache.
#[divan::bench(args = FRAME_BYTES)]
fn replay(bencher: Bencher<'_, '_>, bytes: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut journal, payload) = (open(dir.path()), payload(bytes));
    let records = REPLAY_BYTES / (RECORD_HEADER_BYTES + bytes);
    append(&journal, &payload, records);
    journal.commit(NOW).expect("the disk takes it");
    bencher.counter(ItemsCount::new(records)).counter(BytesCount::new(REPLAY_BYTES)).bench_local(|| {
        let mut reader = journal.log().reader(Position::START);
        let mut read = 0;
        while let Some(Entry::Record(_)) = reader.next().expect("the disk reads") {
            read += 1;
        }
        assert_eq!(read, records);
    });
}

/// Opening the log, which reads the newest segment and looks at the others.
#[divan::bench]
fn reopen(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut journal, payload) = (open(dir.path()), payload(4_000));
    append(&journal, &payload, REPLAY_BYTES / 4_100);
    journal.commit(NOW).expect("the disk takes it");
    drop(journal);
    bencher.counter(BytesCount::new(REPLAY_BYTES)).bench_local(|| open(dir.path()));
}
