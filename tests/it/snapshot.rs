//! The snapshot format against a naive model: whatever scrapes go in, the same series with the same bits come out.
//!
//! [`Site`] is a collector's side in miniature: pages that change at random, slot tables, and beside them the model, a plain map from
//! label set to value a target.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fedgate::model::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, Counts, Exemplar, HISTOGRAM_NAN, HistogramCounts, HistogramSample, JOB, Labels,
    METRIC_NAME, Metadata, MetricType, NativeHistogram, ResetHint, Span, Timestamp, is_stale, stale_nan,
};
use fedgate::snapshot::{
    Applied, ApplyError, Beside, EncodedFrame, Encoder, FORGET_NAN, Frame, FrameKind, FrameLimits, Outcome, OwnLabels,
    Report, SchemaCache, Scrape, SlotTable, StreamId, StreamState, encode_schema,
};
use proptest::prelude::*;

pub(crate) const STREAM: StreamId = StreamId(*b"0123456789abcdef");

/// What one series of a page is given.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    series: u16,
    bits: Option<u64>,
    timestamp: Option<i64>,
    exemplar: Option<u8>,
    histogram: Option<Arc<HistogramSample>>,
    start: Option<i64>,
    forget: bool,
}

/// One scrape of one of a few targets.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    target: u8,
    outcome: u8,
    edits: Vec<Edit>,
    delay: i64,
}

/// One tick and what happens to its frames on the way.
#[derive(Clone, Debug)]
pub(crate) struct Tick {
    visits: Vec<Visit>,
    key: bool,
    fault: u8,
}

