//! The page of `/federate` in protobuf: untyped floats, and native histograms, which the text format has no form for.
//!
//! Invariant: the messages are Prometheus's own, field by field: floats without a type, histograms with all their counts as
//! floats and without exemplars, every sample with its timestamp. A name whose samples are of several kinds becomes a message
//! each, in the order float, histogram, gauge histogram; Prometheus has them in the order of its index.
//!
//! Histograms with custom buckets are left out and counted: Prometheus 3.5 writes them without their bounds, and refuses the
//! whole page when it reads that.

use std::sync::Arc;
use std::time::Duration;

use super::line::Lines;
use super::messages::Families;
use super::untyped::{Samples, count_histograms, fact_value, is_fact_shown};
use crate::exposition::{
    escape_metric_name, write_family_head, write_federated_histogram, write_metric, write_untyped,
};
use crate::model::{HistogramSample, MetricType, ResetHint, Timestamp};
use crate::store::{FactRow, NamedRows, PickedRun, Selection, SiteView};
use crate::telemetry::LeftOut;

/// What each part of a family holds, in the order of the page.
const PARTS: [MetricType; 3] = [MetricType::Unknown, MetricType::Histogram, MetricType::GaugeHistogram];
const FLOATS: usize = 0;
const HISTOGRAMS: usize = 1;
const GAUGE_HISTOGRAMS: usize = 2;

/// The families of a selection, each under its metric's name.
pub struct Federated {
    lines: Lines,
    view: Arc<SiteView>,
    selection: Selection,
    /// Samples before this are not shown.
    oldest: Timestamp,
}

/// The run, and behind the runs the fact, that comes next.
#[derive(Default)]
pub struct Place {
    run: usize,
    fact: usize,
}

impl Federated {
    /// What is selected and at most `lookback` old.
    pub fn new(lines: Lines, selection: Selection, lookback: Duration) -> Federated {
        let (view, oldest) = (lines.view().clone(), lines.view().wall - lookback);
        Federated { lines, view, selection, oldest }
    }

    /// The same, after counting what a page of it leaves out.
    pub fn counting(self, left_out: &LeftOut) -> Federated {
        let is_custom = |sample: &HistogramSample| sample.histogram.has_custom_buckets();
        left_out.add(count_histograms(&self.view, &self.selection, self.oldest, is_custom));
        self
    }

    fn write_run(&self, run: &PickedRun, room: &mut u64, parts: &mut [Vec<u8>]) {
        let Some(samples) = Samples::of(&self.view, run, Some(self.oldest)) else { return };
        let (lines, slots) = (self.lines.run(run.target, run.chunk), self.selection.slots_of(&self.view, run));
        for (slot, value) in samples.of_slots(slots).take(usize::try_from(*room).unwrap_or(usize::MAX)) {
            write_metric(&mut parts[FLOATS], |out| {
                lines.write_label_fields(out, slot, None);
                write_untyped(out, value);
                lines.write_stamp_field(out, run.chunk, slot);
            });
            *room -= 1;
        }
        let written = samples.histograms_of(slots).filter(|(_, sample)| !sample.histogram.has_custom_buckets());
        for (slot, sample) in written.take(usize::try_from(*room).unwrap_or(usize::MAX)) {
            let is_gauge = sample.histogram.reset_hint == ResetHint::Gauge;
            write_metric(&mut parts[if is_gauge { GAUGE_HISTOGRAMS } else { HISTOGRAMS }], |out| {
                lines.write_label_fields(out, slot, None);
                lines.write_stamp_field(out, run.chunk, slot);
                write_federated_histogram(out, &sample.histogram);
            });
            *room -= 1;
        }
    }

    fn write_fact(&self, fact: FactRow, room: &mut u64, parts: &mut [Vec<u8>]) {
        if *room > 0 && is_fact_shown(&self.view, fact, Some(self.oldest)) {
            let (value, at) = fact_value(&self.view, fact);
            write_metric(&mut parts[FLOATS], |out| {
                self.lines.write_fact_labels(out, fact);
                write_untyped(out, value);
                self.lines.style().write_stamp(out, at);
            });
            *room -= 1;
        }
    }
}

impl Families for Federated {
    type Cursor = Place;

    fn weights(&self) -> Vec<usize> {
        let weight = |rows: &NamedRows| rows.runs.iter().map(PickedRun::count).sum::<usize>() + rows.facts.len();
        self.selection.names.iter().map(weight).collect()
    }

    fn heads(&self, family: usize) -> Vec<Vec<u8>> {
        let name = escape_metric_name(&self.selection.names[family].name, self.lines.style().escaping);
        let head = |kind| {
            let mut head = Vec::new();
            write_family_head(&mut head, &name, "", kind, "");
            head
        };
        PARTS.into_iter().map(head).collect()
    }

    fn write_next(&self, family: usize, at: &mut Place, room: &mut u64, parts: &mut [Vec<u8>]) -> bool {
        let rows = &self.selection.names[family];
        if *room == 0 {
            return false;
        }
        if let Some(run) = rows.runs.get(at.run).copied() {
            at.run += 1;
            self.write_run(&run, room, parts);
            return true;
        }
        let Some(fact) = rows.facts.get(at.fact).copied() else { return false };
        at.fact += 1;
        self.write_fact(fact, room, parts);
        true
    }
}
