//! Quantiles and fractions of classic histograms: cumulative counts up to bounds.
//!
//! Observations are taken to lie evenly in their bucket. The counts of a bucket and of the next may have been read at different
//! times, so one that is lower than the one before is raised to it.

/// Relative differences of two counts up to this are of rounding, and are passed over.
const ROUNDING: f64 = 1e-12;

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    /// The `le` label.
    pub upper: f64,
    /// Observations up to there.
    pub count: f64,
}

/// The value below which the share `q` of the observations lies, and whether counts fell. `buckets` ascend by their bounds,
/// of which the last must be +Inf; there is at least one.
pub(super) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return (f64::NAN, false);
    }
    merge_equal(buckets);
    let has_fallen = raise_fallen(buckets);
    let [inner @ .., last] = &buckets[..] else { return (f64::NAN, false) };
    if inner.is_empty() || last.count == 0.0 {
        return (f64::NAN, false);
    }
    (interpolated(q * last.count, inner), has_fallen)
}

/// The value of the observation with this rank; `inner` are the buckets below the one that reaches to +Inf.
fn interpolated(mut rank: f64, inner: &[Bucket]) -> f64 {
    // Not the same as `count < rank`: a NaN rank lies behind every bucket.
    let at = inner.partition_point(|bucket| !matches!(bucket.count.partial_cmp(&rank), Some(order) if order.is_ge()));
    let Some(bucket) = inner.get(at) else { return inner[inner.len() - 1].upper };
    if at == 0 && bucket.upper <= 0.0 {
        return bucket.upper;
    }
    let (mut lower, mut count) = (0.0, bucket.count);
    if at > 0 {
        lower = inner[at - 1].upper;
        count -= inner[at - 1].count;
        rank -= inner[at - 1].count;
    }
    lower + (bucket.upper - lower) * (rank / count)
}

/// Buckets with one bound become one.
fn merge_equal(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|next, kept| {
        let is_same = next.upper == kept.upper;
        if is_same {
            kept.count += next.count;
        }
        is_same
    });
}

/// Whether a count was lower than the one before by more than rounding.
fn raise_fallen(buckets: &mut [Bucket]) -> bool {
    let (mut has_fallen, mut highest) = (false, buckets[0].count);
    for bucket in &mut buckets[1..] {
        if bucket.count == highest {
            continue;
        }
        let is_rounding = is_nearly(highest, bucket.count);
        if is_rounding || bucket.count < highest {
            has_fallen |= !is_rounding;
            bucket.count = highest;
        } else {
            highest = bucket.count;
        }
    }
    has_fallen
}

/// Whether two numbers differ by rounding alone.
fn is_nearly(one: f64, two: f64) -> bool {
    if one.is_nan() && two.is_nan() || one == two {
        return true;
    }
    let (sum, difference) = (one.abs() + two.abs(), (one - two).abs());
    if one == 0.0 || two == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < ROUNDING * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < ROUNDING
}

/// The share of the observations between two values. `buckets` as for [`quantile`].
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return f64::NAN;
    }
    merge_equal(buckets);
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let [lower, upper] = [lower, upper].map(|edge| match rank_of(edge, buckets) {
        Some(rank) if rank > count => count,
        rank => rank.unwrap_or(count),
    });
    (upper - lower) / count
}

/// How many observations lie below `edge`; nothing where it lies behind all buckets.
fn rank_of(edge: f64, buckets: &[Bucket]) -> Option<f64> {
    let (mut lower, mut rank) = (f64::NEG_INFINITY, 0.0);
    for bucket in buckets {
        if lower >= edge {
            return Some(rank);
        }
        if bucket.upper > edge {
            return Some(rank + (bucket.count - rank) * (edge - lower) / (bucket.upper - lower));
        }
        (lower, rank) = (bucket.upper, bucket.count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(all: &[(f64, f64)]) -> Vec<Bucket> {
        all.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn a_quantile_lies_evenly_in_its_bucket() {
        let of = |q: f64| quantile(q, &mut buckets(&[(1.0, 4.0), (3.0, 8.0), (INF, 10.0)]));
        assert_eq!(of(0.2), (0.5, false), "the lowest bucket begins at zero");
        assert_eq!(of(0.6), (2.0, false));
        assert_eq!(of(0.95), (3.0, false), "nobody knows how far the last bucket reaches");
        assert_eq!((of(-1.0).0, of(2.0).0), (-INF, INF));
        let below_zero = quantile(0.1, &mut buckets(&[(-1.0, 4.0), (INF, 4.0)]));
        assert_eq!(below_zero.0, -1.0, "nobody knows where a lowest bucket below zero begins");
    }

    #[test]
    fn without_the_last_bucket_or_observations_there_is_no_quantile() {
        for none in [&[(1.0, 4.0)][..], &[(INF, 4.0)], &[(1.0, 0.0), (INF, 0.0)]] {
            assert!(quantile(0.5, &mut buckets(none)).0.is_nan(), "{none:?}");
        }
    }

    #[test]
    fn counts_that_fell_are_raised_and_only_true_falls_are_told() {
        let mut fallen = buckets(&[(1.0, 8.0), (2.0, 4.0), (INF, 8.0)]);
        assert_eq!(quantile(0.5, &mut fallen), (0.5, true));
        let mut rounded = buckets(&[(1.0, 8.0), (2.0, 8.0 - 1e-14), (INF, 8.0 + 1e-14)]);
        assert_eq!(quantile(0.5, &mut rounded), (0.5, false));
        let mut split = buckets(&[(1.0, 2.0), (1.0, 2.0), (INF, 4.0)]);
        assert_eq!(quantile(0.5, &mut split), (0.5, false));
    }

    #[test]
    fn a_fraction_is_the_difference_of_two_ranks() {
        let of = |lower: f64, upper: f64| fraction(lower, upper, &mut buckets(&[(1.0, 4.0), (3.0, 8.0), (INF, 10.0)]));
        assert_eq!(of(1.0, 2.0), 0.2);
        assert_eq!(of(-INF, 3.0), 0.8);
        assert_eq!(of(1.0, INF), 0.6);
        assert_eq!(of(2.0, 2.0), 0.0);
        assert!(fraction(0.0, 1.0, &mut buckets(&[(1.0, 4.0)])).is_nan());
        assert!(of(0.0, 2.0).is_nan(), "nobody knows where the lowest bucket begins");
    }
}
