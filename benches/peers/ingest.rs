//! Taking samples in: the first round makes the series, twenty more bring values. The same series and the same rounds for
//! all: by remote write for the peers and by frames over mutual TLS for fedgate, and in a table of its own by remote write for all.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::frames::Pusher;
use crate::gateway::{self, Gateway};
use crate::options::{Options, Peer};
use crate::process::Process;
use crate::remote_write::{Load, Version};
use crate::report::Report;
use crate::server::{self, Server};
use crate::writer::Writer;

/// One that makes the series and twenty more.
pub(crate) const ROUNDS: usize = 21;
/// The steady rounds in three parts, for a median and its spread.
const PARTS: [Range<usize>; 3] = [1..8, 8..15, 15..ROUNDS];
/// After each part: what the server does later belongs to it too.
const SETTLE: Duration = Duration::from_secs(2);

/// A table of what is taken in, and fedgate's goals in it.
pub(crate) struct Table {
    title: &'static str,
    first: Option<f64>,
    known: Option<f64>,
    memory: Option<f64>,
    wire: Option<f64>,
}

/// Each by its own way.
pub(crate) const OWN_WAY: Table =
    Table { title: "Ingest", first: Some(1.0), known: Some(0.06), memory: Some(200.0), wire: Some(1.0) };
/// All by remote write 1.0.
const SAME_WAY: Table =
    Table { title: "Remote write 1.0, received", first: None, known: Some(0.4), memory: None, wire: None };

/// Measures a peer.
pub(crate) fn remote_write(report: &mut Report, table: &Table, server: &Server, load: &Load, column: &'static str) {
    let series = load.shape.total();
    measure(report, table, column, &server.process, series, |rounds| load.push(server, rounds));
    add_wire(report, table, column, load.bytes(0..1), load.bytes(1..ROUNDS), series);
    if let Some(sink) = &server.sink {
        let sent = sink.bytes.load(Ordering::Relaxed) as f64 / (series * ROUNDS) as f64;
        report.add(table.title, "relayed, bytes a sample", None, column, &[sent]);
    }
}

/// Measures the gateway.
pub(crate) fn frames(report: &mut Report, gateway: &Gateway, pusher: &mut Pusher) {
    let (series, column) = (gateway.shape.total(), Peer::Fedgate.column());
    measure(report, &OWN_WAY, column, &gateway.process, series, |rounds| pusher.push(rounds));
    add_wire(report, &OWN_WAY, column, pusher.load.bytes(0..1), pusher.load.bytes(1..ROUNDS), series);
}

/// Measures all that store what comes by remote write 1.0, the gateway among them: the very same bodies, for the gateway over mutual TLS.
pub(crate) fn written(options: &Options, report: &mut Report) {
    let load = Load::encode(options.shape, ROUNDS, Version::One);
    for peer in [Peer::Prometheus, Peer::VictoriaMetrics].into_iter().filter(|peer| options.has_peer(*peer)) {
        remote_write(report, &SAME_WAY, &server::start(peer, ""), &load, peer.column());
    }
    if options.has_peer(Peer::Fedgate) {
        let (series, column) = (options.shape.total(), Peer::Fedgate.column());
        let gateway = gateway::start(options.shape, None, "");
        let writer = Writer::new(&gateway);
        measure(report, &SAME_WAY, column, &gateway.process, series, |rounds| writer.push(&load, rounds));
        add_wire(report, &SAME_WAY, column, load.bytes(0..1), load.bytes(1..ROUNDS), series);
    }
}

/// CPU of the first round and of the others, and memory after them; leaves the server loaded.
fn measure(
    report: &mut Report,
    table: &Table,
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
    report.add(table.title, "first push of new series, CPU s a million", table.first, column, &[first]);
    report.add(table.title, "known series, CPU s a million samples", table.known, column, &of(|step| step.0));
    report.add(table.title, "the same with what follows within 2 s", None, column, &of(|step| step.1));
    report.add(table.title, "the same, wall, the load's own included", None, column, &of(|step| step.2));
    let each = (process.rss() - process.idle) / series as f64;
    report.add(table.title, "memory after 20 rounds, bytes a series", table.memory, column, &[each]);
    report.add(table.title, "memory, the whole process, MiB", None, column, &[process.rss() / 1_048_576.0]);
}

fn add_wire(report: &mut Report, table: &Table, column: &'static str, first: usize, others: usize, series: usize) {
    let each = |bytes: usize, rounds: usize| [bytes as f64 / (rounds * series) as f64];
    report.add(table.title, "bodies of the first push, bytes a series", None, column, &each(first, 1));
    report.add(table.title, "bodies after it, bytes a sample", table.wire, column, &each(others, ROUNDS - 1));
}
