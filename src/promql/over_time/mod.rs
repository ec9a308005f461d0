//! Functions over a range of samples: one series, one step at a time.
//!
//! Invariant: over floats nothing is allocated but where a sorted copy is needed; a range in which floats and histograms mix is
//! the rare one that may cost. Semantics and the order of float operations are those of Prometheus 3.5 (`promql/functions.go`).

mod averages;
mod changes;
mod extremes;
mod instant_rate;
mod rate;
mod trend;

pub use rate::Rates;
use std::borrow::Cow;
use std::sync::Arc;

use super::ast::{Call, Span};
use super::function::Function;
use super::histogram::{FloatHistogram, Incompatible};
use super::notes::{Annotations, EvalError};
use super::remark::{Remark, argument_span, warn_of_quantile};
use super::source::Samples;
use super::value::Cell;
use crate::model::HISTOGRAM_NAN;

/// The samples that a step sees, of one series. There is at least one.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Those later than `start` and not later than `end`. Of the histograms only the order counts: their indices may
    /// be those of a longer range that this one was cut from.
    pub samples: Samples<'a>,
    /// Milliseconds; a sample at this time is outside.
    pub start: i64,
    /// Milliseconds; a sample at this time is inside.
    pub end: i64,
    /// The step's own time, which an offset or `@` sets apart from `end`.
    pub at: i64,
}

/// Where remarks on one series go, and how they name it.
pub struct CallNotes<'a> {
    annotations: &'a mut Annotations,
    call: &'a Call,
    metric: &'a dyn Fn() -> String,
}

impl<'a> CallNotes<'a> {
    /// Remarks of `call`; `metric` gives the name of the argument's metric, empty where it has none, and is seldom called.
    pub fn new(annotations: &'a mut Annotations, call: &'a Call, metric: &'a dyn Fn() -> String) -> CallNotes<'a> {
        CallNotes { annotations, call, metric }
    }

    fn add(&mut self, remark: Remark) {
        let span = self.span(0);
        remark.add_to(self.annotations, span, &(self.metric)());
    }

    fn span(&self, argument: usize) -> Span {
        argument_span(self.call, argument)
    }
}

/// What a function makes of a window; nothing where it needs more samples, or samples of the other kind. `params` are the
/// call's scalar arguments at this step, in order. Errors where these are out of their bounds.
pub fn over_window(
    function: Function,
    window: &Window<'_>,
    params: &[f64],
    notes: &mut CallNotes<'_>,
) -> Result<Option<Cell>, EvalError> {
    let param = |at: usize| params.get(at).copied().unwrap_or(f64::NAN);
    let float = |value: f64| Some(Cell::Float(value));
    Ok(match function {
        Function::Rate | Function::Increase | Function::Delta => {
            rate::Kind::of(function).and_then(|kind| rate::extrapolated(window, kind, notes))
        }
        Function::Irate => instant_rate::between_last(window, true, notes),
        Function::Idelta => instant_rate::between_last(window, false, notes),
        Function::SumOverTime => averages::sum(window, notes),
        Function::AvgOverTime => averages::mean(window, notes),
        Function::StdvarOverTime => window.of_floats(notes, averages::variance),
        Function::StddevOverTime => window.of_floats(notes, |floats| averages::variance(floats).sqrt()),
        Function::MinOverTime => window.of_floats(notes, |floats| extremes::min(floats).1),
        Function::MaxOverTime => window.of_floats(notes, |floats| extremes::max(floats).1),
        Function::TsOfMinOverTime => window.of_floats(notes, |floats| extremes::last_min(floats).0),
        Function::TsOfMaxOverTime => window.of_floats(notes, |floats| extremes::last_max(floats).0),
        Function::MadOverTime => window.of_floats(notes, extremes::median_deviation),
        Function::QuantileOverTime => quantile(window, param(0), notes),
        Function::CountOverTime => float(window.samples.values.len() as f64),
        Function::PresentOverTime | Function::AbsentOverTime => float(1.0),
        Function::LastOverTime => window.last(),
        Function::TsOfLastOverTime => window.samples.times.last().map(|time| Cell::Float(*time as f64 / 1000.0)),
        Function::Changes => float(changes::changes(window) as f64),
        Function::Resets => float(changes::resets(window) as f64),
        Function::Deriv => trend::slope(window, notes),
        Function::PredictLinear => trend::predicted(window, param(0), notes),
        Function::DoubleExponentialSmoothing => trend::smoothed(window, param(0), param(1), notes)?,
        other => unreachable!("{} takes no range, which the tree's types assure", other.name()),
    })
}

/// For a function that many windows of floats at the same `times` have most of their work in common: what does the rest.
pub fn rates_over(function: Function, times: &[i64], bounds: (i64, i64)) -> Option<Rates> {
    rate::Kind::of(function).map(|kind| Rates::new(kind, times, bounds))
}

/// Whether all that a function looks at, of floats that do not fall, are the first and the last: what [`rates_over`] then does the rest with.
pub fn needs_outer(function: Function) -> bool {
    matches!(function, Function::Rate | Function::Increase)
}

/// Whether a function leaves the metric's name on its results.
pub fn keeps_name(function: Function) -> bool {
    function == Function::LastOverTime
}

/// Whether results of a function over floats want the remark that [`note_counter`] makes.
pub fn wants_counter(function: Function) -> bool {
    matches!(function, Function::Rate | Function::Increase)
}

/// Remarks that a metric of this name may be no counter; called once for a series that gave a float.
pub fn note_counter(annotations: &mut Annotations, call: &Call, metric: &str) {
    let is_counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix));
    if !metric.is_empty() && !is_counter {
        Remark::PossibleNonCounter.add_to(annotations, argument_span(call, 0), metric);
    }
}

