//! The wire form of `io.prometheus.client.MetricFamily`, piece by piece, as a page in delimited protobuf has it.
//!
//! Invariant: fields stand in the order of their numbers (but for a family's unit, which goes with its head), lengths and
//! numbers in their shortest form, so that the same sample is the same bytes as from Prometheus and the Go client. A
//! message's length stands before it and is known after it: there is room for it, and it is patched. So nothing is
//! written twice and there is no tree in between.
//!
//! | message | fields that are written |
//! |---|---|
//! | MetricFamily | 1 name, 2 help, 3 type, 5 unit, 4 metric… |
//! | Metric | 1 label…, 2 gauge, 3 counter, 4 summary, 5 untyped, 6 timestamp_ms, 7 histogram |
//! | Gauge, Untyped | 1 value |
//! | Counter | 1 value, 2 exemplar, 3 created_timestamp |
//! | Exemplar | 1 label…, 2 value, 3 timestamp |

use crate::model::{Exemplar, MetricType, Timestamp};

/// Bytes that are kept for the length of a message of usual size; another size costs a move of the message.
pub const METRIC_ROOM: usize = 2;
/// The same of a small message.
pub const SMALL_ROOM: usize = 1;

/// Wire types, in the low three bits of a tag.
pub const VARINT: u32 = 0;
const FIXED64: u32 = 1;
/// Strings, messages and packed numbers.
pub const LENGTH: u32 = 2;

/// Appends what stands before a family's metrics: name, help, type and unit, those that are not empty.
pub fn write_family_head(out: &mut Vec<u8>, name: &str, help: &str, kind: MetricType, unit: &str) {
    put_text(out, 1, name);
    if !help.is_empty() {
        put_text(out, 2, help);
    }
    put_tag(out, 3, VARINT);
    out.push(number_of(kind));
    if !unit.is_empty() {
        put_text(out, 5, unit);
    }
}

/// Protobuf lacks three of the types: what is an info or stateset there is a gauge, as in the text format.
fn number_of(kind: MetricType) -> u8 {
    match kind {
        MetricType::Counter => 0,
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => 1,
        MetricType::Summary => 2,
        MetricType::Unknown => 3,
        MetricType::Histogram => 4,
        MetricType::GaugeHistogram => 5,
    }
}

/// Appends a number of seven bits a byte: a delimited family's length, which stands before it.
pub fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a Metric of a family: what `write` appends to it.
#[inline]
pub fn write_metric(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    put_message(out, 4, METRIC_ROOM, write);
}

/// Appends a label of a Metric.
#[inline]
pub fn write_label_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    let length = text_bytes(name) + text_bytes(value);
    put_tag(out, 1, LENGTH);
    write_varint(out, length as u64);
    put_text(out, 1, name);
    put_text(out, 2, value);
}

/// Appends a Metric's own timestamp.
pub fn write_timestamp_ms(out: &mut Vec<u8>, timestamp: Timestamp) {
    put_tag(out, 6, VARINT);
    write_varint(out, timestamp.as_millis() as u64);
}

/// Appends the value of a Metric of unknown type.
#[inline]
pub fn write_untyped(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&[5 << 3 | LENGTH as u8, 9]);
    put_double(out, 1, value);
}

/// Appends the value of a gauge's Metric.
#[inline]
pub fn write_gauge(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&[2 << 3 | LENGTH as u8, 9]);
    put_double(out, 1, value);
}

/// Appends the value of a counter's Metric.
pub fn write_counter(out: &mut Vec<u8>, value: f64, exemplar: Option<&Exemplar>, start: Option<Timestamp>) {
    put_message(out, 3, SMALL_ROOM, |out| {
        put_double(out, 1, value);
        exemplar.into_iter().for_each(|exemplar| put_exemplar(out, 2, exemplar));
        start.into_iter().for_each(|start| put_timestamp(out, 3, start));
    });
}

pub(super) fn put_exemplar(out: &mut Vec<u8>, field: u32, exemplar: &Exemplar) {
    put_message(out, field, SMALL_ROOM, |out| {
        exemplar.labels.iter().for_each(|(name, value)| write_label_pair(out, name, value));
        put_double(out, 2, exemplar.value);
        exemplar.timestamp.into_iter().for_each(|timestamp| put_timestamp(out, 3, timestamp));
    });
}

