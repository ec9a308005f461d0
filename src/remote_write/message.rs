//! The protobuf messages of remote write 1.0 and 2.0, and the HTTP headers that go with them.
//!
//! | 1.0: `prometheus.` | fields |
//! |---|---|
//! | WriteRequest | 1 timeseries…, 3 metadata… |
//! | TimeSeries | 1 labels…, 2 samples…, 3 exemplars…, 4 histograms… |
//! | Label | 1 name, 2 value |
//! | Sample | 1 value (double), 2 timestamp (ms) |
//! | Exemplar | 1 labels…, 2 value, 3 timestamp |
//! | MetricMetadata | 1 type, 2 metric_family_name, 4 help, 5 unit |
//!
//! | 2.0: `io.prometheus.write.v2.` | fields |
//! |---|---|
//! | Request | 4 symbols…, 5 timeseries… |
//! | TimeSeries | 1 labels_refs (packed), 2 samples…, 3 histograms…, 4 exemplars…, 5 metadata |
//! | Sample | 1 value, 2 timestamp, 3 start_timestamp |
//! | Exemplar | 1 labels_refs (packed), 2 value, 3 timestamp |
//! | Metadata | 1 type, 3 help_ref, 4 unit_ref |
//!
//! | Histogram, in both | 1 count_int or 2 count_float, 3 sum, 4 schema (zigzag), 5 zero_threshold, 6 zero_count_int or 7 …_float, 8 negative_spans…, 9 negative_deltas or 10 negative_counts, 11 to 13 the same of the positive side, 14 reset_hint, 15 timestamp, 16 custom_values; in 2.0 also 17 start_timestamp |
//! |---|---|
//!
//! Invariant: what is written here decodes to the very bits that went in. Values and timestamps are written even where they are
//! zero, so that no decoder must know a default; of what may be absent (exemplars, start timestamps, help) nothing is written.

use crate::exposition::protobuf_write::{
    LENGTH, SMALL_ROOM, VARINT, put_count, put_double, put_message, put_tag, put_text, text_bytes, write_varint, zigzag,
};
use crate::exposition::put_spans;
use crate::model::{
    Counts, Exemplar, HistogramCounts, Labels, MetricType, NativeHistogram, ResetHint, STALE_NAN, Timestamp,
};

/// `Content-Type` of a 1.0 request.
pub const CONTENT_TYPE_V1: &str = "application/x-protobuf";
/// `Content-Type` of a 2.0 request.
pub const CONTENT_TYPE_V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
/// `X-Prometheus-Remote-Write-Version` of a 1.0 request.
pub const VERSION_V1: &str = "0.1.0";
/// The same of a 2.0 request.
pub const VERSION_V2: &str = "2.0.0";
/// The header that says which version is spoken.
pub const VERSION_HEADER: &str = "x-prometheus-remote-write-version";
/// How many samples a 2.0 receiver wrote.
pub const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";
/// How many native histograms.
pub const HISTOGRAMS_WRITTEN: &str = "x-prometheus-remote-write-histograms-written";
/// How many exemplars.
pub const EXEMPLARS_WRITTEN: &str = "x-prometheus-remote-write-exemplars-written";

/// Bytes kept for the length of a series of usual size.
const SERIES_ROOM: usize = 2;

/// A type's number; both versions count alike.
pub fn type_number(kind: MetricType) -> u64 {
    match kind {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}

/// Appends a Label of a 1.0 TimeSeries or Exemplar.
#[inline]
pub fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    put_tag(out, 1, LENGTH);
    write_varint(out, (text_bytes(name) + text_bytes(value)) as u64);
    put_text(out, 1, name);
    put_text(out, 2, value);
}

/// Appends a 1.0 TimeSeries: what `write` appends to it.
#[inline]
pub fn put_series_v1(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    put_message(out, 1, SERIES_ROOM, write);
}

/// Appends a 2.0 TimeSeries: what `write` appends to it.
#[inline]
pub fn put_series_v2(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    put_message(out, 5, SMALL_ROOM, write);
}

/// Appends a series' Sample; `start` is 2.0's alone.
#[inline]
pub fn put_sample(out: &mut Vec<u8>, value: f64, at: Timestamp, start: Option<Timestamp>) {
    put_message(out, 2, SMALL_ROOM, |out| {
        put_double(out, 1, value);
        put_count(out, 2, at.as_millis() as u64);
        start.into_iter().for_each(|start| put_count(out, 3, start.as_millis() as u64));
    });
}

