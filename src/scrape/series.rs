//! A target's series between its scrapes: slots, newest values, and how each of them ends.
//!
//! | a series that was there and is not on a good page | ends |
//! |---|---|
//! | without a timestamp of its own, or `track_timestamps_staleness` | at once: the stale marker |
//! | with one | it stays as it is until the lookback is over, then [`FORGET_NAN`] |
//!
//! Invariant: after each scrape every slot holds a sample, the stale marker or [`FORGET_NAN`]. A slot is freed some good
//! pages after its series ended, so one that flaps keeps its place and the schema stays as it is; by then no key refers
//! to it (see [`super::keys`]), as [`Series::free_ended`] runs after the keys were settled.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::rules::Rules;
use crate::model::{
    HISTOGRAM_NAN, HistogramSample, Labels, Metadata, NativeHistogram, STALE_NAN, Timestamp, stale_nan,
};
use crate::snapshot::{FORGET_NAN, OwnLabels, Schema, SlotTable};

/// Good pages that an ended series keeps its slot for.
const SLOT_KEPT_PAGES: u64 = 8;

/// How many series all targets of the process may have together.
#[derive(Debug)]
pub struct SeriesBudget {
    used: AtomicUsize,
    max: AtomicUsize,
}

impl SeriesBudget {
    /// Room for `max` series.
    pub fn new(max: usize) -> SeriesBudget {
        SeriesBudget { used: AtomicUsize::new(0), max: AtomicUsize::new(max) }
    }

    /// Changes the bound; series over it stay, new ones do not come.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Series that have a slot, ended ones that keep theirs for a while included.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < max).then_some(used + 1)).is_ok()
    }

    fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is the series' newest, or says again what is known.
    Taken,
    /// The series had another value at this time before the page.
    Duplicate,
    /// The page itself has another value for the series at this time, under another spelling of its labels.
    Repeated,
    /// The page itself has a newer sample for the series, which before the page had none.
    Overtaken,
    /// The series has a newer sample already.
    OutOfOrder,
}

/// The series of one target.
#[derive(Debug)]
pub(super) struct Series {
    table: SlotTable,
    budget: Arc<SeriesBudget>,
    /// By slot, after the last scrape.
    values: Vec<f64>,
    /// By slot, of the page that is being read.
    next: Vec<f64>,
    /// Newest timestamp of the series that bring their own, after the last scrape and of the page that is being read.
    own_times: HashMap<u32, Timestamp>,
    next_own_times: HashMap<u32, Timestamp>,
    /// The native histograms, by slot: exactly where the value has the bits [`HISTOGRAM_NAN`]. After the last scrape and of
    /// the page that is being read.
    histograms: HashMap<u32, Arc<HistogramSample>>,
    next_histograms: HashMap<u32, Arc<HistogramSample>>,
    /// Slots that this page's series got; emptied when the page ends, well or badly.
    fresh: Vec<u32>,
    /// Ended series by slot: the number of the page that they ended on. The queue has them in this order, and may have
    /// more, for those that came back.
    ended: HashMap<u32, u64>,
    ended_queue: VecDeque<(u64, u32)>,
    /// Good pages so far.
    pages: u64,
    last_started: Timestamp,
}

fn is_absent(value: f64) -> bool {
    matches!(value.to_bits(), STALE_NAN | FORGET_NAN)
}

impl Series {
    pub(super) fn new(budget: Arc<SeriesBudget>) -> Series {
        Series {
            table: SlotTable::new(),
            budget,
            values: Vec::new(),
            next: Vec::new(),
            own_times: HashMap::new(),
            next_own_times: HashMap::new(),
            histograms: HashMap::new(),
            next_histograms: HashMap::new(),
            fresh: Vec::new(),
            ended: HashMap::new(),
            ended_queue: VecDeque::new(),
            pages: 0,
            last_started: Timestamp(i64::MIN),
        }
    }

    /// Begins a page: nothing is on it yet.
    pub(super) fn begin(&mut self) {
        self.next.clear();
        self.next.resize(self.table.len(), stale_nan());
        self.next_own_times.clear();
        self.next_histograms.clear();
    }

