//! Where rules read samples and leave results: the gateway's store, or memory in unit tests of rules.
//!
//! Invariant: what a rule recorded is seen by the next one of its group. A rule hands over all its results at once; a series
//! that it gave before and does not give now ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::{Labels, NativeHistogram, ResetHint, Timestamp};
use crate::promql::ast::Expr;
use crate::promql::histogram::FloatHistogram;
use crate::promql::{Cell, Engine, EvalError, Outcome, Plan, SelectionCache, SeriesSource, Steps, StoreSource, Value};
use crate::runtime::clock;
use crate::store::{RecordedSample, RuleId, Store};
use crate::wal::RecordedLog;

/// One series of a result.
pub type Sample = (Labels, Cell);

/// Why a rule has no results.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// The expression could not be evaluated.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    /// It gave a string or ranges.
    #[error("rule result is not a vector or scalar")]
    NotAVector,
    /// Two results are one series; the field is `rule` or `alert`.
    #[error("vector contains metrics with the same labelset after applying {0} labels")]
    SameLabels(&'static str),
    /// More results than the group's limit.
    #[error("exceeded limit of {limit} with {count} {what}")]
    LimitExceeded {
        /// The limit.
        limit: u64,
        /// How many there were.
        count: usize,
        /// `series` or `alerts`.
        what: &'static str,
    },
    /// The results were not taken.
    #[error("{0}")]
    NotRecorded(String),
}

/// Samples to evaluate over, and a place for results.
pub trait Storage: Sync {
    /// Evaluates an expression at one time. `plan` belongs to it and makes its next evaluation quicker.
    fn evaluate(&self, expr: &Expr, at: Timestamp, plan: Option<&Plan>) -> Result<Outcome, EvalError>;

    /// Takes all results of a rule at `at`.
    fn record(&self, rule: &RuleId, at: Timestamp, results: Vec<Sample>) -> Result<(), RuleError>;

    /// Evaluates to series; a number is one without labels.
    fn query(&self, expr: &Expr, at: Timestamp, plan: Option<&Plan>) -> Result<Vec<Sample>, RuleError> {
        let outcome = self.evaluate(expr, at, plan)?;
        match &outcome.value {
            Value::Vector(_) => Ok(outcome.samples().collect()),
            Value::Scalar(values) => Ok(vec![(Labels::empty(), Cell::Float(values[0]))]),
            Value::String(_) | Value::Matrix(_) => Err(RuleError::NotAVector),
        }
    }
}

/// The gateway's store.
pub struct SiteStorage {
    store: Arc<Store>,
    cache: Arc<SelectionCache>,
    engine: Engine,
    timeout: Duration,
    /// Where results outlive the process.
    log: Option<RecordedLog>,
}

impl SiteStorage {
    /// Of a store; an evaluation that takes longer than `timeout` fails. `cache` is what queries share.
    pub fn new(store: Arc<Store>, cache: Arc<SelectionCache>, engine: Engine, timeout: Duration) -> SiteStorage {
        SiteStorage { store, cache, engine, timeout, log: None }
    }

    /// Writes down in `log` what is recorded.
    pub fn logging(self, log: Option<RecordedLog>) -> SiteStorage {
        SiteStorage { log, ..self }
    }

    /// Ends the series of all rules but those that `keeps` names.
    pub fn retain(&self, keeps: impl Fn(&RuleId) -> bool) {
        for (rule, last) in self.store.retain_rules(keeps) {
            self.log.iter().for_each(|log| log.end(&rule, &last, clock::now()));
        }
    }
}

impl Storage for SiteStorage {
    fn evaluate(&self, expr: &Expr, at: Timestamp, plan: Option<&Plan>) -> Result<Outcome, EvalError> {
        let view = self.store.view(clock::now(), clock::monotonic(), None);
        let source = StoreSource::new(&view, &self.cache);
        let deadline = clock::monotonic() + self.timeout;
        let is_over = || clock::monotonic() > deadline;
        match plan {
            Some(plan) => self.engine.evaluate_planned(&source, expr, Steps::instant(at), plan, &is_over),
            None => self.engine.evaluate(&source, expr, Steps::instant(at), &is_over),
        }
    }

