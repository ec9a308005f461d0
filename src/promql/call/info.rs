//! `info`: series get labels of the info metrics (`target_info` by default) that have the same `job` and `instance`.
//!
//! The info series are evaluated at the call's own steps, and each of their cells is the time of its sample: of two that identify the
//! same thing the newer counts. What labels a series gets may change from step to step, and then it is another series.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use crate::promql::ast::{Call, ExprKind};
use crate::promql::notes::EvalError;
use crate::promql::remark::unwrapped;
use crate::promql::rows::{Block, Rows};
use crate::promql::value::{ABSENT, Cell, Cells, Vector};

/// The info metric where the call names none.
const TARGET_INFO: &str = "target_info";
/// The labels that say what an info series is about.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Which info series a call wants: its second argument, of `target_info` where that names no metric.
pub fn info_matchers(call: &Call) -> Vec<Matcher> {
    let mut matchers = wanted(call).to_vec();
    if !matchers.iter().any(|matcher| matcher.name == METRIC_NAME) {
        matchers.push(Matcher::new(METRIC_NAME, MatchOp::Equal, TARGET_INFO).expect("an equality is no pattern"));
    }
    matchers
}

/// What makes a row of the base an info series; nothing where the call has a second argument without a name.
fn info_names(call: &Call) -> Vec<Matcher> {
    let has_name = wanted(call).iter().any(|matcher| matcher.name == METRIC_NAME);
    let mut names = info_matchers(call);
    names.retain(|matcher| matcher.name == METRIC_NAME && (has_name || call.args.len() == 1));
    names
}

fn wanted(call: &Call) -> &[Matcher] {
    match call.args.get(1).map(|argument| &unwrapped(argument).kind) {
        Some(ExprKind::Vector(selector)) => &selector.matchers,
        _ => &[],
    }
}

/// The rows of `base` with the labels of `info`, whose cells are times of samples.
pub fn info(call: &Call, base: &Vector, info: &Vector, steps: usize) -> Result<Vector, EvalError> {
    let enriching = Enriching::new(call, base, info, steps);
    let mut out = Out { labels: Vec::new(), numbers: HashMap::new(), cells: Vec::new() };
    for step in 0..steps {
        let newest = enriching.newest(info, step)?;
        for (row, labels) in enriching.base.iter().enumerate() {
            let Some(cell) = base.cells.get(row * steps + step) else { continue };
            if enriching.is_info[row] {
                out.add(labels.clone(), step, cell);
            } else if let Some(labels) = enriching.enriched(labels, &newest)? {
                out.add(labels, step, cell);
            }
        }
    }
    out.vector(steps)
}

/// What is known before the first step.
struct Enriching<'a> {
    steps: usize,
    base: Vec<Labels>,
    /// Rows of the base that are info series themselves; they stay as they are.
    is_info: Vec<bool>,
    /// Row, metric name and labels of the info series that can meet a row of the base.
    series: Vec<(usize, Labels)>,
    /// What the labels must be.
    matchers: Vec<&'a Matcher>,
}

/// The newest info series by metric name and identifying labels, at one step.
type Newest<'a> = HashMap<Labels, &'a Labels>;

