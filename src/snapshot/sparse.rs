//! What only few slots have: timestamps of their own, and exemplars. Only what changed since the scrape before is written.
//!
//! Of each change: slots skipped since the one before (varint), 0 where there is none any more or 1 and the new one.

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

/// One changed slot: what it has now, or nothing.
pub(super) type Change<'a, T> = (u32, Option<&'a T>);

/// Labels of one exemplar: OpenMetrics allows 128 characters in all.
const EXEMPLAR_LABELS_MAX: u64 = 128;
/// Bytes of an exemplar's labels: 128 characters of four bytes, and some air.
pub(super) const EXEMPLAR_BYTES_MAX: usize = 1 << 10;

/// A value that can be written beside a slot.
pub(super) trait SparseValue: Sized + PartialEq {
    /// Appends it; `base` is the start of the scrape.
    fn put(&self, base: Timestamp, out: &mut Vec<u8>);
    /// Reads what `put` wrote.
    fn read(base: Timestamp, reader: &mut Reader<'_>) -> Result<Self, Malformed>;
    /// Bytes that it takes at most.
    fn bytes_max(&self) -> usize;
}

impl SparseValue for Timestamp {
    fn put(&self, base: Timestamp, out: &mut Vec<u8>) {
        put_zigzag(out, self.0.wrapping_sub(base.0));
    }

    fn read(base: Timestamp, reader: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
        Ok(Timestamp(base.0.wrapping_add(reader.zigzag("explicit timestamp")?)))
    }

    fn bytes_max(&self) -> usize {
        10
    }
}

impl SparseValue for Exemplar {
    fn put(&self, base: Timestamp, out: &mut Vec<u8>) {
        put_varint(out, self.labels.len() as u64);
        for (name, value) in &self.labels {
            put_string(out, name);
            put_string(out, value);
        }
        out.extend_from_slice(&self.value.to_bits().to_le_bytes());
        out.push(u8::from(self.timestamp.is_some()));
        if let Some(timestamp) = self.timestamp {
            timestamp.put(base, out);
        }
    }

    fn read(base: Timestamp, reader: &mut Reader<'_>) -> Result<Exemplar, Malformed> {
        let labels = read_labels(reader, EXEMPLAR_LABELS_MAX)?;
        let value = f64::from_bits(u64::from_le_bytes(reader.array("exemplar value")?));
        let timestamp = match reader.byte("exemplar timestamp")? {
            0 => None,
            1 => Some(Timestamp::read(base, reader)?),
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
pub(super) fn changes<'a, T: PartialEq>(before: &[(u32, T)], after: &'a [(u32, T)]) -> Vec<Change<'a, T>> {
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
            (Some((_, old)), Some((_, new))) if old == new => {}
            (_, Some((slot, new))) => changes.push((*slot, Some(new))),
            (Some((slot, _)), None) => changes.push((*slot, None)),
            (None, None) => unreachable!("the lower of two slots is there"),
        }
    }
}

/// Appends the changes of slots from `first` on.
pub(super) fn put_changes<T: SparseValue>(changes: &[Change<'_, T>], first: u32, base: Timestamp, out: &mut Vec<u8>) {
    put_varint(out, changes.len() as u64);
    let mut next = first;
    for (slot, value) in changes {
        put_varint(out, u64::from(slot - next));
        next = slot + 1;
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            value.put(base, out);
        }
    }
}

/// Reads changes of slots in `first..end`.
pub(super) fn read_changes<T: SparseValue>(
    reader: &mut Reader<'_>,
    first: u32,
    end: u32,
    base: Timestamp,
) -> Result<Vec<(u32, Option<T>)>, Malformed> {
    let count = reader.count("sparse changes", u64::from(end - first), 2)?;
    let (mut changes, mut next) = (Vec::with_capacity(count), first);
    for _ in 0..count {
        if next >= end {
            return Err(Malformed::OutOfPlace("sparse change"));
        }
        let slot = next + reader.bounded("slot", u64::from(end - 1 - next))? as u32;
        next = slot + 1;
        changes.push(match reader.byte("sparse change")? {
            0 => (slot, None),
            1 => (slot, Some(T::read(base, reader)?)),
            found => return Err(Malformed::Unknown { what: "sparse change", found: u64::from(found) }),
        });
    }
    Ok(changes)
}

/// The list after these changes, or nothing where there is none.
pub(super) fn apply<T: Clone>(before: &[(u32, T)], changes: Vec<(u32, Option<T>)>) -> Option<Sparse<T>> {
    if changes.is_empty() {
        return None;
    }
    let mut after = Vec::with_capacity(before.len() + changes.len());
    let mut before = before.iter().peekable();
    for (slot, value) in changes {
        while let Some(kept) = before.next_if(|(own, _)| *own < slot) {
            after.push(kept.clone());
        }
        before.next_if(|(own, _)| *own == slot);
        after.extend(value.map(|value| (slot, value)));
    }
    after.extend(before.cloned());
    Some(after)
}

/// The entries of slots in a range.
pub(super) fn within<'a, T>(entries: &'a [(u32, T)], slots: &Range<usize>) -> &'a [(u32, T)] {
    let from = entries.partition_point(|(slot, _)| (*slot as usize) < slots.start);
    let length = entries[from..].partition_point(|(slot, _)| (*slot as usize) < slots.end);
    &entries[from..from + length]
}

/// Bytes that changes take at most.
pub(super) fn bytes_max<T: SparseValue>(changes: &[Change<'_, T>]) -> usize {
    changes.iter().map(|(_, value)| 6 + value.map_or(0, SparseValue::bytes_max)).sum()
}

/// The slots that are in the list but not among the changes.
pub(super) fn unchanged<'a, T, U>(after: &'a [(u32, T)], changes: &'a [(u32, U)]) -> impl Iterator<Item = u32> + 'a {
    let mut changes = changes.iter().peekable();
    after.iter().map(|(slot, _)| *slot).filter(move |slot| {
        while changes.next_if(|(changed, _)| changed < slot).is_some() {}
        changes.next_if(|(changed, _)| changed == slot).is_none()
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
pub(super) fn forget(beside: &mut Beside, chunks: usize, redefined: &[(usize, SlotSet)]) {
    beside.retain(|slot| {
        let (chunk, slot) = (slot as usize / CHUNK_SLOTS, slot as usize % CHUNK_SLOTS);
        let slots = redefined.iter().find(|(at, _)| *at == chunk).map_or([0; 4], |(_, slots)| *slots);
        chunk < chunks && slots[slot / 64] >> (slot % 64) & 1 == 0
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
                let read = read_changes(&mut Reader::new(&out), 0, 301, Timestamp(3)).unwrap();
                assert_eq!(apply(&before, read).unwrap_or(before), after);
            }
        }
    }

    #[test]
    fn slots_behind_the_end_are_refused() {
        let list = [(9, Timestamp(1))];
        let mut out = Vec::new();
        put_changes(&changes(&[], &list), 0, Timestamp(0), &mut out);
        assert!(read_changes::<Timestamp>(&mut Reader::new(&out), 0, 9, Timestamp(0)).is_err());
    }
}
