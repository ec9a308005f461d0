//! The evaluator over series in memory: what each kind of node makes of its arguments, in small cases worked out by hand.
//!
//! Samples come a minute apart from time zero. A case is an expression, a time in minutes, and the series of the result with
//! their values; the order counts only where the engine promises one.

use std::collections::BTreeSet;

use fedgate::model::{Labels, METRIC_NAME, Timestamp};
use fedgate::promql::ast::ExprKind;
use fedgate::promql::{
    Cell, Engine, EvalError, Outcome, ParseOptions, Plan, SeriesSource, Severity, Steps, Value, parse,
};

const MINUTE: i64 = 60_000;

/// Reads `metric{a="b"} 1 2 _ stale 3`, a line a series, a sample a minute.
fn load(lines: &str) -> SeriesSource {
    let mut source = SeriesSource::default();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let end = line.rfind('}').map_or_else(|| line.find(' ').unwrap(), |at| at + 1);
        let labels = labels_of(&line[..end]);
        for (at, word) in line[end..].split_whitespace().enumerate().filter(|(_, word)| *word != "_") {
            let sample = (word != "stale").then(|| Cell::Float(word.parse().unwrap()));
            assert!(source.append(&labels, Timestamp(at as i64 * MINUTE), sample));
        }
    }
    source
}

fn labels_of(selector: &str) -> Labels {
    let expr = parse(selector, &ParseOptions::default()).unwrap();
    let ExprKind::Vector(selector) = expr.kind else { panic!("{selector} is no selector") };
    Labels::from_pairs(selector.matchers.iter().map(|matcher| {
        let name = if matcher.name.is_empty() { METRIC_NAME } else { &matcher.name };
        (name, matcher.value.as_str())
    }))
}

fn evaluate(source: &SeriesSource, expr: &str, steps: Steps) -> Result<Outcome, EvalError> {
    let options = ParseOptions { experimental: true };
    let expr = parse(expr, &options).unwrap_or_else(|error| panic!("{}", error.in_source(expr)));
    Engine::default().evaluate(source, &expr, steps, &|| false)
}

fn at(source: &SeriesSource, expr: &str, minute: i64) -> Result<Outcome, EvalError> {
    evaluate(source, expr, Steps::instant(Timestamp(minute * MINUTE)))
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Float(value) => value.to_string(),
        Cell::Histogram(_) => "histogram".to_owned(),
    }
}

/// The series of an instant query in the order of the result.
fn ordered(source: &SeriesSource, expr: &str, minute: i64) -> Vec<String> {
    let outcome = at(source, expr, minute).unwrap_or_else(|error| panic!("{expr}: {error}"));
    match &outcome.value {
        Value::Scalar(values) => values.iter().map(f64::to_string).collect(),
        _ => outcome.samples().map(|(labels, cell)| format!("{labels} {}", shown(&cell))).collect(),
    }
}

#[track_caller]
fn is(source: &SeriesSource, expr: &str, minute: i64, expected: &[&str]) {
    let found: BTreeSet<String> = ordered(source, expr, minute).into_iter().collect();
    assert_eq!(found, expected.iter().map(|text| (*text).to_owned()).collect(), "{expr} at {minute} m");
}

#[track_caller]
fn fails(source: &SeriesSource, expr: &str, minute: i64, reason: &str) {
    match at(source, expr, minute) {
        Err(EvalError::Execution(text)) => assert_eq!(text, reason, "{expr}"),
        other => panic!("{expr} should have failed, but gave {other:?}"),
    }
}

/// Series of a range query from `from` to `to` minutes, each `labels minute=value …`.
#[track_caller]
fn ranges(source: &SeriesSource, expr: &str, from: i64, to: i64, expected: &[&str]) {
    let steps = Steps { start: Timestamp(from * MINUTE), step: MINUTE, count: (to - from + 1) as u32 };
    let outcome = evaluate(source, expr, steps).unwrap_or_else(|error| panic!("{expr}: {error}"));
    let series = outcome.series().into_iter().map(|series| {
        let samples = series.samples.iter().map(|(time, cell)| format!(" {}={}", time.0 / MINUTE, shown(cell)));
        format!("{}{}", series.labels, samples.collect::<String>())
    });
    assert_eq!(series.collect::<Vec<_>>(), expected, "{expr}");
}

fn remarks(source: &SeriesSource, expr: &str, minute: i64) -> Vec<(Severity, String)> {
    let outcome = at(source, expr, minute).unwrap();
    outcome.annotations.iter().map(|one| (one.severity, one.text.clone())).collect()
}

