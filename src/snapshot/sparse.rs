//! What only few slots have, list by list (see `lists.rs`). Only what changed since the scrape before is written.
//!
//! A list of changes is their count, and of each the slots skipped since the one before (varint), 0 where there is none any more
//! or 1 and the new one.
//!
//! | value | as |
//! |---|---|
//! | timestamp | zigzag milliseconds against the one before in the same list, the first against the scrape's start |
//! | exemplar | how many labels, name and value of each; value, 8 bytes; 0 or 1 and its timestamp against the scrape's start |
//! | native histogram | see `histograms.rs` |
//!
//! Equal means equal bits here: a sum that goes from 0 to −0 is a change.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::beside::Beside;
use super::changes::SlotSet;
use super::chunk::{CHUNK_SLOTS, STRING_BYTES_MAX};
use super::reader::{Malformed, Reader, put_string, put_varint, put_zigzag};
use crate::model::{Exemplar, Labels, LabelsBuilder, Timestamp};

/// Entries ascending by slot, each slot at most once.
pub(super) type Sparse<T> = Vec<(u32, T)>;

/// One changed slot: what it had, and what it has now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a, T> {
    pub(super) slot: u32,
    old: Option<&'a T>,
    new: Option<&'a T>,
}

/// Labels of one exemplar: OpenMetrics allows 128 characters in all.
const EXEMPLAR_LABELS_MAX: u64 = 128;
/// Bytes of an exemplar's labels: 128 characters of four bytes, and some air.
pub(super) const EXEMPLAR_BYTES_MAX: usize = 1 << 10;

/// A value that can be written beside a slot.
pub(super) trait SparseValue: Clone {
    /// Whether both are the same to the bit.
    fn is_same(&self, other: &Self) -> bool;
    /// Appends it, told against what the slot had.
    fn put(&self, old: Option<&Self>, base: Timestamp, out: &mut Vec<u8>);
    /// Reads what `put` wrote.
    fn read(old: Option<&Self>, base: Timestamp, reader: &mut Reader<'_>) -> Result<Self, Malformed>;
    /// Bytes that it takes at most.
    fn bytes_max(&self) -> usize;
    /// The base of the next value in the list; that of the first is the start of the scrape.
    fn next_base(&self, base: Timestamp) -> Timestamp {
        base
    }
}

impl SparseValue for Timestamp {
    fn is_same(&self, other: &Timestamp) -> bool {
        self == other
    }

    fn put(&self, _: Option<&Timestamp>, base: Timestamp, out: &mut Vec<u8>) {
        put_zigzag(out, self.0.wrapping_sub(base.0));
    }

    fn read(_: Option<&Timestamp>, base: Timestamp, reader: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
        Ok(Timestamp(base.0.wrapping_add(reader.zigzag("explicit timestamp")?)))
    }

    fn bytes_max(&self) -> usize {
        10
    }

    fn next_base(&self, _: Timestamp) -> Timestamp {
        *self
    }
}

impl SparseValue for Exemplar {
    fn is_same(&self, other: &Exemplar) -> bool {
        self.value.to_bits() == other.value.to_bits()
            && self.timestamp == other.timestamp
            && self.labels == other.labels
    }

    fn put(&self, _: Option<&Exemplar>, base: Timestamp, out: &mut Vec<u8>) {
        put_varint(out, self.labels.len() as u64);
        for (name, value) in &self.labels {
            put_string(out, name);
            put_string(out, value);
        }
        out.extend_from_slice(&self.value.to_bits().to_le_bytes());
        out.push(u8::from(self.timestamp.is_some()));
        if let Some(timestamp) = self.timestamp {
            timestamp.put(None, base, out);
        }
    }

    fn read(_: Option<&Exemplar>, base: Timestamp, reader: &mut Reader<'_>) -> Result<Exemplar, Malformed> {
        let labels = read_labels(reader, EXEMPLAR_LABELS_MAX)?;
        let value = f64::from_bits(u64::from_le_bytes(reader.array("exemplar value")?));
        let timestamp = match reader.byte("exemplar timestamp")? {
            0 => None,
            1 => Some(Timestamp::read(None, base, reader)?),
            found => return Err(Malformed::Unknown { what: "exemplar timestamp", found: u64::from(found) }),
        };
        Ok(Exemplar { labels, value, timestamp })
    }

