//! Exemplars of a protobuf page.

use super::error::ProtobufError;
use super::family::{LABEL_PAIR, LabelPairs};
use super::metric::read_timestamp;
use super::wire::{Fields, Range, Schema};
use crate::exposition::key::EXEMPLAR_CHARS_MAX;
use crate::model::{Exemplar, LabelsBuilder, Timestamp};

static EXEMPLAR: Schema = Schema { message: "Exemplar", fields: &["label", "value", "timestamp"] };

/// An exemplar as it stands on the page: its labels are read when somebody takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProtobufExemplar {
    /// The whole message.
    range: Range,
    value: f64,
    pub(super) timestamp: Option<Timestamp>,
}

/// Reads the message at `range`, labels but for their texts.
pub(super) fn read_exemplar(page: &[u8], range: Range) -> Result<ProtobufExemplar, ProtobufError> {
    let mut fields = Fields::new(page, range, &EXEMPLAR);
    let mut exemplar = ProtobufExemplar { range, value: 0.0, timestamp: None };
    while let Some(field) = fields.next()? {
        match field.number {
            1 => check_label(page, field.bytes()?)?,
            2 => exemplar.value = field.float()?,
            3 => exemplar.timestamp = Some(read_timestamp(page, field.bytes()?)?),
            _ => {}
        }
    }
    Ok(exemplar)
}

fn check_label(page: &[u8], range: Range) -> Result<(), ProtobufError> {
    let mut fields = Fields::new(page, range, &LABEL_PAIR);
    while let Some(field) = fields.next()? {
        if matches!(field.number, 1 | 2) {
            field.bytes()?;
        }
    }
    Ok(())
}

impl ProtobufExemplar {
    /// The exemplar with its labels; `None` where they are longer than OpenMetrics allows or no UTF-8. Prometheus drops
    /// the first kind and keeps the page, so this is for the caller to count. Of a label given twice the later one stays.
    pub(super) fn read(self, page: &[u8], labels: &mut LabelsBuilder) -> Option<Exemplar> {
        labels.clear();
        let mut chars = 0;
        for pair in LabelPairs::new(page, self.range) {
            let name = std::str::from_utf8(pair.name.unwrap_or_default()).ok()?;
            let value = std::str::from_utf8(pair.value).ok()?;
            chars += name.chars().count() + value.chars().count();
            labels.set(name, value);
        }
        (chars <= EXEMPLAR_CHARS_MAX).then(|| Exemplar {
            labels: labels.build(),
            value: self.value,
            timestamp: self.timestamp,
        })
    }
}
