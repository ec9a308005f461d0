//! How often a series changed, and how often it began anew.

use super::{Sample, Window};

/// Samples that differ from the one before. All NaN are one value.
pub(super) fn changes(window: &Window<'_>) -> usize {
    count(window, |before, now| match (before, now) {
        (Sample::Float(before), Sample::Float(now)) => now != before && !(now.is_nan() && before.is_nan()),
        (Sample::Histogram(before), Sample::Histogram(now)) => !now.is_same(before),
        _ => true,
    })
}

/// Samples that a counter cannot have reached from the one before.
pub(super) fn resets(window: &Window<'_>) -> usize {
    count(window, |before, now| match (before, now) {
        (Sample::Float(before), Sample::Float(now)) => now < before,
        (Sample::Histogram(before), Sample::Histogram(now)) => now.is_reset_after(before),
        _ => true,
    })
}

#[inline]
fn count(window: &Window<'_>, counts: impl Fn(Sample<'_>, Sample<'_>) -> bool) -> usize {
    let pairs = window.iter().zip(window.iter().skip(1));
    pairs.filter(|(before, now)| counts(*before, *now)).count()
}
