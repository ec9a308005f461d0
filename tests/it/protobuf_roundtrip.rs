//! What the protobuf writer writes, the protobuf reader reads: names, labels, bits of values, times, exemplars, both forms
//! of histograms.

use fedgate::exposition::protobuf::{HistogramForms, Part, ProtobufEntry, ProtobufReader};
use fedgate::exposition::{
    ClassicBucket, write_classic_histogram, write_counter, write_family_head, write_gauge, write_label_pair,
    write_metric, write_native_histogram, write_openmetrics_value, write_summary, write_timestamp_ms, write_untyped,
    write_varint,
};
use fedgate::model::{
    Buckets, Exemplar, HistogramCounts, HistogramSample, Labels, LabelsBuilder, METRIC_NAME, MetricType,
    NativeHistogram, Timestamp, normal_nan,
};
use proptest::prelude::*;

use crate::snapshot::histogram;

/// A family: its metrics are of one kind.
#[derive(Clone, Debug)]
struct Family {
    name: String,
    help: String,
    unit: String,
    metrics: Metrics,
}

#[derive(Clone, Debug)]
enum Metrics {
    Untyped(Vec<(Head, f64)>),
    Gauges(Vec<(Head, f64)>),
    Counters(Vec<(Head, f64, Option<Exemplar>, Start)>),
    Summaries(Vec<Summary>),
    Classic(Vec<Classic>),
    Native(Vec<(Head, HistogramSample, Start)>),
}

/// Count, sum and the values of [`QUANTILES`].
type Summary = (Head, u64, f64, Vec<f64>, Start);

/// Counts of [`BOUNDS`], sum, and an exemplar for each bucket.
type Classic = (Head, Vec<u64>, f64, Vec<Option<Exemplar>>, Start);

type Start = Option<Timestamp>;

/// Labels and timestamp of a metric. On the page 0 is no timestamp.
type Head = (Labels, Option<Timestamp>);

/// What is read of one sample.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    labels: Labels,
    bits: u64,
    timestamp: Option<Timestamp>,
    start: Option<Timestamp>,
    exemplars: Vec<(Labels, u64, Option<Timestamp>)>,
    histogram: Option<String>,
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9_]{0,5}", "\\PC{1,4}"]
        .prop_filter("made by the reader", |name| name != "le" && name != "quantile" && name != METRIC_NAME)
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), (-50i32..50).prop_map(f64::from), Just(-0.0)]
        .prop_map(|value| if value.is_nan() { normal_nan() } else { value })
}

fn heads() -> impl Strategy<Value = Head> {
    let pairs = prop::collection::vec((names(), "\\PC{0,6}|[a-z\n]{200}"), 0..4);
    let labels = pairs.prop_map(|pairs| Labels::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value))));
    (labels, times())
}

fn times() -> impl Strategy<Value = Option<Timestamp>> {
    let millis = prop_oneof![-5_000i64..5_000, 0i64..4_000_000_000_000].prop_filter("no timestamp", |at| *at != 0);
    prop::option::of(millis.prop_map(Timestamp))
}

/// Labels short enough for OpenMetrics, whose bound exemplars keep.
fn exemplars() -> impl Strategy<Value = Exemplar> {
    let labels = prop::collection::vec((names(), "\\PC{0,6}"), 0..3);
    let labels = labels.prop_map(|pairs| Labels::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value))));
    (labels, values(), times()).prop_map(|(labels, value, timestamp)| Exemplar { labels, value, timestamp })
}

fn metrics() -> impl Strategy<Value = Metrics> {
    let many = 0..4usize;
    let counter = (heads(), values(), prop::option::of(exemplars()), times());
    let summary = (heads(), 0u64..1 << 50, values(), prop::collection::vec(values(), 0..4), times());
    let bucket = prop::option::of(exemplars());
    let classic = (heads(), prop::collection::vec(0u64..1000, 4), values(), prop::collection::vec(bucket, 4), times());
    let exponential = histogram().prop_filter("custom buckets are classic ones there", |sample| {
        !sample.histogram.has_custom_buckets() && sample.histogram.sum.to_bits() != fedgate::model::STALE_NAN
    });
    prop_oneof![
        prop::collection::vec((heads(), values()), many.clone()).prop_map(Metrics::Untyped),
        prop::collection::vec((heads(), values()), many.clone()).prop_map(Metrics::Gauges),
        prop::collection::vec(counter, many.clone()).prop_map(Metrics::Counters),
        prop::collection::vec(summary, many.clone()).prop_map(Metrics::Summaries),
        prop::collection::vec(classic, many.clone()).prop_map(Metrics::Classic),
        prop::collection::vec((heads(), exponential, times()), many).prop_map(Metrics::Native),
    ]
}

fn families() -> impl Strategy<Value = Family> {
    (names(), "\\PC{0,300}", prop::bool::ANY, metrics()).prop_map(|(stem, help, has_unit, metrics)| {
        let (name, unit) = if has_unit { (format!("{stem}_s"), "s".to_owned()) } else { (stem, String::new()) };
        Family { name, help, unit, metrics }
    })
}

