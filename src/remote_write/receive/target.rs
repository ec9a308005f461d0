//! One target of a sender: the slots of its series, and the newest sample of each.
//!
//! Invariant: every slot that has a sample or a new stale marker has a timestamp of its own, so a frame tells new samples from those that stay by the
//! rule that frames have anyway: a timestamp that is the one of the frame before brings no new sample. That is what makes a part
//! of a scrape, whichever shard of the sender it came from, a frame of its own. The scrape's start only orders the frames; it
//! rises from each to the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::fault::Refused;
use super::request::Sample;
use crate::model::{
    Exemplar, HISTOGRAM_NAN, HistogramSample, Labels, Metadata, NORMAL_NAN, NativeHistogram, STALE_NAN, Timestamp,
    stale_nan,
};
use crate::snapshot::{Beside, FORGET_NAN, Outcome, OwnLabels, Report, Scrape, SlotTable, TargetState};

/// No sample yet.
const NEVER: i64 = i64::MIN;

pub(super) struct Target {
    pub(super) labels: Arc<Labels>,
    table: SlotTable,
    values: Vec<f64>,
    /// Of the newest sample or stale marker.
    times: Vec<i64>,
    /// How often a slot was given away: what is known of a series under an older number is about another one.
    generations: Vec<u32>,
    histograms: BTreeMap<u32, Arc<HistogramSample>>,
    exemplars: BTreeMap<u32, Exemplar>,
    starts: BTreeMap<u32, Timestamp>,
    started: i64,
    /// Slots that the frame in the making has a new sample of.
    fresh: Vec<u32>,
    is_fresh: Vec<bool>,
    /// Slots that the last frame had a new sample of, ascending.
    last: Vec<u32>,
    pub(super) is_changed: bool,
}

fn is_absent(value: f64) -> bool {
    matches!(value.to_bits(), STALE_NAN | FORGET_NAN)
}

impl Target {
    pub(super) fn new(labels: Arc<Labels>) -> Target {
        Target {
            labels,
            table: SlotTable::new(),
            values: Vec::new(),
            times: Vec::new(),
            generations: Vec::new(),
            histograms: BTreeMap::new(),
            exemplars: BTreeMap::new(),
            starts: BTreeMap::new(),
            started: NEVER,
            fresh: Vec::new(),
            is_fresh: Vec::new(),
            last: Vec::new(),
            is_changed: false,
        }
    }

    /// The target as the store has it, of which the next frame tells everything.
    pub(super) fn resumed(state: &TargetState) -> Target {
        let value = |slot: usize| if slot < state.column.len() { state.column.get(slot) } else { stale_nan() };
        let table = SlotTable::from_schema(&state.schema, |slot| !is_absent(value(slot as usize)));
        let (length, beside) = (table.len(), &state.beside);
        let mut times = vec![NEVER; length];
        for (slot, at) in beside.timestamps.iter().filter(|(slot, _)| (*slot as usize) < length) {
            times[*slot as usize] = at.0;
        }
        Target {
            values: (0..length).map(value).collect(),
            times,
            generations: vec![1; length],
            is_fresh: vec![false; length],
            table,
            histograms: beside.histograms.iter().cloned().collect(),
            exemplars: beside.exemplars.iter().cloned().collect(),
            starts: beside.starts.iter().copied().collect(),
            started: state.started.0,
            is_changed: true,
            ..Target::new(state.labels.clone())
        }
    }

    /// When its newest sample is of.
    pub(super) fn newest(&self) -> i64 {
        self.times.iter().copied().max().unwrap_or(NEVER)
    }

    /// A series' slot and how often that was given away; whether the series is new. `None` where there is no room.
    pub(super) fn slot(&mut self, own: OwnLabels, family: &str, metadata: &Metadata) -> Option<(u32, u32, bool)> {
        if let Some(slot) = self.table.find(&own) {
            return Some((slot, self.generations[slot as usize], false));
        }
        let slot = self.table.insert(own, family, metadata).ok()?;
        let length = self.table.len();
        self.values.resize(length, stale_nan());
        self.times.resize(length, NEVER);
        self.generations.resize(length, 0);
        self.is_fresh.resize(length, false);
        self.generations[slot as usize] += 1;
        self.times[slot as usize] = NEVER;
        Some((slot, self.generations[slot as usize], true))
    }

