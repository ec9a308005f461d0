//! What a collector's parsing and a gateway's writing cost, in bytes of page per second and allocations per run.
//!
//! `tokens` reads every line in full, `remembered` compares with the page before (the scrape loop's way), `labels` also
//! builds every label set, an allocation each (a target's first scrape). The allocation counts show that reading allocates
//! nothing per sample.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fedgate::demo::{Site, SiteConfig};
use fedgate::exposition::{Entry, Format, Remembered, SampleLine, parser, write_label_value, write_value};
use fedgate::model::LabelsBuilder;

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

const PAGES: [&str; 4] =
    ["node_exporter-1.11.1.prom", "prometheus-3.5.3.prom", "slurm-native-partitions.prom", "sckyzo-1.8-alpha.om"];

fn main() {
    divan::main();
}

fn load_page(name: &str) -> (Format, Vec<u8>) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/expositions").join(name);
    let format = if name.ends_with(".om") { Format::OpenMetrics } else { Format::Text };
    (format, std::fs::read(path).expect("fixtures stand in the repository"))
}

fn samples(format: Format, page: &[u8]) -> Vec<SampleLine<'_>> {
    let mut samples = Vec::new();
    let mut parser = parser(format, page);
    while let Some(entry) = parser.next().expect("fixtures are valid") {
        if let Entry::Sample(sample) = entry {
            samples.push(sample);
        }
    }
    samples
}

#[divan::bench(args = PAGES)]
fn tokens(bencher: Bencher<'_, '_>, name: &str) {
    let (format, page) = load_page(name);
    bencher.counter(BytesCount::of_slice(&page)).bench(|| {
        let mut parser = parser(format, &page);
        let mut sum = 0.0;
        while let Some(entry) = parser.next().expect("fixtures are valid") {
            if let Entry::Sample(sample) = entry {
                sum += sample.value;
            }
        }
        sum
    });
}

#[divan::bench(args = PAGES)]
fn remembered(bencher: Bencher<'_, '_>, name: &str) {
    let (format, page) = load_page(name);
    let before = samples(format, &page);
    bencher.counter(BytesCount::of_slice(&page)).bench(|| {
        let mut parser = parser(format, &page);
        let mut lines = before.iter();
        let mut line = lines.next();
        let mut sum = 0.0;
        while let Some(old) = line {
            let memory = Remembered { key: old.key, value_text: old.value_text, value: old.value };
            match parser.next_remembering(memory).expect("fixtures are valid") {
                Some(Entry::Sample(sample)) => {
                    sum += sample.value;
                    line = lines.next();
                }
                Some(_) => {}
                None => break,
            }
        }
        sum
    });
}

#[divan::bench(args = PAGES)]
fn labels(bencher: Bencher<'_, '_>, name: &str) {
    let (format, page) = load_page(name);
    let mut builder = LabelsBuilder::default();
    bencher.counter(BytesCount::of_slice(&page)).bench_local(|| {
        let mut parser = parser(format, &page);
        let mut labels = 0;
        while let Some(entry) = parser.next().expect("fixtures are valid") {
            if let Entry::Sample(sample) = entry {
                sample.labels(&mut builder).expect("fixtures are valid");
                labels += builder.build().as_bytes().len();
            }
        }
        labels
    });
}

#[divan::bench(args = PAGES)]
fn values(bencher: Bencher<'_, '_>, name: &str) {
    let (format, page) = load_page(name);
    let values: Vec<f64> = samples(format, &page).iter().map(|sample| sample.value).collect();
    let mut out = Vec::with_capacity(64 * values.len());
    bencher.counter(ItemsCount::new(values.len())).bench_local(|| {
        out.clear();
        for value in &values {
            write_value(&mut out, *value);
        }
        out.len()
    });
}

/// Values of each kind that pages hold; the mean of all of them is what a page of real numbers costs.
#[divan::bench(args = [3.0, 4096.0, 1.6727896064e10, 0.25, 12345.678, 1795174520.123, 2.0e-7])]
fn value(bencher: Bencher<'_, '_>, value: f64) {
    let mut out = Vec::with_capacity(4096);
    bencher.counter(ItemsCount::new(100usize)).bench_local(|| {
        out.clear();
        for _ in 0..100 {
            write_value(&mut out, divan::black_box(value));
        }
        out.len()
    });
}

#[divan::bench(args = ["cpu", "/var/lib/kubelet/pods", "a \"quoted\" \\ reason"])]
fn label_value(bencher: Bencher<'_, '_>, text: &str) {
    let mut out = Vec::with_capacity(256);
    bencher.bench_local(|| {
        out.clear();
        write_label_value(&mut out, divan::black_box(text));
        out.len()
    });
}

/// Every page of a simulated cluster of 5,000 series, what its exporters cost a scrape interval.
#[divan::bench]
fn simulated_cluster(bencher: Bencher<'_, '_>) {
    let site =
        Site::new(SiteConfig { clusters: 1, nodes: 10, series_per_cluster: Some(5_000), ..SiteConfig::default() });
    let targets = site.targets(0);
    let mut page = Vec::with_capacity(1 << 20);
    let mut step = 0;
    bencher.counter(ItemsCount::new(5_000usize)).bench_local(|| {
        page.clear();
        step += 1;
        targets
            .iter()
            .filter(|target| site.answer(&target.path, step, &mut page) == fedgate::demo::Answer::Page)
            .count()
    });
}
