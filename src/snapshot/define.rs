//! SCHEMA and PATCH frames: how a stream tells which series have which slots.
//!
//! Invariant: what arrives is kept only if it hashes to the name that it was announced with, so a definition can arrive twice, in
//! any order and after any loss, and never mean anything else. Chunks that another stream sent already are shared.
//!
//! ## Payload
//!
//! | part | content |
//! |---|---|
//! | result | 16 bytes: the schema's hash |
//! | base | 16 bytes, in PATCH only: hash of the schema whose chunks stand where none is given |
//! | chunks | varint: how many chunks the schema has |
//! | given | until the end, of each: chunks skipped since the one before (varint), form (byte), length (varint), and so many bytes |
//!
//! Form 0 is a chunk's canonical bytes (see `tables.rs`). Form 1 is told against the base's chunk in the same place:
//! families, metric names and label pairs that it lacks, as in the canonical bytes, numbered behind its own; how many slots the
//! chunk has; how many changed; and of each changed one the slots skipped since the one before, the number of its metric name
//! + 1 (0: it became free), how many pairs, and their numbers.
//!
//! A definition too long for one frame is cut between chunks; every part repeats the first three fields.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::chunk::{CHUNK_SLOTS, Chunk, ChunkHash, Family, SERIES_LABELS_MAX, hash_128};
use super::decode::ApplyError;
use super::encode::EncodedFrame;
use super::frame::{Frame, FrameHeader, FrameKind, FrameLimits, Packer, StreamId};
use super::reader::{Malformed, Reader, put_varint};
use super::schema::{Schema, SchemaCache, SchemaHash};
use super::tables::Tables;
use crate::model::Timestamp;

const FORM_WHOLE: u8 = 0;
const FORM_PATCH: u8 = 1;
/// A patch that takes more than this part of the whole chunk is not worth the decoder's work.
const PATCH_SHARE: usize = 2;
/// Label pairs that a base and its additions may have together.
const PATCH_PAIRS_MAX: usize = u16::MAX as usize;

/// The frames that define `schema`, told against `base` where there is one.
pub(super) fn encode(
    packer: &mut Packer,
    stream: StreamId,
    base: Option<&Schema>,
    schema: &Arc<Schema>,
    limits: &FrameLimits,
) -> Vec<EncodedFrame> {
    let head = head(base, schema);
    let mut parts = Vec::new();
    let (mut part, mut next) = (head.clone(), 0);
    for (at, chunk) in schema.chunks().iter().enumerate() {
        let old = base.and_then(|base| base.chunks().get(at));
        if old.is_some_and(|old| old.hash() == chunk.hash()) {
            continue;
        }
        let (form, bytes) = chunk_form(old, chunk);
        if part.len() > head.len() && part.len() + bytes.len() > limits.frame_bytes_max / 2 {
            parts.push(std::mem::replace(&mut part, head.clone()));
            next = 0;
        }
        put_varint(&mut part, (at - next) as u64);
        next = at + 1;
        part.push(form);
        put_varint(&mut part, bytes.len() as u64);
        part.extend_from_slice(&bytes);
    }
    parts.push(part);
    let kind = if base.is_some() { FrameKind::Patch } else { FrameKind::Schema };
    let header = FrameHeader::new(kind, stream, 0, Timestamp(0), Timestamp(0));
    let last = parts.len() - 1;
    let frame = |(at, part): (usize, Vec<u8>)| {
        let header = FrameHeader { more: at < last, continued: at > 0, ..header };
        let bytes = packer.frame(&header, &[&part]);
        EncodedFrame { kind, seq: 0, bytes, samples: 0, schemas: vec![schema.clone()], more: header.more }
    };
    parts.into_iter().enumerate().map(frame).collect()
}

fn head(base: Option<&Schema>, schema: &Schema) -> Vec<u8> {
    let mut head = schema.hash().0.to_vec();
    if let Some(base) = base {
        head.extend_from_slice(&base.hash().0);
    }
    put_varint(&mut head, schema.chunks().len() as u64);
    head
}

