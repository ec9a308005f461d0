//! A native histogram: one sample that holds a whole distribution in sparse buckets.
//!
//! Source: the native histogram specification of Prometheus. Two kinds of buckets: *exponential* (schemas −4 to 8: bucket `i` of the positive side
//! holds values in `(2^((i−1)·2^−schema), 2^(i·2^−schema)]`, the negative side mirrors it, what lies within ±`zero_threshold` is the zero
//! bucket), and *custom* (schema −53, "NHCB": upper bounds of its own, a last bucket to +Inf, positive side only, no zero bucket).
//!
//! Invariant of what [`NativeHistogram::check`] passes: spans name as many buckets as there are counts, no index leaves its range, no
//! count is negative or NaN. Counts stand absolute, not as the deltas that every wire form has, so that arithmetic reads them as they are.

use super::Exemplar;

/// The schema of custom buckets.
pub const CUSTOM_BUCKETS_SCHEMA: i8 = -53;
/// The coarsest exponential schema that is kept: a bucket covers a factor of 65,536.
pub const EXPONENTIAL_SCHEMA_MIN: i8 = -4;
/// The finest exponential schema that is kept: 256 buckets to a factor of two.
pub const EXPONENTIAL_SCHEMA_MAX: i8 = 8;
/// Buckets that one histogram may have, both sides together; a bound against hostile pages, far above what clients make.
pub const HISTOGRAM_BUCKETS_MAX: usize = 16_384;

/// Whether the sample before this one is a reset away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResetHint {
    /// Nobody knows; who needs it compares.
    #[default]
    Unknown = 0,
    /// The counts began anew.
    Reset = 1,
    /// They did not.
    NotReset = 2,
    /// A gauge histogram: counts may fall, a reset means nothing.
    Gauge = 3,
}

/// A run of buckets that have a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Buckets skipped since the end of the span before; of the first span the index it begins at, which may be negative.
    pub offset: i32,
    /// How many buckets it has.
    pub length: u32,
}

/// One side of a histogram's buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets<N> {
    /// Which buckets.
    pub spans: Vec<Span>,
    /// A count each, in the order of the spans.
    pub counts: Vec<N>,
}

/// What a histogram counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts<N> {
    /// All observations, NaN ones included.
    pub count: N,
    /// Those in the zero bucket.
    pub zero: N,
    /// Those above it.
    pub positive: Buckets<N>,
    /// Those below it.
    pub negative: Buckets<N>,
}

/// Counts as they were counted, or as a computation left them.
#[derive(Clone, Debug, PartialEq)]
pub enum HistogramCounts {
    /// What an instrumented program exposes.
    Integer(Counts<u64>),
    /// What weighted observations and rules make.
    Float(Counts<f64>),
}

/// A native histogram; its timestamp and labels stand with its series.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeHistogram {
    /// What is known of a reset before it.
    pub reset_hint: ResetHint,
    /// −4 to 8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i8,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Upper bounds of custom buckets, ascending and finite; empty for exponential ones.
    pub custom_bounds: Vec<f64>,
    /// The counts.
    pub counts: HistogramCounts,
}

/// What a scrape brings of one native histogram's series.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// The distribution.
    pub histogram: NativeHistogram,
    /// Exemplars, in the page's order; a native histogram may bring several.
    pub exemplars: Vec<Exemplar>,
}

