//! The parser: what it accepts and how it prints it, what it refuses and where; the real Prometheus beside it.

use fedgate::promql::ast::ExprKind;
use fedgate::promql::parse::{DEPTH_MAX, SOURCE_BYTES_MAX, parse_selector};
use fedgate::promql::{ParseOptions, parse, place, pretty};

use super::site::Site;
use super::site::http::{self, percent_encoded};
use super::site::prometheus::{Prometheus, has_peer};

/// Expressions with their canonical form; only the source where they are the same.
const GOOD: &str = include_str!("../fixtures/promql/accepted.txt");
/// Expressions with the place and the words of their refusal.
const BAD: &str = include_str!("../fixtures/promql/refused.txt");

/// The entries of a fixture: a line, and the one that belongs to it (indented), if any.
fn entries(fixture: &str) -> Vec<(String, Option<String>)> {
    let mut entries: Vec<(String, Option<String>)> = Vec::new();
    for line in fixture.lines().filter(|line| !line.is_empty() && !line.starts_with("## ")) {
        match (line.strip_prefix("    "), entries.last_mut()) {
            (Some(second), Some(last)) => last.1 = Some(second.to_owned()),
            _ => entries.push((line.replace("⏎", "\n"), None)),
        }
    }
    entries
}

fn printed(source: &str) -> Result<String, String> {
    let options = ParseOptions::default();
    parse(source, &options).map(|expr| expr.to_string()).map_err(|fault| fault.in_source(source).to_string())
}

/// What differs, all at once.
fn differences(of: &str, differs: impl Fn(&str, Option<&str>) -> Option<String>) {
    let all = entries(of);
    let found: Vec<_> = all.iter().filter_map(|(source, second)| differs(source, second.as_deref())).collect();
    assert!(found.is_empty(), "{} of {}:\n{}", found.len(), all.len(), found.join("\n"));
}

#[test]
fn what_prometheus_accepts_is_printed_in_its_canonical_form() {
    differences(GOOD, |source, canonical| {
        let canonical = canonical.unwrap_or(source);
        let forms = (printed(source), printed(canonical));
        let is_own = |form: &Result<String, String>| form.as_deref() == Ok(canonical);
        (!is_own(&forms.0) || !is_own(&forms.1)).then(|| format!("{source}\n  {canonical}\n  {forms:?}"))
    });
}

#[test]
fn what_prometheus_refuses_is_refused_in_its_words_and_at_its_place() {
    differences(BAD, |source, refusal| {
        let refused = printed(source);
        (refused.as_ref().err().map(String::as_str) != refusal)
            .then(|| format!("{source}\n  {refusal:?}\n  {refused:?}"))
    });
}

/// Everything is asked of the real one: whether it accepts it, how it prints it, what it says against it.
#[test]
fn the_real_prometheus_judges_every_expression_alike() {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    const PREFIX: &str = "invalid parameter \"query\": ";
    let prometheus = Prometheus::start(&Site::new(), "judge", "");
    let judge = |source: &str, _: Option<&str>| {
        let path = format!("/api/v1/format_query?query={}", percent_encoded(source));
        let answer: serde_json::Value = serde_json::from_str(&http::get(prometheus.port, &path).1).expect("JSON");
        let ours = parse(source, &ParseOptions::default());
        let ours = ours.map(|expr| pretty(&expr)).map_err(|fault| fault.in_source(source).to_string());
        let is_alike = match &ours {
            Ok(form) => answer["data"].as_str() == Some(form),
            Err(reason) => answer["error"].as_str().and_then(|error| error.strip_prefix(PREFIX)) == Some(reason),
        };
        (!is_alike).then(|| format!("{source}\n  {answer}\n  {ours:?}"))
    };
    differences(GOOD, judge);
    differences(BAD, judge);
    differences(&long_ones(), judge);
}

/// What is accepted, put together to expressions that do not fit a line.
fn long_ones() -> String {
    let good: Vec<String> = entries(GOOD).into_iter().map(|(source, _)| source.replace('\n', " ")).collect();
    let middle = good.len() / 2;
    let pairs = good.iter().zip(good[middle..].iter().chain(&good[..middle]));
    let joined = pairs.enumerate().map(|(nth, (one, two))| match nth % 6 {
        0 => format!("{LONG} + {one} * ({two} or {LONG})"),
        1 => format!("-(sum by (a) ({LONG})) unless + {LONG} < bool sum({one}) ^ -{two}"),
        2 => format!(
            "topk(2, label_replace({LONG} or {one}, \"a\", \"b\", \"c\", \"d\")) - on (a) group_left (b) +{two}"
        ),
        3 => format!("max_over_time(({one} / {LONG} and +(+{two} + {LONG}))[1h:5m] offset 3m)"),
        4 => format!("sum_over_time(rate({LONG}[5m])[1h:] @ end()) + -{one} + max_over_time({two}[1h:1m])"),
        _ => format!("{one} - ignoring (x) {two} - {LONG} ^ {LONG} ^ {two}"),
    });
    joined.map(|line| line + "\n").collect()
}

