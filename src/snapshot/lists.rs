//! The lists beside a column as an entry of a frame tells them: a byte with which of them changed, then each in a section of its own.
//!
//! | bit | list |
//! |---:|---|
//! | 1 | timestamps |
//! | 2 | exemplars |
//! | 4 | native histograms |
//! | 8 | start timestamps |
//!
//! Invariant: after every entry the histograms are exactly those of the slots whose values say so; a decoder refuses an entry that
//! leaves it otherwise, an encoder never writes one (see `fresh.rs`).

use std::ops::Range;
use std::sync::Arc;

use super::beside::Beside;
use super::chunk::CHUNK_SLOTS;
use super::column::{Column, ColumnChunk, is_absent};
use super::histograms::weight;
use super::payload::{Columns, Sections};
use super::reader::Malformed;
use super::sparse::{self, Change};
use crate::model::{Exemplar, HISTOGRAM_NAN, HistogramSample, Timestamp};

const TIMESTAMPS: u8 = 1;
const EXEMPLARS: u8 = 2;
const HISTOGRAMS: u8 = 4;
const STARTS: u8 = 8;
const ALL: u8 = TIMESTAMPS | EXEMPLARS | HISTOGRAMS | STARTS;

/// What changed in the lists of a target from one scrape to the next.
pub(super) struct ListChanges<'a> {
    timestamps: Vec<Change<'a, Timestamp>>,
    exemplars: Vec<Change<'a, Exemplar>>,
    histograms: Vec<Change<'a, Arc<HistogramSample>>>,
    starts: Vec<Change<'a, Timestamp>>,
}

impl<'a> ListChanges<'a> {
    pub(super) fn between(before: &'a Beside, after: &'a Beside) -> ListChanges<'a> {
        ListChanges {
            timestamps: sparse::changes(&before.timestamps, &after.timestamps),
            exemplars: sparse::changes(&before.exemplars, &after.exemplars),
            histograms: sparse::changes(&before.histograms, &after.histograms),
            starts: sparse::changes(&before.starts, &after.starts),
        }
    }

    /// Which lists changed; 0 where none did.
    pub(super) fn which(&self) -> u8 {
        let lists = [
            (self.timestamps.is_empty(), TIMESTAMPS),
            (self.exemplars.is_empty(), EXEMPLARS),
            (self.histograms.is_empty(), HISTOGRAMS),
            (self.starts.is_empty(), STARTS),
        ];
        lists.into_iter().filter(|(is_empty, _)| !is_empty).fold(0, |all, (_, list)| all | list)
    }

    /// Bytes that the changes of these slots take at most.
    pub(super) fn bytes_max(&self, slots: &Range<usize>) -> usize {
        sparse::bytes_max(sparse::changes_within(&self.timestamps, slots))
            + sparse::bytes_max(sparse::changes_within(&self.exemplars, slots))
            + sparse::bytes_max(sparse::changes_within(&self.histograms, slots))
            + sparse::bytes_max(sparse::changes_within(&self.starts, slots))
    }

    /// Appends the changes of these slots, of every list that has any in the whole target.
    pub(super) fn put(&self, slots: &Range<usize>, base: Timestamp, out: &mut Columns) {
        put(&self.timestamps, slots, base, &mut out.timestamps);
        put(&self.exemplars, slots, base, &mut out.exemplars);
        put(&self.histograms, slots, base, &mut out.histograms);
        put(&self.starts, slots, base, &mut out.starts);
    }

    /// Samples in these slots that are no new ones: their own timestamps are those of the scrape before.
    pub(super) fn repeated(&self, after: &Beside, slots: &Range<usize>, values: &[ColumnChunk]) -> u64 {
        let changed = sparse::changes_within(&self.timestamps, slots).iter().map(|change| change.slot);
        let kept = sparse::unchanged(sparse::within(&after.timestamps, slots), changed);
        let is_present = |slot: &u32| {
            let slot = *slot as usize;
            !is_absent(values[slot / CHUNK_SLOTS][slot % CHUNK_SLOTS].to_bits())
        };
        kept.filter(is_present).count() as u64
    }
}

fn put<T: sparse::SparseValue>(changes: &[Change<'_, T>], slots: &Range<usize>, base: Timestamp, out: &mut Vec<u8>) {
    if !changes.is_empty() {
        sparse::put_changes(sparse::changes_within(changes, slots), slots.start as u32, base, out);
    }
}

/// What reading the lists of one entry came to.
pub(super) struct ListsRead {
    /// Samples that are no new ones.
    pub(super) repeated: u64,
    /// Bytes that the target's histograms take now.
    pub(super) histogram_bytes: usize,
}

/// The state of a target whose lists are read.
pub(super) struct ListReader<'a> {
    pub(super) beside: &'a mut Arc<Beside>,
    pub(super) column: &'a Column,
    pub(super) started: Timestamp,
    pub(super) histogram_bytes: usize,
    /// What the target's histograms may take.
    pub(super) histogram_bytes_max: usize,
}

