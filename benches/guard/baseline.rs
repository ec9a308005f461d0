//! The committed figures, and how far a new one may be from them.
//!
//! Every figure has room of its own: instructions vary a little with library versions and with where hash tables' random seeds put things;
//! allocations and bytes hardly do. What got better by as much is said too, so that the next change is held to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where the figures are, from the repository's root.
pub(crate) const PATH: &str = "benches/guard/baseline.txt";
const HEAD: &str = "# What a sample costs, by part; written by: cargo bench --bench guard -- --accept\n";
/// How much a figure may grow, as a part of itself; bytes depend on nothing but the program.
const GROWTH_MAX: f64 = 0.05;
const GROWTH_OF_BYTES_MAX: f64 = 0.01;
/// How much it may grow where the baseline is next to nothing: an allocation for every hundred samples.
const GROWTH_MIN: f64 = 0.01;

/// One figure of one part.
pub(crate) struct Figure {
    part: &'static str,
    what: &'static str,
    value: f64,
}

impl Figure {
    pub(crate) fn new(part: &'static str, what: &'static str, value: f64) -> Figure {
        Figure { part, what, value }
    }
}

/// What was accepted last.
pub(crate) struct Baseline {
    figures: BTreeMap<(String, String), f64>,
}

impl Baseline {
    pub(crate) fn read() -> Baseline {
        let text = fs::read_to_string(file()).unwrap_or_default();
        let figure = |line: &str| {
            let mut words = line.split_whitespace();
            let key = (words.next()?.to_owned(), words.next()?.to_owned());
            Some((key, words.next()?.parse().ok()?))
        };
        Baseline { figures: text.lines().filter(|line| !line.starts_with('#')).filter_map(figure).collect() }
    }

    pub(crate) fn write(figures: &[Figure]) {
        let line = |figure: &Figure| format!("{:<12} {:<14} {:.3}\n", figure.part, figure.what, figure.value);
        let lines: String = figures.iter().map(line).collect();
        fs::write(file(), format!("{HEAD}{lines}")).expect("the repository can be written");
    }

    /// Prints the figure beside its baseline; a sentence if it is too much.
    pub(crate) fn check(&self, figure: &Figure) -> Option<String> {
        let Figure { part, what, value } = figure;
        let Some(before) = self.figures.get(&((*part).to_owned(), (*what).to_owned())) else {
            return Some(format!("{part}: {what} a sample have no baseline, now {value:.3}"));
        };
        let part_of_it = if *what == "bytes" { GROWTH_OF_BYTES_MAX } else { GROWTH_MAX };
        let room = (before * part_of_it).max(GROWTH_MIN);
        let word = match value - before {
            change if change > room => "  too much",
            change if change < -room => "  better: --accept keeps it",
            _ => "",
        };
        println!("{part:<12} {what:<14} {before:>10.3} {value:>10.3}{word}");
        let growth = (value / before - 1.0) * 100.0;
        let sentence = || {
            format!(
                "{part}: {what} a sample went from {before:.3} to {value:.3} (+{growth:.1} %), allowed is +{room:.3}"
            )
        };
        (value - before > room).then(sentence)
    }
}

fn file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH)
}
