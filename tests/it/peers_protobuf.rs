//! Adversarial protobuf pages scraped by the real Prometheus 3.5 and by fedgate's page cache: the same series, the same
//! values and histograms, the same refusals, the same counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fedgate::config::ScrapeConfig;
use fedgate::exposition::Format;
use fedgate::model::{Buckets, HISTOGRAM_NAN, HistogramCounts, Labels, NativeHistogram, Timestamp, is_stale};
use fedgate::scrape::{PageCache, Rules, SeriesBudget, Timing};
use fedgate::snapshot::{FORGET_NAN, Outcome, Report, Scrape};

use super::protobuf_page::*;
use super::site::http::{self, Answer};
use super::site::prometheus::{LabelSet, Prometheus, has_peer};
use super::site::{Site, wait_for};

const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
const TEXT: &str = "text/plain; version=0.0.4";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// The case whose series have not the job's name: it is its metric's name too.
const HONOURED: &str = "honoured_labels";

/// One page and the keys of the job that scrapes it.
struct Case {
    name: &'static str,
    content_type: &'static str,
    page: Vec<u8>,
    /// As JSON, which is YAML.
    keys: serde_json::Value,
}

/// A sample: a float, or a histogram's count, sum and buckets.
#[derive(Clone, Debug, PartialEq)]
enum Sample {
    Float(String),
    Native { count: f64, sum: String, buckets: Vec<(f64, f64, f64)> },
}

