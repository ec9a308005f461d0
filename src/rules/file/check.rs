//! From what is written to what is run: the checks of Prometheus's `rulefmt`, and the lints of `promtool check rules`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::template::Template;
use super::{Alert, Rule, RuleGroup, RuleKind, written};
use crate::config::{At, LabelMap};
use crate::model::{METRIC_NAME, is_legacy_label_name, parse_duration};
use crate::promql::ast::Expr;
use crate::promql::{ParseOptions, parse};

/// What the groups of a file are; where something is wrong with one, it is told at its place and the rest goes on.
pub(super) fn groups(file: written::File, at: &At<'_>, options: &ParseOptions) -> Vec<RuleGroup> {
    let at = at.key("groups");
    let mut names = BTreeSet::new();
    let mut made = Vec::with_capacity(file.groups.len());
    for (nth, group) in file.groups.into_iter().enumerate() {
        let at = at.index(nth);
        if group.name.is_empty() {
            at.fault("Groupname must not be empty");
        } else if !names.insert(group.name.clone()) {
            at.key("name").fault(format!("groupname: {:?} is repeated in the same file", group.name));
        }
        made.push(self::group(group, &at, options));
    }
    repetitions(&made, &at);
    made
}

fn group(written: written::Group, at: &At<'_>, options: &ParseOptions) -> RuleGroup {
    label_names(&written.labels, &at.key("labels"));
    let former = duration(written.evaluation_delay.as_deref(), &at.key("evaluation_delay"));
    if former.is_some() {
        at.key("evaluation_delay").warn("this key is now called query_offset");
    }
    let rules_at = at.key("rules");
    let rules = written.rules.into_iter().enumerate();
    let rules = rules.filter_map(|(nth, rule)| self::rule(rule, &written.labels, &rules_at.index(nth), options));
    RuleGroup {
        rules: rules.collect(),
        interval: duration(written.interval.as_deref(), &at.key("interval")).filter(|interval| !interval.is_zero()),
        limit: u64::try_from(written.limit).unwrap_or(0),
        query_offset: duration(written.query_offset.as_deref(), &at.key("query_offset")).or(former),
        name: written.name,
        labels: written.labels,
    }
}

fn rule(written: written::Rule, of_group: &LabelMap, at: &At<'_>, options: &ParseOptions) -> Option<Rule> {
    label_names(&written.labels, &at.key("labels"));
    let expr = expression(&written.expr, at, options);
    let kind = match (written.record.is_empty(), written.alert.is_empty()) {
        (true, true) => {
            at.fault("one of 'record' or 'alert' must be set");
            return None;
        }
        (false, false) => {
            at.key("alert").fault("only one of 'record' and 'alert' must be set");
            return None;
        }
        (false, true) => recording(&written, at),
        (true, false) => alerting(&written, at),
    };
    let mut labels = of_group.clone();
    labels.extend(written.labels);
    Some(Rule { kind, expr: expr?, source: written.expr, labels, line: at.line() })
}

fn expression(source: &str, at: &At<'_>, options: &ParseOptions) -> Option<Expr> {
    let at_expr = at.key("expr");
    if source.is_empty() {
        at.fault("field 'expr' must be set in rule");
        return None;
    }
    let fault = match parse(source, options) {
        Ok(expr) => return Some(expr),
        Err(fault) => fault,
    };
    let message = format!("could not parse expression: {}", fault.in_source(source));
    let (start, end) = (fault.span.start as usize, fault.span.end as usize);
    // What goes on over several lines is pointed at where it begins.
    let text = source.get(start..end).and_then(|text| text.lines().next()).unwrap_or_default();
    at_expr.fault_within(start, text.chars().count().max(1), message);
    None
}

fn recording(written: &written::Rule, at: &At<'_>) -> RuleKind {
    let foreign = [
        ("annotations", !written.annotations.is_empty()),
        ("for", !is_zero(written.r#for.as_deref())),
        ("keep_firing_for", !is_zero(written.keep_firing_for.as_deref())),
    ];
    for (key, _) in foreign.iter().filter(|(_, is_set)| *is_set) {
        at.key(key).fault_of_key(format!("invalid field '{key}' in recording rule"));
    }
    let name = &written.record;
    if name.contains(['{', '}']) {
        let text = format!("braces present in the recording rule name; should it be in expr?: {name}");
        at.key("record").fault(text);
    } else if !name.contains(':') {
        at.key("record").warn(
            "recording rules are named level:metric:operations; a name without a colon looks like a scraped metric's",
        );
    }
    RuleKind::Record(name.clone())
}

/// A recording rule may say `for: 0s`.
fn is_zero(written: Option<&str>) -> bool {
    written.is_none_or(|text| parse_duration(text).is_ok_and(|duration| duration.is_zero()))
}

fn alerting(written: &written::Rule, at: &At<'_>) -> RuleKind {
    let alert = &written.alert;
    if written.labels.contains_key(ALERT_NAME) {
        at.key("labels").key(ALERT_NAME).warn("this label is always the alert's name");
    }
    templates(alert, "label", &written.labels, &at.key("labels"));
    templates(alert, "annotation", &written.annotations, &at.key("annotations"));
    if written.annotations.contains_key("") {
        at.key("annotations").fault("invalid annotation name: ");
    }
    RuleKind::Alert(Alert {
        name: alert.clone(),
        hold: duration(written.r#for.as_deref(), &at.key("for")).unwrap_or_default(),
        keep_firing_for: duration(written.keep_firing_for.as_deref(), &at.key("keep_firing_for")).unwrap_or_default(),
        annotations: written.annotations.clone(),
    })
}

/// The label that holds an alert's name.
const ALERT_NAME: &str = "alertname";

fn templates(alert: &str, what: &str, texts: &LabelMap, at: &At<'_>) {
    for (name, text) in texts {
        if let Err(fault) = Template::parse(alert, text) {
            at.key(name).fault(format!("{what} {name:?}: {fault}"));
        }
    }
}

fn label_names(labels: &LabelMap, at: &At<'_>) {
    for name in labels.keys() {
        let at = at.key(name);
        if name.is_empty() || name == METRIC_NAME {
            at.fault_of_key(format!("invalid label name: {name}"));
        } else if !is_legacy_label_name(name) {
            at.warn("queries have to write this label's name in quotes");
        } else if is_camel_case(name) {
            at.warn("label names should be written in 'snake_case' not 'camelCase'");
        }
    }
}

fn is_camel_case(name: &str) -> bool {
    name.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

fn duration(written: Option<&str>, at: &At<'_>) -> Option<Duration> {
    parse_duration(written?).map_err(|error| at.fault(error.to_string())).ok()
}

/// Rules of one name with the same labels: their results would be the same series.
fn repetitions(groups: &[RuleGroup], at: &At<'_>) {
    let mut seen: BTreeMap<(&str, &LabelMap), usize> = BTreeMap::new();
    for (nth, group) in groups.iter().enumerate() {
        for (rule_nth, rule) in group.rules.iter().enumerate() {
            let first = *seen.entry((rule.name(), &rule.labels)).or_insert(rule.line);
            if first != rule.line {
                let text = format!("the rule on line {first} has the same name and the same labels");
                at.index(nth).key("rules").index(rule_nth).warn(text);
            }
        }
    }
}
