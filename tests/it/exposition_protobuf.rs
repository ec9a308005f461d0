//! Delimited protobuf, sample by sample: names, bounds, forms of histograms, faults, and that no page can do harm.

use std::time::Instant;

use fedgate::exposition::protobuf::{HistogramForms, Part, ProtobufEntry, ProtobufFault, ProtobufReader};
use fedgate::model::{HistogramCounts, LabelsBuilder, MetricType, ResetHint, Span, Timestamp};
use proptest::prelude::*;

use super::protobuf_page::*;

/// What a page comes to: series with their values, `#` for a native histogram, and the error if it has one.
fn read(page: &[u8], also_classic: bool) -> (Vec<(String, String)>, Option<String>) {
    let mut reader = ProtobufReader::new(page, HistogramForms { also_classic });
    let mut labels = LabelsBuilder::default();
    let mut samples = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(ProtobufEntry::Family(_))) => {}
            Ok(Some(ProtobufEntry::Sample(part, value))) => {
                if let Err(error) = reader.labels(&mut labels) {
                    return (samples, Some(error.to_string()));
                }
                let value = if part == Part::Native { "#".to_owned() } else { value.to_string() };
                samples.push((labels.build().to_string().trim_end_matches("{}").to_owned(), value));
            }
            Ok(None) => return (samples, None),
            Err(error) => return (samples, Some(error.to_string())),
        }
    }
}

fn shows(families: &[Message], also_classic: bool, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(series, value)| ((*series).to_owned(), (*value).to_owned())).collect();
    assert_eq!(read(&page(families), also_classic), (expected, None));
}

fn refuses(families: &[Message], said: &str) {
    let (samples, error) = read(&page(families), false);
    assert!(error.as_ref().is_some_and(|error| error.contains(said)), "{said}: {samples:?} {error:?}");
}

