//! Requests of both versions, held against the pages that they come of, by an independent decoder.

use std::sync::Arc;

use fedgate::config::{RelabelAction, RelabelConfig};
use fedgate::exposition::Format;
use fedgate::model::{
    Buckets, CUSTOM_BUCKETS_SCHEMA, Counts, HISTOGRAM_NAN, HistogramCounts, HistogramSample, Labels, NORMAL_NAN,
    NativeHistogram, ResetHint, STALE_NAN, Span, Timestamp,
};
use fedgate::relabel;
use fedgate::remote_write::send::{BodyEncoder, Followed, FrameSamples, Labelling, Options, Version};
use fedgate::snapshot::{Beside, Outcome};
use fedgate::store::{ClusterPolicy, LabelConflict};

use super::witness::{Series, read_v1, read_v2};
use crate::store_pushes::{Collector, Gateway, LACKING, START, policy, typed};

const NODE: [(&str, &str); 2] = [("instance", "n1:9100"), ("job", "node")];
const ALL: Options = Options { exemplars: true, histograms: true, oldest: None };

/// A gateway, and the way out of it.
struct Scene {
    gateway: Gateway,
    collector: Collector,
    labelling: Labelling,
    followed: Followed,
}

impl Scene {
    fn new() -> Scene {
        Scene::under(policy("alpha"))
    }

    fn under(policy: ClusterPolicy) -> Scene {
        let (gateway, collector) = (Gateway::new([policy]), Collector::new(1, START));
        Scene { gateway, collector, labelling: Labelling::default(), followed: Followed::default() }
    }

    fn relabelled(steps: &[RelabelConfig]) -> Scene {
        let mut scene = Scene::new();
        scene.labelling.steps = relabel::compile(steps).expect("good patterns");
        scene
    }

    /// What the last scrapes bring, once they are pushed.
    fn sent(&mut self) -> FrameSamples {
        self.gateway.take("alpha", &mut self.collector);
        self.now()
    }

    fn now(&mut self) -> FrameSamples {
        let view = self.gateway.store.cluster("alpha").expect("it is in the inventory");
        self.followed.follow(&view, &self.labelling)
    }

    fn scrape(&mut self, started: i64, page: &str) -> Vec<Series> {
        self.collector.scrape(&NODE, started, page);
        let frame = self.sent();
        series(&frame)
    }
}

/// The series of a frame, which are the same in both versions, as 2.0 has them.
fn series_with(frame: &FrameSamples, options: &Options, rows_max: usize) -> Vec<Series> {
    let (mut encoder, mut all) = (BodyEncoder::default(), Vec::new());
    for part in frame.cut(frame.start(), frame.end(), options, rows_max) {
        let one = read_v1(&encoder.body(Version::V1, frame, &part, options));
        let two = read_v2(&encoder.body(Version::V2, frame, &part, options));
        let counts = frame.count(&part, options);
        assert_eq!(counts.samples, one.iter().map(|series| series.samples.len() as u64).sum::<u64>());
        assert_eq!(counts.histograms, one.iter().map(|series| series.histograms.len() as u64).sum::<u64>());
        assert_eq!(counts.exemplars, one.iter().map(|series| series.exemplars.len() as u64).sum::<u64>());
        assert_eq!(u64::from(part.rows), counts.rows());
        let without = |series: &Series| {
            let mut series = series.clone();
            series.metadata = None;
            series.samples.iter_mut().for_each(|sample| sample.start_timestamp = 0);
            series.histograms.iter_mut().for_each(|one| one.start_timestamp = 0);
            format!("{series:?} {:?}", series.samples.iter().map(|sample| sample.value.to_bits()).collect::<Vec<_>>())
        };
        let [first, second] = [&one, &two].map(|all| all.iter().map(without).collect::<Vec<_>>());
        assert_eq!(first, second, "both versions say the same");
        all.extend(two);
    }
    all
}

pub(super) fn series(frame: &FrameSamples) -> Vec<Series> {
    series_with(frame, &ALL, 2000)
}

/// Those that are not of the scrape itself.
fn own(series: Vec<Series>) -> Vec<Series> {
    let of_scrape = |series: &Series| series.name() == "up" || series.name().starts_with("scrape_");
    series.into_iter().filter(|one| !of_scrape(one)).collect()
}

fn texts(series: &[Series]) -> Vec<String> {
    series.iter().map(Series::text).collect()
}

