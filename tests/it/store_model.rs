//! The store and its selections against a naive model that works on whole label sets.

use std::collections::{BTreeMap, BTreeSet};

use fedgate::exposition::{Entry, Format, parser};
use fedgate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use fedgate::promql::{Budget, Cell, SelectionCache, Source, Steps, StoreSource};
use fedgate::store::{ClusterPolicy, LabelConflict, is_gateway_name};
use proptest::prelude::*;
use proptest::sample::select;

use crate::store_pushes::{Collector, Gateway, LACKING, START, policy};

const LABEL_NAMES: [&str; 7] = ["a", "b", "cluster", "site", "exported_cluster", "exported_site", "job"];
const LABEL_VALUES: [&str; 5] = ["alpha", "north", "x", "y", LACKING];
const METRICS: [&str; 4] = ["m", "n", "other", "fedgate_cluster_x"];

type Set = BTreeMap<String, String>;

#[derive(Clone, Debug)]
struct Target {
    labels: Set,
    /// What each scrape finds: own labels with the metric name, and the value.
    pages: Vec<BTreeMap<Set, u32>>,
}

fn labels(most: usize) -> impl Strategy<Value = Set> {
    let pair = (select(&LABEL_NAMES[..]), select(&LABEL_VALUES[..]));
    prop::collection::vec(pair, 0..=most)
        .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn series() -> impl Strategy<Value = (Set, u32)> {
    (select(&METRICS[..]), labels(3), 0u32..100).prop_map(|(metric, mut labels, value)| {
        labels.insert(METRIC_NAME.to_owned(), metric.to_owned());
        (labels, value)
    })
}

fn target() -> impl Strategy<Value = Target> {
    let page = prop::collection::btree_map(series().prop_map(|(labels, _)| labels), 0u32..100, 0..12);
    (labels(2), prop::collection::vec(page, 1..4)).prop_map(|(mut labels, pages)| {
        labels.retain(|_, value| value != LACKING);
        Target { labels, pages }
    })
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let name = prop_oneof![Just(METRIC_NAME), select(&LABEL_NAMES[..]), Just("environment")];
    let op = select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let value = select(vec!["m", "n", "alpha", "x", "north", "", "m|n", "x|y|", ".+", ".*", "test"]);
    (name, op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
}

fn site_policy(on_label_conflict: LabelConflict) -> ClusterPolicy {
    let labels = Labels::from_pairs([("cluster", "alpha"), ("environment", "test"), ("site", "north")]);
    ClusterPolicy { on_label_conflict, labels, ..policy("alpha") }
}

/// The final labels by the words of the rules; `None` where the series is refused.
fn admitted(policy: &ClusterPolicy, target: &Set, own: &Set) -> Option<Set> {
    let resolve = |mut labels: Set| {
        for (name, stamped) in &policy.labels {
            let Some(pushed) = labels.get(name).cloned() else { continue };
            let bound = ["cluster", "environment"].contains(&name);
            if pushed == stamped {
                labels.remove(name);
                continue;
            }
            match policy.on_label_conflict {
                LabelConflict::Reject => return None,
                LabelConflict::Keep if !bound => continue,
                _ => {}
            }
            let mut free = format!("exported_{name}");
            while labels.contains_key(&free) {
                free = format!("exported_{free}");
            }
            labels.remove(name);
            labels.insert(free, pushed);
        }
        Some(labels)
    };
    resolve(target.clone())?;
    if is_gateway_name(&own[METRIC_NAME]) {
        return None;
    }
    let mut all = target.clone();
    all.extend(own.clone());
    all.retain(|_, value| value != LACKING);
    let mut labels = resolve(all)?;
    for (name, value) in &policy.labels {
        labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    Some(labels)
}

/// Every series after a round with the values that it may have: relabelling can make two series one.
fn model(policy: &ClusterPolicy, targets: &[Target], round: usize) -> BTreeMap<Set, BTreeSet<u32>> {
    let mut expected: BTreeMap<Set, BTreeSet<u32>> = BTreeMap::new();
    for target in targets {
        for (own, value) in &target.pages[round.min(target.pages.len() - 1)] {
            if let Some(labels) = admitted(policy, &target.labels, own) {
                expected.entry(labels).or_default().insert(*value);
            }
        }
    }
    expected
}

fn page_of(page: &BTreeMap<Set, u32>) -> String {
    let line = |(labels, value): (&Set, &u32)| {
        let pairs: Vec<String> = labels
            .iter()
            .filter(|(name, _)| *name != METRIC_NAME)
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        format!("{}{{{}}} {value}\n", labels[METRIC_NAME], pairs.join(","))
    };
    page.iter().map(line).collect()
}

/// The lines of a page of pushed series; fails where a series stands twice.
fn read(page: &str) -> BTreeMap<Set, u32> {
    let (mut entries, mut labels, mut found) =
        (parser(Format::Text, page.as_bytes()), LabelsBuilder::default(), BTreeMap::new());
    while let Some(entry) = entries.next().expect("a page that we read ourselves") {
        let Entry::Sample(sample) = entry else { continue };
        sample.labels(&mut labels).expect("each label once");
        if METRICS.contains(&labels.get(METRIC_NAME)) {
            let set: Set = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let before = found.insert(set.clone(), sample.value as u32);
            assert_eq!(before, None, "{set:?} stands twice");
        }
    }
    found
}

/// What a query for pushed series sees now; fails where a series stands twice.
fn queried(gateway: &Gateway, cache: &SelectionCache, selector: &[Matcher]) -> BTreeMap<Set, u32> {
    let (wall, monotonic) = gateway.moment();
    let view = gateway.store.view(wall, monotonic, None);
    let source = StoreSource::new(&view, cache);
    let budget = Budget::new(1_000_000, &|| false);
    let vector = source.instant(selector, &Steps::instant(wall), 300_000, &budget).expect("room in the budget");
    let mut found = BTreeMap::new();
    for row in 0..vector.rows.len() {
        let labels = vector.rows.labels(row);
        let Some(Cell::Float(value)) = vector.cells.get(row) else { continue };
        if METRICS.contains(&labels.metric_name()) {
            let set: Set = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(found.insert(set, value as u32), None, "{labels} stands twice");
        }
    }
    found
}

fn matches(matchers: &[Matcher], labels: &Set) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).map_or("", String::as_str)))
}

