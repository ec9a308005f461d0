//! Summaries and histograms in the wire form of protobuf: what a Metric says beside labels and timestamp.
//!
//! Invariant: a reader that takes a Metric apart as Prometheus does gets back the very series, or the very histogram, that
//! went in. Counts have two forms each, an integer and a float; a reader takes the float where it is above zero, so whole
//! numbers are written as integers and all others as floats, and never both.
//!
//! | message | fields that are written |
//! |---|---|
//! | Summary | 1 sample_count, 2 sample_sum, 3 quantile…, 4 created_timestamp |
//! | Histogram | 1 sample_count or 4 …_float, 2 sample_sum, 3 bucket…, 5 schema, 6 zero_threshold, 7 zero_count or 8 …_float, 9 negative_span…, 10 negative_delta… or 11 …_count…, 12 to 14 the same of the positive side, 15 created_timestamp, 16 exemplars… |
//! | Bucket | 1 cumulative_count or 4 …_float, 2 upper_bound, 3 exemplar |

use super::classic::ClassicBucket;
use super::protobuf_write::{
    METRIC_ROOM, SMALL_ROOM, VARINT, put_count, put_double, put_exemplar, put_message, put_tag, put_timestamp,
    write_varint, zigzag,
};
use crate::model::{Buckets, Counts, HistogramCounts, HistogramSample, NativeHistogram, Timestamp};

/// From here on not every whole number is an `f64`, so a float that large is no count.
const EXACT_END: f64 = 9_007_199_254_740_992.0;

/// Appends a summary's Metric: quantiles and their values. The count has no float form, so it must be
/// [a whole number](is_count).
pub fn write_summary(
    out: &mut Vec<u8>,
    count: f64,
    sum: f64,
    quantiles: impl Iterator<Item = (f64, f64)>,
    start: Option<Timestamp>,
) {
    debug_assert!(is_count(count));
    put_message(out, 4, METRIC_ROOM, |out| {
        put_count(out, 1, count as u64);
        put_double(out, 2, sum);
        for (quantile, value) in quantiles {
            put_message(out, 3, SMALL_ROOM, |out| {
                put_double(out, 1, quantile);
                put_double(out, 2, value);
            });
        }
        start.into_iter().for_each(|start| put_timestamp(out, 4, start));
    });
}

/// Whether a float is a count that protobuf's integers can hold.
pub fn is_count(value: f64) -> bool {
    (0.0..EXACT_END).contains(&value) && value.trunc() == value
}

/// Appends a histogram's Metric in its classic form; `buckets` ascend by bound, the last one reaches to +Inf.
pub fn write_classic_histogram<'a>(
    out: &mut Vec<u8>,
    count: f64,
    sum: f64,
    buckets: impl Iterator<Item = ClassicBucket<'a>>,
    start: Option<Timestamp>,
) {
    put_message(out, 7, METRIC_ROOM, |out| {
        put_either_count(out, count, (1, 4), |out| {
            put_double(out, 2, sum);
            put_buckets(out, buckets);
        });
        start.into_iter().for_each(|start| put_timestamp(out, 15, start));
    });
}

/// A count as an integer where it is one, else as a float, each in its own place: `between` are the fields in the middle.
fn put_either_count(out: &mut Vec<u8>, count: f64, fields: (u32, u32), between: impl FnOnce(&mut Vec<u8>)) {
    if is_count(count) {
        put_count(out, fields.0, count as u64);
    }
    between(out);
    if !is_count(count) {
        put_double(out, fields.1, count);
    }
}

fn put_buckets<'a>(out: &mut Vec<u8>, buckets: impl Iterator<Item = ClassicBucket<'a>>) {
    for bucket in buckets {
        put_message(out, 3, SMALL_ROOM, |out| {
            put_either_count(out, bucket.cumulative, (1, 4), |out| {
                put_double(out, 2, bucket.upper_bound);
                bucket.exemplar.into_iter().for_each(|exemplar| put_exemplar(out, 3, exemplar));
            });
        });
    }
}

/// Appends a native histogram's Metric, with the buckets of its classic form where it has one. What was counted is
/// written as integers, what was computed as floats; of floats without an observation the count 0 says nothing, and a
/// reader would look for integers, so integers they are.
pub fn write_native_histogram<'a>(
    out: &mut Vec<u8>,
    sample: &HistogramSample,
    classic: impl Iterator<Item = ClassicBucket<'a>>,
    start: Option<Timestamp>,
) {
    let HistogramSample { histogram, exemplars } = sample;
    put_message(out, 7, METRIC_ROOM, |out| {
        match &histogram.counts {
            HistogramCounts::Integer(counts) => put_integers(out, histogram, counts, classic),
            HistogramCounts::Float(counts) if counts.count > 0.0 || counts.zero > 0.0 => {
                put_floats(out, histogram, counts, classic);
            }
            HistogramCounts::Float(counts) => put_integers(out, histogram, &without_observations(counts), classic),
        }
        start.into_iter().for_each(|start| put_timestamp(out, 15, start));
        exemplars.iter().for_each(|exemplar| put_exemplar(out, 16, exemplar));
    });
}

/// Appends a native histogram's Metric as Prometheus federates it: all counts as floats, no exemplars, and of custom
/// buckets neither bounds nor anything else that only they have.
pub fn write_federated_histogram(out: &mut Vec<u8>, histogram: &NativeHistogram) {
    put_message(out, 7, METRIC_ROOM, |out| match &histogram.counts {
        HistogramCounts::Integer(counts) => put_floats(out, histogram, &as_floats(counts), std::iter::empty()),
        HistogramCounts::Float(counts) => put_floats(out, histogram, counts, std::iter::empty()),
    });
}

