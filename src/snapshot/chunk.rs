//! A chunk: up to 256 slots with their own tables of families, metric names and label pairs.
//!
//! Invariant: a chunk is immutable and knows everything about its slots by itself, so it can be shared between schemas,
//! streams and views, and be named by the hash of its canonical bytes. Two bytes name a label pair, whose text stands
//! ready for output; a selector reads the tables, some hundred strings, before it reads 256 series.
//!
//! All strings lie in one block of text, all slots in one array, so that a chunk is six allocations whatever it holds.

use std::fmt;

use super::changes::SlotSet;
use super::reader::Malformed;
use super::tables::Tables;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MetricType, is_legacy_label_name};

/// Slots of a full chunk.
pub const CHUNK_SLOTS: usize = 256;
/// Labels a series may have of its own; with [`CHUNK_SLOTS`] it keeps pair numbers in 16 bits.
pub const SERIES_LABELS_MAX: usize = 255;
/// Bytes of one string: a name, a label value, a help text.
pub const STRING_BYTES_MAX: usize = 64 << 10;
/// Bytes of the text of a whole chunk.
pub const CHUNK_TEXT_MAX: usize = 2 << 20;

/// Bytes of `=""`: what a pair's output text has beside name and value where nothing is escaped.
const PLAIN_MARKS: usize = 3;
/// Bytes of a chunk's text once it is packed: labels raw and escaped, and metadata.
const PACKED_TEXT_MAX: usize = 4 * CHUNK_TEXT_MAX;

/// Number of a metric name within its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub u16);

/// Number of a label pair within its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairId(pub u16);

/// BLAKE3 of a chunk's canonical bytes, cut to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkHash(pub [u8; 16]);

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A metric family as the page described it; empty strings where it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Family<'a> {
    /// Its name: of the TYPE line, or the metric's own.
    pub name: &'a str,
    /// Its type.
    pub kind: MetricType,
    /// Its help, unescaped.
    pub help: &'a str,
    /// Its unit.
    pub unit: &'a str,
}

/// A label pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The label's name.
    pub name: &'a str,
    /// The label's value, raw. Empty: the series lacks a label that its target has.
    pub value: &'a str,
    /// `name="value"`, escaped and ready for output; the name is quoted where it is not a legacy one.
    pub text: &'a str,
}

impl<'a> Pair<'a> {
    /// A pair whose output text is not made yet.
    pub(super) fn raw(name: &'a str, value: &'a str) -> Pair<'a> {
        Pair { name, value, text: "" }
    }

    /// Whether both are the same label, whether or not their texts are made.
    pub(super) fn is_same(&self, other: &Pair<'_>) -> bool {
        self.name == other.name && self.value == other.value
    }
}

/// A string of the chunk's text.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    length: u32,
}

#[derive(Debug)]
struct FamilyEntry {
    name: Span,
    help: Span,
    unit: Span,
    kind: MetricType,
}

#[derive(Debug)]
struct NameEntry {
    name: Span,
    family: u16,
}

/// A pair's output text, and where it needs escaping or quotes the raw name and value before it.
#[derive(Debug)]
struct PairEntry {
    start: u32,
    text_length: u32,
    name_length: u16,
    /// Strings are at most [`STRING_BYTES_MAX`] bytes, one more than fits.
    value_length_less_one: u16,
    is_empty: bool,
}

/// The slot's name number where it is free.
pub(super) const FREE: u16 = u16::MAX;

/// Up to 256 slots, immutable; see the module's page.
pub struct Chunk {
    hash: ChunkHash,
    text: Box<str>,
    families: Box<[FamilyEntry]>,
    names: Box<[NameEntry]>,
    pairs: Box<[PairEntry]>,
    /// `len` metric names, then `len` ends of pair lists.
    slots: Box<[u16]>,
    pair_lists: Box<[PairId]>,
    len: u16,
    live: u16,
}

impl Chunk {
    /// The hash of its canonical bytes.
    pub fn hash(&self) -> ChunkHash {
        self.hash
    }

