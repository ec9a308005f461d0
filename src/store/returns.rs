//! Series and targets that readers saw end and that are back.
//!
//! A reader that keeps timestamps and tracks staleness marks a series that a page lacks as ended at the time of that page. The
//! series' next sample has the time of its scrape, which may have begun before that page was asked for; then it lies before
//! the reader's own mark and is refused as out of order. So the store remembers since when a series or a target that is back
//! was missing. Who knows which views a reader was shown can tell what the reader would refuse, and leave it out.
//!
//! Invariant: a slot is in `gone` only while it has no sample, and in `back` only while it has one. Everything is bounded: what
//! is forgotten is shown in any case.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::view::{Generation, TargetView};
use crate::model::{Labels, Timestamp, is_stale, stale_nan};
use crate::snapshot::{Beside, CHUNK_SLOTS, Column, ColumnChunk, SlotSet};

/// Entries that a target remembers for each of its chunks; older ones are forgotten.
const GONE_PER_CHUNK: usize = 16;
/// Targets of a cluster that are remembered; where there are more, the older half is forgotten.
const DEPARTED_MAX: usize = 1 << 14;

/// Which pages lacked something that is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The first of them.
    pub from: Missing,
    /// The first view that has it again.
    pub until: Generation,
}

/// Since when something was missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Always: it is new to this gateway, which may have started after readers saw it.
    Always,
    /// From this view on.
    View(Generation),
    /// From this moment on, at which silence ended it.
    Moment(Instant),
}

/// When a view is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publication {
    pub(super) generation: Generation,
    /// By the gateway's clock.
    pub(super) wall: Timestamp,
}

/// Series of one chunk that ended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    chunk: u32,
    slots: SlotSet,
    /// Open at its end while they are not back.
    absence: Absence,
    /// When they came back: what is scraped later is later than any page that lacked them.
    back: Timestamp,
}

/// What became of a target's series that ended, by chunk.
#[derive(Debug, Default)]
pub(super) struct Returns {
    gone: BTreeMap<u32, Vec<Ended>>,
    back: BTreeMap<u32, Vec<Ended>>,
}

impl Returns {
    /// Follows a target from one column to the next, of the scrape that began at `started`; gives what is back.
    pub(super) fn follow(
        &mut self,
        before: &Column,
        (started, after): (Timestamp, &Column),
        now: Publication,
    ) -> Arc<[Ended]> {
        self.back.retain(|_, ended| {
            ended.retain(|ended| started <= ended.back);
            !ended.is_empty()
        });
        for (chunk, (before, after)) in before.chunks().iter().zip(after.chunks()).enumerate() {
            if !Arc::ptr_eq(before, after) && !is_same(before, after) {
                let (was, is) = (present(before), present(after));
                self.change(chunk as u32, without(&was, &is), without(&is, &was), now);
            }
        }
        self.back.values().flatten().cloned().collect()
    }

    fn change(&mut self, chunk: u32, went: SlotSet, came: SlotSet, now: Publication) {
        let (gone, back) = (self.gone.entry(chunk).or_default(), self.back.entry(chunk).or_default());
        take_out(back, &went);
        back.extend(gone.iter().map(|ended| Ended {
            chunk,
            slots: common(&ended.slots, &came),
            absence: Absence { until: now.generation, ..ended.absence },
            back: now.wall,
        }));
        back.retain(|ended| !is_empty(&ended.slots));
        take_out(gone, &came);
        if !is_empty(&went) {
            let absence = Absence { from: Missing::View(now.generation), until: Generation::MAX };
            gone.push(Ended { chunk, slots: went, absence, back: now.wall });
            gone.drain(..gone.len().saturating_sub(GONE_PER_CHUNK));
        }
        self.tidy(chunk);
    }

    /// These slots have other series now.
    pub(super) fn forget(&mut self, redefined: &[(usize, SlotSet)]) {
        for (chunk, slots) in redefined {
            let chunk = *chunk as u32;
            for ended in [self.gone.get_mut(&chunk), self.back.get_mut(&chunk)].into_iter().flatten() {
                take_out(ended, slots);
            }
            self.tidy(chunk);
        }
    }

