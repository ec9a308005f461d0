//! Sums, means and variances of a window.

use std::sync::Arc;

use super::{CallNotes, Floats, Window};
use crate::promql::compensated::{self, CompensatedSum};
use crate::promql::histogram::{FloatHistogram, Incompatible};
use crate::promql::remark::Remark;
use crate::promql::value::Cell;

pub(super) fn sum(window: &Window<'_>, notes: &mut CallNotes<'_>) -> Option<Cell> {
    either(window, notes, CompensatedSum::of, sum_of_histograms)
}

pub(super) fn mean(window: &Window<'_>, notes: &mut CallNotes<'_>) -> Option<Cell> {
    either(window, notes, compensated::mean, mean_of_histograms)
}

pub(super) fn variance(floats: &Floats<'_>) -> f64 {
    compensated::variance(&floats.values)
}

/// Floats or histograms, but not both.
#[inline]
fn either(
    window: &Window<'_>,
    notes: &mut CallNotes<'_>,
    of_floats: impl Fn(&[f64]) -> f64,
    of_histograms: impl Fn(&Window<'_>) -> Result<FloatHistogram, Incompatible>,
) -> Option<Cell> {
    if !window.has_histograms() {
        return Some(Cell::Float(of_floats(window.samples.values)));
    }
    if window.has_floats() {
        notes.add(Remark::MixedSamples);
        return None;
    }
    match of_histograms(window) {
        Ok(histogram) => Some(Cell::Histogram(Arc::new(histogram))),
        Err(reason) => {
            notes.add(reason.into());
            None
        }
    }
}

fn sum_of_histograms(window: &Window<'_>) -> Result<FloatHistogram, Incompatible> {
    let mut histograms = window.histograms();
    let mut sum = FloatHistogram::clone(histograms.next().expect("a window is not empty"));
    for histogram in histograms {
        sum.add(histogram)?;
    }
    Ok(sum)
}

/// Each histogram moves the mean by its share, so that no sum can overflow.
fn mean_of_histograms(window: &Window<'_>) -> Result<FloatHistogram, Incompatible> {
    let mut histograms = window.histograms();
    let mut mean = FloatHistogram::clone(histograms.next().expect("a window is not empty"));
    for (at, histogram) in histograms.enumerate() {
        let count = (at + 2) as f64;
        let (mut change, mut share) = (FloatHistogram::clone(histogram), mean.clone());
        change.div(count);
        share.div(count);
        change.sub(&share)?;
        mean.add(&change)?;
    }
    Ok(mean)
}
