//! Quantiles of plain numbers.

use std::cmp::Ordering;

/// The value below which the share `q` of `values` lies, between two of them by their distance. Sorts the values, NaN first. NaN
/// without values or for a NaN `q`; −Inf and +Inf for a `q` below 0 and above 1.
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(nan_first);
    let last = (values.len() - 1) as f64;
    let rank = q * last;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(last);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

/// Ascending, NaN below everything.
pub fn nan_first(one: &f64, two: &f64) -> Ordering {
    one.partial_cmp(two).unwrap_or_else(|| two.is_nan().cmp(&one.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        let of = |q: f64| quantile(q, &mut [4.0, 1.0, 3.0, 2.0]);
        assert_eq!([of(0.0), of(0.5), of(0.9), of(1.0)], [1.0, 2.5, 3.0 * (1.0 - 0.7) + 4.0 * 0.7, 4.0]);
        assert_eq!([of(-0.1), of(1.1)], [f64::NEG_INFINITY, f64::INFINITY]);
        assert!(of(f64::NAN).is_nan() && quantile(0.5, &mut []).is_nan());
    }

    #[test]
    fn nan_stands_below_everything() {
        let mut values = [1.0, f64::NAN, f64::NEG_INFINITY];
        assert!(quantile(0.0, &mut values).is_nan());
        assert_eq!(values[1..], [f64::NEG_INFINITY, 1.0]);
    }
}