impl ListReader<'_> {
    /// Reads what [`ListChanges::put`] wrote of these slots.
    pub(super) fn read(
        mut self,
        which: u8,
        slots: Range<usize>,
        from: &mut Sections<'_>,
    ) -> Result<ListsRead, Malformed> {
        if which & !ALL != 0 {
            return Err(Malformed::Unknown { what: "list beside a column", found: u64::from(which) });
        }
        // The last chunk has padding behind the schema's end: nothing can stand there.
        let end = slots.end.min(self.column.len()).max(slots.start);
        let (range, base) = ((slots.start as u32, end as u32), self.started);
        let mut changed: Vec<u32> = Vec::new();
        let mut after = Lists::default();
        if which & TIMESTAMPS != 0 {
            let note = |slot, _: Option<&Timestamp>, _: Option<&Timestamp>| {
                changed.push(slot);
                Ok(())
            };
            after.timestamps = sparse::read_changes(&self.beside.timestamps, &mut from.timestamps, range, base, note)?;
        }
        if which & EXEMPLARS != 0 {
            after.exemplars =
                sparse::read_changes(&self.beside.exemplars, &mut from.exemplars, range, base, sparse::unseen)?;
        }
        if which & HISTOGRAMS != 0 {
            after.histograms = self.read_histograms(range, from)?;
        }
        if which & STARTS != 0 {
            after.starts = sparse::read_changes(&self.beside.starts, &mut from.starts, range, base, sparse::unseen)?;
        }
        after.put_into(self.beside);
        let repeated = self.repeated(&slots, &changed);
        Ok(ListsRead { repeated, histogram_bytes: self.histogram_bytes })
    }

    fn read_histograms(
        &mut self,
        range: (u32, u32),
        from: &mut Sections<'_>,
    ) -> Result<Option<sparse::Sparse<Arc<HistogramSample>>>, Malformed> {
        let (mut bytes, max) = (self.histogram_bytes, self.histogram_bytes_max);
        let weigh = |_, old: Option<&Arc<HistogramSample>>, new: Option<&Arc<HistogramSample>>| {
            bytes = bytes + new.map_or(0, |new| weight(new)) - old.map_or(0, |old| weight(old));
            let (found, max) = (bytes as u64, max as u64);
            if found <= max {
                Ok(())
            } else {
                Err(Malformed::OutOfBounds { what: "bytes of a stream's histograms", found, max })
            }
        };
        let histograms =
            sparse::read_changes(&self.beside.histograms, &mut from.histograms, range, self.started, weigh)?;
        self.histogram_bytes = bytes;
        Ok(histograms)
    }

    fn repeated(&self, slots: &Range<usize>, changed: &[u32]) -> u64 {
        let timestamps = &self.beside.timestamps;
        if timestamps.is_empty() {
            return 0;
        }
        let is_present =
            |slot: &u32| (*slot as usize) < self.column.len() && !is_absent(self.column.get(*slot as usize).to_bits());
        let kept = sparse::unchanged(sparse::within(timestamps, slots), changed.iter().copied());
        kept.filter(is_present).count() as u64
    }
}

/// The lists that an entry changed.
#[derive(Default)]
struct Lists {
    timestamps: Option<Vec<(u32, Timestamp)>>,
    exemplars: Option<Vec<(u32, Exemplar)>>,
    histograms: Option<Vec<(u32, Arc<HistogramSample>)>>,
    starts: Option<Vec<(u32, Timestamp)>>,
}

impl Lists {
    /// A reader may still hold the old lists: those that stay are copied, once.
    fn put_into(self, beside: &mut Arc<Beside>) {
        let Lists { timestamps, exemplars, histograms, starts } = self;
        if timestamps.is_none() && exemplars.is_none() && histograms.is_none() && starts.is_none() {
            return;
        }
        let old = &**beside;
        *beside = Arc::new(Beside {
            timestamps: timestamps.unwrap_or_else(|| old.timestamps.clone()),
            exemplars: exemplars.unwrap_or_else(|| old.exemplars.clone()),
            histograms: histograms.unwrap_or_else(|| old.histograms.clone()),
            starts: starts.unwrap_or_else(|| old.starts.clone()),
        });
    }
}

/// Whether the histograms of a chunk are those of the slots whose values say that they are one.
pub(super) fn has_its_histograms(chunk: usize, values: &[f64], beside: &Beside) -> bool {
    let slots = chunk * CHUNK_SLOTS..(chunk + 1) * CHUNK_SLOTS;
    let told = sparse::within(&beside.histograms, &slots).iter().map(|(slot, _)| *slot as usize);
    let marked = values.iter().enumerate().filter(|(_, value)| value.to_bits() == HISTOGRAM_NAN);
    told.eq(marked.map(|(slot, _)| slots.start + slot))
}