const BOUNDS: [f64; 4] = [-1.0, 0.25, 4.0, f64::INFINITY];
const QUANTILES: [f64; 3] = [0.0, 0.5, 0.99];

impl Metrics {
    fn kind(&self) -> MetricType {
        match self {
            Metrics::Untyped(_) => MetricType::Unknown,
            Metrics::Gauges(_) => MetricType::Gauge,
            Metrics::Counters(_) => MetricType::Counter,
            Metrics::Summaries(_) => MetricType::Summary,
            Metrics::Classic(_) | Metrics::Native(_) => MetricType::Histogram,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Metrics::Untyped(all) => {
                all.iter().for_each(|(head, value)| metric(out, head, |o| write_untyped(o, *value)))
            }
            Metrics::Gauges(all) => all.iter().for_each(|(head, value)| metric(out, head, |o| write_gauge(o, *value))),
            Metrics::Counters(all) => all.iter().for_each(|(head, value, exemplar, start)| {
                metric(out, head, |out| write_counter(out, *value, exemplar.as_ref(), *start));
            }),
            Metrics::Summaries(all) => all.iter().for_each(|(head, count, sum, quantiles, start)| {
                let quantiles = QUANTILES.into_iter().zip(quantiles.iter().copied());
                metric(out, head, |out| write_summary(out, *count as f64, *sum, quantiles, *start));
            }),
            Metrics::Classic(all) => all.iter().for_each(|(head, counts, sum, exemplars, start)| {
                let buckets = BOUNDS.into_iter().zip(cumulative(counts)).zip(exemplars);
                let buckets = buckets.map(|((upper_bound, cumulative), exemplar)| ClassicBucket {
                    upper_bound,
                    cumulative,
                    exemplar: exemplar.as_ref(),
                });
                let count = counts.iter().sum::<u64>() as f64;
                metric(out, head, |out| write_classic_histogram(out, count, *sum, buckets, *start));
            }),
            Metrics::Native(all) => all.iter().for_each(|(head, sample, start)| {
                metric(out, head, |out| write_native_histogram(out, sample, std::iter::empty(), *start));
            }),
        }
    }

    /// What is read of them all, in order.
    fn samples(&self, name: &str) -> Vec<Sample> {
        let of = |head: &Head, suffix: &str, bound: Option<(&str, f64)>, value: f64| {
            Sample::new(head, &format!("{name}{suffix}"), bound, value)
        };
        match self {
            Metrics::Untyped(all) | Metrics::Gauges(all) => {
                all.iter().map(|(head, value)| of(head, "", None, *value)).collect()
            }
            Metrics::Counters(all) => all
                .iter()
                .map(|(head, value, exemplar, start)| of(head, "", None, *value).with(exemplar.iter()).since(*start))
                .collect(),
            Metrics::Summaries(all) => all
                .iter()
                .flat_map(|(head, count, sum, quantiles, start)| {
                    let quantiles = QUANTILES.into_iter().zip(quantiles);
                    let quantiles = quantiles.map(|(q, value)| of(head, "", Some(("quantile", q)), *value));
                    let sums = [of(head, "_count", None, *count as f64), of(head, "_sum", None, *sum)];
                    sums.into_iter().chain(quantiles).map(|sample| sample.since(*start)).collect::<Vec<_>>()
                })
                .collect(),
            Metrics::Classic(all) => all
                .iter()
                .flat_map(|(head, counts, sum, exemplars, start)| {
                    let buckets = BOUNDS.into_iter().zip(cumulative(counts)).zip(exemplars);
                    let buckets = buckets.map(|((bound, count), exemplar)| {
                        of(head, "_bucket", Some(("le", bound)), count).with(exemplar.iter())
                    });
                    let count = counts.iter().sum::<u64>() as f64;
                    let sums = [of(head, "_count", None, count), of(head, "_sum", None, *sum)];
                    sums.into_iter().chain(buckets).map(|sample| sample.since(*start)).collect::<Vec<_>>()
                })
                .collect(),
            Metrics::Native(all) => all
                .iter()
                .map(|(head, sample, start)| {
                    let timed = sample.exemplars.iter().filter(|exemplar| exemplar.timestamp.is_some());
                    let histogram = Some(essence(&sample.histogram));
                    Sample { histogram, ..of(head, "", None, 0.0).with(timed).since(*start) }
                })
                .collect(),
        }
    }
}

impl Sample {
    fn new(head: &Head, name: &str, bound: Option<(&str, f64)>, value: f64) -> Sample {
        let mut builder = LabelsBuilder::from_labels(&head.0);
        builder.set(METRIC_NAME, name);
        if let Some((label, bound)) = bound {
            let mut text = Vec::new();
            write_openmetrics_value(&mut text, bound);
            builder.set(label, std::str::from_utf8(&text).unwrap());
        }
        let (labels, timestamp) = (builder.build(), head.1);
        Sample { labels, bits: value.to_bits(), timestamp, start: None, exemplars: Vec::new(), histogram: None }
    }

