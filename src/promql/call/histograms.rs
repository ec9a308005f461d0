//! `histogram_quantile` and `histogram_fraction`, over native histograms and over classic ones, whose buckets are series.
//!
//! The rows of a classic histogram are found once for all steps: those whose labels but `le` are the same, the metric's name among
//! them. At a step at which a native histogram has these very labels, too, neither of the two is looked at.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::CallContext;
use super::bucket_rows::{BOUND, BucketRows};
use super::buckets::{self, Bucket};
use crate::model::HISTOGRAM_NAN;
use crate::promql::ast::{Call, Span};
use crate::promql::histogram::{Estimate, FloatHistogram, NanNote};
use crate::promql::notes::{Annotations, Severity};
use crate::promql::parse::quote;
use crate::promql::remark::{Remark, argument_span, warn_of_quantile};
use crate::promql::rows::Rows;
use crate::promql::value::{ABSENT, Cells, Vector};

/// `histogram_quantile`, of the share `q[step]`.
pub(super) fn quantile(call: &Call, q: &[f64], vector: &Vector, context: &mut CallContext<'_>) -> Vector {
    let [share_span, span] = [0, 1].map(|at| argument_span(call, at));
    q.iter().for_each(|q| warn_of_quantile(context.annotations, share_span, *q));
    let forms = Forms::of(vector, span, context);
    let mut is_nameless = vec![false; forms.classic.histograms.len()];
    forms.evaluated(span, context.annotations, |step, form, annotations| match form {
        Form::Native(histogram) => {
            let estimate = histogram.quantile(q[step]);
            note_nan(&estimate, [Remark::NanQuantile, Remark::SkewedQuantile], share_span, annotations)
        }
        Form::Classic(number, buckets) => {
            let (value, has_fallen) = buckets::quantile(q[step], buckets);
            // Prometheus takes the name away with the histogram's first result: at later steps it has none.
            let had_name = !std::mem::replace(&mut is_nameless[number], true);
            if has_fallen {
                let name = if had_name { forms.classic.histograms[number].labels.metric_name() } else { "" };
                Remark::ForcedMonotonicity.add_to(annotations, span, name);
            }
            value
        }
    })
}

/// `histogram_fraction`, between the bounds of each step.
pub(super) fn fraction(call: &Call, bounds: [&[f64]; 2], vector: &Vector, context: &mut CallContext<'_>) -> Vector {
    let [first_span, span] = [0, 2].map(|at| argument_span(call, at));
    let [lower, upper] = bounds;
    let forms = Forms::of(vector, span, context);
    forms.evaluated(span, context.annotations, |step, form, annotations| match form {
        Form::Native(histogram) => {
            let estimate = histogram.fraction(lower[step], upper[step]);
            note_nan(&estimate, [Remark::SkewedFraction; 2], first_span, annotations)
        }
        Form::Classic(_, buckets) => buckets::fraction(lower[step], upper[step], buckets),
    })
}

/// The estimate's value; what NaN observations did to it is remarked without the metric's name, as in Prometheus.
fn note_nan(estimate: &Estimate, remarks: [Remark; 2], span: Span, annotations: &mut Annotations) -> f64 {
    match estimate.note {
        Some(NanNote::IsNan) => remarks[0].add_to(annotations, span, ""),
        Some(NanNote::Skewed) => remarks[1].add_to(annotations, span, ""),
        None => {}
    }
    estimate.value
}

/// A histogram at one step.
enum Form<'a> {
    Native(&'a FloatHistogram),
    /// Its number, and its buckets that have a sample.
    Classic(usize, &'a mut Vec<Bucket>),
}

/// The histograms of a vector in either form.
struct Forms<'a> {
    vector: &'a Vector,
    steps: usize,
    classic: Arc<BucketRows>,
    /// Rows with native histograms, ascending, and their rows in the result: that of the classic histogram of the same
    /// labels, or one behind those of all classic ones.
    native: Vec<(usize, usize)>,
    /// Of classic histograms whose labels a native one has, too: its row.
    rivals: HashMap<usize, usize>,
    rows: Arc<Rows>,
}

