//! A small log cut at every byte, and damaged at every byte.

use std::path::Path;
use std::sync::Arc;

use fedgate::journal::{Cause, Position, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};

use super::faulty::{Crash, FaultyFiles};
use super::{NOW, Read, append, open_with, payloads, read_all};

const DIR: &str = "/log";
const FIRST: &str = "/log/00000000000000000000.seg";

/// Payloads of several lengths, none among them, one that looks like a record.
fn written() -> Vec<Vec<u8>> {
    let mut like_a_record = vec![0x9e, 0xf5, 0xc7, 0x1b];
    like_a_record.extend_from_slice(&[0; 60]);
    vec![b"first".to_vec(), Vec::new(), like_a_record, vec![7; 100], b"last".to_vec()]
}

/// The bytes of a segment with these payloads, and where in it each record begins.
fn segment() -> (Vec<u8>, Vec<usize>) {
    let files = FaultyFiles::new(1);
    let (mut journal, _) = open_with(Arc::new(files.clone()), Path::new(DIR), 1 << 20);
    let begin = |position: Position| (SEGMENT_HEADER_BYTES + position.0) as usize;
    let begins = written().iter().map(|payload| begin(append(&journal, payload))).collect();
    journal.commit(NOW).unwrap();
    (files.content(Path::new(FIRST)).unwrap(), begins)
}

fn log_of(bytes: &[u8]) -> FaultyFiles {
    let files = FaultyFiles::new(1);
    files.place(Path::new(FIRST), bytes.to_vec());
    files
}

#[test]
fn cut_anywhere_what_is_read_is_a_prefix_and_the_log_goes_on() {
    let (bytes, begins) = segment();
    for length in 0..bytes.len() {
        let files = log_of(&bytes[..length]);
        let whole = begins.iter().skip(1).chain([&bytes.len()]).filter(|end| **end <= length).count();
        let (mut journal, recovery) = open_with(Arc::new(files.clone()), Path::new(DIR), 1 << 20);
        let read = read_all(&journal);
        assert_eq!(payloads(&read), written()[..whole], "cut at {length}");
        let end = begins.get(whole).copied().unwrap_or(bytes.len());
        let cut = length.saturating_sub(end) as u64;
        assert_eq!(recovery.cut.map_or(0, |lost| lost.bytes()), cut, "cut at {length}");
        append(&journal, b"more");
        journal.commit(NOW).unwrap();
        drop(journal);
        let (journal, recovery) = open_with(Arc::new(files), Path::new(DIR), 1 << 20);
        assert_eq!(recovery.cut, None);
        let again = payloads(&read_all(&journal));
        assert_eq!(again, [written()[..whole].to_vec(), vec![b"more".to_vec()]].concat(), "cut at {length}");
    }
}

#[test]
fn damaged_anywhere_all_but_that_record_is_read_and_the_loss_is_told() {
    let (bytes, mut begins) = segment();
    begins.push(bytes.len());
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (journal, recovery) = open_with(Arc::new(log_of(&damaged)), Path::new(DIR), 1 << 20);
        let hit = begins.iter().rposition(|begin| *begin <= bit / 8);
        let mut left = written();
        let mut lost = None;
        if let Some(hit) = hit {
            left.remove(hit);
            lost = Some((begins[hit] as u64 - SEGMENT_HEADER_BYTES, begins[hit + 1] as u64 - SEGMENT_HEADER_BYTES));
        }
        let read = read_all(&journal);
        assert_eq!(payloads(&read), left, "bit {bit}");
        let told = read.iter().find_map(|read| match read {
            Read::Lost(from, until, Cause::Damaged) => Some((*from, *until)),
            _ => None,
        });
        let told = told.or(recovery.cut.map(|lost| (lost.from.0, lost.until.0)));
        assert_eq!(told, lost, "bit {bit}");
    }
}

#[test]
fn the_next_record_is_found_wherever_the_bytes_that_are_read_at_once_end() {
    // Looking begins one byte behind the damaged header.
    let read_at_once = (1 << 20) + 1;
    for before in 0..RECORD_HEADER_BYTES + 2 {
        let files = FaultyFiles::new(1);
        let (mut journal, _) = open_with(Arc::new(files.clone()), Path::new(DIR), 1 << 30);
        append(&journal, &vec![0; read_at_once - before - RECORD_HEADER_BYTES]);
        append(&journal, b"next");
        append(&journal, &vec![0; 2 << 20]);
        journal.commit(NOW).unwrap();
        let mut bytes = files.content(Path::new(FIRST)).unwrap();
        bytes[SEGMENT_HEADER_BYTES as usize] ^= 1;
        let (journal, _) = open_with(Arc::new(log_of(&bytes)), Path::new(DIR), 1 << 30);
        let read = read_all(&journal);
        assert_eq!(read[0], Read::Lost(0, (read_at_once - before) as u64, Cause::Damaged));
        assert_eq!(payloads(&read)[0], b"next");
    }
}

#[test]
fn a_damaged_segment_is_not_gone_on_with() {
    let (mut bytes, begins) = segment();
    bytes[begins[1]] ^= 1;
    let files = log_of(&bytes);
    let (mut journal, recovery) = open_with(Arc::new(files.clone()), Path::new(DIR), 1 << 20);
    append(&journal, b"more");
    journal.commit(NOW).unwrap();
    let firsts: Vec<Position> = journal.log().segments().iter().map(|segment| segment.first).collect();
    assert_eq!(firsts, [Position::START, recovery.end]);
    assert_eq!(files.content(Path::new(FIRST)).unwrap(), bytes);
    assert_eq!(payloads(&read_all(&journal)).len(), 5);
}

