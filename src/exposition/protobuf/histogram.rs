//! The Histogram message: classic buckets and native ones, and what makes a [`NativeHistogram`] of the latter.

use super::error::{ProtobufError, ProtobufFault};
use super::exemplar::{ProtobufExemplar, read_exemplar};
use super::metric::{push, read_timestamp};
use super::wire::{Field, Fields, Range, Schema, Value, unzigzag, unzigzag32};
use crate::model::{Buckets, Counts, HistogramCounts, HistogramFault, NativeHistogram, ResetHint, Span, Timestamp};

static HISTOGRAM: Schema = Schema {
    message: "Histogram",
    fields: &[
        "sample_count",
        "sample_sum",
        "bucket",
        "sample_count_float",
        "schema",
        "zero_threshold",
        "zero_count",
        "zero_count_float",
        "negative_span",
        "negative_delta",
        "negative_count",
        "positive_span",
        "positive_delta",
        "positive_count",
        "created_timestamp",
        "exemplars",
    ],
};
static BUCKET: Schema =
    Schema { message: "Bucket", fields: &["cumulative_count", "upper_bound", "exemplar", "cumulative_count_float"] };
static SPAN: Schema = Schema { message: "BucketSpan", fields: &["offset", "length"] };

/// A classic bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BucketMessage {
    count: u64,
    count_float: f64,
    pub(super) upper_bound: f64,
    pub(super) exemplar: Option<ProtobufExemplar>,
}