const LONG: &str = "a_metric_with_a_name_that_fills_half_a_line{a=\"b\"}";

#[test]
fn experimental_functions_stand_behind_their_switch() {
    let experimental = ParseOptions { experimental: true };
    for source in [
        "limitk(2, a)",
        "limit_ratio(-0.5, a)",
        "sort_by_label(a, \"b\", \"c\")",
        "mad_over_time(a[5m])",
        "info(a, {b=\"c\"})",
        "info(a, {})",
        "double_exponential_smoothing(a[5m], 0.5, 0.5)",
        "ts_of_max_over_time(a[5m])",
    ] {
        assert!(parse(source, &experimental).is_ok(), "{source}");
        assert!(parse(source, &ParseOptions::default()).is_err(), "{source}");
    }
    let refusal = parse("info(a, b{c=\"d\"})", &experimental).expect_err("a name");
    assert_eq!(refusal.text, "expected label selectors only, got vector selector instead");
}

#[test]
fn a_bad_pattern_stands_where_its_matcher_does() {
    let refusal = printed("up{b=\"c\", a=~\"(\"}").expect_err("no pattern");
    assert_eq!(refusal, "1:11: parse error: bad regular expression \"(\": unclosed group");
}

#[test]
fn every_node_stands_where_it_was_written() {
    let source = "sum by (a) (rate(x{b=\"c\"}[5m] offset 1m)) / -(2 * y)";
    let expr = parse(source, &ParseOptions::default()).expect("it is good");
    let text = |span: fedgate::promql::ast::Span| &source[span.start as usize..span.end as usize];
    let ExprKind::Binary(binary) = &expr.kind else { panic!("{expr:?}") };
    assert_eq!(text(expr.span), source);
    assert_eq!(text(binary.left.span), "sum by (a) (rate(x{b=\"c\"}[5m] offset 1m))");
    assert_eq!(text(binary.right.span), "-(2 * y)");
    let ExprKind::Aggregation(sum) = &binary.left.kind else { panic!("{binary:?}") };
    let ExprKind::Call(rate) = &sum.expr.kind else { panic!("{sum:?}") };
    assert_eq!(text(rate.args[0].span), "x{b=\"c\"}[5m] offset 1m");
    assert_eq!(place("a\nbc", 3), (2, 2));
}

#[test]
fn a_source_is_bounded_in_length_and_depth() {
    let nested = |levels: usize| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    let chained = |levels: usize| format!("a{}", " + a".repeat(levels));
    let signed = |levels: usize| format!("{}a", "- ".repeat(levels));
    let powers = |levels: usize| format!("a{}", " ^ a".repeat(levels));
    let called = |levels: usize| format!("{}a{}", "abs(".repeat(levels), ")".repeat(levels));
    let walked = std::thread::Builder::new().stack_size(1 << 20);
    let all_are_walked = move || {
        for make in [&nested as &dyn Fn(usize) -> String, &chained, &signed, &powers, &called] {
            let deepest = make(DEPTH_MAX - 1);
            let expr = parse(&deepest, &ParseOptions::default()).expect("it is deep, not too deep");
            // Nothing that is done with a tree runs out of stack.
            assert_eq!((expr.clone(), expr.to_string()), (expr.clone(), deepest.replace("- ", "-")));
            assert!(!format!("{expr:?}").is_empty() && !pretty(&expr).is_empty());
            assert!(printed(&make(DEPTH_MAX + 1)).is_err_and(|text| text.contains("nests deeper than 1280")));
            // A fault at the end.
            assert!(printed(&format!("{} $", make(DEPTH_MAX - 1))).is_err());
        }
    };
    walked.spawn(all_are_walked).unwrap().join().unwrap();
    assert!(printed(&chained(200_000)).is_err_and(|text| text.contains("expected at most 262144")));
    assert!(printed(&"-".repeat(SOURCE_BYTES_MAX - 1)).is_err(), "and not by running out of stack");
    assert!(printed(&"a".repeat(SOURCE_BYTES_MAX + 1)).is_err_and(|text| text.contains("expected at most 262144")));
}

#[test]
fn a_selector_alone_may_select_everything_and_name_its_metric_twice() {
    let shown = |source| parse_selector(source).map(|matchers| format!("{matchers:?}"));
    assert_eq!(shown("{}").as_deref(), Ok("[]"));
    assert_eq!(shown(r#"a{__name__="b"}"#).as_deref(), Ok(r#"[__name__="a", __name__="b"]"#));
    for source in ["", "a offset 5m", "1", "a[5m]", "sum(a)", "a b", "+a"] {
        assert!(shown(source).is_err(), "{source}");
    }
}
