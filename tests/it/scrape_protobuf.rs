//! Protobuf pages through a target's cache: known series, native histograms and their bounds, what is counted, and
//! classic histograms of any page made native ones.

use std::sync::Arc;
use std::time::Duration;

use fedgate::config::ScrapeConfig;
use fedgate::exposition::Format;
use fedgate::model::{
    Buckets, HISTOGRAM_NAN, HistogramCounts, HistogramSample, Labels, NativeHistogram, Span, Timestamp, is_stale,
};
use fedgate::scrape::{PageCache, PageError, Reading, Rules, SeriesBudget, Timing};
use fedgate::snapshot::{FORGET_NAN, Outcome, Report, Scrape};

use super::protobuf_page::*;

struct Probe {
    cache: PageCache,
    rules: Rules,
    now: i64,
}

impl Probe {
    fn new(job: &ScrapeConfig) -> Probe {
        let target = Arc::new(Labels::from_pairs([("job", "j")]));
        let budget = Arc::new(SeriesBudget::new(1_000_000));
        Probe { cache: PageCache::new(target.clone(), target, budget), rules: Rules::new(job).unwrap(), now: 0 }
    }

    fn read(&mut self, format: Format, page: &[u8]) -> (Reading, Result<(), PageError>) {
        self.now += 60_000;
        self.cache.read(page, format, Timestamp(self.now), &self.rules)
    }

    fn protobuf(&mut self, families: &[Message]) -> Reading {
        let (reading, result) = self.read(Format::Protobuf, &page(families));
        assert_eq!(result, Ok(()));
        reading
    }

    fn refused(&mut self, families: &[Message]) -> PageError {
        self.read(Format::Protobuf, &page(families)).1.expect_err("it is a bad page")
    }

    fn text(&mut self, page: &str) -> Reading {
        let (reading, result) = self.read(Format::Text, page.as_bytes());
        assert_eq!(result, Ok(()), "{page}");
        reading
    }

    fn scrape(&mut self) -> Scrape {
        let timing = Timing { started: Timestamp(self.now), duration: Duration::ZERO };
        self.cache.scrape(timing, Outcome::Up, Report::default())
    }

    /// Series that have a sample, without the target's label; `#` for a native histogram.
    fn shows(&mut self, expected: &[(&str, &str)]) {
        let shown: Vec<_> = live(&self.scrape()).into_iter().map(|(_, series, value)| (series, value)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(series, value)| ((*series).to_owned(), (*value).to_owned())).collect();
        assert_eq!(shown, expected);
    }

    fn histogram(&mut self, series: &str) -> Arc<HistogramSample> {
        let scrape = self.scrape();
        let (slot, ..) = live(&scrape).into_iter().find(|(_, own, _)| own == series).expect("it has a sample");
        scrape.beside.histogram_of(slot).expect("it is a native histogram").clone()
    }
}

fn live(scrape: &Scrape) -> Vec<(u32, String, String)> {
    let chunks = scrape.schema.chunks().iter();
    let labels = chunks.flat_map(|chunk| (0..chunk.len()).map(|slot| chunk.labels(slot, &Labels::empty())));
    let mut live: Vec<_> = labels
        .zip(&scrape.values)
        .enumerate()
        .filter_map(|(slot, (labels, value))| Some((slot as u32, labels?, *value)))
        .filter(|(_, _, value)| !is_stale(*value) && value.to_bits() != FORGET_NAN)
        .map(|(slot, labels, value)| {
            let is_native = value.to_bits() == HISTOGRAM_NAN;
            assert_eq!(is_native, scrape.beside.histogram_of(slot).is_some());
            let value = if is_native { "#".to_owned() } else { value.to_string() };
            (slot, labels.to_string().trim_end_matches("{}").to_owned(), value)
        })
        .collect();
    live.sort_by(|one, other| one.1.cmp(&other.1));
    live
}

fn native_job() -> ScrapeConfig {
    ScrapeConfig { scrape_native_histograms: Some(true), ..ScrapeConfig::default() }
}

fn counts(reading: Reading) -> (u64, u64, u64) {
    (reading.scraped, reading.post_relabel, reading.added)
}

fn summary(value: f64) -> Message {
    let quantile = Message::new().float(1, 0.5).float(2, value);
    Message::new().message(4, &Message::new().number(1, 2).float(2, 3.0).message(3, &quantile))
}

