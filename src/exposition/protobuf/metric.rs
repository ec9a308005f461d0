//! One Metric message, read into room that the next one uses again.
//!
//! Every part is read, also one that the family's type does not ask for: a fault in it refuses the page all the same. A
//! message that comes twice is merged, as protobuf has it: the later number counts, repeated fields are added.

use super::error::{ProtobufError, ProtobufFault};
use super::exemplar::{ProtobufExemplar, read_exemplar};
use super::histogram::{HistogramMessage, read_histogram};
use super::wire::{Field, Fields, Range, Schema};
use crate::model::{HISTOGRAM_BUCKETS_MAX, Timestamp};

/// Buckets, spans, quantiles or exemplars of one metric, each.
pub const PARTS_MAX: usize = HISTOGRAM_BUCKETS_MAX;
/// Labels of one metric, which are sorted one by one.
const LABELS_MAX: usize = 1024;

static METRIC: Schema = Schema {
    message: "Metric",
    fields: &["label", "gauge", "counter", "summary", "untyped", "timestamp_ms", "histogram"],
};
static GAUGE: Schema = Schema { message: "Gauge", fields: &["value"] };
static UNTYPED: Schema = Schema { message: "Untyped", fields: &["value"] };
static COUNTER: Schema = Schema { message: "Counter", fields: &["value", "exemplar", "created_timestamp"] };
static SUMMARY: Schema =
    Schema { message: "Summary", fields: &["sample_count", "sample_sum", "quantile", "created_timestamp"] };
static QUANTILE: Schema = Schema { message: "Quantile", fields: &["quantile", "value"] };
static TIMESTAMP: Schema = Schema { message: "Timestamp", fields: &["seconds", "nanos"] };

/// What a metric says, as far as it says it.
#[derive(Debug, Default)]
pub(super) struct MetricMessage {
    /// Its LabelPair messages with their tags, in pieces that stand together; nearly always one.
    pub(super) labels: Vec<Range>,
    label_count: usize,
    pub(super) timestamp_ms: i64,
    pub(super) gauge: f64,
    pub(super) untyped: f64,
    pub(super) counter: CounterMessage,
    pub(super) summary: SummaryMessage,
    pub(super) histogram: HistogramMessage,
}

#[derive(Debug, Default)]
pub(super) struct CounterMessage {
    pub(super) value: f64,
    pub(super) exemplar: Option<ProtobufExemplar>,
    pub(super) created: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct SummaryMessage {
    pub(super) count: u64,
    pub(super) sum: f64,
    /// Each with its value.
    pub(super) quantiles: Vec<(f64, f64)>,
    pub(super) created: Option<Timestamp>,
}

impl MetricMessage {
    /// Reads the message at `range` in place of what was read before.
    pub(super) fn read(&mut self, page: &[u8], range: Range) -> Result<(), ProtobufError> {
        self.clear();
        let mut fields = Fields::new(page, range, &METRIC);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.add_label(field)?,
                2 => self.gauge = read_value(page, field.bytes()?, &GAUGE, self.gauge)?,
                3 => self.counter.read(page, field.bytes()?)?,
                4 => self.summary.read(page, field.bytes()?)?,
                5 => self.untyped = read_value(page, field.bytes()?, &UNTYPED, self.untyped)?,
                6 => self.timestamp_ms = field.number()? as i64,
                7 => read_histogram(&mut self.histogram, page, field.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.labels.clear();
        (self.label_count, self.timestamp_ms, self.gauge, self.untyped) = (0, 0, 0.0, 0.0);
        self.counter = CounterMessage::default();
        self.summary.clear();
        self.histogram.clear();
    }

    #[inline]
    fn add_label(&mut self, field: Field) -> Result<(), ProtobufError> {
        let label = field.bytes()?;
        self.label_count += 1;
        if self.label_count > LABELS_MAX {
            return Err(field.fault(ProtobufFault::TooMany(LABELS_MAX)));
        }
        match self.labels.last_mut() {
            Some(last) if last.end == field.at => last.end = label.end,
            _ => self.labels.push(Range { start: field.at, end: label.end }),
        }
        Ok(())
    }
}

impl CounterMessage {
    fn read(&mut self, page: &[u8], range: Range) -> Result<(), ProtobufError> {
        let mut fields = Fields::new(page, range, &COUNTER);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.value = field.float()?,
                2 => self.exemplar = Some(read_exemplar(page, field.bytes()?)?),
                3 => self.created = Some(read_timestamp(page, field.bytes()?)?),
                _ => {}
            }
        }
        Ok(())
    }
}

impl SummaryMessage {
    fn clear(&mut self) {
        (self.count, self.sum, self.created) = (0, 0.0, None);
        self.quantiles.clear();
    }

    fn read(&mut self, page: &[u8], range: Range) -> Result<(), ProtobufError> {
        let mut fields = Fields::new(page, range, &SUMMARY);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.count = field.number()?,
                2 => self.sum = field.float()?,
                3 => {
                    let quantile = read_quantile(page, field.bytes()?)?;
                    push(&mut self.quantiles, quantile, field)?;
                }
                4 => self.created = Some(read_timestamp(page, field.bytes()?)?),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Adds a part of a metric, of which there may be [`PARTS_MAX`].
pub(super) fn push<T>(parts: &mut Vec<T>, part: T, field: Field) -> Result<(), ProtobufError> {
    if parts.len() == PARTS_MAX {
        return Err(field.fault(ProtobufFault::TooMany(PARTS_MAX)));
    }
    parts.push(part);
    Ok(())
}

fn read_quantile(page: &[u8], range: Range) -> Result<(f64, f64), ProtobufError> {
    let mut fields = Fields::new(page, range, &QUANTILE);
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => quantile = field.float()?,
            2 => value = field.float()?,
            _ => {}
        }
    }
    Ok((quantile, value))
}

/// The one field of Gauge and Untyped.
#[inline]
fn read_value(page: &[u8], range: Range, schema: &'static Schema, before: f64) -> Result<f64, ProtobufError> {
    let mut fields = Fields::new(page, range, schema);
    let mut value = before;
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            value = field.float()?;
        }
    }
    Ok(value)
}

/// A `google.protobuf.Timestamp`, cut to milliseconds.
pub(super) fn read_timestamp(page: &[u8], range: Range) -> Result<Timestamp, ProtobufError> {
    let mut fields = Fields::new(page, range, &TIMESTAMP);
    let (mut seconds, mut nanos) = (0i64, 0i32);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => seconds = field.number()? as i64,
            2 => nanos = field.number()? as i32,
            _ => {}
        }
    }
    Ok(Timestamp(seconds.wrapping_mul(1000).wrapping_add(i64::from(nanos / 1_000_000))))
}