fn put_integers<'a>(
    out: &mut Vec<u8>,
    of: &NativeHistogram,
    counts: &Counts<u64>,
    classic: impl Iterator<Item = ClassicBucket<'a>>,
) {
    put_count(out, 1, counts.count);
    put_double(out, 2, of.sum);
    put_buckets(out, classic);
    put_scale(out, of);
    put_count(out, 7, counts.zero);
    put_spans(out, 9, &counts.negative);
    put_deltas(out, 10, &counts.negative.counts);
    put_spans(out, 12, &counts.positive);
    let has_no_span = counts.positive.spans.is_empty() && counts.negative.spans.is_empty();
    if has_no_span && counts.zero == 0 && of.zero_threshold == 0.0 {
        // Without a span it would be taken for a classic histogram.
        put_span(out, 12, 0, 0);
    }
    put_deltas(out, 13, &counts.positive.counts);
}

fn put_floats<'a>(
    out: &mut Vec<u8>,
    of: &NativeHistogram,
    counts: &Counts<f64>,
    classic: impl Iterator<Item = ClassicBucket<'a>>,
) {
    put_double(out, 2, of.sum);
    put_buckets(out, classic);
    put_double(out, 4, counts.count);
    put_scale(out, of);
    put_double(out, 8, counts.zero);
    put_spans(out, 9, &counts.negative);
    counts.negative.counts.iter().for_each(|count| put_double(out, 11, *count));
    put_spans(out, 12, &counts.positive);
    counts.positive.counts.iter().for_each(|count| put_double(out, 14, *count));
}

fn as_floats(counts: &Counts<u64>) -> Counts<f64> {
    let side = |buckets: &Buckets<u64>| Buckets {
        spans: buckets.spans.clone(),
        counts: buckets.counts.iter().map(|count| *count as f64).collect(),
    };
    let (positive, negative) = (side(&counts.positive), side(&counts.negative));
    Counts { count: counts.count as f64, zero: counts.zero as f64, positive, negative }
}

fn without_observations(counts: &Counts<f64>) -> Counts<u64> {
    let side = |buckets: &Buckets<f64>| Buckets { spans: buckets.spans.clone(), counts: vec![0; buckets.counts.len()] };
    Counts { count: 0, zero: 0, positive: side(&counts.positive), negative: side(&counts.negative) }
}

fn put_scale(out: &mut Vec<u8>, histogram: &NativeHistogram) {
    put_tag(out, 5, VARINT);
    write_varint(out, zigzag(histogram.schema.into()));
    put_double(out, 6, histogram.zero_threshold);
}

/// Appends the spans of one side.
pub fn put_spans<N>(out: &mut Vec<u8>, field: u32, side: &Buckets<N>) {
    side.spans.iter().for_each(|span| put_span(out, field, span.offset, span.length));
}

fn put_span(out: &mut Vec<u8>, field: u32, offset: i32, length: u32) {
    put_message(out, field, SMALL_ROOM, |out| {
        put_tag(out, 1, VARINT);
        write_varint(out, zigzag(offset.into()));
        put_count(out, 2, length.into());
    });
}

/// Each count as its difference to the one before.
fn put_deltas(out: &mut Vec<u8>, field: u32, counts: &[u64]) {
    let mut before = 0;
    for count in counts {
        put_tag(out, field, VARINT);
        write_varint(out, zigzag(count.wrapping_sub(before) as i64));
        before = *count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ResetHint, Span};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    fn native(counts: HistogramCounts) -> HistogramSample {
        let histogram = NativeHistogram {
            reset_hint: ResetHint::Unknown,
            schema: -1,
            zero_threshold: 0.0,
            sum: 2.0,
            custom_bounds: Vec::new(),
            counts,
        };
        HistogramSample { histogram, exemplars: Vec::new() }
    }

    #[test]
    fn buckets_are_told_by_their_differences_or_as_floats() {
        let positive = Buckets { spans: vec![Span { offset: -1, length: 2 }], counts: vec![3, 1] };
        let integers = native(HistogramCounts::Integer(Counts { count: 4, positive, ..Counts::default() }));
        let (two, zero) = (b"\x11\0\0\0\0\0\0\0\x40", b"\0\0\0\0\0\0\0\0");
        let expected = [
            b"\x3a\x22\x08\x04".as_slice(),
            two,
            b"\x28\x01\x31",
            zero,
            b"\x38\x00\x62\x04\x08\x01\x10\x02\x68\x06\x68\x03",
        ]
        .concat();
        assert_eq!(written(|out| write_native_histogram(out, &integers, std::iter::empty(), None)), expected);
        let federated = written(|out| write_federated_histogram(out, &integers.histogram));
        let expected = [
            b"\x3a\x3e".as_slice(),
            two,
            b"\x21\0\0\0\0\0\0\x10\x40\x28\x01\x31",
            zero,
            b"\x41",
            zero,
            b"\x62\x04\x08\x01\x10\x02\x71\0\0\0\0\0\0\x08\x40\x71\0\0\0\0\0\0\xf0\x3f",
        ]
        .concat();
        assert_eq!(federated, expected);
    }

    #[test]
    fn without_an_observation_a_native_histogram_still_looks_like_one() {
        for counts in [HistogramCounts::Integer(Counts::default()), HistogramCounts::Float(Counts::default())] {
            let bytes = written(|out| write_native_histogram(out, &native(counts), std::iter::empty(), None));
            assert!(bytes.ends_with(b"\x62\x04\x08\x00\x10\x00"), "a span of no bucket: {bytes:?}");
        }
    }
}