impl<'a> Forms<'a> {
    fn of(vector: &'a Vector, argument: Span, context: &mut CallContext<'_>) -> Forms<'a> {
        let steps = context.steps.count as usize;
        let classic = context.plan.bucket_rows(context.node, &vector.rows);
        let with_native: BTreeSet<usize> = vector.cells.histograms.keys().map(|at| *at as usize / steps).collect();
        let mut alone = Vec::new();
        let target = |row: usize| {
            let labels = vector.rows.labels(row);
            let number = classic.number_of(&labels).unwrap_or(classic.histograms.len() + alone.len());
            if number == classic.histograms.len() + alone.len() {
                alone.push(labels);
            }
            (row, number)
        };
        let native: Vec<(usize, usize)> = with_native.into_iter().map(target).collect();
        let both = native.iter().filter(|(_, number)| *number < classic.histograms.len());
        let rivals = both.map(|(row, number)| (*number, *row)).collect();
        let rows = match alone.is_empty() {
            true => classic.rows.clone(),
            false => Arc::new(Rows::joined(&classic.rows, &Rows::built(alone).without_names())),
        };
        let forms = Forms { vector, steps, classic, native, rivals, rows };
        forms.warn_of_bounds(argument, context.annotations);
        forms
    }

    fn warn_of_bounds(&self, span: Span, annotations: &mut Annotations) {
        for row in self.classic.unbounded.iter().filter(|row| self.has_floats(**row)) {
            let labels = self.vector.rows.labels(*row);
            let (bound, metric) = (quote(labels.get(BOUND).unwrap_or_default()), quote(labels.metric_name()));
            let text = format!(
                "bucket label {BOUND:?} is missing or has a malformed value of {bound} for metric name {metric}"
            );
            annotations.add(Severity::Warning, span, text);
        }
    }

    /// A row for each histogram; two forms of one share theirs.
    fn evaluated(
        &self,
        span: Span,
        annotations: &mut Annotations,
        mut evaluate: impl FnMut(usize, Form<'_>, &mut Annotations) -> f64,
    ) -> Vector {
        let mut cells = Cells::absent(self.rows.len() * self.steps);
        let mut buckets = Vec::new();
        for (number, classic) in self.classic.histograms.iter().enumerate() {
            for step in 0..self.steps {
                self.gather(number, step, &mut buckets);
                if buckets.is_empty() {
                    continue;
                }
                if self.rivals.get(&number).is_some_and(|row| self.histogram(*row, step).is_some()) {
                    Remark::MixedHistogramForms.add_to(annotations, span, classic.labels.metric_name());
                    continue;
                }
                let form = Form::Classic(number, &mut buckets);
                cells.floats[number * self.steps + step] = evaluate(step, form, annotations);
            }
        }
        for (row, number) in &self.native {
            for step in 0..self.steps {
                let Some(histogram) = self.histogram(*row, step) else { continue };
                self.gather(*number, step, &mut buckets);
                if buckets.is_empty() {
                    let form = Form::Native(histogram);
                    cells.floats[number * self.steps + step] = evaluate(step, form, annotations);
                }
            }
        }
        Vector { rows: self.rows.clone(), cells }
    }

    fn histogram(&self, row: usize, step: usize) -> Option<&FloatHistogram> {
        self.vector.cells.histograms.get(&((row * self.steps + step) as u32)).map(|histogram| &**histogram)
    }

    /// The buckets that have a sample; none of a native histogram.
    fn gather(&self, number: usize, step: usize, buckets: &mut Vec<Bucket>) {
        buckets.clear();
        let Some(histogram) = self.classic.histograms.get(number) else { return };
        for (upper, row) in &histogram.bounds {
            let count = self.vector.cells.floats[row * self.steps + step];
            if is_float(count) {
                buckets.push(Bucket { upper: *upper, count });
            }
        }
    }

    fn has_floats(&self, row: usize) -> bool {
        self.vector.cells.floats[row * self.steps..][..self.steps].iter().any(|cell| is_float(*cell))
    }
}

fn is_float(cell: f64) -> bool {
    !matches!(cell.to_bits(), ABSENT | HISTOGRAM_NAN)
}
