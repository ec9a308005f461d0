//! A template of an alert's label or annotation, read and expanded.
//!
//! Promises: no template panics, whatever it does with its values; it ends, and gives the same text twice; a refusal has words.

use fedgate::model::Labels;
use fedgate::promql::Cell;
use fedgate::rules::template::{Sample, Scope, Template};

/// Expands the input for one sample; `query` answers with two.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let template = match Template::parse("A", text) {
        Ok(template) => template,
        Err(fault) => return assert!(!fault.to_string().is_empty()),
    };
    let labels = Labels::from_pairs([("__name__", "up"), ("instance", "a:1"), ("job", "<b> & \"c\"")]);
    let sample = |value: f64| Sample { labels: labels.clone(), value: Cell::Float(value) };
    let query = |source: &str| match source {
        "" => Err("no expression".to_owned()),
        _ => Ok(vec![sample(1.5), sample(f64::NAN)]),
    };
    let scope = Scope {
        labels: &labels,
        external_labels: &labels,
        external_url: "http://g.example/x",
        value: &Cell::Float(1_234.5),
        query: &query,
    };
    assert_eq!(template.expand_or_explain(&scope), template.expand_or_explain(&scope));
}
