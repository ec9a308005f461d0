//! The collector's side of a schema: which series of a target has which slot.
//!
//! Invariant: a series keeps its slot until it is removed, and slots of removed series are given away again, so a schema is
//! hardly longer than the most series that its target ever had at once. Whoever removes a series has sent its end; where a slot
//! is given to another series within one scrape, the new schema itself ends the old one.
//!
//! Only chunks that changed are built again: [`SlotTable::schema`] costs O(changed), and shares the rest with the schema before.
//! To keep that small where series come and go all over a page, a removed series stays in the schema (without a sample) until
//! its slot is needed or too many are like it, and new series fill one chunk before they begin on the next. A series that comes
//! back by then has its old slot again, and the schema has not changed at all.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use super::chunk::{CHUNK_SLOTS, CHUNK_TEXT_MAX, Chunk, Family};
use super::own_labels::{OwnLabels, SlotError};
use super::schema::Schema;
use super::tables::ChunkBuilder;
use crate::model::{Labels, METRIC_NAME, Metadata};

/// Slots of one target at most: 16 million.
pub const TARGET_SLOTS_MAX: usize = 1 << 24;
/// Bytes of a help text or unit; the rest is cut off.
pub const HELP_BYTES_MAX: usize = 4 << 10;
/// Free slots below which a table is never compacted.
const COMPACT_MIN: usize = 4 * CHUNK_SLOTS;
/// Removed series that stay in the schema, as a part of all slots; below [`ENDED_MIN`] they always may. A greater part than
/// [`AVAILABLE_SHARE`]: while others come in their place, new series take their slots before there are too many, and no chunk
/// is built again only to forget them.
const ENDED_SHARE: usize = 7;
const ENDED_MIN: usize = 64;
/// Slots that a chunk must have to give before new series fill it, and the part of all slots that may lie idle for that.
const FILLING_MIN: u16 = 32;
const AVAILABLE_SHARE: usize = 8;

/// The same with help and unit of at most [`HELP_BYTES_MAX`] bytes.
fn cut_metadata(metadata: &Metadata) -> Metadata {
    let cut = |text: &str| text[..text.floor_char_boundary(HELP_BYTES_MAX)].into();
    Metadata { kind: metadata.kind, help: cut(&metadata.help), unit: cut(&metadata.unit) }
}

/// A slot that is in the schema.
struct Slot {
    labels: OwnLabels,
    family: u32,
    /// Its series was removed.
    is_ended: bool,
}

/// A family of the target; kept as long as the table, for pages have few.
struct FamilyEntry {
    name: Box<str>,
    metadata: Metadata,
}

/// The slots of one target; see the module's page.
#[derive(Default)]
pub struct SlotTable {
    /// What is in each slot.
    slots: Vec<Option<Slot>>,
    /// Slots in the schema by the hash of their labels.
    by_labels: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    /// How many slots of each chunk can be given away: free ones and those of removed series.
    available: Vec<u16>,
    /// The chunk that new series fill.
    filling: usize,
    /// Labels of so many bytes or more found no chunk worth filling, and nothing was given back since: they go behind the end
    /// without looking, or every new series would walk through all chunks.
    in_vain: Option<usize>,
    #[cfg(test)]
    searches: usize,
    /// Removed series that are still in the schema.
    ended: usize,
    families: Vec<FamilyEntry>,
    families_by_name: HashMap<Box<str>, u32>,
    /// Bytes of the labels in each chunk.
    text_bytes: Vec<usize>,
    /// The newest build of each chunk, `None` where it changed since.
    chunks: Vec<Option<Arc<Chunk>>>,
    schema: Option<Arc<Schema>>,
}

impl SlotTable {
    /// A table without slots.
    pub fn new() -> SlotTable {
        SlotTable::default()
    }

    /// The table whose schema this is, of a target without labels: series without a sample are ended and may give up their slots.
    pub fn from_schema(schema: &Arc<Schema>, has_sample: impl Fn(u32) -> bool) -> SlotTable {
        let mut table = SlotTable::new();
        for (number, chunk) in schema.chunks().iter().enumerate() {
            table.available.push(0);
            table.text_bytes.push(0);
            for at in 0..chunk.len() {
                let labels = chunk.labels(at, &Labels::empty()).zip(chunk.name_of(at));
                let Some((labels, name)) = labels else {
                    table.available[number] += 1;
                    table.slots.push(None);
                    continue;
                };
                let family = chunk.family_of(name);
                let metadata = Metadata { kind: family.kind, help: family.help.into(), unit: family.unit.into() };
                let is_ended = !has_sample(table.slots.len() as u32);
                table.put(OwnLabels::from(&labels), (family.name, &metadata), is_ended);
            }
        }
        table.chunks = schema.chunks().iter().cloned().map(Some).collect();
        table.schema = Some(schema.clone());
        table
    }