    fn tidy(&mut self, chunk: u32) {
        for by_chunk in [&mut self.gone, &mut self.back] {
            if by_chunk.get(&chunk).is_some_and(Vec::is_empty) {
                by_chunk.remove(&chunk);
            }
        }
    }
}

fn take_out(ended: &mut Vec<Ended>, slots: &SlotSet) {
    ended.iter_mut().for_each(|ended| ended.slots = without(&ended.slots, slots));
    ended.retain(|ended| !is_empty(&ended.slots));
}

/// The targets of a cluster that are gone, by their labels.
#[derive(Debug, Default)]
pub(super) struct Departed {
    /// Each with its number among all that ever left, which tells the older from the newer.
    missing: HashMap<Arc<Labels>, (u64, Missing), foldhash::fast::FixedState>,
    left: u64,
}

impl Departed {
    /// The target is gone.
    pub(super) fn note(&mut self, labels: Arc<Labels>, missing: Missing) {
        self.left += 1;
        self.missing.insert(labels, (self.left, missing));
        if self.missing.len() > DEPARTED_MAX {
            let mut numbers: Vec<u64> = self.missing.values().map(|(number, _)| *number).collect();
            let middle = *numbers.select_nth_unstable(DEPARTED_MAX / 2).1;
            self.missing.retain(|_, (number, _)| *number > middle);
        }
    }

    /// The target is there with the view `now`: which pages lacked it; `None` where it left and came with the same view.
    pub(super) fn take(&mut self, labels: &Labels, now: Generation) -> Option<Absence> {
        let from = self.missing.remove(labels).map_or(Missing::Always, |(_, missing)| missing);
        (from != Missing::View(now)).then_some(Absence { from, until: now })
    }
}

/// A target that came, until it is scraped later than any page that lacked it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived(Option<(Absence, Timestamp)>);

impl Arrived {
    pub(super) fn after(absence: Absence, wall: Timestamp) -> Arrived {
        Arrived(Some((absence, wall)))
    }

    /// What the view of the scrape that began at `started` says.
    pub(super) fn at(&mut self, started: Timestamp) -> Option<Absence> {
        self.0 = self.0.filter(|(_, arrived)| started <= *arrived);
        self.0.map(|(absence, _)| absence)
    }
}

impl TargetView {
    /// Whether a reader would refuse all of it: it marked the target's series as ended later than they were scraped.
    pub(super) fn is_refused(&self, marked: impl Fn(Absence) -> Option<Timestamp>) -> bool {
        self.absence.and_then(marked).is_some_and(|marked| self.started <= marked)
    }

    /// The view without the samples that a reader would refuse, and how many these are; `None` where it takes all.
    pub(super) fn without_refused(&self, marked: impl Fn(Absence) -> Option<Timestamp>) -> Option<(TargetView, usize)> {
        let mut refused = Vec::new();
        for ended in self.back.iter() {
            let Some(marked) = marked(ended.absence) else { continue };
            let slots = slots_of(ended).filter(|slot| (*slot as usize) < self.column.len());
            refused.extend(slots.filter(|slot| self.timestamp_of(*slot) <= marked));
        }
        if refused.is_empty() {
            return None;
        }
        refused.sort_unstable();
        let mut view = self.clone();
        refused.iter().for_each(|slot| view.column.set(*slot as usize, stale_nan()));
        if !view.beside.is_empty() {
            let mut beside = Beside::clone(&view.beside);
            beside.retain(|slot| refused.binary_search(&slot).is_err());
            view.beside = Arc::new(beside);
        }
        Some((view, refused.len()))
    }
}

/// Whether the same slots have samples: nearly always, so it is found out without a branch a slot.
fn is_same(before: &ColumnChunk, after: &ColumnChunk) -> bool {
    let differs = |(before, after): (&f64, &f64)| is_stale(*before) != is_stale(*after);
    !before.iter().zip(after).map(differs).fold(false, |any, differs| any | differs)
}

/// The slots that have a sample.
fn present(chunk: &ColumnChunk) -> SlotSet {
    let mut slots = SlotSet::default();
    for (word, values) in slots.iter_mut().zip(chunk.chunks_exact(64)) {
        for (bit, value) in values.iter().enumerate() {
            *word |= u64::from(!is_stale(*value)) << bit;
        }
    }
    slots
}

