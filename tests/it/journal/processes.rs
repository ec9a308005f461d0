//! Processes that are killed, and two that want the same directory.
//!
//! The other process is this test binary, run again for one test with the directory in its environment.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{NOW, open, options, payloads, read_all};
use fedgate::journal::{DiskFiles, Journal, OpenError};
use std::sync::Arc;

const DIR: &str = "FEDGATE_TEST_JOURNAL";
const SEGMENT_BYTES: u64 = 20_000;
const ROUNDS: u64 = 12;

/// A process that appends records, each its own number, and says which of them are synced.
fn appender(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["journal::processes::appends_for_ever", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The other process; on its own it does nothing.
#[test]
fn appends_for_ever() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (mut journal, _) = open(Path::new(&dir), SEGMENT_BYTES);
    let mut number = payloads(&read_all(&journal)).len() as u64;
    let mut stdout = std::io::stdout();
    loop {
        for _ in 0..3 {
            journal.log().append(1, &[&number.to_le_bytes(), &[7; 300]], NOW).unwrap();
            number += 1;
        }
        journal.commit(NOW).unwrap();
        writeln!(stdout, "synced {number}").unwrap();
    }
}

fn numbers(journal: &Journal) -> Vec<u64> {
    let number = |payload: &Vec<u8>| u64::from_le_bytes(payload[..8].try_into().unwrap());
    payloads(&read_all(journal)).iter().map(number).collect()
}

#[test]
fn what_a_killed_process_said_was_synced_is_there_and_nothing_is_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut synced = 0;
    for round in 0..ROUNDS {
        let mut child = appender(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said =
            lines.by_ref().map(|line| line.unwrap()).filter_map(|line| line.strip_prefix("synced ")?.parse().ok());
        synced = said.nth(3 + round as usize * 5).expect("it appends");
        child.kill().unwrap();
        child.wait().unwrap();
        synced = said.last().unwrap_or(synced);
        let (journal, _) = open(dir.path(), SEGMENT_BYTES);
        let found = numbers(&journal);
        assert!(found.len() as u64 >= synced, "round {round}: {} of {synced}", found.len());
        assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>(), "round {round}");
    }
    assert!(synced > 100);
}

#[test]
fn a_directory_is_one_process_s() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = appender(dir.path());
    let mut stdout = child.stdout.take().unwrap();
    let mut said = [0; 200];
    while !String::from_utf8_lossy(&said).contains("synced") {
        assert!(stdout.read(&mut said).unwrap() > 0, "it appends");
    }
    let refused = Journal::open(Arc::new(DiskFiles), dir.path(), options(1), NOW).err().expect("it is locked");
    assert!(matches!(&refused, OpenError::Locked { .. }), "{refused}");
    let said =
        format!("{} is in use by another process; stop it, or give each its own directory", dir.path().display());
    assert_eq!(refused.to_string(), said);
    child.kill().unwrap();
    child.wait().unwrap();
    let (journal, _) = open(dir.path(), SEGMENT_BYTES);
    let again = Journal::open(Arc::new(DiskFiles), dir.path(), options(1), NOW).err().expect("it is locked");
    assert!(matches!(again, OpenError::Locked { .. }), "within one process, too");
    drop(journal);
    open(dir.path(), SEGMENT_BYTES);
}
