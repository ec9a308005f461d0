//! An hour of frames in the journal, a `kill -9`, and the start that reads them again; and what the journal costs on the way.
//!
//! The hour is pushed as fast as it is taken, so to a restart all of it is of the last minutes: it reads everything, as one does whose rules
//! look back an hour. Where they look back five minutes it reads a tenth.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::frames::{Load, Pusher};
use crate::gateway::{self, JOURNAL};
use crate::http::free_port;
use crate::options::{Options, Peer};
use crate::report::Report;
use crate::rules;

const SECTION: &str = "Restart with an hour of journal";
/// What a sender takes to read what the journal has.
const SETTLE: Duration = Duration::from_secs(5);
/// Pushes of each cluster in an hour.
const ROUNDS: usize = 240;

/// Measures the gateway.
pub(crate) fn measure(options: &Options, report: &mut Report) {
    let sections = format!("{JOURNAL}{}", rules::HISTORY);
    let mut gateway = gateway::start(options.shape, None, &sections);
    let load = Load::encode(options.shape, ROUNDS, ROUNDS, 0.0);
    let mut pusher = Pusher::new(&gateway, load.clone());
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
    drop(gateway);
    measure_outage(options, report, &sections, load);
}

/// The same hour for an endpoint of remote write that is away: what waits for it is in the journal, and memory holds a second state alone.
fn measure_outage(options: &Options, report: &mut Report, sections: &str, load: Load) {
    let away = format!("{sections}remote_write:\n  - url: http://127.0.0.1:{}/write\n", free_port());
    let gateway = gateway::start(options.shape, None, &away);
    let mut pusher = Pusher::new(&gateway, load);
    pusher.push(0..1);
    std::thread::sleep(SETTLE);
    let first = gateway.process.rss();
    pusher.push(1..ROUNDS);
    std::thread::sleep(SETTLE);
    let mebibytes = [first, gateway.process.rss()].map(|bytes| bytes / 1_048_576.0);
    for (what, value) in ["after the first push", "an hour later"].iter().zip(mebibytes) {
        let name = format!("memory with an endpoint that is away, {what}, MiB");
        report.add(SECTION, name, None, Peer::Fedgate.column(), &[value]);
    }
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
