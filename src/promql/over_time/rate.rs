//! `rate`, `increase` and `delta`: the change between the first and the last sample, carried on to the window's edges.
//!
//! An edge counts as reached when its nearest sample lies within 1.1 mean distances of it; else the series is taken to
//! begin or end half a mean distance beyond that sample. A counter of floats is never carried back below zero.

use std::sync::Arc;

use super::{CallNotes, Window};
use crate::model::ResetHint;
use crate::promql::function::Function;
use crate::promql::histogram::FloatHistogram;
use crate::promql::remark::Remark;
use crate::promql::value::Cell;

/// An edge is reached from this many mean distances.
const REACH: f64 = 1.1;

/// Which of the three functions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Values fall only when the counter begins anew.
    pub is_counter: bool,
    /// Divided by the range.
    pub is_per_second: bool,
}

impl Kind {
    pub(super) fn of(function: Function) -> Option<Kind> {
        match function {
            Function::Rate => Some(Kind { is_counter: true, is_per_second: true }),
            Function::Increase => Some(Kind { is_counter: true, is_per_second: false }),
            Function::Delta => Some(Kind { is_counter: false, is_per_second: false }),
            _ => None,
        }
    }
}

pub(super) fn extrapolated(window: &Window<'_>, kind: Kind, notes: &mut CallNotes<'_>) -> Option<Cell> {
    let rates = Rates::new(kind, window.samples.times, (window.start, window.end));
    if !window.has_histograms() {
        return rates.of(window.samples.values).map(Cell::Float);
    }
    if window.has_floats() {
        notes.add(Remark::MixedSamples);
        return None;
    }
    if window.histograms().len() < 2 {
        return None;
    }
    let mut rise = histogram_rise(window, kind, notes)?;
    rise.mul(rates.factor(None));
    Some(Cell::Histogram(Arc::new(rise)))
}

/// What windows over the same times have in common, whatever their values.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    kind: Kind,
    /// Seconds from the first sample to the last.
    sampled: f64,
    /// Seconds that the change is carried on beyond them.
    before: f64,
    after: f64,
    /// Seconds of the window.
    range: f64,
}

impl Rates {
    /// Of samples at `times`, in the window that these bounds stand for.
    pub(super) fn new(kind: Kind, times: &[i64], (start, end): (i64, i64)) -> Rates {
        let (first, last) = (times[0], times[times.len() - 1]);
        let sampled = (last - first) as f64 / 1000.0;
        let distance = sampled / (times.len() - 1) as f64;
        let reach = distance * REACH;
        let carried = |gap: i64| {
            let gap = gap as f64 / 1000.0;
            if gap >= reach { distance / 2.0 } else { gap }
        };
        let (before, after) = (carried(first - start), carried(end - last));
        Rates { kind, sampled, before, after, range: seconds(end - start) }
    }

    /// The result for these values, of which there must be two.
    #[inline]
    pub fn of(&self, values: &[f64]) -> Option<f64> {
        let [first, .., last] = values else { return None };
        let mut rise = last - first;
        let mut floor = None;
        if self.kind.is_counter {
            // Few counters begin anew, and whether one did is soon seen.
            if falls(values) {
                let pairs = values.iter().zip(&values[1..]);
                pairs.filter(|(before, now)| now < before).for_each(|(before, _)| rise += before);
            }
            floor = (rise > 0.0 && *first >= 0.0).then(|| first / rise);
        }
        Some(rise * self.factor(floor))
    }

    /// What the change between the outer samples is multiplied by. `floor` is how many times that change lies between zero and the
    /// first value, where the value cannot be lower.
    #[inline]
    fn factor(&self, floor: Option<f64>) -> f64 {
        let mut before = self.before;
        if let Some(floor) = floor {
            let to_zero = self.sampled * floor;
            if to_zero < before {
                before = to_zero;
            }
        }
        let factor = (self.sampled + before + self.after) / self.sampled;
        if self.kind.is_per_second { factor / self.range } else { factor }
    }
}

