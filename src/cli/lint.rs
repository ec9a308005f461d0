//! Lints of a page of metrics: names, types, units and help texts as the naming conventions of Prometheus want them.
//!
//! The rules and their words are promtool's, so that a finding can be searched for. A page with findings is still scraped.

use std::collections::{BTreeMap, BTreeSet};

use crate::exposition::{Entry, Format, ParseError, belongs_to_family, parser};
use crate::model::{LabelsBuilder, METRIC_NAME, MetricType};

/// What could be better about a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) metric: String,
    pub(super) text: String,
}

/// A family as the page showed it.
#[derive(Default)]
struct Family {
    kind: MetricType,
    help: String,
    label_names: BTreeSet<String>,
    has_duplicate: bool,
    has_second_type: bool,
}

/// Suffixes under which a family's series may go.
const SUFFIXES: [&str; 8] = ["_total", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info", "_created"];

/// Base units, and what stands for them elsewhere.
const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];

const UNIT_PREFIXES: [&str; 19] = [
    "", "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mibi", "giga",
    "gibi", "tera", "tebi", "peta", "pebi",
];

const UNIT_ABBREVIATIONS: [&str; 14] = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

/// Reads a page to its end and lints every family; findings are ordered by metric.
pub(super) fn lint(format: Format, page: &[u8]) -> Result<Vec<Finding>, ParseError> {
    let families = read_families(format, page)?;
    let mut findings = Vec::new();
    for (name, family) in &families {
        let mut texts = Vec::new();
        lint_page_rules(family, &mut texts);
        lint_type_suffixes(name, family, format, &mut texts);
        lint_name(name, family, &mut texts);
        lint_labels(family, &mut texts);
        findings.extend(texts.into_iter().map(|text| Finding { metric: name.clone(), text }));
    }
    findings.sort();
    Ok(findings)
}

fn read_families(format: Format, page: &[u8]) -> Result<BTreeMap<String, Family>, ParseError> {
    let mut parser = parser(format, page);
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut typed = BTreeSet::new();
    let mut labels = LabelsBuilder::default();
    while let Some(entry) = parser.next()? {
        match entry {
            Entry::Type { family, kind } => {
                let known = families.entry(family.to_string()).or_default();
                known.kind = kind;
                known.has_second_type |= !typed.insert(family.into_owned());
            }
            Entry::Help { family, help } => families.entry(family.into_owned()).or_default().help = help.into_owned(),
            Entry::Unit { family, .. } => {
                families.entry(family.into_owned()).or_default();
            }
            Entry::Sample(sample) => {
                sample.labels(&mut labels)?;
                let name = family_of(labels.get(METRIC_NAME), &families, format).to_owned();
                let family = families.entry(name).or_default();
                let names = labels.iter().map(|(name, _)| name).filter(|name| *name != METRIC_NAME);
                family.label_names.extend(names.map(str::to_owned));
                family.has_duplicate |= !seen.insert((labels.build(), sample.timestamp));
            }
        }
    }
    Ok(families)
}

/// The family that a series belongs to: the one of its name without a suffix if the page spoke of it, else its own.
fn family_of<'n>(name: &'n str, families: &BTreeMap<String, Family>, format: Format) -> &'n str {
    let stems = SUFFIXES.iter().filter_map(|suffix| Some((*suffix, name.strip_suffix(suffix)?)));
    let mut owners = stems.filter(|(suffix, stem)| {
        let owns = |family: &Family| {
            belongs_to_family(name, stem, family.kind) || (*suffix == "_created" && format == Format::OpenMetrics)
        };
        families.get(*stem).is_some_and(owns)
    });
    owners.next().map_or(name, |(_, stem)| stem)
}

fn lint_page_rules(family: &Family, texts: &mut Vec<String>) {
    if family.help.is_empty() {
        texts.push("no help text".to_owned());
    }
    if family.has_duplicate {
        texts.push("metric not unique".to_owned());
    }
    if family.has_second_type {
        texts.push("a second TYPE line for this metric".to_owned());
    }
}

fn lint_type_suffixes(name: &str, family: &Family, format: Format, texts: &mut Vec<String>) {
    use MetricType::{Counter, Histogram, Summary, Unknown};
    let kind = family.kind;
    // OpenMetrics names a counter's family without the suffix that each of its series must have.
    let lacks_total = kind == Counter && !name.ends_with("_total") && format != Format::OpenMetrics;
    let mut found = |is_found: bool, text: &str| texts.extend(is_found.then(|| text.to_owned()));
    found(lacks_total, r#"counter metrics should have "_total" suffix"#);
    if kind == Unknown {
        return;
    }
    found(kind != Counter && name.ends_with("_total"), r#"non-counter metrics should not have "_total" suffix"#);
    if kind != Histogram {
        found(name.ends_with("_bucket"), r#"non-histogram metrics should not have "_bucket" suffix"#);
        found(family.label_names.contains("le"), r#"non-histogram metrics should not have "le" label"#);
    }
    if !matches!(kind, Histogram | Summary) {
        found(name.ends_with("_count"), r#"non-histogram and non-summary metrics should not have "_count" suffix"#);
        found(name.ends_with("_sum"), r#"non-histogram and non-summary metrics should not have "_sum" suffix"#);
    }
    if kind != Summary {
        found(family.label_names.contains("quantile"), r#"non-summary metrics should not have "quantile" label"#);
    }
}

fn lint_name(name: &str, family: &Family, texts: &mut Vec<String>) {
    if let Some((found, base)) = foreign_unit(name) {
        texts.push(format!("use base unit {base:?} instead of {found:?}"));
    }
    let lower = name.to_ascii_lowercase();
    let has_part = |part: &str| lower.ends_with(&format!("_{part}")) || lower.contains(&format!("_{part}_"));
    let kind = family.kind.as_str();
    if family.kind != MetricType::Unknown && has_part(kind) {
        texts.push(format!("metric name should not include type '{kind}'"));
    }
    if name.contains(':') {
        texts.push("metric names should not contain ':'".to_owned());
    }
    if is_camel_case(name) {
        texts.push("metric names should be written in 'snake_case' not 'camelCase'".to_owned());
    }
    if UNIT_ABBREVIATIONS.iter().any(|unit| has_part(unit)) {
        texts.push("metric names should not contain abbreviated units".to_owned());
    }
}

fn lint_labels(family: &Family, texts: &mut Vec<String>) {
    if family.label_names.iter().any(|name| is_camel_case(name)) {
        texts.push("label names should be written in 'snake_case' not 'camelCase'".to_owned());
    }
}

/// A part of the name that is a unit with or without prefix, but no base unit; with the base unit to use.
fn foreign_unit(name: &str) -> Option<(&str, &'static str)> {
    let base_of = |part: &str| {
        let of_prefix = |prefix: &&str| part.strip_prefix(*prefix).and_then(unit_base);
        UNIT_PREFIXES.iter().find_map(of_prefix)
    };
    let (part, base) = name.split('_').find_map(|part| Some((part, base_of(part)?)))?;
    (part != base).then_some((part, base))
}

fn unit_base(unit: &str) -> Option<&'static str> {
    UNITS.iter().find(|(own, _)| *own == unit).map(|(_, base)| *base)
}

fn is_camel_case(name: &str) -> bool {
    name.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}