    /// The slot of a series, a new one if it has none; `None` where there is no room for it.
    pub(super) fn slot(&mut self, own: OwnLabels, family: &str, metadata: &Metadata) -> Option<u32> {
        if let Some(slot) = self.table.find(&own) {
            return Some(slot);
        }
        if !self.budget.take() {
            return None;
        }
        let Ok(slot) = self.table.insert(own, family, metadata) else {
            self.budget.give_back(1);
            return None;
        };
        self.fresh.push(slot);
        let length = self.table.len();
        self.next.resize(length, stale_nan());
        self.values.resize(length, stale_nan());
        Some(slot)
    }

    /// Takes a sample over; `time` is its own timestamp, `started` everyone else's.
    #[inline]
    pub(super) fn put(&mut self, slot: u32, value: f64, time: Option<Timestamp>, started: Timestamp) -> Placed {
        let next = &mut self.next[slot as usize];
        if time.is_none() && self.own_times.is_empty() && self.next_own_times.is_empty() {
            if is_absent(*next) {
                *next = value;
                return Placed::Taken;
            }
            return if next.to_bits() == value.to_bits() { Placed::Taken } else { Placed::Repeated };
        }
        let placed = self.put_timed(slot, value, None, time, started);
        if placed == Placed::Taken {
            self.next_histograms.remove(&slot);
        }
        placed
    }

    /// The same of a native histogram. One that is as it was before is not kept a second time.
    pub(super) fn put_histogram(
        &mut self,
        slot: u32,
        sample: HistogramSample,
        time: Option<Timestamp>,
        started: Timestamp,
    ) -> Placed {
        let value = f64::from_bits(HISTOGRAM_NAN);
        let placed = self.put_timed(slot, value, Some(&sample.histogram), time, started);
        if placed == Placed::Taken {
            let known = self.histograms.get(&slot).filter(|known| ***known == sample).cloned();
            self.next_histograms.insert(slot, known.unwrap_or_else(|| Arc::new(sample)));
        }
        placed
    }

    /// The same where timestamps or histograms have to be compared.
    fn put_timed(
        &mut self,
        slot: u32,
        value: f64,
        histogram: Option<&NativeHistogram>,
        time: Option<Timestamp>,
        started: Timestamp,
    ) -> Placed {
        let at = slot as usize;
        let on_page = !is_absent(self.next[at]);
        let (newest, newest_value) = match on_page {
            true => (Some(self.next_own_times.get(&slot).copied().unwrap_or(started)), self.next[at]),
            false => (self.last_time(slot), self.values[at]),
        };
        let own = time.unwrap_or(started);
        let histograms = if on_page { &self.next_histograms } else { &self.histograms };
        let is_same = newest == Some(own)
            && newest_value.to_bits() == value.to_bits()
            && histogram.is_none_or(|own| histograms.get(&slot).is_some_and(|known| known.histogram == *own));
        let placed = match newest {
            Some(newest) if own < newest && on_page && self.last_time(slot).is_none_or(|before| before < own) => {
                Placed::Overtaken
            }
            Some(newest) if own < newest => Placed::OutOfOrder,
            Some(newest) if own == newest && !is_same && on_page => Placed::Repeated,
            Some(newest) if own == newest && !is_same => Placed::Duplicate,
            _ => Placed::Taken,
        };
        if placed == Placed::Taken {
            self.next[at] = value;
            match time {
                Some(time) => self.next_own_times.insert(slot, time),
                None => self.next_own_times.remove(&slot),
            };
        }
        placed
    }

    /// The time of the newest sample before this page, if the series has one.
    fn last_time(&self, slot: u32) -> Option<Timestamp> {
        if is_absent(self.values[slot as usize]) {
            return None;
        }
        Some(self.own_times.get(&slot).copied().unwrap_or(self.last_started))
    }

    /// Says what a family's metadata is from now on.
    pub(super) fn set_metadata(&mut self, family: &str, metadata: &Metadata) {
        self.table.set_metadata(family, metadata);
    }

    /// Ends a page: what is not on it ends as the module's table says.
    pub(super) fn commit(&mut self, rules: &Rules, started: Timestamp, good: bool) {
        self.pages += u64::from(good);
        for at in 0..self.next.len() {
            let (before, now) = (self.values[at], self.next[at]);
            if is_absent(before) {
                if is_absent(now) {
                    // A series that was forgotten has no marker yet, and must not get one by staying away.
                    self.next[at] = before;
                }
            } else if is_absent(now) {
                self.end(at as u32, rules, started);
            }
        }
        for slot in std::mem::take(&mut self.fresh) {
            if is_absent(self.next[slot as usize]) {
                self.note_ended(slot);
            }
        }
        std::mem::swap(&mut self.values, &mut self.next);
        std::mem::swap(&mut self.own_times, &mut self.next_own_times);
        std::mem::swap(&mut self.histograms, &mut self.next_histograms);
        self.last_started = started;
    }