/// Whether some value is less than the one before it.
#[inline]
fn falls(values: &[f64]) -> bool {
    values.iter().zip(&values[1..]).fold(false, |falls, (before, now)| falls | (now < before))
}

/// Milliseconds in seconds, rounded as Go's `Duration.Seconds` does.
fn seconds(milliseconds: i64) -> f64 {
    let nanoseconds = milliseconds % 1000 * 1_000_000;
    (milliseconds / 1000) as f64 + nanoseconds as f64 / 1e9
}

/// The change of histograms of one kind of buckets, resets put back.
fn histogram_rise(window: &Window<'_>, kind: Kind, notes: &mut CallNotes<'_>) -> Option<FloatHistogram> {
    let rise = if kind.is_counter { counter_rise(window) } else { gauge_rise(window) };
    let (remark, mut rise) = match rise {
        Ok(found) => found,
        Err(refused) => {
            refused.into_iter().for_each(|remark| notes.add(remark));
            return None;
        }
    };
    if let Some(remark) = remark {
        notes.add(remark);
    }
    rise.reset_hint = ResetHint::Gauge;
    rise.compact();
    Some(rise)
}

/// The change, and what is to be remarked on it; or only remarks.
type Rise = Result<(Option<Remark>, FloatHistogram), Vec<Remark>>;

fn gauge_rise(window: &Window<'_>) -> Rise {
    let (first, last) = outer(window);
    if first.has_custom_buckets() != last.has_custom_buckets() {
        return Err(vec![Remark::MixedSchemas]);
    }
    let mut rise = last.clone();
    rise.reduce_to(first.schema);
    rise.sub(first).map_err(|reason| vec![reason.into()])?;
    let is_gauge = [first, last].iter().all(|histogram| histogram.reset_hint == ResetHint::Gauge);
    Ok(((!is_gauge).then_some(Remark::NotGauge), rise))
}

fn counter_rise(window: &Window<'_>) -> Rise {
    let (first, last) = outer(window);
    let mut remark = [first, last].iter().any(|histogram| histogram.reset_hint == ResetHint::Gauge);
    let after_reset = window.histograms().nth(1).filter(|second| second.is_reset_after(first));
    let replaced = after_reset.map(|second| nothing_like(second));
    let first = replaced.as_ref().unwrap_or(first);
    if last.has_custom_buckets() != first.has_custom_buckets() {
        let not_counter = remark.then_some(Remark::NotCounter);
        return Err(not_counter.into_iter().chain([Remark::MixedSchemas]).collect());
    }
    let mut schema = first.schema.min(last.schema);
    for between in window.histograms().skip(1).take(window.histograms().len() - 2) {
        remark |= between.reset_hint == ResetHint::Gauge;
        schema = schema.min(between.schema);
        if between.has_custom_buckets() != first.has_custom_buckets() {
            return Err(vec![Remark::MixedSchemas]);
        }
    }
    let mut rise = last.clone();
    rise.reduce_to(schema);
    rise.sub(first).map_err(|reason| vec![reason.into()])?;
    let mut previous = first;
    for histogram in window.histograms().skip(1) {
        if histogram.is_reset_after(previous) {
            rise.add(previous).map_err(|reason| vec![reason.into()])?;
        }
        previous = histogram;
    }
    Ok((remark.then_some(Remark::NotCounter), rise))
}

fn outer<'a>(window: &Window<'a>) -> (&'a FloatHistogram, &'a FloatHistogram) {
    let mut histograms = window.histograms();
    let first = histograms.next().expect("two histograms are the least");
    (first, histograms.next_back().expect("two histograms are the least"))
}

/// An empty histogram with the buckets of another: what stands before a reset does not count, whatever its buckets were.
fn nothing_like(histogram: &FloatHistogram) -> FloatHistogram {
    FloatHistogram {
        reset_hint: ResetHint::Unknown,
        schema: histogram.schema,
        zero_threshold: 0.0,
        zero: 0.0,
        count: 0.0,
        sum: 0.0,
        positive: Vec::new(),
        negative: Vec::new(),
        custom_bounds: histogram.custom_bounds.clone(),
    }
}
