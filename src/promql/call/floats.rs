//! Functions of one float at a time.

use crate::model::HISTOGRAM_NAN;
use crate::promql::elementary;
use crate::promql::function::Function;
use crate::promql::value::{ABSENT, Steps, Vector};

/// The functions that take a float and nothing else.
pub(super) fn of_one(function: Function) -> Option<fn(f64) -> f64> {
    Some(match function {
        Function::Abs => f64::abs,
        Function::Ceil => f64::ceil,
        Function::Floor => f64::floor,
        Function::Sqrt => f64::sqrt,
        Function::Exp => elementary::exp,
        Function::Ln => elementary::ln,
        Function::Log2 => elementary::log2,
        Function::Log10 => elementary::log10,
        Function::Sin => elementary::sin,
        Function::Cos => elementary::cos,
        Function::Tan => elementary::tan,
        Function::Asin => elementary::asin,
        Function::Acos => elementary::acos,
        Function::Atan => elementary::atan,
        Function::Sinh => elementary::sinh,
        Function::Cosh => elementary::cosh,
        Function::Tanh => elementary::tanh,
        Function::Asinh => elementary::asinh,
        Function::Acosh => elementary::acosh,
        Function::Atanh => elementary::atanh,
        Function::Sgn => sign,
        Function::Rad => |value| value * std::f64::consts::PI / 180.0,
        Function::Deg => |value| value * 180.0 / std::f64::consts::PI,
        _ => return None,
    })
}

fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// Each float as `function` makes it; histograms are left out, and the metric's name.
pub(super) fn mapped(vector: Vector, function: impl Fn(f64) -> f64) -> Vector {
    each_float(vector, 1, |_, value| Some(function(value)))
}

/// The same with the step's number; `None` leaves a cell out.
#[inline]
fn each_float(vector: Vector, steps: usize, function: impl Fn(usize, f64) -> Option<f64>) -> Vector {
    let Vector { rows, mut cells } = vector;
    for row in cells.floats.chunks_exact_mut(steps) {
        for (step, cell) in row.iter_mut().enumerate() {
            *cell = match cell.to_bits() {
                ABSENT => continue,
                HISTOGRAM_NAN => f64::from_bits(ABSENT),
                _ => function(step, *cell).unwrap_or(f64::from_bits(ABSENT)),
            };
        }
    }
    cells.histograms.clear();
    Vector { rows: rows.without_names(), cells }
}

/// Floats brought between two bounds; none at steps where the bounds are crossed. NaN as a bound, or as a value, wins
/// over all but an infinity on its side.
pub(super) fn clamp(vector: Vector, bounds: impl Fn(usize) -> (f64, f64), steps: Steps) -> Vector {
    each_float(vector, steps.count as usize, |step, value| {
        let (min, max) = bounds(step);
        (max >= min || max.is_nan() || min.is_nan()).then(|| greater(min, lesser(max, value)))
    })
}

/// NaN where one is NaN, unless the other is infinite; the positive zero of two.
fn greater(one: f64, two: f64) -> f64 {
    if one == f64::INFINITY || two == f64::INFINITY {
        return f64::INFINITY;
    }
    if one.is_nan() || two.is_nan() {
        return f64::NAN;
    }
    if one == 0.0 && two == 0.0 {
        return if one.is_sign_negative() { two } else { one };
    }
    if one > two { one } else { two }
}

/// NaN where one is NaN, unless the other is negative infinite; the negative zero of two.
fn lesser(one: f64, two: f64) -> f64 {
    if one == f64::NEG_INFINITY || two == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    if one.is_nan() || two.is_nan() {
        return f64::NAN;
    }
    if one == 0.0 && two == 0.0 {
        return if one.is_sign_negative() { one } else { two };
    }
    if one < two { one } else { two }
}

/// To the nearest multiple, halves up; of 1 where none is given. Inverted first: tenths then come out as one writes them.
pub(super) fn round(vector: Vector, nearest: Option<&[f64]>, steps: Steps) -> Vector {
    let inverse = |step: usize| 1.0 / nearest.map_or(1.0, |nearest| nearest[step]);
    each_float(vector, steps.count as usize, |step, value| {
        let inverse = inverse(step);
        Some((value * inverse + 0.5).floor() / inverse)
    })
}

/// At each step the one float there, else NaN.
pub(super) fn scalar(vector: &Vector, steps: Steps) -> Vec<f64> {
    let mut found = vec![(0, f64::NAN); steps.count as usize];
    for row in vector.cells.floats.chunks_exact(found.len()) {
        for ((count, found), cell) in found.iter_mut().zip(row) {
            if !matches!(cell.to_bits(), ABSENT | HISTOGRAM_NAN) {
                (*count, *found) = (*count + 1, *cell);
            }
        }
    }
    found.into_iter().map(|(count, float)| if count == 1 { float } else { f64::NAN }).collect()
}
