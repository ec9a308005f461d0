//! Keys by number.

use std::iter::repeat_n;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::slots::SlotLabels;
use super::{BlockKeys, KeyLabels};
use crate::model::{Labels, LabelsArena, LabelsWriter, METRIC_NAME};
use crate::promql::rows::{Block, Content, Part, Rows};

/// Number of a key in its space, counted from zero.
pub(in crate::promql) type KeyId = u32;

/// Rows whose keys a space has at hand as they stand; of others it puts them together from their blocks' keys.
const RECENT_ROWS_MAX: usize = 16;

/// Keys that nobody has any more that a space bears with, beside as many as there are live ones.
const DEAD_KEYS_MAX: usize = 1024;

/// Blocks of keys as rows, above which they are put into one.
const KEY_BLOCKS_MAX: usize = 64;

/// Rows, and the key of each.
type KeyedRows = (Weak<Rows>, Arc<[KeyId]>);

/// The keys that rows were found to have, and which rows have which.
#[derive(Debug)]
pub(in crate::promql) struct KeySpace {
    labels: KeyLabels,
    interner: Interner,
    /// Told apart by its address. `None` where nothing is kept with the blocks, as nobody will come back to it.
    token: Option<Arc<()>>,
    recent: Vec<KeyedRows>,
    /// As many keys as nodes said are live since the last time that dead ones were looked for, or more.
    live: usize,
    blocks: Vec<Arc<Block>>,
    rows: Arc<Rows>,
}

impl KeySpace {
    /// An empty space; `is_lasting` where it will be asked again of the same blocks.
    pub(in crate::promql) fn new(labels: KeyLabels, is_lasting: bool) -> KeySpace {
        KeySpace {
            labels,
            interner: Interner::default(),
            token: is_lasting.then(Arc::default),
            recent: Vec::new(),
            live: 0,
            blocks: Vec::new(),
            rows: Arc::default(),
        }
    }

    /// How many keys there are.
    pub(in crate::promql) fn len(&self) -> usize {
        self.interner.sets.len()
    }

    /// A key's labels.
    pub(in crate::promql) fn labels(&self, id: KeyId) -> Labels {
        self.interner.sets.labels(id as usize)
    }

    /// The key of each row.
    pub(in crate::promql) fn ids(&mut self, rows: &Arc<Rows>) -> Arc<[KeyId]> {
        let is_same = |(known, _): &&KeyedRows| known.as_ptr() == Arc::as_ptr(rows);
        if let Some((_, ids)) = self.recent.iter().find(is_same) {
            return ids.clone();
        }
        let mut ids = Vec::with_capacity(rows.len());
        for part in rows.parts() {
            match self.keys_of(part) {
                BlockKeys::One(id) => ids.extend(repeat_n(id, part.block.len())),
                BlockKeys::Each(each) | BlockKeys::Some(each) => ids.extend_from_slice(&each),
            }
        }
        let ids: Arc<[KeyId]> = ids.into();
        self.recent.retain(|(rows, _)| rows.strong_count() > 0);
        if self.recent.len() == RECENT_ROWS_MAX {
            self.recent.remove(0);
        }
        self.recent.push((Arc::downgrade(rows), ids.clone()));
        ids
    }

    fn keys_of(&mut self, part: &Part) -> BlockKeys {
        let with_name = !part.is_nameless && self.labels.takes(METRIC_NAME);
        let (labels, interner) = (&self.labels, &mut self.interner);
        let mut make = |known: &[KeyId]| keys_of_block(&part.block, known, labels, with_name, interner);
        match &self.token {
            Some(token) => part.block.keys().keys(token, with_name, make),
            None => make(&[]),
        }
    }

    /// The keys as rows, by number: the same `Arc` until there are more of them.
    pub(in crate::promql) fn rows(&mut self) -> Arc<Rows> {
        let known = self.rows.len();
        if known < self.len() {
            let from = if self.blocks.len() < KEY_BLOCKS_MAX { known } else { 0 };
            if from == 0 {
                self.blocks.clear();
            }
            let labels = (from..self.len()).map(|at| self.interner.sets.labels(at)).collect();
            self.blocks.push(Arc::new(Block::built(labels)));
            self.rows = Arc::new(Rows::new(self.blocks.iter().cloned()));
        }
        self.rows.clone()
    }

    /// Says how many keys, at most, a node has a use for.
    pub(in crate::promql) fn note_live(&mut self, keys: usize) {
        self.live += keys;
    }

    /// Begins anew if most keys are of no use to any node that worked since the last call.
    pub(in crate::promql) fn forget_dead(&mut self) {
        if self.len() > 2 * self.live + DEAD_KEYS_MAX {
            *self = KeySpace::new(self.labels.clone(), self.token.is_some());
        }
        self.live = 0;
    }
}