    /// A series in the slot behind the end.
    fn put(&mut self, labels: OwnLabels, (family, metadata): (&str, &Metadata), is_ended: bool) {
        let (slot, chunk) = (self.slots.len() as u32, self.slots.len() / CHUNK_SLOTS);
        self.text_bytes[chunk] += labels.text_bytes() + family.len();
        self.available[chunk] += u16::from(is_ended);
        self.ended += usize::from(is_ended);
        let (hash, family) = (self.hasher.hash_one(&labels), self.family(family, metadata));
        self.slots.push(Some(Slot { labels, family, is_ended }));
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_labels.insert_unique(hash, slot, |other| hash_of(slots, hasher, *other));
    }

    /// How many slots there are, free ones included: the length of a scrape's values.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.by_labels.len() - self.ended
    }

    /// The slot of a series, if it has one.
    pub fn find(&self, labels: &OwnLabels) -> Option<u32> {
        self.find_defined(labels).filter(|slot| self.labels(*slot).is_some())
    }

    /// The labels of a slot's series, `None` where it has none any more.
    pub fn labels(&self, slot: u32) -> Option<&OwnLabels> {
        self.slots.get(slot as usize)?.as_ref().filter(|slot| !slot.is_ended).map(|slot| &slot.labels)
    }

    /// Gives a series a slot, the one it has or had if that is still its own. A family that is known keeps its metadata (see
    /// [`SlotTable::set_metadata`]).
    pub fn insert(&mut self, labels: OwnLabels, family: &str, metadata: &Metadata) -> Result<u32, SlotError> {
        labels.check(family)?;
        let family_number = self.family(family, metadata);
        if let Some(slot) = self.find_defined(&labels) {
            self.revive(slot, family_number);
            return Ok(slot);
        }
        let slot = self.take_slot(labels.text_bytes() + family.len())?;
        self.text_bytes[slot as usize / CHUNK_SLOTS] += labels.text_bytes() + family.len();
        let hash = self.hasher.hash_one(&labels);
        self.slots[slot as usize] = Some(Slot { labels, family: family_number, is_ended: false });
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_labels.insert_unique(hash, slot, |other| hash_of(slots, hasher, *other));
        self.touch(slot as usize / CHUNK_SLOTS);
        Ok(slot)
    }

    /// Ends a series: its slot may be given to another from now on. Nothing happens where there is none.
    pub fn remove(&mut self, slot: u32) {
        let Some(Some(removed)) = self.slots.get_mut(slot as usize) else { return };
        if std::mem::replace(&mut removed.is_ended, true) {
            return;
        }
        self.available[slot as usize / CHUNK_SLOTS] += 1;
        self.in_vain = None;
        self.ended += 1;
        if self.ended > ENDED_MIN.max(self.slots.len() / ENDED_SHARE) {
            self.forget_ended();
        }
    }

    /// Says what a family's metadata is from now on. Help and unit are cut at [`HELP_BYTES_MAX`].
    pub fn set_metadata(&mut self, family: &str, metadata: &Metadata) {
        let metadata = cut_metadata(metadata);
        let known = self.family(family, &metadata);
        if self.families[known as usize].metadata == metadata {
            return;
        }
        self.families[known as usize].metadata = metadata;
        for chunk in 0..self.chunks.len() {
            let from = chunk * CHUNK_SLOTS;
            let slots = &self.slots[from..self.slots.len().min(from + CHUNK_SLOTS)];
            if slots.iter().flatten().any(|slot| slot.family == known) {
                self.touch(chunk);
            }
        }
    }

    /// Moves a series to another family, whose metadata is set by [`SlotTable::set_metadata`] where it is known already.
    pub fn set_family(&mut self, slot: u32, family: &str, metadata: &Metadata) {
        let family = self.family(family, metadata);
        let Some(Some(own)) = self.slots.get_mut(slot as usize) else { return };
        let before = std::mem::replace(&mut own.family, family);
        if before != family {
            let chunk = slot as usize / CHUNK_SLOTS;
            self.text_bytes[chunk] += self.families[family as usize].name.len();
            self.text_bytes[chunk] -= self.families[before as usize].name.len();
            self.touch(chunk);
        }
    }

    /// The schema as it is now. Only chunks that changed since the last call are built.
    pub fn schema(&mut self) -> Arc<Schema> {
        if let Some(schema) = &self.schema {
            return schema.clone();
        }
        for chunk in 0..self.chunks.len() {
            if self.chunks[chunk].is_none() {
                self.chunks[chunk] = Some(Arc::new(self.build(chunk)));
            }
        }
        let schema = Arc::new(Schema::new(self.chunks.iter().flatten().cloned().collect()));
        self.schema = Some(schema.clone());
        schema
    }

    /// Moves the series together if over half of many slots are free. Returns the new slot of each old one (`None`: it had no
    /// series), or nothing where there was too little to gain. Every slot's values are sent anew after it.
    pub fn compact(&mut self) -> Option<Vec<Option<u32>>> {
        if self.slots.len() - self.series() < COMPACT_MIN.max(self.slots.len() / 2) {
            return None;
        }
        let families = std::mem::take(&mut self.families);
        let old = std::mem::replace(self, SlotTable { hasher: self.hasher.clone(), ..SlotTable::default() });
        let mut moves = Vec::with_capacity(old.slots.len());
        for slot in old.slots {
            moves.push(slot.filter(|slot| !slot.is_ended).and_then(|slot| {
                let family = &families[slot.family as usize];
                self.insert(slot.labels, &family.name, &family.metadata).ok()
            }));
        }
        Some(moves)
    }

    fn family(&mut self, name: &str, metadata: &Metadata) -> u32 {
        if let Some(family) = self.families_by_name.get(name) {
            return *family;
        }
        let family = self.families.len() as u32;
        self.families.push(FamilyEntry { name: name.into(), metadata: cut_metadata(metadata) });
        self.families_by_name.insert(name.into(), family);
        family
    }

    fn find_defined(&self, labels: &OwnLabels) -> Option<u32> {
        let is_same = |slot: &u32| self.slots[*slot as usize].as_ref().is_some_and(|slot| slot.labels == *labels);
        self.by_labels.find(self.hasher.hash_one(labels), is_same).copied()
    }

    /// Gives a series its own slot again, where it was removed from it.
    fn revive(&mut self, slot: u32, family: u32) {
        let Some(own) = self.slots[slot as usize].as_mut().filter(|own| own.is_ended) else { return };
        let is_changed = std::mem::replace(&mut own.family, family) != family;
        own.is_ended = false;
        self.ended -= 1;
        self.available[slot as usize / CHUNK_SLOTS] -= 1;
        if is_changed {
            self.touch(slot as usize / CHUNK_SLOTS);
        }
    }

    /// A slot for labels of so many bytes, in the chunk that is being filled, or in the one with the most room, or behind the
    /// end. A chunk whose text would grow too long is passed over.
    fn take_slot(&mut self, bytes: usize) -> Result<u32, SlotError> {
        if !self.fits(self.filling, bytes) {
            let Some(chunk) = self.find_chunk(bytes) else { return self.push_slot(bytes) };
            self.filling = chunk;
        }
        let from = self.filling * CHUNK_SLOTS;
        let to = self.slots.len().min(from + CHUNK_SLOTS);
        let available = (from..to).find(|slot| self.slots[*slot].as_ref().is_none_or(|slot| slot.is_ended));
        let slot = available.expect("the chunk has an available slot");
        if self.slots[slot].is_some() {
            self.forget_slot(slot);
        }
        self.available[self.filling] -= 1;
        Ok(slot as u32)
    }

    /// The chunk to fill next: the one with the most room, if that is worth it. Where there is none for these labels there is
    /// none for longer ones either, and series behind the end only make the room a smaller part of all.
    fn find_chunk(&mut self, bytes: usize) -> Option<usize> {
        if self.in_vain.is_some_and(|in_vain| in_vain <= bytes) {
            return None;
        }
        #[cfg(test)]
        (self.searches += 1);
        let is_sparse = self.slots.len() - self.series() < self.slots.len() / AVAILABLE_SHARE;
        let fitting = (0..self.available.len()).filter(|chunk| self.fits(*chunk, bytes));
        let roomiest = fitting.max_by_key(|chunk| self.available[*chunk]);
        let found = roomiest.filter(|chunk| !is_sparse || self.available[*chunk] >= FILLING_MIN);
        if found.is_none() {
            self.in_vain = Some(bytes);
        }
        found
    }

    fn fits(&self, chunk: usize, bytes: usize) -> bool {
        self.available.get(chunk).is_some_and(|available| *available > 0)
            && self.text_bytes[chunk] + bytes <= CHUNK_TEXT_MAX
    }

    /// A new slot behind the end; where the last chunk has no room for more text, the rest of it stays free.
    fn push_slot(&mut self, bytes: usize) -> Result<u32, SlotError> {
        let last = self.slots.len() / CHUNK_SLOTS;
        while self.text_bytes.get(last).is_some_and(|text| text + bytes > CHUNK_TEXT_MAX)
            && !self.slots.len().is_multiple_of(CHUNK_SLOTS)
        {
            self.available[last] += 1;
            self.in_vain = None;
            self.slots.push(None);
        }
        if self.slots.len() >= TARGET_SLOTS_MAX {
            return Err(SlotError::TargetFull);
        }
        if self.slots.len().is_multiple_of(CHUNK_SLOTS) {
            self.text_bytes.push(0);
            self.chunks.push(None);
            self.available.push(0);
        }
        self.slots.push(None);
        Ok(self.slots.len() as u32 - 1)
    }

    /// Takes all removed series out of the schema.
    fn forget_ended(&mut self) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|slot| slot.is_ended) {
                self.forget_slot(slot);
            }
        }
    }

    /// Takes a removed series out of the schema.
    fn forget_slot(&mut self, slot: usize) {
        let Some(Slot { labels, family, .. }) = self.slots[slot].take() else { return };
        let number = slot as u32;
        if let Ok(entry) = self.by_labels.find_entry(self.hasher.hash_one(&labels), |other| *other == number) {
            entry.remove();
        }
        self.ended -= 1;
        self.in_vain = None;
        self.text_bytes[slot / CHUNK_SLOTS] -= labels.text_bytes() + self.families[family as usize].name.len();
        self.touch(slot / CHUNK_SLOTS);
    }

    fn touch(&mut self, chunk: usize) {
        self.chunks[chunk] = None;
        self.schema = None;
    }

    fn build(&self, chunk: usize) -> Chunk {
        let from = chunk * CHUNK_SLOTS;
        let mut builder = ChunkBuilder::default();
        for slot in &self.slots[from..self.slots.len().min(from + CHUNK_SLOTS)] {
            let Some(slot) = slot else {
                builder.push_free();
                continue;
            };
            let family = &self.families[slot.family as usize];
            let family = Family {
                name: &family.name,
                kind: family.metadata.kind,
                help: &family.metadata.help,
                unit: &family.metadata.unit,
            };
            let pairs = slot.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
            builder.push(slot.labels.metric_name(), family, pairs);
        }
        builder.finish().expect("strings were checked when they came in")
    }
}

