//! What functions remark on their arguments, in Prometheus's words.
//!
//! The metric's name stands in most of them; it is asked for only when something is to be said.

use super::ast::{Call, Expr, ExprKind, Span};
use super::notes::{Annotations, Severity};
use super::parse::quote;
use crate::exposition::write_value;

/// One thing that a function can say about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Floats and histograms in one range.
    MixedSamples,
    /// Histograms with exponential and with custom buckets.
    MixedSchemas,
    /// Custom buckets with other bounds.
    IncompatibleBounds,
    /// A counter's function over a gauge histogram.
    NotCounter,
    /// A gauge's function over a counter histogram.
    NotGauge,
    /// A function for floats alone passed over histograms.
    HistogramsIgnored,
    /// A counter's function over a metric without a counter's name.
    PossibleNonCounter,
    /// Classic and native buckets of one histogram.
    MixedHistogramForms,
    /// Classic buckets that did not grow.
    ForcedMonotonicity,
    /// The quantile lies among NaN observations.
    NanQuantile,
    /// NaN observations make a quantile too high.
    SkewedQuantile,
    /// NaN observations are in no fraction.
    SkewedFraction,
}

impl Remark {
    /// How grave it is.
    pub fn severity(self) -> Severity {
        match self {
            Remark::MixedSamples
            | Remark::MixedSchemas
            | Remark::IncompatibleBounds
            | Remark::NotCounter
            | Remark::NotGauge
            | Remark::MixedHistogramForms => Severity::Warning,
            Remark::HistogramsIgnored
            | Remark::PossibleNonCounter
            | Remark::ForcedMonotonicity
            | Remark::NanQuantile
            | Remark::SkewedQuantile
            | Remark::SkewedFraction => Severity::Info,
        }
    }

    /// The text; the metric's name follows in quotes.
    fn text(self) -> &'static str {
        match self {
            Remark::MixedSamples => "encountered a mix of histograms and floats for metric name",
            Remark::MixedSchemas => {
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name"
            }
            Remark::IncompatibleBounds => "vector contains histograms with incompatible custom buckets for metric name",
            Remark::NotCounter => "this native histogram metric is not a counter:",
            Remark::NotGauge => "this native histogram metric is not a gauge:",
            Remark::HistogramsIgnored => {
                "ignored histograms in a range containing both floats and histograms for metric name"
            }
            Remark::PossibleNonCounter => {
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:"
            }
            Remark::MixedHistogramForms => "vector contains a mix of classic and native histograms for metric name",
            Remark::ForcedMonotonicity => {
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric name"
            }
            Remark::NanQuantile => "input to histogram_quantile has NaN observations, result is NaN for metric name",
            Remark::SkewedQuantile => {
                "input to histogram_quantile has NaN observations, result is skewed higher for metric name"
            }
            Remark::SkewedFraction => {
                "input to histogram_fraction has NaN observations, which are excluded from all fractions for metric name"
            }
        }
    }

    /// Adds the remark about `metric`.
    pub fn add_to(self, annotations: &mut Annotations, span: Span, metric: &str) {
        annotations.add(self.severity(), span, format!("{} {}", self.text(), quote(metric)));
    }
}

/// Warns of a quantile that is none.
pub fn warn_of_quantile(annotations: &mut Annotations, span: Span, q: f64) {
    if !(0.0..=1.0).contains(&q) {
        let text = format!("quantile value should be between 0 and 1, got {}", shortest(q));
        annotations.add(Severity::Warning, span, text);
    }
}

/// A number as Go's `%g` writes it; unlike on a page of samples, a negative zero is one.
pub(super) fn shortest(value: f64) -> String {
    let mut text = Vec::new();
    if value == 0.0 && value.is_sign_negative() {
        text.push(b'-');
    }
    write_value(&mut text, value);
    String::from_utf8(text).expect("numbers are ASCII")
}

/// Where Prometheus says that an argument stands: without its parentheses, and a subquery nowhere.
pub(super) fn argument_span(call: &Call, at: usize) -> Span {
    let Some(argument) = call.args.get(at).map(unwrapped) else { return Span::default() };
    match argument.kind {
        ExprKind::Subquery(_) => Span::default(),
        _ => argument.span,
    }
}

/// What stands in parentheses.
pub(super) fn unwrapped(mut expr: &Expr) -> &Expr {
    while let ExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    expr
}