fn written(matchers: &[Matcher]) -> String {
    let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", matchers.join(","))
}

/// Each target has a label that no series overrides, so that no two targets give the same series.
fn distinct(targets: Vec<Target>) -> Vec<Target> {
    let numbered = targets.into_iter().enumerate().map(|(number, mut target)| {
        target.labels.insert("target".to_owned(), number.to_string());
        target
    });
    numbered.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn readers_see_what_the_rules_say(
        targets in prop::collection::vec(target(), 1..4),
        selectors in prop::collection::vec(prop::collection::vec(matcher(), 1..4), 1..4),
        on_label_conflict in select(vec![LabelConflict::Rename, LabelConflict::Reject, LabelConflict::Keep]),
    ) {
        let policy = site_policy(on_label_conflict);
        let targets = distinct(targets);
        let gateway = Gateway::new([policy.clone()]);
        let mut collector = Collector::new(1, START);
        let cache = SelectionCache::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for round in 0..3 {
            for target in &targets {
                let page = page_of(&target.pages[round.min(target.pages.len() - 1)]);
                let labels: Vec<(&str, &str)> = target.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                collector.scrape(&labels, gateway.now(), &page);
            }
            gateway.take("alpha", &mut collector);
            let expected = model(&policy, &targets, round);
            let texts: Vec<String> = selectors.iter().map(|selector| written(selector)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let found = read(&runtime.block_on(gateway.page(&texts)));
            let selected: BTreeMap<&Set, &BTreeSet<u32>> = expected
                .iter()
                .filter(|(labels, _)| selectors.iter().any(|selector| matches(selector, labels)))
                .collect();
            prop_assert_eq!(found.keys().collect::<Vec<_>>(), selected.keys().copied().collect::<Vec<_>>());
            for (labels, value) in &found {
                prop_assert!(selected[labels].contains(value), "{:?} {}", labels, value);
            }
            for selector in &selectors {
                let queried = queried(&gateway, &cache, selector);
                let expected: BTreeMap<&Set, &BTreeSet<u32>> =
                    expected.iter().filter(|(labels, _)| matches(selector, labels)).collect();
                prop_assert_eq!(queried.keys().collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>());
                for (labels, value) in &queried {
                    prop_assert!(expected[labels].contains(value), "{:?} {}", labels, value);
                }
            }
        }
    }
}