/// The shorter way to tell a chunk.
fn chunk_form(old: Option<&Arc<Chunk>>, chunk: &Chunk) -> (u8, Vec<u8>) {
    let mut whole = Vec::new();
    chunk.put_canonical(&mut whole);
    let patch = old.and_then(|old| encode_patch(old, chunk));
    match patch.filter(|patch| patch.len() * PATCH_SHARE < whole.len()) {
        Some(patch) => (FORM_PATCH, patch),
        None => (FORM_WHOLE, whole),
    }
}

/// The tables of a chunk, extended as another one needs.
struct Extension<'a> {
    tables: Tables<'a>,
    families: HashMap<Family<'a>, u16, RandomState>,
    names: HashMap<(u16, &'a str), u16, RandomState>,
    pairs: HashMap<(&'a str, &'a str), u16, RandomState>,
}

impl<'a> Extension<'a> {
    fn new(tables: Tables<'a>) -> Extension<'a> {
        let numbers = 0u16..;
        Extension {
            families: tables.families.iter().copied().zip(numbers.clone()).collect(),
            names: tables.names.iter().copied().zip(numbers.clone()).collect(),
            pairs: tables.pairs.iter().copied().zip(numbers).collect(),
            tables,
        }
    }

    fn name(&mut self, name: &'a str, family: Family<'a>) -> u16 {
        let tables = &mut self.tables;
        let family = *self.families.entry(family).or_insert_with(|| push(&mut tables.families, family));
        *self.names.entry((family, name)).or_insert_with(|| push(&mut tables.names, (family, name)))
    }

    fn pair(&mut self, pair: (&'a str, &'a str)) -> u16 {
        let pairs = &mut self.tables.pairs;
        *self.pairs.entry(pair).or_insert_with(|| push(pairs, pair))
    }
}

fn push<T>(table: &mut Vec<T>, entry: T) -> u16 {
    table.push(entry);
    (table.len() - 1) as u16
}

/// A chunk told against an older one, `None` where that is no way to tell it.
fn encode_patch(old: &Chunk, chunk: &Chunk) -> Option<Vec<u8>> {
    let (base, new) = (old.tables(), chunk.tables());
    let lengths = (base.families.len(), base.names.len(), base.pairs.len());
    if lengths.2 + new.pairs.len() > PATCH_PAIRS_MAX {
        return None;
    }
    let changed: Vec<usize> = (0..new.slots()).filter(|slot| !new.same_slot(&base, *slot)).collect();
    let mut extension = Extension::new(base);
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
        let name = extension.name(name, new.families[usize::from(family)]);
        put_varint(&mut slots, u64::from(name) + 1);
        put_varint(&mut slots, pairs.len() as u64);
        for pair in pairs {
            put_varint(&mut slots, u64::from(extension.pair(new.pairs[usize::from(*pair)])));
        }
    }
    let mut patch = Vec::new();
    extension.tables.put_strings_from(&mut patch, lengths.0, lengths.1, lengths.2);
    patch.extend_from_slice(&slots);
    Some(patch)
}

