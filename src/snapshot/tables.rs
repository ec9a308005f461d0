//! A chunk's content as tables of borrowed strings: what is written, read and put together before it is packed.
//!
//! Invariant: every number in the tables is below the length of the table that it points into, and the labels of a slot ascend
//! by name, whoever wrote the bytes.
//!
//! ## Canonical bytes
//!
//! Numbers are LEB128, strings have their length before them. Tables stand in the order of first use by ascending slot, so
//! equal slots give equal bytes.
//!
//! | part | content |
//! |---|---|
//! | families | count, then of each: name, type (one byte), help, unit |
//! | metric names | count, then of each: number of its family, name |
//! | label pairs | count, then of each: label name, label value |
//! | slots | count, then of each: number of its metric name + 1, or 0 where it is free |
//! | pair counts | of each used slot: how many pairs |
//! | pair numbers | of each used slot: the pairs, ascending by label name |

use std::collections::HashMap;

use super::chunk::{CHUNK_SLOTS, Chunk, ChunkHash, FREE, Family, Pair, SERIES_LABELS_MAX, STRING_BYTES_MAX, hash_128};
use super::reader::{Malformed, Reader, put_string, put_varint};
use crate::model::{METRIC_NAME, MetricType};

/// Bytes that the tables of a full chunk take as a rule.
const CANONICAL_BYTES_USUAL: usize = 8 << 10;

/// A chunk's content before it is packed, strings borrowed from wherever they come.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables<'a> {
    pub(super) families: Vec<Family<'a>>,
    pub(super) names: Vec<(u16, &'a str)>,
    pub(super) pairs: Vec<Pair<'a>>,
    pub(super) slot_names: Vec<u16>,
    pub(super) pair_ends: Vec<u16>,
    pub(super) pair_lists: Vec<u16>,
}