    /// How many slots there are, free ones included.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many slots hold a series.
    pub fn live(&self) -> usize {
        usize::from(self.live)
    }

    /// The slot's metric name, `None` where it is free or behind the end.
    #[inline]
    pub fn name_of(&self, slot: usize) -> Option<NameId> {
        if slot >= self.len() {
            return None;
        }
        let name = self.slots[slot];
        (name != FREE).then_some(NameId(name))
    }

    /// The slot's own label pairs without the metric name, ascending by label name; none where it is free.
    #[inline]
    pub fn pairs_of(&self, slot: usize) -> &[PairId] {
        let len = self.len();
        if slot >= len {
            return &[];
        }
        let from = if slot == 0 { 0 } else { usize::from(self.slots[len + slot - 1]) };
        let to = usize::from(self.slots[len + slot]);
        &self.pair_lists[from..to]
    }

    /// How many metric names the chunk uses; their numbers are below.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// A metric name by its number.
    #[inline]
    pub fn name(&self, id: NameId) -> &str {
        self.string(self.names[usize::from(id.0)].name)
    }

    /// The family that a metric name belongs to.
    pub fn family_of(&self, id: NameId) -> Family<'_> {
        self.family(usize::from(self.names[usize::from(id.0)].family))
    }

    /// How many label pairs the chunk uses; their numbers are below.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// A label pair by its number.
    #[inline]
    pub fn pair(&self, id: PairId) -> Pair<'_> {
        let entry = &self.pairs[usize::from(id.0)];
        let (start, name_length) = (entry.start as usize, usize::from(entry.name_length));
        let value_length = if entry.is_empty { 0 } else { usize::from(entry.value_length_less_one) + 1 };
        let text_length = entry.text_length as usize;
        // name="value": nothing was escaped or quoted, so name and value can be read from the text itself.
        if text_length == name_length + value_length + PLAIN_MARKS {
            let text = &self.text[start..start + text_length];
            return Pair { name: &text[..name_length], value: &text[name_length + 2..text_length - 1], text };
        }
        let value_start = start + name_length;
        let text_start = value_start + value_length;
        Pair {
            name: &self.text[start..value_start],
            value: &self.text[value_start..text_start],
            text: &self.text[text_start..text_start + text_length],
        }
    }

    /// [`Pair::text`] alone; `None` where the value is empty, so that there is nothing to write.
    #[inline]
    pub fn text_of(&self, id: PairId) -> Option<&[u8]> {
        let entry = &self.pairs[usize::from(id.0)];
        if entry.is_empty {
            return None;
        }
        let (start, length) = (entry.start as usize, entry.text_length as usize);
        let raw = usize::from(entry.name_length) + usize::from(entry.value_length_less_one) + 1;
        // As in `pair`: name and value stand before the text where it is not made of them as they are.
        let start = if length == raw + 3 { start } else { start + raw };
        Some(&self.text.as_bytes()[start..start + length])
    }

    /// The whole label set of a slot's series: its own labels over its target's. `None` where it is free.
    pub fn labels(&self, slot: usize, target: &Labels) -> Option<Labels> {
        let name = self.name_of(slot)?;
        let mut builder = LabelsBuilder::from_labels(target);
        builder.set(METRIC_NAME, self.name(name));
        for id in self.pairs_of(slot) {
            let pair = self.pair(*id);
            builder.set(pair.name, pair.value);
        }
        Some(builder.build())
    }

    /// Heap bytes behind the handle.
    pub fn heap_bytes(&self) -> usize {
        self.text.len()
            + size_of_val(&*self.families)
            + size_of_val(&*self.names)
            + size_of_val(&*self.pairs)
            + size_of_val(&*self.slots)
            + size_of_val(&*self.pair_lists)
    }

    /// The slots that do not hold the same series in both, whatever their metadata.
    pub fn redefined(&self, new: &Chunk) -> SlotSet {
        let mut same = SameNumbers::new(self, new);
        let mut slots = [0u64; 4];
        for slot in (0..CHUNK_SLOTS).filter(|slot| !same.has_series(*slot)) {
            slots[slot / 64] |= 1 << (slot % 64);
        }
        slots
    }

    /// Tells of one slot after the other whether it holds the same series in both.
    pub fn same_series<'a>(&'a self, new: &'a Chunk) -> impl FnMut(usize) -> bool + 'a {
        let mut same = SameNumbers::new(self, new);
        move |slot| same.has_series(slot)
    }

    /// A metric name of the same family, metadata included.
    pub(super) fn find_name(&self, name: &str, family: &Family<'_>) -> Option<NameId> {
        let is_same = |id: &NameId| self.name(*id) == name && self.family_of(*id) == *family;
        (0..self.names.len() as u16).map(NameId).find(is_same)
    }

    fn string(&self, span: Span) -> &str {
        &self.text[span.start as usize..][..span.length as usize]
    }

    fn family(&self, number: usize) -> Family<'_> {
        let entry = &self.families[number];
        Family {
            name: self.string(entry.name),
            kind: entry.kind,
            help: self.string(entry.help),
            unit: self.string(entry.unit),
        }
    }

    /// Packs the tables; `canonical` are their bytes, and `hash` is the hash of these.
    pub(super) fn pack(tables: &Tables<'_>, canonical: &[u8], hash: ChunkHash) -> Result<Chunk, Malformed> {
        let mut text = String::with_capacity(canonical.len() + 4 * tables.pairs.len());
        let names: Box<[NameEntry]> = tables
            .names
            .iter()
            .map(|(family, name)| NameEntry { name: put_text(&mut text, name), family: *family })
            .collect();
        let families = pack_families(tables, &mut text, &names);
        let pairs = tables.pairs.iter().map(|pair| pack_pair(&mut text, pair)).collect();
        if text.len() > PACKED_TEXT_MAX {
            let (found, max) = (text.len() as u64, PACKED_TEXT_MAX as u64);
            return Err(Malformed::OutOfBounds { what: "text of a chunk", found, max });
        }
        Ok(Chunk {
            hash,
            text: text.into_boxed_str(),
            families,
            names,
            pairs,
            slots: [&tables.slot_names[..], &tables.pair_ends[..]].concat().into_boxed_slice(),
            pair_lists: tables.pair_lists.iter().map(|pair| PairId(*pair)).collect(),
            len: tables.slots() as u16,
            live: tables.slot_names.iter().filter(|name| **name != FREE).count() as u16,
        })
    }

    /// Appends the canonical bytes.
    pub(super) fn put_canonical(&self, out: &mut Vec<u8>) {
        self.tables().put_canonical(out);
    }

    /// Its tables, borrowed.
    pub(super) fn tables(&self) -> Tables<'_> {
        let len = self.len();
        Tables {
            families: (0..self.families.len()).map(|number| self.family(number)).collect(),
            names: self.names.iter().map(|entry| (entry.family, self.string(entry.name))).collect(),
            pairs: (0..self.pairs.len()).map(|number| self.pair(PairId(number as u16))).collect(),
            slot_names: self.slots[..len].to_vec(),
            pair_ends: self.slots[len..].to_vec(),
            pair_lists: self.pair_lists.iter().map(|pair| pair.0).collect(),
        }
    }
}

