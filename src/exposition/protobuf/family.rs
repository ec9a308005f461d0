//! A MetricFamily's head, a LabelPair, and the walk over a family's metrics.

use super::error::{ProtobufError, ProtobufFault, quote};
use super::reader::FamilyHead;
use super::wire::{Fields, Range, Schema};
use crate::model::{LabelsBuilder, MetricType};

static FAMILY: Schema = Schema { message: "MetricFamily", fields: &["name", "help", "type", "metric", "unit"] };
pub(super) static LABEL_PAIR: Schema = Schema { message: "LabelPair", fields: &["name", "value"] };
/// The suffix behind which a counter's unit stands.
const TOTAL: &str = "_total";

/// What stands before a family's metrics, or behind them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    pub(super) name: Range,
    pub(super) help: Range,
    pub(super) unit: Range,
    pub(super) kind: i32,
    /// The first Metric.
    pub(super) first: Option<Range>,
}

/// Reads a family but for its metrics, whose lengths alone are looked at.
pub(super) fn read_head(page: &[u8], range: Range) -> Result<Head, ProtobufError> {
    let mut fields = Fields::new(page, range, &FAMILY);
    let mut head = Head::default();
    while let Some(field) = fields.next()? {
        match field.number {
            1 => head.name = field.bytes()?,
            2 => head.help = field.bytes()?,
            3 => head.kind = field.number()? as i32,
            4 => {
                let metric = field.bytes()?;
                head.first.get_or_insert(metric);
            }
            5 => head.unit = field.bytes()?,
            _ => {}
        }
    }
    Ok(head)
}

/// The next Metric of a family from `at` on.
pub(super) fn next_metric(page: &[u8], at: usize, end: usize) -> Result<Option<Range>, ProtobufError> {
    let mut fields = Fields::new(page, Range { start: at, end }, &FAMILY);
    while let Some(field) = fields.next()? {
        if field.number == 4 {
            return field.bytes().map(Some);
        }
    }
    Ok(None)
}

impl Head {
    /// The head as text, checked in Prometheus's order.
    pub(super) fn check(self, page: &[u8]) -> Result<FamilyHead<'_>, ProtobufError> {
        let fault = |range: Range, field, fault| FAMILY.error(range.start, field, fault);
        let name = std::str::from_utf8(self.name.of(page)).ok().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| fault(self.name, 1, ProtobufFault::MetricName(quote(self.name.of(page)))))?;
        let help = std::str::from_utf8(self.help.of(page));
        let help = help.map_err(|_| fault(self.help, 2, ProtobufFault::Utf8(quote(self.help.of(page)))))?;
        let kind = kind_of(self.kind).ok_or_else(|| fault(self.name, 3, ProtobufFault::MetricType(self.kind)))?;
        let unit = unit_of(self.unit.of(page), name, kind).ok_or_else(|| {
            let unit = quote(self.unit.of(page));
            fault(self.unit, 5, ProtobufFault::Unit { unit, name: quote(name.as_bytes()) })
        })?;
        Ok(FamilyHead { name, help, kind, unit })
    }
}

fn kind_of(number: i32) -> Option<MetricType> {
    match number {
        0 => Some(MetricType::Counter),
        1 => Some(MetricType::Gauge),
        2 => Some(MetricType::Summary),
        3 => Some(MetricType::Unknown),
        4 => Some(MetricType::Histogram),
        5 => Some(MetricType::GaugeHistogram),
        _ => None,
    }
}

/// The unit, if it ends the name (a counter's without `_total`) behind an underscore.
fn unit_of<'a>(unit: &'a [u8], name: &str, kind: MetricType) -> Option<&'a str> {
    let unit = std::str::from_utf8(unit).ok()?;
    let stem = if kind == MetricType::Counter { name.strip_suffix(TOTAL).unwrap_or(name) } else { name };
    let is_suffix = unit.is_empty() || stem.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
    is_suffix.then_some(unit)
}

/// A label as it stands on the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct LabelPair<'a> {
    /// Where its message begins.
    pub(super) at: usize,
    pub(super) name: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
}

/// The LabelPairs among the fields of a piece of a message that was read without a fault, all under number 1.
#[derive(Clone, Debug)]
pub(super) struct LabelPairs<'a> {
    page: &'a [u8],
    fields: Fields<'a>,
}

impl<'a> LabelPairs<'a> {
    pub(super) fn new(page: &'a [u8], range: Range) -> LabelPairs<'a> {
        LabelPairs { page, fields: Fields::new(page, range, &LABEL_PAIR) }
    }

    /// The next label, checked but for its texts.
    fn read_next(&mut self) -> Result<Option<LabelPair<'a>>, ProtobufError> {
        let label = loop {
            match self.fields.next()? {
                None => return Ok(None),
                Some(field) if field.number == 1 => break field.bytes()?,
                Some(_) => {}
            }
        };
        let mut fields = Fields::new(self.page, label, &LABEL_PAIR);
        let mut pair = LabelPair { at: label.start, name: None, value: b"" };
        while let Some(field) = fields.next()? {
            match field.number {
                1 => pair.name = Some(field.bytes()?.of(self.page)),
                2 => pair.value = field.bytes()?.of(self.page),
                _ => {}
            }
        }
        Ok(Some(pair))
    }
}

/// The labels of a piece that is known to be without a fault.
impl<'a> Iterator for LabelPairs<'a> {
    type Item = LabelPair<'a>;

    fn next(&mut self) -> Option<LabelPair<'a>> {
        self.read_next().ok().flatten()
    }
}

/// Adds the labels of a metric's pieces to `labels`, which has those that the reader gives it. A label that is empty, be
/// it the second time only, is not there at all.
pub(super) fn add_labels(page: &[u8], pieces: &[Range], labels: &mut LabelsBuilder) -> Result<(), ProtobufError> {
    let pairs = || pieces.iter().flat_map(|piece| LabelPairs::new(page, *piece));
    let is_empty = |name: &str| pairs().any(|pair| pair.value.is_empty() && pair.name == Some(name.as_bytes()));
    let mut any_empty = false;
    for piece in pieces {
        let mut pairs = LabelPairs::new(page, *piece);
        while let Some(pair) = pairs.read_next()? {
            let Some((name, value)) = checked(&pair)? else {
                continue;
            };
            if value.is_empty() {
                any_empty = true;
            } else if labels.get(name).is_empty() {
                labels.set(name, value);
            } else if !is_empty(name) {
                return Err(LABEL_PAIR.error(pair.at, 1, ProtobufFault::LabelTwice(name.to_owned())));
            }
        }
    }
    for pair in pairs().filter(|pair| any_empty && pair.value.is_empty()) {
        labels.remove(pair.name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default());
    }
    Ok(())
}

/// A label's texts; `None` where it has neither.
fn checked<'a>(pair: &LabelPair<'a>) -> Result<Option<(&'a str, &'a str)>, ProtobufError> {
    let name = match pair.name {
        Some(name) => name,
        None if pair.value.is_empty() => return Ok(None),
        None => return Err(LABEL_PAIR.error(pair.at, 1, ProtobufFault::LabelNameMissing)),
    };
    let text = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
    let text = text.ok_or_else(|| LABEL_PAIR.error(pair.at, 1, ProtobufFault::LabelName(quote(name))))?;
    let value = std::str::from_utf8(pair.value);
    let value = value.map_err(|_| LABEL_PAIR.error(pair.at, 2, ProtobufFault::Utf8(quote(pair.value))))?;
    Ok(Some((text, value)))
}
