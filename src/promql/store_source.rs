//! The site's views as a source of samples.
//!
//! Invariant: one source is one [`SiteView`], so all selectors of an evaluation see the same moment. Where a target's newest sample
//! is not later than the first step, it is read from the target's column, slot by slot into the cells; nothing else is looked at.
//! Only earlier steps, and ranges, read what is [kept](super::kept).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::histogram::FloatHistogram;
use super::kept::{KeptRows, Reading, by_target};
use super::notes::{Budget, EvalError};
use super::rows::Rows;
use super::selection::{Place, RowPart, Selected, SelectionCache};
use super::source::{Batch, RangeReading, Source};
use super::value::{ABSENT, Cell, Cells, Steps, Vector};
use crate::model::{HISTOGRAM_NAN, HistogramSample, Matcher, Timestamp, is_stale};
use crate::snapshot::CHUNK_SLOTS;
use crate::store::{FactRow, KeptSamples, SiteView, TargetView, scrape_values};

/// What a query says that asks for more than is kept.
const BEYOND: &str = "some series are not kept as far back as this query asks, results may be incomplete (see history in the gateway's configuration)";

/// Samples of one view.
pub struct StoreSource<'a> {
    view: &'a SiteView,
    cache: &'a SelectionCache,
    is_beyond: AtomicBool,
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
        StoreSource { view, cache, is_beyond: AtomicBool::new(false) }
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
        let kept = KeptRows {
            view: self.view,
            budget,
            from: Timestamp(steps.start.0.saturating_sub(lookback)),
            first: steps.start,
            to: steps.end(),
            reading: Reading::WithEnds,
            is_beyond: &self.is_beyond,
        };
        let mut has_past = !self.view.departed.is_empty();
        for (_, parts) in by_target(&selected.parts) {
            if self.is_past(&parts[0], steps) {
                has_past = true;
                kept.target(parts, &mut |rows, samples| writer.samples(rows, samples))?;
            } else {
                parts.iter().for_each(|part| writer.part(part));
            }
        }
        has_past = has_past || self.view.targets.iter().any(|site| site.target.started > steps.start);
        let rows = match has_past {
            true => kept.ended(self.cache, matchers, &selected, &mut |rows, samples| writer.samples(rows, samples))?,
            false => selected.rows.clone(),
        };
        cells.floats.resize(rows.len() * count, f64::from_bits(ABSENT));
        Ok(Vector { rows, cells })
    }

    /// Whether a target's newest sample comes too late for some step.
    fn is_past(&self, part: &RowPart, steps: &Steps) -> bool {
        let is_of_target = !matches!(part.place, Place::Clusters(_));
        is_of_target && self.view.targets[part.target as usize].target.started > steps.start
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
        reading: RangeReading,
        each: &mut dyn FnMut(Batch<'_>),
    ) -> Result<Arc<Rows>, EvalError> {
        let selected: Arc<Selected> = self.cache.select(self.view, matchers);
        let (view, is_beyond) = (self.view, &self.is_beyond);
        let kept = KeptRows { view, budget, from, first: from, to, reading: Reading::Range(reading), is_beyond };
        let mut hand_over = |rows: &[u32], samples: KeptSamples<'_>| {
            let KeptSamples { times, values, stride, is_outer, histograms } = samples;
            let floats = |(at, one): &(u32, Arc<HistogramSample>)| (*at, float_histogram(one));
            let histograms: Vec<(u32, Arc<FloatHistogram>)> = histograms.iter().map(floats).collect();
            each(Batch { rows, times, values, stride, is_outer, histograms: &histograms });
        };
        for (_, parts) in by_target(&selected.parts) {
            kept.target(parts, &mut hand_over)?;
        }
        kept.ended(self.cache, matchers, &selected, &mut hand_over)
    }

    fn warnings(&self) -> Vec<String> {
        self.is_beyond.load(Ordering::Relaxed).then(|| BEYOND.to_owned()).into_iter().collect()
    }
}

