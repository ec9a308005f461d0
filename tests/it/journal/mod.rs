//! The journal, seen through its public functions: on disk, and over a file layer that fails, forgets and runs full.

mod committer;
mod contract;
mod damage;
mod failures;
pub(crate) mod faulty;
mod model;
mod processes;

use std::path::Path;
use std::sync::Arc;

use fedgate::journal::{Cause, DiskFiles, Entry, Files, Journal, Lost, Options, Position, Reader, Recovery, Role};
use fedgate::model::Timestamp;

/// The time of everything that no test is about.
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// What a reader gave, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Read {
    Record(u64, u8, Vec<u8>),
    Lost(u64, u64, Cause),
}

/// Options of a small log, its salt fixed.
fn options(segment_bytes: u64) -> Options {
    Options { segment_bytes, salt: 0x5eed, ..Options::new(Role::Frames) }
}

fn open_with(files: Arc<dyn Files>, dir: &Path, segment_bytes: u64) -> (Journal, Recovery) {
    Journal::open(files, dir, options(segment_bytes), NOW).expect("the log opens")
}

fn open(dir: &Path, segment_bytes: u64) -> (Journal, Recovery) {
    open_with(Arc::new(DiskFiles), dir, segment_bytes)
}

fn append(journal: &Journal, payload: &[u8]) -> Position {
    journal.log().append(payload.len() as u8, &[payload], NOW).expect("there is room")
}

/// Everything that a reader gives until there is nothing more.
fn rest(reader: &mut Reader) -> Vec<Read> {
    let mut all = Vec::new();
    while let Some(entry) = reader.next().expect("the disk reads") {
        all.push(match entry {
            Entry::Record(record) => Read::Record(record.position.0, record.kind, record.payload.to_vec()),
            Entry::Lost { lost: Lost { from, until, cause }, .. } => Read::Lost(from.0, until.0, cause),
        });
    }
    all
}

fn read_all(journal: &Journal) -> Vec<Read> {
    rest(&mut journal.log().reader(journal.log().first()))
}

/// The payloads alone.
fn payloads(read: &[Read]) -> Vec<Vec<u8>> {
    let payload = |read: &Read| match read {
        Read::Record(_, _, payload) => Some(payload.clone()),
        Read::Lost(..) => None,
    };
    read.iter().filter_map(payload).collect()
}