    fn bytes_max(&self) -> usize {
        self.labels.as_bytes().len() + 8 + 1 + 10 + 2
    }
}

/// Reads a label set written as a count and pairs.
pub(super) fn read_labels(reader: &mut Reader<'_>, labels_max: u64) -> Result<Labels, Malformed> {
    let mut builder = LabelsBuilder::default();
    for _ in 0..reader.count("labels", labels_max, 2)? {
        let name = reader.string("label name", STRING_BYTES_MAX)?;
        builder.set(name, reader.string("label value", STRING_BYTES_MAX)?);
    }
    Ok(builder.build())
}

/// What changed between two lists.
pub(super) fn changes<'a, T: SparseValue>(before: &'a [(u32, T)], after: &'a [(u32, T)]) -> Vec<Change<'a, T>> {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let old = before.peek().map_or(u32::MAX, |(slot, _)| *slot);
        let new = after.peek().map_or(u32::MAX, |(slot, _)| *slot);
        if old == u32::MAX && new == u32::MAX {
            return changes;
        }
        let old = before.next_if(|(slot, _)| *slot <= new);
        let new = after.next_if(|(slot, _)| old.is_none_or(|(old, _)| slot <= old));
        match (old, new) {
            (Some((_, old)), Some((_, new))) if old.is_same(new) => {}
            (Some((slot, _)), _) | (_, Some((slot, _))) => {
                let value = |entry: Option<&'a (u32, T)>| entry.map(|(_, value)| value);
                changes.push(Change { slot: *slot, old: value(old), new: value(new) });
            }
            (None, None) => unreachable!("the lower of two slots is there"),
        }
    }
}

/// Appends the changes of slots from `first` on.
pub(super) fn put_changes<T: SparseValue>(
    changes: &[Change<'_, T>],
    first: u32,
    mut base: Timestamp,
    out: &mut Vec<u8>,
) {
    put_varint(out, changes.len() as u64);
    let mut next = first;
    for Change { slot, old, new } in changes {
        put_varint(out, u64::from(slot - next));
        next = slot + 1;
        out.push(u8::from(new.is_some()));
        if let Some(new) = new {
            new.put(*old, base, out);
            base = new.next_base(base);
        }
    }
}

/// Reads changes of slots in `first..end` and gives the list after them, or nothing where there is none; `see` is shown the old
/// and the new of each before the next is read.
pub(super) fn read_changes<T: SparseValue>(
    before: &[(u32, T)],
    reader: &mut Reader<'_>,
    (first, end): (u32, u32),
    mut base: Timestamp,
    mut see: impl FnMut(u32, Option<&T>, Option<&T>) -> Result<(), Malformed>,
) -> Result<Option<Sparse<T>>, Malformed> {
    let count = reader.count("sparse changes", u64::from(end - first), 2)?;
    if count == 0 {
        return Ok(None);
    }
    let (mut after, mut next) = (Vec::with_capacity(before.len()), first);
    let mut before = before.iter().peekable();
    for _ in 0..count {
        if next >= end {
            return Err(Malformed::OutOfPlace("sparse change"));
        }
        let slot = next + reader.bounded("slot", u64::from(end - 1 - next))? as u32;
        next = slot + 1;
        while let Some(kept) = before.next_if(|(own, _)| *own < slot) {
            after.push(kept.clone());
        }
        let old = before.next_if(|(own, _)| *own == slot).map(|(_, old)| old);
        let new = match reader.byte("sparse change")? {
            0 => None,
            1 => Some(T::read(old, base, reader)?),
            found => return Err(Malformed::Unknown { what: "sparse change", found: u64::from(found) }),
        };
        see(slot, old, new.as_ref())?;
        base = new.as_ref().map_or(base, |new| new.next_base(base));
        after.extend(new.map(|new| (slot, new)));
    }
    after.extend(before.cloned());
    Ok(Some(after))
}

/// The entries of slots in a range.
pub(super) fn within<'a, T>(entries: &'a [(u32, T)], slots: &Range<usize>) -> &'a [(u32, T)] {
    cut(entries, slots, |(slot, _)| *slot)
}

/// The changes of slots in a range.
pub(super) fn changes_within<'c, 'a, T>(changes: &'c [Change<'a, T>], slots: &Range<usize>) -> &'c [Change<'a, T>] {
    cut(changes, slots, |change| change.slot)
}