/// Which numbers of one chunk's tables stand for the same strings as which of another's. Chunks that are compared differ in few
/// series, so nearly every number is found where it was found the last time, and no string is looked at twice.
struct SameNumbers<'a> {
    old: &'a Chunk,
    new: &'a Chunk,
    /// The old number of each new one, [`FREE`] while there is none.
    names: Vec<u16>,
    pairs: Vec<u16>,
}

impl SameNumbers<'_> {
    fn new<'a>(old: &'a Chunk, new: &'a Chunk) -> SameNumbers<'a> {
        SameNumbers { old, new, names: vec![FREE; new.names.len()], pairs: vec![FREE; new.pairs.len()] }
    }

    fn has_series(&mut self, slot: usize) -> bool {
        let (Some(old), Some(new)) = (self.old.name_of(slot), self.new.name_of(slot)) else { return false };
        let (own, others) = (self.old.pairs_of(slot), self.new.pairs_of(slot));
        own.len() == others.len()
            && self.has_name(old, new)
            && own.iter().zip(others).all(|(old, new)| self.has_pair(*old, *new))
    }

    fn has_name(&mut self, old: NameId, new: NameId) -> bool {
        let known = &mut self.names[usize::from(new.0)];
        let is_same = *known == old.0 || self.old.name(old) == self.new.name(new);
        *known = if is_same { old.0 } else { *known };
        is_same
    }

    fn has_pair(&mut self, old: PairId, new: PairId) -> bool {
        let known = &mut self.pairs[usize::from(new.0)];
        let is_same = *known == old.0 || self.old.pair(old).is_same(&self.new.pair(new));
        *known = if is_same { old.0 } else { *known };
        is_same
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({:?}, {} of {} slots)", self.hash, self.live, self.len)
    }
}