/// Why a native histogram is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramFault {
    /// No such schema.
    #[error("histogram schema {0}, expected -4 to 8, or -53 for custom buckets")]
    Schema(i32),
    /// Spans and counts do not fit together.
    #[error("{counts} {side} bucket counts for spans of {buckets} buckets")]
    SpanLength {
        /// `positive` or `negative`.
        side: &'static str,
        /// Buckets that the spans name.
        buckets: u64,
        /// Counts that are there.
        counts: usize,
    },
    /// A span but the first goes back, or an index leaves the range of `i32`.
    #[error("span {span} of the {side} buckets has offset {offset}, expected one that leads forward within 32 bits")]
    SpanOffset {
        /// `positive` or `negative`.
        side: &'static str,
        /// Its place.
        span: usize,
        /// What it says.
        offset: i32,
    },
    /// A float count below zero or NaN.
    #[error("{side} bucket count {found}, expected zero or above")]
    Count {
        /// `positive`, `negative`, `zero` or `all`.
        side: &'static str,
        /// What stands there.
        found: f64,
    },
    /// The buckets hold more than all observations (or less, where no NaN explains it).
    #[error("{buckets} observations in the buckets, but a count of {count}")]
    Sum {
        /// In all buckets.
        buckets: u64,
        /// What the histogram says.
        count: u64,
    },
    /// Too many buckets.
    #[error("{found} buckets, expected at most {HISTOGRAM_BUCKETS_MAX}")]
    TooManyBuckets {
        /// Of both sides.
        found: usize,
    },
    /// Custom bounds that do not ascend, are not finite, or stand where there are no custom buckets.
    #[error(
        "custom bound {found} at place {place}, expected finite bounds in ascending order, and only with schema -53"
    )]
    CustomBound {
        /// The bound.
        found: f64,
        /// Its place.
        place: usize,
    },
    /// A custom-bucket histogram with a zero bucket, a negative side or a bucket behind its last bound.
    #[error("a histogram with custom buckets has {0}")]
    NotCustom(&'static str),
}

impl NativeHistogram {
    /// Whether the buckets have bounds of their own.
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Buckets of both sides.
    pub fn buckets(&self) -> usize {
        match &self.counts {
            HistogramCounts::Integer(counts) => counts.positive.counts.len() + counts.negative.counts.len(),
            HistogramCounts::Float(counts) => counts.positive.counts.len() + counts.negative.counts.len(),
        }
    }

    /// Whether it keeps the invariant, by the rules that Prometheus 3.5 has for what it takes in (`model/histogram`).
    pub fn check(&self) -> Result<(), HistogramFault> {
        if self.buckets() > HISTOGRAM_BUCKETS_MAX {
            return Err(HistogramFault::TooManyBuckets { found: self.buckets() });
        }
        match &self.counts {
            HistogramCounts::Integer(counts) => {
                self.check_shape(counts, counts.zero == 0)?;
                check_total(counts, self.sum.is_nan())
            }
            HistogramCounts::Float(counts) => {
                self.check_shape(counts, counts.zero == 0.0)?;
                check_floats(counts)
            }
        }
    }

    fn check_shape<N>(&self, counts: &Counts<N>, has_no_zero: bool) -> Result<(), HistogramFault> {
        check_spans("positive", &counts.positive)?;
        check_spans("negative", &counts.negative)?;
        if self.has_custom_buckets() {
            check_bounds(&self.custom_bounds)?;
            return self.check_custom(counts, has_no_zero);
        }
        if !(EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX).contains(&self.schema) {
            return Err(HistogramFault::Schema(self.schema.into()));
        }
        match self.custom_bounds.first() {
            Some(found) => Err(HistogramFault::CustomBound { found: *found, place: 0 }),
            None => Ok(()),
        }
    }

    fn check_custom<N>(&self, counts: &Counts<N>, has_no_zero: bool) -> Result<(), HistogramFault> {
        if !has_no_zero || self.zero_threshold != 0.0 {
            return Err(HistogramFault::NotCustom("a zero bucket"));
        }
        if !counts.negative.spans.is_empty() || !counts.negative.counts.is_empty() {
            return Err(HistogramFault::NotCustom("negative buckets"));
        }
        let spans = &counts.positive.spans;
        if spans.first().is_some_and(|span| span.offset < 0) {
            return Err(HistogramFault::NotCustom("a bucket before its first bound"));
        }
        let reach: i64 = spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum();
        // One bucket more than there are bounds: the last one reaches to +Inf.
        if reach > self.custom_bounds.len() as i64 + 1 {
            return Err(HistogramFault::NotCustom("a bucket behind its last bound"));
        }
        Ok(())
    }
}

fn check_spans<N>(side: &'static str, buckets: &Buckets<N>) -> Result<(), HistogramFault> {
    let (mut at, mut named) = (0i64, 0u64);
    for (span, Span { offset, length }) in buckets.spans.iter().copied().enumerate() {
        at += i64::from(offset) + i64::from(length);
        named += u64::from(length);
        if (span > 0 && offset < 0) || i32::try_from(at).is_err() {
            return Err(HistogramFault::SpanOffset { side, span, offset });
        }
    }
    let counts = buckets.counts.len();
    if named == counts as u64 { Ok(()) } else { Err(HistogramFault::SpanLength { side, buckets: named, counts }) }
}