/// A google.protobuf.Timestamp: whole seconds, and nanoseconds that count forward even before the epoch.
pub(super) fn put_timestamp(out: &mut Vec<u8>, field: u32, timestamp: Timestamp) {
    let (seconds, millis) = (timestamp.as_millis().div_euclid(1000), timestamp.as_millis().rem_euclid(1000));
    put_message(out, field, SMALL_ROOM, |out| {
        if seconds != 0 {
            put_count(out, 1, seconds as u64);
        }
        if millis != 0 {
            put_count(out, 2, millis as u64 * 1_000_000);
        }
    });
}

/// Appends a message field; `room` is how many bytes its length will probably take.
#[inline]
pub fn put_message(out: &mut Vec<u8>, field: u32, room: usize, write: impl FnOnce(&mut Vec<u8>)) {
    put_tag(out, field, LENGTH);
    let start = out.len();
    out.resize(start + room, 0);
    write(out);
    let length = out.len() - start - room;
    match (room, length) {
        (1, 0..=0x7f) => out[start] = length as u8,
        (2, 0x80..=0x3fff) => {
            out[start] = length as u8 | 0x80;
            out[start + 1] = (length >> 7) as u8;
        }
        _ => move_for_length(out, start, room, length),
    }
}

#[cold]
fn move_for_length(out: &mut Vec<u8>, start: usize, room: usize, length: usize) {
    let mut varint = Vec::with_capacity(10);
    write_varint(&mut varint, length as u64);
    out.splice(start..start + room, varint);
}

/// Appends a field's tag.
#[inline]
pub fn put_tag(out: &mut Vec<u8>, field: u32, wire: u32) {
    write_varint(out, u64::from(field << 3 | wire));
}

/// Appends a `double`, zero too.
#[inline]
pub fn put_double(out: &mut Vec<u8>, field: u32, value: f64) {
    put_tag(out, field, FIXED64);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Appends a varint field, zero too.
pub fn put_count(out: &mut Vec<u8>, field: u32, count: u64) {
    put_tag(out, field, VARINT);
    write_varint(out, count);
}

/// Appends a string field, an empty one too.
#[inline]
pub fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    put_tag(out, field, LENGTH);
    write_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Bytes of a text field with a tag of one byte.
#[inline]
pub fn text_bytes(text: &str) -> usize {
    1 + varint_bytes(text.len()) + text.len()
}

/// Small magnitudes to small numbers, whatever the sign.
pub fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// Bytes of a number's varint.
#[inline]
pub fn varint_bytes(number: usize) -> usize {
    let bits = usize::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn a_metric_is_these_bytes() {
        let head = written(|out| write_family_head(out, "up", "", MetricType::Unknown, ""));
        assert_eq!(head, b"\x0a\x02up\x18\x03");
        let metric = written(|out| {
            write_metric(out, |out| {
                write_label_pair(out, "job", "");
                write_untyped(out, 1.0);
                write_timestamp_ms(out, Timestamp(300));
            });
        });
        assert_eq!(metric, b"\x22\x17\x0a\x07\x0a\x03job\x12\x00\x2a\x09\x09\0\0\0\0\0\0\xf0\x3f\x30\xac\x02");
    }

    #[test]
    fn a_length_takes_as_many_bytes_as_it_needs() {
        for (bytes, length) in
            [(0, &[0][..]), (127, &[127]), (128, &[128, 1]), (16_383, &[255, 127]), (16_384, &[128, 128, 1])]
        {
            for room in [SMALL_ROOM, METRIC_ROOM] {
                let message = written(|out| put_message(out, 1, room, |out| out.resize(out.len() + bytes, 7)));
                assert_eq!(message[0], 0x0a);
                assert_eq!(&message[1..1 + length.len()], length, "{bytes} bytes in a room of {room}");
                assert_eq!(message.len(), 1 + length.len() + bytes);
            }
        }
    }

    #[test]
    fn a_counter_has_exemplar_and_start() {
        let exemplar =
            Exemplar { labels: Labels::from_pairs([("a", "b")]), value: 2.0, timestamp: Some(Timestamp(-1)) };
        let counter = written(|out| write_counter(out, 2.0, Some(&exemplar), Some(Timestamp(1500))));
        let two = b"\0\0\0\0\0\0\0\x40";
        // Before the epoch: a second back and 999 ms forward.
        let inner = [
            b"\x09".as_slice(),
            two,
            b"\x12\x24\x0a\x06\x0a\x01a\x12\x01b\x11",
            two,
            b"\x1a\x11\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\xc0\x8f\xae\xdc\x03",
            b"\x1a\x08\x08\x01\x10\x80\xca\xb5\xee\x01",
        ]
        .concat();
        assert_eq!(counter, [&[0x1a, inner.len() as u8], &inner[..]].concat());
    }
}
