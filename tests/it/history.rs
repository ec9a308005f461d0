//! History: what was shown before is read again as it was, whatever came, went or began anew meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use fedgate::http::selectors::parse_selector;
use fedgate::model::{Labels, METRIC_NAME, MatchOp, Matcher, Timestamp};
use fedgate::promql::{Batch, Budget, Cell, RangeReading, SelectionCache, Source, Steps, StoreSource};
use fedgate::snapshot::Outcome;
use fedgate::store::{Keep, RecordedSample, RuleId, SiteView};
use proptest::prelude::*;

use crate::store_pushes::{Collector, Gateway, START, policy};

const LOOKBACK: i64 = 300_000;
const EVERY_MS: i64 = 15_000;

/// Samples of each series, `None` where it ended.
type Model = BTreeMap<String, Vec<(i64, Option<u64>)>>;

fn all() -> Vec<Matcher> {
    vec![Matcher::new(METRIC_NAME, MatchOp::Regex, "m.*").unwrap()]
}

fn keep(matchers: Vec<Matcher>, minutes: u64) -> Keep {
    Keep { matchers, duration: Duration::from_secs(60 * minutes), is_of_recorded: false }
}

fn view(gateway: &Gateway) -> SiteView {
    let (wall, monotonic) = gateway.moment();
    gateway.store.view(wall, monotonic, None)
}

/// All samples later than `from`, by label set; fails where a series stands twice.
fn range(gateway: &Gateway, cache: &SelectionCache, from: i64, to: i64) -> (BTreeMap<String, Vec<(i64, u64)>>, bool) {
    range_of(gateway, cache, &all(), from, to)
}

fn range_of(
    gateway: &Gateway,
    cache: &SelectionCache,
    matchers: &[Matcher],
    from: i64,
    to: i64,
) -> (BTreeMap<String, Vec<(i64, u64)>>, bool) {
    let view = view(gateway);
    let source = StoreSource::new(&view, cache);
    let budget = Budget::new(10_000_000, &|| false);
    let mut found = Vec::new();
    let rows = source
        .range(matchers, Timestamp(from), Timestamp(to), &budget, RangeReading::All, &mut |batch| {
            for (row, samples) in batch.series() {
                let values = samples.values.iter().map(|value| value.to_bits());
                found.push((row, samples.times.iter().copied().zip(values).collect::<Vec<_>>()));
            }
        })
        .unwrap();
    let mut outer = |batch: Batch<'_>| {
        for (row, pair) in batch.rows.iter().zip(batch.values.chunks(2)).filter(|_| batch.is_outer) {
            let (_, samples) = found.iter().find(|(own, _)| *own == *row as usize).expect("a row with samples");
            let values: Vec<f64> = samples.iter().map(|(_, bits)| f64::from_bits(*bits)).collect();
            assert_eq!(pair, [values[0], values[values.len() - 1]]);
            assert!(values.windows(2).all(|pair| pair[0] <= pair[1]), "{values:?} fall");
            assert!(samples.iter().map(|(time, _)| *time).eq(batch.times.iter().copied()));
        }
    };
    source.range(matchers, Timestamp(from), Timestamp(to), &budget, RangeReading::Outer, &mut outer).unwrap();
    let mut by_labels = BTreeMap::new();
    for (row, samples) in found {
        let labels = rows.labels(row).to_string();
        assert!(by_labels.insert(labels.clone(), samples).is_none(), "{labels} stands twice");
    }
    (by_labels, !source.warnings().is_empty())
}

