//! How one native histogram is written: whole, or as its counts moved from those of the one that its slot had before.
//!
//! A histogram's buckets stay where they are for long, and most of them hardly move between two scrapes. So what tells where its
//! buckets lie (the shape) is written only when it changed, and the rest as differences, which are small numbers.
//!
//! | field | content |
//! |---|---|
//! | form | byte: 1 SHAPED, 2 EXEMPLARS |
//! | with SHAPED: kind | byte: bits 0–1 the reset hint, 4 counts are floats |
//! | | schema, zigzag; zero threshold, float |
//! | | custom bounds: count, then each as float against the one before |
//! | | spans of the positive, then of the negative side: count, then offset (zigzag) and length (varint) of each |
//! | counts | zero bucket, positive, negative ones: each against its own before, with SHAPED against the bucket before it |
//! | total | against the sum of all buckets |
//! | sum | float against the one before |
//! | with EXEMPLARS | how many, then each as in `sparse.rs` |
//!
//! A whole count is told as the zigzag of its difference. A float is told by its bits xor those that it is told against: one byte
//! with how many zero bytes that number has above (high half) and below (low half), then the bytes between.
//!
//! Invariant: what is read passes [`NativeHistogram::check`], and nothing is allocated before it was compared with the bytes that
//! are there; [`weight`] is what it may take, and a stream has a bound on that.

use std::sync::Arc;

use super::reader::{Malformed, Reader, put_varint, put_zigzag, zigzag};
use super::sparse::SparseValue;
use crate::model::{
    Buckets, Counts, Exemplar, HISTOGRAM_BUCKETS_MAX, HistogramCounts, HistogramSample, NativeHistogram, ResetHint,
    Span, Timestamp,
};

/// Exemplars that one native histogram may have; clients keep ten.
pub(super) const HISTOGRAM_EXEMPLARS_MAX: usize = 256;

const SHAPED: u8 = 1;
const EXEMPLARS: u8 = 2;
const KIND_FLOAT: u8 = 4;
/// Bytes of a float at its longest.
const FLOAT_BYTES_MAX: usize = 9;
/// Bytes of form, kind, schema, zero threshold, sum and the counts of five lists.
const FIXED_BYTES_MAX: usize = 2 + 2 + 2 * FLOAT_BYTES_MAX + 5 * 5;
/// Bytes of a span at its longest.
const SPAN_BYTES_MAX: usize = 5 + 3;

/// A number of observations that can be told against another one.
trait Count: Copy + Default {
    fn put(self, expected: Self, out: &mut Vec<u8>);
    fn read(expected: Self, reader: &mut Reader<'_>) -> Result<Self, Malformed>;
    fn plus(self, other: Self) -> Self;
    fn is_same(self, other: Self) -> bool;
    /// Bytes that `put` takes for the larger of two numbers told against each other.
    fn bytes_max(self) -> usize;
}

impl Count for u64 {
    fn put(self, expected: u64, out: &mut Vec<u8>) {
        put_zigzag(out, self.wrapping_sub(expected) as i64);
    }

    fn read(expected: u64, reader: &mut Reader<'_>) -> Result<u64, Malformed> {
        Ok(expected.wrapping_add(reader.zigzag("histogram count")? as u64))
    }

    fn plus(self, other: u64) -> u64 {
        self.wrapping_add(other)
    }

    fn is_same(self, other: u64) -> bool {
        self == other
    }

    fn bytes_max(self) -> usize {
        i64::try_from(self).map_or(10, |own| (64 - zigzag(own).leading_zeros() as usize).div_ceil(7).max(1))
    }
}

impl Count for f64 {
    fn put(self, expected: f64, out: &mut Vec<u8>) {
        let differing = self.to_bits() ^ expected.to_bits();
        let above = differing.leading_zeros() / 8;
        let below = if differing == 0 { 0 } else { differing.trailing_zeros() / 8 };
        out.push((above << 4 | below) as u8);
        let bytes = differing.to_le_bytes();
        out.extend_from_slice(&bytes[below as usize..8 - above as usize]);
    }