/// A row's newest sample.
pub(super) fn newest_of(view: &SiteView, part: &RowPart, row: usize) -> Option<(Timestamp, f64)> {
    let target = || &view.targets[part.target as usize].target;
    let (at, value) = match &part.place {
        Place::Clusters(rows) => (view.wall, fact_value(view, rows[row])),
        Place::Scrape(families) => (target().started, scrape_value(target(), families[row])?),
        Place::Slots { chunk, slots } => {
            let slot = slot_number(*chunk, slots[row]);
            (target().timestamp_of(slot), target().column.get(slot as usize))
        }
    };
    (!is_stale(value)).then_some((at, value))
}

/// The native histogram that is a row's newest sample.
pub(super) fn histogram_of(view: &SiteView, part: &RowPart, row: usize) -> Option<Arc<HistogramSample>> {
    match &part.place {
        Place::Slots { chunk, slots } => {
            let target = &view.targets[part.target as usize].target;
            target.beside.histogram_of(slot_number(*chunk, slots[row])).cloned()
        }
        _ => None,
    }
}

fn float_histogram(sample: &HistogramSample) -> Arc<FloatHistogram> {
    Arc::new(FloatHistogram::from(&sample.histogram))
}

/// Writes samples into cells.
struct Writer<'a> {
    view: &'a SiteView,
    steps: &'a Steps,
    lookback: i64,
    wanted: Wanted,
    cells: &'a mut Cells,
}

impl Writer<'_> {
    /// Newest samples.
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
            let sample = target.beside.histogram_of(slot_number(chunk, *slot));
            let histogram = sample.map(|sample| Cell::Histogram(float_histogram(sample)));
            cells.into_iter().for_each(|at| self.cells.set(at, histogram.clone()));
        }
    }

    fn sample(&mut self, row: usize, at: Timestamp, value: f64) {
        let cells = row * self.steps.count as usize;
        let steps = self.steps_of(at);
        let value = if self.wanted == Wanted::Time { at.0 as f64 / 1000.0 } else { value };
        self.cells.floats[cells + steps.start..cells + steps.end].fill(value);
    }

    /// All samples of rows that can matter, stale markers among them. The rows may be new ones.
    fn samples(&mut self, rows: &[u32], samples: KeptSamples<'_>) {
        let count = self.steps.count as usize;
        let cells = rows.iter().max().map_or(0, |last| (*last as usize + 1) * count);
        if self.cells.floats.len() < cells {
            self.cells.floats.resize(cells, f64::from_bits(ABSENT));
        }
        let mut behind = 0;
        for (step, at) in self.steps.iter().enumerate() {
            behind += samples.times[behind..].iter().take_while(|time| **time <= at.0).count();
            let newest = behind.checked_sub(1).filter(|newest| samples.times[*newest] > at.0 - self.lookback);
            let Some(newest) = newest else { continue };
            for (row, value) in rows.iter().zip(samples.values[newest..].iter().step_by(samples.stride)) {
                if !is_stale(*value) {
                    self.cell(*row as usize * count + step, *value, newest, &samples);
                }
            }
        }
    }

    fn cell(&mut self, cell: usize, value: f64, at: usize, samples: &KeptSamples<'_>) {
        if self.wanted == Wanted::Time {
            self.cells.floats[cell] = samples.times[at] as f64 / 1000.0;
            return;
        }
        match samples.histograms.binary_search_by_key(&(at as u32), |(own, _)| *own) {
            Ok(found) => {
                let histogram = float_histogram(&samples.histograms[found].1);
                self.cells.set(cell, Some(Cell::Histogram(histogram)));
            }
            Err(_) => self.cells.floats[cell] = value,
        }
    }
}

fn slot_number(chunk: u32, slot: u8) -> u32 {
    chunk * CHUNK_SLOTS as u32 + u32::from(slot)
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