/// All keys of a block, of which some may be known.
fn keys_of_block(
    block: &Block,
    known: &[KeyId],
    labels: &KeyLabels,
    with_name: bool,
    interner: &mut Interner,
) -> BlockKeys {
    match block.content() {
        Content::Slots { chunk, slots, target, inventory } => {
            SlotLabels::new(chunk, target, inventory, labels).keys((slots, known), with_name, interner)
        }
        Content::Built(sets) => {
            let mut out = LabelsWriter::default();
            let takes = |name: &str| if name == METRIC_NAME { with_name } else { labels.takes(name) };
            let key = |set: &Labels| {
                out.clear();
                set.iter().filter(|(name, _)| takes(name)).for_each(|(name, value)| out.push(name, value));
                interner.id(&out)
            };
            BlockKeys::Each(sets.iter().map(key).collect())
        }
    }
}

/// Label sets, each once.
#[derive(Debug, Default)]
pub(super) struct Interner {
    table: HashTable<KeyId>,
    hasher: RandomState,
    sets: LabelsArena,
}

impl Interner {
    /// The number of a set, a new one if it is new.
    pub(super) fn id(&mut self, set: &LabelsWriter) -> KeyId {
        let Interner { table, hasher, sets } = self;
        let hash = hasher.hash_one(set.as_bytes());
        if let Some(id) = table.find(hash, |id| sets.bytes(*id as usize) == set.as_bytes()) {
            return *id;
        }
        let id = KeyId::try_from(sets.len()).expect("a budget bounds the rows of an evaluation below this");
        sets.push(set);
        table.insert_unique(hash, id, |id| hasher.hash_one(sets.bytes(*id as usize)));
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::ast::Grouping;

    fn rows(sets: &[&[(&str, &str)]]) -> Arc<Rows> {
        Rows::built(sets.iter().map(|set| Labels::from_pairs(set.iter().copied())).collect())
    }

    fn by(names: &[&str]) -> KeyLabels {
        KeyLabels::from(&Grouping::By(names.iter().map(|name| Arc::from(*name)).collect()))
    }

    #[test]
    fn rows_with_the_same_labels_that_count_have_one_key() {
        let rows = rows(&[
            &[(METRIC_NAME, "x"), ("a", "1"), ("b", "1")],
            &[(METRIC_NAME, "x"), ("a", "1"), ("b", "2")],
            &[(METRIC_NAME, "y"), ("b", "2")],
        ]);
        let ids = |labels| KeySpace::new(labels, false).ids(&rows).to_vec();
        assert_eq!(ids(by(&["a"])), [0, 0, 1]);
        assert_eq!(ids(by(&["b", "nope"])), [0, 1, 1]);
        assert_eq!(ids(by(&[METRIC_NAME])), [0, 0, 1]);
        assert_eq!(ids(KeyLabels::Without(["a".into(), "b".into()].into())), [0, 0, 0]);
        assert_eq!(ids(KeyLabels::all()), [0, 1, 2]);
    }

    #[test]
    fn a_name_that_was_taken_away_does_not_count() {
        let rows = rows(&[&[(METRIC_NAME, "x"), ("a", "1")], &[(METRIC_NAME, "y"), ("a", "1")]]);
        let mut space = KeySpace::new(KeyLabels::all(), true);
        assert_eq!(space.ids(&rows)[..], [0, 1]);
        assert_eq!(space.ids(&rows.without_names())[..], [2, 2]);
        assert_eq!(space.labels(2).to_string(), "{a=\"1\"}");
    }

    #[test]
    fn keys_stay_the_same_rows_until_there_is_a_new_one() {
        let mut space = KeySpace::new(by(&["a"]), true);
        space.ids(&rows(&[&[("a", "1")]]));
        let first = space.rows();
        space.ids(&rows(&[&[("a", "1")], &[]]));
        let second = space.rows();
        assert!(Arc::ptr_eq(&second, &space.rows()) && !Arc::ptr_eq(&first, &second));
        assert_eq!((first.len(), second.len(), second.labels(0)), (1, 2, first.labels(0)));
        space.forget_dead();
        space.forget_dead();
        assert_eq!(space.len(), 2, "few dead keys are borne with");
    }

    #[test]
    fn a_space_that_is_mostly_dead_is_begun_anew() {
        let mut space = KeySpace::new(by(&["a"]), true);
        let many: Vec<String> = (0..2_000).map(|at| at.to_string()).collect();
        let many = many.iter().map(|value| Labels::from_pairs([("a", value.as_str())])).collect();
        space.ids(&Rows::built(many));
        space.note_live(1_000);
        space.forget_dead();
        assert_eq!(space.len(), 2_000, "not most are dead");
        space.note_live(1);
        space.forget_dead();
        assert_eq!(space.len(), 0);
    }
}