fn check_bounds(bounds: &[f64]) -> Result<(), HistogramFault> {
    let is_good = |at: usize| bounds[at].is_finite() && (at == 0 || bounds[at - 1] < bounds[at]);
    match (0..bounds.len()).find(|at| !is_good(*at)) {
        Some(place) => Err(HistogramFault::CustomBound { found: bounds[place], place }),
        None => Ok(()),
    }
}

/// Observations of NaN are in no bucket, and make the sum NaN.
fn check_total(counts: &Counts<u64>, has_nan: bool) -> Result<(), HistogramFault> {
    let all = counts.positive.counts.iter().chain(&counts.negative.counts);
    let buckets = all.fold(counts.zero, |sum, count| sum.saturating_add(*count));
    let is_good = if has_nan { buckets <= counts.count } else { buckets == counts.count };
    if is_good { Ok(()) } else { Err(HistogramFault::Sum { buckets, count: counts.count }) }
}

fn check_floats(counts: &Counts<f64>) -> Result<(), HistogramFault> {
    let sides = [
        ("all", std::slice::from_ref(&counts.count)),
        ("zero", std::slice::from_ref(&counts.zero)),
        ("positive", &counts.positive.counts),
        ("negative", &counts.negative.counts),
    ];
    for (side, counts) in sides {
        if let Some(found) = counts.iter().copied().find(|count| count.is_nan() || *count < 0.0) {
            return Err(HistogramFault::Count { side, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(spans: &[(i32, u32)], counts: &[u64]) -> NativeHistogram {
        let spans = spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
        let positive = Buckets { spans, counts: counts.to_vec() };
        let counts = Counts { count: counts.iter().sum(), positive, ..Counts::default() };
        NativeHistogram {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            sum: 1.0,
            custom_bounds: Vec::new(),
            counts: HistogramCounts::Integer(counts),
        }
    }

    #[test]
    fn spans_and_counts_must_fit() {
        assert_eq!(histogram(&[(-2, 1), (3, 2)], &[1, 2, 3]).check(), Ok(()));
        let short = HistogramFault::SpanLength { side: "positive", buckets: 3, counts: 2 };
        assert_eq!(histogram(&[(-2, 1), (3, 2)], &[1, 2]).check(), Err(short));
        let back = HistogramFault::SpanOffset { side: "positive", span: 1, offset: -1 };
        assert_eq!(histogram(&[(0, 1), (-1, 2)], &[1, 2, 3]).check(), Err(back));
        assert!(histogram(&[(i32::MAX, 1)], &[1]).check().is_err(), "an index beyond 32 bits");
    }

    #[test]
    fn schemas_and_totals() {
        for (schema, is_good) in [(-5, false), (-4, true), (8, true), (9, false)] {
            let histogram = NativeHistogram { schema, ..histogram(&[(0, 1)], &[1]) };
            assert_eq!(histogram.check().is_ok(), is_good, "schema {schema}");
        }
        let mut short = histogram(&[(0, 1)], &[1]);
        if let HistogramCounts::Integer(counts) = &mut short.counts {
            counts.count = 2;
        }
        assert_eq!(short.check(), Err(HistogramFault::Sum { buckets: 1, count: 2 }));
        assert_eq!(NativeHistogram { sum: f64::NAN, ..short }.check(), Ok(()), "a NaN is in no bucket");
    }

    #[test]
    fn custom_buckets_need_bounds_that_ascend() {
        let custom = |bounds: &[f64]| NativeHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_bounds: bounds.to_vec(),
            ..histogram(&[(0, 2)], &[1, 2])
        };
        assert_eq!(custom(&[1.0]).check(), Ok(()), "the last bucket reaches to +Inf");
        assert_eq!(custom(&[]).check(), Err(HistogramFault::NotCustom("a bucket behind its last bound")));
        let twice = HistogramFault::CustomBound { found: 1.0, place: 1 };
        assert_eq!(custom(&[1.0, 1.0]).check(), Err(twice));
        assert!(NativeHistogram { custom_bounds: vec![1.0], ..histogram(&[], &[]) }.check().is_err());
    }
}