/// Appends a 1.0 series' Exemplar; one without a time of its own has its sample's.
pub fn put_exemplar_v1(out: &mut Vec<u8>, exemplar: &Exemplar, at: Timestamp) {
    put_message(out, 3, SMALL_ROOM, |out| {
        exemplar.labels.iter().for_each(|(name, value)| put_label(out, name, value));
        put_double(out, 2, exemplar.value);
        put_count(out, 3, exemplar.timestamp.unwrap_or(at).as_millis() as u64);
    });
}

/// Appends a MetricMetadata to a 1.0 WriteRequest.
pub fn put_metadata_v1(out: &mut Vec<u8>, family: &str, kind: MetricType, help: &str, unit: &str) {
    put_message(out, 3, SERIES_ROOM, |out| {
        put_count(out, 1, type_number(kind));
        put_text(out, 2, family);
        if !help.is_empty() {
            put_text(out, 4, help);
        }
        if !unit.is_empty() {
            put_text(out, 5, unit);
        }
    });
}

/// Appends numbers as one packed field.
#[inline]
pub fn put_refs(out: &mut Vec<u8>, field: u32, refs: impl Iterator<Item = u32>) {
    put_message(out, field, SMALL_ROOM, |out| refs.for_each(|number| write_varint(out, number.into())));
}

/// Appends a Histogram as field `field`: 4 of a 1.0 TimeSeries, 3 of a 2.0 one.
pub fn put_histogram(
    out: &mut Vec<u8>,
    field: u32,
    histogram: &NativeHistogram,
    at: Timestamp,
    start: Option<Timestamp>,
) {
    put_message(out, field, SERIES_ROOM, |out| {
        match &histogram.counts {
            HistogramCounts::Integer(counts) => put_integers(out, histogram, counts),
            HistogramCounts::Float(counts) => put_floats(out, histogram, counts),
        }
        put_count(out, 14, hint_number(histogram.reset_hint));
        put_count(out, 15, at.as_millis() as u64);
        put_doubles(out, 16, &histogram.custom_bounds);
        start.into_iter().for_each(|start| put_count(out, 17, start.as_millis() as u64));
    });
}

/// Appends the Histogram that ends a series of histograms: its sum is the stale marker.
pub fn put_stale_histogram(out: &mut Vec<u8>, field: u32, at: Timestamp) {
    put_message(out, field, SMALL_ROOM, |out| {
        put_count(out, 1, 0);
        put_double(out, 3, f64::from_bits(STALE_NAN));
        put_count(out, 15, at.as_millis() as u64);
    });
}

fn put_integers(out: &mut Vec<u8>, of: &NativeHistogram, counts: &Counts<u64>) {
    put_count(out, 1, counts.count);
    put_scale(out, of);
    put_count(out, 6, counts.zero);
    put_spans(out, 8, &counts.negative);
    put_deltas(out, 9, &counts.negative.counts);
    put_spans(out, 11, &counts.positive);
    put_deltas(out, 12, &counts.positive.counts);
}

fn put_floats(out: &mut Vec<u8>, of: &NativeHistogram, counts: &Counts<f64>) {
    put_double(out, 2, counts.count);
    put_scale(out, of);
    put_double(out, 7, counts.zero);
    put_spans(out, 8, &counts.negative);
    put_doubles(out, 10, &counts.negative.counts);
    put_spans(out, 11, &counts.positive);
    put_doubles(out, 13, &counts.positive.counts);
}

fn put_scale(out: &mut Vec<u8>, of: &NativeHistogram) {
    put_double(out, 3, of.sum);
    put_tag(out, 4, VARINT);
    write_varint(out, zigzag(of.schema.into()));
    put_double(out, 5, of.zero_threshold);
}

/// Each count as its difference to the one before, packed.
fn put_deltas(out: &mut Vec<u8>, field: u32, counts: &[u64]) {
    if counts.is_empty() {
        return;
    }
    put_message(out, field, SERIES_ROOM, |out| {
        let mut before = 0;
        for count in counts {
            write_varint(out, zigzag(count.wrapping_sub(before) as i64));
            before = *count;
        }
    });
}

fn put_doubles(out: &mut Vec<u8>, field: u32, numbers: &[f64]) {
    if numbers.is_empty() {
        return;
    }
    put_message(out, field, SERIES_ROOM, |out| {
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_bits().to_le_bytes()));
    });
}

fn hint_number(hint: ResetHint) -> u64 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

/// Bytes of a label set's Labels in a 1.0 series.
pub fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    labels.iter().for_each(|(name, value)| put_label(out, name, value));
}
