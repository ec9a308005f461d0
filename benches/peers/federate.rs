//! Reading: `/federate` of everything and of what a site really asks for, plain, gzip and in protobuf; and
//! fedgate's `/metrics`.
//!
//! Each page is read once more than it is counted: the first of each kind is the cold one, a line of its own for the page
//! of everything.

use std::time::Duration;

use crate::cluster;
use crate::http::{self, Answer, SampleCount, percent_encoded};
use crate::options::{Options, Peer, Shape};
use crate::process::Process;
use crate::report::Report;

const SECTION: &str = "`/federate`";
const METRICS: &str = "`/metrics`";
/// Runs of a page of everything, which the peers take ten seconds for.
const WHOLE_RUNS_MAX: usize = 3;
/// What a site's Prometheus takes of a million series.
const SELECTED: usize = 50_000;
const PLAIN: &str = "";
const GZIP: &str = "Accept-Encoding: gzip\r\n";
const PROTOBUF: &str =
    "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n";

/// A page to read, and the goals for it.
struct Page {
    section: &'static str,
    name: String,
    path: String,
    headers: &'static str,
    /// Whether it is all series, so that it is counted by series; else in milliseconds.
    is_whole: bool,
    cpu_goal: Option<f64>,
    wall_goal: Option<f64>,
}

/// One reading.
struct Reading {
    answer: Answer,
    cpu: f64,
}

/// All pages of `/federate`.
pub(crate) fn measure(options: &Options, report: &mut Report, process: &Process, port: u16, column: &'static str) {
    // VictoriaMetrics answers in text, whatever is asked for.
    let has_protobuf = column != Peer::VictoriaMetrics.column();
    for page in pages(options.shape).iter().filter(|page| has_protobuf || page.headers != PROTOBUF) {
        page.measure(options, report, process, port, column);
    }
}

/// fedgate's typed page.
pub(crate) fn measure_metrics(options: &Options, report: &mut Report, process: &Process, port: u16) {
    for (name, headers, goal) in [("all, plain", PLAIN, 0.2), ("all, gzip", GZIP, 0.5)] {
        let page = Page {
            section: METRICS,
            name: name.to_owned(),
            path: "/metrics".to_owned(),
            headers,
            is_whole: true,
            cpu_goal: Some(goal),
            wall_goal: None,
        };
        page.measure(options, report, process, port, Peer::Fedgate.column());
    }
}

fn pages(shape: Shape) -> Vec<Page> {
    let names = |count: usize| (0..count.clamp(1, shape.clusters)).map(cluster::name).collect::<Vec<_>>().join("|");
    let metrics = "cpus_allocated|cpus_idle|cpus_other|cpus_total|cpu_load|weight";
    let selected = [
        ("one cluster", format!("{{cluster=\"{}\"}}", cluster::name(shape.clusters / 2)), Some(2.0), None),
        ("50,000 by cluster", format!("{{cluster=~\"{}\"}}", names(SELECTED / shape.series)), Some(15.0), Some(30.0)),
        ("six metrics of every node", format!("{{__name__=~\"slurm_node_({metrics})\"}}"), Some(15.0), Some(30.0)),
        ("nothing", "{cluster=\"none\"}".to_owned(), None, None),
    ];
    let mut pages = Vec::new();
    for (form, headers, goal) in [("plain", PLAIN, 0.2), ("gzip", GZIP, 0.5)] {
        pages.push(whole(form, headers, Some(goal)));
        for (name, selector, cpu_goal, wall_goal) in &selected {
            let (cpu_goal, wall_goal) = if headers == PLAIN { (*cpu_goal, *wall_goal) } else { (None, None) };
            pages.push(Page {
                section: SECTION,
                name: format!("{name}, {form}"),
                path: path(selector),
                headers,
                is_whole: false,
                cpu_goal,
                wall_goal,
            });
        }
    }
    pages.push(whole("protobuf", PROTOBUF, None));
    pages
}

/// The page of everything.
fn whole(form: &str, headers: &'static str, cpu_goal: Option<f64>) -> Page {
    Page {
        section: SECTION,
        name: format!("all, {form}"),
        path: path("{__name__=~\".+\"}"),
        headers,
        is_whole: true,
        cpu_goal,
        wall_goal: (headers == PLAIN).then_some(0.4),
    }
}

fn path(selector: &str) -> String {
    format!("/federate?match[]={}", percent_encoded(selector))
}

impl Page {
    fn measure(&self, options: &Options, report: &mut Report, process: &Process, port: u16, column: &'static str) {
        process.reset_peak();
        let before = process.rss();
        let mut count = SampleCount::default();
        let cold = self.read(process, port, |piece| count.add(piece));
        if self.headers == PLAIN {
            eprintln!("{column}: {} {}: {} samples", self.section, self.name, count.samples);
        }
        let runs = if self.is_whole { options.runs.min(WHOLE_RUNS_MAX) } else { options.runs };
        let readings: Vec<Reading> = (0..runs).map(|_| self.read(process, port, |_| ())).collect();
        if cold.answer.bytes.abs_diff(readings[runs - 1].answer.bytes) > cold.answer.bytes / 10 {
            return eprintln!("{column}: {}: left out, its samples grew too old meanwhile", self.name);
        }
        let (unit, cpu_scale, wall_unit, wall_scale) = match self.is_whole {
            true => ("CPU µs a series", 1e6 / options.shape.total() as f64, "wall s", 1.0),
            false => ("CPU ms", 1e3, "wall ms", 1e3),
        };
        let cpu: Vec<f64> = readings.iter().map(|reading| reading.cpu * cpu_scale).collect();
        let walls = |scale: f64| readings.iter().map(|one| seconds(one.answer.whole) * scale).collect::<Vec<f64>>();
        report.add(self.section, format!("{}, {unit}", self.name), self.cpu_goal, column, &cpu);
        report.add(self.section, format!("{}, {wall_unit}", self.name), self.wall_goal, column, &walls(wall_scale));
        if self.is_whole {
            let first: Vec<f64> = readings.iter().map(|one| seconds(one.answer.first) * 1e3).collect();
            self.add_whole(report, column, &cold, &first, process.peak() - before);
        }
    }

    /// What only the page of everything is asked for.
    fn add_whole(&self, report: &mut Report, column: &'static str, cold: &Reading, first: &[f64], grown: f64) {
        let mut add = |what: &str, goal: Option<f64>, runs: &[f64]| {
            report.add(self.section, format!("{}, {what}", self.name), goal, column, runs)
        };
        add("wall s of the first time", None, &[seconds(cold.answer.whole)]);
        add("first byte ms", Some(50.0), first);
        add("memory grown, MiB", None, &[grown.max(0.0) / 1_048_576.0]);
        add("MB", None, &[cold.answer.bytes as f64 / 1e6]);
    }

    fn read(&self, process: &Process, port: u16, take: impl FnMut(&[u8])) -> Reading {
        let before = process.cpu();
        let answer = http::get(port, &self.path, self.headers, take).expect("an answer");
        assert_eq!(answer.status, 200, "{}", self.path);
        // The last of the answer's work may end after its last byte.
        std::thread::sleep(Duration::from_millis(20));
        Reading { answer, cpu: process.cpu() - before }
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
