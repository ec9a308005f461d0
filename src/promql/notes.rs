//! What an evaluation says beside its result: annotations, errors, and what it may take.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::ast::Span;

/// How grave an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The result may not be what was meant.
    Info,
    /// Some of the result is missing or wrong.
    Warning,
}

/// A remark on the result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Annotation {
    /// How grave.
    pub severity: Severity,
    /// In Prometheus's words, without the prefix that its severity gives.
    pub text: String,
    /// The first byte of the expression that it is about, and behind its last.
    pub place: (u32, u32),
}

/// Remarks, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    all: BTreeSet<Annotation>,
}

impl Annotations {
    /// Adds one, unless it is there.
    pub fn add(&mut self, severity: Severity, span: Span, text: impl Into<String>) {
        self.all.insert(Annotation { severity, text: text.into(), place: (span.start, span.end) });
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: Annotations) {
        self.all.extend(other.all);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All, infos first.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.all.iter()
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// Prometheus's `execution`: the data do not allow it.
    #[error("{0}")]
    Execution(String),
    /// More samples than a query may touch.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// Prometheus's `timeout`.
    #[error("query timed out in query execution")]
    TimedOut,
}

/// What an evaluation may take.
pub struct Budget<'a> {
    samples: Cell<u64>,
    is_over: &'a (dyn Fn() -> bool + 'a),
}

impl<'a> Budget<'a> {
    /// At most `samples` samples, until `is_over` says that time has run out.
    pub fn new(samples: u64, is_over: &'a (dyn Fn() -> bool + 'a)) -> Budget<'a> {
        Budget { samples: Cell::new(samples), is_over }
    }

    /// Errors when time has run out. Called at every node, as nodes that select nothing can be many.
    pub fn check_time(&self) -> Result<(), EvalError> {
        self.take(0)
    }

    /// Takes `samples` more. Called for some thousand at a time, not for each.
    pub fn take(&self, samples: usize) -> Result<(), EvalError> {
        let left = self.samples.get().checked_sub(samples as u64).ok_or(EvalError::TooManySamples)?;
        self.samples.set(left);
        if (self.is_over)() { Err(EvalError::TimedOut) } else { Ok(()) }
    }
}
