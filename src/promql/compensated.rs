//! Sums that keep what rounding takes away: Neumaier's form of Kahan's summation.
//!
//! Invariant: the steps are those of Prometheus 3.5 in their order, so that a sum over the same numbers in the same order has the
//! same bits.

/// A running sum.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompensatedSum {
    /// What an ordinary sum would be.
    pub sum: f64,
    /// What was rounded away so far; zero after an overflow.
    pub lost: f64,
}

impl CompensatedSum {
    /// Adds a number.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - sum) + value;
        } else {
            self.lost += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    /// The sum with what was lost put back.
    #[inline]
    pub fn total(&self) -> f64 {
        self.sum + self.lost
    }

    /// The sum of numbers; an infinite one stays what it is.
    pub fn of(values: &[f64]) -> f64 {
        let mut sum = CompensatedSum::default();
        values.iter().for_each(|value| sum.add(*value));
        if sum.sum.is_infinite() { sum.sum } else { sum.total() }
    }
}

/// The mean of numbers, of which there is at least one. The sum is divided as long as it is finite; from there on each number
/// moves the mean by its share, so that a mean of great numbers does not overflow.
pub fn mean(values: &[f64]) -> f64 {
    let mut sum = CompensatedSum { sum: values[0], lost: 0.0 };
    let mut count = 1.0;
    for (at, value) in values.iter().enumerate().skip(1) {
        count = (at + 1) as f64;
        let mut next = sum;
        next.add(*value);
        if next.sum.is_infinite() {
            return moving_mean(sum, at, &values[at..]);
        }
        sum = next;
    }
    sum.sum / count + sum.lost / count
}

/// Goes on from the sum of `before` numbers.
fn moving_mean(sum: CompensatedSum, before: usize, values: &[f64]) -> f64 {
    let mut mean = CompensatedSum { sum: sum.sum / before as f64, lost: sum.lost / before as f64 };
    for (at, value) in values.iter().enumerate() {
        let count = (before + at + 1) as f64;
        let share = (count - 1.0) / count;
        mean = CompensatedSum { sum: share * mean.sum, lost: share * mean.lost };
        mean.add(value / count);
    }
    mean.total()
}

/// The variance of numbers, of which there is at least one, by Welford's method.
pub fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, CompensatedSum::default(), CompensatedSum::default());
    for value in values {
        count += 1.0;
        let delta = value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (value - mean.total()));
    }
    squares.total() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_takes_comes_back() {
        assert_eq!(CompensatedSum::of(&[1e100, 1.0, -1e100, 1.0]), 2.0);
        assert_eq!(CompensatedSum::of(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(CompensatedSum::of(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn a_mean_of_great_numbers_does_not_overflow() {
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(mean(&[f64::MAX, f64::MAX]), f64::MAX);
        assert!(mean(&[-1e308, -1e308, 1e308, 1e308]).abs() < 1e293);
        assert_eq!(mean(&[f64::INFINITY, 1.0]), f64::INFINITY);
    }

    #[test]
    fn a_variance_of_far_numbers_is_theirs() {
        assert_eq!(variance(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 4.0);
        assert_eq!(variance(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]), 22.5);
    }
}