/// What a scrape came to.
#[derive(Debug, PartialEq)]
struct Result {
    up: bool,
    scraped: u64,
    post_relabel: u64,
    series: BTreeMap<LabelSet, Sample>,
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn case(name: &'static str, families: &[Message]) -> Case {
    Case { name, content_type: PROTOBUF, page: page(families), keys: serde_json::json!({}) }
}

fn with(keys: serde_json::Value, case: Case) -> Case {
    Case { keys, ..case }
}

fn classic() -> Message {
    Message::new().number(1, 9).float(2, 12.5).buckets(&[(0.5, 2), (1.0, 4), (1e6, 6), (1e21, 8)])
}

fn summary() -> Message {
    let quantile = |quantile, value| Message::new().float(1, quantile).float(2, value);
    let of = Message::new().number(1, 3).float(2, 4.5);
    let of = of.message(3, &quantile(0.5, 1.0)).message(3, &quantile(1.0, 2.0)).message(3, &quantile(f64::NAN, 3.0));
    Message::new().message(4, &of)
}

fn fine() -> Message {
    Message::new()
        .number(1, 8)
        .float(2, 1.0)
        .signed(5, 2)
        .spans(12, &[(1, 8)])
        .signed_list(13, &[1, 0, 0, 0, 0, 0, 0, 0])
}

fn both_sides() -> Message {
    let sides = Message::new().number(1, 20).float(2, -3.5).signed(5, 3).float(6, 1e-9).number(7, 5);
    sides
        .spans(9, &[(-4, 2), (3, 1)])
        .signed_list(10, &[1, 1, -1])
        .spans(12, &[(0, 3), (2, 2), (0, 1)])
        .signed_list(13, &[2, -2, 3, -1, 0, 2])
}

/// Pages that Prometheus takes, with native histograms or without.
fn good_pages() -> Vec<Case> {
    let counter = Message::new().message(3, &Message::new().float(1, 7.0).time(3, 1_700_000_000, 0));
    let timed = gauge(2.0).number(6, now_ms() - 2000);
    let nan = |bits| gauge(f64::from_bits(bits));
    vec![
        case("counter", &[family("c_total", COUNTER, &[counter.clone().label("code", "200"), counter])]),
        case("gauges", &[family("g", GAUGE, &[gauge(1.5), gauge(-0.0).label("z", "1").label("a", "2")])]),
        case("untyped", &[family("u", UNTYPED, &[Message::new().message(5, &Message::new().float(1, 3.0))])]),
        case("value_of_another_type", &[family("c_total", COUNTER, &[gauge(3.0)])]),
        case("empty_labels", &[family("g", GAUGE, &[gauge(1.0).label("empty", "").label("full", "x")])]),
        case(
            "twice_and_once_empty",
            &[family(
                "g",
                GAUGE,
                &[
                    gauge(1.0).label("a", "").label("a", "1").label("n", "1"),
                    gauge(1.0).label("a", "1").label("n", "2").label("a", ""),
                ],
            )],
        ),
        case("no_label_at_all", &[family("g", GAUGE, &[gauge(1.0).message(1, &Message::new())])]),
        case("timestamp", &[family("g", GAUGE, &[timed])]),
        case("summary", &[family("s", SUMMARY, &[summary(), Message::new().label("q", "none")])]),
        case("classic", &[family("h", HISTOGRAM, &[histogram(&classic()), histogram(&classic()).label("a", "b")])]),
        case("gauge_histogram", &[family("gh", GAUGE_HISTOGRAM, &[histogram(&classic())])]),
        case(
            "behind_infinity",
            &[family("h", HISTOGRAM, &[histogram(&classic().buckets(&[(f64::INFINITY, 9), (3.0, 9)]))])],
        ),
        case(
            "float_classic",
            &[family(
                "h",
                HISTOGRAM,
                &[histogram(
                    &Message::new().float(4, 2.5).number(1, 7).message(3, &Message::new().float(4, 1.5).float(2, 1.0)),
                )],
            )],
        ),
        case("utf8_names", &[family("m.n \u{1f631}", GAUGE, &[gauge(1.0).label("l.a b", "\u{e9}\n\"\\")])]),
        case(
            "empty_families",
            &[
                Message::new(),
                family("none", GAUGE, &[]),
                Message::new().bytes(1, b"\xff").number(3, 99),
                family("g", GAUGE, &[gauge(1.0)]),
            ],
        ),
        case("family_twice", &[family("g", GAUGE, &[gauge(1.0)]), family("g", GAUGE, &[gauge(2.0).label("a", "b")])]),
        case("sample_twice", &[family("g", GAUGE, &[gauge(1.0), gauge(2.0)])]),
        case("nans", &[family("g", GAUGE, &[nan(0x7ff8_0000_0000_0001), nan(0xfff8_dead_beef_0001).label("a", "b")])]),
        case("a_stale_marker", &[family("g", GAUGE, &[nan(0x7ff0_0000_0000_0002), gauge(1.0).label("a", "b")])]),
        case(
            "unit",
            &[
                family("a_seconds", GAUGE, &[gauge(1.0)]).text(5, "seconds"),
                family("b_seconds_total", COUNTER, &[Message::new()]).text(5, "seconds"),
            ],
        ),
        case("no_help", &[Message::new().text(1, "g").number(3, GAUGE).message(4, &gauge(1.0))]),
        case("no_type_is_a_counter", &[Message::new().text(1, "g").message(4, &gauge(1.0))]),
        case("unknown_fields", &[family("g", GAUGE, &[gauge(1.0).number(99, 1).text(98, "x")]).float(97, 1.0)]),
        case("head_behind_metrics", &[Message::new().message(4, &gauge(1.0)).text(1, "late").number(3, GAUGE)]),
        case("merged", &[family("h", HISTOGRAM, &[histogram(&classic()).message(7, &Message::new().number(1, 10))])]),
        case("native", &[family("h", HISTOGRAM, &[histogram(&native()), histogram(&both_sides()).label("s", "2")])]),
        case("native_gauge", &[family("h", GAUGE_HISTOGRAM, &[histogram(&both_sides())])]),
        case(
            "native_floats",
            &[family(
                "h",
                HISTOGRAM,
                &[histogram(
                    &Message::new()
                        .float(4, 2.5)
                        .float(2, 1.0)
                        .signed(5, -2)
                        .float(8, 0.5)
                        .spans(12, &[(0, 2)])
                        .float_list(14, &[0.5, 1.5]),
                )],
            )],
        ),
        case(
            "native_unpacked",
            &[family(
                "h",
                HISTOGRAM,
                &[histogram(&Message::new().number(1, 3).spans(12, &[(0, 2)]).signed(13, 1).signed(13, 1))],
            )],
        ),
        case(
            "native_without_observations",
            &[family("h", HISTOGRAM, &[histogram(&Message::new().spans(12, &[(0, 0)]))])],
        ),
        case("native_nan_sum", &[family("h", HISTOGRAM, &[histogram(&native().number(1, 9).float(2, f64::NAN))])]),
        case("native_and_classic", &[family("h", HISTOGRAM, &[histogram(&native().buckets(&[(4.0, 3)]))])]),
        case(
            "classic_after_native",
            &[family(
                "h",
                HISTOGRAM,
                &[histogram(&native()), histogram(&Message::new().float(2, 1.0)).label("n", "2")],
            )],
        ),
        case(
            "native_after_classic",
            &[family(
                "h",
                HISTOGRAM,
                &[
                    histogram(&classic()).label("n", "1"),
                    histogram(&native()).label("n", "2"),
                    histogram(&native()).label("n", "3"),
                ],
            )],
        ),
        case("native_twice", &[family("h", HISTOGRAM, &[histogram(&native()), histogram(&native().float(2, 1.0))])]),
        case("conflicting_labels", &[family("g", GAUGE, &[gauge(1.0).label("job", "own").label("instance", "")])]),
        with(
            serde_json::json!({"honor_labels": true}),
            case(HONOURED, &[family(HONOURED, GAUGE, &[gauge(1.0).label("job", "").label("instance", "own")])]),
        ),
        with(
            serde_json::json!({"always_scrape_classic_histograms": true}),
            case(
                "both_forms",
                &[family(
                    "h",
                    HISTOGRAM,
                    &[
                        histogram(&native().buckets(&[(4.0, 3)])),
                        histogram(&native()).label("n", "2"),
                        histogram(&classic()).label("n", "3"),
                    ],
                )],
            ),
        ),
        with(
            serde_json::json!({"always_scrape_classic_histograms": true}),
            case(
                "both_forms_of_all",
                &[family(
                    "h",
                    HISTOGRAM,
                    &[
                        histogram(&native().buckets(&[(4.0, 3)])),
                        histogram(&both_sides().buckets(&[(4.0, 3)])).label("n", "2"),
                    ],
                )],
            ),
        ),
        with(
            serde_json::json!({"native_histogram_bucket_limit": 4}),
            case("bucket_limit", &[family("h", HISTOGRAM, &[histogram(&fine())])]),
        ),
        with(
            serde_json::json!({"native_histogram_bucket_limit": 1}),
            case(
                "hopeless_bucket_limit",
                &[
                    family(
                        "h",
                        HISTOGRAM,
                        &[histogram(
                            &Message::new().number(1, 2).spans(12, &[(-1000, 1), (2000, 1)]).signed_list(13, &[1, 0]),
                        )],
                    ),
                    family("g", GAUGE, &[gauge(1.0)]),
                ],
            ),
        ),
        with(
            serde_json::json!({"native_histogram_min_bucket_factor": 1.5}),
            case(
                "bucket_factor",
                &[family("h", HISTOGRAM, &[histogram(&both_sides()), histogram(&fine()).label("a", "b")])],
            ),
        ),
        with(
            serde_json::json!({"sample_limit": 2}),
            case(
                "sample_limit_kept",
                &[
                    family("h", HISTOGRAM, &[histogram(&native()), histogram(&fine()).label("a", "b")]),
                    family("g", GAUGE, &[gauge(1.0), gauge(1.0).label("a", "b")]),
                ],
            ),
        ),
        with(
            serde_json::json!({"sample_limit": 2}),
            case("sample_limit_broken", &[family("s", SUMMARY, &[summary()])]),
        ),
        with(serde_json::json!({"label_limit": 3}), case("label_limit", &[family("s", SUMMARY, &[summary()])])),
    ]
}

/// Pages that Prometheus refuses.
fn bad_pages() -> Vec<Case> {
    let named = |name: &[u8]| Message::new().bytes(1, name).number(3, GAUGE).message(4, &gauge(1.0));
    let of = |metric: Message| family("g", GAUGE, &[gauge(0.5).label("good", "1"), metric]);
    let raw =
        |name, page: &[u8]| Case { name, content_type: PROTOBUF, page: page.to_vec(), keys: serde_json::json!({}) };
    let mut cut = page(&[family("g", GAUGE, &[gauge(1.0)])]);
    cut.pop();
    vec![
        case("no_name", &[named(b"")]),
        case("name_not_utf8", &[named(b"a\xff")]),
        case("help_not_utf8", &[named(b"g").bytes(2, b"\xff")]),
        case("type_unknown", &[named(b"g").number(3, 6)]),
        case("unit_no_suffix", &[named(b"g").text(5, "seconds")]),
        case("unit_without_underscore", &[named(b"aseconds").text(5, "seconds")]),
        case("unit_is_all", &[named(b"seconds").text(5, "seconds")]),
        case("label_twice", &[of(gauge(1.0).label("a", "1").label("a", "2"))]),
        case("label_name_empty", &[of(gauge(1.0).label("", "1"))]),
        case("label_name_missing", &[of(gauge(1.0).message(1, &Message::new().text(2, "v")))]),
        case("label_name_not_utf8", &[of(gauge(1.0).message(1, &Message::new().bytes(1, b"\xc3").text(2, "v")))]),
        case("label_value_not_utf8", &[of(gauge(1.0).message(1, &Message::new().text(1, "n").bytes(2, b"\xc3")))]),
        case("metric_name_empty", &[of(gauge(1.0).label("__name__", ""))]),
        case("metric_name_as_label", &[of(gauge(1.0).label("__name__", "x"))]),
        case("le_as_label", &[family("h", HISTOGRAM, &[histogram(&classic()).label("le", "1")])]),
        case("gauge_as_number", &[of(Message::new().number(2, 1))]),
        case("value_as_number", &[of(Message::new().message(2, &Message::new().number(1, 1)))]),
        case("value_cut", &[of(Message::new().bytes(2, b"\x09\x00"))]),
        case("length_too_long", &[of(Message(vec![0x12, 0x7f, 0]))]),
        case("group_without_begin", &[of(Message(vec![0x0c]))]),
        case("field_number_zero", &[of(Message(vec![0x00, 0x00]))]),
        case("bad_part_of_another_type", &[of(gauge(1.0).message(7, &Message::new().number(2, 1)))]),
        case("native_count_mismatch", &[family("h", HISTOGRAM, &[histogram(&native().number(1, 99))])]),
        case(
            "native_negative_count",
            &[family(
                "h",
                HISTOGRAM,
                &[histogram(&Message::new().number(1, 1).spans(12, &[(0, 2)]).signed_list(13, &[2, -3]))],
            )],
        ),
        case(
            "native_of_classic_counts",
            &[family("h", HISTOGRAM, &[histogram(&native()), histogram(&classic()).label("n", "2")])],
        ),
        raw("cut", &cut),
        raw("length_of_six_bytes", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
        raw("text", b"g 1\n"),
        Case { name: "protobuf_said_to_be_text", content_type: TEXT, ..case("", &[of(gauge(1.0))]) },
    ]
}

fn conversions() -> Vec<Case> {
    let text = "# TYPE h histogram\nh_bucket{x=\"a\",le=\"1\"} 1\nh_bucket{x=\"a\",le=\"2\"} 1\nh_bucket{x=\"a\",le=\"4\"} 3\n\
                h_bucket{x=\"a\",le=\"+Inf\"} 4\nh_sum{x=\"a\"} 12\nh_count{x=\"a\"} 4\nh_count{x=\"b\"} 2\nh_sum{x=\"b\"} 1\n\
                h_bucket{x=\"b\",le=\"0.5\"} 1.5\n# TYPE bad histogram\nbad_bucket{le=\"1\"} 5\nbad_bucket{le=\"2\"} 3\n\
                bad_count 5\n# TYPE other gauge\nother_count 1\nfree_bucket{le=\"1\"} 1\n";
    let gaps = Message::new().number(1, 6).float(2, 9.0).buckets(&[(1.0, 2), (2.0, 2), (3.0, 2), (4.0, 2), (5.0, 6)]);
    let families = [
        family("c", HISTOGRAM, &[histogram(&classic()), histogram(&gaps).label("a", "b")]),
        family("n", HISTOGRAM, &[histogram(&native().buckets(&[(4.0, 3)]))]),
        family("gh", GAUGE_HISTOGRAM, &[histogram(&classic())]),
        family("s", SUMMARY, &[summary()]),
    ];
    let convert = serde_json::json!({"convert_classic_histograms_to_nhcb": true});
    let both = serde_json::json!({
        "convert_classic_histograms_to_nhcb": true, "always_scrape_classic_histograms": true
    });
    let page_of = |name, content_type, page: &[u8], keys: &serde_json::Value| Case {
        name,
        content_type,
        page: page.to_vec(),
        keys: keys.clone(),
    };
    let openmetrics = format!("{text}# EOF\n");
    vec![
        page_of("convert_text", TEXT, text.as_bytes(), &convert),
        page_of("convert_text_both", TEXT, text.as_bytes(), &both),
        page_of("convert_openmetrics", OPENMETRICS, openmetrics.as_bytes(), &convert),
        page_of("convert_protobuf", PROTOBUF, &page(&families), &convert),
        page_of("convert_protobuf_both", PROTOBUF, &page(&families), &both),
        with(
            serde_json::json!({"convert_classic_histograms_to_nhcb": true, "native_histogram_bucket_limit": 2}),
            case("convert_over_limit", &families),
        ),
    ]
}

/// One job a case.
fn scrape_configs(cases: &[Case], port: u16) -> String {
    let job = |case: &Case| {
        let keys = case.keys.as_object().expect("a map").iter();
        let keys: String = keys.map(|(key, value)| format!("    {key}: {value}\n")).collect();
        format!(
            "  - job_name: {0}\n    metrics_path: /{0}\n{keys}    static_configs:\n      - targets: [\"127.0.0.1:{port}\"]\n",
            case.name
        )
    };
    cases.iter().map(job).collect()
}

/// What Prometheus made of a case.
fn by_prometheus(prometheus: &Prometheus, case: &Case) -> Result {
    let own = |name: &str| {
        let value = prometheus.value(&format!("{name}{{job=\"{}\",instance=~\"127.*\"}}", case.name));
        value.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name} of {}", case.name)) as u64
    };
    let selector = match case.name {
        HONOURED => format!("{{__name__=\"{HONOURED}\"}}"),
        name => format!("{{job=\"{name}\",__name__!~\"up|scrape_.*\"}}"),
    };
    let series = prometheus.vector(&selector).into_iter().map(|(labels, sample)| (labels, sample_of(&sample)));
    Result {
        up: own("up") == 1,
        scraped: own("scrape_samples_scraped"),
        post_relabel: own("scrape_samples_post_metric_relabeling"),
        series: series.collect(),
    }
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_str().expect("numbers are strings").parse().expect("a number")
}

fn sample_of(series: &serde_json::Value) -> Sample {
    let Some(histogram) = series["histogram"].get(1) else {
        return Sample::Float(series["value"][1].as_str().expect("a value").to_owned());
    };
    let empty = Vec::new();
    let buckets = histogram["buckets"].as_array().unwrap_or(&empty).iter();
    let mut buckets: Vec<_> = buckets.map(|own| (number(&own[1]), number(&own[2]), number(&own[3]))).collect();
    sort(&mut buckets);
    Sample::Native {
        count: number(&histogram["count"]),
        sum: histogram["sum"].as_str().expect("a sum").to_owned(),
        buckets,
    }
}

fn sort(buckets: &mut [(f64, f64, f64)]) {
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
}

/// What fedgate makes of a case.
fn by_fedgate(case: &Case, port: u16, native: bool) -> Result {
    let mut config: ScrapeConfig = serde_json::from_value(case.keys.clone()).expect("keys of a job");
    config.scrape_native_histograms = Some(native);
    let instance = format!("127.0.0.1:{port}");
    let target = Arc::new(Labels::from_pairs([("job", case.name), ("instance", instance.as_str())]));
    let budget = Arc::new(SeriesBudget::new(1_000_000));
    let mut cache = PageCache::new(target.clone(), target, budget);
    let format = match case.content_type {
        PROTOBUF => Format::Protobuf,
        OPENMETRICS => Format::OpenMetrics,
        _ => Format::Text,
    };
    let started = Timestamp(now_ms() as i64);
    let (reading, result) = cache.read(&case.page, format, started, &Rules::new(&config).expect("no pattern"));
    let scrape = cache.scrape(Timing { started, duration: Duration::ZERO }, Outcome::Up, Report::default());
    Result { up: result.is_ok(), scraped: reading.scraped, post_relabel: reading.post_relabel, series: live(&scrape) }
}

fn live(scrape: &Scrape) -> BTreeMap<LabelSet, Sample> {
    let chunks = scrape.schema.chunks().iter();
    let labels = chunks.flat_map(|chunk| (0..chunk.len()).map(|slot| chunk.labels(slot, &scrape.target)));
    let slots = labels.zip(&scrape.values).enumerate();
    let present = slots.filter(|(_, (_, value))| !is_stale(**value) && value.to_bits() != FORGET_NAN);
    present
        .map(|(slot, (labels, value))| {
            let labels =
                labels.expect("a series").iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let sample = match value.to_bits() == HISTOGRAM_NAN {
                true => native_of(&scrape.beside.histogram_of(slot as u32).expect("it stands beside").histogram),
                false => Sample::Float(as_prometheus(*value)),
            };
            (labels, sample)
        })
        .collect()
}

/// As the API writes numbers; only those that the pages have.
fn as_prometheus(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        _ => value.to_string(),
    }
}