fn hash_of(slots: &[Option<Slot>], hasher: &foldhash::fast::RandomState, slot: u32) -> u64 {
    slots[slot as usize].as_ref().map_or(0, |slot| hasher.hash_one(&slot.labels))
}

impl std::fmt::Debug for SlotTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlotTable({} series in {} slots)", self.series(), self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(n: usize) -> OwnLabels {
        OwnLabels::from(&Labels::from_pairs([(METRIC_NAME, "m"), ("n", &n.to_string())]))
    }

    fn filled(series: usize) -> SlotTable {
        let mut table = SlotTable::new();
        for n in 0..series {
            assert_eq!(table.insert(own(n), "m", &Metadata::default()), Ok(n as u32));
        }
        table
    }

    #[test]
    fn a_series_that_comes_back_leaves_the_schema_as_it_was() {
        let mut table = filled(300);
        let before = table.schema();
        table.remove(7);
        assert_eq!((table.find(&own(7)), table.labels(7), table.series()), (None, None, 299));
        assert_eq!(table.schema().hash(), before.hash());
        assert_eq!(table.insert(own(7), "m", &Metadata::default()), Ok(7));
        assert_eq!((table.find(&own(7)), table.series()), (Some(7), 300));
        assert!(Arc::ptr_eq(&table.schema(), &before));
    }

    #[test]
    fn a_table_is_found_again_in_its_schema() {
        let mut table = filled(600);
        for slot in [3, 299, 599] {
            table.remove(slot);
        }
        (100..250).for_each(|slot| table.remove(slot));
        let schema = table.schema();
        let mut again = SlotTable::from_schema(&schema, |slot| table.labels(slot).is_some());
        assert!(Arc::ptr_eq(&again.schema(), &schema));
        assert_eq!((again.len(), again.series()), (table.len(), table.series()));
        assert_eq!(
            (again.ended, &again.available, &again.text_bytes),
            (table.ended, &table.available, &table.text_bytes)
        );
        for n in (0..600).rev().chain(1000..1200) {
            let [one, other] = [&mut table, &mut again].map(|table| table.insert(own(n), "m", &Metadata::default()));
            assert_eq!(one, other, "{n}");
        }
        assert_eq!(again.schema().hash(), table.schema().hash());
    }

    #[test]
    fn churn_all_over_a_table_touches_few_chunks_and_does_not_make_it_grow() {
        let mut table = filled(5000);
        let mut live: Vec<u32> = (0..5000).collect();
        let (mut touched, mut before) = (0, table.schema());
        for n in 5000..15_000 {
            table.remove(live[n * 7919 % 5000]);
            live[n * 7919 % 5000] = table.insert(own(n), "m", &Metadata::default()).unwrap();
            if n % 10 == 0 {
                let schema = table.schema();
                let same = schema.chunks().iter().zip(before.chunks()).filter(|(new, old)| Arc::ptr_eq(new, old));
                touched += schema.chunks().len() - same.count();
                before = schema;
            }
        }
        assert_eq!(table.series(), 5000);
        assert!(table.len() < 5000 * 5 / 4, "{} slots", table.len());
        assert!(touched < 4 * 1000, "{touched} chunks in 1000 schemas");
        assert!(live.iter().all(|slot| table.labels(*slot).is_some()));
    }

    #[test]
    fn series_behind_the_end_do_not_look_through_all_chunks() {
        let mut table = filled(9_999);
        assert!(table.searches <= 4, "{} searches while it was filled", table.searches);
        table.remove(7);
        let searched = table.searches;
        (10_000..20_000).for_each(|n| assert!(table.insert(own(n), "m", &Metadata::default()).is_ok()));
        assert!(table.searches <= searched + 2, "{} searches behind one free slot", table.searches - searched);
    }

    #[test]
    fn what_was_looked_for_in_vain_is_found_once_it_is_there() {
        let mut table = filled(3 * CHUNK_SLOTS);
        assert!(table.in_vain.is_some());
        (0..CHUNK_SLOTS as u32 / 4).for_each(|n| table.remove(CHUNK_SLOTS as u32 + n));
        let slot = table.insert(own(9999), "m", &Metadata::default());
        assert_eq!(slot, Ok(CHUNK_SLOTS as u32), "the first slot of the chunk that has room again");
    }

    #[test]
    fn compaction_moves_series_together_and_says_where() {
        let mut table = filled(3000);
        (0..3000).filter(|slot| slot % 3 > 0).for_each(|slot| table.remove(slot));
        let moves = table.compact().expect("most slots are free");
        assert_eq!((table.len(), table.series()), (1000, 1000));
        for (old, new) in moves.iter().enumerate() {
            assert_eq!(new.is_some(), old % 3 == 0);
            assert!(new.is_none_or(|new| table.labels(new) == Some(&own(old))));
        }
        assert_eq!(table.compact(), None);
    }

    #[test]
    fn long_labels_leave_a_chunk_before_it_is_too_long() {
        let mut table = SlotTable::new();
        let long = "x".repeat(60_000);
        for n in 0..100 {
            let labels =
                Labels::from_pairs([(METRIC_NAME, "m"), ("n", &n.to_string()), ("long", &format!("{long}{n}"))]);
            table.insert(OwnLabels::from(&labels), "m", &Metadata::default()).unwrap();
        }
        assert_eq!(table.schema().live(), 100);
        assert_eq!(table.schema().chunks().len(), 3);
        let too_long = Labels::from_pairs([(METRIC_NAME, "m"), ("long", &"x".repeat(70_000))]);
        let refused = table.insert(OwnLabels::from(&too_long), "m", &Metadata::default());
        assert_eq!(refused, Err(SlotError::LabelTooLong { bytes: 70_000 }));
    }
}
