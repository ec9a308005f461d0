//! The site's views as a source of samples.
//!
//! Invariant: one source is one [`SiteView`], so all selectors of an evaluation see the same moment. A series' newest sample is
//! read from its target's column, slot by slot into the cells; a target whose sample is too old or later than all steps costs
//! one comparison.

use std::sync::Arc;

use super::histogram::FloatHistogram;
use super::notes::{Budget, EvalError};
use super::rows::Rows;
use super::selection::{Place, RowPart, Selected, SelectionCache};
use super::source::{Samples, Source};
use super::value::{Cell, Cells, Steps, Vector};
use crate::model::{HISTOGRAM_NAN, Matcher, Timestamp, is_stale};
use crate::snapshot::CHUNK_SLOTS;
use crate::store::{FactRow, SiteView, TargetView, scrape_values};

/// Samples of one view.
pub struct StoreSource<'a> {
    view: &'a SiteView,
    cache: &'a SelectionCache,
}

/// What is made of a sample.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Value,
    /// Its time, in seconds.
    Time,
}

impl<'a> StoreSource<'a> {
    /// Of `view`; `cache` should outlive it, for what it keeps is what makes the next evaluation quick.
    pub fn new(view: &'a SiteView, cache: &'a SelectionCache) -> StoreSource<'a> {
        StoreSource { view, cache }
    }

    fn newest(
        &self,
        matchers: &[Matcher],
        (steps, lookback): (&Steps, i64),
        budget: &Budget<'_>,
        wanted: Wanted,
    ) -> Result<Vector, EvalError> {
        let selected = self.cache.select(self.view, matchers);
        let count = steps.count as usize;
        budget.take(selected.rows.len() * count)?;
        let mut cells = Cells::absent(selected.rows.len() * count);
        let mut writer = Writer { view: self.view, steps, lookback, wanted, cells: &mut cells };
        selected.parts.iter().for_each(|part| writer.part(part));
        Ok(Vector { rows: selected.rows.clone(), cells })
    }
}

impl Source for StoreSource<'_> {
    fn instant(
        &self,
        matchers: &[Matcher],
        steps: &Steps,
        lookback: i64,
        budget: &Budget<'_>,
    ) -> Result<Vector, EvalError> {
        self.newest(matchers, (steps, lookback), budget, Wanted::Value)
    }

    fn instant_times(
        &self,
        matchers: &[Matcher],
        steps: &Steps,
        lookback: i64,
        budget: &Budget<'_>,
    ) -> Result<Vector, EvalError> {
        self.newest(matchers, (steps, lookback), budget, Wanted::Time)
    }

    fn range(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        budget: &Budget<'_>,
        each: &mut dyn FnMut(usize, Samples<'_>),
    ) -> Result<Arc<Rows>, EvalError> {
        let selected = self.cache.select(self.view, matchers);
        let within = |at: Timestamp| at > from && at <= to;
        for part in &selected.parts {
            budget.take(part.len())?;
            let newest = (0..part.len()).filter_map(|row| Some((row, self.sample(&selected, part, row)?)));
            for (row, (at, value, histogram)) in newest.filter(|(_, (at, ..))| within(*at)) {
                let histograms = histogram.map(|histogram| (0, histogram));
                let histograms = histograms.as_slice();
                each(part.first + row, Samples { times: &[at.0], values: &[value], histograms });
            }
        }
        Ok(selected.rows.clone())
    }
}

impl StoreSource<'_> {
    /// A row's newest sample.
    fn sample(
        &self,
        _selected: &Selected,
        part: &RowPart,
        row: usize,
    ) -> Option<(Timestamp, f64, Option<Arc<FloatHistogram>>)> {
        let target = || &self.view.targets[part.target as usize].target;
        let (at, value) = match &part.place {
            Place::Clusters(rows) => (self.view.wall, fact_value(self.view, rows[row])),
            Place::Scrape(families) => (target().started, scrape_value(target(), families[row])?),
            Place::Slots { chunk, slots } => {
                let slot = slot_number(*chunk, slots[row]);
                (target().timestamp_of(slot), target().column.get(slot as usize))
            }
        };
        if is_stale(value) {
            return None;
        }
        let histogram = match &part.place {
            Place::Slots { chunk, slots } if value.to_bits() == HISTOGRAM_NAN => {
                Some(histogram_of(target(), slot_number(*chunk, slots[row]))?)
            }
            _ => None,
        };
        Some((at, value, histogram))
    }
}

/// Writes newest samples into cells.
struct Writer<'a> {
    view: &'a SiteView,
    steps: &'a Steps,
    lookback: i64,
    wanted: Wanted,
    cells: &'a mut Cells,
}