fn bits() -> impl Strategy<Value = u64> {
    let odd = [0, 1, 1 << 63, 0x7ff0 << 48, 0xfff0 << 48, 0x7ff8_0000_0000_0001, 0xfff8_0000_0000_0002, u64::MAX];
    prop_oneof![
        6 => (-2000i64..2000).prop_map(|n| (n as f64).to_bits()),
        4 => (0i64..100_000).prop_map(|n| (n as f64 / 100.0).to_bits()),
        2 => (0i64..1_000_000).prop_map(|n| (n as f64 * 4096.0).to_bits()),
        2 => any::<f64>().prop_map(f64::to_bits),
        2 => any::<u64>(),
        1 => proptest::sample::select(odd.to_vec()),
    ]
    .prop_filter("marks of the columns themselves", |bits| {
        ![stale_nan().to_bits(), FORGET_NAN, HISTOGRAM_NAN].contains(bits)
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let timestamp = proptest::option::weighted(0.1, prop_oneof![Just(7), -5i64..5, any::<i64>()]);
    let exemplar = proptest::option::weighted(0.1, 0u8..3);
    let histogram = proptest::option::weighted(0.2, histogram().prop_map(Arc::new));
    let start = proptest::option::weighted(0.3, prop_oneof![3 => Just(5), 1 => any::<i64>()]);
    let bits = proptest::option::weighted(0.8, bits());
    (0u16..700, bits, timestamp, exemplar, histogram, start, any::<bool>()).prop_map(
        |(series, bits, timestamp, exemplar, histogram, start, forget)| {
            // A sample that is a histogram says so, and has its exemplars itself.
            let is_histogram = bits.is_some() && histogram.is_some();
            let bits = if is_histogram { Some(HISTOGRAM_NAN) } else { bits };
            let exemplar = exemplar.filter(|_| !is_histogram);
            Edit { series, bits, timestamp, exemplar, histogram: histogram.filter(|_| is_histogram), start, forget }
        },
    )
}

/// Spans that lead through all that is allowed: empty ones, ones side by side, far apart.
fn spans(first: i32) -> impl Strategy<Value = Vec<Span>> {
    proptest::collection::vec((0i32..5, 0u32..4), 0..4).prop_map(move |spans| {
        let spans = spans.into_iter().enumerate();
        spans
            .map(|(at, (offset, length))| Span { offset: if at == 0 { offset + first } else { offset }, length })
            .collect()
    })
}

fn named(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.length as usize).sum()
}

/// Any good histogram: integer and float counts, exponential and custom buckets, gauges, sums of NaN.
pub(crate) fn histogram() -> impl Strategy<Value = HistogramSample> {
    let counts = proptest::collection::vec(prop_oneof![9 => 0u64..50, 1 => 0u64..1 << 40], 24);
    let exemplar = (0u8..3, proptest::option::of(any::<i64>()), bits());
    let shape = (spans(-3), spans(7), 0u8..4, -4i8..=8);
    let marks = (any::<bool>(), any::<bool>(), bits(), proptest::collection::vec(exemplar, 0..3));
    (shape, counts, marks).prop_map(
        |((positive, negative, hint, schema), counts, (is_float, is_custom, sum, exemplars))| {
            let sum = f64::from_bits(sum);
            let (positive, negative) = if is_custom { (skip(positive), Vec::new()) } else { (positive, negative) };
            let zero = if is_custom { 0 } else { counts[0] };
            let bounds = if is_custom { 40 } else { 0 };
            let (first, second) = (named(&positive), named(&negative));
            let (first, second) = (&counts[1..1 + first], &counts[1 + first..1 + first + second]);
            let all = first.iter().chain(second).sum::<u64>() + zero + if sum.is_nan() { 3 } else { 0 };
            let counts = if is_float {
                let tenths = |counts: &[u64]| counts.iter().map(|count| *count as f64 / 10.0).collect();
                HistogramCounts::Float(Counts {
                    count: all as f64 / 10.0,
                    zero: zero as f64,
                    positive: Buckets { counts: tenths(first), spans: positive },
                    negative: Buckets { counts: tenths(second), spans: negative },
                })
            } else {
                HistogramCounts::Integer(Counts {
                    count: all,
                    zero,
                    positive: Buckets { counts: first.to_vec(), spans: positive },
                    negative: Buckets { counts: second.to_vec(), spans: negative },
                })
            };
            let histogram = NativeHistogram {
                reset_hint: [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge]
                    [usize::from(hint)],
                schema: if is_custom { CUSTOM_BUCKETS_SCHEMA } else { schema },
                zero_threshold: if is_custom { 0.0 } else { 2f64.powi(-128) },
                sum,
                custom_bounds: (0..bounds).map(|n| f64::from(n) / 8.0).collect(),
                counts,
            };
            assert_eq!(histogram.check(), Ok(()));
            let exemplar = |(n, at, bits): (u8, Option<i64>, u64)| Exemplar {
                labels: Labels::from_pairs([("trace_id", format!("h{n}").as_str())]),
                value: f64::from_bits(bits),
                timestamp: at.map(Timestamp),
            };
            HistogramSample { histogram, exemplars: exemplars.into_iter().map(exemplar).collect() }
        },
    )
}

/// The spans of a side that begins at its first bucket or behind it.
fn skip(mut spans: Vec<Span>) -> Vec<Span> {
    spans.iter_mut().take(1).for_each(|span| span.offset = span.offset.max(0));
    spans
}

/// A histogram to the bit: `==` holds neither for NaN, nor does it tell 0 from -0.
pub(crate) fn bits_of(sample: &HistogramSample) -> String {
    format!("{sample:?} {:x}", sample.histogram.sum.to_bits())
}

pub(crate) fn tick() -> impl Strategy<Value = Tick> {
    let visit = (0u8..4, 0u8..12, proptest::collection::vec(edit(), 0..30), -20i64..20)
        .prop_map(|(target, outcome, edits, delay)| Visit { target, outcome, edits, delay });
    (proptest::collection::vec(visit, 0..5), proptest::bool::weighted(0.1), 0u8..16)
        .prop_map(|(visits, key, fault)| Tick { visits, key, fault })
}

/// A sample as the model keeps it: bits, its own timestamp, its exemplar, its histogram, its start.
type Sample = (u64, Option<Timestamp>, Option<Exemplar>, Option<String>, Option<Timestamp>);

/// One target of the model.
#[derive(Clone, Debug, PartialEq)]
struct Page {
    series: BTreeMap<Labels, Sample>,
    facts: (Timestamp, Duration, Outcome, Report),
}

#[derive(Default)]
struct SiteTarget {
    table: SlotTable,
    page: BTreeMap<u16, Edit>,
    /// Series that ended at the last scrape, whose slots are free from the next on.
    ended: Vec<u32>,
    report: Report,
}

/// The collector's side, and what a decoder must show.
#[derive(Default)]
pub(crate) struct Site {
    now: i64,
    targets: HashMap<u8, SiteTarget>,
    model: BTreeMap<Labels, Page>,
}

fn target_labels(target: u8) -> Labels {
    Labels::from_pairs([(JOB, "node"), ("instance", &format!("n{target}:9100")), ("rack", "r1")])
}

/// Series differ in everything that a series can differ in: names, families, odd label values, labels that their target has too.
fn series_labels(series: u16, target: &Labels) -> Labels {
    let mut builder = fedgate::model::LabelsBuilder::from_labels(target);
    builder.set(METRIC_NAME, &format!("metric_{}{}", series % 7, if series.is_multiple_of(2) { "_total" } else { "" }));
    builder.set("series", &series.to_string());
    match series % 9 {
        0 => builder.remove(JOB),
        1 => builder.set("rack", "other \"rack\"\n\\"),
        2 => builder.set("näme.with dots", "ü"),
        3 => builder.remove("rack").set("aaa", "first"),
        _ => &mut builder,
    };
    builder.build()
}

impl Site {
    fn scrape(&mut self, visit: &Visit) -> Scrape {
        let labels = Arc::new(target_labels(visit.target));
        let target = self.targets.entry(visit.target).or_default();
        for slot in target.ended.drain(..) {
            target.table.remove(slot);
        }
        let outcome = match visit.outcome {
            0 => Outcome::Gone,
            1 => Outcome::Failed,
            _ => Outcome::Up,
        };
        if outcome == Outcome::Failed {
            target.page.clear();
        }
        for edit in &visit.edits {
            match (edit.bits, outcome) {
                (Some(_), Outcome::Up) => _ = target.page.insert(edit.series, edit.clone()),
                _ => _ = target.page.remove(&edit.series),
            }
        }
        let kinds = MetricType::ALL;
        for series in target.page.keys() {
            let own = OwnLabels::between(&series_labels(*series, &labels), &labels);
            let kind = kinds[usize::from(series % 7)];
            let metadata = Metadata { kind, help: "some \"help\"".into(), unit: "".into() };
            target.table.insert(own, &format!("metric_{}", series % 7), &metadata).unwrap();
        }
        target.report.samples_scraped = target.page.len() as u64;
        target.report.series_added = visit.edits.len() as u64;
        target.report.body_bytes = (visit.outcome == 3).then_some(visit.delay * 1000);
        target.report.timeout = (visit.outcome > 8).then_some(Duration::from_secs(10));
        let mut scrape = Scrape {
            target: labels.clone(),
            started: Timestamp(self.now + visit.delay),
            duration: Duration::from_micros(visit.edits.len() as u64 * 37),
            outcome,
            report: target.report,
            schema: target.table.schema(),
            values: vec![stale_nan(); target.table.len()],
            beside: Beside::default(),
        };
        let mut page =
            Page { series: BTreeMap::new(), facts: (scrape.started, scrape.duration, outcome, scrape.report) };
        let mut present = vec![false; target.table.len()];
        for (series, edit) in &target.page {
            let full = series_labels(*series, &labels);
            let slot = target.table.find(&OwnLabels::between(&full, &labels)).unwrap();
            let bits = edit.bits.unwrap();
            present[slot as usize] = true;
            scrape.values[slot as usize] = f64::from_bits(bits);
            let timestamp = edit.timestamp.map(|at| Timestamp(self.now.wrapping_add(at)));
            scrape.beside.timestamps.extend(timestamp.map(|timestamp| (slot, timestamp)));
            let exemplar = edit.exemplar.map(|n| Exemplar {
                labels: Labels::from_pairs([("trace_id", format!("t{n}").as_str())]),
                value: f64::from(n),
                timestamp: (n > 0).then_some(Timestamp(self.now)),
            });
            scrape.beside.exemplars.extend(exemplar.clone().map(|exemplar| (slot, exemplar)));
            scrape.beside.histograms.extend(edit.histogram.clone().map(|histogram| (slot, histogram)));
            let start = edit.start.map(Timestamp);
            scrape.beside.starts.extend(start.map(|start| (slot, start)));
            let histogram = edit.histogram.as_deref().map(bits_of);
            page.series.insert(full, (bits, timestamp, exemplar, histogram, start));
        }
        for edit in visit.edits.iter().filter(|edit| edit.forget && !target.page.contains_key(&edit.series)) {
            let full = series_labels(edit.series, &labels);
            if let Some(slot) = target.table.find(&OwnLabels::between(&full, &labels)) {
                scrape.values[slot as usize] = f64::from_bits(FORGET_NAN);
            }
        }
        let slots = 0..target.table.len() as u32;
        target.ended = slots.filter(|slot| !present[*slot as usize] && target.table.labels(*slot).is_some()).collect();
        match outcome {
            Outcome::Gone => {
                self.targets.remove(&visit.target);
                self.model.remove(&*labels);
            }
            _ => _ = self.model.insert((*labels).clone(), page),
        }
        scrape
    }

    pub(crate) fn scrapes(&mut self, tick: &Tick) -> Vec<Scrape> {
        self.now += 15_000;
        tick.visits.iter().map(|visit| self.scrape(visit)).collect()
    }
}

/// The decoder's side as the model would have it.
fn shown(state: &StreamState) -> BTreeMap<Labels, Page> {
    let page = |target: &fedgate::snapshot::TargetState| {
        let mut series = BTreeMap::new();
        assert_eq!(target.column.len(), target.schema.slots());
        for slot in 0..target.schema.slots() {
            let value = target.column.get(slot);
            if is_stale(value) {
                continue;
            }
            let chunk = &target.schema.chunks()[slot / 256];
            let labels = chunk.labels(slot % 256, &target.labels).expect("a value in a free slot");
            let slot = slot as u32;
            let beside = &target.beside;
            let histogram = beside.histogram_of(slot).map(|sample| bits_of(sample));
            let (timestamp, exemplar) = (beside.timestamp_of(slot), beside.exemplar_of(slot).cloned());
            let sample = (value.to_bits(), timestamp, exemplar, histogram, beside.start_of(slot));
            assert!(series.insert(labels, sample).is_none(), "a series twice");
        }
        Page { series, facts: (target.started, target.duration, target.outcome, target.report) }
    };
    state.targets().map(|target| ((*target.labels).clone(), page(target))).collect()
}

/// The gateway's side: a state, and what the collector would do about its verdicts.
pub(crate) struct Gateway {
    pub(crate) state: StreamState,
    pub(crate) cache: SchemaCache,
    pub(crate) limits: FrameLimits,
}

impl Gateway {
    pub(crate) fn new(limits: &FrameLimits) -> Gateway {
        Gateway { state: StreamState::new(STREAM), cache: SchemaCache::new(), limits: limits.clone() }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Applied>, ApplyError> {
        let (frame, rest) = Frame::parse(bytes, &self.limits).expect("a frame of our own");
        assert!(rest.is_empty());
        if frame.header().kind.is_definition() {
            return self.state.define(&frame, &self.limits, &self.cache).map(|()| None);
        }
        self.state.apply(&frame, &self.limits).map(Some)
    }

    /// Sends a frame, and what a 412 asks for.
    pub(crate) fn deliver(&mut self, frame: &EncodedFrame) -> Result<Option<Applied>, ApplyError> {
        let answer = self.take(&frame.bytes);
        let Err(ApplyError::UnknownSchemas(hashes)) = &answer else { return answer };
        for hash in hashes {
            let schema = frame.schemas.iter().find(|schema| schema.hash() == *hash).expect("it refers to it");
            for definition in encode_schema(STREAM, schema, &self.limits) {
                self.take(&definition.bytes).unwrap();
            }
        }
        self.take(&frame.bytes)
    }
}

fn check_tick(applied: &Applied, frame: &EncodedFrame) {
    assert_eq!(applied.samples, frame.samples, "both ends count alike");
    assert_eq!(applied.publish, !frame.more);
}

/// Runs ticks through encoder, faults and decoder, and compares with the model after each.
fn run(ticks: &[Tick], limits: &FrameLimits) {
    let (mut site, mut encoder, mut gateway) =
        (Site::default(), Encoder::new(STREAM, Timestamp(42), limits.clone()), Gateway::new(limits));
    // What the collector would still have: all frames since the last KEY.
    let mut queue: Vec<EncodedFrame> = Vec::new();
    for tick in ticks {
        let scrapes = site.scrapes(tick);
        let gap = tick.fault == 1;
        if gap {
            encoder.mark_gap();
        }
        let frames = encoder.tick(Timestamp(site.now), Timestamp(site.now + 3), &scrapes, tick.key);
        if frames.iter().any(|frame| frame.kind == FrameKind::Key) {
            queue.clear();
        }
        queue.extend(frames.iter().cloned());
        let lost_state = tick.fault == 2;
        if lost_state {
            gateway = Gateway::new(limits);
            let delta = frames.iter().find(|frame| frame.kind == FrameKind::Delta);
            if let Some(delta) = delta {
                assert_eq!(gateway.take(&delta.bytes), Err(ApplyError::NeedKey));
            }
        }
        let sent = if lost_state { queue.clone() } else { frames };
        for frame in &sent {
            if let Some(applied) = gateway.deliver(frame).unwrap() {
                check_tick(&applied, frame);
            }
            if tick.fault == 3 {
                let again = gateway.deliver(frame);
                let expected = if frame.seq == 0 { Ok(None) } else { Err(ApplyError::Duplicate) };
                assert_eq!(again, expected);
            }
        }
        assert_eq!(shown(&gateway.state), site.model);
        assert_eq!(gateway.state.started(), Timestamp(42));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn any_scrapes_come_back_bit_by_bit(ticks in proptest::collection::vec(tick(), 1..40)) {
        run(&ticks, &FrameLimits::default());
    }
}