fn native_of(histogram: &NativeHistogram) -> Sample {
    let (count, zero, mut buckets) = match &histogram.counts {
        HistogramCounts::Integer(counts) => {
            let float = |side: &Buckets<u64>| bounded(histogram, side, |count| count as f64);
            (
                counts.count as f64,
                counts.zero as f64,
                [float(&counts.positive), mirrored(float(&counts.negative))].concat(),
            )
        }
        HistogramCounts::Float(counts) => {
            let float = |side: &Buckets<f64>| bounded(histogram, side, |count| count);
            (counts.count, counts.zero, [float(&counts.positive), mirrored(float(&counts.negative))].concat())
        }
    };
    if zero > 0.0 {
        buckets.push((-histogram.zero_threshold, histogram.zero_threshold, zero));
    }
    sort(&mut buckets);
    Sample::Native { count, sum: as_prometheus(histogram.sum), buckets }
}

fn mirrored(buckets: Vec<(f64, f64, f64)>) -> Vec<(f64, f64, f64)> {
    buckets.into_iter().map(|(lower, upper, count)| (-upper, -lower, count)).collect()
}

/// Lower and upper bound and count of each bucket that is not empty.
fn bounded<N: Copy>(of: &NativeHistogram, side: &Buckets<N>, float: impl Fn(N) -> f64) -> Vec<(f64, f64, f64)> {
    let bound = |index: i32| match of.has_custom_buckets() {
        true if index < 0 => f64::NEG_INFINITY,
        true => of.custom_bounds.get(index as usize).copied().unwrap_or(f64::INFINITY),
        false => (f64::from(index) * (-f64::from(of.schema)).exp2()).exp2(),
    };
    let (mut index, mut counts, mut buckets) = (0, side.counts.iter(), Vec::new());
    for span in &side.spans {
        index += span.offset;
        for count in counts.by_ref().take(span.length as usize) {
            if float(*count) != 0.0 {
                buckets.push((bound(index - 1), bound(index), float(*count)));
            }
            index += 1;
        }
    }
    buckets
}

