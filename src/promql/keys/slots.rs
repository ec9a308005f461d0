//! Keys of a chunk's slots, from the chunk's tables.
//!
//! What does not depend on the slot is decided once a chunk: which of its label names belong to the key, what series have of
//! their target and of the inventory, as bytes, and where in those each label of the chunk's own belongs. Then a slot costs its
//! own pairs; slots whose own pairs are the same cost a lookup.

use super::space::{Interner, KeyId};
use super::{BlockKeys, KeyLabels, NO_KEY};
use crate::model::{Labels, LabelsWriter, METRIC_NAME};
use crate::snapshot::PairId;
use crate::store::IndexedChunk;

/// The labels, of those that count, of a chunk's series.
pub(in crate::promql) struct SlotLabels<'a> {
    chunk: &'a IndexedChunk,
    inventory: &'a Labels,
    takes_name: bool,
    /// Beside the chunk's label names.
    takes: Vec<bool>,
    /// What a series has that says nothing of its own, as it is written.
    inherited: LabelsWriter,
    /// Beside the chunk's label names.
    gaps: Vec<Gap>,
    /// How many of the chunk's label names stand before the metric's name.
    names_before: usize,
    name_gap: Gap,
}

/// Where a label stands among those that are inherited.
#[derive(Clone, Copy, Default)]
struct Gap {
    /// Bytes before it.
    before: usize,
    /// Bytes up to behind the label that it hides.
    behind: usize,
}

