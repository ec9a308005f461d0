//! What every owner of a log relies on, on the real file system.

use std::fs;

use fedgate::journal::{
    AppendError, Cause, Cursor, Cursors, DiskFiles, Full, Journal, Options, Position, RECORD_HEADER_BYTES, Role, Saved,
};
use std::sync::Arc;
use std::time::Duration;

use super::{NOW, Read, append, open, options, payloads, read_all, rest};

const HEADER: u64 = RECORD_HEADER_BYTES as u64;

#[test]
fn what_is_synced_is_read_in_order_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, recovery) = open(dir.path(), 1 << 20);
    assert_eq!((recovery.end, recovery.cut, recovery.behind_cursor), (Position::START, None, None));
    let mut reader = journal.log().reader(Position::START);
    assert_eq!(append(&journal, b"one"), Position(0));
    let second = journal.log().append(9, &[b"t", b"", b"wo"], NOW).unwrap();
    assert_eq!(second, Position(HEADER + 3));
    assert_eq!(rest(&mut reader), [], "what is not synced is not read");
    assert_eq!(journal.commit(NOW).unwrap(), journal.log().end());
    let records = [Read::Record(0, 3, b"one".to_vec()), Read::Record(second.0, 9, b"two".to_vec())];
    assert_eq!(rest(&mut reader), records);
    append(&journal, b"");
    assert_eq!(rest(&mut reader), []);
    journal.commit(NOW).unwrap();
    assert_eq!(rest(&mut reader), [Read::Record(2 * (HEADER + 3), 0, Vec::new())]);
    assert_eq!(rest(&mut journal.log().reader(second))[0], records[1]);
}

#[test]
fn a_log_goes_on_where_the_last_run_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not/there/yet");
    for run in 0..3u8 {
        let (mut journal, recovery) = open(&path, 1 << 20);
        assert_eq!(recovery.end.0, u64::from(run) * (HEADER + 1));
        append(&journal, &[run]);
        journal.commit(NOW).unwrap();
        assert_eq!(payloads(&read_all(&journal)).concat(), (0..=run).collect::<Vec<_>>());
        assert_eq!(journal.log().segments().len(), 1);
    }
}

#[test]
fn segments_end_by_size_and_by_age_and_are_read_as_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 2 * (HEADER + 10));
    for number in 0..5u8 {
        append(&journal, &[number; 10]);
    }
    journal.commit(NOW).unwrap();
    let late = NOW + Duration::from_secs(3600);
    journal.log().append(1, &[b"late"], late).unwrap();
    journal.commit(late).unwrap();
    let segments = journal.log().segments();
    let firsts: Vec<u64> = segments.iter().map(|segment| segment.first.0 / (HEADER + 10)).collect();
    assert_eq!(firsts, [0, 2, 4, 5]);
    assert_eq!(segments[3].begun, late);
    let on_disk: u64 = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(segments.iter().map(|segment| segment.bytes).sum::<u64>(), on_disk);
    assert_eq!(payloads(&read_all(&journal)).len(), 6);
    drop(journal);
    let (journal, recovery) = open(dir.path(), 1 << 20);
    assert_eq!(recovery.end, segments[3].end);
    assert_eq!(journal.log().segments(), segments);
    assert_eq!(payloads(&read_all(&journal)).len(), 6);
}

#[test]
fn a_group_stays_in_one_segment_and_knows_when_it_begins_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 200);
    let log = journal.log().clone();
    let mut begun = Vec::new();
    for _ in 0..4 {
        let reserved = log.reserve(2 * 40).unwrap();
        let mut group = reserved.begin(NOW);
        if group.begins_segment() {
            begun.push(group.segment());
            group.append(0, &[&[0; 500]]).unwrap();
        }
        group.append(1, &[&[1; 40]]).unwrap();
        group.append(2, &[&[2; 40]]).unwrap();
    }
    journal.commit(NOW).unwrap();
    let firsts: Vec<Position> = log.segments().iter().map(|segment| segment.first).collect();
    assert_eq!(begun, firsts);
    assert_eq!(firsts.len(), 4, "a preamble counts, so each group had to begin a segment");
    for first in firsts {
        let Some(Read::Record(_, kind, _)) = rest(&mut log.reader(first)).into_iter().next() else { panic!() };
        assert_eq!(kind, 0, "a segment begins with its preamble");
    }
}

#[test]
fn the_buffer_is_bounded_and_reservations_count() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options { buffer_bytes_max: 100, ..options(1 << 20) };
    let (mut journal, _) = Journal::open(Arc::new(DiskFiles), dir.path(), small, NOW).unwrap();
    let log = journal.log().clone();
    log.append(1, &[&[0; 500]], NOW).expect("an empty buffer takes anything");
    let full = Full { waiting: 528, asked: 38, max: 100 };
    assert_eq!(log.append(1, &[&[0; 10]], NOW), Err(AppendError::Full(full)));
    journal.commit(NOW).unwrap();
    let reserved = log.reserve(50).unwrap();
    assert!(log.reserve(0).is_err());
    drop(reserved);
    assert!(log.reserve(0).is_ok());
    assert_eq!(log.statistics().refused, 2);
}

