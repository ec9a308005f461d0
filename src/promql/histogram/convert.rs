//! Between spans, as histograms are kept and sent, and lists of buckets.

use super::FloatHistogram;
use crate::model::{Buckets, Counts, HistogramCounts, NativeHistogram, Span};

impl From<&NativeHistogram> for FloatHistogram {
    fn from(from: &NativeHistogram) -> FloatHistogram {
        let mut histogram = match &from.counts {
            HistogramCounts::Integer(counts) => of_counts(counts, |count| *count as f64),
            HistogramCounts::Float(counts) => of_counts(counts, |count| *count),
        };
        (histogram.reset_hint, histogram.schema) = (from.reset_hint, from.schema);
        (histogram.zero_threshold, histogram.sum) = (from.zero_threshold, from.sum);
        histogram.custom_bounds = from.custom_bounds.as_slice().into();
        histogram
    }
}

fn of_counts<N>(counts: &Counts<N>, float: impl Fn(&N) -> f64) -> FloatHistogram {
    FloatHistogram {
        reset_hint: Default::default(),
        schema: 0,
        zero_threshold: 0.0,
        zero: float(&counts.zero),
        count: float(&counts.count),
        sum: 0.0,
        positive: indexed(&counts.positive, &float),
        negative: indexed(&counts.negative, &float),
        custom_bounds: [].into(),
    }
}

fn indexed<N>(buckets: &Buckets<N>, float: impl Fn(&N) -> f64) -> Vec<(i32, f64)> {
    let mut next = 0;
    let indices = buckets.spans.iter().flat_map(|span| {
        let first = next + span.offset;
        next = first + span.length as i32;
        first..next
    });
    indices.zip(buckets.counts.iter().map(float)).collect()
}

impl From<&FloatHistogram> for NativeHistogram {
    fn from(from: &FloatHistogram) -> NativeHistogram {
        let (positive, negative) = (spans_of(&from.positive), spans_of(&from.negative));
        NativeHistogram {
            reset_hint: from.reset_hint,
            schema: from.schema,
            zero_threshold: from.zero_threshold,
            sum: from.sum,
            custom_bounds: from.custom_bounds.to_vec(),
            counts: HistogramCounts::Float(Counts { count: from.count, zero: from.zero, positive, negative }),
        }
    }
}

fn spans_of(buckets: &[(i32, f64)]) -> Buckets<f64> {
    let (mut spans, mut next): (Vec<Span>, i32) = (Vec::new(), 0);
    for (index, _) in buckets {
        match spans.last_mut().filter(|_| *index == next) {
            Some(span) => span.length += 1,
            None => spans.push(Span { offset: index - next, length: 1 }),
        }
        next = index + 1;
    }
    Buckets { spans, counts: buckets.iter().map(|(_, count)| *count).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ResetHint;

    #[test]
    fn spans_become_indices_and_back() {
        let spans = vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }];
        let positive = Buckets { spans, counts: vec![1.0, 2.0, 3.0] };
        let native = NativeHistogram {
            reset_hint: ResetHint::Gauge,
            schema: 3,
            zero_threshold: 0.25,
            sum: 7.5,
            custom_bounds: Vec::new(),
            counts: HistogramCounts::Float(Counts { count: 6.0, zero: 0.0, positive, negative: Buckets::default() }),
        };
        let float = FloatHistogram::from(&native);
        assert_eq!(float.positive, [(-2, 1.0), (-1, 2.0), (3, 3.0)]);
        assert_eq!(NativeHistogram::from(&float), native);
    }
}
