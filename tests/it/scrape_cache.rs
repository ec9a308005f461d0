//! From the bytes of successive pages to a target's columns, as Prometheus 3.5 would have stored them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fedgate::config::{RelabelAction, RelabelConfig, ScrapeConfig};
use fedgate::exposition::Format;
use fedgate::model::{Labels, MetricType, Timestamp, is_stale};
use fedgate::scrape::{PageCache, PageError, Reading, Rules, SeriesBudget, Timing};
use fedgate::snapshot::{FORGET_NAN, Outcome, Report, Scrape};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;

/// One target that is shown pages, a minute apart.
struct Probe {
    cache: PageCache,
    rules: Rules,
    now: i64,
}

impl Probe {
    fn new(job: &ScrapeConfig) -> Probe {
        Probe::with_budget(job, Arc::new(SeriesBudget::new(1_000_000)))
    }

    fn with_budget(job: &ScrapeConfig, budget: Arc<SeriesBudget>) -> Probe {
        let target = Arc::new(Labels::from_pairs([("job", "j"), ("instance", "h:1")]));
        Probe { cache: PageCache::new(target.clone(), target, budget), rules: Rules::new(job).unwrap(), now: 0 }
    }

    fn read(&mut self, page: &str) -> (Reading, Result<(), PageError>) {
        self.read_as(page, Format::Text)
    }

    fn read_as(&mut self, page: &str, format: Format) -> (Reading, Result<(), PageError>) {
        self.now += MINUTE;
        self.cache.read(page.as_bytes(), format, Timestamp(self.now), &self.rules)
    }

    /// Reads a page that must be good.
    fn up(&mut self, page: &str) -> Reading {
        let (reading, result) = self.read(page);
        assert_eq!(result, Ok(()), "{page}");
        reading
    }

    fn scrape(&mut self) -> Scrape {
        let timing = Timing { started: Timestamp(self.now), duration: Duration::ZERO };
        self.cache.scrape(timing, Outcome::Up, Report::default())
    }

    /// What readers would see: series with a sample, as text, with the value.
    fn live(&mut self) -> BTreeMap<String, f64> {
        live(&self.scrape())
    }

    fn shows(&mut self, expected: &[(&str, f64)]) {
        let expected = expected.iter().map(|(series, value)| ((*series).to_owned(), *value)).collect();
        assert_eq!(self.live(), expected);
    }
}

/// Slot, labels and value of every series in the schema.
fn each_slot(scrape: &Scrape) -> impl Iterator<Item = (usize, Labels, f64)> {
    let chunks = scrape.schema.chunks().iter();
    let labels = chunks.flat_map(|chunk| (0..chunk.len()).map(|slot| chunk.labels(slot, &scrape.target)));
    labels.zip(&scrape.values).enumerate().filter_map(|(slot, (labels, value))| Some((slot, labels?, *value)))
}

fn is_present(value: f64) -> bool {
    !is_stale(value) && value.to_bits() != FORGET_NAN
}

fn live(scrape: &Scrape) -> BTreeMap<String, f64> {
    let present = each_slot(scrape).filter(|(_, _, value)| is_present(*value));
    present.map(|(_, labels, value)| (labels.to_string(), value)).collect()
}

fn job() -> ScrapeConfig {
    ScrapeConfig::default()
}

fn drop_name(pattern: &str) -> RelabelConfig {
    RelabelConfig {
        source_labels: vec!["__name__".to_owned()],
        regex: pattern.to_owned(),
        action: RelabelAction::Drop,
        ..RelabelConfig::default()
    }
}

fn counts(reading: Reading) -> (u64, u64, u64) {
    (reading.scraped, reading.post_relabel, reading.added)
}