/// The chunk that a patch makes of an older one.
fn decode_patch(old: &Chunk, patch: &[u8]) -> Result<Chunk, Malformed> {
    let mut reader = Reader::new(patch);
    let mut tables = old.tables();
    tables.take_strings(&mut reader)?;
    if tables.pairs.len() > PATCH_PAIRS_MAX {
        let (found, max) = (tables.pairs.len() as u64, PATCH_PAIRS_MAX as u64);
        return Err(Malformed::OutOfBounds { what: "label pairs of a patch", found, max });
    }
    let slots = reader.bounded("slots of a chunk", CHUNK_SLOTS as u64)?;
    let mut changed: HashMap<usize, Option<(u16, Vec<u16>)>> = HashMap::new();
    let mut next = 0;
    for _ in 0..reader.count("changed slots of a chunk", slots as u64, 2)? {
        let left = slots.checked_sub(next + 1).ok_or(Malformed::OutOfPlace("changed slot"))?;
        let slot = next + reader.bounded("changed slot", left as u64)?;
        next = slot + 1;
        let name = tables.take_name(&mut reader)?;
        let definition = match name {
            None => None,
            Some(name) => {
                let count = reader.count("labels of a series", SERIES_LABELS_MAX as u64, 1)?;
                Some((name, tables.take_pairs(&mut reader, count)?))
            }
        };
        changed.insert(slot, definition);
    }
    reader.end("chunk patch")?;
    let definition = |slot: usize| match changed.get(&slot) {
        Some(definition) => definition.as_ref().map(|(name, pairs)| (*name, &pairs[..])),
        None => tables.slot(slot),
    };
    tables.with_slots((0..slots).map(definition)).finish()
}

/// The schemas that a stream has defined, and the one that it is in the middle of.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    known: HashMap<SchemaHash, Arc<Schema>>,
    /// Defined since the last tick was whole, so perhaps not yet referred to.
    recent: HashSet<SchemaHash>,
    pending: Option<Pending>,
}

/// A schema of which some parts are still to come.
#[derive(Clone, Debug)]
struct Pending {
    hash: SchemaHash,
    chunks: Vec<Option<Arc<Chunk>>>,
}

impl Definitions {
    pub(super) fn get(&self, hash: SchemaHash) -> Option<&Arc<Schema>> {
        self.known.get(&hash)
    }

    /// Keeps what `is_used` and what was defined since the last call.
    pub(super) fn retain(&mut self, used: impl Fn() -> HashSet<SchemaHash>) {
        if self.recent.is_empty() {
            return;
        }
        let used = used();
        let recent = std::mem::take(&mut self.recent);
        self.known.retain(|hash, _| used.contains(hash) || recent.contains(hash));
    }

    /// Takes a part in: all of it or nothing.
    pub(super) fn define(
        &mut self,
        frame: &Frame<'_>,
        limits: &FrameLimits,
        cache: &SchemaCache,
    ) -> Result<(), ApplyError> {
        let raw = frame.unpack().map_err(|reason| ApplyError::Packing { seq: 0, reason })?;
        let corrupt = |reason| ApplyError::Corrupt { seq: 0, reason };
        let mut reader = Reader::new(&raw);
        let hash = SchemaHash(reader.array("schema hash").map_err(corrupt)?);
        if self.known.contains_key(&hash) {
            return Ok(());
        }
        let mut pending = self.begin(frame, hash, &mut reader, limits)?;
        let bytes = self.heap_bytes(&pending);
        take_chunks(&mut pending, &mut reader, cache, bytes, limits).map_err(corrupt)?;
        if frame.header().more {
            self.pending = Some(pending);
            return Ok(());
        }
        let chunks: Option<Vec<Arc<Chunk>>> = pending.chunks.into_iter().collect();
        let schema = Schema::new(chunks.ok_or(corrupt(Malformed::Short("schema")))?);
        if schema.hash() != hash {
            let found = u128::from_be_bytes(schema.hash().0);
            return Err(corrupt(Malformed::WrongHash { what: "schema", found }));
        }
        self.admit(cache.share_schema(schema), limits).map_err(corrupt)?;
        self.pending = None;
        Ok(())
    }