fn cut<'e, E>(entries: &'e [E], slots: &Range<usize>, slot_of: impl Fn(&E) -> u32) -> &'e [E] {
    let from = entries.partition_point(|entry| (slot_of(entry) as usize) < slots.start);
    let length = entries[from..].partition_point(|entry| (slot_of(entry) as usize) < slots.end);
    &entries[from..from + length]
}

/// For [`read_changes`], where nobody needs to see them.
pub(super) fn unseen<T>(_: u32, _: Option<&T>, _: Option<&T>) -> Result<(), Malformed> {
    Ok(())
}

/// Bytes that changes take at most.
pub(super) fn bytes_max<T: SparseValue>(changes: &[Change<'_, T>]) -> usize {
    changes.iter().map(|change| 6 + change.new.map_or(0, SparseValue::bytes_max)).sum()
}

/// The slots that are in the list but not among the changed ones.
pub(super) fn unchanged<'a, T>(
    after: &'a [(u32, T)],
    changed: impl Iterator<Item = u32> + 'a,
) -> impl Iterator<Item = u32> + 'a {
    let mut changed = changed.peekable();
    after.iter().map(|(slot, _)| *slot).filter(move |slot| {
        while changed.next_if(|changed| changed < slot).is_some() {}
        changed.next_if(|changed| changed == slot).is_none()
    })
}

/// The lists ascending by slot, the last of several entries of a slot alone: whoever made a scrape may not have sorted them.
pub(super) fn sorted(beside: &Beside) -> Cow<'_, Beside> {
    let Beside { timestamps, exemplars, histograms, starts } = beside;
    if is_sorted(timestamps) && is_sorted(exemplars) && is_sorted(histograms) && is_sorted(starts) {
        return Cow::Borrowed(beside);
    }
    Cow::Owned(Beside {
        timestamps: sort(timestamps),
        exemplars: sort(exemplars),
        histograms: sort(histograms),
        starts: sort(starts),
    })
}

fn is_sorted<T>(entries: &[(u32, T)]) -> bool {
    entries.is_sorted_by(|one, two| one.0 < two.0)
}

fn sort<T: Clone>(entries: &[(u32, T)]) -> Sparse<T> {
    let by_slot: BTreeMap<u32, &T> = entries.iter().map(|(slot, value)| (*slot, value)).collect();
    by_slot.into_iter().map(|(slot, value)| (slot, value.clone())).collect()
}

/// Drops what slots had that now hold another series, or that are behind the end.
pub(super) fn forget(beside: &mut Beside, end: usize, redefined: &[(usize, SlotSet)]) {
    beside.retain(|slot| {
        let is_behind = slot as usize >= end;
        let (chunk, slot) = (slot as usize / CHUNK_SLOTS, slot as usize % CHUNK_SLOTS);
        let slots = redefined.iter().find(|(at, _)| *at == chunk).map_or([0; 4], |(_, slots)| *slots);
        !is_behind && slots[slot / 64] >> (slot % 64) & 1 == 0
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_lead_from_one_list_to_the_other() {
        let lists = [vec![], vec![(0, 5), (7, 1)], vec![(0, 5), (3, 2), (7, 9), (300, 4)], vec![(8, 1), (300, 4)]];
        for before in &lists {
            for after in &lists {
                let stamp = |list: &Vec<(u32, i64)>| -> Sparse<Timestamp> {
                    list.iter().map(|(slot, at)| (*slot, Timestamp(*at))).collect()
                };
                let (before, after) = (stamp(before), stamp(after));
                let mut out = Vec::new();
                let written = changes(&before, &after);
                put_changes(&written, 0, Timestamp(3), &mut out);
                let mut reader = Reader::new(&out);
                let read = read_changes(&before, &mut reader, (0, 301), Timestamp(3), unseen).unwrap();
                assert_eq!(read.unwrap_or(before), after);
            }
        }
    }

    #[test]
    fn slots_behind_the_end_are_refused() {
        let list = [(9, Timestamp(1))];
        let mut out = Vec::new();
        put_changes(&changes(&[], &list), 0, Timestamp(0), &mut out);
        let read = |end| read_changes::<Timestamp>(&[], &mut Reader::new(&out), (0, end), Timestamp(0), unseen);
        assert!(read(9).is_err() && read(10).is_ok());
    }
}