    /// Whether the series has a slot.
    pub(super) fn has(&self, own: &OwnLabels) -> bool {
        self.table.find(own).is_some()
    }

    #[inline]
    pub(super) fn is_current(&self, slot: u32, generation: u32) -> bool {
        self.generations.get(slot as usize) == Some(&generation)
    }

    /// Whether the frame in the making has a sample of this series already, older than this one.
    #[inline]
    pub(super) fn must_wait(&self, slot: u32, sample: &Sample) -> bool {
        self.is_fresh[slot as usize] && sample.at > self.times[slot as usize]
    }

    /// Takes a sample over; what is known already is no fault.
    #[inline]
    pub(super) fn put(&mut self, slot: u32, sample: &Sample) -> Result<(), Refused> {
        let at = slot as usize;
        let value = canonical(sample);
        if sample.at <= self.times[at] {
            let is_same = sample.at == self.times[at] && self.is_same(slot, sample, value);
            let late = if sample.at < self.times[at] { Refused::OutOfOrder } else { Refused::Duplicate };
            return if is_same { Ok(()) } else { Err(late) };
        }
        if value.to_bits() == STALE_NAN && is_absent(self.values[at]) {
            // The end of what has ended; only its time is new.
            self.times[at] = sample.at;
            return Ok(());
        }
        (self.values[at], self.times[at]) = (value, sample.at);
        self.put_beside(slot, sample);
        if !std::mem::replace(&mut self.is_fresh[at], true) {
            self.fresh.push(slot);
        }
        self.is_changed = true;
        Ok(())
    }

    fn is_same(&self, slot: u32, sample: &Sample, value: f64) -> bool {
        let is_known =
            |histogram: &NativeHistogram| self.histograms.get(&slot).is_some_and(|own| own.histogram == *histogram);
        self.values[slot as usize].to_bits() == value.to_bits() && sample.histogram.as_deref().is_none_or(is_known)
    }

    fn put_beside(&mut self, slot: u32, sample: &Sample) {
        if let Some(histogram) = &sample.histogram {
            let histogram = Arc::unwrap_or_clone(histogram.clone());
            self.histograms.insert(slot, Arc::new(HistogramSample { histogram, exemplars: Vec::new() }));
        } else if !self.histograms.is_empty() {
            self.histograms.remove(&slot);
        }
        match sample.start() {
            Some(start) if !is_absent(self.values[slot as usize]) => {
                self.starts.insert(slot, start);
            }
            _ if self.starts.is_empty() => {}
            _ => {
                self.starts.remove(&slot);
            }
        }
        if is_absent(self.values[slot as usize]) {
            self.exemplars.remove(&slot);
        }
    }

    /// Puts an exemplar beside the series' newest sample.
    pub(super) fn put_exemplar(&mut self, slot: u32, exemplar: Exemplar) -> Result<(), Refused> {
        let value = self.values[slot as usize];
        if is_absent(value) {
            return Err(Refused::Exemplar);
        }
        self.is_changed = true;
        if value.to_bits() != HISTOGRAM_NAN {
            self.exemplars.insert(slot, exemplar);
        } else if let Some(histogram) = self.histograms.get_mut(&slot) {
            let exemplars = &mut Arc::make_mut(histogram).exemplars;
            if !exemplars.contains(&exemplar) {
                exemplars.push(exemplar);
            }
        }
        Ok(())
    }

    /// A family's metadata; `is_of` says which metric names belong to it now.
    pub(super) fn set_metadata(&mut self, family: &str, metadata: &Metadata, is_of: impl Fn(&str) -> bool) {
        let members = |table: &SlotTable, slot: &u32| table.labels(*slot).is_some_and(|own| is_of(own.metric_name()));
        let slots: Vec<u32> = (0..self.table.len() as u32).filter(|slot| members(&self.table, slot)).collect();
        for slot in &slots {
            self.table.set_family(*slot, family, metadata);
        }
        if !slots.is_empty() {
            self.table.set_metadata(family, metadata);
            self.is_changed = true;
        }
    }

