//! The label sets of a vector.
//!
//! Invariant: rows never change once they are shared. They are lists of blocks, each shared in its turn: a block of a
//! selected chunk is the same `Arc` from one evaluation to the next for as long as chunk and target are, so what was worked out
//! from its labels (groups, matches) can be kept with it.

use std::sync::Arc;

use crate::model::{Labels, LabelsBuilder, METRIC_NAME};
use crate::store::IndexedChunk;

/// Rows that are shared as one.
#[derive(Debug)]
pub struct Block {
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Label sets that an operation made.
    Built(Box<[Labels]>),
    /// Slots of one chunk of a target, with what its series have without saying so.
    Slots { chunk: Arc<IndexedChunk>, slots: Box<[u8]>, target: Arc<Labels>, inventory: Arc<Labels> },
}

impl Block {
    /// Of label sets.
    pub fn built(labels: Vec<Labels>) -> Block {
        Block { content: Content::Built(labels.into()) }
    }

    /// Of `slots` of a chunk, in this order. The chunk's own labels stand before the target's, these before the inventory's.
    pub fn slots(chunk: Arc<IndexedChunk>, slots: Box<[u8]>, target: Arc<Labels>, inventory: Arc<Labels>) -> Block {
        Block { content: Content::Slots { chunk, slots, target, inventory } }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match &self.content {
            Content::Built(labels) => labels.len(),
            Content::Slots { slots, .. } => slots.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label set of a row.
    pub fn labels(&self, row: usize) -> Labels {
        match &self.content {
            Content::Built(labels) => labels[row].clone(),
            Content::Slots { chunk, slots, target, inventory } => {
                let own = chunk.chunk().labels(usize::from(slots[row]), target).unwrap_or_default();
                let mut builder = LabelsBuilder::from_labels(inventory);
                own.iter().for_each(|(name, value)| {
                    builder.set(name, value);
                });
                builder.build()
            }
        }
    }
}

/// Blocks, one after the other.
#[derive(Debug, Default)]
pub struct Rows {
    parts: Vec<Part>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Part {
    block: Arc<Block>,
    /// Row of the block's first one.
    first: usize,
    /// Whether an operation took the metric's name away.
    is_nameless: bool,
}

impl Rows {
    /// Of blocks in this order.
    pub fn new(blocks: impl IntoIterator<Item = Arc<Block>>) -> Rows {
        let mut rows = Rows::default();
        for block in blocks {
            let (first, len) = (rows.len, block.len());
            rows.parts.push(Part { block, first, is_nameless: false });
            rows.len += len;
        }
        rows
    }

    /// The same without the metric's name.
    pub fn without_names(&self) -> Rows {
        let parts = self.parts.iter().map(|part| Part { is_nameless: true, ..part.clone() }).collect();
        Rows { parts, len: self.len }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The label set of a row.
    pub fn labels(&self, row: usize) -> Labels {
        let at = self.parts.partition_point(|part| part.first <= row) - 1;
        let part = &self.parts[at];
        let labels = part.block.labels(row - part.first);
        if !part.is_nameless || labels.get(METRIC_NAME).is_none() {
            return labels;
        }
        LabelsBuilder::from_labels(&labels).remove(METRIC_NAME).build()
    }
}