#[test]
fn a_damaged_payload_is_shown_with_its_kind() {
    let (mut bytes, begins) = segment();
    bytes[begins[3] + RECORD_HEADER_BYTES + 50] ^= 1;
    let (journal, _) = open_with(Arc::new(log_of(&bytes)), Path::new(DIR), 1 << 20);
    let mut reader = journal.log().reader(Position((begins[3] - begins[0]) as u64));
    let entry = reader.next().unwrap().unwrap();
    let fedgate::journal::Entry::Lost { remains: Some((kind, payload)), .. } = entry else { panic!("{entry:?}") };
    assert_eq!((kind, payload.len(), payload[49], payload[50]), (100, 100, 7, 6));
}

#[test]
fn a_segment_without_a_header_stays_and_is_told_as_lost() {
    let (mut bytes, _) = segment();
    let records = bytes.len() as u64 - SEGMENT_HEADER_BYTES;
    bytes[..SEGMENT_HEADER_BYTES as usize].fill(0);
    let files = log_of(&bytes);
    let (mut journal, recovery) = open_with(Arc::new(files.clone()), Path::new(DIR), 1 << 20);
    assert_eq!(recovery.end, Position(records));
    append(&journal, b"more");
    journal.commit(NOW).unwrap();
    let more = Read::Record(records, 4, b"more".to_vec());
    assert_eq!(read_all(&journal), [Read::Lost(0, records, Cause::Damaged), more]);
    assert_eq!(files.content(Path::new(FIRST)).unwrap(), bytes, "nothing is wiped");
}

#[test]
fn records_behind_a_destroyed_header_are_read_with_the_salt_of_another_segment() {
    let files = FaultyFiles::new(1);
    let (mut journal, _) = open_with(Arc::new(files.clone()), Path::new(DIR), 1);
    let firsts: Vec<Position> = (0..4u8).map(|number| append(&journal, &[number; 72])).collect();
    journal.commit(NOW).unwrap();
    drop(journal);
    for first in firsts {
        let path = Path::new(DIR).join(format!("{:020}.seg", first.0));
        let mut bytes = files.content(&path).unwrap();
        bytes[..SEGMENT_HEADER_BYTES as usize].fill(0);
        let left = files.after(Crash::Killed);
        left.place(&path, bytes.clone());
        let (mut journal, _) = open_with(Arc::new(left.clone()), Path::new(DIR), 1);
        assert_eq!(payloads(&read_all(&journal)).len(), 4);
        append(&journal, b"more");
        journal.commit(NOW).unwrap();
        assert_eq!(payloads(&read_all(&journal)).len(), 5);
        assert_eq!(left.content(&path).unwrap(), bytes);
    }
}

#[test]
fn a_segment_that_is_gone_and_one_that_is_too_short_are_told_as_missing() {
    let files = FaultyFiles::new(1);
    let (mut journal, _) = open_with(Arc::new(files.clone()), Path::new(DIR), 1);
    for number in 0..4u8 {
        append(&journal, &[number; 72]);
    }
    journal.commit(NOW).unwrap();
    drop(journal);
    let path = |first: u64| Path::new(DIR).join(format!("{first:020}.seg"));
    let left = FaultyFiles::new(1);
    for first in [0, 200, 300] {
        left.place(&path(first), files.content(&path(first)).unwrap());
    }
    left.place(&path(200), files.content(&path(200)).unwrap()[..SEGMENT_HEADER_BYTES as usize + 60].to_vec());
    let (journal, _) = open_with(Arc::new(left), Path::new(DIR), 1);
    let record = |number: u8| Read::Record(u64::from(number) * 100, 72, vec![number; 72]);
    let read = read_all(&journal);
    let lost = [Read::Lost(100, 200, Cause::Missing), Read::Lost(200, 300, Cause::Damaged)];
    assert_eq!(read, [record(0), lost[0].clone(), lost[1].clone(), record(3)]);
}

#[test]
fn nobody_who_does_not_know_the_salt_can_hide_a_record_in_a_payload() {
    let salted = |salt| {
        let files = FaultyFiles::new(1);
        let options = fedgate::journal::Options { salt, ..super::options(1 << 20) };
        let opened = fedgate::journal::Journal::open(Arc::new(files.clone()), Path::new(DIR), options, NOW);
        (opened.unwrap().0, files)
    };
    // What stands in the other log at the place where the payload's first byte will be.
    let at = RECORD_HEADER_BYTES;
    let (mut other, files) = salted(1);
    append(&other, &vec![0; at - RECORD_HEADER_BYTES]);
    append(&other, b"pretended");
    other.commit(NOW).unwrap();
    let hidden = files.content(Path::new(FIRST)).unwrap()[SEGMENT_HEADER_BYTES as usize + at..].to_vec();
    for (salt, believed) in [(1, true), (2, false)] {
        let (mut journal, files) = salted(salt);
        append(&journal, &hidden);
        append(&journal, b"true");
        journal.commit(NOW).unwrap();
        let mut bytes = files.content(Path::new(FIRST)).unwrap();
        bytes[SEGMENT_HEADER_BYTES as usize] ^= 1;
        let (journal, _) = open_with(Arc::new(log_of(&bytes)), Path::new(DIR), 1 << 20);
        let read = payloads(&read_all(&journal));
        assert_eq!(read.contains(&b"pretended".to_vec()), believed);
        assert!(read.contains(&b"true".to_vec()));
    }
}