    fn read(expected: f64, reader: &mut Reader<'_>) -> Result<f64, Malformed> {
        let zeros = reader.byte("histogram float")?;
        let (above, below) = (usize::from(zeros >> 4), usize::from(zeros & 15));
        if above + below > 8 {
            return Err(Malformed::Unknown { what: "histogram float", found: u64::from(zeros) });
        }
        let mut bytes = [0; 8];
        bytes[below..8 - above].copy_from_slice(reader.take(8 - above - below, "histogram float")?);
        Ok(f64::from_bits(u64::from_le_bytes(bytes) ^ expected.to_bits()))
    }

    fn plus(self, other: f64) -> f64 {
        self + other
    }

    fn is_same(self, other: f64) -> bool {
        self.to_bits() == other.to_bits()
    }

    fn bytes_max(self) -> usize {
        FLOAT_BYTES_MAX
    }
}

impl SparseValue for Arc<HistogramSample> {
    fn is_same(&self, other: &Self) -> bool {
        let counts = match (&self.histogram.counts, &other.histogram.counts) {
            (HistogramCounts::Integer(own), HistogramCounts::Integer(others)) => has_same_counts(own, others),
            (HistogramCounts::Float(own), HistogramCounts::Float(others)) => has_same_counts(own, others),
            _ => false,
        };
        let is_same = || {
            counts
                && self.histogram.sum.is_same(other.histogram.sum)
                && has_same_shape(&self.histogram, &other.histogram)
                && has_same_exemplars(&self.exemplars, &other.exemplars)
        };
        Arc::ptr_eq(self, other) || is_same()
    }

    fn put(&self, old: Option<&Self>, base: Timestamp, out: &mut Vec<u8>) {
        let start = out.len();
        let shape = old.filter(|old| has_same_shape(&self.histogram, &old.histogram));
        put_sample(self, old, shape, base, out);
        // Counts that fell a long way take more than it takes to begin anew.
        if out.len() - start > self.bytes_max() {
            out.truncate(start);
            put_sample(self, old, None, base, out);
        }
    }

    fn read(old: Option<&Self>, base: Timestamp, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let form = reader.byte("histogram form")?;
        if form & !(SHAPED | EXEMPLARS) != 0 {
            return Err(Malformed::Unknown { what: "histogram form", found: u64::from(form) });
        }
        let histogram = match (form & SHAPED, old) {
            (0, None) => return Err(Malformed::OutOfPlace("counts of a histogram without a shape")),
            (0, Some(old)) => read_moved(&old.histogram, reader)?,
            _ => read_shaped(old.map_or(0.0, |old| old.histogram.sum), reader)?,
        };
        histogram.check().map_err(|fault| Malformed::Histogram(fault.to_string()))?;
        let exemplars = match form & EXEMPLARS {
            0 => old.map(|old| old.exemplars.clone()).unwrap_or_default(),
            _ => read_exemplars(base, reader)?,
        };
        Ok(Arc::new(HistogramSample { histogram, exemplars }))
    }