#[test]
fn whole_segments_are_dropped_and_a_reader_in_front_of_them_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 40);
    for number in 0..4u8 {
        append(&journal, &[number; 20]);
    }
    journal.commit(NOW).unwrap();
    let log = journal.log().clone();
    let segments = log.segments();
    let (mut behind, mut inside) = (log.reader(Position::START), log.reader(Position::START));
    inside.next().unwrap();
    assert_eq!(journal.drop_before(Position(segments[1].end.0 - 1)).unwrap(), segments[..1]);
    assert_eq!(journal.drop_before(Position(u64::MAX)).unwrap(), segments[1..3], "the last one stays");
    assert_eq!(log.first(), segments[3].first);
    assert_eq!(rest(&mut behind)[0], Read::Lost(0, segments[3].first.0, Cause::Dropped));
    assert_eq!(rest(&mut inside).len(), 2);
    let statistics = log.statistics();
    let bytes: u64 = segments[..3].iter().map(|segment| segment.bytes).sum();
    assert_eq!((statistics.segments_dropped, statistics.bytes_dropped), (3, bytes));
    drop(journal);
    assert_eq!(open(dir.path(), 40).0.log().segments(), segments[3..]);
}

#[test]
fn cursors_are_kept_and_a_damaged_one_is_told_from_a_missing_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _) = open(dir.path(), 40);
    let cursors = Cursors::new(Arc::new(DiskFiles), dir.path());
    assert_eq!(cursors.load("remote-1").unwrap(), Saved::Missing);
    let cursor = Cursor { position: Position(77), note: b"acked 5".to_vec() };
    cursors.save("remote-1", &cursor).unwrap();
    assert_eq!(cursors.load("remote-1").unwrap(), Saved::At(cursor));
    assert_eq!(cursors.names().unwrap(), ["remote-1"]);
    let path = dir.path().join("remote-1.cursor");
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(cursors.load("remote-1").unwrap(), Saved::Damaged, "byte {at}");
        fs::write(&path, &bytes[..at]).unwrap();
        assert_eq!(cursors.load("remote-1").unwrap(), Saved::Damaged, "cut at {at}");
    }
    cursors.remove("remote-1").unwrap();
    cursors.remove("remote-1").unwrap();
    assert_eq!(cursors.load("remote-1").unwrap(), Saved::Missing);
    assert!(cursors.save("../up", &Cursor::default()).is_err());
}

#[test]
fn a_log_goes_on_behind_a_cursor_that_is_ahead_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 1 << 20);
    append(&journal, b"sent");
    let end = journal.commit(NOW).unwrap();
    let cursors = Cursors::new(Arc::new(DiskFiles), dir.path());
    cursors.save("sender", &Cursor { position: Position(end.0 + 1000), note: Vec::new() }).unwrap();
    drop(journal);
    let (mut journal, recovery) = open(dir.path(), 1 << 20);
    let lost = recovery.behind_cursor.expect("it is told");
    assert_eq!((lost.from, lost.bytes(), recovery.end), (end, 1000, lost.until));
    append(&journal, b"new");
    journal.commit(NOW).unwrap();
    let read = read_all(&journal);
    assert_eq!(payloads(&read), [b"sent".to_vec(), b"new".to_vec()]);
    assert_eq!(read[1], Read::Lost(end.0, end.0 + 1000, Cause::Missing));
}

#[test]
fn what_is_not_a_log_of_this_role_and_version_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 1 << 20);
    append(&journal, b"one");
    journal.commit(NOW).unwrap();
    drop(journal);
    let try_open = |role| {
        let error = Journal::open(Arc::new(DiskFiles), dir.path(), Options { role, ..options(1) }, NOW).err();
        let error = error.expect("it is refused").to_string();
        let checked = Journal::check(&DiskFiles, dir.path(), role).unwrap_err();
        assert_eq!(checked.to_string(), error, "a check says what opening would");
        error
    };
    let segment = dir.path().join("00000000000000000000.seg");
    let bytes = fs::read(&segment).unwrap();
    assert!(try_open(Role::Spool).contains("belongs to a gateway's journal of frames, expected a collector's spool"));

    let mut newer = bytes.clone();
    newer[8] = 9;
    let crc = crc32c::crc32c(&newer[..60]).to_le_bytes();
    newer[60..64].copy_from_slice(&crc);
    fs::write(&segment, &newer).unwrap();
    assert!(try_open(Role::Frames).contains("is of format version 9, this fedgate knows up to 1"));
    fs::write(&segment, &bytes).unwrap();

    let moved = dir.path().join("00000000000000000100.seg");
    fs::rename(&segment, &moved).unwrap();
    assert!(try_open(Role::Frames).contains("begins at position 0 by its own header"));
    fs::rename(&moved, &segment).unwrap();

    fs::write(dir.path().join("letters.txt"), "dear").unwrap();
    assert!(try_open(Role::Frames).contains("holds letters.txt, which fedgate did not write"));
    assert_eq!(fs::read(&segment).unwrap(), bytes);
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["00000000000000000000.seg", "LOCK", "letters.txt"]);
}

#[test]
fn a_check_changes_nothing_and_needs_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    Journal::check(&DiskFiles, &path, Role::Frames).unwrap();
    assert!(!path.exists());
    let _in_use = open(&path, 1 << 20);
    Journal::check(&DiskFiles, &path, Role::Frames).unwrap();
}
