//! A target's newest values, slot by slot beside its schema.
//!
//! Chunks of 256 values are copy-on-write: a reader holds a clone for as long as it likes, a writer copies only the chunks
//! that it changes. So a view costs what changed since the one before, not what it holds.
//!
//! Invariant: a slot without a sample holds the stale marker, the padding behind the last slot included.

use std::sync::{Arc, LazyLock};

use super::beside::Beside;
use super::chunk::CHUNK_SLOTS;
use crate::model::{HistogramCounts, STALE_NAN, stale_nan};

/// The values of one chunk's slots; those behind the schema's end are stale markers.
pub type ColumnChunk = [f64; CHUNK_SLOTS];

/// The chunk without any sample, shared by all columns until they write.
static STALE_CHUNK: LazyLock<Arc<ColumnChunk>> = LazyLock::new(|| Arc::new([stale_nan(); CHUNK_SLOTS]));

/// One `f64` a slot in shared chunks. A clone costs eight bytes a chunk.
#[derive(Clone, Debug, Default)]
pub struct Column {
    chunks: Vec<Arc<ColumnChunk>>,
    slots: usize,
}

impl Column {
    /// A column of `slots` slots without a sample; takes memory only once it is written.
    pub fn stale(slots: usize) -> Column {
        let mut column = Column::default();
        column.resize(slots);
        column
    }

    /// A column with these values.
    pub fn from_values(values: &[f64]) -> Column {
        let mut column = Column::stale(values.len());
        for (at, part) in values.chunks(CHUNK_SLOTS).enumerate() {
            column.chunk_mut(at)[..part.len()].copy_from_slice(part);
        }
        column
    }

    /// How many slots there are, empty ones included.
    pub fn len(&self) -> usize {
        self.slots
    }

    /// Whether there is no slot at all.
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// The slot's value, the stale marker where it has no sample. Panics behind the end.
    #[inline]
    pub fn get(&self, slot: usize) -> f64 {
        assert!(slot < self.slots, "slot {slot} of a column with {} slots", self.slots);
        self.chunks[slot / CHUNK_SLOTS][slot % CHUNK_SLOTS]
    }

    /// The values in chunks of [`CHUNK_SLOTS`], beside [`super::Schema::chunks`].
    pub fn chunks(&self) -> &[Arc<ColumnChunk>] {
        &self.chunks
    }

    /// All values in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.chunks.iter().flat_map(|chunk| chunk.iter().copied()).take(self.slots)
    }

    /// Writes one slot; copies its chunk if someone else still reads it.
    pub fn set(&mut self, slot: usize, value: f64) {
        assert!(slot < self.slots, "slot {slot} of a column with {} slots", self.slots);
        self.chunk_mut(slot / CHUNK_SLOTS)[slot % CHUNK_SLOTS] = value;
    }

    /// One chunk to write; copied first if someone else still reads it.
    pub(super) fn chunk_mut(&mut self, chunk: usize) -> &mut ColumnChunk {
        Arc::make_mut(&mut self.chunks[chunk])
    }

    /// Cuts or extends to `slots` slots; new ones are stale.
    pub fn resize(&mut self, slots: usize) {
        self.chunks.resize_with(slots.div_ceil(CHUNK_SLOTS), || STALE_CHUNK.clone());
        let padding = slots % CHUNK_SLOTS;
        if slots < self.slots && padding > 0 {
            let last = Arc::make_mut(self.chunks.last_mut().expect("slots above zero have a chunk"));
            last[padding..].fill(stale_nan());
        }
        self.slots = slots;
    }
}

/// Equal bits in every slot, so that NaNs compare too.
impl PartialEq for Column {
    fn eq(&self, other: &Column) -> bool {
        self.slots == other.slots && self.iter().zip(other.iter()).all(|(one, two)| one.to_bits() == two.to_bits())
    }
}

/// xxh3-64 over the bits of all chunks, padding included, and over slot, count and sum of the histograms beside them: what both
/// ends of a stream compare now and then.
pub(super) fn check_chunks<'a>(chunks: impl Iterator<Item = &'a [f64]>, beside: &Beside) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    let mut bytes = [0u8; CHUNK_SLOTS * 8];
    for chunk in chunks {
        for (eight, value) in bytes.chunks_exact_mut(8).zip(chunk) {
            eight.copy_from_slice(&value.to_bits().to_le_bytes());
        }
        hasher.update(&bytes[..chunk.len() * 8]);
    }
    for (slot, sample) in &beside.histograms {
        let count = match &sample.histogram.counts {
            HistogramCounts::Integer(counts) => counts.count,
            HistogramCounts::Float(counts) => counts.count.to_bits(),
        };
        for number in [u64::from(*slot), count, sample.histogram.sum.to_bits()] {
            hasher.update(&number.to_le_bytes());
        }
    }
    hasher.digest()
}

/// Whether the bits say that a slot holds no sample.
#[inline]
pub(super) fn is_absent(bits: u64) -> bool {
    bits == STALE_NAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_saw_and_shares_the_rest() {
        let mut column = Column::from_values(&vec![1.0; 600]);
        let before = column.clone();
        column.set(300, 2.0);
        assert_eq!((before.get(300), column.get(300)), (1.0, 2.0));
        assert!(Arc::ptr_eq(&before.chunks[0], &column.chunks[0]), "an unchanged chunk is shared");
        assert!(!Arc::ptr_eq(&before.chunks[1], &column.chunks[1]));
    }

    #[test]
    fn a_column_cut_and_extended_again_has_no_old_values() {
        let mut column = Column::from_values(&vec![1.0; 300]);
        column.resize(270);
        column.resize(300);
        assert_eq!(column.get(269), 1.0);
        assert!(column.iter().skip(270).all(|value| value.to_bits() == STALE_NAN));
    }
}