impl<'a> Enriching<'a> {
    fn new(call: &'a Call, base: &Vector, info: &Vector, steps: usize) -> Enriching<'a> {
        let labels_of = |rows: &Rows| -> Vec<Labels> { (0..rows.len()).map(|row| rows.labels(row)).collect() };
        let (base, all) = (labels_of(&base.rows), labels_of(&info.rows));
        let names = info_names(call);
        let is_info: Vec<bool> =
            base.iter().map(|labels| names.iter().any(|name| name.matches(labels.metric_name()))).collect();
        let known = known_values(base.iter().zip(&is_info).filter(|(_, is_info)| !**is_info).map(|(labels, _)| labels));
        let is_nobody = known.iter().all(HashSet::is_empty);
        let meets = |labels: &Labels| {
            let mut values = IDENTIFYING.iter().zip(&known);
            values.all(|(name, known)| known.is_empty() || known.contains(labels.get(name).unwrap_or_default()))
        };
        let series = all.into_iter().enumerate().filter(|(_, labels)| !is_nobody && meets(labels)).collect();
        // Where nobody can be met, Prometheus asks for the name as it does for other labels.
        let matchers = wanted(call).iter().filter(|matcher| is_nobody || matcher.name != METRIC_NAME).collect();
        Enriching { steps, is_info, series, matchers, base }
    }

    fn newest(&self, info: &Vector, step: usize) -> Result<Newest<'_>, EvalError> {
        let mut newest: HashMap<Labels, (f64, &Labels)> = HashMap::new();
        for (row, labels) in &self.series {
            let time = info.cells.floats[row * self.steps + step];
            if time.to_bits() == ABSENT {
                continue;
            }
            let name = labels.metric_name();
            match newest.get(&identity(name, labels)) {
                Some((other, _)) if *other == time => {
                    let text = format!("found duplicate series for info metric {name}");
                    return Err(EvalError::Execution(text));
                }
                Some((other, _)) if *other > time => {}
                _ => {
                    newest.insert(identity(name, labels), (time, labels));
                }
            }
        }
        Ok(newest.into_iter().map(|(identity, (_, labels))| (identity, labels)).collect())
    }

    /// The labels of a row with those of its info series; nothing where it has none and the call asks for some.
    fn enriched(&self, labels: &Labels, newest: &Newest<'_>) -> Result<Option<Labels>, EvalError> {
        let names: HashSet<&str> = self.series.iter().map(|(_, labels)| labels.metric_name()).collect();
        let mut found = LabelsBuilder::default();
        for info in names.iter().filter_map(|name| newest.get(&identity(name, labels))) {
            self.take(labels, info, &mut found)?;
        }
        if found.is_empty() && !self.matchers.iter().all(|matcher| matcher.matches("")) {
            return Ok(None);
        }
        let mut all = LabelsBuilder::from_labels(labels);
        found.iter().for_each(|(name, value)| {
            all.set(name, value);
        });
        Ok(Some(all.build()))
    }

    fn take(&self, base: &Labels, info: &Labels, found: &mut LabelsBuilder) -> Result<(), EvalError> {
        let is_wanted = |name: &str| {
            name != METRIC_NAME
                && (self.matchers.is_empty() || self.matchers.iter().any(|matcher| matcher.name == name))
        };
        for (name, value) in info.iter().filter(|(name, _)| is_wanted(name)) {
            if !matches!(found.get(name), "") && found.get(name) != value {
                return Err(EvalError::Execution(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                found.set(name, value);
            }
        }
        Ok(())
    }
}

/// The values of the identifying labels, each label's apart.
fn known_values<'a>(rows: impl Iterator<Item = &'a Labels>) -> [HashSet<String>; 2] {
    let mut known = [HashSet::new(), HashSet::new()];
    for labels in rows {
        for (name, known) in IDENTIFYING.iter().zip(&mut known) {
            known.extend(labels.get(name).map(str::to_owned));
        }
    }
    known
}

fn identity(metric: &str, labels: &Labels) -> Labels {
    let own = IDENTIFYING.iter().filter_map(|name| Some((*name, labels.get(name)?)));
    Labels::from_pairs(own.chain([(METRIC_NAME, metric)]))
}

/// Rows as they come about.
struct Out {
    labels: Vec<Labels>,
    numbers: HashMap<Labels, usize>,
    cells: Vec<(usize, usize, Cell)>,
}

impl Out {
    fn add(&mut self, labels: Labels, step: usize, cell: Cell) {
        let next = self.labels.len();
        let number = *self.numbers.entry(labels).or_insert_with_key(|labels| {
            self.labels.push(labels.clone());
            next
        });
        self.cells.push((number, step, cell));
    }

    fn vector(self, steps: usize) -> Result<Vector, EvalError> {
        let mut cells = Cells::absent(self.labels.len() * steps);
        for (number, step, cell) in self.cells {
            if cells.floats[number * steps + step].to_bits() != ABSENT {
                let text = "vector cannot contain metrics with the same labelset";
                return Err(EvalError::Execution(text.to_owned()));
            }
            cells.set(number * steps + step, Some(cell));
        }
        Ok(Vector { rows: Arc::new(Rows::new([Arc::new(Block::built(self.labels))])), cells })
    }
}
