//! Keys of a chunk's slots, from the chunk's tables.
//!
//! What does not depend on the slot is decided once a chunk: which of its label names belong to the key, and what series have
//! of their target and of the inventory. Then a slot costs its own pairs; slots whose own pairs are the same cost a lookup.

use super::space::{Interner, KeyId};
use super::{BlockKeys, KeyLabels};
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
    /// What a series has that says nothing of its own, ascending by name.
    inherited: Vec<(&'a str, &'a str)>,
}

impl<'a> SlotLabels<'a> {
    pub(in crate::promql) fn new(
        chunk: &'a IndexedChunk,
        target: &'a Labels,
        inventory: &'a Labels,
        labels: &KeyLabels,
    ) -> SlotLabels<'a> {
        let takes = chunk.labels().iter().map(|name| labels.takes(name)).collect();
        let mut inherited: Vec<(&str, &str)> = target.iter().filter(|(name, _)| labels.takes(name)).collect();
        let of_inventory = inventory.iter().filter(|(name, _)| labels.takes(name) && target.get(name).is_none());
        inherited.extend(of_inventory);
        inherited.sort_unstable();
        SlotLabels { chunk, inventory, takes_name: labels.takes(METRIC_NAME), takes, inherited }
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
        let mut inherited = self.inherited.iter().peekable();
        let pairs = own.map(|pair| self.chunk.chunk().pair(pair)).map(|pair| (pair.name, pair.value));
        for (label, value) in pairs {
            if let Some(metric) = name.take_if(|_| label > METRIC_NAME) {
                while let Some((name, value)) = inherited.next_if(|(name, _)| *name < METRIC_NAME) {
                    out.push(name, value);
                }
                out.push(METRIC_NAME, metric);
            }
            while let Some((name, value)) = inherited.next_if(|(name, _)| *name < label) {
                out.push(name, value);
            }
            inherited.next_if(|(name, _)| *name == label);
            let hidden = || self.inventory.get(label).unwrap_or_default();
            out.push(label, if value.is_empty() { hidden() } else { value });
        }
        for (label, value) in inherited {
            if let Some(metric) = name.take_if(|_| *label > METRIC_NAME) {
                out.push(METRIC_NAME, metric);
            }
            out.push(label, value);
        }
        out.push(METRIC_NAME, name.unwrap_or_default());
    }

    fn name(&self, slot: u8, with_name: bool) -> Option<&'a str> {
        let chunk = self.chunk.chunk();
        let name = chunk.name_of(usize::from(slot)).filter(|_| with_name && self.takes_name)?;
        Some(chunk.name(name))
    }

    /// The labels of one slot that count.
    pub(in crate::promql) fn labels(&self, slot: u8, with_name: bool) -> Labels {
        let mut out = LabelsWriter::default();
        self.write(&mut out, self.own(slot), self.name(slot, with_name));
        out.labels()
    }

    /// The keys of `slots`.
    pub(super) fn keys(&self, slots: &[u8], with_name: bool, interner: &mut Interner) -> BlockKeys {
        if self.is_one() && !(with_name && self.takes_name) {
            let mut out = LabelsWriter::default();
            self.write(&mut out, std::iter::empty(), None);
            return BlockKeys::One(interner.id(&out));
        }
        let mut memo = Memo::new(self.chunk.chunk().pairs());
        let key = |slot: &u8| self.key(*slot, with_name, &mut memo, interner);
        BlockKeys::Each(slots.iter().map(key).collect())
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