impl<'a> Tables<'a> {
    /// Reads canonical bytes to their end.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Tables<'a>, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut tables = Tables::default();
        tables.take_strings(&mut reader)?;
        tables.take_slots(&mut reader)?;
        reader.end("chunk")?;
        Ok(tables)
    }

    /// Reads families, names and pairs.
    fn take_strings(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        for _ in 0..reader.count("families of a chunk", CHUNK_SLOTS as u64, 4)? {
            self.families.push(take_family(reader)?);
        }
        for _ in 0..reader.count("metric names of a chunk", CHUNK_SLOTS as u64, 2)? {
            self.take_named(reader)?;
        }
        self.take_labels(reader)
    }

    /// Reads a metric name behind the number of its family.
    pub(super) fn take_named(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let family = self.take_index(reader, "family of a metric name", self.families.len())?;
        self.names.push((family, reader.string("metric name", STRING_BYTES_MAX)?));
        Ok(())
    }

    /// Reads label pairs behind those that are there already.
    pub(super) fn take_labels(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let pairs_max = (CHUNK_SLOTS * SERIES_LABELS_MAX) as u64;
        let count = reader.count("label pairs of a chunk", pairs_max, 2)?;
        self.pairs.reserve(count);
        for _ in 0..count {
            let name = reader.string("label name", STRING_BYTES_MAX - 1)?;
            self.pairs.push(Pair::raw(name, reader.string("label value", STRING_BYTES_MAX)?));
        }
        Ok(())
    }

    fn take_slots(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let slots = reader.count("slots of a chunk", CHUNK_SLOTS as u64, 1)?;
        self.slot_names.reserve_exact(slots);
        self.pair_ends.reserve_exact(slots);
        for _ in 0..slots {
            let name = self.take_name(reader)?;
            self.slot_names.push(name.unwrap_or(FREE));
        }
        let mut ends = 0u16;
        for slot in 0..slots {
            if self.slot_names[slot] != FREE {
                ends += reader.count("labels of a series", SERIES_LABELS_MAX as u64, 1)? as u16;
            }
            self.pair_ends.push(ends);
        }
        let mut lists = Vec::with_capacity(usize::from(ends).min(reader.left()));
        for end in &self.pair_ends {
            let count = usize::from(*end) - lists.len();
            self.take_pairs(reader, count, &mut lists)?;
        }
        self.pair_lists = lists;
        Ok(())
    }

    fn take_index(&self, reader: &mut Reader<'a>, what: &'static str, length: usize) -> Result<u16, Malformed> {
        match reader.varint(what)? {
            found if found < length as u64 => Ok(found as u16),
            found => Err(Malformed::OutOfBounds { what, found, max: (length as u64).saturating_sub(1) }),
        }
    }

    /// A metric name's number, `None` for a free slot.
    pub(super) fn take_name(&self, reader: &mut Reader<'a>) -> Result<Option<u16>, Malformed> {
        let number = reader.bounded("metric name of a slot", self.names.len() as u64)?;
        Ok(number.checked_sub(1).map(|number| number as u16))
    }

    /// Appends `count` pair numbers, whose label names must ascend: anything else would be a series with one label twice.
    pub(super) fn take_pairs(
        &self,
        reader: &mut Reader<'a>,
        count: usize,
        lists: &mut Vec<u16>,
    ) -> Result<(), Malformed> {
        // An `Option`: to compare with an empty literal, which points nowhere, makes reading a chunk twice as slow.
        let mut before: Option<&str> = None;
        for _ in 0..count {
            let pair = self.take_index(reader, "label pair of a slot", self.pairs.len())?;
            let name = self.pairs[usize::from(pair)].name;
            if name.is_empty() || name == METRIC_NAME || before.is_some_and(|before| before >= name) {
                return Err(Malformed::OutOfPlace("label of a series"));
            }
            before = Some(name);
            lists.push(pair);
        }
        Ok(())
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.slot_names.len()
    }

    /// A slot's name and pairs by number, `None` where it is free.
    pub(super) fn slot(&self, slot: usize) -> Option<(u16, &[u16])> {
        let name = *self.slot_names.get(slot)?;
        let from = if slot == 0 { 0 } else { usize::from(self.pair_ends[slot - 1]) };
        (name != FREE).then(|| (name, &self.pair_lists[from..usize::from(self.pair_ends[slot])]))
    }

    /// Whether a slot is defined alike in both, metadata included.
    pub(super) fn same_slot(&self, other: &Tables<'_>, slot: usize) -> bool {
        let (Some((name, pairs)), Some((other_name, other_pairs))) = (self.slot(slot), other.slot(slot)) else {
            return self.slot(slot).is_none() && other.slot(slot).is_none() && slot < self.slots().min(other.slots());
        };
        let (family, name) = self.names[usize::from(name)];
        let (other_family, other_name) = other.names[usize::from(other_name)];
        let (pairs, other_pairs) = (pairs.iter(), other_pairs.iter());
        name == other_name
            && self.families[usize::from(family)] == other.families[usize::from(other_family)]
            && pairs.len() == other_pairs.len()
            && pairs
                .zip(other_pairs)
                .all(|(own, other_pair)| self.pairs[usize::from(*own)].is_same(&other.pairs[usize::from(*other_pair)]))
    }

    /// The same strings with other slots: tables in the order of first use again, without those that no slot uses.
    pub(super) fn with_slots<'t>(&self, slots: impl Iterator<Item = Option<(u16, &'t [u16])>>) -> Tables<'a> {
        let mut tables = Tables {
            families: Vec::with_capacity(self.families.len()),
            names: Vec::with_capacity(self.names.len()),
            pairs: Vec::with_capacity(self.pairs.len()),
            slot_names: Vec::with_capacity(CHUNK_SLOTS),
            pair_ends: Vec::with_capacity(CHUNK_SLOTS),
            pair_lists: Vec::with_capacity(self.pair_lists.len() + SERIES_LABELS_MAX),
        };
        let mut families = Renumbering::new(self.families.len());
        let mut names = Renumbering::new(self.names.len());
        let mut pairs = Renumbering::new(self.pairs.len());
        for slot in slots {
            if let Some((name, list)) = slot {
                let name = names.number(name, || {
                    let (family, name) = self.names[usize::from(name)];
                    let family = families.number(family, || tables.families.push(self.families[usize::from(family)]));
                    tables.names.push((family, name));
                });
                tables.slot_names.push(name);
                for pair in list {
                    let number = pairs.number(*pair, || tables.pairs.push(self.pairs[usize::from(*pair)]));
                    tables.pair_lists.push(number);
                }
            } else {
                tables.slot_names.push(FREE);
            }
            tables.pair_ends.push(tables.pair_lists.len() as u16);
        }
        tables
    }

    /// Packs the tables into a chunk.
    pub(super) fn finish(&self) -> Result<Chunk, Malformed> {
        debug_assert!(self.slots() <= CHUNK_SLOTS);
        let mut canonical = Vec::with_capacity(CANONICAL_BYTES_USUAL);
        self.put_canonical(&mut canonical);
        Chunk::pack(self, &canonical, ChunkHash(hash_128(&canonical)))
    }

    fn put_strings(&self, out: &mut Vec<u8>) {
        put_varint(out, self.families.len() as u64);
        self.families.iter().for_each(|family| put_family(out, family));
        put_varint(out, self.names.len() as u64);
        for (family, name) in &self.names {
            put_varint(out, u64::from(*family));
            put_string(out, name);
        }
        self.put_labels_from(out, 0);
    }

    pub(super) fn put_canonical(&self, out: &mut Vec<u8>) {
        self.put_strings(out);
        put_varint(out, self.slots() as u64);
        for name in &self.slot_names {
            put_varint(out, u64::from(name.wrapping_add(1)));
        }
        for slot in 0..self.slots() {
            if let Some((_, pairs)) = self.slot(slot) {
                put_varint(out, pairs.len() as u64);
            }
        }
        for pair in &self.pair_lists {
            put_varint(out, u64::from(*pair));
        }
    }

    /// Appends the label pairs behind the first `known`, as [`Tables::take_labels`] reads them.
    pub(super) fn put_labels_from(&self, out: &mut Vec<u8>, known: usize) {
        put_varint(out, (self.pairs.len() - known) as u64);
        for pair in &self.pairs[known..] {
            put_string(out, pair.name);
            put_string(out, pair.value);
        }
    }
}