impl<'a> SlotLabels<'a> {
    pub(in crate::promql) fn new(
        chunk: &'a IndexedChunk,
        target: &'a Labels,
        inventory: &'a Labels,
        labels: &KeyLabels,
    ) -> SlotLabels<'a> {
        let mut pairs: Vec<(&str, &str)> = target.iter().filter(|(name, _)| labels.takes(name)).collect();
        pairs.extend(inventory.iter().filter(|(name, _)| labels.takes(name) && target.get(name).is_none()));
        pairs.sort_unstable();
        let mut inherited = LabelsWriter::default();
        let mut ends = vec![0];
        for (name, value) in &pairs {
            inherited.push(name, value);
            ends.push(inherited.as_bytes().len());
        }
        let gap = |name: &str| {
            let before = pairs.partition_point(|(own, _)| *own < name);
            let is_hiding = pairs.get(before).is_some_and(|(own, _)| *own == name);
            Gap { before: ends[before], behind: ends[before + usize::from(is_hiding)] }
        };
        SlotLabels {
            chunk,
            inventory,
            takes_name: labels.takes(METRIC_NAME),
            takes: chunk.labels().iter().map(|name| labels.takes(name)).collect(),
            gaps: chunk.labels().iter().map(|name| gap(name)).collect(),
            names_before: chunk.labels().partition_point(|name| **name < *METRIC_NAME),
            name_gap: gap(METRIC_NAME),
            inherited,
        }
    }

    /// Whether all slots have the same key as long as their name does not count.
    fn is_one(&self) -> bool {
        !self.takes.contains(&true)
    }

    /// The slot's own pairs that count.
    fn own(&self, slot: u8) -> impl Iterator<Item = PairId> {
        let pairs = self.chunk.chunk().pairs_of(usize::from(slot)).iter().copied();
        pairs.filter(|pair| self.takes[usize::from(self.chunk.pair_labels()[usize::from(pair.0)])])
    }

    /// Writes the labels that count of a series with these pairs. A pair with an empty value hides the target's label, not the
    /// inventory's.
    fn write(&self, out: &mut LabelsWriter, own: impl Iterator<Item = PairId>, mut name: Option<&str>) {
        out.clear();
        let mut written = 0;
        for pair in own {
            let label = usize::from(self.chunk.pair_labels()[usize::from(pair.0)]);
            if let Some(metric) = name.take_if(|_| label >= self.names_before) {
                written = self.write_between(out, written, self.name_gap, METRIC_NAME, metric);
            }
            let pair = self.chunk.chunk().pair(pair);
            let hidden = || self.inventory.get(pair.name).unwrap_or_default();
            let value = if pair.value.is_empty() { hidden() } else { pair.value };
            written = self.write_between(out, written, self.gaps[label], pair.name, value);
        }
        if let Some(metric) = name {
            written = self.write_between(out, written, self.name_gap, METRIC_NAME, metric);
        }
        out.push_written(&self.inherited.as_bytes()[written..]);
    }

    /// Writes what is inherited from byte `written` up to a gap, and a label into that.
    #[inline]
    fn write_between(&self, out: &mut LabelsWriter, written: usize, gap: Gap, name: &str, value: &str) -> usize {
        out.push_written(&self.inherited.as_bytes()[written..gap.before]);
        out.push(name, value);
        gap.behind
    }

    fn name(&self, slot: u8, with_name: bool) -> Option<&'a str> {
        let chunk = self.chunk.chunk();
        let name = chunk.name_of(usize::from(slot)).filter(|_| with_name && self.takes_name)?;
        Some(chunk.name(name))
    }

    /// The labels of one slot that count.
    pub(in crate::promql) fn labels(&self, slot: u8, with_name: bool) -> Labels {
        let mut out = LabelsWriter::default();
        self.write_slot(&mut out, slot, with_name);
        out.labels()
    }

    /// The same in place of what was written before.
    pub(in crate::promql) fn write_slot(&self, out: &mut LabelsWriter, slot: u8, with_name: bool) {
        self.write(out, self.own(slot), self.name(slot, with_name));
    }

    /// The keys of `slots`; those that are known, if any, stand beside them.
    pub(super) fn keys(
        &self,
        (slots, known): (&[u8], &[KeyId]),
        with_name: bool,
        interner: &mut Interner,
    ) -> BlockKeys {
        if self.is_one() && !(with_name && self.takes_name) {
            let mut out = LabelsWriter::default();
            self.write(&mut out, std::iter::empty(), None);
            return BlockKeys::One(interner.id(&out));
        }
        let mut memo = Memo::new(self.chunk.chunk().pairs());
        let key = |(row, slot): (usize, &u8)| match known.get(row) {
            Some(known) if *known != NO_KEY => *known,
            _ => self.key(*slot, with_name, &mut memo, interner),
        };
        BlockKeys::Each(slots.iter().enumerate().map(key).collect())
    }

    fn key(&self, slot: u8, with_name: bool, memo: &mut Memo, interner: &mut Interner) -> KeyId {
        let name = self.name(slot, with_name);
        memo.own.clear();
        memo.own.extend(self.own(slot));
        if name.is_none()
            && let Some(known) = memo.known()
        {
            return known;
        }
        self.write(&mut memo.out, memo.own.iter().copied(), name);
        let id = interner.id(&memo.out);
        if name.is_none() {
            memo.remember(id);
        }
        id
    }
}

/// Keys of slots that were just seen: of those with one pair that counts by that pair, and of the last one.
struct Memo {
    own: Vec<PairId>,
    out: LabelsWriter,
    by_pair: Vec<Option<KeyId>>,
    last: Option<(Vec<PairId>, KeyId)>,
}

impl Memo {
    fn new(pairs: usize) -> Memo {
        Memo { own: Vec::new(), out: LabelsWriter::default(), by_pair: vec![None; pairs], last: None }
    }

    fn known(&self) -> Option<KeyId> {
        match *self.own {
            [pair] => self.by_pair[usize::from(pair.0)],
            _ => self.last.as_ref().filter(|(own, _)| *own == self.own).map(|(_, id)| *id),
        }
    }

    fn remember(&mut self, id: KeyId) {
        match (&*self.own, &mut self.last) {
            ([pair], _) => self.by_pair[usize::from(pair.0)] = Some(id),
            (own, Some((last, known))) => {
                last.clear();
                last.extend_from_slice(own);
                *known = id;
            }
            (own, last) => *last = Some((own.to_vec(), id)),
        }
    }
}
