//! What a collector costs, whole process: HTTP, gunzip, reading, encoding, queue and push over mutual TLS.
//!
//! `cargo bench --bench collector [-- --seconds 20] [--interval 1s] [--program FEDGATE]… [--only WORD]` runs the real program as
//! collector against exporters in this process (pages packed with gzip -1, 40 % of the values new each time) and a real
//! gateway, and prints CPU time of the collector for each million samples, its memory, and how often it woke up. With several
//! `--program` all are measured side by side, so that a change can be compared with what was before it.

#[path = "../site/mod.rs"]
mod site;

mod exporters;
mod freshness;
mod process;
mod roles;

use std::path::{Path, PathBuf};
use std::time::Duration;

use exporters::Exporters;
use process::Usage;
use roles::{Collector, Gateway};
use site::NODE_SERIES;

/// Scrapes of every target before the measurement begins: schemas are known by then and room has been made.
const WARM_UP_ROUNDS: u64 = 4;
const MIB: f64 = 1_048_576.0;

/// What the exporters show.
struct Workload {
    name: &'static str,
    targets: usize,
    nodes: usize,
    series: usize,
}

const WORKLOADS: [Workload; 4] = [
    Workload { name: "10,000 series: 80 targets of 126", targets: 80, nodes: 1, series: NODE_SERIES },
    Workload { name: "10,000 series: 2 targets of 5,000", targets: 2, nodes: 39, series: 5_000 },
    Workload { name: "100,000 series: 20 targets of 5,000", targets: 20, nodes: 39, series: 5_000 },
    Workload { name: "idle: one target of 126", targets: 1, nodes: 1, series: NODE_SERIES },
];

/// What the command line asks for.
struct Options {
    seconds: u64,
    interval: String,
    programs: Vec<PathBuf>,
    only: String,
}

impl Options {
    fn read() -> Options {
        let mut options = Options { seconds: 20, interval: "1s".to_owned(), programs: Vec::new(), only: String::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} takes a value"));
            match argument.as_str() {
                "--bench" => {}
                "--seconds" => options.seconds = value().parse().expect("seconds, a number"),
                "--interval" => options.interval = value(),
                "--program" => options.programs.push(value().into()),
                "--only" => options.only = value(),
                other => panic!("{other}, expected --seconds, --interval, --program or --only"),
            }
        }
        if options.programs.is_empty() {
            options.programs.push(env!("CARGO_BIN_EXE_fedgate").into());
        }
        options
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }
}

fn main() {
    let options = Options::read();
    println!(
        "| workload | program | CPU-s a million samples | CPU ms/s | RSS MiB (own, file) | peak | threads | wake-ups/s |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    for workload in WORKLOADS.iter().filter(|workload| options.wants(workload.name)) {
        let exporters = workload.serve(options.seconds);
        for program in &options.programs {
            measure(workload, &exporters, program, &options);
        }
    }
    if options.wants("freshness") {
        println!(
            "\n| freshness: served by an exporter → first seen at /federate, tick 1s | p50 ms | p99 ms | p99 beyond the tick |"
        );
        println!("|---|---:|---:|---:|");
        options.programs.iter().for_each(|program| freshness::measure(program));
    }
}

impl Workload {
    fn serve(&self, seconds: u64) -> Exporters {
        let rounds = (seconds + 2 * WARM_UP_ROUNDS) as usize;
        let mut pages: Vec<site::Page> =
            (0..self.targets as u64).map(|target| site::Page::new(target + 1, self.nodes, self.series)).collect();
        let texts = pages.iter_mut().map(|page| {
            let next = |_| {
                page.advance();
                page.text()
            };
            (0..rounds).map(next).collect::<Vec<_>>()
        });
        Exporters::serve(texts)
    }
}

fn measure(workload: &Workload, exporters: &Exporters, program: &Path, options: &Options) {
    let gateway = Gateway::start(program);
    let collector = Collector::start(program, &gateway, exporters, &options.interval);
    let (targets, series) = (workload.targets as u64, workload.series as u64);
    collector.wait_for_samples(WARM_UP_ROUNDS * targets * series);
    let (before, samples_before) = (collector.usage(), collector.samples());
    std::thread::sleep(Duration::from_secs(options.seconds));
    let (after, samples) = (collector.usage(), collector.samples() - samples_before);
    let Usage { resident, own, file, peak, threads, .. } = after;
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    println!(
        "| {} | {} | {:.3} | {:.2} | {:.1} ({:.1}, {:.1}) | {:.1} | {threads} | {:.0} |",
        workload.name,
        program.parent().and_then(|folder| folder.file_name()).unwrap_or_default().to_string_lossy(),
        cpu * 1e6 / samples as f64,
        cpu * 1e3 / options.seconds as f64,
        resident as f64 / MIB,
        own as f64 / MIB,
        file as f64 / MIB,
        peak as f64 / MIB,
        (after.switches - before.switches) as f64 / options.seconds as f64,
    );
}
