//! Sums, differences, multiples; and the resolution and zero bucket that two histograms must share first.

use std::cmp::Ordering;

use super::FloatHistogram;
use super::bounds::exponential_bound;
use crate::model::ResetHint;

/// Why two histograms cannot be added, subtracted or compared bucket by bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// One has exponential, the other custom buckets.
    #[error("histograms with exponential and with custom buckets")]
    Schema,
    /// Both have custom buckets, with other bounds.
    #[error("histograms with different custom bounds")]
    Bounds,
}

impl FloatHistogram {
    /// Whether both can be brought to the same buckets.
    pub fn check_compatible(&self, other: &FloatHistogram) -> Result<(), Incompatible> {
        if self.has_custom_buckets() != other.has_custom_buckets() {
            return Err(Incompatible::Schema);
        }
        let same_bits = |(one, two): (&f64, &f64)| one.to_bits() == two.to_bits();
        let (own, others) = (&self.custom_bounds, &other.custom_bounds);
        if own.len() != others.len() || !own.iter().zip(others.iter()).all(same_bits) {
            return Err(Incompatible::Bounds);
        }
        Ok(())
    }

    /// Adds another histogram; the result has the coarser resolution and the wider zero bucket of both.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<(), Incompatible> {
        self.check_compatible(other)?;
        self.reset_hint = match (self.reset_hint, other.reset_hint) {
            (own, others) if own == others => own,
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        };
        self.merge(other, 1.0);
        Ok(())
    }

    /// Subtracts another histogram; the reset hint stays.
    pub fn sub(&mut self, other: &FloatHistogram) -> Result<(), Incompatible> {
        self.check_compatible(other)?;
        self.merge(other, -1.0);
        Ok(())
    }

    /// Multiplies all counts and the sum.
    pub fn mul(&mut self, factor: f64) {
        self.each(|count| *count *= factor);
    }

    /// Divides all counts and the sum; by zero the buckets are lost, as nobody could read them.
    pub fn div(&mut self, divisor: f64) {
        if divisor == 0.0 {
            (self.positive, self.negative) = (Vec::new(), Vec::new());
        }
        self.each(|count| *count /= divisor);
    }

    /// Whether both have the same buckets with the same bits; the hint at a reset does not count.
    pub fn is_equal(&self, other: &FloatHistogram) -> bool {
        let same = |one: f64, two: f64| one.to_bits() == two.to_bits();
        let same_buckets = |own: &[(i32, f64)], others: &[(i32, f64)]| {
            own.len() == others.len() && own.iter().zip(others).all(|(one, two)| one.0 == two.0 && same(one.1, two.1))
        };
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.check_compatible(other).is_ok()
            && self.zero_threshold == other.zero_threshold
            && same(self.zero, other.zero)
            && same_buckets(&self.negative, &other.negative)
            && same_buckets(&self.positive, &other.positive)
    }

    fn each(&mut self, change: impl Fn(&mut f64)) {
        change(&mut self.zero);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive.iter_mut().chain(&mut self.negative).for_each(|(_, count)| change(count));
    }

    fn merge(&mut self, other: &FloatHistogram, sign: f64) {
        if self.has_custom_buckets() {
            self.positive = merged(&self.positive, &other.positive, sign);
        } else {
            self.zero += sign * self.share_zero_bucket(other);
            self.reduce_to(other.schema.min(self.schema));
            self.positive = merged(&self.positive, &self.comparable(&other.positive, other.schema), sign);
            self.negative = merged(&self.negative, &self.comparable(&other.negative, other.schema), sign);
        }
        self.count += sign * other.count;
        self.sum += sign * other.sum;
    }

    /// Buckets of another histogram in this one's resolution, without those in this one's zero bucket.
    pub(super) fn comparable(&self, buckets: &[(i32, f64)], schema: i8) -> Vec<(i32, f64)> {
        let mut buckets = reduced(buckets, schema, self.schema);
        let inner = buckets.partition_point(|(index, _)| exponential_bound(*index, self.schema) <= self.zero_threshold);
        buckets.drain(..inner);
        buckets
    }

    /// Goes over to a coarser resolution; nothing for one that is as fine or finer, or for custom buckets.
    pub fn reduce_to(&mut self, schema: i8) {
        if schema < self.schema && !self.has_custom_buckets() {
            self.positive = reduced(&self.positive, self.schema, schema);
            self.negative = reduced(&self.negative, self.schema, schema);
            self.schema = schema;
        }
    }

    /// Widens the zero bucket until it can be that of both; returns what the other's then holds.
    fn share_zero_bucket(&mut self, other: &FloatHistogram) -> f64 {
        let (mut others, mut threshold) = (other.zero, other.zero_threshold);
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (others, threshold) = other.zero_within(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                (self.zero, self.zero_threshold) = self.zero_within(threshold);
                self.drop_inner_buckets();
            }
        }
        others
    }

    /// What a zero bucket of at least `threshold` would hold, and how wide it must be so as to cut no filled bucket.
    pub(super) fn zero_within(&self, mut threshold: f64) -> (f64, f64) {
        if threshold == self.zero_threshold {
            return (self.zero, threshold);
        }
        'wider: loop {
            let mut count = self.zero;
            for bucket in self.positive_buckets().take_while(|bucket| bucket.lower < threshold) {
                count += bucket.count;
                if bucket.upper > threshold {
                    threshold = if bucket.count != 0.0 { bucket.upper } else { threshold };
                    break;
                }
            }
            for bucket in self.negative_buckets().take_while(|bucket| bucket.upper > -threshold) {
                count += bucket.count;
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        threshold = -bucket.lower;
                        continue 'wider;
                    }
                    break;
                }
            }
            return (count, threshold);
        }
    }

    fn drop_inner_buckets(&mut self) {
        let threshold = self.zero_threshold;
        let inner = |histogram: &FloatHistogram, buckets: &[(i32, f64)]| {
            buckets.partition_point(|(index, _)| histogram.bound(*index - 1) < threshold)
        };
        let (positive, negative) = (inner(self, &self.positive), inner(self, &self.negative));
        self.positive.drain(..positive);
        self.negative.drain(..negative);
        self.compact();
    }
}