    fn with<'a>(mut self, exemplars: impl Iterator<Item = &'a Exemplar>) -> Sample {
        self.exemplars = exemplars.map(told).collect();
        self
    }

    fn since(self, start: Option<Timestamp>) -> Sample {
        Sample { start, ..self }
    }
}

/// NaNs in exemplars become the ordinary one.
fn told(exemplar: &Exemplar) -> (Labels, u64, Option<Timestamp>) {
    let value = if exemplar.value.is_nan() { normal_nan() } else { exemplar.value };
    (exemplar.labels.clone(), value.to_bits(), exemplar.timestamp)
}

fn cumulative(counts: &[u64]) -> impl Iterator<Item = f64> + '_ {
    counts.iter().scan(0, |all, count| {
        *all += count;
        Some(*all as f64)
    })
}

fn metric(out: &mut Vec<u8>, (labels, timestamp): &Head, write: impl FnOnce(&mut Vec<u8>)) {
    write_metric(out, |out| {
        labels.iter().for_each(|(name, value)| write_label_pair(out, name, value));
        write(out);
        timestamp.iter().for_each(|timestamp| write_timestamp_ms(out, *timestamp));
    });
}

/// What a histogram says, however its spans are cut and whatever empty buckets they name. Floats without a single
/// observation are written as integers.
fn essence(histogram: &NativeHistogram) -> String {
    let sum = if histogram.sum.is_nan() { normal_nan() } else { histogram.sum };
    let counts = match &histogram.counts {
        HistogramCounts::Integer(counts) => {
            format!("{} {} {:?} {:?}", counts.count, counts.zero, listed(&counts.positive), listed(&counts.negative))
        }
        HistogramCounts::Float(counts) if counts.count > 0.0 || counts.zero > 0.0 => {
            format!(
                "{:?} {:?} {:?} {:?}",
                counts.count,
                counts.zero,
                listed(&counts.positive),
                listed(&counts.negative)
            )
        }
        HistogramCounts::Float(_) => "0 0 [] []".to_owned(),
    };
    format!("{} {:?} {:x} {counts}", histogram.schema, histogram.zero_threshold, sum.to_bits())
}

fn listed<N: Copy + PartialEq + Default>(buckets: &Buckets<N>) -> Vec<(i32, N)> {
    let (mut at, mut listed, mut counts) = (0, Vec::new(), buckets.counts.iter());
    for span in &buckets.spans {
        at += span.offset;
        for _ in 0..span.length {
            listed.push((at, *counts.next().expect("a count a bucket")));
            at += 1;
        }
    }
    listed.retain(|(_, count)| *count != N::default());
    listed
}

fn write_page(families: &[Family]) -> Vec<u8> {
    let mut page = Vec::new();
    for family in families {
        let mut message = Vec::new();
        write_family_head(&mut message, &family.name, &family.help, family.metrics.kind(), &family.unit);
        family.metrics.write(&mut message);
        write_varint(&mut page, message.len() as u64);
        page.extend_from_slice(&message);
    }
    page
}

/// Name, help, unit and type.
type Said = (String, String, String, MetricType);

/// What is said of families that have metrics, and all samples.
fn read_page(page: &[u8]) -> (Vec<Said>, Vec<Sample>) {
    let (mut heads, mut samples) = (Vec::new(), Vec::new());
    let mut reader = ProtobufReader::new(page, HistogramForms::default());
    while let Some(entry) = reader.next().expect("what was written is good") {
        match entry {
            ProtobufEntry::Family(head) => {
                heads.push((head.name.to_owned(), head.help.to_owned(), head.unit.to_owned(), head.kind));
            }
            ProtobufEntry::Sample(part, value) => samples.push(read_sample(&reader, part, value)),
        }
    }
    (heads, samples)
}

fn read_sample(reader: &ProtobufReader<'_>, part: Part, value: f64) -> Sample {
    let mut builder = LabelsBuilder::default();
    reader.labels(&mut builder).expect("good labels");
    let labels = builder.build();
    let is_native = part == Part::Native;
    let exemplars = if is_native {
        reader.exemplars(&mut builder).into_iter().flatten().collect()
    } else {
        Vec::from_iter(reader.exemplar(&mut builder))
    };
    Sample {
        labels,
        bits: if is_native { 0 } else { value.to_bits() },
        timestamp: reader.timestamp(),
        start: reader.start(),
        exemplars: exemplars.iter().map(told).collect(),
        histogram: is_native.then(|| essence(&reader.histogram().expect("a good histogram"))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn protobuf_is_read_back_as_written(families in prop::collection::vec(families(), 0..4)) {
        let page = write_page(&families);
        let (heads, samples) = read_page(&page);
        let expected: Vec<Sample> = families.iter().flat_map(|family| family.metrics.samples(&family.name)).collect();
        prop_assert_eq!(samples, expected);
        let some = families.iter().filter(|family| !family.metrics.samples(&family.name).is_empty());
        let expected: Vec<_> = some
            .map(|family| (family.name.clone(), family.help.clone(), family.unit.clone(), family.metrics.kind()))
            .collect();
        prop_assert_eq!(heads, expected);
    }
}