impl Writer<'_> {
    fn part(&mut self, part: &RowPart) {
        match &part.place {
            Place::Slots { chunk, slots } => {
                let target = &*self.view.targets[part.target as usize].target;
                if target.beside.timestamps.is_empty() && self.wanted == Wanted::Value {
                    self.column(part.first, target, *chunk, slots);
                } else {
                    self.slots(part.first, target, *chunk, slots);
                }
                if self.wanted == Wanted::Value && !target.beside.histograms.is_empty() {
                    self.histograms(part.first, target, *chunk, slots);
                }
            }
            Place::Scrape(families) => {
                let target = &*self.view.targets[part.target as usize].target;
                for (row, family) in families.iter().enumerate() {
                    if let Some(value) = scrape_value(target, *family) {
                        self.sample(part.first + row, target.started, value);
                    }
                }
            }
            Place::Clusters(rows) => {
                for (row, fact) in rows.iter().enumerate() {
                    self.fact(part.first + row, fact_value(self.view, *fact));
                }
            }
        }
    }

    /// A fact holds now; an evaluation looks at a moment shortly before, and finds it there.
    fn fact(&mut self, row: usize, value: f64) {
        let (wall, count) = (self.view.wall.0, self.steps.count as usize);
        for (step, at) in self.steps.iter().enumerate().filter(|(_, at)| at.0.abs_diff(wall) < self.lookback as u64) {
            let time = at.0.min(wall) as f64 / 1000.0;
            self.cells.floats[row * count + step] = if self.wanted == Wanted::Time { time } else { value };
        }
    }

    /// The steps at which a sample of this time is the newest.
    fn steps_of(&self, at: Timestamp) -> std::ops::Range<usize> {
        let Steps { start, step, count } = *self.steps;
        let first_not_before = |time: i64| -> usize {
            let steps = time.saturating_sub(start.0).saturating_add(step - 1).div_euclid(step);
            steps.clamp(0, i64::from(count)) as usize
        };
        first_not_before(at.0)..first_not_before(at.0.saturating_add(self.lookback)).max(first_not_before(at.0))
    }

    /// Samples that all have the target's time. The column's absent values are the cells' as well.
    fn column(&mut self, first: usize, target: &TargetView, chunk: u32, slots: &[u8]) {
        let steps = self.steps_of(target.started);
        let (values, count) = (&*target.column.chunks()[chunk as usize], self.steps.count as usize);
        if steps.is_empty() {
            return;
        }
        if count == 1 {
            let cells = &mut self.cells.floats[first..first + slots.len()];
            cells.iter_mut().zip(slots).for_each(|(cell, slot)| *cell = values[usize::from(*slot)]);
            return;
        }
        for (row, slot) in slots.iter().enumerate() {
            let cells = (first + row) * count;
            self.cells.floats[cells + steps.start..cells + steps.end].fill(values[usize::from(*slot)]);
        }
    }

    fn slots(&mut self, first: usize, target: &TargetView, chunk: u32, slots: &[u8]) {
        for (row, slot) in slots.iter().enumerate() {
            let slot = slot_number(chunk, *slot);
            let value = target.column.get(slot as usize);
            if !is_stale(value) {
                self.sample(first + row, target.timestamp_of(slot), value);
            }
        }
    }

    fn histograms(&mut self, first: usize, target: &TargetView, chunk: u32, slots: &[u8]) {
        let count = self.steps.count as usize;
        for (row, slot) in slots.iter().enumerate() {
            let cells = (first + row) * count..(first + row + 1) * count;
            let is_histogram = |at: &usize| self.cells.floats[*at].to_bits() == HISTOGRAM_NAN;
            let cells: Vec<usize> = cells.filter(is_histogram).collect();
            if cells.is_empty() {
                continue;
            }
            let histogram = histogram_of(target, slot_number(chunk, *slot));
            cells.into_iter().for_each(|at| self.cells.set(at, histogram.clone().map(Cell::Histogram)));
        }
    }

    fn sample(&mut self, row: usize, at: Timestamp, value: f64) {
        let cells = row * self.steps.count as usize;
        let steps = self.steps_of(at);
        let value = if self.wanted == Wanted::Time { at.0 as f64 / 1000.0 } else { value };
        self.cells.floats[cells + steps.start..cells + steps.end].fill(value);
    }
}

fn slot_number(chunk: u32, slot: u8) -> u32 {
    chunk * CHUNK_SLOTS as u32 + u32::from(slot)
}

fn histogram_of(target: &TargetView, slot: u32) -> Option<Arc<FloatHistogram>> {
    let sample = target.beside.histogram_of(slot)?;
    Some(Arc::new(FloatHistogram::from(&sample.histogram)))
}

fn scrape_value(target: &TargetView, family: u8) -> Option<f64> {
    scrape_values(target.outcome, target.duration, &target.report)[usize::from(family)]
}

fn fact_value(view: &SiteView, fact: FactRow) -> f64 {
    match fact {
        FactRow::Cluster(cluster, which) => view.clusters[cluster as usize].facts.values()[usize::from(which)],
        FactRow::Collector(cluster, which) => {
            let is_up = view.clusters[cluster as usize].facts.collectors[which as usize].up;
            f64::from(u8::from(is_up))
        }
        FactRow::Scrape(target, which) => {
            scrape_value(&view.targets[target as usize].target, which).unwrap_or_default()
        }
    }
}