/// Buckets in a coarser resolution: neighbours that fall together are summed from the lowest index on.
fn reduced(buckets: &[(i32, f64)], from: i8, to: i8) -> Vec<(i32, f64)> {
    if to >= from {
        return buckets.to_vec();
    }
    let mut coarse: Vec<(i32, f64)> = Vec::with_capacity(buckets.len());
    for (index, count) in buckets {
        let index = ((index - 1) >> (from - to)) + 1;
        match coarse.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => coarse.push((index, *count)),
        }
    }
    coarse
}

fn merged(own: &[(i32, f64)], others: &[(i32, f64)], sign: f64) -> Vec<(i32, f64)> {
    let mut all = Vec::with_capacity(own.len() + others.len());
    let (mut own, mut others) = (own.iter().copied().peekable(), others.iter().copied().peekable());
    loop {
        let order = match (own.peek(), others.peek()) {
            (Some((one, _)), Some((two, _))) => one.cmp(two),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return all,
        };
        let one = if order.is_le() { own.next() } else { None };
        let two = if order.is_ge() { others.next() } else { None };
        all.extend(match (one, two) {
            (Some((index, one)), Some((_, two))) => Some((index, one + sign * two)),
            (one, two) => one.or(two.map(|(index, two)| (index, sign * two))),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(schema: i8, zero: (f64, f64), positive: &[(i32, f64)], negative: &[(i32, f64)]) -> FloatHistogram {
        let count = positive.iter().chain(negative).map(|(_, count)| count).sum::<f64>() + zero.1;
        FloatHistogram {
            reset_hint: ResetHint::Unknown,
            schema,
            zero_threshold: zero.0,
            zero: zero.1,
            count,
            sum: 1.0,
            positive: positive.to_vec(),
            negative: negative.to_vec(),
            custom_bounds: [].into(),
        }
    }

    #[test]
    fn the_coarser_resolution_wins() {
        let mut one = histogram(1, (0.0, 0.0), &[(1, 1.0), (2, 2.0), (3, 4.0)], &[]);
        one.add(&histogram(0, (0.0, 0.0), &[(1, 8.0), (5, 1.0)], &[])).unwrap();
        assert_eq!((one.schema, &one.positive[..]), (0, &[(1, 11.0), (2, 4.0), (5, 1.0)][..]));
        assert_eq!((one.count, one.sum), (16.0, 2.0));
    }

    #[test]
    fn the_wider_zero_bucket_takes_in_what_it_reaches() {
        // A threshold of 1.5 would cut the bucket (1, 2], so the zero bucket grows to 2.
        let mut one = histogram(0, (0.5, 1.0), &[(0, 1.0), (1, 2.0), (2, 4.0)], &[(1, 8.0)]);
        one.add(&histogram(0, (1.5, 16.0), &[(2, 1.0)], &[])).unwrap();
        assert_eq!((one.zero_threshold, one.zero), (2.0, 28.0));
        assert_eq!((&one.positive[..], &one.negative[..]), (&[(2, 5.0)][..], &[][..]));
    }

    #[test]
    fn a_difference_keeps_buckets_that_fell_to_zero_until_it_is_compacted() {
        let mut one = histogram(0, (0.0, 0.0), &[(1, 1.0), (2, 2.0)], &[]);
        one.sub(&histogram(0, (0.0, 0.0), &[(1, 1.0), (4, 1.0)], &[])).unwrap();
        assert_eq!(one.positive, [(1, 0.0), (2, 2.0), (4, -1.0)]);
        one.compact();
        assert_eq!(one.positive, [(2, 2.0), (4, -1.0)]);
    }

    #[test]
    fn custom_bounds_must_be_the_same() {
        let custom = |bounds: &[f64]| FloatHistogram {
            schema: crate::model::CUSTOM_BUCKETS_SCHEMA,
            custom_bounds: bounds.into(),
            ..histogram(0, (0.0, 0.0), &[(0, 1.0)], &[])
        };
        assert_eq!(custom(&[1.0]).add(&custom(&[2.0])), Err(Incompatible::Bounds));
        assert_eq!(custom(&[1.0]).add(&histogram(0, (0.0, 0.0), &[], &[])), Err(Incompatible::Schema));
        let mut sum = custom(&[1.0]);
        sum.add(&custom(&[1.0])).unwrap();
        assert_eq!(sum.positive, [(0, 2.0)]);
    }

    #[test]
    fn hints_survive_only_where_both_agree() {
        let with = |reset_hint| FloatHistogram { reset_hint, ..histogram(0, (0.0, 0.0), &[], &[]) };
        for (one, two, sum) in [
            (ResetHint::Reset, ResetHint::Reset, ResetHint::Reset),
            (ResetHint::Reset, ResetHint::NotReset, ResetHint::Unknown),
            (ResetHint::NotReset, ResetHint::Gauge, ResetHint::Gauge),
            (ResetHint::Unknown, ResetHint::Reset, ResetHint::Unknown),
        ] {
            let mut result = with(one);
            result.add(&with(two)).unwrap();
            assert_eq!(result.reset_hint, sum, "{one:?} + {two:?}");
        }
    }
}