    fn bytes_max(&self) -> usize {
        let histogram = &self.histogram;
        let counts = match &histogram.counts {
            HistogramCounts::Integer(counts) => counts_bytes_max(counts),
            HistogramCounts::Float(counts) => counts_bytes_max(counts),
        };
        let bounds = histogram.custom_bounds.len() * FLOAT_BYTES_MAX;
        let exemplars: usize = self.exemplars.iter().map(SparseValue::bytes_max).sum();
        FIXED_BYTES_MAX + counts + bounds + exemplars
    }
}

/// Bytes of memory that a histogram beside a column takes.
pub(super) fn weight(sample: &HistogramSample) -> usize {
    let spans = |spans: &[Span]| size_of_val(spans);
    let counts = match &sample.histogram.counts {
        HistogramCounts::Integer(counts) => spans(&counts.positive.spans) + spans(&counts.negative.spans),
        HistogramCounts::Float(counts) => spans(&counts.positive.spans) + spans(&counts.negative.spans),
    };
    let numbers = sample.histogram.buckets() + sample.histogram.custom_bounds.len();
    let exemplar = |exemplar: &Exemplar| size_of::<Exemplar>() + exemplar.labels.as_bytes().len();
    let exemplars: usize = sample.exemplars.iter().map(exemplar).sum();
    size_of::<(u32, HistogramSample)>() + counts + numbers * size_of::<u64>() + exemplars
}

/// Whether a reader would take it: bounds that the histogram itself does not know are kept too.
pub(super) fn is_good(sample: &HistogramSample) -> bool {
    let spans = match &sample.histogram.counts {
        HistogramCounts::Integer(counts) => counts.positive.spans.len().max(counts.negative.spans.len()),
        HistogramCounts::Float(counts) => counts.positive.spans.len().max(counts.negative.spans.len()),
    };
    spans.max(sample.histogram.custom_bounds.len()) <= HISTOGRAM_BUCKETS_MAX && sample.histogram.check().is_ok()
}

fn has_same_counts<N: Count>(own: &Counts<N>, others: &Counts<N>) -> bool {
    let same = |own: &[N], others: &[N]| own.iter().zip(others).all(|(own, other)| own.is_same(*other));
    own.count.is_same(others.count)
        && own.zero.is_same(others.zero)
        && same(&own.positive.counts, &others.positive.counts)
        && same(&own.negative.counts, &others.negative.counts)
}

/// Whether all that SHAPED tells is the same, to the bit.
fn has_same_shape(own: &NativeHistogram, other: &NativeHistogram) -> bool {
    let same_bounds = || own.custom_bounds.iter().zip(&other.custom_bounds).all(|(own, other)| own.is_same(*other));
    let same_spans = || match (&own.counts, &other.counts) {
        (HistogramCounts::Integer(own), HistogramCounts::Integer(other)) => has_same_spans(own, other),
        (HistogramCounts::Float(own), HistogramCounts::Float(other)) => has_same_spans(own, other),
        _ => false,
    };
    own.schema == other.schema
        && own.reset_hint == other.reset_hint
        && own.zero_threshold.is_same(other.zero_threshold)
        && own.custom_bounds.len() == other.custom_bounds.len()
        && same_bounds()
        && same_spans()
}

fn has_same_spans<N>(own: &Counts<N>, other: &Counts<N>) -> bool {
    own.positive.spans == other.positive.spans && own.negative.spans == other.negative.spans
}

fn has_same_exemplars(own: &[Exemplar], others: &[Exemplar]) -> bool {
    own.len() == others.len() && own.iter().zip(others).all(|(own, other)| own.is_same(other))
}

fn counts_bytes_max<N: Count>(counts: &Counts<N>) -> usize {
    let side = |side: &Buckets<N>| {
        let mut before = 0;
        let bytes = side.counts.iter().map(|count| {
            let (own, last) = (count.bytes_max(), before);
            before = own;
            own.max(last)
        });
        bytes.sum::<usize>() + side.spans.len() * SPAN_BYTES_MAX
    };
    counts.zero.bytes_max() + side(&counts.positive) + side(&counts.negative) + counts.count.bytes_max()
}

/// `old` is what the slot had before, `shape` the same where its shape holds.
fn put_sample(
    sample: &HistogramSample,
    old: Option<&Arc<HistogramSample>>,
    shape: Option<&Arc<HistogramSample>>,
    base: Timestamp,
    out: &mut Vec<u8>,
) {
    let exemplars: &[Exemplar] = old.map_or(&[], |old| &old.exemplars);
    let is_told = !has_same_exemplars(&sample.exemplars, exemplars);
    out.push(if shape.is_none() { SHAPED } else { 0 } | if is_told { EXEMPLARS } else { 0 });
    if shape.is_none() {
        put_shape(&sample.histogram, out);
    }
    match (&sample.histogram.counts, shape.map(|shape| &shape.histogram.counts)) {
        (HistogramCounts::Integer(own), Some(HistogramCounts::Integer(old))) => put_counts(own, Some(old), out),
        (HistogramCounts::Float(own), Some(HistogramCounts::Float(old))) => put_counts(own, Some(old), out),
        (HistogramCounts::Integer(own), _) => put_counts(own, None, out),
        (HistogramCounts::Float(own), _) => put_counts(own, None, out),
    }
    sample.histogram.sum.put(old.map_or(0.0, |old| old.histogram.sum), out);
    if is_told {
        put_varint(out, sample.exemplars.len() as u64);
        sample.exemplars.iter().for_each(|exemplar| exemplar.put(None, base, out));
    }
}

fn put_shape(histogram: &NativeHistogram, out: &mut Vec<u8>) {
    let (float, positive, negative) = match &histogram.counts {
        HistogramCounts::Integer(counts) => (0, &counts.positive.spans, &counts.negative.spans),
        HistogramCounts::Float(counts) => (KIND_FLOAT, &counts.positive.spans, &counts.negative.spans),
    };
    out.push(histogram.reset_hint as u8 | float);
    put_zigzag(out, i64::from(histogram.schema));
    histogram.zero_threshold.put(0.0, out);
    put_varint(out, histogram.custom_bounds.len() as u64);
    let mut before = 0.0;
    for bound in &histogram.custom_bounds {
        bound.put(before, out);
        before = *bound;
    }
    for spans in [positive, negative] {
        put_varint(out, spans.len() as u64);
        for span in spans {
            put_zigzag(out, i64::from(span.offset));
            put_varint(out, u64::from(span.length));
        }
    }
}

fn put_counts<N: Count>(counts: &Counts<N>, old: Option<&Counts<N>>, out: &mut Vec<u8>) {
    counts.zero.put(old.map_or(N::default(), |old| old.zero), out);
    put_side(&counts.positive, old.map(|old| &old.positive), out);
    put_side(&counts.negative, old.map(|old| &old.negative), out);
    counts.count.put(sum_of(counts), out);
}

fn put_side<N: Count>(side: &Buckets<N>, old: Option<&Buckets<N>>, out: &mut Vec<u8>) {
    let mut before = N::default();
    for (at, count) in side.counts.iter().enumerate() {
        count.put(old.map_or(before, |old| old.counts[at]), out);
        before = *count;
    }
}

fn sum_of<N: Count>(counts: &Counts<N>) -> N {
    counts.positive.counts.iter().chain(&counts.negative.counts).fold(counts.zero, |sum, count| sum.plus(*count))
}

fn read_moved(old: &NativeHistogram, reader: &mut Reader<'_>) -> Result<NativeHistogram, Malformed> {
    let counts = match &old.counts {
        HistogramCounts::Integer(old) => HistogramCounts::Integer(read_moved_counts(old, reader)?),
        HistogramCounts::Float(old) => HistogramCounts::Float(read_moved_counts(old, reader)?),
    };
    let sum = f64::read(old.sum, reader)?;
    Ok(NativeHistogram { sum, counts, custom_bounds: old.custom_bounds.clone(), ..*old })
}

fn read_moved_counts<N: Count>(old: &Counts<N>, reader: &mut Reader<'_>) -> Result<Counts<N>, Malformed> {
    let zero = N::read(old.zero, reader)?;
    let mut moved = |side: &Buckets<N>| -> Result<Buckets<N>, Malformed> {
        let counts = side.counts.iter().map(|old| N::read(*old, reader)).collect::<Result<_, _>>()?;
        Ok(Buckets { spans: side.spans.clone(), counts })
    };
    let (positive, negative) = (moved(&old.positive)?, moved(&old.negative)?);
    total(Counts { count: N::default(), zero, positive, negative }, reader)
}

fn read_shaped(old_sum: f64, reader: &mut Reader<'_>) -> Result<NativeHistogram, Malformed> {
    let kind = reader.byte("histogram kind")?;
    let reset_hint = match kind & !KIND_FLOAT {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        found => return Err(Malformed::Unknown { what: "histogram kind", found: u64::from(found) }),
    };
    let schema = reader.zigzag("histogram schema")?;
    let schema = i8::try_from(schema).map_err(|_| Malformed::OutOfPlace("histogram schema"))?;
    let zero_threshold = f64::read(0.0, reader)?;
    let mut custom_bounds = Vec::with_capacity(reader.count("custom bounds", HISTOGRAM_BUCKETS_MAX as u64, 1)?);
    for at in 0..custom_bounds.capacity() {
        custom_bounds.push(f64::read(if at == 0 { 0.0 } else { custom_bounds[at - 1] }, reader)?);
    }
    let (positive, negative) = (read_spans(reader)?, read_spans(reader)?);
    let counts = match kind & KIND_FLOAT {
        0 => HistogramCounts::Integer(read_counts(positive, negative, reader)?),
        _ => HistogramCounts::Float(read_counts(positive, negative, reader)?),
    };
    let sum = f64::read(old_sum, reader)?;
    Ok(NativeHistogram { reset_hint, schema, zero_threshold, sum, custom_bounds, counts })
}

fn read_spans(reader: &mut Reader<'_>) -> Result<Vec<Span>, Malformed> {
    let count = reader.count("spans of a histogram", HISTOGRAM_BUCKETS_MAX as u64, 2)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = reader.zigzag("offset of a span")?;
        let offset = i32::try_from(offset).map_err(|_| Malformed::OutOfPlace("offset of a span"))?;
        let length = reader.bounded("length of a span", HISTOGRAM_BUCKETS_MAX as u64)? as u32;
        spans.push(Span { offset, length });
    }
    Ok(spans)
}

