//! Successive pages of a target through its page cache: megabytes and samples a second.
//!
//! `steady` is what a collector does all day: the next page of the same target, 40 % of its values changed. `first` is a
//! page whose series are all new, `churn` one where 2 % of the series are replaced by others at each scrape. `protobuf` is
//! the same page in protobuf, its bytes counted as those of the text page; `native` a page of native histograms, all of
//! which changed.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fedgate::config::ScrapeConfig;
use fedgate::exposition::{
    Entry, Format, SampleLine, parser, write_counter, write_family_head, write_gauge, write_label_pair, write_metric,
    write_native_histogram, write_varint,
};
use fedgate::model::{
    Buckets, Counts, HistogramCounts, HistogramSample, Labels, LabelsBuilder, METRIC_NAME, MetricType, NativeHistogram,
    ResetHint, Span, Timestamp,
};
use fedgate::scrape::{PageCache, Rules, SeriesBudget, Timing};
use fedgate::snapshot::{Outcome, Report};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

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
        let job = ScrapeConfig { scrape_native_histograms: Some(true), ..ScrapeConfig::default() };
        let rules = Rules::new(&job).expect("no pattern");
        Target { cache: PageCache::new(labels.clone(), labels, budget), rules, now: 0 }
    }

    fn scrape(&mut self, page: &str) {
        self.scrape_as(Format::Text, page.as_bytes());
    }

    fn scrape_as(&mut self, format: Format, page: &[u8]) {
        self.now += 15_000;
        let started = Timestamp(self.now);
        let (reading, result) = self.cache.read(page, format, started, &self.rules);
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

/// Appends a family that `write` writes, behind its length.
fn put_family(page: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut family = Vec::new();
    write(&mut family);
    write_varint(page, family.len() as u64);
    page.extend_from_slice(&family);
}

fn put_sample(family: &mut Vec<u8>, sample: &SampleLine<'_>, kind: MetricType) {
    let mut labels = LabelsBuilder::default();
    sample.labels(&mut labels).expect("a good page");
    write_metric(family, |metric| {
        for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            write_label_pair(metric, name, value);
        }
        match kind {
            MetricType::Counter => write_counter(metric, sample.value, None, Some(Timestamp(1_700_000_000_000))),
            _ => write_gauge(metric, sample.value),
        }
    });
}

/// A text page in protobuf: a family for each metric name, gauges but for the counters.
fn protobuf_of(page: &str) -> Vec<u8> {
    let (mut families, mut kind): (Vec<(String, MetricType, Vec<u8>)>, _) = (Vec::new(), MetricType::Unknown);
    let mut parser = parser(Format::Text, page.as_bytes());
    while let Some(entry) = parser.next().expect("a good page") {
        match entry {
            Entry::Type { kind: own, .. } => kind = own,
            Entry::Sample(sample) => {
                let name = sample.pairs().find(|pair| pair.name.is_none()).expect("a name").value;
                if families.last().is_none_or(|(last, ..)| last != name) {
                    families.push((name.to_owned(), kind, Vec::new()));
                }
                let (_, kind, metrics) = families.last_mut().expect("one was pushed");
                put_sample(metrics, &sample, *kind);
            }
            _ => {}
        }
    }
    let mut page = Vec::new();
    for (name, kind, metrics) in families {
        let kind = if kind == MetricType::Counter { kind } else { MetricType::Gauge };
        put_family(&mut page, |family| {
            write_family_head(family, &name, "What this metric says, in some words.", kind, "");
            family.extend_from_slice(&metrics);
        });
    }
    page
}

fn run_protobuf(bencher: Bencher, text: &[String]) {
    let pages: Vec<Vec<u8>> = text.iter().map(|page| protobuf_of(page)).collect();
    let mut target = Target::new();
    for page in &pages {
        target.scrape_as(Format::Protobuf, page);
    }
    let mut nth = 0;
    let bencher = bencher.counter(BytesCount::of_str(&text[0])).counter(ItemsCount::new(samples(&text[0])));
    bencher.bench_local(|| {
        nth = (nth + 1) % pages.len();
        target.scrape_as(Format::Protobuf, &pages[nth]);
    });
}

#[divan::bench]
fn protobuf_node_exporter(bencher: Bencher) {
    run_protobuf(bencher, &pages(NODE, 16));
}

#[divan::bench]
fn protobuf_slurm_exporter(bencher: Bencher) {
    run_protobuf(bencher, &pages(SLURM, 16));
}

#[divan::bench]
fn protobuf_10_000_series(bencher: Bencher) {
    run_protobuf(bencher, &pages(&jobs_page(10_000, 0), 8));
}

/// 1,000 native histograms of 40 buckets each.
fn native_page(round: u64) -> Vec<u8> {
    let counts: Vec<u64> = (0..40).map(|bucket| 100 + round + bucket).collect();
    let spans = vec![Span { offset: -10, length: 20 }, Span { offset: 3, length: 20 }];
    let counts = Counts { count: counts.iter().sum(), positive: Buckets { spans, counts }, ..Counts::default() };
    let histogram = NativeHistogram {
        reset_hint: ResetHint::Unknown,
        schema: 3,
        zero_threshold: 1e-9,
        sum: round as f64,
        custom_bounds: Vec::new(),
        counts: HistogramCounts::Integer(counts),
    };
    let sample = HistogramSample { histogram, exemplars: Vec::new() };
    let mut page = Vec::new();
    put_family(&mut page, |family| {
        write_family_head(family, "request_seconds", "Duration of requests.", MetricType::Histogram, "");
        for handler in 0..1000 {
            write_metric(family, |metric| {
                write_label_pair(metric, "handler", &format!("/api/v1/handler/{handler}"));
                write_native_histogram(metric, &sample, std::iter::empty(), Some(Timestamp(1_700_000_000_000)));
            });
        }
    });
    page
}

#[divan::bench]
fn native_1_000_histograms(bencher: Bencher) {
    let pages: Vec<Vec<u8>> = (0..8).map(native_page).collect();
    let mut target = Target::new();
    let mut nth = 0;
    let bencher = bencher.counter(BytesCount::new(pages[0].len())).counter(ItemsCount::new(1000usize));
    bencher.bench_local(|| {
        nth = (nth + 1) % pages.len();
        target.scrape_as(Format::Protobuf, &pages[nth]);
    });
}
