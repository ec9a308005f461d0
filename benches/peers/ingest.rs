//! Taking samples in: the first round makes the series, twenty more bring values. The same series and the same rounds for
//! all, by remote write for the peers and by frames over mutual TLS for fedgate.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::frames::Pusher;
use crate::gateway::Gateway;
use crate::options::Peer;
use crate::process::Process;
use crate::remote_write::Load;
use crate::report::Report;
use crate::server::Server;

/// One that makes the series and twenty more.
pub(crate) const ROUNDS: usize = 21;
/// The steady rounds in three parts, for a median and its spread.
const PARTS: [Range<usize>; 3] = [1..8, 8..15, 15..ROUNDS];
/// After each part: what the server does later belongs to it too.
const SETTLE: Duration = Duration::from_secs(2);
const SECTION: &str = "Ingest";

/// Measures a peer.
pub(crate) fn remote_write(report: &mut Report, server: &Server, load: &Load, column: &'static str) {
    let series = load.shape.total();
    measure(report, column, &server.process, series, |rounds| load.push(server, rounds));
    add_wire(report, column, load.bytes(0..1), load.bytes(1..ROUNDS), series);
    if let Some(sink) = &server.sink {
        let sent = sink.bytes.load(Ordering::Relaxed) as f64 / (series * ROUNDS) as f64;
        report.add(SECTION, "relayed, bytes a sample", None, column, &[sent]);
    }
}

/// Measures the gateway.
pub(crate) fn frames(report: &mut Report, gateway: &Gateway, pusher: &mut Pusher) {
    let (series, column) = (gateway.shape.total(), Peer::Fedgate.column());
    measure(report, column, &gateway.process, series, |rounds| pusher.push(rounds));
    add_wire(report, column, pusher.load.bytes(0..1), pusher.load.bytes(1..ROUNDS), series);
}

/// CPU of the first round and of the others, and memory after them; leaves the server loaded.
fn measure(
    report: &mut Report,
    column: &'static str,
    process: &Process,
    series: usize,
    mut push: impl FnMut(Range<usize>),
) {
    let mut step = |rounds: Range<usize>| {
        let samples = (rounds.len() * series) as f64;
        let (before, start) = (process.cpu(), Instant::now());
        push(rounds);
        let (now, wall) = (process.cpu(), start.elapsed());
        std::thread::sleep(SETTLE);
        let millions = |seconds: f64| seconds * 1e6 / samples;
        (millions(now - before), millions(process.cpu() - before), millions(wall.as_secs_f64()))
    };
    let (_, first, _) = step(0..1);
    let steps: Vec<(f64, f64, f64)> = PARTS.map(&mut step).to_vec();
    let of = |pick: fn(&(f64, f64, f64)) -> f64| steps.iter().map(pick).collect::<Vec<f64>>();
    report.add(SECTION, "first push of new series, CPU s a million", Some(1.0), column, &[first]);
    report.add(SECTION, "known series, CPU s a million samples", Some(0.06), column, &of(|step| step.0));
    report.add(SECTION, "the same with what follows within 2 s", None, column, &of(|step| step.1));
    report.add(SECTION, "the same, wall, the load's own included", None, column, &of(|step| step.2));
    let each = (process.rss() - process.idle) / series as f64;
    report.add(SECTION, "memory after 20 rounds, bytes a series", Some(200.0), column, &[each]);
    report.add(SECTION, "memory, the whole process, MiB", None, column, &[process.rss() / 1_048_576.0]);
}

fn add_wire(report: &mut Report, column: &'static str, first: usize, others: usize, series: usize) {
    let each = |bytes: usize, rounds: usize| [bytes as f64 / (rounds * series) as f64];
    report.add(SECTION, "bodies of the first push, bytes a series", None, column, &each(first, 1));
    report.add(SECTION, "bodies after it, bytes a sample", Some(1.0), column, &each(others, ROUNDS - 1));
}
