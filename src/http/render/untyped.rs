//! The page of `/federate`: every metric name a family of its own, all of them untyped, without help, as in Prometheus.
//!
//! Invariant: names ascend by bytes, each with its TYPE line once and only if a sample follows; the order of everything
//! depends on the view alone. What is stale, or older than the lookback, is not there.

use std::sync::Arc;
use std::time::Duration;

use super::block::Progress;
use super::line::Lines;
use crate::exposition::{Format, escape_metric_name, write_type};
use crate::model::{MetricType, Timestamp, is_stale};
use crate::snapshot::{CHUNK_SLOTS, Outcome};
use crate::store::{COLLECTOR, FactRow, PickedRun, Selection, SiteView, scrape_values};

/// Where a page is.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    name: usize,
    run: usize,
    fact: usize,
    /// Whether the name's TYPE line stands.
    has_head: bool,
}

/// Writes the page bit by bit.
pub struct UntypedPage {
    lines: Lines,
    /// The view of `lines`, once more, so that it can be read while they are prepared.
    view: Arc<SiteView>,
    selection: Selection,
    /// Samples before this are not shown.
    oldest: Timestamp,
    /// Lines that may still be written; `None` for no bound.
    room: Option<u64>,
    at: Position,
    open: Vec<u8>,
}

impl UntypedPage {
    /// A page of what is selected; `limit` bounds its lines.
    pub fn new(lines: Lines, selection: Selection, lookback: Duration, limit: Option<u64>) -> UntypedPage {
        let (view, oldest) = (lines.view().clone(), lines.view().wall - lookback);
        UntypedPage { lines, view, selection, oldest, room: limit, at: Position::default(), open: Vec::new() }
    }

    /// Goes on until `out` has `bytes` or the page ends.
    pub fn write(&mut self, out: &mut Vec<u8>, bytes: usize) -> Progress {
        while out.len() < bytes {
            if self.room == Some(0) {
                out.extend_from_slice(b"# cut here: limit reached\n");
                return Progress::Done;
            }
            if self.at.name == self.selection.names.len() {
                return Progress::Done;
            }
            self.write_some(out);
        }
        Progress::More
    }

    /// One run, one fact, or the step to the next name.
    fn write_some(&mut self, out: &mut Vec<u8>) {
        let rows = &self.selection.names[self.at.name];
        if self.at.run == 0 && self.at.fact == 0 {
            self.open = self.lines.style().open(&rows.name);
        }
        let start = out.len();
        if !self.at.has_head {
            let name = escape_metric_name(&rows.name, self.lines.style().escaping);
            write_type(out, Format::Text, &name, MetricType::Unknown);
        }
        let written = if let Some(run) = rows.runs.get(self.at.run).copied() {
            self.at.run += 1;
            self.write_run(out, &run)
        } else if let Some(fact) = rows.facts.get(self.at.fact).copied() {
            self.at.fact += 1;
            let is_shown = is_fact_shown(&self.view, fact, Some(self.oldest));
            if is_shown {
                write_fact(&mut self.lines, out, &self.open, fact);
            }
            u64::from(is_shown)
        } else {
            self.at = Position { name: self.at.name + 1, ..Position::default() };
            0
        };
        match written {
            0 => out.truncate(start),
            _ => self.at.has_head = true,
        }
        self.room = self.room.map(|room| room - written);
    }

    fn write_run(&mut self, out: &mut Vec<u8>, run: &PickedRun) -> u64 {
        let Some(samples) = Samples::of(&self.view, run, Some(self.oldest)) else { return 0 };
        let lines = self.lines.run(run.target, run.chunk);
        let room = self.room.unwrap_or(u64::MAX);
        let mut written = 0;
        for (slot, value) in samples.of_slots(self.selection.slots_of(&self.view, run)) {
            if written == room {
                break;
            }
            lines.write(out, &self.open, run.chunk, slot, value);
            written += 1;
        }
        written
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

    pub(super) fn of_slots(&self, slots: &'a [u8]) -> impl Iterator<Item = (u8, f64)> + '_ {
        let samples = slots.iter().map(|slot| (*slot, self.values[usize::from(*slot)]));
        samples.filter(|(slot, value)| !is_stale(*value) && (!self.is_explicit || self.is_shown(*slot)))
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
pub(super) fn write_fact(lines: &mut Lines, out: &mut Vec<u8>, open: &[u8], fact: FactRow) {
    out.extend_from_slice(open);
    let view = lines.view().clone();
    let (value, at) = match fact {
        FactRow::Scrape(target, which) => {
            lines.write_target_labels(out, target);
            let target = &view.targets[target as usize].target;
            let value = scrape_values(target.outcome, target.duration, &target.report)[usize::from(which)];
            (value.expect("only series that the scrape has are selected"), target.started)
        }
        FactRow::Cluster(cluster, which) => {
            let cluster = &view.clusters[cluster as usize];
            lines.style().write_labels(out, &[], &cluster.policy.labels);
            (cluster.facts.values()[usize::from(which)], view.wall)
        }
        FactRow::Collector(cluster, which) => {
            let cluster = &view.clusters[cluster as usize];
            let collector = &cluster.facts.collectors[which as usize];
            lines.style().write_labels(out, &[(COLLECTOR, &collector.collector)], &cluster.policy.labels);
            (f64::from(u8::from(collector.up)), view.wall)
        }
    };
    lines.style().write_value(out, value);
    lines.style().write_stamp(out, at);
    out.push(b'\n');
}

impl UntypedPage {
    /// The page as a body.
    pub fn into_body(mut self) -> super::block::PageBody {
        Box::new(move |out, bytes| self.write(out, bytes))
    }
}