fn instant(gateway: &Gateway, cache: &SelectionCache, steps: Steps) -> BTreeMap<String, Vec<Option<u64>>> {
    let view = view(gateway);
    let source = StoreSource::new(&view, cache);
    let vector = source.instant(&all(), &steps, LOOKBACK, &Budget::new(10_000_000, &|| false)).unwrap();
    let count = steps.count as usize;
    let mut found = BTreeMap::new();
    for row in 0..vector.rows.len() {
        let cell = |at: usize| match vector.cells.get(row * count + at) {
            Some(Cell::Float(value)) => Some(value.to_bits()),
            _ => None,
        };
        let cells: Vec<Option<u64>> = (0..count).map(cell).collect();
        if cells.iter().any(Option::is_some) {
            let labels = vector.rows.labels(row).to_string();
            assert!(found.insert(labels.clone(), cells).is_none(), "{labels} stands twice");
        }
    }
    found
}

fn expected_range(model: &Model, from: i64, to: i64) -> BTreeMap<String, Vec<(i64, u64)>> {
    let within = |samples: &Vec<(i64, Option<u64>)>| -> Vec<(i64, u64)> {
        let live = samples.iter().filter_map(|(at, value)| Some((*at, (*value)?)));
        live.filter(|(at, _)| *at > from && *at <= to).collect()
    };
    let series = model.iter().map(|(labels, samples)| (labels.clone(), within(samples)));
    series.filter(|(_, samples)| !samples.is_empty()).collect()
}

fn expected_instant(model: &Model, steps: Steps) -> BTreeMap<String, Vec<Option<u64>>> {
    let newest = |samples: &Vec<(i64, Option<u64>)>, at: i64| {
        let newest = samples.iter().rev().find(|(own, _)| *own <= at).filter(|(own, _)| *own > at - LOOKBACK);
        newest.and_then(|(_, value)| *value)
    };
    let series = model
        .iter()
        .map(|(labels, samples)| (labels.clone(), steps.iter().map(|at| newest(samples, at.0)).collect::<Vec<_>>()));
    series.filter(|(_, cells)| cells.iter().any(Option::is_some)).collect()
}

/// Whether a label set is named.
type Names = fn(&str) -> bool;

