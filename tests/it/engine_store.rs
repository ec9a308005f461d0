//! The evaluator over the store: keys of chunks, worked out from their tables and kept with their blocks, are those of the
//! label sets themselves.
//!
//! Each expression is evaluated over the views with a plan that lives through all rounds, and over the same series written out
//! in memory; series come, go and change their labels in between.

use std::collections::BTreeSet;
use std::fmt::Write;

use fedgate::model::{METRIC_NAME, MatchOp, Matcher, Timestamp};
use fedgate::promql::{
    Budget, Cell, Engine, Outcome, ParseOptions, Plan, SelectionCache, SeriesSource, Source, Steps, StoreSource,
    ast::Expr, parse,
};

use crate::store_pushes::{Collector, Gateway, LACKING, START, policy};

const TARGETS: [[(&str, &str); 2]; 2] = [[("instance", "n1"), ("job", "node")], [("instance", "n2"), ("job", "node")]];

/// `Z` stands before the metric's name in the order of labels, the others behind it.
const EXPRESSIONS: [&str; 16] = [
    "sum by (cluster) (m)",
    "sum by (a) (m)",
    "sum by (a, b, Z) (m)",
    "sum by (instance, job) (m)",
    "sum by (__name__, a) ({job=~'.*', __name__=~'m|n'})",
    "sum without (a) (m)",
    "sum without (instance, b) (m)",
    "count without (cluster, environment) (m)",
    "m * 2",
    "m - n",
    "m - on (cluster, instance, a) group_left () max by (cluster, instance, a) (n)",
    "m * on (cluster, instance) group_left (environment) count by (cluster, instance, environment) (m)",
    "m > 3 or n or m",
    "m unless ignoring (b) n",
    "sum by (cluster) (topk by (cluster) (3, m))",
    "{__name__=~'m|n'}",
];

/// A number that looks random.
fn draw(seed: u64, end: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % end
}

/// A page of some of the series that there can be, other ones in each round.
fn page(round: u64, target: u64) -> String {
    let mut page = String::new();
    for series in 0..90 {
        let chance = |which: u64, end| draw(series * 1_000 + which * 17 + target * 31 + 1, end);
        if draw(series + round * 977 + target * 7_919 + 3, 10) == 0 {
            continue;
        }
        let _ = write!(page, "{}{{s=\"{series}\"", ["m", "n"][(series % 2) as usize]);
        for (which, name) in ["Z", "a", "b"].iter().enumerate() {
            match chance(which as u64, 4) {
                0 => {}
                value => _ = write!(page, ",{name}=\"{value}\""),
            }
        }
        if chance(9, 8) == 0 {
            let _ = write!(page, ",job=\"{LACKING}\"");
        }
        if chance(10, 8) == 0 {
            let _ = write!(page, ",instance=\"own\"");
        }
        let _ = writeln!(page, "}} {}", draw(series + round, 9));
    }
    page
}

fn text(outcome: &Outcome) -> BTreeSet<String> {
    let shown = |cell: Cell| match cell {
        Cell::Float(value) => value.to_string(),
        Cell::Histogram(_) => "histogram".to_owned(),
    };
    outcome.samples().map(|(labels, cell)| format!("{labels} {}", shown(cell))).collect()
}

/// Everything that a source has now, as series of one sample.
fn written_out(source: &StoreSource<'_>, now: i64) -> SeriesSource {
    let all = [Matcher::new(METRIC_NAME, MatchOp::Regex, "m|n").unwrap()];
    let steps = Steps::instant(Timestamp(now));
    let vector = source.instant(&all, &steps, 300_000, &Budget::new(u64::MAX, &|| false)).unwrap();
    let mut series = SeriesSource::default();
    for row in (0..vector.rows.len()).filter(|row| vector.cells.get(*row).is_some()) {
        assert!(series.append(&vector.rows.labels(row), Timestamp(now), vector.cells.get(row)), "each series once");
    }
    series
}

#[test]
fn what_is_kept_of_a_chunk_is_what_its_labels_say() {
    let (gateway, cache) = (Gateway::new([policy("alpha"), policy("beta")]), SelectionCache::new());
    let mut collectors = [Collector::new(1, START), Collector::new(2, START)];
    let rules: Vec<(&str, Expr, Plan)> = EXPRESSIONS
        .iter()
        .map(|source| (*source, parse(source, &ParseOptions::default()).unwrap(), Plan::default()))
        .collect();
    let mut answered = 0;
    for round in [0, 1, 1, 2, 0, 3] {
        gateway.pass(15);
        for (number, (collector, cluster)) in collectors.iter_mut().zip(["alpha", "beta"]).enumerate() {
            for (which, target) in TARGETS.iter().enumerate() {
                let page = page(round, (number * 2 + which) as u64);
                collector.scrape(target, gateway.now(), &page);
            }
            gateway.take(cluster, collector);
        }
        let (wall, monotonic) = gateway.moment();
        let view = gateway.store.view(wall, monotonic, None);
        let source = StoreSource::new(&view, &cache);
        let series = written_out(&source, gateway.now());
        for (name, expr, plan) in &rules {
            let (engine, steps) = (Engine::default(), Steps::instant(Timestamp(gateway.now())));
            let kept = engine.evaluate_planned(&source, expr, steps, plan, &|| false);
            let plain = engine.evaluate(&series, expr, steps, &|| false);
            match (kept, plain) {
                (Ok(kept), Ok(plain)) => {
                    assert_eq!(text(&kept), text(&plain), "{name} in round {round}");
                    answered += usize::from(!text(&kept).is_empty());
                }
                (kept, plain) => assert_eq!(kept.unwrap_err(), plain.unwrap_err(), "{name} in round {round}"),
            }
        }
    }
    assert!(answered > 80, "only {answered} of 96 answers were not empty");
}
