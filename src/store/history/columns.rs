//! Which column of a strip each series has, and what becomes of the columns of series that are gone.
//!
//! Invariant: a column is given to another series only when nothing is kept any more of the one before; until then that one is
//! among the strip's retired series, and gets its own column again when it comes back, whichever slot it comes back in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::block::Block;
use super::row::Row;
use super::strip::{ChunkColumns, Retired, Strip};
use super::usage::Usage;
use crate::model::{Labels, Timestamp};
use crate::snapshot::SlotSet;

/// A strip that is written.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) strip: Strip,
    /// Columns of retired series in the order in which they ended, with that time and the hash of their labels.
    ended: VecDeque<(i64, u32, u64)>,
    /// Those of them that are not back, by the hash.
    by_hash: HashMap<u64, (i64, u32), foldhash::fast::FixedState>,
    /// Series that are ending now.
    ending: Vec<(u32, Labels)>,
}

fn hash(labels: &Labels) -> u64 {
    xxhash_rust::xxh3::xxh3_64(labels.as_bytes())
}

fn holds(slots: &SlotSet, slot: u8) -> bool {
    slots[usize::from(slot) / 64] >> (slot % 64) & 1 == 1
}

impl Writer {
    pub(super) fn new(keep_ms: i64) -> Writer {
        let strip = Strip::new(keep_ms);
        Writer { strip, ended: VecDeque::new(), by_hash: HashMap::default(), ending: Vec::new() }
    }

    /// Ends the series of a chunk that are not among `slots` any more, or whose slots have other series now.
    pub(super) fn end_chunk(
        &mut self,
        chunk: usize,
        slots: &[u8],
        redefined: &SlotSet,
        labels: impl Fn(u8) -> Option<Labels>,
    ) {
        let Some(known) = self.strip.chunks.get(chunk) else { return };
        for (slot, column) in known.slots.iter().zip(&known.columns) {
            if holds(redefined, *slot) || slots.binary_search(slot).is_err() {
                self.ending.push((*column, labels(*slot).unwrap_or_default()));
            }
        }
    }

    /// Ends the series of the scrape itself.
    pub(super) fn end_facts(&mut self, labels: impl Fn(u8) -> Labels) {
        let facts = std::mem::replace(&mut self.strip.facts, [].into());
        self.ending.extend(facts.iter().map(|(family, column)| (*column, labels(*family))));
    }

    /// From now on the series that are ending are retired.
    pub(super) fn retire(&mut self) {
        let mut series = std::mem::take(&mut self.ending);
        if series.is_empty() {
            return;
        }
        let at = self.strip.newest().unwrap_or(i64::MIN);
        self.retire_at(at, &mut series);
    }

    pub(super) fn retire_at(&mut self, at: i64, series: &mut Vec<(u32, Labels)>) {
        series.sort_unstable_by_key(|(column, _)| *column);
        for (column, labels) in &*series {
            let hash = hash(labels);
            self.ended.push_back((at, *column, hash));
            self.by_hash.insert(hash, (at, *column));
        }
        self.strip.retired.push(Arc::new(Retired { at, series: std::mem::take(series) }));
    }

    /// Gives columns to the slots of a chunk; slots whose series stay keep theirs.
    pub(super) fn take_chunk(
        &mut self,
        chunk: usize,
        slots: &[u8],
        redefined: &SlotSet,
        labels: impl Fn(u8) -> Option<Labels>,
    ) {
        if self.strip.chunks.len() <= chunk {
            self.strip.chunks.resize_with(chunk + 1, Arc::default);
        }
        let known = self.strip.chunks[chunk].clone();
        let column = |slot: &u8| match known.column_of(*slot).filter(|_| !holds(redefined, *slot)) {
            Some(column) => column,
            None => self.take(|| labels(*slot).unwrap_or_default()),
        };
        let columns: Box<[u32]> = slots.iter().map(column).collect();
        self.strip.chunks[chunk] = Arc::new(ChunkColumns { slots: slots.into(), columns });
    }

    /// A column for a series: its own if it had one, else one of which nothing is kept, else a new one.
    pub(super) fn take(&mut self, labels: impl FnOnce() -> Labels) -> u32 {
        if !self.by_hash.is_empty() {
            let hash = hash(&labels());
            if let Some((at, column)) = self.by_hash.remove(&hash) {
                self.forget_retired(at, column);
                return column;
            }
        }
        let oldest = self.strip.oldest().unwrap_or(i64::MIN);
        while let Some((at, column, hash)) = self.ended.front().copied().filter(|(at, ..)| *at < oldest) {
            self.ended.pop_front();
            if self.by_hash.get(&hash) == Some(&(at, column)) {
                self.by_hash.remove(&hash);
                return column;
            }
        }
        self.strip.columns += 1;
        self.strip.columns - 1
    }

    /// A retired series is back.
    fn forget_retired(&mut self, at: i64, column: u32) {
        for retired in self.strip.retired.iter_mut().filter(|retired| retired.at == at) {
            Arc::make_mut(retired).series.retain(|(own, _)| *own != column);
        }
    }

    /// Takes a scrape's row, in its place by time. One of a time that is there already, or too old to be kept, changes nothing.
    pub(super) fn append(&mut self, row: Row, usage: &Arc<Usage>) {
        match self.strip.newest() {
            Some(newest) if row.time < newest => self.insert(row, usage),
            Some(newest) if row.time == newest => {}
            _ => self.strip.append(Arc::new(row), usage),
        }
    }

    /// Takes the strip apart from the block on whose rows are before this one, and puts it together again behind it: what stands next
    /// to a block is what its values follow from.
    fn insert(&mut self, row: Row, usage: &Arc<Usage>) {
        if self.strip.is_forgotten(row.time, usage) {
            return;
        }
        let is_before = |block: &Arc<Block>| block.times().last().is_some_and(|last| *last < row.time);
        let kept = self.strip.blocks.partition_point(is_before).saturating_sub(1);
        let from = kept.checked_sub(1).and_then(|at| self.strip.blocks[at].times().last().copied());
        let mut rows = self.strip.reader(Timestamp(from.unwrap_or(i64::MIN)), Timestamp(i64::MAX)).rows(usage);
        let Err(at) = rows.binary_search_by_key(&row.time, |own| own.time) else { return };
        rows.insert(at, Arc::new(row));
        let retired = self.strip.retired.clone();
        self.strip.blocks.truncate(kept);
        self.strip.head.clear();
        rows.into_iter().for_each(|row| self.strip.append(row, usage));
        self.strip.retired = retired;
    }

    /// Puts other rows in the place of those that are there.
    pub(super) fn refill(&mut self, rows: Vec<Arc<Row>>, usage: &Arc<Usage>) {
        let retired = self.strip.retired.clone();
        self.strip.blocks.clear();
        self.strip.head.clear();
        rows.into_iter().for_each(|row| self.strip.append(row, usage));
        self.strip.retired = retired;
    }
}
