//! Quantiles and fractions of a native histogram.
//!
//! Within an exponential bucket observations are taken to lie evenly on a logarithmic scale, in the zero bucket and in custom
//! buckets evenly on a linear one. Source: the native histogram specification of Prometheus, "Quantiles".

use super::FloatHistogram;
use super::bounds::Bucket;
use crate::promql::elementary::{exp2, log2};

/// What NaN observations, which are in no bucket, did to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanNote {
    /// The quantile lies among them: it is NaN.
    IsNan,
    /// They stand above all others, so the result is too high, or the fraction too low.
    Skewed,
}

/// A result, and what its reader should know of it.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// What to note beside it.
    pub note: Option<NanNote>,
}

impl From<f64> for Estimate {
    fn from(value: f64) -> Estimate {
        Estimate { value, note: None }
    }
}

impl FloatHistogram {
    /// The value below which the share `q` of all observations lies.
    pub fn quantile(&self, q: f64) -> Estimate {
        if q < 0.0 {
            return f64::NEG_INFINITY.into();
        }
        if q > 1.0 {
            return f64::INFINITY.into();
        }
        if self.count == 0.0 || q.is_nan() {
            return f64::NAN.into();
        }
        if self.sum.is_nan() || q < 0.5 {
            self.quantile_from(q * self.count, false, self.buckets())
        } else {
            self.quantile_from((1.0 - q) * self.count, true, self.buckets_descending())
        }
    }

    fn quantile_from(&self, rank: f64, is_descending: bool, mut buckets: impl Iterator<Item = Bucket>) -> Estimate {
        let mut count = 0.0;
        let nothing =
            Bucket { lower: 0.0, upper: 0.0, is_lower_inclusive: false, is_upper_inclusive: false, count: 0.0 };
        let mut bucket = nothing;
        for next in buckets.by_ref() {
            bucket = next;
            count += bucket.count;
            if bucket.count != 0.0 && count >= rank {
                break;
            }
        }
        if let Some(edge) = self.narrow(&mut bucket) {
            return edge.into();
        }
        count = count.min(self.count);
        if count < rank {
            let is_nan = self.sum.is_nan();
            let value = if is_nan { f64::NAN } else { bucket.upper };
            return Estimate { value, note: is_nan.then_some(NanNote::IsNan) };
        }
        let rank = if is_descending { count - rank } else { rank - (count - bucket.count) };
        if !self.sum.is_nan() {
            return self.between(&bucket, rank / bucket.count).into();
        }
        // Prometheus 3.5 looks through the rest for what is missing, and then interpolates in the last bucket that it saw.
        let count = buckets.inspect(|last| bucket = *last).fold(count, |count, bucket| count + bucket.count);
        let value = self.between(&bucket, rank / bucket.count);
        Estimate { value, note: (count < self.count).then_some(NanNote::Skewed) }
    }

    /// Moves bounds that nobody observed to zero; gives the value where a bucket is open and there is nothing to interpolate.
    fn narrow(&self, bucket: &mut Bucket) -> Option<f64> {
        if self.has_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return Some(bucket.upper);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return Some(bucket.lower);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.halve_zero_bucket(bucket);
        }
        None
    }

    fn halve_zero_bucket(&self, bucket: &mut Bucket) {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }

    fn between(&self, bucket: &Bucket, fraction: f64) -> f64 {
        let Bucket { lower, upper, .. } = *bucket;
        if self.has_custom_buckets() || (lower <= 0.0 && upper >= 0.0) {
            return lower + (upper - lower) * fraction;
        }
        let (log_lower, log_upper) = (log2(lower.abs()), log2(upper.abs()));
        if lower > 0.0 {
            return exp2(log_lower + (log_upper - log_lower) * fraction);
        }
        -exp2(log_upper + (log_lower - log_upper) * (1.0 - fraction))
    }

    /// The share of all observations that lies between two values.
    pub fn fraction(&self, lower: f64, upper: f64) -> Estimate {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN.into();
        }
        if lower >= upper {
            return 0.0.into();
        }
        let (mut rank, mut ranks, mut count) = (0.0, [None; 2], 0.0);
        let mut buckets = self.buckets();
        for mut bucket in buckets.by_ref() {
            count += bucket.count;
            let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if is_zero {
                self.halve_zero_bucket(&mut bucket);
            }
            for (found, edge) in ranks.iter_mut().zip([lower, upper]) {
                *found = found.or_else(|| self.rank_in(&bucket, is_zero, rank, edge));
            }
            if ranks[0].is_some() && ranks[1].is_some() {
                break;
            }
            rank += bucket.count;
        }
        let filled = buckets.fold(count, |count, bucket| count + bucket.count);
        let (count, note) = match self.sum.is_nan() {
            true => (filled, (filled < self.count).then_some(NanNote::Skewed)),
            false => (self.count, None),
        };
        let [lower, upper] = ranks.map(|found: Option<f64>| match found {
            Some(rank) if rank > count => count,
            rank => rank.unwrap_or(count),
        });
        Estimate { value: (upper - lower) / self.count, note }
    }

    /// How many observations lie below `edge`, `rank` of them below this bucket; nothing where it lies behind the bucket.
    fn rank_in(&self, bucket: &Bucket, is_zero: bool, rank: f64, edge: f64) -> Option<f64> {
        if bucket.lower >= edge {
            return Some(rank);
        }
        if bucket.upper <= edge {
            return None;
        }
        let Bucket { lower, upper, count, .. } = *bucket;
        if self.has_custom_buckets() || is_zero {
            return Some(rank + count * (edge - lower) / (upper - lower));
        }
        let (log_lower, log_upper, log_edge) = (log2(lower.abs()), log2(upper.abs()), log2(edge.abs()));
        let fraction = if edge > 0.0 {
            (log_edge - log_lower) / (log_upper - log_lower)
        } else {
            1.0 - (log_edge - log_upper) / (log_lower - log_upper)
        };
        Some(rank + count * fraction)
    }
}