#[test]
fn simple_types_have_one_sample_a_metric() {
    let counter = Message::new().label("code", "200").message(3, &Message::new().float(1, 7.0));
    let untyped = |value| Message::new().message(5, &Message::new().float(1, value));
    let families = [
        family("requests_total", COUNTER, &[counter]),
        family("g", GAUGE, &[gauge(1.5).label("b", "2").label("a", "1"), gauge(-0.0).label("empty", "")]),
        family("none", GAUGE, &[]),
        family("u", UNTYPED, &[untyped(3.0), Message::new().label("x", "")]),
    ];
    let expected =
        [(r#"requests_total{code="200"}"#, "7"), (r#"g{a="1", b="2"}"#, "1.5"), ("g", "-0"), ("u", "3"), ("u", "0")];
    shows(&families, false, &expected);
}

#[test]
fn summaries_and_classic_histograms_are_taken_apart() {
    let quantile = |quantile, value| Message::new().float(1, quantile).float(2, value);
    let summary =
        Message::new().number(1, 3).float(2, 4.5).message(3, &quantile(0.5, 1.0)).message(3, &quantile(1.0, 2.0));
    let open = Message::new().number(1, 9).float(2, 1.0).buckets(&[(0.5, 2), (1.0, 4)]);
    let closed = open.clone().buckets(&[(f64::INFINITY, 8), (2.0, 7)]);
    let floats =
        Message::new().number(1, 9).float(4, 2.5).message(3, &Message::new().float(4, 1.5).number(1, 1).float(2, 10.0));
    let families = [
        family("s", SUMMARY, &[Message::new().message(4, &summary), Message::new().label("q", "none")]),
        family(
            "h",
            HISTOGRAM,
            &[histogram(&open), histogram(&closed).label("c", "1"), histogram(&floats).label("f", "1")],
        ),
    ];
    let expected = [
        ("s_count", "3"),
        ("s_sum", "4.5"),
        (r#"s{quantile="0.5"}"#, "1"),
        (r#"s{quantile="1.0"}"#, "2"),
        (r#"s_count{q="none"}"#, "0"),
        (r#"s_sum{q="none"}"#, "0"),
        ("h_count", "9"),
        ("h_sum", "1"),
        (r#"h_bucket{le="0.5"}"#, "2"),
        (r#"h_bucket{le="1.0"}"#, "4"),
        (r#"h_bucket{le="+Inf"}"#, "9"),
        (r#"h_count{c="1"}"#, "9"),
        (r#"h_sum{c="1"}"#, "1"),
        (r#"h_bucket{c="1", le="0.5"}"#, "2"),
        (r#"h_bucket{c="1", le="1.0"}"#, "4"),
        (r#"h_bucket{c="1", le="+Inf"}"#, "8"),
        (r#"h_count{f="1"}"#, "2.5"),
        (r#"h_sum{f="1"}"#, "0"),
        (r#"h_bucket{f="1", le="10.0"}"#, "1.5"),
        (r#"h_bucket{f="1", le="+Inf"}"#, "2.5"),
    ];
    shows(&families, false, &expected);
}

#[test]
fn the_form_of_a_histogram_is_the_one_of_the_metric_before() {
    let native = |label: &str| histogram(&native()).label("n", label);
    let both = histogram(&native_with_buckets()).label("n", "both");
    let classic = |label: &str| histogram(&Message::new().number(1, 1)).label("n", label);
    let families = [
        family("a", HISTOGRAM, &[native("1"), classic("2")]),
        family("b", HISTOGRAM, &[classic("1"), native("2"), classic("3")]),
        family("c", GAUGE_HISTOGRAM, &[both]),
    ];
    let once = [
        (r#"a{n="1"}"#, "#"),
        (r#"a{n="2"}"#, "#"),
        (r#"b_count{n="1"}"#, "1"),
        (r#"b_sum{n="1"}"#, "0"),
        (r#"b_bucket{le="+Inf", n="1"}"#, "1"),
        (r#"b_count{n="2"}"#, "4"),
        (r#"b_sum{n="2"}"#, "21.5"),
        (r#"b_bucket{le="+Inf", n="2"}"#, "4"),
        (r#"b{n="3"}"#, "#"),
        (r#"c{n="both"}"#, "#"),
    ];
    shows(&families, false, &once);
    let classic_too = [
        (r#"c_count{n="both"}"#, "4"),
        (r#"c_sum{n="both"}"#, "21.5"),
        (r#"c_bucket{le="4.0", n="both"}"#, "3"),
        (r#"c_bucket{le="+Inf", n="both"}"#, "4"),
    ];
    shows(&families, true, &[&once[..], &classic_too].concat());
}

fn native_with_buckets() -> Message {
    native().buckets(&[(4.0, 3)])
}

/// A cursor at the first sample of a page.
fn at_first(page: &[u8]) -> ProtobufReader<'_> {
    let mut reader = ProtobufReader::new(page, HistogramForms::default());
    while !matches!(reader.next().expect("a good page"), Some(ProtobufEntry::Sample(..))) {}
    reader
}

#[test]
fn a_native_histogram_has_absolute_counts_and_no_empty_buckets() {
    let message = native().spans(9, &[(-3, 3)]).signed_list(10, &[2, -2, 5]);
    let page = page(&[family("h", GAUGE_HISTOGRAM, &[histogram(&message)])]);
    let read = at_first(&page).histogram().expect("it is good");
    assert_eq!((read.schema, read.zero_threshold, read.sum, read.reset_hint), (0, 0.001, 21.5, ResetHint::Gauge));
    let HistogramCounts::Integer(counts) = read.counts else { panic!("integers: {read:?}") };
    assert_eq!((counts.count, counts.zero), (4, 1));
    let span = |offset, length| Span { offset, length };
    assert_eq!((counts.positive.spans, counts.positive.counts), (vec![span(1, 2), span(2, 1)], vec![1, 1, 1]));
    assert_eq!((counts.negative.spans, counts.negative.counts), (vec![span(-3, 1), span(1, 1)], vec![2, 5]));
}

#[test]
fn floats_are_meant_where_a_total_of_floats_is_above_zero() {
    // Unpacked numbers are read too, as protobuf wants it.
    let message = Message::new().float(4, 2.5).signed(5, 3).spans(12, &[(0, 2)]).float(14, 1.0).float_list(14, &[1.5]);
    let page = page(&[family("h", HISTOGRAM, &[histogram(&message)])]);
    let read = at_first(&page).histogram().expect("it is good");
    let HistogramCounts::Float(counts) = &read.counts else { panic!("floats: {read:?}") };
    assert_eq!((counts.count, &counts.positive.counts[..], read.schema), (2.5, &[1.0, 1.5][..], 3));
    assert_eq!(read.check(), Ok(()));
}

#[test]
fn timestamps_starts_and_exemplars() {
    let exemplar = |trace: &str| Message::new().label("trace_id", trace).float(2, 0.5);
    let counter =
        Message::new().float(1, 1.0).message(2, &exemplar("abc").time(3, 12, 345_678_901)).time(3, 1000, 5_999_999);
    let metric = Message::new().message(3, &counter).number(6, 1234);
    let bytes = page(&[family("c_total", COUNTER, &[metric])]);
    let (reader, mut labels) = (at_first(&bytes), LabelsBuilder::default());
    assert_eq!((reader.timestamp(), reader.start()), (Some(Timestamp(1234)), Some(Timestamp(1_000_005))));
    let read = reader.exemplar(&mut labels).expect("one");
    assert_eq!((read.labels.get("trace_id"), read.value, read.timestamp), (Some("abc"), 0.5, Some(Timestamp(12_345))));

    let of_native = native().message(16, &exemplar("no time")).message(16, &exemplar("b").time(3, 1, 0));
    let bytes = page(&[family("h", HISTOGRAM, &[histogram(&of_native)])]);
    let read = at_first(&bytes).exemplars(&mut labels);
    let traces: Vec<_> = read.iter().flatten().map(|exemplar| exemplar.labels.get("trace_id")).collect();
    assert_eq!(traces, [Some("b")], "those of native histograms need a timestamp");

    let long = Message::new().float(1, 1.0).message(2, &exemplar(&"x".repeat(200)));
    let bytes = page(&[family("c_total", COUNTER, &[Message::new().message(3, &long)])]);
    let reader = at_first(&bytes);
    assert_eq!((reader.has_exemplar(), reader.exemplar(&mut labels)), (true, None));
}

#[test]
fn equal_keys_are_equal_series_and_others_are_not() {
    let metrics = [gauge(1.0).label("a", "b"), gauge(2.0).label("a", "b"), gauge(1.0).label("ab", "")];
    let quantile = Message::new().message(3, &Message::new().float(1, 0.5)).message(3, &Message::new().float(1, 0.9));
    let families = [
        family("g", GAUGE, &metrics),
        family(
            "s",
            SUMMARY,
            &[Message::new().message(4, &quantile), Message::new().label("a", "b").message(4, &quantile)],
        ),
    ];
    let page = page(&families);
    let mut reader = ProtobufReader::new(&page, HistogramForms::default());
    let mut keys = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        if let ProtobufEntry::Sample(..) = entry {
            keys.push(reader.key().to_vec());
        }
    }
    assert_eq!((keys.len(), keys[0] == keys[1]), (11, true));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 10);
}

#[test]
fn what_a_family_says_of_itself_is_checked() {
    let named = |name: &[u8]| Message::new().bytes(1, name).message(4, &gauge(1.0)).number(3, GAUGE);
    let gauge_of = |name: &str| family(name, GAUGE, &[gauge(1.0)]);
    let counter = family("a_seconds_total", COUNTER, &[Message::new()]);
    shows(
        &[gauge_of("a_seconds").text(5, "seconds"), counter.clone().text(5, "seconds")],
        false,
        &[("a_seconds", "1"), ("a_seconds_total", "0")],
    );
    shows(&[named("m.n \u{1f631}".as_bytes())], false, &[("{\"m.n \u{1f631}\"}", "1")]);
    for (family, said) in [
        (named(b""), r#"MetricFamily.name: "", expected a metric name"#),
        (named(b"a\xff"), "expected a metric name in UTF-8"),
        (named(b"a").bytes(2, b"\xff"), "MetricFamily.help:"),
        (named(b"a").number(3, 6), "MetricFamily.type: type 6, expected 0 to 5"),
        (gauge_of("a").text(5, "seconds"), r#"unit "seconds" of "a""#),
        (gauge_of("seconds").text(5, "seconds"), "MetricFamily.unit"),
        (gauge_of("aseconds").text(5, "seconds"), "MetricFamily.unit"),
        (family("a_total", COUNTER, &[Message::new()]).text(5, "total"), "MetricFamily.unit"),
        (Message::new().number(1, 1), "MetricFamily.name: wire type 0, expected 2"),
    ] {
        refuses(&[family], said);
    }
    let empty = Message::new().bytes(1, b"\xff").number(3, 99);
    shows(&[empty], false, &[]);
}

#[test]
fn labels_are_checked() {
    for (metric, said) in [
        (gauge(1.0).label("a", "1").label("a", "2"), r#"LabelPair.name: label "a" twice"#),
        (gauge(1.0).label("__name__", "x"), "twice"),
        (gauge(1.0).label("", "1"), "expected a label name"),
        (gauge(1.0).message(1, &Message::new().text(2, "v")), "a value without a name"),
        (gauge(1.0).message(1, &Message::new().bytes(1, b"\xc3").text(2, "v")), "expected a label name in UTF-8"),
        (gauge(1.0).message(1, &Message::new().text(1, "n").bytes(2, b"\xc3")), "LabelPair.value:"),
        (gauge(1.0).message(1, &Message::new().float(1, 1.0)), "LabelPair.name: wire type 1, expected 2"),
    ] {
        refuses(&[family("g", GAUGE, &[metric])], said);
    }
    let bucket = histogram(&Message::new().buckets(&[(1.0, 1)])).label("le", "1");
    refuses(&[family("h", HISTOGRAM, &[bucket])], r#"label "le" twice"#);
}

#[test]
fn unknown_fields_are_passed_over_and_bad_parts_are_not() {
    let unknown = gauge(2.0).number(99, 1).float(98, 1.0).text(97, "x");
    shows(&[family("g", GAUGE, &[unknown]).text(77, "y")], false, &[("g", "2")]);
    let foreign = gauge(1.0).message(7, &Message::new().number(2, 1));
    refuses(&[family("g", GAUGE, &[foreign])], "Histogram.sample_sum: wire type 0, expected 1");
    let many = (0..20_000).fold(Message::new(), |summary, _| summary.message(3, &Message::new()));
    refuses(&[family("s", SUMMARY, &[Message::new().message(4, &many)])], "Summary.quantile: more than 16384");
}

#[test]
fn samples_before_a_fault_are_handed_out() {
    let bad = Message::new().bytes(2, b"\x09\x00");
    let (samples, error) = read(&page(&[family("g", GAUGE, &[gauge(1.0), bad])]), false);
    assert_eq!(samples, [("g".to_owned(), "1".to_owned())]);
    assert!(error.is_some_and(|error| error.contains("Gauge.value: length 8, expected at most the 1 bytes")));
    let mut cut = page(&[family("g", GAUGE, &[gauge(1.0)]), family("h", GAUGE, &[gauge(1.0)])]);
    cut.pop();
    assert_eq!(read(&cut, false).0.len(), 1);
    let mut reader = ProtobufReader::new(&[0xff; 6], HistogramForms::default());
    assert_eq!(reader.next().unwrap_err().fault, ProtobufFault::NumberTooLong(5));
}

fn fixture() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/expositions/prometheus-3.5.3.pb");
    std::fs::read(path).expect("the fixture stands in the repository")
}

#[test]
fn prometheus_own_page_is_read_whole() {
    let page = fixture();
    let mut reader = ProtobufReader::new(&page, HistogramForms { also_classic: true });
    let (mut samples, mut natives, mut starts, mut kinds) = (0, 0, 0, Vec::new());
    while let Some(entry) = reader.next().expect("a good page") {
        match entry {
            ProtobufEntry::Family(head) => kinds.push(head.kind),
            ProtobufEntry::Sample(Part::Native, _) => {
                assert_eq!(reader.histogram().expect("it is good").check(), Ok(()));
                natives += 1;
            }
            ProtobufEntry::Sample(..) => samples += 1,
        }
        starts += usize::from(reader.start().is_some());
    }
    assert!(natives > 3 && samples > 500 && starts > 300, "{natives} {samples} {starts}");
    for kind in [MetricType::Counter, MetricType::Gauge, MetricType::Histogram, MetricType::Summary] {
        assert!(kinds.contains(&kind), "{kind}");
    }
}

/// Everything that can be asked of a page, asked.
fn exhaust(page: &[u8]) -> usize {
    let mut reader = ProtobufReader::new(page, HistogramForms { also_classic: true });
    let (mut labels, mut samples) = (LabelsBuilder::default(), 0);
    while let Ok(Some(entry)) = reader.next() {
        if let ProtobufEntry::Sample(part, _) = entry {
            samples += 1;
            let _ = reader.labels(&mut labels);
            let _ = (reader.has_label("le"), reader.exemplar(&mut labels), reader.timestamp(), reader.start());
            if part == Part::Native {
                let _ = reader.exemplars(&mut labels);
                let _ = reader.histogram().map(|mut histogram| {
                    histogram.reduce_resolution(-4);
                    histogram.check()
                });
            }
        }
    }
    samples
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_damaged_page_does_harm(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..8),
        from in any::<prop::sample::Index>(),
    ) {
        let whole = fixture();
        // A piece of the page, so that damage hits different families.
        let mut page = whole[from.index(whole.len() / 2)..].to_vec();
        if from.index(3) > 0 {
            page = whole;
        }
        page.truncate(20_000);
        for (at, byte, kind) in edits {
            let at = at.index(page.len());
            match kind {
                0 => page[at] = byte,
                1 => page.insert(at, byte),
                _ => drop(page.drain(at..(at + usize::from(byte)).min(page.len() - 1))),
            }
        }
        let samples = exhaust(&page);
        prop_assert!(samples <= 2 * page.len());
    }
}

#[test]
fn a_hostile_page_costs_no_more_than_its_length() {
    let empty_bucket = Message::new().message(3, &Message::new());
    let buckets = Message((0..16_000).flat_map(|_| empty_bucket.0.clone()).collect());
    let lengths = Message::new().number(1, 5).spans(12, &[(0, u64::from(u32::MAX)), (0, u64::from(u32::MAX))]);
    let labels = (0..1000).fold(gauge(1.0), |metric, nth| metric.label(&format!("l{}", 1000 - nth), "v"));
    let page = page(&[
        family("h", HISTOGRAM, &[histogram(&buckets)]),
        family("l", HISTOGRAM, &[histogram(&lengths)]),
        family("g", GAUGE, &[labels]),
    ]);
    let began = Instant::now();
    assert_eq!(exhaust(&page), 16_000 + 3 + 1 + 1);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}
