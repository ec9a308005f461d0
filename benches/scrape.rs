//! Successive pages of a target through its page cache: megabytes and samples a second.
//!
//! `steady` is what a collector does all day: the next page of the same target, 40 % of its values changed. `first` is a
//! page whose series are all new, `churn` one where 2 % of the series are replaced by others at each scrape.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fedgate::config::ScrapeConfig;
use fedgate::exposition::Format;
use fedgate::model::{Labels, Timestamp};
use fedgate::scrape::{PageCache, Rules, SeriesBudget, Timing};
use fedgate::snapshot::{Outcome, Report};

fn main() {
    divan::main();
}

const NODE: &str = include_str!("../tests/fixtures/expositions/node_exporter-1.11.1.prom");
const SLURM: &str = include_str!("../tests/fixtures/expositions/rivosinc-1.7-alpha.prom");
/// Share of the samples whose value changes from page to page, in percent.
const CHANGED: u64 = 40;

/// A page of `series` series as a Slurm exporter writes them, with one of its series renamed for each `salt`.
fn jobs_page(series: usize, salt: usize) -> String {
    let mut page = String::from("# HELP slurm_job_cpus CPUs of a job.\n# TYPE slurm_job_cpus gauge\n");
    for job in 0..series {
        let id = if job % 50 == 49 { 1_000_000 + salt * series + job } else { job };
        page.push_str(&format!(
            "slurm_job_cpus{{account=\"physics\",jobid=\"{id}\",nodes=\"node[0001-0004]\",partition=\"gpu\",user=\"u{}\"}} {}\n",
            job % 97,
            job % 128
        ));
    }
    page
}

/// Successive pages: the same lines, other values in `CHANGED` percent of them.
fn pages(page: &str, count: u64) -> Vec<String> {
    let line = |(nth, line): (usize, &str), round: u64| {
        let is_changed =
            !line.starts_with('#') && (nth as u64).wrapping_mul(0x9e37_79b9).wrapping_add(round * 31) % 100 < CHANGED;
        match line.rsplit_once(' ') {
            Some((key, _)) if is_changed => format!("{key} {}\n", (nth as u64 * 977 + round * 13) as f64 / 8.0),
            _ => format!("{line}\n"),
        }
    };
    (0..count).map(|round| page.lines().enumerate().map(|own| line(own, round)).collect()).collect()
}

struct Target {
    cache: PageCache,
    rules: Rules,
    now: i64,
}

impl Target {
    fn new() -> Target {
        let labels = Arc::new(Labels::from_pairs([("job", "node"), ("instance", "n0001:9100")]));
        let budget = Arc::new(SeriesBudget::new(usize::MAX));
        let rules = Rules::new(&ScrapeConfig::default()).expect("no pattern");
        Target { cache: PageCache::new(labels.clone(), labels, budget), rules, now: 0 }
    }

    fn scrape(&mut self, page: &str) {
        self.now += 15_000;
        let started = Timestamp(self.now);
        let (reading, result) = self.cache.read(page.as_bytes(), Format::Text, started, &self.rules);
        result.expect("a good page");
        black_box(reading);
        black_box(self.cache.scrape(Timing { started, duration: Duration::ZERO }, Outcome::Up, Report::default()));
    }
}

fn samples(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

fn run(bencher: Bencher, pages: &[String]) {
    let mut target = Target::new();
    for page in pages {
        target.scrape(page);
    }
    let mut nth = 0;
    let bencher = bencher.counter(BytesCount::of_str(&pages[0])).counter(ItemsCount::new(samples(&pages[0])));
    bencher.bench_local(|| {
        nth = (nth + 1) % pages.len();
        target.scrape(&pages[nth]);
    });
}

#[divan::bench]
fn steady_node_exporter(bencher: Bencher) {
    run(bencher, &pages(NODE, 16));
}

#[divan::bench]
fn steady_slurm_exporter(bencher: Bencher) {
    run(bencher, &pages(SLURM, 16));
}

#[divan::bench]
fn steady_10_000_series(bencher: Bencher) {
    run(bencher, &pages(&jobs_page(10_000, 0), 8));
}

#[divan::bench]
fn churn_10_000_series(bencher: Bencher) {
    let pages: Vec<String> = (0..32).map(|salt| jobs_page(10_000, salt)).collect();
    run(bencher, &pages);
}

#[divan::bench]
fn first_10_000_series(bencher: Bencher) {
    let page = jobs_page(10_000, 0);
    let bencher = bencher.counter(BytesCount::of_str(&page)).counter(ItemsCount::new(samples(&page)));
    bencher.with_inputs(Target::new).bench_local_refs(|target| target.scrape(&page));
}
