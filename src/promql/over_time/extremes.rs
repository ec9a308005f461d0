//! The least and the greatest float of a window, and how far its floats lie from their median.
//!
//! NaN is the least and the greatest only where there is nothing else.

use super::Floats;
use crate::promql::quantile::quantile;

/// Time in seconds and value of the first least float.
pub(super) fn min(floats: &Floats<'_>) -> (f64, f64) {
    extreme(floats, |value, best| value < best)
}

/// Of the first greatest one.
pub(super) fn max(floats: &Floats<'_>) -> (f64, f64) {
    extreme(floats, |value, best| value > best)
}

/// Of the last least one.
pub(super) fn last_min(floats: &Floats<'_>) -> (f64, f64) {
    extreme(floats, |value, best| value <= best)
}

/// Of the last greatest one.
pub(super) fn last_max(floats: &Floats<'_>) -> (f64, f64) {
    extreme(floats, |value, best| value >= best)
}

#[inline]
fn extreme(floats: &Floats<'_>, is_better: impl Fn(f64, f64) -> bool) -> (f64, f64) {
    let (mut time, mut best) = (floats.times[0], floats.values[0]);
    for (at, value) in floats.values.iter().enumerate() {
        if is_better(*value, best) || best.is_nan() {
            (time, best) = (floats.times[at], *value);
        }
    }
    (time as f64 / 1000.0, best)
}

/// The median distance from the median.
pub(super) fn median_deviation(floats: &Floats<'_>) -> f64 {
    let mut values = floats.values.to_vec();
    let median = quantile(0.5, &mut values);
    values.copy_from_slice(&floats.values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    quantile(0.5, &mut values)
}