#[test]
fn labels_are_complete_and_sorted_and_values_keep_their_bits() {
    let mut scene = Scene::new();
    scene.labelling.external_labels = Labels::from_pairs([("Zone", "z"), ("cluster", "never"), ("zz", "end")]);
    let page =
        "b_total{z=\"1\",a=\"x\\\"\\n\",B=\"upper\"} 0.1\na{zz=\"own\",empty=\"\"} NaN\nc -0\nd -Inf\ne 5e-324\n";
    let sent = scene.scrape(START - 1000, page);
    let stamped = r#"cluster="alpha",environment="test""#;
    assert_eq!(
        texts(&own(sent.clone())),
        [
            format!(
                r#"b_total{{B="upper",Zone="z",a="x\"\n",{stamped},instance="n1:9100",job="node",z="1",zz="end"}}"#
            ),
            format!(r#"a{{Zone="z",{stamped},instance="n1:9100",job="node",zz="own"}}"#),
            format!(r#"c{{Zone="z",{stamped},instance="n1:9100",job="node",zz="end"}}"#),
            format!(r#"d{{Zone="z",{stamped},instance="n1:9100",job="node",zz="end"}}"#),
            format!(r#"e{{Zone="z",{stamped},instance="n1:9100",job="node",zz="end"}}"#),
        ]
    );
    let bits: Vec<u64> = own(sent).iter().map(|series| series.sample().0).collect();
    assert_eq!(bits, [0.1f64.to_bits(), NORMAL_NAN, (-0f64).to_bits(), f64::NEG_INFINITY.to_bits(), 1]);
}

#[test]
fn a_scrape_brings_its_own_series() {
    let mut scene = Scene::new();
    let sent = scene.scrape(START - 1000, "m 1\n");
    let facts: Vec<(&str, f64, i64)> = sent
        .iter()
        .filter(|one| one.name() != "m")
        .map(|one| (one.name(), f64::from_bits(one.sample().0), one.sample().1))
        .collect();
    let at = START - 1000;
    assert_eq!(
        facts,
        [
            ("up", 1.0, at),
            ("scrape_duration_seconds", 0.25, at),
            ("scrape_samples_scraped", 1.0, at),
            ("scrape_samples_post_metric_relabeling", 1.0, at),
            ("scrape_series_added", 0.0, at)
        ]
    );
    assert_eq!(sent[0].text(), r#"up{cluster="alpha",environment="test",instance="n1:9100",job="node"}"#);
    assert_eq!(sent[0].metadata.as_ref().map(|one| one.0), Some(2), "a gauge");
}

#[test]
fn a_series_without_its_targets_label_has_the_stamped_one_or_none() {
    let keep = ClusterPolicy {
        labels: Labels::from_pairs([("cluster", "alpha"), ("environment", "test"), ("rack", "stamped")]),
        on_label_conflict: LabelConflict::Keep,
        ..policy("alpha")
    };
    let mut scene = Scene::under(keep);
    scene.collector.scrape(
        &[("instance", "n1"), ("rack", "target")],
        START,
        &format!("a{{rack=\"own\"}} 1\nb{{rack=\"{LACKING}\"}} 1\nc 1\nd{{instance=\"{LACKING}\"}} 1\n"),
    );
    let sent = own(series(&scene.sent()));
    let racks: Vec<(&str, &str)> = sent.iter().map(|one| (one.label("rack"), one.label("instance"))).collect();
    assert_eq!(racks, [("own", "n1"), ("stamped", "n1"), ("target", "n1"), ("target", "")]);
}

#[test]
fn metadata_goes_with_every_series() {
    let mut scene = Scene::new();
    let page = "# HELP a_total Of a.\n# TYPE a_total counter\na_total 1\nb 2\n";
    let sent = own(scene.scrape(START, page));
    let metadata: Vec<(u32, &str)> =
        sent.iter().map(|one| one.metadata.as_ref().map(|(kind, help, _)| (*kind, help.as_str())).unwrap()).collect();
    assert_eq!(metadata, [(1, "Of a."), (0, "")]);
}

#[test]
fn only_new_samples_are_sent_and_series_that_vanish_end_with_the_stale_marker() {
    let mut scene = Scene::new();
    scene.scrape(START - 3000, "a 1\nb 2\n");
    assert_eq!(texts(&series(&scene.now())), [""; 0], "nothing new, nothing sent");
    let sent = own(scene.scrape(START - 2000, "a 1\n"));
    let samples: Vec<(&str, (u64, i64))> = sent.iter().map(|one| (one.name(), one.sample())).collect();
    assert_eq!(samples, [("a", (1f64.to_bits(), START - 2000)), ("b", (STALE_NAN, START - 2000))]);
    let sent = own(scene.scrape(START - 1000, "a 1\n"));
    assert_eq!(sent.len(), 1, "a marker is sent once");
    scene.collector.without_page(&NODE, START, Outcome::Failed);
    let failed = series(&scene.sent());
    let of = |name: &str| failed.iter().find(|one| one.name() == name).map(Series::sample);
    assert_eq!(of("a"), Some((STALE_NAN, START)));
    assert_eq!(of("up"), Some((0f64.to_bits(), START)));
}

#[test]
fn a_target_that_is_gone_ends_with_its_scrapes_series_and_timestamped_series_do_not() {
    let mut scene = Scene::new();
    scene.scrape(START - 2000, &format!("a 1\nown 2 {}\n", START - 5000));
    scene.collector.without_page(&NODE, START, Outcome::Gone);
    let sent = series(&scene.sent());
    assert_eq!(sent.len(), 6, "{:?}", texts(&sent));
    assert!(sent.iter().all(|one| one.sample() == (STALE_NAN, START - 1999)), "{sent:?}");
    assert!(!sent.iter().any(|one| one.name() == "own"), "Prometheus marks no series with timestamps of its own");
}

#[test]
fn a_sample_with_the_timestamp_of_before_is_no_new_one() {
    let mut scene = Scene::new();
    let page = |at: i64| format!("a 1 {at}\nb 1\n");
    assert_eq!(own(scene.scrape(START - 3000, &page(START - 9000))).len(), 2);
    assert_eq!(own(scene.scrape(START - 2000, &page(START - 9000))).len(), 1);
    let sent = own(scene.scrape(START - 1000, &page(START - 8000)));
    assert_eq!(sent.iter().map(|one| one.sample().1).collect::<Vec<_>>(), [START - 8000, START - 1000]);
}

#[test]
fn a_collector_that_starts_again_ends_only_what_it_does_not_find_again() {
    let mut scene = Scene::new();
    scene.scrape(START - 2000, "a 1\nb 2\nc 3\n");
    scene.collector = Collector::new(2, START + 1);
    let sent = own(scene.scrape(START - 1000, "c 3\nnew 1\na 1\n"));
    let ended: Vec<(&str, bool)> = sent.iter().map(|one| (one.name(), one.sample().0 == STALE_NAN)).collect();
    assert_eq!(ended, [("c", false), ("new", false), ("a", false), ("b", true)]);
}

#[test]
fn silence_ends_series_a_millisecond_after_their_last_sample() {
    let mut scene = Scene::new();
    scene.scrape(START - 2000, "a 1\n");
    scene.gateway.pass(3600);
    scene.gateway.store.sweep(scene.gateway.moment().1);
    let sent = series(&scene.now());
    assert_eq!(sent.len(), 6);
    assert!(sent.iter().all(|one| one.sample() == (STALE_NAN, START - 1999)));
}

#[test]
fn other_labels_from_the_inventory_end_the_series_under_the_old_ones() {
    let mut scene = Scene::new();
    scene.scrape(START - 2000, "a 1\n");
    let moved = ClusterPolicy {
        labels: Labels::from_pairs([("cluster", "alpha"), ("environment", "moved")]),
        ..policy("alpha")
    };
    scene.gateway.store.set_inventory(fedgate::store::Inventory::new([moved]).unwrap());
    let ended = series(&scene.now());
    assert_eq!(ended.len(), 6);
    assert!(ended.iter().all(|one| one.label("environment") == "test" && one.sample() == (STALE_NAN, START - 1999)));
    let sent = own(scene.scrape(START - 1000, "a 1\n"));
    assert_eq!(sent.iter().map(|one| one.label("environment")).collect::<Vec<_>>(), ["moved"]);
}

#[test]
fn relabelling_drops_and_changes_series() {
    let drop = RelabelConfig {
        source_labels: vec!["__name__".to_owned()],
        regex: "scrape_.*|secret".to_owned(),
        action: RelabelAction::Drop,
        ..RelabelConfig::default()
    };
    let node = RelabelConfig {
        source_labels: vec!["instance".to_owned()],
        regex: "(.*):.*".to_owned(),
        target_label: "node".to_owned(),
        ..RelabelConfig::default()
    };
    let mut scene = Scene::relabelled(&[drop, node]);
    let sent = scene.scrape(START - 2000, "a{node=\"own\"} 1\nsecret 1\n");
    let labels =
        |name: &str| format!(r#"{name}{{cluster="alpha",environment="test",instance="n1:9100",job="node",node="n1"}}"#);
    assert_eq!(texts(&sent), [labels("up"), labels("a")]);
    let sent = own(scene.scrape(START - 1000, "b 1\n"));
    let bits: Vec<(String, u64)> = sent.iter().map(|one| (one.text(), one.sample().0)).collect();
    assert_eq!(bits, [(labels("b"), 1f64.to_bits()), (labels("a"), STALE_NAN)]);
}

#[test]
fn parts_are_cut_by_rows_and_in_halves_and_together_are_the_frame() {
    let mut scene = Scene::new();
    let page: String = (0..700).map(|number| format!("m{{n=\"{number}\"}} {number}\n")).collect();
    scene.collector.scrape(&NODE, START, &page);
    scene.collector.scrape(&[("instance", "n2")], START, "m 1\n");
    let frame = scene.sent();
    let whole = texts(&series(&frame));
    assert_eq!(whole.len(), 701 + 10);
    for rows_max in [1, 7, 256, 711, 5000] {
        let parts = frame.cut(frame.start(), frame.end(), &ALL, rows_max);
        assert!(parts.iter().all(|part| part.rows as usize <= rows_max));
        assert_eq!(parts.len(), 711usize.div_ceil(rows_max));
        assert_eq!(texts(&series_with(&frame, &ALL, rows_max)), whole, "{rows_max}");
    }
    let all = frame.cut(frame.start(), frame.end(), &ALL, 5000)[0];
    let halves = frame.halves(&all, &ALL).expect("more than one row");
    assert_eq!((halves[0].rows, halves[1].rows), (356, 355));
    assert_eq!((halves[0].from, halves[0].to, halves[1].to), (all.from, halves[1].from, all.to));
    let one = frame.cut(frame.start(), frame.end(), &ALL, 1)[5];
    assert_eq!(frame.halves(&one, &ALL), None);
}

#[test]
fn the_same_frame_is_the_same_bytes() {
    let bytes = || {
        let mut scene = Scene::new();
        let page: String = (0..300).map(|number| format!("m{{n=\"{number}\"}} {number}\n")).collect();
        scene.scrape(START - 1000, &page);
        scene.collector.scrape(&NODE, START, &page.replace("299", "300"));
        let frame = scene.sent();
        let mut encoder = BodyEncoder::default();
        let parts = frame.cut(frame.start(), frame.end(), &ALL, 100);
        let body = |version| parts.iter().map(|part| encoder.body(version, &frame, part, &ALL)).collect::<Vec<_>>();
        [Version::V1, Version::V2].map(body)
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn old_samples_are_left_out() {
    let mut scene = Scene::new();
    let page = format!("a 1\nb 1 {}\n", START - 60_000);
    scene.collector.scrape(&NODE, START, &page);
    let frame = scene.sent();
    let names = |oldest: i64| {
        let options = Options { oldest: Some(Timestamp(oldest)), ..ALL };
        let sent = own(series_with(&frame, &options, 2000));
        sent.iter().map(|one| one.name().to_owned()).collect::<String>()
    };
    assert_eq!((names(START - 60_000), names(START - 59_999), names(START + 1)), ("ab".into(), "a".into(), "".into()));
}

#[test]
fn exemplars_are_sent_once_with_the_samples_time_if_they_have_none() {
    let page = |value: u32, trace: &str| {
        typed(
            "a",
            fedgate::model::MetricType::Counter,
            &format!("a_total {value} # {{trace_id=\"{trace}\"}} 0.5\n# EOF\n"),
        )
    };
    let mut scene = Scene::new();
    let mut sent = |at: i64, value: u32, trace: &str, options: &Options| {
        scene.collector.finished(Labels::from_pairs(NODE), at, Format::OpenMetrics, &page(value, trace), Outcome::Up);
        let frame = scene.sent();
        own(series_with(&frame, options, 2000))[0].exemplars.clone()
    };
    let exemplar = |trace: &str, at: i64| vec![(vec![("trace_id".to_owned(), trace.to_owned())], 0.5, at)];
    assert_eq!(sent(START - 4000, 1, "one", &ALL), exemplar("one", START - 4000));
    assert_eq!(sent(START - 3000, 2, "one", &ALL), [], "it is the one of before");
    assert_eq!(sent(START - 2000, 3, "two", &ALL), exemplar("two", START - 2000));
    let none = Options { exemplars: false, ..ALL };
    assert_eq!(sent(START - 1000, 4, "three", &none), []);
}

fn histogram(schema: i8, counts: HistogramCounts, bounds: &[f64]) -> Arc<HistogramSample> {
    let histogram = NativeHistogram {
        reset_hint: ResetHint::Gauge,
        schema,
        zero_threshold: if schema == CUSTOM_BUCKETS_SCHEMA { 0.0 } else { 0.001 },
        sum: 12.5,
        custom_bounds: bounds.to_vec(),
        counts,
    };
    Arc::new(HistogramSample { histogram, exemplars: Vec::new() })
}

#[test]
fn native_histograms_keep_every_number_and_end_as_histograms() {
    let spans = |list: &[(i32, u32)]| -> Vec<Span> {
        list.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect()
    };
    let positive = Buckets { spans: spans(&[(-2, 2), (3, 1)]), counts: vec![5, 2, 9] };
    let negative = Buckets { spans: spans(&[(1, 1)]), counts: vec![4] };
    let integers = HistogramCounts::Integer(Counts { count: 23, zero: 3, positive, negative });
    let positive = Buckets { spans: spans(&[(0, 2)]), counts: vec![0.5, 2.0] };
    let floats = HistogramCounts::Float(Counts { count: 2.5, zero: 0.0, positive, negative: Buckets::default() });
    let mut scene = Scene::new();
    let scrape = scene.collector.scrape(&NODE, START - 1000, "i 1\nf 1\n");
    scrape.values.fill(f64::from_bits(HISTOGRAM_NAN));
    scrape.beside = Beside {
        histograms: vec![(0, histogram(-1, integers, &[])), (1, histogram(CUSTOM_BUCKETS_SCHEMA, floats, &[1.0, 2.5]))],
        starts: vec![(0, Timestamp(START - 90_000))],
        ..Beside::default()
    };
    let frame = scene.sent();
    assert_eq!(own(series_with(&frame, &Options { histograms: false, ..ALL }, 2000)), [], "not asked for");
    assert_eq!(frame.unsent_histograms(), 2);
    let sent = own(series(&frame));
    let one = &sent[0].histograms[0];
    assert_eq!((one.count_int, one.zero_count_int, one.count_float), (Some(23), Some(3), None));
    assert_eq!((one.positive_deltas.as_slice(), one.negative_deltas.as_slice()), (&[5, -3, 7][..], &[4][..]));
    let shape: Vec<(i32, u32)> = one.positive_spans.iter().map(|span| (span.offset, span.length)).collect();
    assert_eq!((shape.as_slice(), one.schema, one.sum), (&[(-2, 2), (3, 1)][..], -1, 12.5));
    assert_eq!((one.zero_threshold, one.reset_hint, one.timestamp), (0.001, 3, START - 1000));
    assert_eq!(one.start_timestamp, START - 90_000);
    let two = &sent[1].histograms[0];
    assert_eq!((two.schema, two.custom_values.as_slice()), (-53, &[1.0, 2.5][..]));
    assert_eq!((two.count_float, two.zero_count_float, two.count_int), (Some(2.5), Some(0.0), None));
    assert_eq!((two.positive_counts.as_slice(), two.negative_counts.len()), (&[0.5, 2.0][..], 0));

    scene.collector.scrape(&NODE, START, "");
    let ended = own(series(&scene.sent()));
    let sums: Vec<(u64, i64)> =
        ended.iter().map(|one| (one.histograms[0].sum.to_bits(), one.histograms[0].timestamp)).collect();
    assert_eq!(sums, [(STALE_NAN, START); 2]);
}

#[test]
fn start_timestamps_are_those_of_the_page() {
    let mut scene = Scene::new();
    let scrape = scene.collector.scrape(&NODE, START, "a_total 1\nb 1\n");
    scrape.beside.starts = vec![(0, Timestamp(START - 5000))];
    let frame = scene.sent();
    let starts: Vec<i64> = own(series(&frame)).iter().map(|one| one.samples[0].start_timestamp).collect();
    assert_eq!(starts, [START - 5000, 0]);
}
