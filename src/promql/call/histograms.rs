//! `histogram_quantile` and `histogram_fraction`, over native histograms and over classic ones, whose buckets are series.
//!
//! The rows of a classic histogram are found once for all steps: those whose labels but `le` are the same, the metric's name among
//! them. At a step at which a native histogram has these very labels, too, neither of the two is looked at.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::buckets::{self, Bucket};
use crate::exposition::parse_value;
use crate::model::{HISTOGRAM_NAN, Labels, LabelsBuilder};
use crate::promql::ast::{Call, Span};
use crate::promql::histogram::{Estimate, FloatHistogram, NanNote};
use crate::promql::notes::{Annotations, Severity};
use crate::promql::parse::quote;
use crate::promql::remark::{Remark, argument_span, warn_of_quantile};
use crate::promql::rows::Rows;
use crate::promql::value::{ABSENT, Cells, Vector};

/// The label of a bucket's upper bound.
const BOUND: &str = "le";

/// `histogram_quantile`, of the share `q[step]`.
pub(super) fn quantile(call: &Call, q: &[f64], vector: &Vector, annotations: &mut Annotations) -> Vector {
    let [share_span, span] = [0, 1].map(|at| argument_span(call, at));
    q.iter().for_each(|q| warn_of_quantile(annotations, share_span, *q));
    let forms = Forms::of(vector, q.len(), span, annotations);
    let mut is_nameless = vec![false; forms.classic.len()];
    forms.evaluated(span, annotations, |step, form, annotations| match form {
        Form::Native(histogram) => {
            let estimate = histogram.quantile(q[step]);
            note_nan(&estimate, [Remark::NanQuantile, Remark::SkewedQuantile], share_span, annotations)
        }
        Form::Classic(number, buckets) => {
            let (value, has_fallen) = buckets::quantile(q[step], buckets);
            // Prometheus takes the name away with the histogram's first result: at later steps it has none.
            let had_name = !std::mem::replace(&mut is_nameless[number], true);
            if has_fallen {
                let name = if had_name { forms.classic[number].labels.metric_name() } else { "" };
                Remark::ForcedMonotonicity.add_to(annotations, span, name);
            }
            value
        }
    })
}

/// `histogram_fraction`, between the bounds of each step.
pub(super) fn fraction(call: &Call, bounds: [&[f64]; 2], vector: &Vector, annotations: &mut Annotations) -> Vector {
    let [first_span, span] = [0, 2].map(|at| argument_span(call, at));
    let [lower, upper] = bounds;
    Forms::of(vector, lower.len(), span, annotations).evaluated(span, annotations, |step, form, annotations| match form
    {
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
    /// Rows with native histograms, ascending, and their labels.
    native: Vec<(usize, Labels)>,
    classic: Vec<Classic>,
}

/// A classic histogram.
struct Classic {
    /// Without `le`.
    labels: Labels,
    /// Upper bounds, ascending, and their rows.
    bounds: Vec<(f64, usize)>,
    /// The native histogram that has the same labels.
    rival: Option<usize>,
}

impl<'a> Forms<'a> {
    fn of(vector: &'a Vector, steps: usize, span: Span, annotations: &mut Annotations) -> Forms<'a> {
        let rows: BTreeSet<usize> = vector.cells.histograms.keys().map(|at| *at as usize / steps).collect();
        let native: Vec<(usize, Labels)> = rows.into_iter().map(|row| (row, vector.rows.labels(row))).collect();
        let mut forms = Forms { vector, steps, native, classic: Vec::new() };
        forms.find_classic(span, annotations);
        let numbers: HashMap<&Labels, usize> =
            forms.native.iter().enumerate().map(|(number, (_, labels))| (labels, number)).collect();
        for classic in &mut forms.classic {
            classic.bounds.sort_by(|one, two| one.0.total_cmp(&two.0));
            classic.rival = numbers.get(&classic.labels).copied();
        }
        forms
    }

    fn find_classic(&mut self, span: Span, annotations: &mut Annotations) {
        let mut numbers: HashMap<Labels, usize> = HashMap::new();
        for row in 0..self.vector.rows.len() {
            if !self.has_floats(row) {
                continue;
            }
            let labels = self.vector.rows.labels(row);
            let text = labels.get(BOUND).unwrap_or_default();
            let Some(bound) = parse_value(text.as_bytes()) else {
                warn_of_bound(annotations, span, text, labels.metric_name());
                continue;
            };
            let labels = LabelsBuilder::from_labels(&labels).remove(BOUND).build();
            let number = *numbers.entry(labels).or_insert_with_key(|labels| {
                self.classic.push(Classic { labels: labels.clone(), bounds: Vec::new(), rival: None });
                self.classic.len() - 1
            });
            self.classic[number].bounds.push((bound, row));
        }
    }

    /// A row for each histogram; two forms of one share theirs.
    fn evaluated(
        &self,
        span: Span,
        annotations: &mut Annotations,
        mut evaluate: impl FnMut(usize, Form<'_>, &mut Annotations) -> f64,
    ) -> Vector {
        let mut cells = Cells::absent((self.native.len() + self.classic.len()) * self.steps);
        let mut buckets = Vec::new();
        let mut refused = BTreeSet::new();
        for (number, classic) in self.classic.iter().enumerate() {
            let out = classic.rival.unwrap_or(self.native.len() + number) * self.steps;
            for step in 0..self.steps {
                self.gather(classic, step, &mut buckets);
                if !buckets.is_empty() && self.has_rival(classic, step) {
                    Remark::MixedHistogramForms.add_to(annotations, span, classic.labels.metric_name());
                    refused.insert(out + step);
                } else if !buckets.is_empty() {
                    cells.floats[out + step] = evaluate(step, Form::Classic(number, &mut buckets), annotations);
                }
            }
        }
        for (number, (row, _)) in self.native.iter().enumerate() {
            for step in (0..self.steps).filter(|step| !refused.contains(&(number * self.steps + step))) {
                if let Some(histogram) = self.histogram(*row, step) {
                    cells.floats[number * self.steps + step] = evaluate(step, Form::Native(histogram), annotations);
                }
            }
        }
        Vector { rows: self.rows(), cells }
    }

    fn rows(&self) -> Arc<Rows> {
        let native = self.native.iter().map(|(_, labels)| labels.clone());
        let labels = native.chain(self.classic.iter().map(|classic| classic.labels.clone())).collect();
        Rows::built(labels).without_names()
    }

    fn histogram(&self, row: usize, step: usize) -> Option<&FloatHistogram> {
        self.vector.cells.histograms.get(&((row * self.steps + step) as u32)).map(|histogram| &**histogram)
    }

    /// Whether the native form of a classic histogram has a sample, too.
    fn has_rival(&self, classic: &Classic, step: usize) -> bool {
        classic.rival.is_some_and(|number| self.histogram(self.native[number].0, step).is_some())
    }

    /// The buckets that have a sample.
    fn gather(&self, classic: &Classic, step: usize, buckets: &mut Vec<Bucket>) {
        buckets.clear();
        for (upper, row) in &classic.bounds {
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

fn warn_of_bound(annotations: &mut Annotations, span: Span, bound: &str, metric: &str) {
    let (bound, metric) = (quote(bound), quote(metric));
    let text =
        format!("bucket label {BOUND:?} is missing or has a malformed value of {bound} for metric name {metric}");
    annotations.add(Severity::Warning, span, text);
}