/// Equal content, told by the hash.
impl PartialEq for Chunk {
    fn eq(&self, other: &Chunk) -> bool {
        self.hash == other.hash
    }
}

/// A family's name is nearly always the beginning of one of its metrics' names, and then takes no room of its own.
fn pack_families(tables: &Tables<'_>, text: &mut String, names: &[NameEntry]) -> Box<[FamilyEntry]> {
    let mut shared = vec![None; tables.families.len()];
    for (entry, (family, name)) in names.iter().zip(&tables.names) {
        let own = tables.families[usize::from(*family)].name;
        if name.starts_with(own) {
            shared[usize::from(*family)] = Some(Span { start: entry.name.start, length: own.len() as u32 });
        }
    }
    let entries = tables.families.iter().zip(shared).map(|(family, shared)| FamilyEntry {
        name: shared.unwrap_or_else(|| put_text(text, family.name)),
        help: put_text(text, family.help),
        unit: put_text(text, family.unit),
        kind: family.kind,
    });
    entries.collect()
}

/// BLAKE3, cut to 16 bytes.
pub(super) fn hash_128(bytes: &[u8]) -> [u8; 16] {
    let hash = blake3::hash(bytes);
    *hash.as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes")
}

fn put_text(text: &mut String, string: &str) -> Span {
    let start = text.len() as u32;
    text.push_str(string);
    Span { start, length: string.len() as u32 }
}

fn needs_escape(string: &str) -> bool {
    string.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n'))
}

fn put_escaped(text: &mut String, string: &str) {
    if !needs_escape(string) {
        return text.push_str(string);
    }
    for letter in string.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ => text.push(letter),
        }
    }
}

fn pack_pair(text: &mut String, pair: &Pair<'_>) -> PairEntry {
    let start = text.len();
    let Pair { name, value, text: ready } = *pair;
    let is_legacy = || is_legacy_label_name(name);
    let is_plain = match ready {
        "" => is_legacy() && !needs_escape(value),
        ready => ready.len() == name.len() + value.len() + PLAIN_MARKS,
    };
    if !is_plain {
        text.push_str(name);
        text.push_str(value);
    }
    let text_start = text.len();
    match ready {
        "" => put_pair_text(text, name, value, is_plain || is_legacy()),
        ready => text.push_str(ready),
    }
    PairEntry {
        start: start as u32,
        text_length: (text.len() - text_start) as u32,
        name_length: name.len() as u16,
        value_length_less_one: value.len().saturating_sub(1) as u16,
        is_empty: value.is_empty(),
    }
}

/// `name="value"` with escapes; a name that is not a legacy one is quoted.
fn put_pair_text(text: &mut String, name: &str, value: &str, is_legacy: bool) {
    if is_legacy {
        text.push_str(name);
    } else {
        text.push('"');
        put_escaped(text, name);
        text.push('"');
    }
    text.push_str("=\"");
    put_escaped(text, value);
    text.push('"');
}
