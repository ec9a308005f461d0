//! Rearranging a native histogram's sparse buckets: empty ones left out, resolution reduced.
//!
//! Invariant: what comes out names each bucket once, in ascending order, with as many spans as there are gaps. Prometheus 3.5
//! does the same to what it scrapes (`compactBuckets`, `reduceResolution`), so both keep the same spans.

use super::histogram::{Buckets, Counts, HistogramCounts, HistogramFault, NativeHistogram, Span};

/// A count that can be added up.
pub trait BucketCount: Copy + Default + PartialEq {
    /// The sum, at most what the type can hold.
    fn plus(self, other: Self) -> Self;
}

impl BucketCount for u64 {
    fn plus(self, other: u64) -> u64 {
        self.saturating_add(other)
    }
}

impl BucketCount for f64 {
    fn plus(self, other: f64) -> f64 {
        self + other
    }
}

impl<N: BucketCount> Buckets<N> {
    /// The buckets of `spans` without the empty ones. Refuses spans that go back or name another number of buckets than
    /// there are `counts`; empty spans only move on what follows.
    pub fn compacted(side: &'static str, spans: &[Span], counts: &[N]) -> Result<Buckets<N>, HistogramFault> {
        let buckets: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        if buckets != counts.len() as u64 {
            return Err(HistogramFault::SpanLength { side, buckets, counts: counts.len() });
        }
        check_order(side, spans)?;
        Ok(Buckets::of(indexed(spans, counts), 0))
    }

    /// Buckets by ascending index, the empty ones left out but where at most `gap_max` of them stand between two others.
    pub fn of(indexed: impl Iterator<Item = (i32, N)>, gap_max: i64) -> Buckets<N> {
        let mut buckets = Buckets::default();
        let mut end = None;
        for (index, count) in indexed.filter(|(_, count)| *count != N::default()) {
            buckets.append(i64::from(index), count, &mut end, gap_max);
        }
        buckets
    }

    /// Adds a bucket behind `end`, the index behind the last one.
    fn append(&mut self, index: i64, count: N, end: &mut Option<i64>, gap_max: i64) {
        let gap = index - end.unwrap_or(0);
        match self.spans.last_mut().filter(|_| gap <= gap_max) {
            Some(span) => {
                span.length += gap as u32 + 1;
                self.counts.extend((0..gap).map(|_| N::default()));
            }
            // Both ends are 32 bits wide and a gap leads forward, so only one over half the range does not fit.
            None => self.spans.push(Span { offset: gap.min(i64::from(i32::MAX)) as i32, length: 1 }),
        }
        self.counts.push(count);
        *end = Some(index + 1);
    }

    /// The same at a schema coarser by `steps`: 2^`steps` buckets become one.
    fn reduced(&self, steps: u32) -> Buckets<N> {
        let coarse = |index: i32| ((i64::from(index) - 1) >> steps) as i32 + 1;
        let mut merged: Vec<(i32, N)> = Vec::with_capacity(self.counts.len());
        for (index, count) in indexed(&self.spans, &self.counts) {
            match merged.last_mut().filter(|(last, _)| *last == coarse(index)) {
                Some((_, sum)) => *sum = sum.plus(count),
                None => merged.push((coarse(index), count)),
            }
        }
        Buckets::of(merged.into_iter(), 0)
    }
}

/// Each bucket's index and count.
fn indexed<N: Copy>(spans: &[Span], counts: &[N]) -> impl Iterator<Item = (i32, N)> {
    let mut start = 0i64;
    let indexes = spans.iter().flat_map(move |span| {
        let first = start + i64::from(span.offset);
        start = first + i64::from(span.length);
        first..start
    });
    indexes.map(|index| index as i32).zip(counts.iter().copied())
}

/// Refuses a span that has buckets and begins before the end of the one before, and an index beyond 32 bits.
fn check_order(side: &'static str, spans: &[Span]) -> Result<(), HistogramFault> {
    let (mut at, mut end) = (0i64, i64::from(i32::MIN));
    for (span, Span { offset, length }) in spans.iter().copied().enumerate() {
        at += i64::from(offset);
        if length > 0 && (at < end || i32::try_from(at + i64::from(length)).is_err()) {
            return Err(HistogramFault::SpanOffset { side, span, offset });
        }
        at += i64::from(length);
        end = if length > 0 { at } else { end };
    }
    Ok(())
}

