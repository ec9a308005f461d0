//! Groups and matches: which rows have the same values of the labels that count.
//!
//! Everything in PromQL that compares label sets is this one question: `sum by`, `on()` and `ignoring()`, the search for equal
//! label sets. A [`KeySpace`] numbers the keys that it meets; rows then carry a number, and grouping is an index into an array.
//!
//! Invariant: a number stands for the same key as long as its space lives. So the numbers of a block's rows are kept with the
//! block, and rows that did not change cost nothing at the next evaluation. Blocks hold the spaces weakly: those of a plan that
//! is gone leave nothing behind.

mod slots;
mod space;

use std::sync::{Arc, Mutex, PoisonError, Weak};

pub(super) use slots::SlotLabels;
pub(super) use space::{KeyId, KeySpace};

use super::ast::Grouping;
use crate::model::METRIC_NAME;

/// The labels that make a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum KeyLabels {
    /// These alone, the metric's name only if it is among them.
    By(Arc<[Arc<str>]>),
    /// All but these and the metric's name.
    Without(Arc<[Arc<str>]>),
    /// All but these, the metric's name too.
    AllBut(Arc<[Arc<str>]>),
}

impl KeyLabels {
    /// The whole label set.
    pub(super) fn all() -> KeyLabels {
        KeyLabels::AllBut(Arc::default())
    }

    /// Whether a label belongs to the key.
    pub(super) fn takes(&self, name: &str) -> bool {
        let is_among = |names: &[Arc<str>]| names.iter().any(|own| **own == *name);
        match self {
            KeyLabels::By(names) => is_among(names),
            KeyLabels::Without(names) => name != METRIC_NAME && !is_among(names),
            KeyLabels::AllBut(names) => !is_among(names),
        }
    }
}

impl From<&Grouping> for KeyLabels {
    fn from(grouping: &Grouping) -> KeyLabels {
        match grouping {
            Grouping::By(names) => KeyLabels::By(names.clone()),
            Grouping::Without(names) => KeyLabels::Without(names.clone()),
        }
    }
}

/// The rows of each key, in their order.
pub(super) struct RowsByKey {
    /// Where each key's rows begin; one more than there are keys.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl RowsByKey {
    /// Of the keys of all rows, out of `keys` that there are.
    pub(super) fn new(ids: &[KeyId], keys: usize) -> RowsByKey {
        let mut starts = vec![0u32; keys + 1];
        ids.iter().for_each(|id| starts[*id as usize] += 1);
        let mut behind = 0;
        for start in &mut starts {
            behind += *start;
            *start = behind;
        }
        let mut rows = vec![0; ids.len()];
        for (row, id) in ids.iter().enumerate().rev() {
            let start = &mut starts[*id as usize];
            *start -= 1;
            rows[*start as usize] = row as u32;
        }
        RowsByKey { starts, rows }
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.starts.len() - 1
    }

    /// A key's rows, ascending.
    #[inline]
    pub(super) fn rows(&self, id: KeyId) -> &[u32] {
        &self.rows[self.starts[id as usize] as usize..self.starts[id as usize + 1] as usize]
    }
}

/// The keys of a block's rows.
#[derive(Clone, Debug)]
enum BlockKeys {
    /// All have this one.
    One(KeyId),
    /// One a row.
    Each(Arc<[KeyId]>),
    /// One a row, [`NO_KEY`] where it is still to be found.
    Some(Arc<[KeyId]>),
}

/// In place of a key; a budget bounds the rows of an evaluation far below this.
const NO_KEY: KeyId = KeyId::MAX;

impl BlockKeys {
    /// The keys of rows that come from the rows of another block.
    fn carried(&self, from: &[Option<usize>]) -> BlockKeys {
        let key = |row: usize| match self {
            BlockKeys::One(id) => *id,
            BlockKeys::Each(ids) | BlockKeys::Some(ids) => ids[row],
        };
        let ids: Arc<[KeyId]> = from.iter().map(|row| row.map_or(NO_KEY, key)).collect();
        match self {
            _ if ids.contains(&NO_KEY) => BlockKeys::Some(ids),
            BlockKeys::One(id) => BlockKeys::One(*id),
            _ => BlockKeys::Each(ids),
        }
    }
}

/// Spaces that a block keeps its numbers for. One more, and the oldest are worked out again.
const SHELF_SPACES_MAX: usize = 16;

/// What living spaces numbered a block's rows with.
#[derive(Debug, Default)]
pub(super) struct KeyShelf {
    entries: Mutex<Vec<ShelfEntry>>,
}

#[derive(Debug)]
struct ShelfEntry {
    space: Weak<()>,
    with_name: bool,
    keys: BlockKeys,
}

impl KeyShelf {
    /// For rows that come from those of another block: what living spaces gave them there.
    pub(super) fn carried(&self, from: &[Option<usize>]) -> KeyShelf {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let living = entries.iter().filter(|entry| entry.space.strong_count() > 0);
        let carried = |entry: &ShelfEntry| ShelfEntry {
            space: entry.space.clone(),
            with_name: entry.with_name,
            keys: entry.keys.carried(from),
        };
        KeyShelf { entries: Mutex::new(living.map(carried).collect()) }
    }

    /// The keys that `space` gave, or what `make` makes of them now, of what is known of some rows.
    fn keys(&self, space: &Arc<()>, with_name: bool, make: impl FnOnce(&[KeyId]) -> BlockKeys) -> BlockKeys {
        // A panic elsewhere leaves the list whole: every change is one call.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = |entry: &&ShelfEntry| entry.with_name == with_name && entry.space.as_ptr() == Arc::as_ptr(space);
        if let Some(at) = entries.iter().position(|entry| is_own(&entry)) {
            if let BlockKeys::Some(known) = &entries[at].keys {
                entries[at].keys = make(known);
            }
            return entries[at].keys.clone();
        }
        let keys = make(&[]);
        entries.retain(|entry| entry.space.strong_count() > 0);
        if entries.len() == SHELF_SPACES_MAX {
            entries.remove(0);
        }
        entries.push(ShelfEntry { space: Arc::downgrade(space), with_name, keys: keys.clone() });
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_by_key_keep_their_order() {
        let by_key = RowsByKey::new(&[2, 0, 2, 2, 0], 4);
        let rows: Vec<&[u32]> = (0..4).map(|id| by_key.rows(id)).collect();
        assert_eq!(rows, [&[1, 4][..], &[], &[0, 2, 3], &[]]);
    }
}