fn quantile(window: &Window<'_>, q: f64, notes: &mut CallNotes<'_>) -> Option<Cell> {
    let span = notes.span(0);
    let annotations = &mut *notes.annotations;
    if window.has_floats() {
        warn_of_quantile(annotations, span, q);
    }
    window.of_floats(notes, |floats| super::quantile::quantile(q, &mut floats.values.to_vec()))
}

/// The floats of a window, with their times.
#[derive(Debug)]
struct Floats<'a> {
    times: Cow<'a, [i64]>,
    values: Cow<'a, [f64]>,
}

/// One sample as functions over both kinds see it.
#[derive(Clone, Copy)]
enum Sample<'a> {
    Float(f64),
    Histogram(&'a FloatHistogram),
}

impl<'a> Window<'a> {
    fn has_floats(&self) -> bool {
        self.samples.histograms.len() < self.samples.values.len()
    }

    fn has_histograms(&self) -> bool {
        !self.samples.histograms.is_empty()
    }

    /// The floats alone: as they stand, where there are no others.
    fn floats(&self) -> Floats<'a> {
        let Samples { times, values, .. } = self.samples;
        if !self.has_histograms() {
            return Floats { times: times.into(), values: values.into() };
        }
        let floats = times.iter().zip(values).filter(|(_, value)| value.to_bits() != HISTOGRAM_NAN);
        let (times, values): (Vec<i64>, Vec<f64>) = floats.map(|(time, value)| (*time, *value)).unzip();
        Floats { times: times.into(), values: values.into() }
    }

    /// A function of the floats, of which there must be one; histograms among them are passed over with a remark.
    #[inline]
    fn of_floats(&self, notes: &mut CallNotes<'_>, function: impl Fn(&Floats<'_>) -> f64) -> Option<Cell> {
        if !self.has_floats() {
            return None;
        }
        if self.has_histograms() {
            notes.add(Remark::HistogramsIgnored);
        }
        Some(Cell::Float(function(&self.floats())))
    }

    /// Histograms, oldest first.
    fn histograms(&self) -> impl DoubleEndedIterator<Item = &'a Arc<FloatHistogram>> + ExactSizeIterator + use<'a> {
        self.samples.histograms.iter().map(|(_, histogram)| histogram)
    }

    /// All samples, oldest first.
    fn iter(&self) -> impl Iterator<Item = Sample<'a>> + use<'a> {
        let mut histograms = self.histograms();
        self.samples.values.iter().map(move |value| match value.to_bits() {
            HISTOGRAM_NAN => Sample::Histogram(histograms.next().expect("a histogram stands beside each marker")),
            _ => Sample::Float(*value),
        })
    }

    fn last(&self) -> Option<Cell> {
        let value = self.samples.values.last()?;
        Some(match value.to_bits() {
            HISTOGRAM_NAN => Cell::Histogram(self.histograms().next_back()?.clone()),
            _ => Cell::Float(*value),
        })
    }
}

impl From<Incompatible> for Remark {
    fn from(reason: Incompatible) -> Remark {
        match reason {
            Incompatible::Schema => Remark::MixedSchemas,
            Incompatible::Bounds => Remark::IncompatibleBounds,
        }
    }
}
