//! Whether a counter histogram began anew since the one before it.

use super::FloatHistogram;
use crate::model::ResetHint;

impl FloatHistogram {
    /// Whether this histogram cannot have grown out of `previous`: a hint says so, or some count fell, or its resolution became finer.
    pub fn is_reset_after(&self, previous: &FloatHistogram) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count || self.check_compatible(previous).is_err() {
            return true;
        }
        if self.has_custom_buckets() {
            return fell(&self.positive, &previous.positive);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold) = previous.zero_within(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero < zero {
            return true;
        }
        let side = |own: &[(i32, f64)], before: &[(i32, f64)]| {
            fell(&self.comparable(own, self.schema), &self.comparable(before, previous.schema))
        };
        side(&self.positive, &previous.positive) || side(&self.negative, &previous.negative)
    }
}

/// Whether some bucket holds less than before; one that is not there holds nothing.
fn fell(now: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    let mut now = now.iter().copied().peekable();
    before.iter().any(|(index, before)| {
        while now.next_if(|(own, _)| own < index).is_some() {}
        match now.next_if(|(own, _)| own == index) {
            Some((_, now)) => now < *before,
            None => *before != 0.0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(schema: i8, zero: (f64, f64), positive: &[(i32, f64)]) -> FloatHistogram {
        FloatHistogram {
            reset_hint: ResetHint::Unknown,
            schema,
            zero_threshold: zero.0,
            zero: zero.1,
            count: 100.0,
            sum: 1.0,
            positive: positive.to_vec(),
            negative: Vec::new(),
            custom_bounds: [].into(),
        }
    }

    #[test]
    fn what_is_a_reset() {
        let before = histogram(1, (0.0, 0.0), &[(1, 1.0), (2, 2.0)]);
        for (now, is_reset) in [
            (histogram(1, (0.0, 0.0), &[(1, 1.0), (2, 2.0)]), false),
            (histogram(1, (0.0, 0.0), &[(1, 1.0), (2, 1.0)]), true),
            (histogram(1, (0.0, 0.0), &[(2, 2.0), (7, 2.0)]), true),
            (histogram(0, (0.0, 0.0), &[(1, 3.0)]), false),
            (histogram(0, (0.0, 0.0), &[(1, 2.5)]), true),
            (histogram(2, (0.0, 0.0), &[(1, 3.0), (4, 9.0)]), true),
            (histogram(1, (2.0, 3.0), &[]), false),
            (histogram(1, (1.5, 3.0), &[]), true),
            (FloatHistogram { count: 99.0, ..before.clone() }, true),
            (FloatHistogram { reset_hint: ResetHint::Reset, ..before.clone() }, true),
            (FloatHistogram { reset_hint: ResetHint::NotReset, count: 0.0, ..before.clone() }, false),
        ] {
            assert_eq!(now.is_reset_after(&before), is_reset, "{now:?}");
        }
    }
}
