//! The label sets of a vector.
//!
//! Invariant: rows never change once they are shared. They are lists of blocks, each shared in its turn: a block of a
//! selected chunk is the same `Arc` from one evaluation to the next for as long as chunk and target are, so what was worked out
//! from its labels (groups, matches) can be kept with it. Taking the metric's name away only marks a part, and gives the same
//! `Arc` each time.

use std::sync::{Arc, OnceLock};

use super::keys::{KeyLabels, KeyShelf, SlotLabels};
use crate::model::{Labels, LabelsBuilder, LabelsWriter, METRIC_NAME, METRIC_TYPE, METRIC_UNIT};
use crate::snapshot::CHUNK_SLOTS;
use crate::store::IndexedChunk;

/// Rows that are shared as one.
#[derive(Debug)]
pub struct Block {
    content: Content,
    has_one_name: OnceLock<bool>,
    /// The same without type and unit, which go with the name; `None` where no row has them.
    untyped: OnceLock<Option<Arc<Block>>>,
    keys: KeyShelf,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Label sets that an operation made.
    Built(Box<[Labels]>),
    /// Slots of one chunk of a target, with what its series have without saying so.
    Slots { chunk: Arc<IndexedChunk>, slots: Box<[u8]>, target: Arc<Labels>, inventory: Arc<Labels> },
}

impl Block {
    fn new(content: Content) -> Block {
        Block { content, has_one_name: OnceLock::new(), untyped: OnceLock::new(), keys: KeyShelf::default() }
    }

    /// Of label sets.
    pub fn built(labels: Vec<Labels>) -> Block {
        Block::new(Content::Built(labels.into()))
    }

    /// Of `slots` of a chunk, in this order. The chunk's own labels stand before the target's, these before the inventory's.
    pub fn slots(chunk: Arc<IndexedChunk>, slots: Box<[u8]>, target: Arc<Labels>, inventory: Arc<Labels>) -> Block {
        Block::new(Content::Slots { chunk, slots, target, inventory })
    }

    /// Of slots of a chunk that stands where that of `before` stood. What is known of rows whose series are the same stays known.
    pub(super) fn following(
        before: &Block,
        chunk: Arc<IndexedChunk>,
        slots: Box<[u8]>,
        target: Arc<Labels>,
        inventory: Arc<Labels>,
    ) -> Block {
        let from = before.rows_still_there(&chunk, &slots);
        let keys = from.map_or_else(KeyShelf::default, |from| before.keys.carried(&from));
        Block { keys, ..Block::slots(chunk, slots, target, inventory) }
    }

    /// For each of the slots of a later chunk the row that had its series.
    fn rows_still_there(&self, new: &IndexedChunk, slots: &[u8]) -> Option<Vec<Option<usize>>> {
        let Content::Slots { chunk, slots: own, .. } = &self.content else { return None };
        let mut rows = [None; CHUNK_SLOTS];
        own.iter().enumerate().for_each(|(row, slot)| rows[usize::from(*slot)] = Some(row));
        let mut is_same = chunk.chunk().same_series(new.chunk());
        let row = |slot: &u8| rows[usize::from(*slot)].filter(|_| is_same(usize::from(*slot)));
        Some(slots.iter().map(row).collect())
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
        self.all_labels(true).of(row)
    }

