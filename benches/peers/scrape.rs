//! Scraping: fedgate's collector, which pushes to a gateway, beside Prometheus, which stores, and vmagent and
//! VictoriaMetrics. 100,000 series on 20 pages every two seconds, gzip.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cluster::{self, Cluster};
use crate::exporter::Exporter;
use crate::gateway;
use crate::options::{Options, Peer, Shape};
use crate::process::Process;
use crate::report::Report;
use crate::server;

const SECTION: &str = "Scraping";
const SERIES: usize = 100_000;
/// Of a small cluster, whose collector must not be noticed.
const FEW_SERIES: usize = 10_000;
const INTERVAL: &str = "2s";
/// The first scrapes, which make the series, are not counted.
const WARM: Duration = Duration::from_secs(8);
const WINDOW: Duration = Duration::from_secs(6);
const WINDOWS: usize = 3;

/// All peers, then the collector, at two sizes.
pub(crate) fn measure(options: &Options, report: &mut Report) {
    let exporter = exporter(SERIES);
    let jobs = exporter.scrape_configs(INTERVAL);
    for peer in options.peers() {
        let column = peer.column();
        if *peer == Peer::Fedgate {
            measure_collector(report, &exporter, &jobs);
        } else {
            let server = server::start(*peer, &jobs);
            watch(report, column, &exporter, &[("CPU s a million samples", Some(0.3), &server.process)]);
            report.add(SECTION, "memory, MiB", None, column, &[mebibytes(&server.process)]);
        }
    }
    if options.has_peer(Peer::Fedgate) {
        measure_small(report);
    }
}

fn exporter(series: usize) -> Exporter {
    Exporter::start(Cluster::new(0, series, cluster::first_round(1), 0.0))
}

fn measure_collector(report: &mut Report, exporter: &Exporter, jobs: &str) {
    let gateway = gateway::start(Shape { clusters: 1, series: SERIES }, None, "");
    let collector = gateway.start_collector(&cluster::name(0), jobs, INTERVAL);
    let column = Peer::Fedgate.column();
    let processes = [
        ("CPU s a million samples", Some(0.3), &collector),
        ("the gateway that it pushes to, CPU s a million samples", None, &gateway.process),
    ];
    watch(report, column, exporter, &processes);
    report.add(SECTION, "memory, MiB", None, column, &[mebibytes(&collector)]);
}

fn measure_small(report: &mut Report) {
    let exporter = exporter(FEW_SERIES);
    let gateway = gateway::start(Shape { clusters: 1, series: FEW_SERIES }, None, "");
    let collector = gateway.start_collector(&cluster::name(0), &exporter.scrape_configs(INTERVAL), INTERVAL);
    std::thread::sleep(WARM + WINDOW);
    let memory = [mebibytes(&collector)];
    report.add(SECTION, "memory at 10,000 series, MiB", Some(30.0), Peer::Fedgate.column(), &memory);
}

/// CPU of each process by what the exporters showed, window by window.
fn watch(
    report: &mut Report,
    column: &'static str,
    exporter: &Exporter,
    processes: &[(&'static str, Option<f64>, &Process)],
) {
    std::thread::sleep(WARM);
    let mut runs = vec![Vec::new(); processes.len()];
    for _ in 0..WINDOWS {
        let samples = exporter.samples.load(Ordering::Relaxed);
        let before: Vec<f64> = processes.iter().map(|(_, _, process)| process.cpu()).collect();
        std::thread::sleep(WINDOW);
        let millions = (exporter.samples.load(Ordering::Relaxed) - samples) as f64 / 1e6;
        assert!(millions > 0.0, "nothing was scraped");
        for (at, (_, _, process)) in processes.iter().enumerate() {
            runs[at].push((process.cpu() - before[at]) / millions);
        }
    }
    for ((what, goal, _), runs) in processes.iter().zip(&runs) {
        report.add(SECTION, *what, *goal, column, runs);
    }
}

fn mebibytes(process: &Process) -> f64 {
    process.rss() / 1_048_576.0
}