#[test]
fn series_get_their_targets_labels() {
    let mut probe = Probe::new(&job());
    assert_eq!(counts(probe.up("a 1\nb{x=\"1\"} 2\n")), (2, 2, 2));
    probe.shows(&[(r#"a{instance="h:1", job="j"}"#, 1.0), (r#"b{instance="h:1", job="j", x="1"}"#, 2.0)]);
    assert_eq!(counts(probe.up("a 1\nb{x=\"1\"} 3\n")), (2, 2, 0));
    probe.shows(&[(r#"a{instance="h:1", job="j"}"#, 1.0), (r#"b{instance="h:1", job="j", x="1"}"#, 3.0)]);
}

#[test]
fn target_labels_win_and_rename_the_pages() {
    let mut probe = Probe::new(&job());
    probe.up("a{job=\"own\"} 1\nb{job=\"own\",exported_job=\"x\"} 2\nc{job=\"\"} 3\n");
    probe.shows(&[
        (r#"a{exported_job="own", instance="h:1", job="j"}"#, 1.0),
        (r#"b{exported_exported_job="own", exported_job="x", instance="h:1", job="j"}"#, 2.0),
        (r#"c{instance="h:1", job="j"}"#, 3.0),
    ]);
}

#[test]
fn honor_labels_keeps_the_pages_even_empty_ones() {
    let mut probe = Probe::new(&ScrapeConfig { honor_labels: true, ..job() });
    probe.up("a{job=\"own\"} 1\nb{instance=\"\"} 2\nc{job=\"\",instance=\"\"} 3\n");
    probe.shows(&[(r#"a{instance="h:1", job="own"}"#, 1.0), (r#"b{job="j"}"#, 2.0), (r#"c{}"#, 3.0)]);
}

#[test]
fn a_vanished_series_ends_at_once_and_a_failed_page_ends_all() {
    let mut probe = Probe::new(&job());
    probe.up("a 1\nb 2\n");
    assert_eq!(counts(probe.up("a 1\n")), (1, 1, 0));
    probe.shows(&[(r#"a{instance="h:1", job="j"}"#, 1.0)]);
    assert_eq!(counts(probe.up("a 1\nb 2\n")), (2, 2, 1), "b is new again");
    probe.cache.fail(Timestamp(probe.now), &probe.rules);
    probe.shows(&[]);
    assert_eq!(counts(probe.up("a 1\nb 2\n")), (2, 2, 0), "a failure forgets no key");
    assert_eq!(probe.live().len(), 2);
}

#[test]
fn a_fault_anywhere_refuses_the_page_and_its_counts_stop_there() {
    let mut probe = Probe::new(&job());
    probe.up("a 1\nb 2\n");
    let (reading, result) = probe.read("a 5\nnew 1\nb\n");
    assert!(matches!(&result, Err(PageError::Parse(error)) if error.line == 3), "{result:?}");
    assert_eq!(counts(reading), (2, 2, 1));
    probe.shows(&[]);
    let schema = probe.scrape().schema.hash();
    assert_eq!(counts(probe.up("a 1\nb 2\n")), (2, 2, 0));
    assert_ne!(probe.live().len(), 0);
    assert_eq!(
        schema,
        {
            let mut fresh = Probe::new(&job());
            fresh.up("a 1\nb 2\n");
            fresh.scrape().schema.hash()
        },
        "a failed page adds no series"
    );
}

#[test]
fn an_empty_page_is_good_and_ends_all_series() {
    let mut probe = Probe::new(&job());
    probe.up("a 1\n");
    assert_eq!(counts(probe.up("")), (0, 0, 0));
    probe.shows(&[]);
    assert_eq!(counts(probe.up("a 1\n")), (1, 1, 0), "an empty page forgets no key");
}

#[test]
fn of_duplicates_the_first_stays_and_the_page_is_good() {
    let mut probe = Probe::new(&job());
    for added in [2, 0] {
        let reading = probe.up("a 1\nb 7\na 2\na 1\n");
        assert_eq!((reading.duplicates, counts(reading)), (2, (4, 4, added)));
        probe.shows(&[(r#"a{instance="h:1", job="j"}"#, 1.0), (r#"b{instance="h:1", job="j"}"#, 7.0)]);
    }
}

#[test]
fn two_spellings_of_a_series_are_a_duplicate_only_with_two_values() {
    let mut probe = Probe::new(&job());
    for (page, duplicates) in
        [("a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1\n", 0), ("a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 5\n", 1)]
    {
        let reading = probe.up(page);
        assert_eq!((reading.duplicates, reading.post_relabel), (duplicates, 2));
        probe.shows(&[(r#"a{instance="h:1", job="j", x="1", y="2"}"#, 1.0)]);
    }
}

#[test]
fn a_second_spelling_of_a_series_counts_as_added_once() {
    let mut probe = Probe::new(&job());
    for added in [2, 0, 0] {
        let reading = probe.up("a 1\na{} 2\n");
        assert_eq!((reading.duplicates, counts(reading)), (1, (2, 2, added)));
        probe.shows(&[(r#"a{instance="h:1", job="j"}"#, 1.0)]);
    }
}

#[test]
fn a_sample_older_than_another_of_its_page_counts_as_added_once() {
    let mut probe = Probe::new(&job());
    probe.now = 9 * MINUTE;
    let first = probe.up("a 1\na{} 3 599999\n");
    assert_eq!((first.out_of_order, counts(first)), (1, (2, 2, 2)));
    let second = probe.up("a 1\na{} 3 599999\n");
    assert_eq!((second.out_of_order, counts(second)), (1, (2, 2, 0)));
}

#[test]
fn a_label_given_twice_is_none_if_one_of_its_values_is_empty() {
    let mut probe = Probe::new(&job());
    probe.up("a{x=\"1\",x=\"\"} 1\nb{x=\"\",x=\"1\",y=\"2\"} 2\nc{x=\"1\",x=\"2\",\"x\"=\"\"} 3\n");
    probe.shows(&[
        (r#"a{instance="h:1", job="j"}"#, 1.0),
        (r#"b{instance="h:1", job="j", y="2"}"#, 2.0),
        (r#"c{instance="h:1", job="j"}"#, 3.0),
    ]);
    assert!(probe.read("a{x=\"1\",\"x\"=\"2\"} 1\n").1.is_err());
}

#[test]
fn sample_limit_reads_on_for_the_totals_and_fails() {
    let config = ScrapeConfig { sample_limit: 2, metric_relabel_configs: vec![drop_name("noise.*")], ..job() };
    let mut probe = Probe::new(&config);
    assert_eq!(counts(probe.up("noise1 1\na 1\nnoise2 1\nb 2\n")), (4, 2, 2));
    for _ in 0..2 {
        let (reading, result) = probe.read("a 1\nb 2\nc 3\nd 4\nnoise1 1\n");
        assert_eq!(result, Err(PageError::SampleLimit { samples: 4, limit: 2 }));
        assert_eq!(counts(reading), (5, 4, 0));
        probe.shows(&[]);
    }
    assert_eq!(counts(probe.up("a 1\nc 2\n")), (2, 2, 1));
}

#[test]
fn label_limits_speak_of_the_final_labels() {
    let page = "a{x=\"12345\"} 1\n";
    type Fault = fn(&PageError) -> bool;
    let cases: [(ScrapeConfig, Option<Fault>); 6] = [
        (ScrapeConfig { label_limit: 4, ..job() }, None),
        (
            ScrapeConfig { label_limit: 3, ..job() },
            Some(|error| matches!(error, PageError::LabelLimit { labels: 4, limit: 3, .. })),
        ),
        (ScrapeConfig { label_name_length_limit: 8, ..job() }, None),
        (
            ScrapeConfig { label_name_length_limit: 7, ..job() },
            Some(|error| matches!(error, PageError::LabelNameLength { limit: 7, .. })),
        ),
        (ScrapeConfig { label_value_length_limit: 5, ..job() }, None),
        (
            ScrapeConfig { label_value_length_limit: 4, ..job() },
            Some(|error| matches!(error, PageError::LabelValueLength { limit: 4, .. })),
        ),
    ];
    for (config, fault) in cases {
        let (_, result) = Probe::new(&config).read(page);
        assert_eq!(
            result.as_ref().err().map(|error| fault.is_some_and(|fault| fault(error))),
            fault.map(|_| true),
            "{result:?}"
        );
    }
}

#[test]
fn relabelling_drops_renames_and_may_not_take_the_name() {
    let rename = RelabelConfig {
        source_labels: vec!["__name__".to_owned()],
        regex: "old_(.*)".to_owned(),
        target_label: "__name__".to_owned(),
        replacement: "new_$1".to_owned(),
        ..RelabelConfig::default()
    };
    let config = ScrapeConfig { metric_relabel_configs: vec![drop_name("noise"), rename], ..job() };
    let mut probe = Probe::new(&config);
    for added in [2, 0] {
        assert_eq!(counts(probe.up("# TYPE old_a gauge\nold_a 1\nnoise 2\nkept 3\n")), (3, 2, added));
        probe.shows(&[(r#"new_a{instance="h:1", job="j"}"#, 1.0), (r#"kept{instance="h:1", job="j"}"#, 3.0)]);
    }
    assert_eq!(kind_of(&probe.scrape(), "new_a"), ("new_a".to_owned(), MetricType::Unknown));
    let nameless =
        RelabelConfig { regex: "__name__".to_owned(), action: RelabelAction::LabelDrop, ..RelabelConfig::default() };
    let (_, result) = Probe::new(&ScrapeConfig { metric_relabel_configs: vec![nameless], ..job() }).read("a 1\n");
    assert!(matches!(result, Err(PageError::NameMissing { .. })), "{result:?}");
}

/// Family and type of a metric.
fn kind_of(scrape: &Scrape, metric: &str) -> (String, MetricType) {
    let named = scrape
        .schema
        .chunks()
        .iter()
        .flat_map(|chunk| (0..chunk.len()).filter_map(move |slot| Some((chunk, chunk.name_of(slot)?))));
    let (chunk, name) =
        named.into_iter().find(|(chunk, name)| chunk.name(*name) == metric).expect("the metric is there");
    let family = chunk.family_of(name);
    (family.name.to_owned(), family.kind)
}

#[test]
fn types_and_families_are_the_same_from_both_formats() {
    let text = "# TYPE c_total counter\nc_total 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\nx 1\n";
    let openmetrics = "# TYPE c counter\nc_total 1\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_sum 1\nh_count 1\n# TYPE x unknown\nx 1\n# EOF\n";
    let mut hashes = Vec::new();
    for (page, format) in [(text, Format::Text), (openmetrics, Format::OpenMetrics)] {
        let mut probe = Probe::new(&job());
        assert_eq!(probe.read_as(page, format).1, Ok(()));
        let scrape = probe.scrape();
        for (metric, family, kind) in [
            ("c_total", "c", MetricType::Counter),
            ("h_bucket", "h", MetricType::Histogram),
            ("h_count", "h", MetricType::Histogram),
            ("x", "x", MetricType::Unknown),
        ] {
            assert_eq!(kind_of(&scrape, metric), (family.to_owned(), kind));
        }
        assert!(probe.live().contains_key(r#"h_bucket{instance="h:1", job="j", le="1.0"}"#));
        hashes.push(scrape.schema.hash());
    }
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn a_changed_type_reaches_the_schema() {
    let mut probe = Probe::new(&job());
    probe.up("# TYPE a gauge\na 1\n");
    let before = probe.scrape().schema.hash();
    probe.up("# TYPE a gauge\na 1\n");
    assert_eq!(probe.scrape().schema.hash(), before);
    probe.up("# TYPE a summary\na 1\n");
    assert_eq!(kind_of(&probe.scrape(), "a").1, MetricType::Summary);
}

#[test]
fn own_timestamps_are_kept_unless_not_honored() {
    let mut probe = Probe::new(&job());
    probe.up("a 1 1000\nb 2\n");
    assert_eq!(probe.scrape().beside.timestamps, [(0, Timestamp(1000))]);
    let mut probe = Probe::new(&ScrapeConfig { honor_timestamps: false, ..job() });
    probe.up("a 1 1000\nb 2\n");
    assert_eq!(probe.scrape().beside.timestamps, []);
}

#[test]
fn a_series_with_its_own_timestamp_outlives_its_line_for_the_lookback_only() {
    let mut probe = Probe::new(&job());
    probe.now = 9 * MINUTE;
    probe.up(&format!("a 1 {}\nb 2\n", 10 * MINUTE));
    for _ in 0..5 {
        probe.up("b 2\n");
        assert_eq!(probe.live().len(), 2, "at {} min", probe.now / MINUTE);
        assert_eq!(probe.scrape().beside.timestamps, [(0, Timestamp(10 * MINUTE))]);
    }
    for _ in 0..3 {
        probe.up("b 2\n");
        assert_eq!(probe.scrape().values[0].to_bits(), FORGET_NAN, "without a marker");
        assert_eq!(probe.scrape().beside.timestamps, []);
    }
}

#[test]
fn a_failed_page_leaves_series_with_own_timestamps() {
    let mut probe = Probe::new(&job());
    probe.up(&format!("a 1 {MINUTE}\nb 2\n"));
    probe.cache.fail(Timestamp(2 * MINUTE), &probe.rules);
    probe.shows(&[(r#"a{instance="h:1", job="j"}"#, 1.0)]);
}

#[test]
fn failed_pages_with_ever_new_series_leave_series_with_own_timestamps_in_their_place() {
    let mut probe = Probe::new(&job());
    let gone: String = (0..1100).map(|series| format!("gone{series} 1\n")).collect();
    let stays = [(r#"stays{instance="h:1", job="j"}"#, 7.0)];
    probe.up(&format!("{gone}stays 7 60000\n"));
    probe.up("stays 7 60000\n");
    probe.shows(&stays);
    let fresh: String = (0..1500).map(|series| format!("fresh{series} 1\n")).collect();
    assert!(probe.read(&format!("{fresh}!\n")).1.is_err());
    probe.shows(&stays);
}

#[test]
fn tracked_timestamps_end_with_a_marker() {
    let mut probe = Probe::new(&ScrapeConfig { track_timestamps_staleness: true, ..job() });
    probe.up(&format!("a 1 {MINUTE}\nb 2\n"));
    probe.up("b 2\n");
    assert!(is_stale(probe.scrape().values[0]));
}

#[test]
fn samples_out_of_order_or_too_far_ahead_are_dropped_and_the_page_is_good() {
    let mut probe = Probe::new(&job());
    probe.up("a 1 1000\n");
    let reading = probe.up("a 2 999\n");
    assert_eq!((reading.out_of_order, reading.post_relabel), (1, 1));
    probe.shows(&[(r#"a{instance="h:1", job="j"}"#, 1.0)]);
    assert_eq!(probe.up("a 2 1000\n").duplicates, 1);
    assert_eq!(probe.up("a 1 1000\n").duplicates, 0);
    let limit = probe.now + MINUTE + 600_000;
    let reading = probe.up(&format!("a 3 {limit}\nb 1 {}\n", limit + 1));
    assert_eq!((reading.out_of_bounds, counts(reading)), (1, (2, 2, 0)));
    probe.shows(&[(r#"a{instance="h:1", job="j"}"#, 3.0)]);
    assert_eq!(probe.up("a 4\n").out_of_order, 1, "the newest sample is still ahead");
}

#[test]
fn the_newest_of_several_timestamps_on_a_page_stays() {
    let mut probe = Probe::new(&job());
    let reading = probe.up("a 1 1000\na 2 3000\na 3 2000\n");
    assert_eq!((reading.out_of_order, reading.post_relabel), (1, 3));
    assert_eq!(probe.scrape().beside.timestamps, [(0, Timestamp(3000))]);
    probe.shows(&[(r#"a{instance="h:1", job="j"}"#, 2.0)]);
}

#[test]
fn a_flapping_series_keeps_its_slot_and_an_ended_one_loses_it() {
    let budget = Arc::new(SeriesBudget::new(1_000_000));
    let mut probe = Probe::with_budget(&job(), budget.clone());
    probe.up("a 1\nflap 1\n");
    let schema = probe.scrape().schema.hash();
    for _ in 0..20 {
        probe.up("a 1\n");
        probe.up("a 1\nflap 2\n");
        assert_eq!(probe.scrape().schema.hash(), schema);
    }
    for _ in 0..10 {
        probe.up("a 1\n");
    }
    assert_eq!(budget.used(), 1);
    assert_eq!(probe.up("a 1\nother 5\nflap 3\n").added, 2);
    assert_eq!((budget.used(), probe.live().len()), (3, 3));
}

#[test]
fn churn_does_not_grow_what_is_kept() {
    let budget = Arc::new(SeriesBudget::new(1_000_000));
    let mut probe = Probe::with_budget(&job(), budget.clone());
    for page in 0..200 {
        let jobs: String = (0..50).map(|job| format!("job_state{{id=\"{}\"}} 1\n", page * 50 + job)).collect();
        assert_eq!(probe.up(&format!("stays 1\n{jobs}")).added, if page == 0 { 51 } else { 50 });
        assert_eq!(probe.live().len(), 51);
    }
    assert!(budget.used() <= 51 + 50 * 9, "{}", budget.used());
    assert!(probe.scrape().values.len() <= 51 + 50 * 9);
    drop(probe);
    assert_eq!(budget.used(), 0);
}

#[test]
fn series_beyond_the_collectors_room_are_dropped_and_counted() {
    let mut probe = Probe::with_budget(&job(), Arc::new(SeriesBudget::new(2)));
    for _ in 0..2 {
        let reading = probe.up("a 1\nb 2\nc 3\n");
        assert_eq!((reading.no_room, reading.post_relabel), (1, 3));
        assert_eq!(probe.live().len(), 2);
    }
}

#[test]
fn ever_new_series_on_failed_pages_do_not_pile_up() {
    let budget = Arc::new(SeriesBudget::new(1_000_000));
    let mut probe = Probe::with_budget(&job(), budget.clone());
    probe.up("a 1\n");
    for page in 0..100 {
        let series: String = (0..100).map(|series| format!("s{{id=\"{page}_{series}\"}} 1\n")).collect();
        assert!(probe.read(&format!("{series}broken\n")).1.is_err());
        assert!(budget.used() < 2_000, "{}", budget.used());
    }
    probe.up("a 1\n");
    assert_eq!(probe.live().len(), 1);
}

#[test]
fn a_new_series_behind_known_metadata_lines_belongs_to_their_family() {
    let mut probe = Probe::new(&job());
    let known = "# HELP h x\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\n";
    for _ in 0..3 {
        probe.up(known);
    }
    probe.up(&format!("{known}h_bucket{{le=\"2\"}} 1\nh_count 1\n"));
    let scrape = probe.scrape();
    assert_eq!(kind_of(&scrape, "h_count"), ("h".to_owned(), MetricType::Histogram));
    assert!(live(&scrape).contains_key(r#"h_bucket{instance="h:1", job="j", le="2.0"}"#));
}

#[test]
fn exemplars_travel_with_their_page_only() {
    let mut probe = Probe::new(&job());
    let page = "# TYPE c counter\nc_total 1 # {trace_id=\"x\"} 0.5 2\n# EOF\n";
    assert_eq!(probe.read_as(page, Format::OpenMetrics).1, Ok(()));
    let exemplars = probe.scrape().beside.exemplars;
    assert_eq!((exemplars.len(), exemplars[0].0, exemplars[0].1.value), (1, 0, 0.5));
    assert_eq!(probe.read_as("# TYPE c counter\nc_total 1\n# EOF\n", Format::OpenMetrics).1, Ok(()));
    assert_eq!(probe.scrape().beside.exemplars, []);
}

#[test]
fn exemplars_stay_with_their_series_in_the_order_of_slots() {
    let mut probe = Probe::new(&job());
    let line = |name: &str| format!("{name} 1 # {{of=\"{name}\"}} 1\n");
    let page = |names: &[&str]| names.iter().map(|name| line(name)).collect::<String>() + "# EOF\n";
    let gone: String = (0..2000).map(|series| format!("gone{series} 1\n")).collect();
    assert_eq!(probe.read_as(&format!("{gone}{}", page(&["a", "b", "c"])), Format::OpenMetrics).1, Ok(()));
    let mut moved = false;
    for _ in 0..12 {
        let before = probe.scrape().values.len();
        assert_eq!(probe.read_as(&page(&["c", "a", "a{}", "b"]), Format::OpenMetrics).1, Ok(()));
        let scrape = probe.scrape();
        moved |= scrape.values.len() < before;
        let exemplars = &scrape.beside.exemplars;
        assert!(exemplars.windows(2).all(|pair| pair[0].0 < pair[1].0), "{exemplars:?}");
        let named: Vec<_> = each_slot(&scrape).filter(|(_, labels, _)| labels.get("__name__").is_some()).collect();
        for (slot, exemplar) in exemplars {
            let (_, labels, _) = named.iter().find(|(own, ..)| *own == *slot as usize).expect("its slot has a series");
            assert_eq!(exemplar.labels.get("of").map(|of| of.trim_end_matches("{}")), Some(labels.metric_name()));
        }
        assert_eq!(exemplars.len(), 3);
    }
    assert!(moved, "slots were given back");
}

#[test]
fn a_removed_target_ends_everything() {
    let mut probe = Probe::new(&job());
    probe.up(&format!("a 1\nb 2 {MINUTE}\n"));
    let gone = probe.cache.gone(Timestamp(5 * MINUTE), &probe.rules);
    assert_eq!((gone.outcome, gone.started), (Outcome::Gone, Timestamp(5 * MINUTE)));
}

/// A line of a page: one of a few series, in one of two spellings, with one of a few values; or metadata, or rubbish.
fn line() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("1"),
        Just("2"),
        Just("-0"),
        Just("NaN"),
        Just("+Inf"),
        Just("1e300"),
        Just("123456789012345678901234567890")
    ];
    let series = (0..12u8, 0..2u8, value);
    let sample = series.prop_map(|(series, spelling, value)| match spelling {
        0 => format!("m{series}{{a=\"{series}\",b=\"x\"}} {value}"),
        _ => format!("m{series}{{b=\"x\",a=\"{series}\"}}  {value}"),
    });
    prop_oneof![
        40 => sample,
        4 => (0..12u8).prop_map(|series| format!("drop{series} 1")),
        3 => (0..12u8).prop_map(|series| format!("# TYPE m{series} gauge")),
        1 => Just("# HELP m1 what".to_owned()),
        1 => Just("".to_owned()),
        1 => prop_oneof![Just("broken".to_owned()), Just("m1{a=\"1\",a=\"1\"} 1".to_owned())],
    ]
}

fn pages() -> impl Strategy<Value = Vec<String>> {
    let page = prop::collection::vec(line(), 0..30);
    prop::collection::vec((page, 0..3u8), 1..12).prop_map(|steps| {
        let mut pages: Vec<Vec<String>> = Vec::new();
        for (lines, step) in steps {
            let last = pages.last().cloned().unwrap_or_default();
            pages.push(match step {
                0 => lines,
                1 => last,
                // As the last one, but for a stretch of lines.
                _ => {
                    let cut = lines.len().min(last.len()) / 2;
                    let (head, tail) = last.split_at(cut);
                    head.iter().chain(&lines[..lines.len().min(3)]).chain(tail.iter().skip(2)).cloned().collect()
                }
            });
        }
        pages.iter().map(|lines| lines.iter().map(|line| format!("{line}\n")).collect()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What a page comes to does not depend on the pages before it.
    #[test]
    fn a_remembering_reader_sees_what_a_forgetful_one_sees(pages in pages()) {
        let config = ScrapeConfig { metric_relabel_configs: vec![drop_name("drop.*")], ..job() };
        let mut probe = Probe::new(&config);
        let mut known = BTreeMap::new();
        for page in &pages {
            let mut fresh = Probe::new(&config);
            let (reading, result) = probe.read(page);
            let (fresh_reading, fresh_result) = fresh.read(page);
            prop_assert_eq!(&result, &fresh_result);
            prop_assert_eq!(reading.scraped, fresh_reading.scraped);
            prop_assert_eq!(reading.post_relabel, fresh_reading.post_relabel);
            prop_assert_eq!(reading.duplicates, fresh_reading.duplicates);
            let bits = |live: BTreeMap<String, f64>| live.into_iter().map(|(series, value)| (series, value.to_bits())).collect::<BTreeMap<_, _>>();
            prop_assert_eq!(bits(probe.live()), bits(fresh.live()));
            // A series that goes on keeps its slot; one that ended may have lost it to another.
            let scrape = probe.scrape();
            let of_live = each_slot(&scrape).filter(|(_, _, value)| is_present(*value));
            let slots: BTreeMap<String, usize> = of_live.map(|(slot, labels, _)| (labels.to_string(), slot)).collect();
            for (series, slot) in &slots {
                prop_assert!(known.get(series).is_none_or(|before| before == slot), "{} moved to {}", series, slot);
            }
            known = slots;
        }
    }
}