impl<N: BucketCount> Counts<N> {
    fn reduced(&self, steps: u32) -> Counts<N> {
        let (positive, negative) = (self.positive.reduced(steps), self.negative.reduced(steps));
        Counts { count: self.count, zero: self.zero, positive, negative }
    }
}

impl NativeHistogram {
    /// Brings an exponential histogram to a coarser `schema`; at a finer or the same one it stays as it is.
    pub fn reduce_resolution(&mut self, schema: i8) {
        let steps = i32::from(self.schema) - i32::from(schema);
        if steps <= 0 || self.has_custom_buckets() {
            return;
        }
        // More than 32 steps leave what 32 leave: every index becomes 0 or 1.
        let steps = steps.min(32) as u32;
        self.counts = match &self.counts {
            HistogramCounts::Integer(counts) => HistogramCounts::Integer(counts.reduced(steps)),
            HistogramCounts::Float(counts) => HistogramCounts::Float(counts.reduced(steps)),
        };
        self.schema = schema;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(spans: &[(i32, u32)]) -> Vec<Span> {
        spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect()
    }

    fn compacted(of: &[(i32, u32)], counts: &[u64]) -> Result<Buckets<u64>, HistogramFault> {
        Buckets::compacted("positive", &spans(of), counts)
    }

    fn buckets(of: &[(i32, u32)], counts: &[u64]) -> Buckets<u64> {
        Buckets { spans: spans(of), counts: counts.to_vec() }
    }

    #[test]
    fn empty_buckets_and_needless_spans_go() {
        for (of, counts, expected) in [
            (&[(0, 0)][..], &[][..], buckets(&[], &[])),
            (&[(-3, 2), (0, 2)], &[1, 2, 3, 4], buckets(&[(-3, 4)], &[1, 2, 3, 4])),
            (&[(2, 5)], &[0, 7, 0, 8, 0], buckets(&[(3, 1), (1, 1)], &[7, 8])),
            (&[(1, 1), (4, 0), (2, 1)], &[1, 2], buckets(&[(1, 1), (6, 1)], &[1, 2])),
            (&[(1, 1), (-1, 0), (2, 1)], &[1, 2], buckets(&[(1, 1), (1, 1)], &[1, 2])),
        ] {
            assert_eq!(compacted(of, counts), Ok(expected), "{of:?} {counts:?}");
        }
    }

    #[test]
    fn spans_that_do_not_fit_are_refused() {
        assert!(matches!(compacted(&[(0, 2)], &[1]), Err(HistogramFault::SpanLength { buckets: 2, counts: 1, .. })));
        assert!(matches!(compacted(&[(0, u32::MAX), (0, u32::MAX)], &[]), Err(HistogramFault::SpanLength { .. })));
        assert!(matches!(compacted(&[(5, 1), (-1, 1)], &[1, 1]), Err(HistogramFault::SpanOffset { span: 1, .. })));
        assert!(matches!(compacted(&[(i32::MAX, 1)], &[1]), Err(HistogramFault::SpanOffset { span: 0, .. })));
    }

    #[test]
    fn short_gaps_are_filled_where_asked_for() {
        let indexed = [(0, 1), (1, 0), (2, 0), (3, 2), (4, 0), (5, 0), (6, 0), (7, 3)];
        assert_eq!(Buckets::of(indexed.into_iter(), 2), buckets(&[(0, 4), (3, 1)], &[1, 0, 0, 2, 3]));
    }

    #[test]
    fn a_coarser_schema_merges_neighbours() {
        // At schema 1 buckets 1 and 2 make bucket 1 of schema 0, 3 and 4 its bucket 2; below, -1 and 0 make bucket 0.
        let fine = buckets(&[(-1, 3), (1, 2), (3, 1)], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(fine.reduced(1), buckets(&[(0, 3), (1, 1)], &[3, 3, 9, 6]));
        assert_eq!(fine.reduced(32), buckets(&[(0, 2)], &[3, 18]));
    }
}