#[test]
fn known_series_keep_their_slots_and_vanished_ones_end() {
    let mut probe = Probe::new(&ScrapeConfig::default());
    let page = |value, has_b| {
        let mut metrics = vec![gauge(value).label("x", "a"), gauge(value).label("x", "c")];
        if has_b {
            metrics.insert(1, gauge(7.0).label("x", "b"));
        }
        [family("g", GAUGE, &metrics), family("s", SUMMARY, &[summary(value)])]
    };
    assert_eq!(counts(probe.protobuf(&page(1.0, true))), (6, 6, 6));
    assert_eq!(counts(probe.protobuf(&page(2.0, false))), (5, 5, 0));
    let rest = [("s_count", "2"), ("s_sum", "3"), (r#"s{quantile="0.5"}"#, "2")];
    probe.shows(&[&[(r#"g{x="a"}"#, "2"), (r#"g{x="c"}"#, "2")], &rest[..]].concat());
    assert_eq!(counts(probe.protobuf(&page(2.0, true))), (6, 6, 1));
    assert!(matches!(probe.refused(&[family("g", 9, &[gauge(1.0)])]), PageError::Protobuf(_)));
    probe.shows(&[]);
}

#[test]
fn a_family_says_what_its_series_are() {
    let mut probe = Probe::new(&native_job());
    probe.protobuf(&[family("h_seconds", HISTOGRAM, &[histogram(&native())]).text(5, "seconds")]);
    let scrape = probe.scrape();
    let chunk = &scrape.schema.chunks()[0];
    let family = chunk.family_of(chunk.name_of(0).expect("a series"));
    assert_eq!((family.name, family.help, family.unit), ("h_seconds", "help", "seconds"));
}

#[test]
fn a_page_in_another_format_is_read_by_its_own_grammar() {
    let mut probe = Probe::new(&ScrapeConfig::default());
    // The missing comma is fine in text and a fault in OpenMetrics, also if the line is known.
    probe.text("a{x=\"1\" y=\"2\"} 1\n");
    assert_eq!(probe.text("a{x=\"1\" y=\"2\"} 2\n").added, 0);
    assert!(probe.read(Format::OpenMetrics, b"a{x=\"1\" y=\"2\"} 2\n# EOF\n").1.is_err());
    assert_eq!(probe.text("a{x=\"1\" y=\"2\"} 3\n").added, 0);
    probe.protobuf(&[family("a", GAUGE, &[gauge(4.0).label("y", "2").label("x", "1")])]);
    probe.shows(&[(r#"a{x="1", y="2"}"#, "4")]);
    assert_eq!(probe.scrape().schema.slots(), 1, "the series is the one that it was");
}

#[test]
fn native_histograms_come_only_where_they_are_asked_for() {
    let families = [family("h", HISTOGRAM, &[histogram(&native().buckets(&[(4.0, 3)]))])];
    let mut without = Probe::new(&ScrapeConfig::default());
    for _ in 0..2 {
        let reading = without.protobuf(&families);
        assert_eq!((counts(reading), reading.histograms_left_out), ((1, 0, 0), 1));
    }
    without.shows(&[]);
    let mut with = Probe::new(&native_job());
    assert_eq!(counts(with.protobuf(&families)), (1, 1, 1));
    with.shows(&[("h", "#")]);
    let mut both = Probe::new(&ScrapeConfig { always_scrape_classic_histograms: Some(true), ..native_job() });
    assert_eq!(counts(both.protobuf(&families)), (5, 5, 5));
    both.shows(&[
        ("h", "#"),
        (r#"h_bucket{le="+Inf"}"#, "4"),
        (r#"h_bucket{le="4.0"}"#, "3"),
        ("h_count", "4"),
        ("h_sum", "21.5"),
    ]);
}

#[test]
fn an_unchanged_histogram_is_not_kept_twice_and_an_end_takes_it_along() {
    let mut probe = Probe::new(&native_job());
    let families = [family("h", HISTOGRAM, &[histogram(&native())]), family("g", GAUGE, &[gauge(1.0)])];
    probe.protobuf(&families);
    let first = probe.histogram("h");
    probe.protobuf(&families);
    assert!(Arc::ptr_eq(&first, &probe.histogram("h")));
    probe.protobuf(&families[1..]);
    assert_eq!(probe.scrape().beside.histograms, []);
    probe.shows(&[("g", "1")]);
}

#[test]
fn a_histogram_with_its_own_timestamp_stays_with_it() {
    let mut probe = Probe::new(&native_job());
    let timed = |time| [family("h", HISTOGRAM, &[histogram(&native()).number(6, time)])];
    probe.protobuf(&timed(50_000));
    probe.protobuf(&[family("g", GAUGE, &[gauge(1.0)])]);
    probe.shows(&[("g", "1"), ("h", "#")]);
    let other = native().float(2, 1.0);
    let reading = probe.protobuf(&[family("h", HISTOGRAM, &[histogram(&other).number(6, 50_000)])]);
    assert_eq!(reading.duplicates, 1, "another histogram at the same time");
    let reading = probe.protobuf(&[family("h", HISTOGRAM, &[histogram(&native()).number(6, 40_000)])]);
    assert_eq!(reading.out_of_order, 1);
}

#[test]
fn two_samples_of_one_series_are_one_and_a_duplicate() {
    let mut probe = Probe::new(&native_job());
    let same = histogram(&native()).label("a", "1").label("b", "2");
    let turned = histogram(&native().float(2, 3.0)).label("b", "2").label("a", "1");
    let reading = probe.protobuf(&[family("h", HISTOGRAM, &[same, turned])]);
    assert_eq!((counts(reading), reading.duplicates), ((2, 2, 1), 1));
    assert_eq!(probe.histogram(r#"h{a="1", b="2"}"#).histogram.sum, 21.5);
}

fn positive(histogram: &NativeHistogram) -> Buckets<u64> {
    let HistogramCounts::Integer(counts) = &histogram.counts else { panic!("integers: {histogram:?}") };
    counts.positive.clone()
}

fn buckets(spans: &[(i32, u32)], counts: &[u64]) -> Buckets<u64> {
    let spans = spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
    Buckets { spans, counts: counts.to_vec() }
}

/// Schema 2, eight buckets of one observation each from index 1 on.
fn fine() -> Message {
    Message::new()
        .number(1, 8)
        .float(2, 1.0)
        .signed(5, 2)
        .spans(12, &[(1, 8)])
        .signed_list(13, &[1, 0, 0, 0, 0, 0, 0, 0])
}

#[test]
fn too_many_buckets_cost_resolution_and_at_last_the_scrape() {
    let families = [family("h", HISTOGRAM, &[histogram(&fine())]), family("g", GAUGE, &[gauge(1.0)])];
    let limited = |limit| Probe::new(&ScrapeConfig { native_histogram_bucket_limit: limit, ..native_job() });
    for (limit, schema, expected) in
        [(8, 2, buckets(&[(1, 8)], &[1; 8])), (7, 1, buckets(&[(1, 4)], &[2; 4])), (1, -1, buckets(&[(1, 1)], &[8]))]
    {
        let mut probe = limited(limit);
        probe.protobuf(&families);
        let read = probe.histogram("h").histogram.clone();
        assert_eq!((read.schema, positive(&read)), (schema, expected), "limit {limit}");
    }
    let apart = Message::new().number(1, 2).spans(12, &[(-1000, 1), (2000, 1)]).signed_list(13, &[1, 0]);
    let mut probe = limited(1);
    let page = page(&[family("h", HISTOGRAM, &[histogram(&apart)]), family("g", GAUGE, &[gauge(1.0)])]);
    let (reading, result) = probe.read(Format::Protobuf, &page);
    assert_eq!((counts(reading), result), ((2, 2, 0), Err(PageError::BucketLimit { limit: 1 })));
}

#[test]
fn the_bucket_factor_bounds_the_schema() {
    for (factor, schema) in [(0.0, 2), (1.1, 2), (1.2, 1), (1.5, 0), (2.0, 0), (4.0, -1)] {
        let job = ScrapeConfig { native_histogram_min_bucket_factor: factor, ..native_job() };
        let mut probe = Probe::new(&job);
        probe.protobuf(&[family("h", HISTOGRAM, &[histogram(&fine())])]);
        assert_eq!(probe.histogram("h").histogram.schema, schema, "factor {factor}");
    }
    let mut probe = Probe::new(&native_job());
    probe.protobuf(&[family("h", HISTOGRAM, &[histogram(&fine().signed(5, 10))])]);
    let read = probe.histogram("h").histogram.clone();
    assert_eq!((read.schema, positive(&read)), (8, buckets(&[(1, 2)], &[4, 4])), "finer than any that is kept");
}

#[test]
fn a_histogram_that_contradicts_itself_refuses_the_page() {
    for message in [
        native().number(1, 99),
        native().spans(12, &[(0, 1)]),
        native().signed_list(13, &[-9]).spans(12, &[(0, 1)]),
        native().signed(5, -53),
        native().signed(5, 60),
        native().signed(5, -5),
    ] {
        let mut probe = Probe::new(&native_job());
        let error = probe.refused(&[family("h", HISTOGRAM, &[histogram(&message)])]);
        assert!(matches!(error, PageError::Histogram { .. }), "{error:?}");
    }
}

#[test]
fn limits_count_floats() {
    let mut probe = Probe::new(&ScrapeConfig { sample_limit: 1, ..native_job() });
    let natives: Vec<_> = ["1", "2", "3"].iter().map(|n| histogram(&native()).label("n", n)).collect();
    probe.protobuf(&[family("h", HISTOGRAM, &natives), family("g", GAUGE, &[gauge(1.0)])]);
    let error = probe.refused(&[family("g", GAUGE, &[gauge(1.0), gauge(2.0).label("a", "b")])]);
    assert_eq!(error, PageError::SampleLimit { samples: 2, limit: 1 });
}

#[test]
fn starts_and_exemplars_stand_beside_their_slots() {
    let mut probe = Probe::new(&native_job());
    let exemplar = |time: i64| Message::new().label("t", "x").float(2, 0.5).time(3, time, 0);
    let counter = |created: i64| {
        Message::new().message(3, &Message::new().float(1, 1.0).message(2, &exemplar(3)).time(3, created, 0))
    };
    let of_native = native().time(15, 9, 0).message(16, &exemplar(1)).message(16, &exemplar(2));
    probe.protobuf(&[
        family("c_total", COUNTER, &[counter(7).label("n", "1"), counter(0).label("n", "2")]),
        family("h", HISTOGRAM, &[histogram(&of_native)]),
    ]);
    let beside = probe.scrape().beside;
    assert_eq!(beside.starts, [(0, Timestamp(7000)), (2, Timestamp(9000))]);
    assert_eq!(beside.exemplars.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(probe.histogram("h").exemplars.len(), 2);
    assert!(probe.read(Format::Protobuf, b"\xff").1.is_err());
    let beside = probe.scrape().beside;
    assert!(beside.is_empty(), "{beside:?}");
}

const CLASSIC: &str = "# TYPE h histogram
h_bucket{x=\"a\",le=\"1\"} 1
h_bucket{x=\"a\",le=\"2\"} 1
h_bucket{x=\"a\",le=\"4\"} 3
h_bucket{x=\"a\",le=\"+Inf\"} 4
h_sum{x=\"a\"} 12
h_count{x=\"a\"} 4
h_count{x=\"b\"} 2
h_sum{x=\"b\"} 1
h_bucket{x=\"b\",le=\"0.5\"} 1.5
# TYPE other gauge
other_count 1
";

fn converting() -> ScrapeConfig {
    ScrapeConfig { convert_classic_histograms_to_nhcb: Some(true), ..ScrapeConfig::default() }
}

#[test]
fn classic_histograms_of_text_become_native_ones() {
    let mut probe = Probe::new(&converting());
    for added in [3, 0] {
        assert_eq!(counts(probe.text(CLASSIC)), (3, 3, added));
        probe.shows(&[(r#"h{x="a"}"#, "#"), (r#"h{x="b"}"#, "#"), ("other_count", "1")]);
    }
    let a = probe.histogram(r#"h{x="a"}"#).histogram.clone();
    assert_eq!((a.sum, &a.custom_bounds[..]), (12.0, &[1.0, 2.0, 4.0][..]));
    assert_eq!(positive(&a), buckets(&[(0, 4)], &[1, 0, 2, 1]), "a short gap is filled");
    let b = probe.histogram(r#"h{x="b"}"#).histogram.clone();
    let HistogramCounts::Float(counts) = &b.counts else { panic!("floats: {b:?}") };
    assert_eq!((counts.count, &counts.positive.counts[..]), (2.0, &[1.5, 0.5][..]));
    let mut both = Probe::new(&ScrapeConfig { always_scrape_classic_histograms: Some(true), ..converting() });
    assert_eq!(both.text(CLASSIC).scraped, 12);
}

#[test]
fn classic_histograms_of_protobuf_become_native_ones_but_not_twice() {
    let mut probe = Probe::new(&ScrapeConfig { always_scrape_classic_histograms: Some(true), ..converting() });
    probe.rules.histograms.native = true;
    let classic = Message::new().number(1, 3).float(2, 1.0).buckets(&[(1.0, 1), (2.0, 3)]);
    let both = native().buckets(&[(4.0, 3)]);
    probe.protobuf(&[family("c", HISTOGRAM, &[histogram(&classic)]), family("n", HISTOGRAM, &[histogram(&both)])]);
    assert_eq!(probe.histogram("c").histogram.custom_bounds, [1.0, 2.0]);
    assert!(probe.histogram("n").histogram.custom_bounds.is_empty(), "it is there already");
}

#[test]
fn classic_histograms_that_contradict_themselves_are_dropped_and_counted() {
    for lines in [
        "h_bucket{le=\"1\"} 5\nh_bucket{le=\"2\"} 3\nh_count 5\n",
        "h_bucket{le=\"1\"} -1\nh_count 5\n",
        "h_bucket{le=\"+Inf\"} 3\nh_count 5\n",
        "h_bucket{le=\"1\"} 7\nh_count 5\n",
        "h_count NaN\n",
    ] {
        let mut probe = Probe::new(&converting());
        let reading = probe.text(&format!("# TYPE h histogram\n{lines}"));
        assert_eq!((reading.scraped, reading.histograms_unconverted), (0, 1), "{lines}");
    }
}
