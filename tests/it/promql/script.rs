//! A script: series, questions, and the lines of each answer.
//!
//! ```text
//! # What a file is about; everything after a # at the start of a line is passed over.
//! start 2024-02-28T23:00:00Z              times in this file count from here
//! load 30s                                series, a sample every 30 s
//!   requests_total{job="a"} 0+5x10 _x2 stale
//! query 5m sum(requests_total)            at one time; below it the answer, as `answer` writes it
//!   {} 50
//! query 0s..2m/1m rate(requests_total[1m])
//!   {job="a"} _ 0.16 0.16
//! ordered 5m sort(requests_total)         rows in the answer's own order
//! ```
//!
//! One file is one set of series. The answers are written by the real Prometheus: with `FEDGATE_BLESS=1` and the peers on the
//! path the test writes what that said into the file, for a person to read before it is committed.

use fedgate::http::selectors::parse_selector;
use fedgate::model::{Labels, METRIC_NAME, Timestamp, parse_duration};
use fedgate::promql::Steps;

use super::notation;
use super::series::Series;

/// A file, line by line.
pub(crate) struct Script {
    pub(crate) series: Vec<Series>,
    pub(crate) parts: Vec<Part>,
}

/// What a script is made of.
pub(crate) enum Part {
    /// Lines that stand as they are.
    Text(String),
    /// A question with its answer.
    Query(Query),
}

/// A question.
pub(crate) struct Query {
    /// As it was written.
    pub(crate) line: String,
    pub(crate) expression: String,
    pub(crate) steps: Steps,
    pub(crate) is_range: bool,
    pub(crate) is_ordered: bool,
    pub(crate) expected: Vec<String>,
}

impl Script {
    /// Reads a file's text.
    pub(crate) fn parse(text: &str) -> Script {
        let mut script = Script { series: Vec::new(), parts: Vec::new() };
        let (mut start, mut interval) = (0, 0);
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "start" => start = rest.parse::<jiff::Timestamp>().expect("a time").as_millisecond(),
                "load" => interval = millis(rest),
                "query" | "ordered" => {
                    script.parts.push(Part::Query(query(line, rest, start, word == "ordered")));
                    continue;
                }
                "" if !rest.trim().is_empty() => {
                    if let Some(Part::Query(query)) = script.parts.last_mut() {
                        query.expected.push(rest.trim().to_owned());
                        continue;
                    }
                    script.series.push(series(rest.trim(), start, interval));
                }
                "" | "#" => {}
                other => panic!("no word of a script: {other:?}"),
            }
            script.parts.push(Part::Text(line.to_owned()));
        }
        script
    }

    /// The questions in their order.
    pub(crate) fn queries(&self) -> impl Iterator<Item = &Query> {
        self.parts.iter().filter_map(|part| match part {
            Part::Query(query) => Some(query),
            Part::Text(_) => None,
        })
    }
}

fn query(line: &str, rest: &str, start: i64, is_ordered: bool) -> Query {
    let (time, expression) = rest.trim_start().split_once(' ').expect("a time and an expression");
    let at = |text: &str| Timestamp(start + millis(text));
    let (steps, is_range) = match time.split_once("..") {
        None => (Steps::instant(at(time)), false),
        Some((first, rest)) => {
            let (last, step) = rest.split_once('/').expect("start..end/step");
            let (first, step) = (at(first), millis(step));
            (Steps { start: first, step, count: ((at(last).0 - first.0) / step + 1) as u32 }, true)
        }
    };
    let expression = expression.trim().to_owned();
    Query { line: line.to_owned(), expression, steps, is_range, is_ordered, expected: Vec::new() }
}

fn millis(text: &str) -> i64 {
    match text.strip_prefix('-') {
        Some(text) => -millis(text),
        None => parse_duration(text).expect("a duration").as_millis() as i64,
    }
}

fn series(line: &str, start: i64, interval: i64) -> Series {
    let name_end = line.find(['{', ' ']).expect("a series and its samples");
    let labels_end = line.find("} ").map(|at| at + 1).filter(|_| line[name_end..].starts_with('{'));
    let end = labels_end.unwrap_or(name_end);
    let matchers = parse_selector(&line[..end]).expect("a series");
    let name = |name: &str| if name.is_empty() { METRIC_NAME.to_owned() } else { name.to_owned() };
    let pairs: Vec<_> = matchers.iter().map(|matcher| (name(&matcher.name), matcher.value.clone())).collect();
    let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), &**value)));
    let samples = notation::parse(&line[end..]).into_iter().enumerate();
    let samples = samples.filter_map(|(at, sample)| Some((start + at as i64 * interval, sample?)));
    Series { labels, samples: samples.collect() }
}
