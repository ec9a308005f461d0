//! The page of `/federate`: every metric name a family of its own, all of them untyped, without help, as in Prometheus.
//!
//! Invariant: names ascend by bytes, each with its TYPE line once and only if a sample follows; the order of everything
//! depends on the view alone. What is stale, or older than the lookback, is not there.

use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::block::{PageBody, Piece, Progress};
use super::line::Lines;
use super::plan::{CUT_HERE, Place, Stretch, plan};
use crate::exposition::{Format, escape_metric_name, write_type};
use crate::model::{HISTOGRAM_NAN, HistogramSample, MetricType, Timestamp, is_stale};
use crate::snapshot::{CHUNK_SLOTS, Outcome};
use crate::store::{FactRow, NamedRows, PickedRun, Selection, SiteView, scrape_values};
use crate::telemetry::LeftOut;

/// What is on the page. A row of the plan is a run or, behind all runs of its name, a fact.
pub struct UntypedPage {
    lines: Lines,
    selection: Selection,
    /// Samples before this are not shown.
    oldest: Timestamp,
    /// Lines that may be written; `None` for no bound.
    limit: Option<u64>,
}

impl UntypedPage {
    /// A page of what is selected; `limit` bounds its lines.
    pub fn new(lines: Lines, selection: Selection, lookback: Duration, limit: Option<u64>) -> UntypedPage {
        let oldest = lines.view().wall - lookback;
        UntypedPage { lines, selection, oldest, limit }
    }

    /// The same, its native histograms counted: they have no form here.
    pub fn counting(self, left_out: &LeftOut) -> UntypedPage {
        left_out.add(count_histograms(self.lines.view(), &self.selection, self.oldest, |_| true));
        self
    }

    /// The page as a body.
    pub fn into_body(self) -> PageBody {
        let rows = |rows: &NamedRows| {
            let (runs, facts) = (rows.runs.iter().map(PickedRun::count), rows.facts.iter().map(|_| 1));
            runs.chain(facts).collect::<Vec<_>>()
        };
        let stretches = plan(self.selection.names.iter().map(rows), self.limit, |at| self.count(at));
        let page = Arc::new(self);
        let piece = move |mut stretch: Stretch| -> Piece {
            let page = page.clone();
            Box::new(move |out, bytes| page.write(&mut stretch, out, bytes))
        };
        Box::new(stretches.into_iter().map(piece))
    }

    /// How many lines a row has.
    fn count(&self, at: Place) -> usize {
        let (rows, view) = (&self.selection.names[at.family], self.lines.view());
        match rows.runs.get(at.row) {
            Some(run) => Samples::of(view, run, Some(self.oldest))
                .map_or(0, |samples| samples.of_slots(self.selection.slots_of(view, run)).count()),
            None => usize::from(is_fact_shown(view, rows.facts[at.row - rows.runs.len()], Some(self.oldest))),
        }
    }

    /// Goes on until `out` has `bytes` or the stretch ends.
    fn write(&self, stretch: &mut Stretch, out: &mut Vec<u8>, bytes: usize) -> Progress {
        while out.len() < bytes {
            if stretch.room == Some(0) {
                out.extend_from_slice(CUT_HERE);
                return Progress::Done;
            }
            if stretch.from >= stretch.to {
                return Progress::Done;
            }
            self.write_name(stretch, out, bytes);
        }
        Progress::More
    }

    /// The rows of one name, or the step to the next.
    fn write_name(&self, stretch: &mut Stretch, out: &mut Vec<u8>, bytes: usize) {
        let rows = &self.selection.names[stretch.from.family];
        let all = rows.runs.len() + rows.facts.len();
        let (open, start) = (self.lines.style().open(&rows.name), out.len());
        if !stretch.has_head {
            let name = escape_metric_name(&rows.name, self.lines.style().escaping);
            write_type(out, Format::Text, &name, MetricType::Unknown);
        }
        let (mut batch, end) = (Batch::new(&self.lines, &self.selection, Some(self.oldest)), stretch.rows(all).end);
        while stretch.from.row < end && out.len() < bytes && stretch.room != Some(0) {
            let row = stretch.from.row;
            let (fitting, written) = match rows.runs.get(row..end.min(rows.runs.len())) {
                Some(runs) if !runs.is_empty() => {
                    let runs = &runs[..Batch::fitting(runs)];
                    (runs.len(), batch.write(out, &open, runs, stretch.lines_left(), |_, _, _| {}))
                }
                _ => (1, self.write_fact(out, &open, rows.facts[row - rows.runs.len()])),
            };
            stretch.wrote(written);
            stretch.from.row = row + fitting;
        }
        if !stretch.has_head {
            out.truncate(start);
        }
        if stretch.from.row == all {
            stretch.next_family();
        }
    }

    fn write_fact(&self, out: &mut Vec<u8>, open: &[u8], fact: FactRow) -> usize {
        let is_shown = is_fact_shown(self.lines.view(), fact, Some(self.oldest));
        if is_shown {
            write_fact(&self.lines, out, open, fact);
        }
        usize::from(is_shown)
    }
}

/// The samples of a chunk of one target, those that a reader may see.
pub(super) struct Samples<'a> {
    site: &'a SiteView,
    run: PickedRun,
    values: &'a [f64; CHUNK_SLOTS],
    /// Slots with explicit timestamps are looked at one by one.
    is_explicit: bool,
    oldest: Option<Timestamp>,
}