/// Whether both are the same, bounds to twelve digits.
fn is_same(one: &Sample, other: &Sample) -> bool {
    let is_near = |one: f64, other: f64| one == other || (one - other).abs() <= 1e-12 * one.abs();
    match (one, other) {
        (Sample::Float(one), Sample::Float(other)) => one == other,
        (
            Sample::Native { count, sum, buckets },
            Sample::Native { count: other_count, sum: other_sum, buckets: others },
        ) => {
            let pairs = buckets.iter().zip(others);
            count == other_count
                && sum == other_sum
                && buckets.len() == others.len()
                && pairs
                    .into_iter()
                    .all(|(one, other)| is_near(one.0, other.0) && is_near(one.1, other.1) && one.2 == other.2)
        }
        _ => false,
    }
}

/// Everything that differs, written for a person.
fn difference(case: &Case, prometheus: &Result, fedgate: &Result) -> Option<String> {
    let head = |result: &Result| (result.up, result.scraped, result.post_relabel);
    let is_equal = head(prometheus) == head(fedgate)
        && prometheus.series.len() == fedgate.series.len()
        && prometheus
            .series
            .iter()
            .all(|(labels, own)| fedgate.series.get(labels).is_some_and(|other| is_same(own, other)));
    (!is_equal).then(|| format!("{}:\n  prometheus {prometheus:?}\n  fedgate    {fedgate:?}", case.name))
}