/// Selectors, and what they name.
const SELECTORS: [(&str, Names); 6] = [
    (r#"{__name__=~"m.*",n="3"}"#, |labels| labels.contains(r#"n="3""#)),
    (r#"{__name__=~"m.*",n!="3"}"#, |labels| !labels.contains(r#"n="3""#)),
    (r#"{__name__=~"m.*",instance=~"1|7"}"#, |labels| labels.contains(r#"instance="1""#)),
    (r#"{__name__=~"m.*",cluster!="alpha"}"#, |_| false),
    (r#"{__name__=~"m.*",missing=""}"#, |_| true),
    // One slot of a chunk with many pairs.
    (r#"m14{n=~"1.",instance!="2",job="x"}"#, |labels| {
        labels.starts_with("m14{") && !labels.contains(r#"instance="2""#)
    }),
];

/// What happens in one interval.
#[derive(Clone, Debug)]
enum Event {
    /// Targets are scraped, one after the other: their numbers, and which of sixteen series each finds, with a value.
    Scrapes(Vec<(u8, BTreeMap<u8, f64>)>),
    Failure(u8),
    Gone(u8),
    /// Another run of the collector.
    Restart,
    /// All is told again.
    Key,
}

fn event() -> impl Strategy<Value = Event> {
    let value = prop_oneof![
        4 => (0u32..50).prop_map(|whole| f64::from(whole) / 4.0),
        1 => any::<u64>().prop_map(f64::from_bits).prop_filter("pages have one NaN", |value| !value.is_nan()),
    ];
    let page = prop::collection::btree_map(0u8..16, value, 0..16);
    prop_oneof![
        12 => prop::collection::vec((0u8..3, page), 1..4).prop_map(Event::Scrapes),
        1 => (0u8..3).prop_map(Event::Failure),
        1 => (0u8..3).prop_map(Event::Gone),
        1 => Just(Event::Restart),
        1 => Just(Event::Key),
    ]
}

/// Three names have most of the series, and some have one of their own.
fn name_of(series: u8) -> String {
    format!("m{}", if series < 12 { series % 3 } else { series })
}

struct Site {
    gateway: Gateway,
    collector: Collector,
    runs: u8,
    model: Model,
    /// What each target showed last.
    shown: BTreeMap<u8, (i64, Vec<String>)>,
}

impl Site {
    fn new(keeps: Vec<Keep>) -> Site {
        let gateway = Gateway::new([policy("alpha")]);
        gateway.store.keep(keeps);
        Site { gateway, collector: Collector::new(1, START), runs: 1, model: Model::new(), shown: BTreeMap::new() }
    }

    fn labels(target: u8, series: u8) -> String {
        let (name, number) = (name_of(series), series.to_string());
        let labels = [("cluster", "alpha"), ("environment", "test"), ("job", "x"), ("n", &number)];
        let target = target.to_string();
        let own = [(METRIC_NAME, name.as_str()), ("instance", target.as_str())];
        Labels::from_pairs(labels.into_iter().chain(own)).to_string()
    }

    fn scrape(&mut self, target: u8, page: &BTreeMap<u8, f64>, outcome: Outcome) {
        let now = self.gateway.now();
        let line = |(series, value): (&u8, &f64)| format!("{}{{n=\"{series}\"}} {value:e}\n", name_of(*series));
        let lines = page.iter().map(line);
        let (page_text, number) = (lines.collect::<String>(), target.to_string());
        let labels = [("instance", number.as_str()), ("job", "x")];
        match outcome {
            Outcome::Up => self.collector.scrape(&labels, now, &page_text),
            _ => self.collector.without_page(&labels, now, outcome),
        };
        let (_, before) = self.shown.remove(&target).unwrap_or_default();
        let ends: Vec<String> = before;
        for series in ends {
            self.model.entry(series).or_default().push((now, None));
        }
        for (series, value) in page {
            let samples = self.model.entry(Site::labels(target, *series)).or_default();
            samples.retain(|(at, _)| *at != now);
            samples.push((now, Some(value.to_bits())));
        }
        self.shown.insert(target, (now, page.keys().map(|series| Site::labels(target, *series)).collect()));
    }

    fn gone(&mut self, target: u8) {
        let Some((last, series)) = self.shown.remove(&target) else { return };
        let number = target.to_string();
        let labels = [("instance", number.as_str()), ("job", "x")];
        self.collector.without_page(&labels, self.gateway.now(), Outcome::Gone);
        for series in series {
            self.model.entry(series).or_default().push((last + 1, None));
        }
    }

    fn step(&mut self, event: &Event) {
        self.gateway.pass(EVERY_MS as u64 / 1000);
        let mut is_key = false;
        match event {
            // One target may be scraped several times in a tick.
            Event::Scrapes(scrapes) => scrapes.iter().for_each(|(target, page)| {
                self.gateway.pass(1);
                self.scrape(*target, page, Outcome::Up);
            }),
            Event::Failure(target) if self.shown.contains_key(target) => {
                self.scrape(*target, &BTreeMap::new(), Outcome::Failed);
            }
            Event::Gone(target) => self.gone(*target),
            Event::Restart => {
                self.runs += 1;
                self.collector = Collector::new(self.runs, self.gateway.now());
                // It scrapes everything anew.
                for target in self.shown.keys().copied().collect::<Vec<_>>() {
                    self.scrape(target, &BTreeMap::from([(1, 5.0), (7, 0.25)]), Outcome::Up);
                }
            }
            Event::Key => is_key = true,
            Event::Failure(_) => {}
        }
        let frames = self.collector.tick_with(self.gateway.now(), is_key);
        self.gateway.push("alpha", "alpha.example", &frames).expect("frames in order");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_read_is_what_was_shown(events in prop::collection::vec(event(), 1..40), minutes in 0u64..4) {
        let mut site = Site::new(vec![keep(all(), 60)]);
        let cache = SelectionCache::new();
        for (number, event) in events.iter().enumerate() {
            site.step(event);
            if number % 5 == 4 || number + 1 == events.len() {
                let to = site.gateway.now();
                for (from, to) in [(i64::MIN, to), (to - 90_000, to - 20_000), (to - 1, to)] {
                    let expected = expected_range(&site.model, from, to);
                    for (selector, is_named) in SELECTORS {
                        let named = expected.clone().into_iter().filter(|(labels, _)| is_named(labels));
                        let matchers = parse_selector(selector).unwrap();
                        prop_assert_eq!(range_of(&site.gateway, &cache, &matchers, from, to).0, named.collect());
                    }
                    prop_assert_eq!(range(&site.gateway, &cache, from, to).0, expected);
                }
                let start = to - 60_000 * minutes as i64 - 7_000;
                for steps in [Steps::instant(Timestamp(start)), Steps { start: Timestamp(start), step: 11_000, count: 20 }] {
                    prop_assert_eq!(instant(&site.gateway, &cache, steps), expected_instant(&site.model, steps));
                }
            }
        }
    }

    #[test]
    fn what_is_within_the_time_that_is_kept_is_there(events in prop::collection::vec(event(), 30..60)) {
        let mut site = Site::new(vec![keep(all(), 2)]);
        let cache = SelectionCache::new();
        for event in &events {
            site.step(event);
            let to = site.gateway.now();
            let (found, is_beyond) = range(&site.gateway, &cache, to - 120_000, to);
            let expected = expected_range(&site.model, to - 120_000, to);
            let odd = |labels: &&String| found.get(*labels) != expected.get(*labels);
            for labels in found.keys().chain(expected.keys()).filter(odd) {
                prop_assert_eq!(found.get(labels), expected.get(labels), "{}", labels);
            }
            prop_assert!(!is_beyond);
        }
        let bytes = site.gateway.store.history().bytes;
        prop_assert!(bytes < 64 << 10, "{} bytes for 48 series", bytes);
    }
}

#[test]
fn a_query_beyond_what_is_kept_says_so() {
    let mut site = Site::new(vec![keep(vec![Matcher::new(METRIC_NAME, MatchOp::Equal, "m0").unwrap()], 2)]);
    let cache = SelectionCache::new();
    let page = BTreeMap::from([(0, 1.0), (1, 1.0)]);
    for _ in 0..40 {
        site.gateway.pass(15);
        site.scrape(0, &page, Outcome::Up);
        site.gateway.take("alpha", &mut site.collector);
    }
    let to = site.gateway.now();
    let (found, is_beyond) = range(&site.gateway, &cache, to - 120_000, to);
    let counts: Vec<usize> = found.values().map(Vec::len).collect();
    assert_eq!((counts, is_beyond), (vec![8, 1], true), "m1 is not kept");
}

#[test]
fn a_reload_keeps_what_is_still_wanted() {
    let mut site = Site::new(vec![keep(all(), 5)]);
    let cache = SelectionCache::new();
    let scrape = |site: &mut Site, page: &[(u8, f64)]| {
        site.gateway.pass(15);
        site.scrape(0, &page.iter().copied().collect(), Outcome::Up);
        site.gateway.take("alpha", &mut site.collector);
    };
    for at in 0..10 {
        scrape(&mut site, &[(0, f64::from(at)), (1, 2.0), (2, 3.5)]);
    }
    scrape(&mut site, &[(0, 1.0), (1, 2.0)]);
    let wanted = Matcher::new("n", MatchOp::NotEqual, "1").unwrap();
    site.gateway.store.keep(vec![keep(all(), 5), keep(all().into_iter().chain([wanted]).collect(), 60)]);
    scrape(&mut site, &[(0, 1.0), (1, 2.0), (2, 4.5)]);
    let to = site.gateway.now();
    assert_eq!(range(&site.gateway, &cache, i64::MIN, to).0, expected_range(&site.model, i64::MIN, to));
    site.gateway.store.keep(Vec::new());
    assert_eq!(site.gateway.store.history().bytes, 0);
}

#[test]
fn recorded_series_have_a_history_of_their_own() {
    let gateway = Gateway::new([policy("alpha")]);
    gateway.store.keep(vec![Keep { is_of_recorded: true, ..keep(all(), 60) }]);
    let cache = SelectionCache::new();
    let rule = RuleId { group: "g".into(), rule: 0 };
    let labels = |n: &str| Labels::from_pairs([(METRIC_NAME, "m:x"), ("n", n)]);
    for at in 0..70 {
        gateway.pass(30);
        let series = [("a", true), ("b", at % 3 != 0)].into_iter().filter(|(_, is_there)| *is_there);
        let series = series.map(|(n, _)| (labels(n), RecordedSample::Float(f64::from(at))));
        gateway.store.record(&rule, Timestamp(gateway.now()), series).unwrap();
    }
    let counts =
        || -> Vec<usize> { range(&gateway, &cache, i64::MIN, gateway.now()).0.values().map(Vec::len).collect() };
    assert_eq!(counts(), [70, 46]);
    gateway.store.retain_rules(|_| false);
    assert_eq!(counts(), [70, 46], "the rule is gone, what it gave is kept");
    let other = RuleId { group: "g".into(), rule: 1 };
    gateway.pass(30);
    let series = [(labels("a"), RecordedSample::Float(1.0))];
    gateway.store.record(&other, Timestamp(gateway.now()), series).unwrap();
    assert_eq!(counts(), [1, 46], "another rule gives the series now");
}

/// Counters that change at two scrapes of five, and gauges that do not.
fn page_at(scrape: u64, series: u64) -> String {
    let value = |series: u64| match series % 5 {
        0 => (series * 7_919 + scrape * (1_000 + series % 97)) as f64,
        1 => (series * 31 + scrape * (series % 13 + 1)) as f64 / 100.0,
        _ => series as f64 / 8.0,
    };
    (0..series).map(|series| format!("m{{n=\"{series}\"}} {}\n", value(series))).collect()
}

#[test]
fn five_minutes_take_at_most_sixty_bytes_a_series() {
    const SERIES: u64 = 1_000;
    let gateway = Gateway::new([policy("alpha")]);
    gateway.store.keep(vec![keep(all(), 5)]);
    let mut collector = Collector::new(1, START);
    let mut most = 0;
    for scrape in 0..32 {
        gateway.pass(15);
        collector.scrape(&[("job", "x")], gateway.now(), &page_at(scrape, SERIES));
        gateway.take("alpha", &mut collector);
        most = most.max(gateway.store.history().bytes / SERIES as usize);
    }
    println!("{most} bytes a series at most");
    assert!(most <= 60, "{most} bytes a series");
    let (found, is_beyond) = range(&gateway, &SelectionCache::new(), gateway.now() - 300_000, gateway.now());
    assert!(found.values().all(|samples| samples.len() == 20) && !is_beyond);
}

/// What a clock that was minutes fast brought stays; what follows with the right time enters in place, but where a sample has its time already.
#[test]
fn a_clock_that_is_set_back_makes_no_history_go_back() {
    let mut site = Site::new(vec![keep(all(), 60)]);
    let (cache, mut expected, mut tick) = (SelectionCache::new(), BTreeMap::new(), START);
    for round in 0..40 {
        site.gateway.pass(15);
        let at = site.gateway.now() + if (5..10).contains(&round) { 300_000 } else { 0 };
        site.collector.scrape(&[("instance", "0"), ("job", "x")], at, &format!("m0 {round}\n"));
        // A collector's ticks do not go back.
        tick = tick.max(at);
        let frames = site.collector.tick_with(tick, false);
        site.gateway.push("alpha", "alpha.example", &frames).expect("frames in order");
        expected.entry(at).or_insert(f64::from(round).to_bits());
    }
    let (found, _) = range(&site.gateway, &cache, i64::MIN, i64::MAX);
    assert_eq!(found.into_values().collect::<Vec<_>>(), [expected.into_iter().collect::<Vec<_>>()]);
}