    fn record(&self, rule: &RuleId, at: Timestamp, results: Vec<Sample>) -> Result<(), RuleError> {
        let recorded = results.into_iter().map(|(labels, cell)| {
            let sample = match cell {
                Cell::Float(value) => RecordedSample::Float(value),
                Cell::Histogram(histogram) => {
                    RecordedSample::Histogram(Arc::new(NativeHistogram::from(histogram.as_ref())))
                }
            };
            (labels, sample)
        });
        let results = self.store.record(rule, at, recorded);
        let results = results.map_err(|error| RuleError::NotRecorded(error.to_string()))?;
        self.log.iter().for_each(|log| log.record(rule, &results, clock::now()));
        Ok(())
    }
}

/// Series in memory. Stale markers are written, as a Prometheus writes them.
#[derive(Default)]
pub struct MemoryStorage {
    engine: Engine,
    state: Mutex<MemoryState>,
}

#[derive(Default)]
struct MemoryState {
    source: SeriesSource,
    /// What each rule gave last.
    given: BTreeMap<RuleId, BTreeSet<Labels>>,
}

impl MemoryState {
    fn append(&mut self, labels: &Labels, at: Timestamp, sample: Option<Cell>) -> bool {
        let sample = match sample {
            Some(Cell::Histogram(histogram)) => Some(Cell::Histogram(self.as_read(labels, histogram))),
            sample => sample,
        };
        self.source.append(labels, at, sample)
    }

    /// A histogram with the hint that a Prometheus would give back: it tells what it knows of the one before in the same chunk,
    /// and a reset, another schema or another zero bucket begin a chunk.
    fn as_read(&self, labels: &Labels, histogram: Arc<FloatHistogram>) -> Arc<FloatHistogram> {
        if histogram.reset_hint == ResetHint::Gauge {
            return histogram;
        }
        let continues = match self.source.newest(labels) {
            Some((_, Some(Cell::Histogram(before)))) => {
                before.schema == histogram.schema
                    && before.zero_threshold == histogram.zero_threshold
                    && !histogram.is_reset_after(&before)
            }
            _ => false,
        };
        let reset_hint = if continues { ResetHint::NotReset } else { ResetHint::Unknown };
        Arc::new(FloatHistogram { reset_hint, ..histogram.as_ref().clone() })
    }
}

impl MemoryStorage {
    /// Empty.
    pub fn new(engine: Engine) -> MemoryStorage {
        MemoryStorage { engine, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a sample of a series, `None` for its end; false if it is not later than the series' last.
    pub fn append(&self, labels: &Labels, at: Timestamp, sample: Option<Cell>) -> bool {
        self.lock().append(labels, at, sample)
    }
}

impl Storage for MemoryStorage {
    fn evaluate(&self, expr: &Expr, at: Timestamp, plan: Option<&Plan>) -> Result<Outcome, EvalError> {
        let state = self.lock();
        let never = || false;
        match plan {
            Some(plan) => self.engine.evaluate_planned(&state.source, expr, Steps::instant(at), plan, &never),
            None => self.engine.evaluate(&state.source, expr, Steps::instant(at), &never),
        }
    }

    fn record(&self, rule: &RuleId, at: Timestamp, results: Vec<Sample>) -> Result<(), RuleError> {
        let mut state = self.lock();
        let (mut refused, mut given) = (None, BTreeSet::new());
        for (labels, cell) in results {
            let is_repeated = state.source.newest(&labels) == Some((at, Some(cell.clone())));
            if is_repeated || state.append(&labels, at, Some(cell)) {
                given.insert(labels);
            } else {
                refused = Some(RuleError::NotRecorded(format!("{labels}: duplicate sample for timestamp")));
            }
        }
        let ended: Vec<Labels> =
            state.given.get(rule).map_or_else(Vec::new, |before| before.difference(&given).cloned().collect());
        for labels in &ended {
            // Another rule may give the series from now on.
            state.source.append(labels, at, None);
        }
        state.given.insert(rule.clone(), given);
        refused.map_or(Ok(()), Err)
    }
}
