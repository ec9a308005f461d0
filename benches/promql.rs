//! What rules cost: CPU of one evaluation over a site of one million series (200 clusters × 5,000), of which the rules here read
//! some 270,000 and one the last five minutes. Each is measured first without anything prepared, then again and again with its plan, and after a push of each
//! cluster that replaced 2 % of its series.
//!
//! `cargo bench --bench promql` prints a table; `-- WORD` measures the rows whose name has the word.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::model::{METRIC_NAME, MatchOp, Matcher};
use fedgate::promql::{Engine, ParseOptions, Plan, SelectionCache, Steps, StoreSource, parse};
use fedgate::snapshot::{Encoder, Frame, FrameLimits, StreamId};
use fedgate::store::{Arrival, ClusterPolicy, Inventory, Keep, SiteView, Store};
use site::Page;

#[path = "shape/mod.rs"]
mod shape;
mod site;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLUSTERS: usize = 200;
const SERIES: usize = 5_000;
const NODES: usize = 39;
/// Pushes before anything is measured: five minutes of them.
const ROUNDS: usize = 20;
/// The metric that has a history.
const KEPT: &str = "node_cpu_seconds_total";
/// The share of series that a push replaces.
const REPLACED: f64 = 0.02;
/// Evaluations over rows that did not change, of which the mean is shown.
const AGAIN: u32 = 100;
/// Pushes that replace series, each with one evaluation after it.
const CHURNED: u32 = 5;

const RULES: [(&str, &str); 6] = [
    ("utilization", "sum by (cluster) (slurm_node_cpus_allocated) / sum by (cluster) (slurm_node_cpus_total)"),
    ("partitions", "sum by (cluster, partition) (slurm_node_cpus_allocated)"),
    ("users", "sum by (cluster, user) (slurm_user_cpus_allocated)"),
    (
        "health",
        r#"sum without (state) (slurm_node_state{state="idle"} * 1 or slurm_node_state{state="mixed"} * 0.9 or slurm_node_state{state="allocated"} * 0.8 or slurm_node_state{state="maint"} * 0.2 or slurm_node_state{state=~"down|drain"} * 0)"#,
    ),
    ("busy", r#"sum by (cluster) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))"#),
    ("states", r#"slurm_node_state == 1 unless on (cluster, node) slurm_node_state{state=~"down|drain"} == 1"#),
];

/// A store and what pushes to it.
struct Site {
    store: Store,
    clusters: Vec<(Page, Encoder)>,
}

impl Site {
    fn new() -> Site {
        let store = Store::new(FrameLimits::default());
        let policies = (0..CLUSTERS).map(|number| {
            let name = name_of(number);
            ClusterPolicy { identities: vec![name.clone()], ..ClusterPolicy::new(&name, "production") }
        });
        store.set_inventory(Inventory::new(policies).expect("unique names"));
        let cluster = |number: usize| {
            let page = Page::named(&format!("c{number:03}"), number as u64, NODES, SERIES);
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
            let encoder = Encoder::new(StreamId(id), page.now(), FrameLimits::default());
            (page, encoder)
        };
        let mut site = Site { store, clusters: (0..CLUSTERS).map(cluster).collect() };
        let matchers = vec![Matcher::new(METRIC_NAME, MatchOp::Equal, KEPT).expect("no pattern")];
        let duration = Duration::from_secs(300);
        site.store.keep(vec![Keep { matchers, duration, is_of_recorded: false }]);
        (0..ROUNDS).for_each(|round| site.push(round == 0));
        site
    }

    /// A push of each cluster, an interval later.
    fn push(&mut self, is_key: bool) {
        for (number, (page, encoder)) in self.clusters.iter_mut().enumerate() {
            page.advance();
            let (now, scrape) = (page.now(), page.scrape());
            for frame in encoder.tick(now, now, &[scrape], is_key) {
                let (frame, _) = Frame::parse(&frame.bytes, self.store.frame_limits()).expect("our own frame");
                let collector: Arc<str> = name_of(number).into();
                let arrival = Arrival {
                    collector,
                    certificate_expires: now,
                    clock_skew_ms: None,
                    wall: now,
                    monotonic: Instant::now(),
                };
                self.store.apply(&name_of(number), &frame, &arrival).expect("frames in order");
            }
        }
    }

    fn churn(&mut self) {
        self.clusters.iter_mut().for_each(|(page, _)| page.replace(REPLACED));
        self.push(false);
    }

    fn view(&self) -> SiteView {
        self.store.view(self.clusters[0].0.now(), Instant::now(), None)
    }
}

fn name_of(cluster: usize) -> String {
    format!("hpc{cluster:03}")
}

/// A rule with what it keeps.
struct Rule {
    expr: fedgate::promql::ast::Expr,
    plan: Plan,
}

impl Rule {
    fn new(source: &str) -> Rule {
        Rule { expr: parse(source, &ParseOptions::default()).expect("a rule"), plan: Plan::default() }
    }

    /// CPU time of `runs` evaluations, for one, and the series of the result.
    fn evaluate(&self, site: &Site, cache: &SelectionCache, runs: u32) -> (Duration, usize) {
        let (view, steps) = (site.view(), Steps::instant(site.clusters[0].0.now()));
        let source = StoreSource::new(&view, cache);
        let evaluate = || Engine::default().evaluate_planned(&source, &self.expr, steps, &self.plan, &|| false);
        let before = shape::cpu_time();
        let outcomes = (0..runs).map(|_| black_box(evaluate().expect("a result")));
        let outcome = outcomes.reduce(|_, outcome| outcome).expect("at least one run");
        let taken = shape::cpu_time() - before;
        (taken / runs, outcome.samples().count())
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut site = Site::new();
    println!("{:<14}{:>9}{:>12}{:>12}{:>14}", "rule", "series", "first ms", "again ms", "2 % new ms");
    for (name, source) in
        RULES.iter().filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(&**word)))
    {
        let (rule, cache) = (Rule::new(source), SelectionCache::default());
        let (first, series) = rule.evaluate(&site, &cache, 1);
        let (again, _) = rule.evaluate(&site, &cache, AGAIN);
        let churned = (0..CHURNED).map(|_| {
            site.churn();
            rule.evaluate(&site, &cache, 1).0
        });
        let churned = churned.sum::<Duration>() / CHURNED;
        let [first, again, churned] = [first, again, churned].map(|time| time.as_secs_f64() * 1e3);
        println!("{name:<14}{series:>9}{first:>12.2}{again:>12.2}{churned:>14.2}");
    }
}
