//! A chunk told against what stood in its place before.
//!
//! A new series mostly has a metric name that its target has already, if not in the same chunk then in one near by. Such a name is not
//! told again but pointed at, with its family and help.
//!
//! | part | content |
//! |---|---|
//! | metric names | count, then of each one that the old chunk lacks: |
//! | | 0, the number of its family, and the name; or |
//! | | 1, its family (name, type, help, unit), and the name; or |
//! | | 2 + the number of a chunk of the same schema as read so far, and the number of a metric name there |
//! | label pairs | count, then name and value of each one that the old chunk lacks |
//! | slots | how many slots the chunk has, and how many changed; of each changed one: |
//! | | slots skipped since the one before, the number of its metric name + 1 (0: it became free), how many pairs, and their numbers |
//!
//! Names, families and pairs are numbered behind those of the old chunk, in the order in which they stand here.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::chunk::{CHUNK_SLOTS, Chunk, Family, NameId, SERIES_LABELS_MAX, STRING_BYTES_MAX};
use super::reader::{Malformed, Reader, put_string, put_varint};
use super::schema::Schema;
use super::tables::{Tables, put_family, take_family};

const NAME_TOLD: u64 = 0;
const NAME_WITH_FAMILY: u64 = 1;
/// Added to the number of the chunk that has a name.
const NAME_ELSEWHERE: u64 = 2;
/// How far away a chunk is looked at for a name.
const ELSEWHERE_MAX: usize = 32;
/// Label pairs that a base and its additions may have together.
const PATCH_PAIRS_MAX: usize = u16::MAX as usize;
/// Metric names and families, likewise.
const PATCH_NAMES_MAX: usize = 2 * CHUNK_SLOTS;

/// The tables of the old chunk, extended as the new one needs.
struct Extension<'a> {
    tables: Tables<'a>,
    families: HashMap<Family<'a>, u16, RandomState>,
    names: HashMap<(u16, &'a str), u16, RandomState>,
    pairs: HashMap<(&'a str, &'a str), u16, RandomState>,
    told_names: Vec<u8>,
    names_told: u64,
}

