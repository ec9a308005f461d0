//! The classic form of a histogram with custom buckets: what it was before somebody made it native.
//!
//! Invariant: a bucket for every bound and one to +Inf that holds all observations, cumulative, so that a reader of
//! `_bucket`, `_sum` and `_count` finds what the exporter of a classic histogram would have said.

use crate::model::{Buckets, Exemplar, HistogramCounts, HistogramSample};

/// A bucket of a classic histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassicBucket<'a> {
    /// The value of its `le`.
    pub upper_bound: f64,
    /// Observations up to that bound.
    pub cumulative: f64,
    /// Of the `_bucket` series.
    pub exemplar: Option<&'a Exemplar>,
}

/// Count, sum and buckets of a histogram with custom bounds. A bucket has the last exemplar whose value lies in it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassicHistogram<'a> {
    /// Of all observations.
    pub count: f64,
    /// Of all observations.
    pub sum: f64,
    /// Ascending by bound, the last one to +Inf.
    pub buckets: Vec<ClassicBucket<'a>>,
}

impl<'a> ClassicHistogram<'a> {
    /// `None` where the buckets are exponential: their bounds are no `le` that anybody chose.
    pub fn of(sample: &'a HistogramSample) -> Option<ClassicHistogram<'a>> {
        let histogram = &sample.histogram;
        if !histogram.has_custom_buckets() {
            return None;
        }
        let (count, counts) = match &histogram.counts {
            HistogramCounts::Integer(counts) => (counts.count as f64, dense(&counts.positive, |count| count as f64)),
            HistogramCounts::Float(counts) => (counts.count, dense(&counts.positive, |count| count)),
        };
        let (mut buckets, mut cumulative) = (Vec::with_capacity(histogram.custom_bounds.len() + 1), 0.0);
        for (place, upper_bound) in histogram.custom_bounds.iter().copied().enumerate() {
            cumulative += counts.get(place).copied().unwrap_or_default();
            buckets.push(ClassicBucket { upper_bound, cumulative, exemplar: None });
        }
        buckets.push(ClassicBucket { upper_bound: f64::INFINITY, cumulative: count, exemplar: None });
        for exemplar in &sample.exemplars {
            if let Some(bucket) = buckets.iter_mut().find(|bucket| exemplar.value <= bucket.upper_bound) {
                bucket.exemplar = Some(exemplar);
            }
        }
        Some(ClassicHistogram { count, sum: histogram.sum, buckets })
    }
}

/// The counts of all buckets from the first bound on, empty ones included. Of a histogram that
/// [`crate::model::NativeHistogram::check`] passed there are at most one more than bounds.
fn dense<N: Copy>(buckets: &Buckets<N>, to_float: impl Fn(N) -> f64) -> Vec<f64> {
    let (mut dense, mut counts) = (Vec::new(), buckets.counts.iter());
    for span in &buckets.spans {
        dense.resize(dense.len() + usize::try_from(span.offset).unwrap_or_default(), 0.0);
        dense.extend(counts.by_ref().take(span.length as usize).map(|count| to_float(*count)));
    }
    dense
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CUSTOM_BUCKETS_SCHEMA, Counts, Labels, NativeHistogram, ResetHint, Span};

    fn sample(schema: i8) -> HistogramSample {
        let spans = vec![Span { offset: 1, length: 1 }, Span { offset: 1, length: 1 }];
        let counts = Counts { count: 7, positive: Buckets { spans, counts: vec![2, 5] }, ..Counts::default() };
        let histogram = NativeHistogram {
            reset_hint: ResetHint::Unknown,
            schema,
            zero_threshold: 0.0,
            sum: 3.5,
            custom_bounds: vec![0.25, 0.5, 1.0],
            counts: HistogramCounts::Integer(counts),
        };
        let exemplar = |value| Exemplar { labels: Labels::empty(), value, timestamp: None };
        HistogramSample { histogram, exemplars: vec![exemplar(0.3), exemplar(0.5), exemplar(9.0)] }
    }

    #[test]
    fn every_bound_has_a_bucket_and_the_last_one_everything() {
        let sample = sample(CUSTOM_BUCKETS_SCHEMA);
        let classic = ClassicHistogram::of(&sample).unwrap();
        assert_eq!((classic.count, classic.sum), (7.0, 3.5));
        let buckets: Vec<_> = classic
            .buckets
            .iter()
            .map(|bucket| (bucket.upper_bound, bucket.cumulative, bucket.exemplar.map(|exemplar| exemplar.value)))
            .collect();
        let expected = [(0.25, 0.0, None), (0.5, 2.0, Some(0.5)), (1.0, 2.0, None), (f64::INFINITY, 7.0, Some(9.0))];
        assert_eq!(buckets, expected);
    }

    #[test]
    fn exponential_buckets_have_no_classic_form() {
        assert_eq!(ClassicHistogram::of(&sample(0)), None);
    }
}
