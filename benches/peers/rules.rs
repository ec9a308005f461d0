//! Recording rules of a site, each asked as an instant query at the time of the last round: the same expressions, over the same
//! samples. What storing the results costs is not in it; it is some hundred series beside the 240,000 in a million that the
//! expressions read.

use std::time::Duration;

use fedgate::model::Timestamp;

use crate::http::{self, percent_encoded};
use crate::options::Options;
use crate::process::Process;
use crate::report::Report;

const SECTION: &str = "Rules";
/// Name, expression, and the goal in CPU ms at a million series.
const RULES: [(&str, &str); 5] = [
    ("utilization by cluster", "sum by (cluster)(slurm_node_cpus_allocated) / sum by (cluster)(slurm_node_cpus_total)"),
    ("sum by cluster and partition", "sum by (cluster, partition)(slurm_node_cpus_allocated)"),
    ("sum by cluster and user", "sum by (cluster, user)(slurm_user_cpus_allocated)"),
    (
        "health score by node",
        "sum without (state)(slurm_node_state{state=\"idle\"} * 1 or slurm_node_state{state=\"mixed\"} * 0.9 or \
         slurm_node_state{state=\"allocated\"} * 0.8 or slurm_node_state{state=\"maint\"} * 0.2 or \
         slurm_node_state{state=~\"down|drain\"} * 0)",
    ),
    ("busy CPU rate by cluster", "sum by (cluster)(rate(node_cpu_seconds_total{mode!=\"idle\"}[5m]))"),
];
/// What one evaluation of all may take at a million series, CPU ms.
const ALL_GOAL: f64 = 54.0;
/// Before a query: what the one before it left to do belongs to that one.
const SETTLE: Duration = Duration::from_millis(20);

/// What the gateway must keep for them beside the newest samples.
pub(crate) const HISTORY: &str = "history:\n  series:\n    - {match: node_cpu_seconds_total, for: 5m}\n";

/// Measures one program, loaded with rounds of which the last is at `last`.
pub(crate) fn measure(
    options: &Options,
    report: &mut Report,
    process: &Process,
    (port, last): (u16, Timestamp),
    column: &'static str,
) {
    let mut all = vec![0.0; options.runs];
    for (name, expression) in RULES {
        let cold = evaluate(process, port, expression, last);
        report.add(SECTION, format!("{name}, CPU ms, the first time"), None, column, &[cold.cpu]);
        eprintln!("{column}: {name}: {} series", cold.series);
        let runs: Vec<f64> = (0..options.runs).map(|_| evaluate(process, port, expression, last).cpu).collect();
        all.iter_mut().zip(&runs).for_each(|(all, run)| *all += run);
        report.add(SECTION, format!("{name}, CPU ms"), None, column, &runs);
    }
    let goal = (options.shape.total() == 1_000_000).then_some(ALL_GOAL);
    report.add(SECTION, "all five, CPU ms".to_owned(), goal, column, &all);
}

struct Evaluation {
    /// Milliseconds.
    cpu: f64,
    series: usize,
}

fn evaluate(process: &Process, port: u16, expression: &str, at: Timestamp) -> Evaluation {
    let path = format!("/api/v1/query?query={}&time={}", percent_encoded(expression), at.as_seconds());
    std::thread::sleep(SETTLE);
    let (before, mut series, mut tail) = (process.cpu(), 0, Vec::new());
    let answer = http::get(port, &path, "", |piece| {
        tail.extend_from_slice(piece);
        series += take_marks(&mut tail);
    });
    assert_eq!(answer.expect("an answer").status, 200, "{expression}");
    std::thread::sleep(SETTLE);
    Evaluation { cpu: (process.cpu() - before) * 1e3, series }
}

/// Counts the series begun in `text`, and leaves what may be the beginning of one more.
fn take_marks(text: &mut Vec<u8>) -> usize {
    const MARK: &[u8] = b"\"metric\"";
    let count = memchr::memmem::find_iter(text, MARK).count();
    let rest = memchr::memmem::rfind(text, MARK).map_or(0, |at| at + MARK.len());
    let keep = text.len().saturating_sub(MARK.len() - 1).max(rest);
    text.drain(..keep);
    count
}
