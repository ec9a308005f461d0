//! Bytes a sample on the wire: an hour at 15 s, all bodies counted, schemas and KEYs in, 1 % of the series replaced a minute.
//!
//! `cargo bench --bench wire` measures the made-up site; `cargo bench --bench wire -- PAGE…` takes text pages as successive scrapes of
//! one target, over and over, instead. Every frame is decoded again and compared.

mod site;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::exposition::{Entry, Format, parser};
use fedgate::model::{Labels, LabelsBuilder, Metadata, Timestamp, stale_nan};
use fedgate::snapshot::{
    Beside, EncodedFrame, Encoder, Frame, FrameKind, FrameLimits, Outcome, OwnLabels, Report, SchemaCache, Scrape,
    SlotTable, StreamId, StreamState,
};
use site::latencies::Latencies;
use site::{INTERVAL_MS, NODE_SERIES, Page};

const TICKS: usize = 240;
const KEY_EVERY: usize = 40;

/// One stream, measured.
struct Stream {
    encoder: Encoder,
    state: StreamState,
    cache: SchemaCache,
    limits: FrameLimits,
    totals: Totals,
}

/// Bytes, samples and time of a stream's frames.
#[derive(Default)]
struct Totals {
    samples: u64,
    definitions: usize,
    keys: usize,
    key_samples: u64,
    deltas: usize,
    encode: Duration,
    decode: Duration,
}

impl Stream {
    fn new(number: u64) -> Stream {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let limits = FrameLimits::default();
        Stream {
            encoder: Encoder::new(StreamId(id), Timestamp(0), limits.clone()),
            state: StreamState::new(StreamId(id)),
            cache: SchemaCache::new(),
            limits,
            totals: Totals::default(),
        }
    }

    fn tick(&mut self, now: Timestamp, scrapes: &[Scrape], key: bool) {
        let start = Instant::now();
        let frames = self.encoder.tick(now, now, scrapes, key);
        self.totals.encode += start.elapsed();
        let start = Instant::now();
        frames.iter().for_each(|frame| self.decode(frame));
        self.totals.decode += start.elapsed();
        for scrape in scrapes {
            let target = self.state.targets().find(|target| target.labels == scrape.target).unwrap();
            assert!(target.column.iter().map(f64::to_bits).eq(scrape.values.iter().map(|value| value.to_bits())));
        }
    }

    fn decode(&mut self, encoded: &EncodedFrame) {
        let (frame, _) = Frame::parse(&encoded.bytes, &self.limits).unwrap();
        match encoded.kind {
            FrameKind::Define => {
                self.totals.definitions += encoded.bytes.len();
                return self.state.define(&frame, &self.limits, &self.cache).unwrap();
            }
            FrameKind::Key => {
                (self.totals.keys, self.totals.key_samples) =
                    (self.totals.keys + encoded.bytes.len(), self.totals.key_samples + encoded.samples)
            }
            _ => self.totals.deltas += encoded.bytes.len(),
        }
        self.totals.samples += self.state.apply(&frame, &self.limits).unwrap().samples;
    }
}

fn print(name: &str, totals: &Totals) {
    let samples = totals.samples as f64;
    let part = |bytes: usize| bytes as f64 / samples;
    println!(
        "{name:<34} {:>9} {:>7.3} {:>7.3} {:>7.3} {:>7.3} {:>9.1} {:>9.1}",
        totals.samples,
        part(totals.definitions + totals.keys + totals.deltas),
        part(totals.deltas),
        part(totals.keys),
        part(totals.definitions),
        totals.encode.as_nanos() as f64 / samples,
        totals.decode.as_nanos() as f64 / samples,
    );
}