    /// For reading the label sets of many rows.
    pub(super) fn all_labels(&self, with_name: bool) -> BlockLabels<'_> {
        match &self.content {
            Content::Built(labels) => BlockLabels::Built { labels, with_name },
            Content::Slots { chunk, slots, target, inventory } => {
                let labels = SlotLabels::new(chunk, target, inventory, &KeyLabels::all());
                BlockLabels::Slots { labels, slots, with_name }
            }
        }
    }

    /// The metric name of a row, empty where it has none.
    pub fn name(&self, row: usize) -> &str {
        match &self.content {
            Content::Built(labels) => labels[row].metric_name(),
            Content::Slots { chunk, slots, .. } => {
                let chunk = chunk.chunk();
                chunk.name_of(usize::from(slots[row])).map_or("", |name| chunk.name(name))
            }
        }
    }

    /// Whether all rows have the same metric name, or none.
    pub(super) fn has_one_name(&self) -> bool {
        *self.has_one_name.get_or_init(|| (1..self.len()).all(|row| self.name(row) == self.name(0)))
    }

    /// Rows for those whose names are taken away: type and unit go with them. Mostly there are none, and it is the same block.
    fn untyped(self: &Arc<Block>) -> Arc<Block> {
        let untyped = self.untyped.get_or_init(|| self.may_say_type().then(|| Arc::new(self.made_untyped())));
        untyped.as_ref().unwrap_or(self).clone()
    }

    fn made_untyped(&self) -> Block {
        let labels = self.all_labels(true);
        let row = |row| LabelsBuilder::from_labels(&labels.of(row)).remove(METRIC_TYPE).remove(METRIC_UNIT).build();
        // Rows may have been told apart by what is gone.
        Block { has_one_name: false.into(), ..Block::built((0..self.len()).map(row).collect()) }
    }

    fn may_say_type(&self) -> bool {
        match &self.content {
            Content::Built(labels) => labels.iter().any(says_type),
            Content::Slots { chunk, target, inventory, .. } => {
                let has = |name: &&str| chunk.labels().binary_search_by(|own| (**own).cmp(name)).is_ok();
                [METRIC_TYPE, METRIC_UNIT].iter().any(has) || says_type(target) || says_type(inventory)
            }
        }
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    pub(super) fn keys(&self) -> &KeyShelf {
        &self.keys
    }
}

/// Both labels stand before all that begin with a small letter.
fn says_type(labels: &Labels) -> bool {
    let mut first = labels.iter().map(|(name, _)| name).take_while(|name| *name <= METRIC_UNIT);
    first.any(|name| matches!(name, METRIC_TYPE | METRIC_UNIT))
}

/// A block's label sets, with what they have in common looked at.
pub(super) enum BlockLabels<'a> {
    Built { labels: &'a [Labels], with_name: bool },
    Slots { labels: SlotLabels<'a>, slots: &'a [u8], with_name: bool },
}

impl BlockLabels<'_> {
    pub(super) fn of(&self, row: usize) -> Labels {
        match self {
            BlockLabels::Slots { labels, slots, with_name } => labels.labels(slots[row], *with_name),
            BlockLabels::Built { labels, with_name } if *with_name || labels[row].get(METRIC_NAME).is_none() => {
                labels[row].clone()
            }
            BlockLabels::Built { labels, .. } => LabelsBuilder::from_labels(&labels[row]).remove(METRIC_NAME).build(),
        }
    }
}

/// Reads the label sets of many rows without one of its own for each.
pub struct LabelsReader<'a> {
    rows: &'a Rows,
    /// Where the last row was found.
    part: Option<(&'a Part, BlockLabels<'a>)>,
    written: LabelsWriter,
}

impl<'a> LabelsReader<'a> {
    /// The labels of a row, ascending by name; best asked for in ascending order of rows.
    pub fn pairs(&mut self, row: usize) -> impl Iterator<Item = (&str, &str)> {
        let is_in = |(part, _): &(&Part, BlockLabels<'_>)| row.wrapping_sub(part.first) < part.block.len();
        let (part, labels) = match self.part.take().filter(is_in) {
            Some(known) => self.part.insert(known),
            None => {
                let part = self.rows.part_of(row).0;
                self.part.insert((part, part.block.all_labels(!part.is_nameless)))
            }
        };
        let (row, with_name) = (row - part.first, !part.is_nameless);
        let pairs = match labels {
            BlockLabels::Built { labels, .. } => labels[row].iter(),
            BlockLabels::Slots { labels, slots, with_name } => {
                labels.write_slot(&mut self.written, slots[row], *with_name);
                self.written.iter()
            }
        };
        pairs.filter(move |(name, _)| with_name || *name != METRIC_NAME)
    }
}

/// Blocks, one after the other.
#[derive(Debug, Default)]
pub struct Rows {
    parts: Vec<Part>,
    len: usize,
    had_one_name: OnceLock<bool>,
    nameless: OnceLock<Arc<Rows>>,
}

/// A block among others.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) block: Arc<Block>,
    /// Row of the block's first one.
    first: usize,
    /// Whether an operation took the metric's name away.
    pub(super) is_nameless: bool,
}

