//! A schema as readers walk it: each chunk with its slots ordered by metric name.
//!
//! Invariant: an [`IndexedChunk`] is a pure function of its chunk, so equal chunks share one, and a schema change builds
//! new ones for the changed chunks only. Names are interned for the whole store, and so are lists of them: equal lists are
//! the same `Arc`. Chunks of one kind of exporter have few lists between them (on a page ordered by node nearly all have
//! the same), so a reader decides a list once for all its chunks, and then looks only at what it wants of each.

use std::sync::{Arc, Weak};

use dashmap::{DashMap, DashSet};

use crate::snapshot::{CHUNK_SLOTS, Chunk, NameId, Pair, PairId};

/// The slots of one metric name in one chunk.
#[derive(Clone, Copy, Debug)]
pub struct NameRun {
    /// The name in the chunk's own table.
    pub id: NameId,
    start: u16,
    end: u16,
}

impl NameRun {
    /// How many slots there are.
    pub fn count(&self) -> u16 {
        self.end - self.start
    }
}

/// Strings in byte order, interned.
pub type NameList = Arc<[Arc<str>]>;

/// A chunk and its slots by name.
#[derive(Debug)]
pub struct IndexedChunk {
    chunk: Arc<Chunk>,
    names: NameList,
    /// Beside `names`.
    runs: Box<[NameRun]>,
    slots: Box<[u8]>,
    labels: NameList,
    /// For each pair of the chunk, the number of its name in `labels`.
    pair_labels: Box<[u16]>,
    families_hash: u64,
}

impl IndexedChunk {
    fn build(chunk: Arc<Chunk>, lists: &Lists, keep: impl Fn(usize) -> bool) -> IndexedChunk {
        let mut order: Vec<(u16, u8)> = Vec::with_capacity(CHUNK_SLOTS);
        for slot in (0..chunk.len()).filter(|slot| keep(*slot)) {
            // Nameless series (a slot with an empty name) are in no family and so in no run.
            if let Some(id) = chunk.name_of(slot).filter(|id| !chunk.name(*id).is_empty()) {
                order.push((id.0, slot as u8));
            }
        }
        order.sort_unstable();
        let slots = order.iter().map(|(_, slot)| *slot).collect();
        let mut runs: Vec<NameRun> = Vec::new();
        for (at, (id, _)) in order.iter().enumerate() {
            let end = at as u16 + 1;
            match runs.last_mut() {
                Some(run) if run.id.0 == *id => run.end = end,
                _ => runs.push(NameRun { id: NameId(*id), start: end - 1, end }),
            }
        }
        runs.sort_unstable_by_key(|run| (chunk.name(run.id), run.start));
        let names: Vec<&str> = runs.iter().map(|run| chunk.name(run.id)).collect();
        let (names, families_hash) = (lists.intern(&names), hash_families(&chunk, &runs));
        let (labels, pair_labels) = labels_of(&chunk, lists);
        IndexedChunk { chunk, names, runs: runs.into(), slots, labels, pair_labels, families_hash }
    }

    /// The chunk itself.
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// Its metric names; [`IndexedChunk::runs`] stands beside them.
    pub fn names(&self) -> &NameList {
        &self.names
    }

    /// Equal where chunks have the same names and say the same of their families.
    pub fn families_hash(&self) -> u64 {
        self.families_hash
    }

    /// The slots of each of [`IndexedChunk::names`].
    pub fn runs(&self) -> &[NameRun] {
        &self.runs
    }

    /// The names of the labels that its series have of their own.
    pub fn labels(&self) -> &NameList {
        &self.labels
    }

    /// For each of the chunk's pairs, which of [`IndexedChunk::labels`] it gives a value.
    #[inline]
    pub fn pair_labels(&self) -> &[u16] {
        &self.pair_labels
    }

    /// The slots of one of [`IndexedChunk::runs`], ascending.
    #[inline]
    pub fn slots_of(&self, run: &NameRun) -> &[u8] {
        &self.slots[usize::from(run.start)..usize::from(run.end)]
    }

    /// All slots that are seen, by name.
    pub fn slots(&self) -> &[u8] {
        &self.slots
    }

    /// Slots with a named series.
    pub fn live(&self) -> usize {
        self.slots.len()
    }
}