#[test]
fn selectors_look_back_and_aside() {
    let source = load("x{a=\"1\"} 1 2 3 stale _ 5\n x{a=\"2\"} 10");
    is(&source, "x", 2, &[r#"x{a="1"} 3"#, r#"x{a="2"} 10"#]);
    is(&source, "x", 3, &[r#"x{a="2"} 10"#]);
    is(&source, "x", 5, &[r#"x{a="1"} 5"#]);
    is(&source, "x offset 1m", 2, &[r#"x{a="1"} 2"#, r#"x{a="2"} 10"#]);
    is(&source, "x{a='1'} offset -2m", 0, &[r#"x{a="1"} 3"#]);
    is(&source, "x{a='1'} @ 60", 9, &[r#"x{a="1"} 2"#]);
    is(&source, "x{a='1'} @ 60 offset 1m", 9, &[r#"x{a="1"} 1"#]);
    is(&source, "timestamp(x{a='2'})", 3, &[r#"{a="2"} 0"#]);
    is(&source, "timestamp(x{a='1'} + 0)", 2, &[r#"{a="1"} 120"#]);
}

#[test]
fn what_is_fixed_in_time_is_spread_over_the_steps() {
    let source = load("x 1 2 3 4");
    ranges(&source, "x @ 60", 0, 2, &["x{} 0=2 1=2 2=2"]);
    ranges(&source, "x @ start() + x @ end()", 1, 2, &["{} 1=5 2=5"]);
    ranges(&source, "x - x @ start()", 1, 3, &["{} 1=0 2=1 3=2"]);
    ranges(&source, "sum_over_time(x[2m] @ 120)", 0, 1, &["{} 0=5 1=5"]);
    ranges(&source, "timestamp(x @ 60)", 2, 3, &["{} 2=60 3=60"]);
    ranges(&source, "vector(1)", 0, 1, &["{} 0=1 1=1"]);
    // start() is the whole query's, inside a subquery too.
    ranges(&source, "sum_over_time((x @ start())[2m:1m])", 1, 2, &["{} 1=4 2=4"]);
}

#[test]
fn ranges_and_subqueries_are_open_on_the_left() {
    let source = load("x 1 2 3 4 5 6");
    is(&source, "count_over_time(x[2m])", 4, &["{} 2"]);
    is(&source, "sum_over_time(x[2m] offset 1m)", 4, &["{} 7"]);
    is(&source, "sum_over_time(x[2m:1m])", 4, &["{} 9"]);
    // A grid of 2 m: of the times in (0, 5] those at 2 and 4.
    is(&source, "sum_over_time(x[5m:2m])", 5, &["{} 8"]);
    // And with an offset of those in (-1, 4], at 0, 2 and 4.
    is(&source, "sum_over_time(x[5m:2m] offset 1m)", 5, &["{} 9"]);
    is(&source, "sum_over_time(x[2m:1m] @ 120)", 5, &["{} 5"]);
    is(&source, "max_over_time(sum_over_time(x[2m])[3m:1m])", 5, &["{} 11"]);
    ranges(&source, "sum_over_time(x[2m])", 0, 2, &["{} 0=1 1=3 2=5"]);
    ranges(&source, "sum_over_time(x[2m:1m])", 0, 2, &["{} 0=1 1=3 2=5"]);
    ranges(&source, "last_over_time(x[1m])", 4, 7, &["x{} 4=5 5=6"]);
    ranges(&source, "absent_over_time(x[1m])", 4, 7, &["{} 6=1 7=1"]);
    // The intercept follows the step though the window stands still.
    ranges(&source, "predict_linear(x[2m] @ 120, 60)", 1, 2, &["{} 1=3 2=4"]);
}

#[test]
fn an_instant_query_can_ask_for_ranges() {
    let source = load("x{a=\"2\"} 1 2 stale 4\n x{a=\"10\"} 5");
    let outcome = at(&source, "x[10m]", 3).unwrap();
    let series: Vec<String> = outcome
        .series()
        .iter()
        .map(|series| format!("{} {:?}", series.labels, series.samples.iter().map(|(t, _)| t.0).collect::<Vec<_>>()))
        .collect();
    assert_eq!(series, [r#"x{a="10"} [0]"#, r#"x{a="2"} [0, 60000, 180000]"#]);
    let Value::Matrix(series) = at(&source, "(x{a='2'} * 2)[2m:1m]", 3).unwrap().value else { panic!() };
    assert_eq!(series[0].samples, [(Timestamp(180_000), Cell::Float(8.0))]);
    let steps = Steps { start: Timestamp(0), step: MINUTE, count: 2 };
    assert!(evaluate(&source, "x[10m]", steps).is_err());
}

#[test]
fn scalars_compute_as_floats_do() {
    let source = load("x 1");
    for (expr, value) in [
        ("1 + 2 * 3 ^ 2", "19"),
        ("-7 % 3", "-1"),
        ("1 / 0", "inf"),
        ("2 > bool 1", "1"),
        ("NaN == bool NaN", "0"),
        ("-(1 + 1)", "-2"),
        ("scalar(x) + 1", "2"),
        ("scalar(nope)", "NaN"),
        ("time()", "60"),
        ("0 atan2 -1", &std::f64::consts::PI.to_string()),
    ] {
        assert_eq!(ordered(&source, expr, 1), [value], "{expr}");
    }
}

#[test]
fn a_scalar_beside_a_vector_takes_or_filters_each_sample() {
    let source = load("x{a=\"1\"} 1\n x{a=\"2\"} 5\n x{a=\"3\"} NaN");
    is(&source, "x * 2", 0, &[r#"{a="1"} 2"#, r#"{a="2"} 10"#, r#"{a="3"} NaN"#]);
    is(&source, "10 - x{a='1'}", 0, &[r#"{a="1"} 9"#]);
    is(&source, "x > 1", 0, &[r#"x{a="2"} 5"#]);
    is(&source, "1 < x", 0, &[r#"x{a="2"} 5"#]);
    is(&source, "x > bool 1", 0, &[r#"{a="1"} 0"#, r#"{a="2"} 1"#, r#"{a="3"} 0"#]);
    is(&source, "x != x", 0, &[r#"x{a="3"} NaN"#]);
    is(&source, "-x{a='1'}", 0, &[r#"{a="1"} -1"#]);
    is(&source, "+x{a='1'}", 0, &[r#"x{a="1"} 1"#]);
}

#[test]
fn rows_match_one_to_one_by_the_labels_that_count() {
    let source = load(
        "l{a=\"1\", b=\"x\"} 1
         l{a=\"2\", b=\"x\"} 2
         r{a=\"1\", b=\"x\"} 10
         r{a=\"2\", b=\"y\"} 20",
    );
    is(&source, "l + r", 0, &[r#"{a="1", b="x"} 11"#]);
    is(&source, "l + on(a) r", 0, &[r#"{a="1"} 11"#, r#"{a="2"} 22"#]);
    is(&source, "l + ignoring(b) r", 0, &[r#"{a="1"} 11"#, r#"{a="2"} 22"#]);
    is(&source, "l < r", 0, &[r#"l{a="1", b="x"} 1"#]);
    is(&source, "l < ignoring(b) r", 0, &[r#"l{a="1"} 1"#, r#"l{a="2"} 2"#]);
    is(&source, "l < on(a) r", 0, &[r#"{a="1"} 1"#, r#"{a="2"} 2"#]);
    is(&source, "l < bool on(a) r", 0, &[r#"{a="1"} 1"#, r#"{a="2"} 1"#]);
    is(&source, "l + nope", 0, &[]);
    // What a filter leaves out makes no pair.
    is(&source, "l == on(b) group_left() (r{b='x'} / 5)", 0, &[r#"l{a="2", b="x"} 2"#]);
}

#[test]
fn many_rows_may_meet_one_where_that_is_said() {
    let source = load(
        "node{n=\"a\", c=\"1\"} 1
         node{n=\"b\", c=\"1\"} 2
         cluster{c=\"1\", site=\"north\"} 10",
    );
    is(&source, "node * on(c) group_left cluster", 0, &[r#"{c="1", n="a"} 10"#, r#"{c="1", n="b"} 20"#]);
    let with_site = [r#"{c="1", n="a", site="north"} 10"#, r#"{c="1", n="b", site="north"} 20"#];
    is(&source, "node * on(c) group_left(site) cluster", 0, &with_site);
    is(&source, "cluster * on(c) group_right(site) node", 0, &with_site);
    is(&source, "cluster - on(c) group_right node{n='a'}", 0, &[r#"{c="1", n="a"} 9"#]);
    // A comparison gives the left sample, whichever side is the many.
    is(&source, "cluster > on(c) group_right node", 0, &[r#"node{c="1", n="a"} 10"#, r#"node{c="1", n="b"} 10"#]);
    is(&source, "node * on(c) group_left(nope) cluster", 0, &[r#"{c="1", n="a"} 10"#, r#"{c="1", n="b"} 20"#]);
}

#[test]
fn ambiguous_matches_are_errors_in_the_words_of_prometheus() {
    let source = load(
        "l{a=\"1\", b=\"x\"} 1\n l{a=\"1\", b=\"y\"} 2\n r{a=\"1\", b=\"x\"} 3\n r{a=\"1\", b=\"z\"} 4\n e{} stale",
    );
    fails(
        &source,
        "l{b='x'} + on(a) r",
        0,
        r#"found duplicate series for the match group {a="1"} on the right hand-side of the operation: [{__name__="r", a="1", b="z"}, {__name__="r", a="1", b="x"}];many-to-many matching not allowed: matching labels must be unique on one side"#,
    );
    fails(
        &source,
        "l + on(a) r{b='x'}",
        0,
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
    );
    fails(
        &source,
        "l * ignoring(b) group_left(b) r{b='x'}",
        0,
        "multiple matches for labels: grouping labels must ensure unique matches",
    );
    // With nothing on the other side there is nothing ambiguous.
    is(&source, "l{b='nope'} + on(a) r", 0, &[]);
    // Nor where a filter leaves one result.
    is(&source, "l > on(a) (r{b='x'} - 2)", 0, &[r#"{a="1"} 2"#]);
}

#[test]
fn sets_go_by_the_other_sides_keys() {
    let source = load("l{a=\"1\"} 1\n l{a=\"2\"} 2\n r{a=\"2\"} 20\n r{a=\"3\"} 30");
    is(&source, "l and r", 0, &[r#"l{a="2"} 2"#]);
    is(&source, "l unless r", 0, &[r#"l{a="1"} 1"#]);
    is(&source, "l or r", 0, &[r#"l{a="1"} 1"#, r#"l{a="2"} 2"#, r#"r{a="3"} 30"#]);
    is(&source, "l or on() r", 0, &[r#"l{a="1"} 1"#, r#"l{a="2"} 2"#]);
    is(&source, "nope or r", 0, &[r#"r{a="2"} 20"#, r#"r{a="3"} 30"#]);
    is(&source, "l and on() nope", 0, &[]);
    is(&source, "l unless on() vector(1)", 0, &[]);
    is(&source, "sum(l * 1 or r * 1 or l * 3)", 0, &["{} 33"]);
}

#[test]
fn a_union_over_time_is_one_series_a_label_set() {
    let source = load("x 1 5 2 6");
    ranges(&source, "x > 4 or x", 0, 3, &["x{} 0=1 1=5 2=2 3=6"]);
    ranges(&source, "x > 4 or x * 100", 0, 3, &["{} 0=100 2=200", "x{} 1=5 3=6"]);
}

#[test]
fn names_that_told_series_apart_must_not_be_dropped() {
    let source = load("x{a=\"1\"} 1 _ _ stale\n y{a=\"1\"} _ 2 stale");
    let same = "vector cannot contain metrics with the same labelset";
    fails(&source, "{a='1'} * 2", 1, same);
    fails(&source, "-{a='1'}", 1, same);
    fails(&source, "rate({a='1'}[5m]) or last_over_time({a='1'}[5m]) * 1", 1, same);
    fails(&source, "abs({a='1'})", 1, same);
    is(&source, "{a='1'} * 2", 0, &[r#"{a="1"} 2"#]);
    is(&source, "sum({a='1'})", 1, &["{} 3"]);
    // At different steps they are one series for operators, but not for a minus sign.
    let apart = load("x{a=\"1\"} 1 stale\n y{a=\"1\"} _ 2");
    ranges(&apart, "{a='1'} * 2", 0, 1, &[r#"{a="1"} 0=2 1=4"#]);
    let steps = Steps { start: Timestamp(0), step: MINUTE, count: 2 };
    assert_eq!(evaluate(&apart, "-{a='1'}", steps).unwrap_err(), EvalError::Execution(same.to_owned()));
}

#[test]
fn aggregations_group_by_labels() {
    let source = load(
        "x{c=\"1\", n=\"a\"} 1
         x{c=\"1\", n=\"b\"} 3
         x{c=\"2\", n=\"a\"} 5
         y{c=\"2\", n=\"c\"} 7",
    );
    is(&source, "sum by (c) (x)", 0, &[r#"{c="1"} 4"#, r#"{c="2"} 5"#]);
    is(&source, "sum without (n) (x)", 0, &[r#"{c="1"} 4"#, r#"{c="2"} 5"#]);
    is(&source, "sum(x)", 0, &["{} 9"]);
    is(&source, "sum by (nope) (x)", 0, &["{} 9"]);
    is(&source, "sum by (__name__) ({c='2'})", 0, &["x{} 5", "y{} 7"]);
    is(&source, "avg by (c) (x)", 0, &[r#"{c="1"} 2"#, r#"{c="2"} 5"#]);
    is(&source, "count(x)", 0, &["{} 3"]);
    is(&source, "min(x)", 0, &["{} 1"]);
    is(&source, "max(x)", 0, &["{} 5"]);
    is(&source, "group by (n) (x)", 0, &[r#"{n="a"} 1"#, r#"{n="b"} 1"#]);
    is(&source, "stdvar by (c) (x)", 0, &[r#"{c="1"} 1"#, r#"{c="2"} 0"#]);
    is(&source, "stddev(x{c='1'})", 0, &["{} 1"]);
    is(&source, "quantile(0.5, x)", 0, &["{} 3"]);
    is(&source, "quantile(0.25, x)", 0, &["{} 2"]);
    is(&source, "sum(nope)", 0, &[]);
    ranges(&source, "sum by (c) (x)", 4, 5, &[r#"{c="1"} 4=4"#, r#"{c="2"} 4=5"#]);
}

#[test]
fn extremes_pass_over_nan_and_means_do_not_overflow() {
    let source = load("x{n=\"a\"} NaN NaN 1.5e308\n x{n=\"b\"} 2 NaN 1.5e308\n x{n=\"c\"} 1 NaN 1.5e308");
    is(&source, "min(x)", 0, &["{} 1"]);
    is(&source, "max(x)", 0, &["{} 2"]);
    is(&source, "max(x)", 1, &["{} NaN"]);
    is(&source, "avg(x) / 1e308", 2, &["{} 1.5"]);
    is(&source, "sum(x)", 2, &["{} inf"]);
    let small = load("x{n=\"a\"} 1e100\n x{n=\"b\"} 1\n x{n=\"c\"} -1e100");
    is(&small, "sum(x)", 0, &["{} 1"]);
}

#[test]
fn ranked_rows_stand_in_their_order() {
    let source = load("x{n=\"a\"} 1 9\n x{n=\"b\"} 3 1\n x{n=\"c\"} 2 5\n x{n=\"d\"} NaN 7");
    assert_eq!(ordered(&source, "topk(2, x)", 0), [r#"x{n="b"} 3"#, r#"x{n="c"} 2"#]);
    assert_eq!(ordered(&source, "bottomk(2, x)", 0), [r#"x{n="a"} 1"#, r#"x{n="c"} 2"#]);
    assert_eq!(ordered(&source, "topk(9, x)", 0).last().unwrap(), r#"x{n="d"} NaN"#);
    is(&source, "topk(0, x)", 0, &[]);
    fails(&source, "topk(NaN, x)", 0, "Scalar value NaN overflows int64");
    is(&source, "topk by (n) (1, x{n=~'a|b'})", 0, &[r#"x{n="a"} 1"#, r#"x{n="b"} 3"#]);
    ranges(&source, "topk(1, x)", 0, 1, &[r#"x{n="a"} 1=9"#, r#"x{n="b"} 0=3"#]);
    ranges(&source, "topk(scalar(x{n='b'}), x)", 1, 1, &[r#"x{n="a"} 1=9"#]);
    is(&source, "count(limitk(2, x))", 0, &["{} 2"]);
    is(
        &source,
        "limit_ratio(0.5, x) or limit_ratio(-0.5, x)",
        0,
        &[r#"x{n="a"} 1"#, r#"x{n="b"} 3"#, r#"x{n="c"} 2"#, r#"x{n="d"} NaN"#],
    );
}

#[test]
fn values_are_counted_as_labels() {
    let source = load("x{n=\"a\", c=\"1\"} 1\n x{n=\"b\", c=\"1\"} 1\n x{n=\"c\", c=\"2\"} 1e21");
    is(&source, "count_values('v', x)", 0, &[r#"{v="1"} 2"#, r#"{v="1000000000000000000000"} 1"#]);
    let by = [r#"{c="1", v="1"} 2"#, r#"{c="2", v="1000000000000000000000"} 1"#];
    is(&source, "count_values by (c) ('v', x)", 0, &by);
    is(&source, "count_values without (n) ('v', x)", 0, &by);
    is(&source, "count_values without (n, v) ('v', x)", 0, &[r#"{c="1"} 2"#, r#"{c="2"} 1"#]);
    fails(&source, "count_values('', x)", 0, "invalid label name \"\"");
}

#[test]
fn remarks_come_with_the_result() {
    let source = load("x 1 2 3");
    let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"x\"";
    assert_eq!(remarks(&source, "rate(x[5m])", 2), [(Severity::Info, text.to_owned())]);
    let text = "quantile value should be between 0 and 1, got 2";
    assert_eq!(remarks(&source, "quantile(2, x)", 2), [(Severity::Warning, text.to_owned())]);
    assert!(remarks(&source, "sum(x)", 2).is_empty());
}

#[test]
fn an_evaluation_ends_with_its_budget() {
    let source = load("x{n=\"a\"} 1 2 3\n x{n=\"b\"} 1 2 3");
    let expr = parse("sum_over_time(x[10m])", &ParseOptions::default()).unwrap();
    let at = Steps::instant(Timestamp(2 * MINUTE));
    let tight = Engine { samples_max: 3, ..Engine::default() };
    assert_eq!(tight.evaluate(&source, &expr, at, &|| false).unwrap_err(), EvalError::TooManySamples);
    assert_eq!(Engine::default().evaluate(&source, &expr, at, &|| true).unwrap_err(), EvalError::TimedOut);
    // Cells of results are taken, too: of 121 steps, for two selected rows, and three values, two rows, two pairs.
    let cases =
        [("count_values('v', x)", 605), ("last_over_time(x[1h])", 248), ("x * on () group_left (z) x{n='a'}", 605)];
    for (expr, taken) in cases {
        let expr = parse(expr, &ParseOptions::default()).unwrap();
        let steps = Steps { start: Timestamp(0), step: 1_000, count: 121 };
        let [enough, too_few] = [taken, taken - 1].map(|samples_max| {
            let engine = Engine { samples_max, ..Engine::default() };
            engine.evaluate(&source, &expr, steps, &|| false).map(|_| ())
        });
        assert_eq!((enough, too_few), (Ok(()), Err(EvalError::TooManySamples)), "{expr:?}");
    }
    let wide = parse("sum_over_time(x[100y:1ms])", &ParseOptions::default()).unwrap();
    assert_eq!(Engine::default().evaluate(&source, &wide, at, &|| false).unwrap_err(), EvalError::TooManySamples);
}

#[test]
fn a_plan_changes_nothing_but_the_cost() {
    let mut lines: Vec<String> = Vec::new();
    for node in 0..40 {
        let value = |metric: usize| (node * 7 + metric * 3) % 11;
        lines.push(format!("l{{n=\"{node}\", c=\"{}\"}} {}", node % 3, value(0)));
        lines.push(format!("r{{n=\"{node}\", c=\"{}\"}} {}", node % 3, value(1)));
    }
    let expressions = [
        "sum by (c) (l) / sum by (c) (r)",
        "l > 3 or r * 2 or l",
        "l * on(c) group_left(k) count_values by (c) ('k', sum by (c) (r))",
        "topk by (c) (2, l) unless r > 5",
        "l == ignoring(n) group_left() max by (c) (l)",
    ];
    let plans: Vec<Plan> = expressions.iter().map(|_| Plan::default()).collect();
    // Series come and go; the plans live through all of it.
    for from in [0, 20, 10, 0] {
        let source = load(&lines[from..from + 40].join("\n"));
        for (expr, plan) in expressions.iter().zip(&plans) {
            let tree = parse(expr, &ParseOptions::default()).unwrap();
            let steps = Steps::instant(Timestamp(0));
            let planned = Engine::default().evaluate_planned(&source, &tree, steps, plan, &|| false).unwrap();
            let fresh = Engine::default().evaluate(&source, &tree, steps, &|| false).unwrap();
            let text = |outcome: &Outcome| -> BTreeSet<String> {
                outcome.samples().map(|(labels, cell)| format!("{labels} {}", shown(&cell))).collect()
            };
            assert_eq!(text(&planned), text(&fresh), "{expr} from {from}");
            assert!(!text(&fresh).is_empty(), "{expr} must give something");
        }
    }
}
