//! A schema as readers walk it: each chunk with its slots ordered by metric name.
//!
//! Invariant: an [`IndexedChunk`] is a pure function of its chunk, so equal chunks share one, and a schema change builds
//! new ones for the changed chunks only. Names are interned for the whole store: equal names are the same `Arc`, so a
//! reader decides a name once for all chunks and groups by pointer, not by text.

use std::sync::{Arc, Weak};

use dashmap::{DashMap, DashSet};

use crate::snapshot::{Chunk, NameId, Pair, PairId};

/// The slots of one metric name in one chunk.
#[derive(Debug)]
pub struct NameRun {
    /// The metric name, interned.
    pub name: Arc<str>,
    /// The name in the chunk's own table.
    pub id: NameId,
    start: u16,
    end: u16,
}

/// A chunk and its slots by name.
#[derive(Debug)]
pub struct IndexedChunk {
    chunk: Arc<Chunk>,
    runs: Box<[NameRun]>,
    slots: Box<[u8]>,
    /// One bit for each label name's hash: most chunks without a label are known as such without reading their pairs.
    label_bits: u64,
}

impl IndexedChunk {
    fn build(chunk: Arc<Chunk>, names: &Names, keep: impl Fn(usize) -> bool) -> IndexedChunk {
        let mut order: Vec<(u16, u8)> = Vec::with_capacity(chunk.len());
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
                _ => runs.push(NameRun {
                    name: names.intern(chunk.name(NameId(*id))),
                    id: NameId(*id),
                    start: end - 1,
                    end,
                }),
            }
        }
        runs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let label_bits = pairs_of(&chunk).fold(0, |bits, (_, pair)| bits | label_bit(pair.name));
        IndexedChunk { chunk, runs: runs.into(), slots, label_bits }
    }

    /// Whether some series may have a pair of the label `name`; `false` is certain.
    pub fn may_have_label(&self, name: &str) -> bool {
        self.label_bits & label_bit(name) != 0
    }

    /// The chunk itself.
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// Its names in byte order, each once.
    pub fn runs(&self) -> &[NameRun] {
        &self.runs
    }

    /// The slots of one of [`IndexedChunk::runs`], ascending.
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

/// The metric names of a chunk's table, in the order of their numbers.
pub(super) fn names_of(chunk: &Chunk) -> impl Iterator<Item = &str> {
    (0..chunk.names()).map(|id| chunk.name(NameId(id as u16)))
}

/// The pairs of a chunk's table with their numbers.
pub(super) fn pairs_of(chunk: &Chunk) -> impl Iterator<Item = (PairId, Pair<'_>)> {
    (0..chunk.pairs()).map(|id| PairId(id as u16)).map(|id| (id, chunk.pair(id)))
}

fn label_bit(name: &str) -> u64 {
    1 << (xxhash_rust::xxh3::xxh3_64(name.as_bytes()) & 63)
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
    names: Names,
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
        let built = Arc::new(IndexedChunk::build(chunk.clone(), &self.names, |_| true));
        self.chunks.insert(address, Arc::downgrade(&built));
        built
    }

    /// An index of the slots that `keep` names, not shared.
    pub(super) fn index_some(&self, chunk: &Arc<Chunk>, keep: impl Fn(usize) -> bool) -> Arc<IndexedChunk> {
        Arc::new(IndexedChunk::build(chunk.clone(), &self.names, keep))
    }

    /// Forgets what no view uses any more.
    pub(super) fn sweep(&self) {
        self.chunks.retain(|_, known| known.strong_count() > 0);
        self.names.0.retain(|name| Arc::strong_count(name) > 1);
    }
}

#[derive(Debug, Default)]
struct Names(DashSet<Arc<str>>);

impl Names {
    fn intern(&self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.key().clone();
        }
        // Two threads may build the same name: `insert` keeps the first, and both then read that one.
        self.0.insert(name.into());
        self.0.get(name).map_or_else(|| name.into(), |known| known.key().clone())
    }
}