/// Appends a family as [`take_family`] reads it.
pub(super) fn put_family(out: &mut Vec<u8>, family: &Family<'_>) {
    put_string(out, family.name);
    out.push(family.kind as u8);
    put_string(out, family.help);
    put_string(out, family.unit);
}

/// Reads a family with its metadata.
pub(super) fn take_family<'a>(reader: &mut Reader<'a>) -> Result<Family<'a>, Malformed> {
    let name = reader.string("family name", STRING_BYTES_MAX)?;
    let kind = reader.byte("metric type")?;
    let kind =
        MetricType::from_number(kind).ok_or(Malformed::Unknown { what: "metric type", found: u64::from(kind) })?;
    let help = reader.string("help", STRING_BYTES_MAX)?;
    let unit = reader.string("unit", STRING_BYTES_MAX)?;
    Ok(Family { name, kind, help, unit })
}

/// New numbers for old ones, in the order in which they are asked for.
struct Renumbering {
    numbers: Vec<u16>,
    next: u16,
}

impl Renumbering {
    fn new(length: usize) -> Renumbering {
        Renumbering { numbers: vec![u16::MAX; length], next: 0 }
    }

    /// The new number; `first` is called where it is given for the first time.
    fn number(&mut self, old: u16, first: impl FnOnce()) -> u16 {
        let number = &mut self.numbers[usize::from(old)];
        if *number == u16::MAX {
            *number = self.next;
            self.next += 1;
            first();
        }
        *number
    }
}

/// Builds a chunk slot by slot with its tables in the order of first use.
#[derive(Default)]
pub struct ChunkBuilder<'a> {
    tables: Tables<'a>,
    families: HashMap<Family<'a>, u16, foldhash::fast::RandomState>,
    names: HashMap<(u16, &'a str), u16, foldhash::fast::RandomState>,
    pairs: HashMap<(&'a str, &'a str), u16, foldhash::fast::RandomState>,
}

impl<'a> ChunkBuilder<'a> {
    /// The next slot holds no series.
    pub fn push_free(&mut self) {
        self.tables.slot_names.push(FREE);
        self.tables.pair_ends.push(self.tables.pair_lists.len() as u16);
    }

    /// The next slot holds this series; pairs come ascending by name, without the metric name.
    pub fn push(&mut self, name: &'a str, family: Family<'a>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
        let tables = &mut self.tables;
        let family = *self.families.entry(family).or_insert_with(|| {
            tables.families.push(family);
            tables.families.len() as u16 - 1
        });
        let name = *self.names.entry((family, name)).or_insert_with(|| {
            tables.names.push((family, name));
            tables.names.len() as u16 - 1
        });
        tables.slot_names.push(name);
        for pair in pairs {
            let number = *self.pairs.entry(pair).or_insert_with(|| {
                tables.pairs.push(Pair::raw(pair.0, pair.1));
                tables.pairs.len() as u16 - 1
            });
            tables.pair_lists.push(number);
        }
        tables.pair_ends.push(tables.pair_lists.len() as u16);
    }

    /// The finished chunk.
    pub fn finish(self) -> Result<Chunk, Malformed> {
        self.tables.finish()
    }
}