impl Rows {
    /// Of blocks in this order.
    pub fn new(blocks: impl IntoIterator<Item = Arc<Block>>) -> Rows {
        Rows::of_parts(blocks.into_iter().map(|block| Part { block, first: 0, is_nameless: false }))
    }

    /// Of one label set each.
    pub fn built(labels: Vec<Labels>) -> Arc<Rows> {
        Arc::new(Rows::new([Arc::new(Block::built(labels))]))
    }

    /// One's rows, then the other's.
    pub(super) fn joined(one: &Rows, other: &Rows) -> Rows {
        Rows::of_parts(one.parts.iter().chain(&other.parts).cloned())
    }

    fn of_parts(parts: impl IntoIterator<Item = Part>) -> Rows {
        let mut rows = Rows::default();
        for part in parts.into_iter().filter(|part| !part.block.is_empty()) {
            let first = rows.len;
            rows.len += part.block.len();
            rows.parts.push(Part { first, ..part });
        }
        rows
    }

    /// The same without the metric's name, type and unit: the same `Arc` each time.
    pub fn without_names(self: &Arc<Self>) -> Arc<Rows> {
        if self.parts.iter().all(|part| part.is_nameless) {
            return self.clone();
        }
        let nameless = |part: &Part| match part.is_nameless {
            true => part.clone(),
            false => Part { block: part.block.untyped(), first: part.first, is_nameless: true },
        };
        let parts = || self.parts.iter().map(nameless);
        self.nameless.get_or_init(|| Arc::new(Rows::of_parts(parts()))).clone()
    }

    /// The same without the metric's name alone.
    pub(super) fn without_bare_names(self: &Arc<Self>) -> Arc<Rows> {
        let is_typed = |part: &Part| !Arc::ptr_eq(&part.block, &part.block.untyped());
        if !self.parts.iter().any(is_typed) {
            return self.without_names();
        }
        Arc::new(Rows::of_parts(self.parts.iter().map(|part| Part { is_nameless: true, ..part.clone() })))
    }

    /// Whether names that were taken away may have been all that told some rows apart: not where it was one and the same.
    pub(super) fn may_repeat(&self) -> bool {
        self.parts.iter().any(|part| part.is_nameless) && !self.had_one_name()
    }

    /// Whether all rows had the same metric name at first, or none.
    pub(super) fn had_one_name(&self) -> bool {
        let one_name = || {
            let Some(first) = self.parts.first() else { return true };
            let name = first.block.name(0);
            self.parts.iter().all(|part| part.block.name(0) == name && part.block.has_one_name())
        };
        *self.had_one_name.get_or_init(one_name)
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn part_of(&self, row: usize) -> (&Part, usize) {
        let part = &self.parts[self.parts.partition_point(|part| part.first <= row) - 1];
        (part, row - part.first)
    }

    /// The label set of a row. For many rows [`Rows::labels_where`] is quicker.
    pub fn labels(&self, row: usize) -> Labels {
        let (part, row) = self.part_of(row);
        part.block.all_labels(!part.is_nameless).of(row)
    }

    /// The label sets of the rows that are wanted, with their numbers, in order.
    pub fn labels_where<'a>(
        &'a self,
        is_wanted: impl Fn(usize) -> bool + Copy + 'a,
    ) -> impl Iterator<Item = (usize, Labels)> + 'a {
        self.parts.iter().flat_map(move |part| {
            let labels = part.block.all_labels(!part.is_nameless);
            let rows = (0..part.block.len()).filter(move |row| is_wanted(part.first + row));
            rows.map(move |row| (part.first + row, labels.of(row)))
        })
    }

    /// Reads the labels of one row after the other.
    pub fn reader(&self) -> LabelsReader<'_> {
        LabelsReader { rows: self, part: None, written: LabelsWriter::default() }
    }

    /// The metric name of a row, empty where it has none or lost it.
    pub fn name(&self, row: usize) -> &str {
        let (part, row) = self.part_of(row);
        part.name(row)
    }
}

impl Part {
    fn name(&self, row: usize) -> &str {
        if self.is_nameless { "" } else { self.block.name(row) }
    }
}
