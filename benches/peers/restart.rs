//! An hour of frames in the journal, a `kill -9`, and the start that reads them again; and what the journal costs on the way.
//!
//! The hour is pushed as fast as it is taken, so to a restart all of it is of the last minutes: it reads everything, as one does whose rules
//! look back an hour. Where they look back five minutes it reads a tenth.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::frames::{Load, Pusher};
use crate::gateway::{self, JOURNAL};
use crate::options::{Options, Peer};
use crate::report::Report;
use crate::rules;

const SECTION: &str = "Restart with an hour of journal";
/// Pushes of each cluster in an hour.
const ROUNDS: usize = 240;

/// Measures the gateway.
pub(crate) fn measure(options: &Options, report: &mut Report) {
    let sections = format!("{JOURNAL}{}", rules::HISTORY);
    let mut gateway = gateway::start(options.shape, "other", &sections);
    let mut pusher = Pusher::new(&gateway, Load::encode(options.shape, ROUNDS, ROUNDS, 0.0));
    let (column, samples) = (Peer::Fedgate.column(), (options.shape.total() * ROUNDS) as f64);
    let start = Instant::now();
    pusher.push(0..ROUNDS);
    let pushes = (ROUNDS * options.shape.clusters) as f64 / start.elapsed().as_secs_f64();
    report.add(SECTION, "acknowledged pushes a second, their making not included", None, column, &[pushes]);
    let bytes = bytes_of(&gateway.folder().join("journal"));
    report.add(SECTION, "journal on disk, bytes a sample", None, column, &[bytes as f64 / samples]);
    report.add(SECTION, "memory before, MiB", None, column, &[gateway.process.rss() / 1_048_576.0]);
    drop(pusher);
    let runs: Vec<(f64, f64)> = (0..options.runs)
        .map(|_| {
            gateway.restart();
            (gateway.process.ready_after.as_secs_f64(), gateway.process.cpu())
        })
        .collect();
    let of = |pick: fn(&(f64, f64)) -> f64| runs.iter().map(pick).collect::<Vec<f64>>();
    let goal = (options.shape.total() == 1_000_000).then_some(10.0);
    report.add(SECTION, "start to ready, wall s", goal, column, &of(|run| run.0));
    report.add(SECTION, "start to ready, CPU s", None, column, &of(|run| run.1));
    report.add(SECTION, "memory after, MiB", None, column, &[gateway.process.rss() / 1_048_576.0]);
}

/// Bytes of the files of a folder and of those in it.
fn bytes_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() { bytes_of(&entry.path()) } else { entry.metadata().map_or(0, |file| file.len()) }
        })
        .sum()
}
