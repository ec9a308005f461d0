//! What a reader of `/federate` asks for: a form, and selectors in it.
//!
//! Promises: a selector that is read, written again in its plainest form is read as the same matchers; matching ends in
//! time whatever the pattern.

use fedgate::http::selectors::{parse_form, parse_selector};
use fedgate::model::{MatchOp, is_legacy_label_name};
use fedgate::store::Selector;

/// Takes the input as a form, and as a selector.
pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for (_, value) in parse_form(&text).unwrap_or_default() {
        check(&value);
    }
    check(&text);
}

fn check(text: &str) {
    let Ok(matchers) = parse_selector(text) else { return };
    for matcher in &matchers {
        for value in ["", "a", "node_cpu_seconds_total", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", &matcher.value] {
            matcher.matches(value);
        }
    }
    // Other names can be written, quoted, but not by everybody's parser.
    if matchers.iter().all(|matcher| is_legacy_label_name(&matcher.name)) {
        let again = written(&matchers);
        let read = parse_selector(&again).unwrap_or_else(|error| panic!("{again}: {error}"));
        assert_eq!(format!("{read:?}"), format!("{matchers:?}"), "{again}");
    }
}

fn written(matchers: &Selector) -> String {
    let one = |(name, op, value): (&str, MatchOp, &str)| {
        let op = match op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}{op}\"{value}\"")
    };
    let all: Vec<String> = matchers.iter().map(|own| one((&own.name, own.op, &own.value))).collect();
    format!("{{{}}}", all.join(","))
}