impl<'a> Samples<'a> {
    /// `None` where the whole chunk shows nothing.
    pub(super) fn of(site: &'a SiteView, run: &PickedRun, oldest: Option<Timestamp>) -> Option<Samples<'a>> {
        let target = &site.targets[run.target as usize].target;
        let is_explicit = !target.beside.timestamps.is_empty();
        let is_over = target.outcome != Outcome::Up || oldest.is_some_and(|oldest| target.started < oldest);
        if is_over && !is_explicit {
            return None;
        }
        let values = target.column.chunks().get(run.chunk as usize)?;
        Some(Samples { site, run: *run, values, is_explicit, oldest })
    }

    /// What the column says of a slot.
    #[inline]
    pub(super) fn bits(&self, slot: u8) -> u64 {
        self.values[usize::from(slot)].to_bits()
    }

    /// The floats among the samples of these slots.
    pub(super) fn of_slots(&self, slots: &'a [u8]) -> impl Iterator<Item = (u8, f64)> + '_ {
        let samples = slots.iter().map(|slot| (*slot, self.values[usize::from(*slot)]));
        samples.filter(|(slot, value)| is_float(*value) && (!self.is_explicit || self.is_shown(*slot)))
    }

    /// The native histograms among them.
    pub(super) fn histograms_of(&self, slots: &'a [u8]) -> impl Iterator<Item = (u8, &'a HistogramSample)> + '_ {
        let beside = &self.site.targets[self.run.target as usize].target.beside;
        let slots = if beside.histograms.is_empty() { &[] } else { slots };
        let shown = slots.iter().filter(|slot| !self.is_explicit || self.is_shown(**slot));
        let sample = |slot: &u8| {
            let sample = beside.histogram_of(self.run.chunk * CHUNK_SLOTS as u32 + u32::from(*slot));
            Some((*slot, &**sample.filter(|_| !is_stale(self.values[usize::from(*slot)]))?))
        };
        shown.filter_map(sample)
    }

    /// In a target with explicit timestamps: whether this sample is young enough, and not one of a failed scrape.
    #[cold]
    fn is_shown(&self, slot: u8) -> bool {
        let target = &self.site.targets[self.run.target as usize].target;
        let slot = self.run.chunk * CHUNK_SLOTS as u32 + u32::from(slot);
        let is_own = target.beside.timestamp_of(slot).is_some();
        let is_young = self.oldest.is_none_or(|oldest| target.timestamp_of(slot) >= oldest);
        is_young && (is_own || target.outcome == Outcome::Up)
    }
}

/// Neither the stale marker nor the sign of a native histogram.
#[inline]
fn is_float(value: f64) -> bool {
    !is_stale(value) && value.to_bits() != HISTOGRAM_NAN
}

/// The native histograms among what is selected and shown that a page leaves out.
pub(super) fn count_histograms(
    view: &SiteView,
    selection: &Selection,
    oldest: Timestamp,
    is_left_out: impl Fn(&HistogramSample) -> bool,
) -> u64 {
    if view.targets.iter().all(|site| site.target.beside.histograms.is_empty()) {
        return 0;
    }
    let count = |run: &PickedRun| {
        let samples = Samples::of(view, run, Some(oldest));
        samples.map_or(0, |samples| {
            samples.histograms_of(selection.slots_of(view, run)).filter(|(_, sample)| is_left_out(sample)).count()
                as u64
        })
    };
    selection.names.iter().flat_map(|rows| &rows.runs).map(count).sum()
}

/// Whether a series that the gateway makes itself is young enough; what it says of a cluster it says now.
pub(super) fn is_fact_shown(view: &SiteView, fact: FactRow, oldest: Option<Timestamp>) -> bool {
    match fact {
        FactRow::Scrape(target, _) => {
            oldest.is_none_or(|oldest| view.targets[target as usize].target.started >= oldest)
        }
        FactRow::Cluster(..) | FactRow::Collector(..) => true,
    }
}

/// Appends the line of a series that the gateway makes itself.
pub(super) fn write_fact(lines: &Lines, out: &mut Vec<u8>, open: &[u8], fact: FactRow) {
    out.extend_from_slice(open);
    let (value, at) = fact_value(lines.view(), fact);
    lines.write_fact_labels(out, fact);
    lines.style().write_value(out, value);
    lines.style().write_stamp(out, at);
    out.push(b'\n');
}

/// The value of such a series, and when it was so.
pub(super) fn fact_value(view: &SiteView, fact: FactRow) -> (f64, Timestamp) {
    match fact {
        FactRow::Scrape(target, which) => {
            let target = &view.targets[target as usize].target;
            let value = scrape_values(target.outcome, target.duration, &target.report)[usize::from(which)];
            (value.expect("only series that the scrape has are selected"), target.started)
        }
        FactRow::Cluster(cluster, which) => {
            (view.clusters[cluster as usize].facts.values()[usize::from(which)], view.wall)
        }
        FactRow::Collector(cluster, which) => {
            let is_up = view.clusters[cluster as usize].facts.collectors[which as usize].up;
            (f64::from(u8::from(is_up)), view.wall)
        }
    }
}