fn compare(name: &str, cases: Vec<Case>, native: bool) {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    let cases: Arc<Vec<Case>> = Arc::new(cases);
    let served = cases.clone();
    let port = http::serve(move |path| {
        let case = served.iter().find(|case| path.strip_prefix('/') == Some(case.name)).expect("a case of this test");
        Answer { status: 200, content_type: case.content_type, body: case.page.clone() }
    });
    let site = Site::new();
    let features: &[&str] = if native { &["--enable-feature=native-histograms"] } else { &[] };
    let prometheus = Prometheus::start_with(&site, name, &scrape_configs(&cases, port), features);
    wait_for("every page to be scraped", || (prometheus.value("count(up)")? == cases.len().to_string()).then_some(()));
    let differences: Vec<String> = cases
        .iter()
        .filter_map(|case| difference(case, &by_prometheus(&prometheus, case), &by_fedgate(case, port, native)))
        .collect();
    assert!(differences.is_empty(), "{} of {}:\n{}", differences.len(), cases.len(), differences.join("\n"));
}

#[test]
fn protobuf_pages_are_to_fedgate_what_they_are_to_prometheus() {
    compare("native", good_pages().into_iter().chain(bad_pages()).chain(conversions()).collect(), true);
}

#[test]
fn protobuf_pages_without_native_histograms_too() {
    // A histogram that contradicts itself is not looked at then.
    let cases = good_pages().into_iter().chain(bad_pages());
    compare("plain", cases.collect(), false);
}
