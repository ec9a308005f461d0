//! A schema: the list of a target's slots, in chunks.
//!
//! Invariant: a schema is named by the hash of its chunks' hashes, so two with the same name list the same series in the
//! same slots, whoever built them. It knows nothing of its target: labels that the target gives to all series are not in it,
//! and a thousand identical exporters share one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::fast::RandomState;

use super::changes::SlotSet;
use super::chunk::{CHUNK_SLOTS, Chunk, ChunkHash, hash_128};

/// BLAKE3 of the chunks' hashes, cut to 16 bytes. Shown as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaHash(pub [u8; 16]);

impl fmt::Display for SchemaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SchemaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The slots of a target, immutable and shared.
#[derive(Debug)]
pub struct Schema {
    hash: SchemaHash,
    chunks: Vec<Arc<Chunk>>,
}

impl Schema {
    /// A schema of these chunks, in this order; all but the last are meant to have 256 slots.
    pub fn new(chunks: Vec<Arc<Chunk>>) -> Schema {
        let hashes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.hash().0).collect();
        Schema { hash: SchemaHash(hash_128(&hashes)), chunks }
    }

    /// Its name.
    pub fn hash(&self) -> SchemaHash {
        self.hash
    }

    /// Its chunks; slot `n` stands in chunk `n / 256` at `n % 256`.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// How many slots there are, free ones included.
    pub fn slots(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_SLOTS;
        full + self.chunks.last().map_or(0, |last| last.len())
    }

    /// How many slots hold a series.
    pub fn live(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.live()).sum()
    }
}

/// The slots that do not hold the same series in both, by chunk of the new schema. Metadata may differ. This decides what both
/// ends of a stream remember of a slot when its target's schema changes.
pub fn redefined(old: &Schema, new: &Schema) -> Vec<(usize, SlotSet)> {
    let differing = |(at, chunk): (usize, &Arc<Chunk>)| {
        let before = old.chunks.get(at)?;
        let is_same = Arc::ptr_eq(before, chunk) || before.hash() == chunk.hash();
        (!is_same).then(|| (at, before.redefined(chunk)))
    };
    new.chunks.iter().enumerate().filter_map(differing).collect()
}

impl PartialEq for Schema {
    fn eq(&self, other: &Schema) -> bool {
        self.hash == other.hash
    }
}

/// Chunks and schemas by hash, so that equal ones of many streams lie in memory once. It keeps nothing alive.
#[derive(Debug, Default)]
pub struct SchemaCache {
    schemas: Mutex<Shelf<SchemaHash, Schema>>,
    chunks: Mutex<Shelf<ChunkHash, Chunk>>,
}

impl SchemaCache {
    /// An empty cache.
    pub fn new() -> SchemaCache {
        SchemaCache::default()
    }

    /// The chunk with this hash, if someone still holds it.
    pub(super) fn chunk(&self, hash: ChunkHash) -> Option<Arc<Chunk>> {
        lock(&self.chunks).get(hash)
    }

    /// The one that is there already, or this one from now on.
    pub(super) fn share_chunk(&self, chunk: Chunk) -> Arc<Chunk> {
        lock(&self.chunks).share(chunk.hash(), Arc::new(chunk))
    }

    /// The one that is there already, or this one from now on.
    pub(super) fn share_schema(&self, schema: Schema) -> Arc<Schema> {
        lock(&self.schemas).share(schema.hash(), Arc::new(schema))
    }

    /// How many chunks are alive.
    pub fn chunks(&self) -> usize {
        lock(&self.chunks).entries.values().filter(|entry| entry.strong_count() > 0).count()
    }
}

/// A panic elsewhere leaves the maps whole: every change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Entries below which a [`Shelf`] is not swept.
const SWEEP_MIN: usize = 1024;

/// Weak pointers by hash, swept of dead ones each time it has doubled.
#[derive(Debug)]
struct Shelf<K, V> {
    entries: HashMap<K, Weak<V>, RandomState>,
    sweep_at: usize,
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Shelf<K, V> {
        Shelf { entries: HashMap::default(), sweep_at: SWEEP_MIN }
    }
}

impl<K: std::hash::Hash + Eq, V> Shelf<K, V> {
    fn get(&self, key: K) -> Option<Arc<V>> {
        self.entries.get(&key).and_then(Weak::upgrade)
    }

    fn share(&mut self, key: K, value: Arc<V>) -> Arc<V> {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, entry| entry.strong_count() > 0);
            self.sweep_at = (2 * self.entries.len()).max(SWEEP_MIN);
        }
        let entry = self.entries.entry(key).or_default();
        entry.upgrade().unwrap_or_else(|| {
            *entry = Arc::downgrade(&value);
            value
        })
    }
}