/// `clusters` streams, each with one page a target.
fn measure_site(name: &str, clusters: u64, targets: usize, nodes: usize, series: usize, replaced: f64) {
    let mut totals = Totals::default();
    for cluster in 0..clusters {
        let mut stream = Stream::new(cluster);
        let mut pages: Vec<Page> =
            (0..targets as u64).map(|target| Page::new(cluster * 1000 + target + 1, nodes, series)).collect();
        for tick in 0..TICKS {
            let scrapes: Vec<Scrape> = pages
                .iter_mut()
                .map(|page| {
                    page.advance();
                    page.replace(replaced * INTERVAL_MS as f64 / 60_000.0);
                    page.scrape()
                })
                .collect();
            let now = pages[0].now();
            stream.tick(now, &scrapes, tick % KEY_EVERY == 0);
        }
        let own = stream.totals;
        totals.samples += own.samples;
        totals.definitions += own.definitions;
        totals.keys += own.keys;
        totals.deltas += own.deltas;
        totals.encode += own.encode;
        totals.decode += own.decode;
    }
    print(name, &totals);
}

/// One target of native histograms.
fn measure_histograms(name: &str, series: usize) {
    let (mut stream, mut latencies) = (Stream::new(1), Latencies::new(1, series));
    for tick in 0..TICKS {
        latencies.advance();
        let scrape = latencies.scrape();
        stream.tick(scrape.started, std::slice::from_ref(&scrape), tick % KEY_EVERY == 0);
        assert_eq!(*stream.state.targets().next().expect("one target").beside, scrape.beside);
    }
    print(name, &stream.totals);
}

/// One scrape of a text page; slots stay as they are when series vanish.
fn scrape_page(page: &[u8], table: &mut SlotTable, target: &Arc<Labels>, now: i64) -> Scrape {
    let mut values = Vec::new();
    let mut builder = LabelsBuilder::default();
    let mut parser = parser(Format::Text, page);
    while let Some(entry) = parser.next().expect("a good page") {
        let Entry::Sample(sample) = entry else { continue };
        builder.clear();
        sample.labels(&mut builder).expect("good labels");
        let labels = builder.build();
        let metadata = Metadata::default();
        let slot = table.insert(OwnLabels::between(&labels, target), labels.metric_name(), &metadata).unwrap() as usize;
        values.resize(values.len().max(slot + 1), stale_nan());
        values[slot] = sample.value;
    }
    values.resize(table.len(), stale_nan());
    let samples = values.iter().filter(|value| !value.is_nan()).count() as u64;
    Scrape {
        target: target.clone(),
        started: Timestamp(now),
        duration: Duration::from_micros(9000),
        outcome: Outcome::Up,
        report: Report { samples_scraped: samples, samples_post_relabel: samples, ..Report::default() },
        schema: table.schema(),
        values,
        beside: Beside::default(),
    }
}

/// Pages as successive scrapes, forth and back again so that no step is larger than a real one.
fn measure_pages(paths: &[String]) {
    let pages: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("a page")).collect();
    let (mut stream, mut table) = (Stream::new(1), SlotTable::new());
    let target = Arc::new(Labels::from_pairs([("job", "page"), ("instance", "localhost:9100")]));
    let turn = 2 * (pages.len() - 1).max(1);
    for tick in 0..TICKS {
        let at = tick % turn;
        let at = if at < pages.len() { at } else { turn - at };
        let now = tick as i64 * INTERVAL_MS;
        let scrape = scrape_page(&pages[at], &mut table, &target, now);
        stream.tick(Timestamp(now), &[scrape], tick % KEY_EVERY == 0);
    }
    let name = paths[0].rsplit('/').next().unwrap_or_default();
    print(&format!("{name} … ({} pages)", pages.len()), &stream.totals);
}

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    println!(
        "{:<34} {:>9} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9}",
        "", "samples", "B/smpl", "DELTA", "KEY", "schemas", "enc ns", "dec ns"
    );
    if !paths.is_empty() {
        return measure_pages(&paths);
    }
    measure_site("5,000 series, a page a cluster", 4, 1, 39, 5000, 0.01);
    measure_site("the same, nothing replaced", 4, 1, 39, 5000, 0.0);
    measure_site("40 targets of a node each", 1, 40, 1, NODE_SERIES, 0.01);
    measure_histograms("100 native histograms", 100);
}