    /// Ends without a marker what had no sample since `oldest`: its sender does not write markers, or is not there any more.
    pub(super) fn forget_before(&mut self, oldest: Timestamp) {
        for slot in 0..self.values.len() {
            if !is_absent(self.values[slot]) && self.times[slot] < oldest.0 {
                self.values[slot] = f64::from_bits(FORGET_NAN);
                self.clear_beside(slot as u32);
                self.is_changed = true;
            }
        }
    }

    /// Ends what had no sample in the last frame: readers have seen it end.
    pub(super) fn keep_last_only(&mut self) {
        for slot in 0..self.values.len() {
            if self.last.binary_search(&(slot as u32)).is_err() && !is_absent(self.values[slot]) {
                self.values[slot] = stale_nan();
                self.clear_beside(slot as u32);
            }
        }
    }

    /// It has no part in the last frame.
    pub(super) fn forget_last(&mut self) {
        self.last.clear();
    }

    fn clear_beside(&mut self, slot: u32) {
        self.histograms.remove(&slot);
        self.exemplars.remove(&slot);
        self.starts.remove(&slot);
    }

    /// Gives the slots of series that ended before `oldest` away. Returns how many.
    pub(super) fn free_ended(&mut self, oldest: Timestamp) -> usize {
        let mut freed = 0;
        for slot in 0..self.values.len() {
            let is_over = is_absent(self.values[slot]) && self.times[slot] < oldest.0;
            if is_over && self.table.labels(slot as u32).is_some() {
                self.table.remove(slot as u32);
                self.generations[slot] += 1;
                self.values[slot] = stale_nan();
                freed += 1;
            }
        }
        freed
    }

    /// Series that have a slot.
    pub(super) fn series(&self) -> usize {
        self.table.series()
    }

    /// What the frame in the making says of it; the next one begins.
    pub(super) fn take_scrape(&mut self) -> Scrape {
        let newest = self.fresh.iter().map(|slot| self.times[*slot as usize]).max().unwrap_or(NEVER);
        self.started = newest.max(self.started.saturating_add(1)).max(0);
        self.last = std::mem::take(&mut self.fresh);
        self.last.sort_unstable();
        for slot in &self.last {
            self.is_fresh[*slot as usize] = false;
        }
        self.is_changed = false;
        let mut scrape = self.scrape(Outcome::Written);
        scrape.values.clone_from(&self.values);
        let slots = (0..self.values.len() as u32).filter(|slot| self.has_time(*slot));
        scrape.beside.timestamps = slots.map(|slot| (slot, Timestamp(self.times[slot as usize]))).collect();
        scrape.beside.exemplars = self.exemplars.iter().map(|(slot, own)| (*slot, own.clone())).collect();
        scrape.beside.histograms = self.histograms.iter().map(|(slot, own)| (*slot, own.clone())).collect();
        scrape.beside.starts = self.starts.iter().map(|(slot, own)| (*slot, *own)).collect();
        scrape
    }

    /// Whether a frame tells the time of what is in a slot: of every sample, and of a marker in the frame that brings it.
    fn has_time(&self, slot: u32) -> bool {
        !is_absent(self.values[slot as usize]) || self.last.binary_search(&slot).is_ok()
    }

    /// The news that it has no series any more.
    pub(super) fn gone(&mut self) -> Scrape {
        self.started += 1;
        self.scrape(Outcome::Gone)
    }

    fn scrape(&mut self, outcome: Outcome) -> Scrape {
        Scrape {
            target: self.labels.clone(),
            started: Timestamp(self.started),
            duration: Duration::ZERO,
            outcome,
            report: Report::default(),
            schema: self.table.schema(),
            values: Vec::new(),
            beside: Beside::default(),
        }
    }
}

/// The bits under which a value is kept: of NaNs only the stale marker means something.
#[inline]
fn canonical(sample: &Sample) -> f64 {
    let value = sample.value;
    if !value.is_nan() || value.to_bits() == STALE_NAN || sample.histogram.is_some() {
        return value;
    }
    f64::from_bits(NORMAL_NAN)
}