/// xxh3-64 over names, types, help and units.
fn hash_families(chunk: &Chunk, runs: &[NameRun]) -> u64 {
    let mut said = Vec::new();
    for run in runs {
        let family = chunk.family_of(run.id);
        for text in [chunk.name(run.id), family.name, family.kind.as_str(), family.help, family.unit] {
            said.extend_from_slice(text.as_bytes());
            said.push(0);
        }
    }
    xxhash_rust::xxh3::xxh3_64(&said)
}

/// The label names of a chunk, and which of them each pair has.
fn labels_of(chunk: &Chunk, lists: &Lists) -> (NameList, Box<[u16]>) {
    let mut numbers: hashbrown::HashMap<&str, u16, foldhash::fast::FixedState> = hashbrown::HashMap::default();
    pairs_of(chunk).for_each(|(_, pair)| *numbers.entry(pair.name).or_default() = 0);
    let mut names: Vec<&str> = numbers.keys().copied().collect();
    names.sort_unstable();
    names.iter().enumerate().for_each(|(number, name)| *numbers.entry(name).or_default() = number as u16);
    let pair_labels = pairs_of(chunk).map(|(_, pair)| numbers[pair.name]).collect();
    (lists.intern(&names), pair_labels)
}

/// The metric names of a chunk's table, in the order of their numbers.
pub(super) fn names_of(chunk: &Chunk) -> impl Iterator<Item = &str> {
    (0..chunk.names()).map(|id| chunk.name(NameId(id as u16)))
}

/// The pairs of a chunk's table with their numbers.
pub(super) fn pairs_of(chunk: &Chunk) -> impl Iterator<Item = (PairId, Pair<'_>)> {
    (0..chunk.pairs()).map(|id| PairId(id as u16)).map(|id| (id, chunk.pair(id)))
}

/// The chunks of one target as readers see them: after admission, indexed.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    chunks: Arc<[Arc<IndexedChunk>]>,
    live: usize,
}

impl Layout {
    /// Puts chunks together in slot order.
    pub fn new(chunks: Vec<Arc<IndexedChunk>>) -> Layout {
        let live = chunks.iter().map(|chunk| chunk.live()).sum();
        Layout { chunks: chunks.into(), live }
    }

    /// Chunk `n` holds the slots from `n * CHUNK_SLOTS` on.
    pub fn chunks(&self) -> &[Arc<IndexedChunk>] {
        &self.chunks
    }

    /// Series in all chunks.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Whether both are the very same chunks.
    pub fn is_same(&self, other: &Layout) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }
}

/// Shares what equal chunks and equal names have in common, for the whole store.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    lists: Lists,
    /// By the chunk's address. An entry holds for as long as its `IndexedChunk`, which keeps the chunk there.
    chunks: DashMap<usize, Weak<IndexedChunk>>,
}

impl Layouts {
    /// The index of `chunk`, built at first sight.
    pub(super) fn index(&self, chunk: &Arc<Chunk>) -> Arc<IndexedChunk> {
        let address = Arc::as_ptr(chunk) as usize;
        if let Some(known) = self.chunks.get(&address).and_then(|known| known.upgrade()) {
            return known;
        }
        let built = Arc::new(IndexedChunk::build(chunk.clone(), &self.lists, |_| true));
        self.chunks.insert(address, Arc::downgrade(&built));
        built
    }

    /// An index of the slots that `keep` names, not shared.
    pub(super) fn index_some(&self, chunk: &Arc<Chunk>, keep: impl Fn(usize) -> bool) -> Arc<IndexedChunk> {
        Arc::new(IndexedChunk::build(chunk.clone(), &self.lists, keep))
    }

    /// Forgets what no view uses any more.
    pub(super) fn sweep(&self) {
        self.chunks.retain(|_, known| known.strong_count() > 0);
        self.lists.sweep();
    }
}

#[derive(Debug, Default)]
struct Lists {
    names: DashSet<Arc<str>>,
    lists: DashSet<NameList>,
}

impl Lists {
    fn intern(&self, names: &[&str]) -> NameList {
        let list: NameList = names.iter().map(|name| self.intern_name(name)).collect();
        if let Some(known) = self.lists.get(&list) {
            return known.key().clone();
        }
        // Two threads may build the same list: `insert` keeps the first, and both then read that one.
        self.lists.insert(list.clone());
        self.lists.get(&list).map_or(list, |known| known.key().clone())
    }

    fn intern_name(&self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.key().clone();
        }
        self.names.insert(name.into());
        self.names.get(name).map_or_else(|| name.into(), |known| known.key().clone())
    }

    fn sweep(&self) {
        self.lists.retain(|list| Arc::strong_count(list) > 1);
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }
}