fn slots_of(ended: &Ended) -> impl Iterator<Item = u32> + '_ {
    let first = ended.chunk * CHUNK_SLOTS as u32;
    (0..CHUNK_SLOTS as u32)
        .filter(|bit| ended.slots[*bit as usize / 64] >> (bit % 64) & 1 == 1)
        .map(move |bit| first + bit)
}

fn common(one: &SlotSet, other: &SlotSet) -> SlotSet {
    std::array::from_fn(|at| one[at] & other[at])
}

fn without(one: &SlotSet, other: &SlotSet) -> SlotSet {
    std::array::from_fn(|at| one[at] & !other[at])
}

fn is_empty(slots: &SlotSet) -> bool {
    *slots == SlotSet::default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn column(present: &[usize]) -> Column {
        let mut column = Column::stale(300);
        present.iter().for_each(|slot| column.set(*slot, 1.0));
        column
    }

    fn slots(ended: &[Ended]) -> Vec<(u32, Absence)> {
        ended.iter().flat_map(|ended| slots_of(ended).map(|slot| (slot, ended.absence))).collect()
    }

    fn absence(from: Generation, until: Generation) -> Absence {
        Absence { from: Missing::View(from), until }
    }

    /// Follows with a scrape of a second ago; the generation is the second.
    fn follow(returns: &mut Returns, before: &Column, after: &Column, generation: Generation) -> Vec<(u32, Absence)> {
        let wall = Timestamp(1000 * generation as i64);
        let started = wall - Duration::from_secs(1);
        slots(&returns.follow(before, (started, after), Publication { generation, wall }))
    }

    #[test]
    fn what_ended_and_is_back_is_known_with_the_views_that_lacked_it() {
        let mut returns = Returns::default();
        let (all, some, none) = (column(&[1, 2, 299]), column(&[2, 299]), column(&[2]));
        assert!(follow(&mut returns, &all, &some, 10).is_empty());
        assert!(follow(&mut returns, &some, &none, 11).is_empty());
        assert_eq!(follow(&mut returns, &none, &all, 12), [(1, absence(10, 12)), (299, absence(11, 12))]);
        assert_eq!(follow(&mut returns, &all, &some, 13), [(299, absence(11, 12))], "what ended again is not back");
        assert_eq!(follow(&mut returns, &some, &all, 14), [(1, absence(13, 14))], "scraped after it was back");
        assert!(follow(&mut returns, &all, &all.clone(), 16).is_empty() && returns.gone.is_empty());
    }

    #[test]
    fn another_series_in_the_slot_was_never_gone() {
        let mut returns = Returns::default();
        let (there, gone) = (column(&[7, 8]), column(&[]));
        follow(&mut returns, &there, &gone, 1);
        returns.forget(&[(0, [1 << 7, 0, 0, 0])]);
        assert_eq!(follow(&mut returns, &gone, &there, 2), [(8, absence(1, 2))]);
    }

    #[test]
    fn departed_targets_are_remembered_the_newest_of_them() {
        let mut departed = Departed::default();
        let labels = |number: usize| Labels::from_pairs([("instance", number.to_string().as_str())]);
        for number in 0..2 * DEPARTED_MAX {
            departed.note(Arc::new(labels(number)), Missing::View(7));
        }
        assert!(departed.missing.len() <= DEPARTED_MAX);
        let (newest, unknown) = (labels(2 * DEPARTED_MAX - 1), Absence { from: Missing::Always, until: 9 });
        assert_eq!(departed.take(&newest, 9), Some(absence(7, 9)));
        assert_eq!(departed.take(&newest, 9), Some(unknown), "it is there");
        assert_eq!(departed.take(&labels(0), 9), Some(unknown), "forgotten");
        departed.note(Arc::new(labels(0)), Missing::View(9));
        assert_eq!(departed.take(&labels(0), 9), None, "it was never missing");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut returns = Returns::default();
        for slot in 0..250 {
            follow(&mut returns, &column(&[slot]), &column(&[]), slot as u64);
        }
        assert_eq!(returns.gone[&0].len(), GONE_PER_CHUNK);
        assert_eq!(follow(&mut returns, &column(&[]), &column(&[0, 249]), 300), [(249, absence(249, 300))]);
    }
}