impl<'a> Extension<'a> {
    fn new(tables: Tables<'a>) -> Extension<'a> {
        let numbers = 0u16..;
        Extension {
            families: tables.families.iter().copied().zip(numbers.clone()).collect(),
            names: tables.names.iter().copied().zip(numbers.clone()).collect(),
            pairs: tables.pairs.iter().map(|pair| (pair.name, pair.value)).zip(numbers).collect(),
            tables,
            told_names: Vec::new(),
            names_told: 0,
        }
    }

    /// The number of a metric name; one that is not known is told, or pointed at where `elsewhere` finds it.
    fn name(&mut self, name: &'a str, family: Family<'a>, elsewhere: impl Fn() -> Option<(usize, NameId)>) -> u16 {
        let known = self.families.get(&family).copied();
        if let Some(number) = known.and_then(|family| self.names.get(&(family, name))) {
            return *number;
        }
        let tables = &mut self.tables;
        let number = known.unwrap_or_else(|| push(&mut tables.families, family));
        self.families.insert(family, number);
        self.names_told += 1;
        let out = &mut self.told_names;
        match (elsewhere(), known) {
            (Some((chunk, name)), _) => {
                put_varint(out, NAME_ELSEWHERE + chunk as u64);
                put_varint(out, u64::from(name.0));
            }
            (None, Some(family)) => {
                put_varint(out, NAME_TOLD);
                put_varint(out, u64::from(family));
                put_string(out, name);
            }
            (None, None) => {
                put_varint(out, NAME_WITH_FAMILY);
                put_family(out, &family);
                put_string(out, name);
            }
        }
        let name_number = push(&mut tables.names, (number, name));
        self.names.insert((number, name), name_number);
        name_number
    }

    fn pair(&mut self, pair: super::chunk::Pair<'a>) -> u16 {
        let pairs = &mut self.tables.pairs;
        *self.pairs.entry((pair.name, pair.value)).or_insert_with(|| push(pairs, pair))
    }
}

fn push<T>(table: &mut Vec<T>, entry: T) -> u16 {
    table.push(entry);
    (table.len() - 1) as u16
}

/// A chunk of `schema` told against the one in its place in `base`, `None` where that is no way to tell it.
pub(super) fn encode_patch(base: &Schema, schema: &Schema, at: usize) -> Option<Vec<u8>> {
    let (old, new) = (base.chunks().get(at)?.tables(), schema.chunks()[at].tables());
    let known_pairs = old.pairs.len();
    if known_pairs + new.pairs.len() > PATCH_PAIRS_MAX || old.names.len() + new.names.len() > PATCH_NAMES_MAX {
        return None;
    }
    let changed: Vec<usize> = (0..new.slots()).filter(|slot| !new.same_slot(&old, *slot)).collect();
    let mut extension = Extension::new(old);
    let mut slots = Vec::new();
    put_varint(&mut slots, new.slots() as u64);
    put_varint(&mut slots, changed.len() as u64);
    let mut next = 0;
    for slot in changed {
        put_varint(&mut slots, (slot - next) as u64);
        next = slot + 1;
        let Some((name, pairs)) = new.slot(slot) else {
            slots.push(0);
            continue;
        };
        let (family, name) = new.names[usize::from(name)];
        let family = new.families[usize::from(family)];
        let name = extension.name(name, family, || find_elsewhere(base, schema, at, name, &family));
        put_varint(&mut slots, u64::from(name) + 1);
        put_varint(&mut slots, pairs.len() as u64);
        for pair in pairs {
            put_varint(&mut slots, u64::from(extension.pair(new.pairs[usize::from(*pair)])));
        }
    }
    let mut patch = Vec::new();
    put_varint(&mut patch, extension.names_told);
    patch.extend_from_slice(&extension.told_names);
    extension.tables.put_labels_from(&mut patch, known_pairs);
    patch.extend_from_slice(&slots);
    Some(patch)
}

/// A metric name in the chunks near by, as a decoder has them when it reads chunk `at`: the schema's own before it, the base's behind.
fn find_elsewhere(
    base: &Schema,
    schema: &Schema,
    at: usize,
    name: &str,
    family: &Family<'_>,
) -> Option<(usize, NameId)> {
    let (before, behind) =
        (&schema.chunks()[..at], base.chunks().get(at + 1..schema.chunks().len().min(base.chunks().len())));
    let before = before.iter().enumerate().rev().take(ELSEWHERE_MAX);
    let behind = behind.unwrap_or_default().iter().enumerate().take(ELSEWHERE_MAX);
    let mut near = before.chain(behind.map(|(skipped, chunk)| (at + 1 + skipped, chunk)));
    near.find_map(|(number, chunk)| Some((number, chunk.find_name(name, family)?)))
}

/// The chunk that a patch makes of an older one; `chunks` are those of its schema as far as they are known.
pub(super) fn decode_patch(old: &Chunk, chunks: &[Option<Arc<Chunk>>], patch: &[u8]) -> Result<Chunk, Malformed> {
    let mut reader = Reader::new(patch);
    let mut tables = old.tables();
    take_names(&mut tables, chunks, &mut reader)?;
    tables.take_labels(&mut reader)?;
    bound("label pairs of a patch", tables.pairs.len(), PATCH_PAIRS_MAX)?;
    let slots = reader.bounded("slots of a chunk", CHUNK_SLOTS as u64)?;
    let changes = take_changes(&tables, slots, &mut reader)?;
    reader.end("chunk patch")?;
    let mut changes = changes.iter().peekable();
    let definition = |slot: usize| match changes.next_if(|change| change.slot == slot) {
        Some(change) => change.series.as_ref().map(|(name, pairs)| (*name, &pairs[..])),
        None => tables.slot(slot),
    };
    tables.with_slots((0..slots).map(definition)).finish()
}

/// What a slot holds now, `None` where it became free.
struct SlotChange {
    slot: usize,
    series: Option<(u16, Vec<u16>)>,
}

fn take_changes<'a>(tables: &Tables<'a>, slots: usize, reader: &mut Reader<'a>) -> Result<Vec<SlotChange>, Malformed> {
    let count = reader.count("changed slots of a chunk", slots as u64, 2)?;
    let (mut changes, mut next) = (Vec::with_capacity(count), 0);
    for _ in 0..count {
        let left = slots.checked_sub(next + 1).ok_or(Malformed::OutOfPlace("changed slot"))?;
        let slot = next + reader.bounded("changed slot", left as u64)?;
        next = slot + 1;
        let series = match tables.take_name(reader)? {
            None => None,
            Some(name) => {
                let count = reader.count("labels of a series", SERIES_LABELS_MAX as u64, 1)?;
                let mut pairs = Vec::with_capacity(count);
                tables.take_pairs(reader, count, &mut pairs)?;
                Some((name, pairs))
            }
        };
        changes.push(SlotChange { slot, series });
    }
    Ok(changes)
}

fn take_names<'a>(
    tables: &mut Tables<'a>,
    chunks: &'a [Option<Arc<Chunk>>],
    reader: &mut Reader<'a>,
) -> Result<(), Malformed> {
    for _ in 0..reader.count("metric names of a patch", CHUNK_SLOTS as u64, 2)? {
        match reader.varint("metric name of a patch")? {
            NAME_TOLD => tables.take_named(reader)?,
            NAME_WITH_FAMILY => {
                let family = take_family(reader)?;
                let number = push(&mut tables.families, family);
                tables.names.push((number, reader.string("metric name", STRING_BYTES_MAX)?));
            }
            elsewhere => {
                let place = usize::try_from(elsewhere - NAME_ELSEWHERE).ok();
                let chunk = place.and_then(|place| chunks.get(place)?.as_ref());
                let chunk = chunk.ok_or(Malformed::OutOfPlace("chunk that has a metric name"))?;
                let name = reader.bounded("metric name elsewhere", chunk.names().saturating_sub(1) as u64)?;
                adopt(tables, chunk, NameId(name as u16))?;
            }
        }
    }
    bound("metric names of a patch", tables.names.len().max(tables.families.len()), PATCH_NAMES_MAX)
}

/// Takes over a metric name of another chunk, and its family where that is new.
fn adopt<'a>(tables: &mut Tables<'a>, chunk: &'a Chunk, name: NameId) -> Result<(), Malformed> {
    if usize::from(name.0) >= chunk.names() {
        return Err(Malformed::OutOfPlace("metric name elsewhere"));
    }
    let family = chunk.family_of(name);
    let known = tables.families.iter().position(|known| *known == family);
    let number = known.map_or_else(|| push(&mut tables.families, family), |known| known as u16);
    tables.names.push((number, chunk.name(name)));
    Ok(())
}

fn bound(what: &'static str, found: usize, max: usize) -> Result<(), Malformed> {
    let (found, max) = (found as u64, max as u64);
    if found <= max { Ok(()) } else { Err(Malformed::OutOfBounds { what, found, max }) }
}
