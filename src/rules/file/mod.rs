//! Rule files: Prometheus's format, read strictly, with every fault at its place.
//!
//! What comes out is ready to run: expressions are parsed, durations are durations, names were checked. A file with a fault
//! gives nothing but its faults. The checks and their words are Prometheus's (`model/rulefmt`), the places are finer: a
//! fault of an expression stands at its character in the file, however the expression is written there.

mod check;
mod glob;
mod written;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Fault, Faults, LabelMap, load_document, read_document};
use crate::promql::ParseOptions;
use crate::promql::ast::Expr;

pub use glob::{PatternError, matching_files};

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleFile {
    /// As it was named, or as a pattern found it.
    pub path: PathBuf,
    /// In their order.
    pub groups: Vec<RuleGroup>,
}

/// Rules that are evaluated together, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleGroup {
    /// Unique in its file.
    pub name: String,
    /// Time between evaluations; without it that of the configuration.
    pub interval: Option<Duration>,
    /// How many series or alerts a rule may give; 0 for any number.
    pub limit: u64,
    /// How far before the evaluation's time the expressions look; without it that of the configuration.
    pub query_offset: Option<Duration>,
    /// Labels of all its rules, where a rule has none of that name.
    pub labels: LabelMap,
    /// In the order of evaluation.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Whether it records or alerts.
    pub kind: RuleKind,
    /// What is evaluated.
    pub expr: Expr,
    /// The expression as it was written.
    pub source: String,
    /// Labels that its results get, its group's among them. Those of an alert are templates.
    pub labels: LabelMap,
    /// Where it begins in its file, from 1.
    pub line: usize,
}

/// What comes of a rule's result.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// Series of this name.
    Record(String),
    /// Alerts.
    Alert(Alert),
}

/// What an alerting rule has beyond a recording one.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The label `alertname`.
    pub name: String,
    /// The key `for`: how long it is pending before it fires.
    pub hold: Duration,
    /// How long it goes on firing when its expression gives nothing any more.
    pub keep_firing_for: Duration,
    /// Templates.
    pub annotations: LabelMap,
}

impl Rule {
    /// The series' or the alerts' name.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Record(name) => name,
            RuleKind::Alert(alert) => &alert.name,
        }
    }
}

/// Reads a file; beside it stands what is allowed but probably not meant.
pub fn load(path: &Path, options: &ParseOptions) -> Result<(RuleFile, Vec<Fault>), Faults> {
    let made = load_document(path, |file: written::File, at| check::groups(file, at, options));
    made.map(|(groups, warnings)| (RuleFile { path: path.to_owned(), groups }, warnings))
}

/// The same of a file whose text is at hand.
pub fn parse(path: &Path, source: &str, options: &ParseOptions) -> Result<(RuleFile, Vec<Fault>), Faults> {
    let made = read_document(path, source, |file: written::File, at| check::groups(file, at, options));
    made.map(|(groups, warnings)| (RuleFile { path: path.to_owned(), groups }, warnings))
}
