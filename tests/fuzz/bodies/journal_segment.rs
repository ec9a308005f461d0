//! Segment files of a journal, as a disk gives them back.
//!
//! Promises: what is read covers the log from its first position to its end, each byte once, and is the same when it is read again; what is
//! appended afterwards is read behind it; a log that is refused is refused untouched.
//!
//! Input: what is put right (one byte), where the second segment begins (two bytes: how much of the rest, and how far beside its
//! name), then the files. Checksums are put right on request, so that mutations get behind them.

use std::path::Path;
use std::sync::Arc;

use fedgate::journal::{Entry, Journal, Options, Position, RECORD_HEADER_BYTES, Role, SEGMENT_HEADER_BYTES};
use fedgate::model::Timestamp;

// A second time in `tests/it`, which includes this file, too: the fuzz targets have no other way to it.
#[path = "../../it/journal/faulty.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod faulty;

use faulty::{Crash, FaultyFiles};

const DIR: &str = "/log";
const NOW: Timestamp = Timestamp(1_795_000_000_000);
const SYNC_MARK: [u8; 4] = [0x9e, 0xf5, 0xc7, 0x1b];
const COPY_BYTES: usize = 64;

/// Bits of the first byte.
const RIGHT_HEADERS: u8 = 1;
const RIGHT_RECORDS: u8 = 2;
const RIGHT_PAYLOADS: u8 = 4;
const TWO_SEGMENTS: u8 = 8;

/// Opens the log, reads it, goes on with it.
pub(crate) fn run(input: &[u8]) {
    let [flags, share, beside, rest @ ..] = input else { return };
    let files = FaultyFiles::new(1);
    if flags & TWO_SEGMENTS == 0 {
        place(&files, *flags, 0, rest.to_vec());
    } else {
        let (first, second) = rest.split_at(rest.len() * usize::from(*share) / 256);
        let records = first.len().saturating_sub(SEGMENT_HEADER_BYTES as usize);
        let name = (records + usize::from(*beside)).saturating_sub(128).max(1);
        place(&files, *flags, 0, first.to_vec());
        place(&files, *flags, name as u64, second.to_vec());
    }
    let before = content(&files);
    // As good as chance: no log but one made for it has records under it, which would be read once a segment tells it.
    let salt = crc32c::crc32c(input);
    let Some(journal) = open(&files, salt) else {
        assert!(content(&files) == before, "a refused log was touched");
        return;
    };
    go_on(&files, journal, salt);
}

fn place(files: &FaultyFiles, flags: u8, first: u64, mut bytes: Vec<u8>) {
    put_right(&mut bytes, flags, first);
    files.place(&Path::new(DIR).join(format!("{first:020}.seg")), bytes);
}

/// Puts right what the flags name.
fn put_right(bytes: &mut [u8], flags: u8, first: u64) {
    let Some((header, records)) = bytes.split_at_mut_checked(SEGMENT_HEADER_BYTES as usize) else { return };
    if flags & RIGHT_HEADERS != 0 {
        for copy in header.chunks_mut(COPY_BYTES) {
            copy[..11].copy_from_slice(b"fedgjrnl\x01\x00\x02");
            copy[16..24].copy_from_slice(&first.to_le_bytes());
            let crc = crc32c::crc32c(&copy[..60]).to_le_bytes();
            copy[60..].copy_from_slice(&crc);
        }
    }
    let salt = u32::from_le_bytes(header[12..16].try_into().expect("four bytes"));
    let mut at = 0;
    while let Some(found) = records[at..].windows(RECORD_HEADER_BYTES).position(|window| window[..4] == SYNC_MARK) {
        at += found;
        put_record_right(&mut records[at..], flags, first + at as u64, salt);
        at += 4;
    }
}

fn put_record_right(record: &mut [u8], flags: u8, position: u64, salt: u32) {
    let (header, behind) = record.split_at_mut(RECORD_HEADER_BYTES);
    let length = u32::from_le_bytes(header[12..16].try_into().expect("four bytes")) as usize;
    if flags & RIGHT_PAYLOADS != 0
        && let Some(payload) = behind.get(..length)
    {
        header[16..20].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    }
    if flags & RIGHT_RECORDS != 0 {
        header[4..12].copy_from_slice(&position.to_le_bytes());
        header[21..24].fill(0);
        let crc = crc32c::crc32c_append(salt, &header[..24]);
        header[24..].copy_from_slice(&crc.to_le_bytes());
    }
}

fn open(files: &FaultyFiles, salt: u32) -> Option<Journal> {
    let options = Options { salt, segment_bytes: 1 << 20, ..Options::new(Role::Frames) };
    match Journal::open(Arc::new(files.clone()), Path::new(DIR), options, NOW) {
        Ok((journal, recovery)) => {
            assert_eq!(recovery.end, journal.log().end());
            Some(journal)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn content(files: &FaultyFiles) -> Vec<(String, Option<Vec<u8>>)> {
    let content = |name: String| {
        let bytes = files.content(&Path::new(DIR).join(&name));
        (name, bytes)
    };
    files.names().into_iter().map(content).collect()
}

/// The records, each with its position; what was read covers the log.
fn records(journal: &Journal) -> Vec<(Position, u8, Vec<u8>)> {
    let log = journal.log();
    let (mut reader, mut position) = (log.reader(log.first()), log.first());
    let mut records = Vec::new();
    while let Some(entry) = reader.next().expect("memory can be read") {
        let (from, until) = match &entry {
            Entry::Record(record) => (record.position, record.next),
            Entry::Lost { lost, .. } => (lost.from, lost.until),
        };
        assert!(from == position && until > from, "{entry:?} at {position}");
        position = until;
        if let Entry::Record(record) = entry {
            assert_eq!(record.next.since(record.position), (RECORD_HEADER_BYTES + record.payload.len()) as u64);
            records.push((record.position, record.kind, record.payload.to_vec()));
        }
    }
    assert_eq!(position, log.synced());
    records
}

/// Reads again, appends, and opens once more after a crash.
fn go_on(files: &FaultyFiles, mut journal: Journal, salt: u32) {
    let mut expected = records(&journal);
    assert!(records(&journal) == expected, "the second reading differs");
    let position = journal.log().append(9, &[b"more"], NOW).expect("there is room");
    journal.commit(NOW).expect("memory can be written");
    expected.push((position, 9, b"more".to_vec()));
    assert!(records(&journal) == expected, "what was appended changed something");
    drop(journal);
    let again = open(&files.after(Crash::Forgets), salt).expect("it was opened before");
    let found = records(&again);
    assert!(found == expected, "the next run reads {found:?} instead of {expected:?}");
}
