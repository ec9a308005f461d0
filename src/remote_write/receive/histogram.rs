//! A native histogram as both versions write it.

use std::sync::Arc;

use super::fault::RequestFault;
use super::fields::{Fields, Value, signed};
use super::request::Sample;
use crate::model::{
    Buckets, Counts, HISTOGRAM_BUCKETS_MAX, HISTOGRAM_NAN, HistogramCounts, NativeHistogram, ResetHint, Span, is_stale,
};

/// One side's buckets: deltas or counts, as they come.
#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// All fields of the message; numbers are kept by field.
#[derive(Default)]
struct Fieldwise {
    count: (u64, Option<f64>),
    zero: (u64, Option<f64>),
    sum: f64,
    schema: i64,
    zero_threshold: f64,
    negative: Side,
    positive: Side,
    hint: u64,
    at: i64,
    bounds: Vec<f64>,
    start: i64,
}

/// Reads a Histogram. One that breaks its own rules is a sample that says so; its series loses no other.
pub(super) fn read_histogram(message: &[u8]) -> Result<Sample, RequestFault> {
    let read = read_fields(message)?;
    let (at, start) = (read.at, read.start);
    if is_stale(read.sum) {
        return Ok(Sample { at, value: read.sum, histogram: None, is_histogram: true, start, is_bad: false });
    }
    let histogram = read.histogram().filter(|histogram| histogram.check().is_ok());
    let is_bad = histogram.is_none();
    let value = f64::from_bits(HISTOGRAM_NAN);
    Ok(Sample { at, value, histogram: histogram.map(Arc::new), is_histogram: true, start, is_bad })
}

fn read_fields(message: &[u8]) -> Result<Fieldwise, RequestFault> {
    let (mut fields, mut read) = (Fields::new(message), Fieldwise::default());
    while let Some(field) = fields.next()? {
        let value = field.value;
        match field.number {
            1 => read.count.0 = value.integer()?,
            2 => read.count.1 = Some(value.double()?),
            3 => read.sum = value.double()?,
            4 => read.schema = signed(value.integer()?),
            5 => read.zero_threshold = value.double()?,
            6 => read.zero.0 = value.integer()?,
            7 => read.zero.1 = Some(value.double()?),
            8 => push_span(&mut read.negative.spans, value)?,
            9 => push_deltas(&mut read.negative.deltas, value)?,
            10 => push_doubles(&mut read.negative.counts, value)?,
            11 => push_span(&mut read.positive.spans, value)?,
            12 => push_deltas(&mut read.positive.deltas, value)?,
            13 => push_doubles(&mut read.positive.counts, value)?,
            14 => read.hint = value.integer()?,
            15 => read.at = value.integer()? as i64,
            16 => push_doubles(&mut read.bounds, value)?,
            17 => read.start = value.integer()? as i64,
            _ => {}
        }
    }
    Ok(read)
}

fn push_span(spans: &mut Vec<Span>, value: Value<'_>) -> Result<(), RequestFault> {
    let (mut fields, mut span) = (Fields::new(value.bytes()?), Span::default());
    while let Some(field) = fields.next()? {
        match field.number {
            1 => span.offset = signed(field.value.integer()?) as i32,
            2 => span.length = field.value.integer()? as u32,
            _ => {}
        }
    }
    spans.push(span);
    bound(spans.len())
}

fn push_deltas(deltas: &mut Vec<i64>, value: Value<'_>) -> Result<(), RequestFault> {
    if let Value::Number(number) = value {
        deltas.push(signed(number));
        return bound(deltas.len());
    }
    let mut packed = Fields::new(value.bytes()?);
    while !packed.is_over() {
        deltas.push(signed(packed.number()?));
        bound(deltas.len())?;
    }
    Ok(())
}

fn push_doubles(doubles: &mut Vec<f64>, value: Value<'_>) -> Result<(), RequestFault> {
    if let Value::Fixed(bits) = value {
        doubles.push(f64::from_bits(bits));
        return bound(doubles.len());
    }
    let bytes = value.bytes()?;
    if !bytes.len().is_multiple_of(8) {
        return Err(RequestFault::Malformed("packed doubles"));
    }
    bound(doubles.len() + bytes.len() / 8)?;
    doubles.extend(bytes.chunks_exact(8).map(|eight| f64::from_le_bytes(eight.try_into().expect("eight bytes"))));
    Ok(())
}

fn bound(found: usize) -> Result<(), RequestFault> {
    let (what, max) = ("buckets", HISTOGRAM_BUCKETS_MAX);
    if found <= max { Ok(()) } else { Err(RequestFault::TooMany { what, max }) }
}

impl Fieldwise {
    fn histogram(self) -> Option<NativeHistogram> {
        let counts = match self.count.1 {
            Some(count) => HistogramCounts::Float(Counts {
                count,
                zero: self.zero.1.unwrap_or_default(),
                positive: self.positive.floats(),
                negative: self.negative.floats(),
            }),
            None => HistogramCounts::Integer(Counts {
                count: self.count.0,
                zero: self.zero.0,
                positive: self.positive.integers()?,
                negative: self.negative.integers()?,
            }),
        };
        Some(NativeHistogram {
            reset_hint: [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge]
                .get(usize::try_from(self.hint).ok()?)
                .copied()?,
            schema: i8::try_from(self.schema).ok()?,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            custom_bounds: self.bounds,
            counts,
        })
    }
}

impl Side {
    fn floats(self) -> Buckets<f64> {
        Buckets { spans: self.spans, counts: self.counts }
    }

    /// Absolute counts; `None` where one is below zero.
    fn integers(self) -> Option<Buckets<u64>> {
        let mut count = 0_i64;
        let counts = self.deltas.iter().map(|delta| {
            count = count.checked_add(*delta)?;
            u64::try_from(count).ok()
        });
        Some(Buckets { counts: counts.collect::<Option<Vec<u64>>>()?, spans: self.spans })
    }
}