fn read_counts<N: Count>(
    positive: Vec<Span>,
    negative: Vec<Span>,
    reader: &mut Reader<'_>,
) -> Result<Counts<N>, Malformed> {
    let zero = N::read(N::default(), reader)?;
    let (positive, negative) = (read_side(positive, reader)?, read_side(negative, reader)?);
    total(Counts { count: N::default(), zero, positive, negative }, reader)
}

fn read_side<N: Count>(spans: Vec<Span>, reader: &mut Reader<'_>) -> Result<Buckets<N>, Malformed> {
    let named: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    let max = HISTOGRAM_BUCKETS_MAX.min(reader.left()) as u64;
    if named > max {
        return Err(Malformed::OutOfBounds { what: "buckets of a histogram", found: named, max });
    }
    let (mut counts, mut before) = (Vec::with_capacity(named as usize), N::default());
    for _ in 0..named {
        before = N::read(before, reader)?;
        counts.push(before);
    }
    Ok(Buckets { spans, counts })
}

/// The counts with the total, which is told against their sum.
fn total<N: Count>(mut counts: Counts<N>, reader: &mut Reader<'_>) -> Result<Counts<N>, Malformed> {
    counts.count = N::read(sum_of(&counts), reader)?;
    Ok(counts)
}

fn read_exemplars(base: Timestamp, reader: &mut Reader<'_>) -> Result<Vec<Exemplar>, Malformed> {
    let count = reader.count("exemplars of a histogram", HISTOGRAM_EXEMPLARS_MAX as u64, 10)?;
    (0..count).map(|_| Exemplar::read(None, base, reader)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CUSTOM_BUCKETS_SCHEMA, Labels};

    fn sample(buckets: &[(i32, u64)], sum: f64) -> HistogramSample {
        let mut positive = Buckets::default();
        let mut next = 0;
        for (index, count) in buckets {
            match positive.spans.last_mut() {
                Some(span) if *index == next => span.length += 1,
                _ => positive.spans.push(Span { offset: index - next, length: 1 }),
            }
            positive.counts.push(*count);
            next = index + 1;
        }
        let zero = 3;
        let count = positive.counts.iter().sum::<u64>() + zero;
        let histogram = NativeHistogram {
            reset_hint: ResetHint::Unknown,
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            sum,
            custom_bounds: Vec::new(),
            counts: HistogramCounts::Integer(Counts { count, zero, positive, negative: Buckets::default() }),
        };
        HistogramSample { histogram, exemplars: Vec::new() }
    }

    fn float(counts: &[f64], sum: f64) -> HistogramSample {
        let positive =
            Buckets { spans: vec![Span { offset: 0, length: counts.len() as u32 }], counts: counts.to_vec() };
        let counts = Counts { count: counts.iter().sum(), positive, ..Counts::default() };
        let histogram = NativeHistogram {
            reset_hint: ResetHint::Gauge,
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            sum,
            custom_bounds: vec![0.5, 1.0, 2.5],
            counts: HistogramCounts::Float(counts),
        };
        let exemplar =
            Exemplar { labels: Labels::from_pairs([("trace_id", "a")]), value: -0.0, timestamp: Some(Timestamp(9)) };
        HistogramSample { histogram, exemplars: vec![exemplar] }
    }

    /// Tells each against the one before, reads it back, and gives the bytes of each step.
    fn travel(samples: Vec<HistogramSample>) -> Vec<usize> {
        let mut old: Option<Arc<HistogramSample>> = None;
        let mut step = |sample: HistogramSample| {
            let (sample, mut out) = (Arc::new(sample), Vec::new());
            sample.put(old.as_ref(), Timestamp(1000), &mut out);
            assert!(out.len() <= sample.bytes_max(), "{} bytes, at most {}", out.len(), sample.bytes_max());
            let mut reader = Reader::new(&out);
            let read = Arc::read(old.as_ref(), Timestamp(1000), &mut reader).unwrap();
            assert_eq!(reader.left(), 0);
            assert!(read.is_same(&sample), "{read:?}, expected {sample:?}");
            for length in 0..out.len() {
                let cut = Arc::read(old.as_ref(), Timestamp(1000), &mut Reader::new(&out[..length]));
                assert!(cut.is_err(), "cut at {length}");
            }
            old = Some(read);
            out.len()
        };
        samples.into_iter().map(&mut step).collect()
    }

    #[test]
    fn counts_are_told_by_how_they_moved() {
        let buckets: Vec<(i32, u64)> = (-40..40).map(|n| (n, (1000 + n * n) as u64)).collect();
        let moved: Vec<(i32, u64)> = buckets.iter().map(|(index, count)| (*index, count + 2)).collect();
        let more: Vec<(i32, u64)> = moved.iter().copied().chain([(50, 1)]).collect();
        let sizes = travel(vec![sample(&buckets, 1.5), sample(&moved, 2.0), sample(&more, 2.0), sample(&[], 0.0)]);
        assert!(sizes[1] < 80 + 8, "{sizes:?}: a byte a bucket");
        assert!(sizes[2] > sizes[1], "a new bucket is a new shape");
    }

    #[test]
    fn counts_that_fall_a_long_way_begin_anew() {
        let full: Vec<(i32, u64)> = (0..100).map(|n| (n, u64::MAX >> 8)).collect();
        let empty: Vec<(i32, u64)> = (0..100).map(|n| (n, 1)).collect();
        assert!(travel(vec![sample(&full, 1.0), sample(&empty, 1.0)])[1] < 600);
    }

    #[test]
    fn floats_custom_bounds_and_exemplars_come_back_to_the_bit() {
        let nan = f64::from_bits(0x7ff8_0000_0000_0001);
        let mut other = float(&[1.0, 0.1, 0.25], -0.0);
        other.exemplars.clear();
        let sizes = travel(vec![float(&[0.1, 0.2, 1e300], nan), float(&[0.1, 0.2, 1e300], 0.0), other]);
        assert!(sizes[1] < sizes[0] / 4, "{sizes:?}");
    }

    #[test]
    fn zeros_of_either_sign_differ() {
        let (plus, minus) = (Arc::new(float(&[1.0], 0.0)), Arc::new(float(&[1.0], -0.0)));
        assert!(plus.histogram == minus.histogram && !plus.is_same(&minus));
    }

    #[test]
    fn a_histogram_that_breaks_its_rules_is_refused() {
        let mut bad = sample(&[(0, 5)], 1.0);
        if let HistogramCounts::Integer(counts) = &mut bad.histogram.counts {
            counts.count = 1;
        }
        let mut out = Vec::new();
        Arc::new(bad).put(None, Timestamp(0), &mut out);
        let read = Arc::read(None, Timestamp(0), &mut Reader::new(&out));
        assert!(matches!(read, Err(Malformed::Histogram(_))), "{read:?}");
    }
}