    fn end(&mut self, slot: u32, rules: &Rules, started: Timestamp) {
        match self.own_times.get(&slot).copied() {
            Some(time) if !rules.track_timestamps_staleness && started <= time + Rules::LOOKBACK => {
                self.next[slot as usize] = self.values[slot as usize];
                self.next_own_times.insert(slot, time);
                if let Some(histogram) = self.histograms.get(&slot) {
                    self.next_histograms.insert(slot, histogram.clone());
                }
            }
            Some(_) if !rules.track_timestamps_staleness => {
                self.next[slot as usize] = f64::from_bits(FORGET_NAN);
                self.note_ended(slot);
            }
            _ => self.note_ended(slot),
        }
    }

    fn note_ended(&mut self, slot: u32) {
        self.ended.insert(slot, self.pages);
        self.ended_queue.push_back((self.pages, slot));
    }

    /// Frees the slots of series that ended some good pages ago. Returns where each slot went if that moved them.
    pub(super) fn free_ended(&mut self) -> Option<Vec<Option<u32>>> {
        self.free_ended_before(self.pages.saturating_sub(SLOT_KEPT_PAGES - 1))
    }

    /// Frees the slots of all series that ended; no key may know them any more.
    pub(super) fn free_all_ended(&mut self) {
        self.free_ended_before(u64::MAX);
    }

    fn free_ended_before(&mut self, end: u64) -> Option<Vec<Option<u32>>> {
        let mut freed = 0;
        while let Some((page, slot)) = self.ended_queue.pop_front_if(|(page, _)| *page < end) {
            if self.ended.get(&slot) != Some(&page) {
                continue;
            }
            self.ended.remove(&slot);
            if is_absent(self.values[slot as usize]) {
                self.table.remove(slot);
                self.values[slot as usize] = stale_nan();
                freed += 1;
            }
        }
        self.budget.give_back(freed);
        if freed == 0 { None } else { self.compact() }
    }

    fn compact(&mut self) -> Option<Vec<Option<u32>>> {
        let moves = self.table.compact()?;
        let moved = |slot: u32| moves[slot as usize];
        let mut values = vec![stale_nan(); self.table.len()];
        for (old, value) in self.values.iter().enumerate() {
            if let Some(new) = moved(old as u32) {
                values[new as usize] = *value;
            }
        }
        self.values = values;
        self.own_times = self.own_times.drain().filter_map(|(slot, time)| Some((moved(slot)?, time))).collect();
        self.histograms = self.histograms.drain().filter_map(|(slot, own)| Some((moved(slot)?, own))).collect();
        self.ended = self.ended.drain().filter_map(|(slot, page)| Some((moved(slot)?, page))).collect();
        self.ended_queue = self.ended_queue.drain(..).filter_map(|(page, slot)| Some((page, moved(slot)?))).collect();
        Some(moves)
    }

    /// The values by slot after the last scrape.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The samples with timestamps of their own, by slot.
    pub(super) fn own_times(&self) -> Vec<(u32, Timestamp)> {
        let mut times: Vec<_> = self.own_times.iter().map(|(slot, time)| (*slot, *time)).collect();
        times.sort_unstable();
        times
    }

    /// The native histograms, by slot.
    pub(super) fn histograms(&self) -> Vec<(u32, Arc<HistogramSample>)> {
        let mut histograms: Vec<_> = self.histograms.iter().map(|(slot, own)| (*slot, own.clone())).collect();
        histograms.sort_unstable_by_key(|(slot, _)| *slot);
        histograms
    }

    /// The slots as they are now.
    pub(super) fn schema(&mut self) -> Arc<Schema> {
        self.table.schema()
    }

    /// The labels of `series` that its target does not give it.
    pub(super) fn own_labels(series: &Labels, target: &Labels) -> OwnLabels {
        OwnLabels::between(series, target)
    }

    pub(super) fn budget(&self) -> &Arc<SeriesBudget> {
        &self.budget
    }

    /// Series that have a sample.
    pub(super) fn live(&self) -> usize {
        self.values.iter().filter(|value| !is_absent(**value)).count()
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        self.budget.give_back(self.table.series());
    }
}