    /// What is there before this part's chunks: nothing, the base's, or those of the parts before.
    fn begin(
        &self,
        frame: &Frame<'_>,
        hash: SchemaHash,
        reader: &mut Reader<'_>,
        limits: &FrameLimits,
    ) -> Result<Pending, ApplyError> {
        let corrupt = |reason| ApplyError::Corrupt { seq: 0, reason };
        let unknown = || ApplyError::UnknownSchemas(vec![hash]);
        let base = match frame.header().kind {
            FrameKind::Patch => {
                let base = SchemaHash(reader.array("base hash").map_err(corrupt)?);
                Some(self.get(base).ok_or_else(unknown)?)
            }
            _ => None,
        };
        let chunks_max = limits.slots_max.div_ceil(CHUNK_SLOTS) as u64;
        let count = reader.bounded("chunks of a schema", chunks_max).map_err(corrupt)?;
        if frame.header().continued {
            let pending = self.pending.clone().filter(|pending| pending.hash == hash && pending.chunks.len() == count);
            return pending.ok_or_else(unknown);
        }
        let mut chunks: Vec<Option<Arc<Chunk>>> = Vec::new();
        if let Some(base) = base {
            chunks.extend(base.chunks().iter().take(count).cloned().map(Some));
        }
        chunks.resize(count, None);
        Ok(Pending { hash, chunks })
    }

    /// Bytes that everything defined takes, with chunks that schemas share counted once.
    fn heap_bytes(&self, pending: &Pending) -> usize {
        let mut seen: HashSet<*const Chunk, RandomState> = HashSet::default();
        let known = self.known.values().flat_map(|schema| schema.chunks());
        let chunks = known.chain(pending.chunks.iter().flatten());
        chunks.filter(|chunk| seen.insert(Arc::as_ptr(chunk))).map(|chunk| chunk.heap_bytes()).sum()
    }

    fn admit(&mut self, schema: Arc<Schema>, limits: &FrameLimits) -> Result<(), Malformed> {
        let chunks: usize = self.known.values().map(|schema| schema.chunks().len()).sum();
        let (found, max) = ((chunks + schema.chunks().len()) * CHUNK_SLOTS, 2 * limits.slots_max + CHUNK_SLOTS);
        if found > max {
            let (found, max) = (found as u64, max as u64);
            return Err(Malformed::OutOfBounds { what: "slots of a stream's schemas", found, max });
        }
        self.recent.insert(schema.hash());
        self.known.insert(schema.hash(), schema);
        Ok(())
    }
}

/// Reads chunks into their places; `bytes` are taken by what the stream has defined before.
fn take_chunks(
    pending: &mut Pending,
    reader: &mut Reader<'_>,
    cache: &SchemaCache,
    mut bytes: usize,
    limits: &FrameLimits,
) -> Result<(), Malformed> {
    let mut next = 0usize;
    while reader.left() > 0 {
        let left = pending.chunks.len().checked_sub(next + 1).ok_or(Malformed::OutOfPlace("chunk"))?;
        let at = next + reader.bounded("chunk", left as u64)?;
        next = at + 1;
        let form = reader.byte("chunk form")?;
        let length = reader.count("chunk", u64::from(u32::MAX), 1)?;
        let content = reader.take(length, "chunk")?;
        let chunk = match (form, &pending.chunks[at]) {
            (FORM_WHOLE, _) => whole_chunk(content, cache)?,
            (FORM_PATCH, Some(old)) => cache.share_chunk(decode_patch(old, content)?),
            (FORM_PATCH, None) => return Err(Malformed::OutOfPlace("chunk patch")),
            (found, _) => return Err(Malformed::Unknown { what: "chunk form", found: u64::from(found) }),
        };
        bytes += chunk.heap_bytes();
        if bytes > limits.schema_bytes_max {
            let (found, max) = (bytes as u64, limits.schema_bytes_max as u64);
            return Err(Malformed::OutOfBounds { what: "bytes of a stream's schemas", found, max });
        }
        pending.chunks[at] = Some(chunk);
    }
    Ok(())
}

fn whole_chunk(bytes: &[u8], cache: &SchemaCache) -> Result<Arc<Chunk>, Malformed> {
    if let Some(chunk) = cache.chunk(ChunkHash(hash_128(bytes))) {
        return Ok(chunk);
    }
    Ok(cache.share_chunk(Chunk::pack(&Tables::parse(bytes)?, bytes)?))
}
