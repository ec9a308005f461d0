//! `irate` and `idelta`: the change between the last two samples.

use std::sync::Arc;

use super::{CallNotes, Sample, Window};
use crate::model::ResetHint;
use crate::promql::histogram::{FloatHistogram, Incompatible};
use crate::promql::remark::Remark;
use crate::promql::value::Cell;

pub(super) fn between_last(window: &Window<'_>, is_rate: bool, notes: &mut CallNotes<'_>) -> Option<Cell> {
    let [.., first, last] = window.samples.times else { return None };
    let seconds = (last - first) as f64 / 1000.0;
    let mut samples = window.iter().skip(window.samples.times.len() - 2);
    match (samples.next()?, samples.next()?) {
        (Sample::Float(before), Sample::Float(now)) => {
            let change = if is_rate && now < before { now } else { now - before };
            Some(Cell::Float(if is_rate { change / seconds } else { change }))
        }
        (Sample::Histogram(before), Sample::Histogram(now)) => {
            note_kind(before, now, is_rate, notes);
            let mut change = match change(before, now, is_rate) {
                Ok(change) => change,
                Err(reason) => {
                    notes.add(reason.into());
                    return None;
                }
            };
            if is_rate {
                change.div(seconds);
            }
            Some(Cell::Histogram(Arc::new(change)))
        }
        _ => {
            notes.add(Remark::MixedSamples);
            None
        }
    }
}

fn note_kind(before: &FloatHistogram, now: &FloatHistogram, is_rate: bool, notes: &mut CallNotes<'_>) {
    let is_gauge = [before, now].map(|histogram| histogram.reset_hint == ResetHint::Gauge);
    if is_rate && is_gauge.contains(&true) {
        notes.add(Remark::NotCounter);
    }
    if !is_rate && is_gauge.contains(&false) {
        notes.add(Remark::NotGauge);
    }
}

fn change(before: &FloatHistogram, now: &FloatHistogram, is_rate: bool) -> Result<FloatHistogram, Incompatible> {
    let mut change = now.clone();
    if !is_rate || !now.is_reset_after(before) {
        change.sub(before)?;
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Ok(change)
}
