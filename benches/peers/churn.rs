//! Series that come and go: 2 % of them are others at every push, in eight large clusters and in one very large one.

use std::time::Duration;

use crate::frames::{Load, Pusher};
use crate::gateway;
use crate::options::{Options, Peer, Shape};
use crate::report::Report;

const SECTION: &str = "2 % of the series replaced at every push";
const REPLACED: f64 = 0.02;
const ROUNDS: usize = 13;
/// Rounds of a measured part; the first round makes the series and is not counted.
const PART: usize = 4;
const MANY: usize = 8;

/// Both shapes, with as many series as the site has.
pub(crate) fn measure(options: &Options, report: &mut Report) {
    let total = options.shape.total();
    for clusters in [MANY, 1] {
        let shape = Shape { clusters, series: total / clusters };
        let name = if clusters == 1 { "one cluster".to_owned() } else { format!("{clusters} clusters") };
        measure_shape(report, &format!("{name} of {}", shape.series), shape);
    }
}

fn measure_shape(report: &mut Report, name: &str, shape: Shape) {
    let gateway = gateway::start(shape, None, "");
    let mut pusher = Pusher::new(&gateway, Load::encode(shape, ROUNDS, ROUNDS, REPLACED));
    pusher.push(0..1);
    let (process, column) = (&gateway.process, Peer::Fedgate.column());
    let mut runs = Vec::new();
    for first in (1..ROUNDS).step_by(PART) {
        let before = process.cpu();
        pusher.push(first..first + PART);
        std::thread::sleep(Duration::from_millis(500));
        runs.push((process.cpu() - before) * 1e6 / (PART * shape.total()) as f64);
    }
    let wire = pusher.load.bytes(1..ROUNDS) as f64 / ((ROUNDS - 1) * shape.total()) as f64;
    let memory = (process.rss() - process.idle) / shape.total() as f64;
    report.add(SECTION, format!("{name}, CPU s a million samples"), Some(0.12), column, &runs);
    report.add(SECTION, format!("{name}, memory, bytes a series"), Some(400.0), column, &[memory]);
    report.add(SECTION, format!("{name}, bodies, bytes a sample"), None, column, &[wire]);
}