/// One side of the native buckets, as deltas or as counts.
#[derive(Debug, Default)]
pub(super) struct SideMessage {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// What a histogram says, as far as it says it.
#[derive(Debug, Default)]
pub(super) struct HistogramMessage {
    count: u64,
    count_float: f64,
    pub(super) sum: f64,
    pub(super) buckets: Vec<BucketMessage>,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: SideMessage,
    positive: SideMessage,
    pub(super) created: Option<Timestamp>,
    pub(super) exemplars: Vec<ProtobufExemplar>,
}

/// Reads the message at `range` on top of what `histogram` holds.
pub(super) fn read_histogram(histogram: &mut HistogramMessage, page: &[u8], range: Range) -> Result<(), ProtobufError> {
    let mut fields = Fields::new(page, range, &HISTOGRAM);
    while let Some(field) = fields.next()? {
        histogram.read_field(page, field)?;
    }
    Ok(())
}

impl HistogramMessage {
    fn read_field(&mut self, page: &[u8], field: Field) -> Result<(), ProtobufError> {
        match field.number {
            1 => self.count = field.number()?,
            2 => self.sum = field.float()?,
            3 => push(&mut self.buckets, read_bucket(page, field.bytes()?)?, field)?,
            4 => self.count_float = field.float()?,
            5 => self.schema = unzigzag32(field.number()?),
            6 => self.zero_threshold = field.float()?,
            7 => self.zero_count = field.number()?,
            8 => self.zero_count_float = field.float()?,
            9 => push(&mut self.negative.spans, read_span(page, field.bytes()?)?, field)?,
            10 => push_deltas(&mut self.negative.deltas, page, field)?,
            11 => push_floats(&mut self.negative.counts, page, field)?,
            12 => push(&mut self.positive.spans, read_span(page, field.bytes()?)?, field)?,
            13 => push_deltas(&mut self.positive.deltas, page, field)?,
            14 => push_floats(&mut self.positive.counts, page, field)?,
            15 => self.created = Some(read_timestamp(page, field.bytes()?)?),
            16 => push(&mut self.exemplars, read_exemplar(page, field.bytes()?)?, field)?,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        (self.count, self.count_float, self.sum) = (0, 0.0, 0.0);
        (self.schema, self.zero_threshold, self.zero_count, self.zero_count_float) = (0, 0.0, 0, 0.0);
        self.created = None;
        self.buckets.clear();
        self.exemplars.clear();
        self.negative.clear();
        self.positive.clear();
    }

    /// Whether it has native buckets. An instrumented program without observations adds an empty span to say so.
    pub(super) fn is_native(&self) -> bool {
        !self.positive.spans.is_empty()
            || !self.negative.spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    /// All observations, for the classic `_count`.
    pub(super) fn observations(&self) -> f64 {
        if self.count_float == 0.0 { self.count as f64 } else { self.count_float }
    }

    /// The native histogram, without the buckets that are empty, as Prometheus takes it in. Of the two kinds of counts
    /// the floats are meant where one of their totals is above zero.
    pub(super) fn native(&self, reset_hint: ResetHint) -> Result<NativeHistogram, HistogramFault> {
        let schema = i8::try_from(self.schema).map_err(|_| HistogramFault::Schema(self.schema))?;
        let counts = if self.count_float > 0.0 || self.zero_count_float > 0.0 {
            HistogramCounts::Float(Counts {
                count: self.count_float,
                zero: self.zero_count_float,
                positive: Buckets::compacted("positive", &self.positive.spans, &self.positive.counts)?,
                negative: Buckets::compacted("negative", &self.negative.spans, &self.negative.counts)?,
            })
        } else {
            HistogramCounts::Integer(Counts {
                count: self.count,
                zero: self.zero_count,
                positive: Buckets::compacted(
                    "positive",
                    &self.positive.spans,
                    &absolute("positive", &self.positive.deltas)?,
                )?,
                negative: Buckets::compacted(
                    "negative",
                    &self.negative.spans,
                    &absolute("negative", &self.negative.deltas)?,
                )?,
            })
        };
        let (zero_threshold, sum) = (self.zero_threshold, self.sum);
        Ok(NativeHistogram { reset_hint, schema, zero_threshold, sum, custom_bounds: Vec::new(), counts })
    }
}

impl SideMessage {
    fn clear(&mut self) {
        self.spans.clear();
        self.deltas.clear();
        self.counts.clear();
    }
}

impl BucketMessage {
    /// Observations up to its bound.
    pub(super) fn cumulative(&self) -> f64 {
        if self.count_float == 0.0 { self.count as f64 } else { self.count_float }
    }
}

/// Counts of deltas, each to the bucket before.
fn absolute(side: &'static str, deltas: &[i64]) -> Result<Vec<u64>, HistogramFault> {
    let mut count = 0i64;
    let absolute = deltas.iter().map(|delta| {
        count = count.wrapping_add(*delta);
        u64::try_from(count).map_err(|_| HistogramFault::Count { side, found: count as f64 })
    });
    absolute.collect()
}

fn read_bucket(page: &[u8], range: Range) -> Result<BucketMessage, ProtobufError> {
    let mut fields = Fields::new(page, range, &BUCKET);
    let mut bucket = BucketMessage::default();
    while let Some(field) = fields.next()? {
        match field.number {
            1 => bucket.count = field.number()?,
            2 => bucket.upper_bound = field.float()?,
            3 => bucket.exemplar = Some(read_exemplar(page, field.bytes()?)?),
            4 => bucket.count_float = field.float()?,
            _ => {}
        }
    }
    Ok(bucket)
}

fn read_span(page: &[u8], range: Range) -> Result<Span, ProtobufError> {
    let mut fields = Fields::new(page, range, &SPAN);
    let mut span = Span::default();
    while let Some(field) = fields.next()? {
        match field.number {
            1 => span.offset = unzigzag32(field.number()?),
            2 => span.length = field.number()? as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// Packed or one by one, as protobuf wants both to be read.
fn push_deltas(deltas: &mut Vec<i64>, page: &[u8], field: Field) -> Result<(), ProtobufError> {
    match field.packed(page) {
        Some(mut packed) => {
            while let Some(number) = packed.next()? {
                push(deltas, unzigzag(number), field)?;
            }
            Ok(())
        }
        None => push(deltas, unzigzag(field.number()?), field),
    }
}

fn push_floats(counts: &mut Vec<f64>, page: &[u8], field: Field) -> Result<(), ProtobufError> {
    let Value::Bytes(range) = field.value else {
        return push(counts, field.float()?, field);
    };
    let (floats, rest) = range.of(page).as_chunks::<8>();
    if !rest.is_empty() {
        return Err(field.fault(ProtobufFault::Truncated));
    }
    floats.iter().try_for_each(|bytes| push(counts, f64::from_le_bytes(*bytes), field))
}
