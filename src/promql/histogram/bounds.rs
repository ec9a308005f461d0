//! Where buckets lie.
//!
//! Bounds of exponential buckets are powers of two times one of `2^schema` fractions in `[0.5, 1)`. The fraction is a product of
//! square roots of two taken again and again, one a bit of the index, from the greatest down: that gives every client's and every
//! server's bounds to the bit, as long as the square root of two itself is the float below the nearest one, as theirs is.

use std::iter;

use super::FloatHistogram;

/// One bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound, −Inf where there is none.
    pub lower: f64,
    /// Upper bound, +Inf where there is none.
    pub upper: f64,
    /// Whether an observation that equals the lower bound is in it.
    pub is_lower_inclusive: bool,
    /// Whether one that equals the upper bound is.
    pub is_upper_inclusive: bool,
    /// Its observations.
    pub count: f64,
}

/// `2^(1/2)`, `2^(1/4)`, … `2^(1/256)`.
#[allow(clippy::approx_constant, reason = "the float below the nearest one is meant")]
const ROOTS: [f64; 8] = [
    1.414213562373095,
    1.189207115002721,
    1.0905077326652577,
    1.0442737824274138,
    1.0218971486541166,
    1.0108892860517005,
    1.0054299011128027,
    1.0027112750502025,
];

/// Upper bound of exponential bucket `index`; of the last one below the bucket of infinities the greatest float.
pub(super) fn exponential_bound(index: i32, schema: i8) -> f64 {
    if schema < 0 {
        return power_of_two(i64::from(index) << -schema);
    }
    let within = index & ((1 << schema) - 1);
    let fraction = (0..schema).filter(|bit| within & (1 << (schema - 1 - bit)) != 0);
    let fraction = fraction.fold(0.5, |product, bit| product * ROOTS[bit as usize]);
    let exponent = i64::from(index >> schema) + 1;
    if fraction == 0.5 { power_of_two(exponent - 1) } else { scaled(fraction, exponent) }
}

fn power_of_two(exponent: i64) -> f64 {
    if exponent == 1024 { f64::MAX } else { scaled(1.0, exponent) }
}

/// `fraction · 2^exponent`, rounded once; two factors, as neither need leave the range of normal floats.
fn scaled(fraction: f64, exponent: i64) -> f64 {
    let exponent = exponent.clamp(-1200, 1200);
    let half = exponent / 2;
    fraction * exact_power(half) * exact_power(exponent - half)
}

/// `2^exponent`, for exponents of normal floats.
fn exact_power(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

impl FloatHistogram {
    /// Upper bound of a bucket of the positive side; the lower one is that of the bucket before.
    pub(super) fn bound(&self, index: i32) -> f64 {
        if !self.has_custom_buckets() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Ok(index) => self.custom_bounds.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        }
    }

    fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = (self.bound(index - 1), self.bound(index));
        let is_custom = self.has_custom_buckets();
        Bucket {
            lower,
            upper,
            is_lower_inclusive: if is_custom { index == 0 } else { lower < 0.0 },
            is_upper_inclusive: is_custom || upper > 0.0,
            count,
        }
    }

    fn negative_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = (-self.bound(index), -self.bound(index - 1));
        Bucket { lower, upper, is_lower_inclusive: lower < 0.0, is_upper_inclusive: upper > 0.0, count }
    }

    /// Buckets above zero, ascending.
    pub(super) fn positive_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.positive.iter().map(|entry| self.positive_bucket(*entry))
    }

    /// Buckets below zero, from zero downwards.
    pub(super) fn negative_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.negative.iter().map(|entry| self.negative_bucket(*entry))
    }

    /// The zero bucket, whatever it holds.
    pub fn zero_bucket(&self) -> Bucket {
        let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
        Bucket { lower, upper, is_lower_inclusive: true, is_upper_inclusive: true, count: self.zero }
    }

    fn filled_zero_bucket(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        iter::once(self.zero_bucket()).filter(|bucket| bucket.count > 0.0)
    }

    /// All buckets by ascending bounds; those that reach into the zero bucket are cut to its edge.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let outer = self.negative_buckets().rev().map(|bucket| self.cut(bucket));
        outer.chain(self.filled_zero_bucket()).chain(self.positive_buckets().map(|bucket| self.cut(bucket)))
    }

    /// The same, none cut: as a histogram is written down.
    pub fn whole_buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.negative_buckets().rev().chain(self.filled_zero_bucket()).chain(self.positive_buckets())
    }

    /// All by descending bounds, cut.
    pub fn buckets_descending(&self) -> impl Iterator<Item = Bucket> + '_ {
        let outer = self.positive_buckets().rev().map(|bucket| self.cut(bucket));
        outer.chain(self.filled_zero_bucket()).chain(self.negative_buckets().map(|bucket| self.cut(bucket)))
    }

    fn cut(&self, mut bucket: Bucket) -> Bucket {
        let edge = self.zero_threshold;
        if bucket.upper < 0.0 && bucket.upper > -edge {
            bucket.upper = -edge;
        } else if bucket.lower > 0.0 && bucket.lower < edge {
            bucket.lower = edge;
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::approx_constant, reason = "the float below the square root of two is the point")]
    fn bounds_are_those_of_every_other_implementation() {
        for (index, schema, bound) in [
            (0, 0, 1.0),
            (1, 0, 2.0),
            (-1, 0, 0.5),
            (1, 1, 1.414213562373095),
            (-1, 1, 0.7071067811865475),
            (3, 2, 1.6817928305074288),
            (1, 8, 1.0027112750502025),
            (255, 8, 1.9945921121709395),
            (1, -1, 4.0),
            (1, -4, 65536.0),
            (1024, 0, f64::MAX),
            (1025, 0, f64::INFINITY),
            (64, -4, f64::MAX),
            (512, -1, f64::MAX),
            (2048, 1, f64::MAX),
            (-1074, 0, 5e-324),
            (-1075, 0, 0.0),
            (-1022, 0, f64::MIN_POSITIVE),
        ] {
            assert_eq!(exponential_bound(index, schema).to_bits(), bound.to_bits(), "{index} in schema {schema}");
        }
    }
}
