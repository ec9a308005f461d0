//! Generated questions asked of a gateway's store, whose samples came in frames, and of the same series in memory: equal answers.
//!
//! The engine over series in memory is held to the real Prometheus by `promql_differential.rs`; so this holds the store to it, with
//! its views, history, labels that stand with chunk, target and cluster, and series that end because a scrape lacks them.

use std::collections::BTreeMap;
use std::time::Duration;

use fedgate::http::api::evaluate;
use fedgate::http::api::params::{Params, QueryRequest};
use fedgate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher, Timestamp};
use fedgate::promql::{Engine, ParseOptions, Plans, SelectionCache, Steps, StoreSource};
use fedgate::store::Keep;

use super::dice::Dice;
use super::promql::answer::{Answer, is_same};
use super::promql::both::{Ours, form};
use super::promql::expressions::{Question, question, traits};
use super::promql::samples::series_of;
use super::promql::series::{Sample, Series};
use super::store_pushes::{Collector, Gateway, START, policy};

const EVERY_SECONDS: u64 = 15;
const TARGET: [(&str, &str); 2] = [("instance", "n1"), ("job", "node")];
/// Questions for each function, operator and modifier.
const ASKED: usize = 4;
const ULPS: u64 = 4;

/// Rounds of scrapes: the values of all series that have one.
type Rounds = Vec<BTreeMap<Labels, f64>>;

/// The floats of generated series, a sample a round.
fn rounds(seed: u64) -> Rounds {
    let mut rounds = Rounds::new();
    for series in series_of(seed) {
        for (number, (_, sample)) in series.samples.iter().enumerate() {
            rounds.resize_with(rounds.len().max(number + 1), BTreeMap::new);
            if let Sample::Float(value) = sample {
                rounds[number].insert(series.labels.clone(), *value);
            }
        }
    }
    rounds
}

fn time_of(round: usize) -> i64 {
    START + round as i64 * EVERY_SECONDS as i64 * 1000
}

/// A store that was pushed all rounds and keeps them.
fn pushed(rounds: &Rounds) -> Gateway {
    let gateway = Gateway::new([policy("alpha")]);
    let everything = vec![Matcher::new(METRIC_NAME, MatchOp::Regex, ".+").expect("a pattern")];
    gateway.store.keep(vec![Keep { matchers: everything, duration: Duration::from_secs(3600), is_of_recorded: false }]);
    let mut collector = Collector::new(1, START);
    for values in rounds {
        let page: String = values.iter().map(|(labels, value)| format!("{labels} {value:e}\n")).collect();
        collector.scrape(&TARGET, gateway.now(), &page);
        gateway.take("alpha", &mut collector);
        gateway.pass(EVERY_SECONDS);
    }
    gateway
}

/// The same as series: with the labels that target and inventory add, and ended where a round lacks them.
fn in_memory(rounds: &Rounds) -> Vec<Series> {
    let mut all: BTreeMap<Labels, Vec<(i64, Sample)>> = BTreeMap::new();
    for (number, values) in rounds.iter().enumerate() {
        let at = time_of(number);
        for (labels, samples) in &mut all {
            let is_there = values.contains_key(labels);
            if !is_there && samples.last().is_some_and(|(_, sample)| matches!(sample, Sample::Float(_))) {
                samples.push((at, Sample::Stale));
            }
        }
        for (labels, value) in values {
            all.entry(labels.clone()).or_default().push((at, Sample::Float(*value)));
        }
    }
    all.into_iter().map(|(labels, samples)| Series { labels: as_stored(&labels), samples }).collect()
}

fn as_stored(own: &Labels) -> Labels {
    let added = TARGET.into_iter().chain([("cluster", "alpha"), ("environment", "test")]);
    let mut labels = LabelsBuilder::from_labels(own);
    for (name, value) in added.filter(|(name, _)| own.get(name).is_none()) {
        labels.set(name, value);
    }
    labels.build()
}

/// What the store answers, with what is kept from one question to the next.
fn asked(gateway: &Gateway, (cache, plans): (&SelectionCache, &Plans), question: &Question) -> Answer {
    let (steps, is_range) = (&question.steps, question.is_range);
    let params = Params::parse(&form(&question.expression, steps, is_range), "").expect("a form");
    let request = if is_range { QueryRequest::range(&params) } else { QueryRequest::instant(&params, Timestamp(0)) };
    let (wall, monotonic) = gateway.moment();
    let view = gateway.store.view(wall, monotonic, None);
    let source = StoreSource::new(&view, cache);
    let options = ParseOptions { experimental: true };
    let answer =
        request.and_then(|request| evaluate(&source, (&Engine::default(), plans), &options, &request, &|| false));
    let body = answer.map_or_else(|error| error.to_json(), |answer| answer.to_json());
    Answer::of(&body, steps, is_range)
}

#[test]
fn the_store_answers_as_series_in_memory_do() {
    let rounds = rounds(7);
    let (gateway, cache) = (pushed(&rounds), SelectionCache::new());
    let memory = Ours::new(&in_memory(&rounds));
    let (mut dice, mut telling, mut differences) = (Dice(7), 0, Vec::new());
    for what in traits() {
        for _ in 0..ASKED {
            let question = question(&mut dice, what, START);
            let store = asked(&gateway, (&cache, &Plans::default()), &question);
            let memory = memory.ask_question(&question);
            telling += usize::from(store.is_telling() && memory.is_telling());
            let (one, other) = (store.lines(false), memory.lines(false));
            if question.is_determined() && !is_same(&one, &other, ULPS) {
                let only = |lines: &[String], others: &[String]| {
                    lines.iter().find(|line| !others.contains(line)).cloned().unwrap_or_default()
                };
                let (store, memory) = (only(&one, &other), only(&other, &one));
                differences.push(format!(
                    "{} at {:?}\n  store  {store}\n  memory {memory}",
                    question.expression, question.steps
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(telling > 250, "{telling} answers hold anything");
}

#[test]
fn what_is_kept_of_a_query_changes_no_answer() {
    let rounds = rounds(11);
    let (gateway, cache, plans) = (pushed(&rounds), SelectionCache::new(), Plans::default());
    let mut dice = Dice(11);
    for what in traits() {
        let question = question(&mut dice, what, START);
        let kept = |question: &Question| asked(&gateway, (&cache, &plans), question).lines(true);
        let fresh = |question: &Question| asked(&gateway, (&cache, &Plans::default()), question).lines(true);
        let (first, again) = (kept(&question), kept(&question));
        assert_eq!(first, fresh(&question), "{}", question.expression);
        assert_eq!(again, first, "{} asked again", question.expression);
        // The same expression at other times, of other steps: other rows may have samples then.
        let steps = Steps { start: Timestamp(question.steps.start.0 - 90_000), step: 30_000, count: 4 };
        let question = Question { steps, is_range: true, ..question };
        if question.is_determined() {
            let (kept, fresh) = (kept(&question), fresh(&question));
            assert!(is_same(&kept, &fresh, ULPS), "{} at {steps:?}\n{kept:?}\n{fresh:?}", question.expression);
        }
    }
}
