//! Straight lines through a window, and its smoothed end.

use super::{CallNotes, Floats, Window};
use crate::promql::compensated::CompensatedSum;
use crate::promql::notes::EvalError;
use crate::promql::remark::Remark;
use crate::promql::value::Cell;

/// `deriv`: the line's slope a second.
pub(super) fn slope(window: &Window<'_>, notes: &mut CallNotes<'_>) -> Option<Cell> {
    let floats = enough(window, notes)?;
    Some(Cell::Float(line(&floats, floats.times[0]).0))
}

/// `predict_linear`: where the line will be `seconds` after the step.
pub(super) fn predicted(window: &Window<'_>, seconds: f64, notes: &mut CallNotes<'_>) -> Option<Cell> {
    let (slope, intercept) = line(&enough(window, notes)?, window.at);
    Some(Cell::Float(slope * seconds + intercept))
}

/// Two floats at least; histograms among them are passed over with a remark.
fn enough<'a>(window: &Window<'a>, notes: &mut CallNotes<'_>) -> Option<Floats<'a>> {
    let floats = window.floats();
    if window.has_histograms() && window.has_floats() {
        notes.add(Remark::HistogramsIgnored);
    }
    (floats.values.len() >= 2).then_some(floats)
}

/// The line of least squares: its slope a second, and its value at `origin`.
fn line(floats: &Floats<'_>, origin: i64) -> (f64, f64) {
    let first = floats.values[0];
    if floats.values.iter().skip(1).all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let [mut x, mut y, mut xy, mut xx] = [CompensatedSum::default(); 4];
    for (time, value) in floats.times.iter().zip(&*floats.values) {
        let seconds = (time - origin) as f64 / 1e3;
        x.add(seconds);
        y.add(*value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    let (n, x, y) = (floats.values.len() as f64, x.total(), y.total());
    let covariance = xy.total() - x * y / n;
    let variance = xx.total() - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

/// `double_exponential_smoothing`: the last value, smoothed by `smoothing` and along a trend that `trend` smooths.
pub(super) fn smoothed(
    window: &Window<'_>,
    smoothing: f64,
    trend: f64,
    notes: &mut CallNotes<'_>,
) -> Result<Option<Cell>, EvalError> {
    check_factor("smoothing factor. Expected: 0 < sf < 1", smoothing)?;
    check_factor("trend factor. Expected: 0 < tf < 1", trend)?;
    Ok(enough(window, notes).map(|floats| Cell::Float(smooth(&floats.values, smoothing, trend))))
}

fn check_factor(wanted: &str, factor: f64) -> Result<(), EvalError> {
    if factor > 0.0 && factor < 1.0 || factor.is_nan() {
        return Ok(());
    }
    let got = match factor.is_infinite() {
        true if factor > 0.0 => "+Inf".to_owned(),
        true => "-Inf".to_owned(),
        false => format!("{factor:.6}"),
    };
    Err(EvalError::Execution(format!("invalid {wanted}, got: {got}")))
}

fn smooth(values: &[f64], smoothing: f64, trend: f64) -> f64 {
    let (mut before, mut smooth) = (0.0, values[0]);
    let mut slope = values[1] - values[0];
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (smooth - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (smooth + slope);
        (before, smooth) = (smooth, next);
    }
    smooth
}
