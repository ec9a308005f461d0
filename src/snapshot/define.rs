//! DEFINE frames: how a stream tells which series have which slots.
//!
//! Invariant: what arrives is kept only if it hashes to the name that it was announced with, so a definition can arrive twice, in
//! any order and after any loss, and never mean anything else. Chunks that another stream sent already are shared.
//!
//! ## Payload
//!
//! Definitions until the end, all of one tick in one frame. Of each:
//!
//! | part | content |
//! |---|---|
//! | result | 16 bytes: the schema's hash |
//! | has a base | 0, or 1 and 16 bytes: hash of the schema whose chunks stand where none is given |
//! | chunks | varint: how many chunks the schema has |
//! | given | varint: how many follow; of each: chunks skipped since the one before (varint), form (byte), length (varint), and so many bytes |
//!
//! Form 0 is a chunk's canonical bytes (see `tables.rs`). Form 1 is told against what stood in the same place, and is drawn in
//! `patch.rs`.
//!
//! What is too long for one frame is cut between chunks. The last definition of a frame with MORE is not finished: it stands again
//! first in the next frame, with the chunks that follow.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::chunk::{CHUNK_SLOTS, Chunk, ChunkHash, hash_128};
use super::decode::ApplyError;
use super::encode::EncodedFrame;
use super::frame::{Frame, FrameHeader, FrameKind, FrameLimits, Packer, StreamId};
use super::patch::{decode_patch, encode_patch};
use super::reader::{Malformed, Reader, put_varint};
use super::schema::{Schema, SchemaCache, SchemaHash};
use super::tables::Tables;
use crate::model::Timestamp;

const FORM_WHOLE: u8 = 0;
const FORM_PATCH: u8 = 1;
/// A patch that takes more than this part of the whole chunk is not worth the decoder's work.
const PATCH_SHARE: usize = 2;

/// Collects the definitions of one tick into frames.
pub(super) struct DefinitionWriter<'a> {
    limits: &'a FrameLimits,
    /// Payloads that are full, and the one that is being filled, with the schemas that they define.
    parts: Vec<(Vec<u8>, Vec<Arc<Schema>>)>,
}

impl<'a> DefinitionWriter<'a> {
    pub(super) fn new(limits: &'a FrameLimits) -> DefinitionWriter<'a> {
        DefinitionWriter { limits, parts: Vec::new() }
    }

    /// Appends a schema, told against `base` where there is one.
    pub(super) fn put(&mut self, base: Option<&Schema>, schema: &Arc<Schema>) {
        let head = head(base, schema);
        let (mut given, mut count, mut next) = (Vec::new(), 0, 0);
        for (at, chunk) in schema.chunks().iter().enumerate() {
            let old = base.and_then(|base| base.chunks().get(at));
            if old.is_some_and(|old| Arc::ptr_eq(old, chunk) || old.hash() == chunk.hash()) {
                continue;
            }
            let (form, bytes) = chunk_form(base, schema, at);
            let filled = self.parts.last().map_or(0, |(part, _)| part.len()) + given.len();
            if filled > 0 && filled + head.len() + bytes.len() > self.limits.frame_bytes_max / 2 {
                self.close(&head, count, &given, schema);
                self.parts.push(Default::default());
                (count, next) = (0, 0);
                given.clear();
            }
            put_varint(&mut given, (at - next) as u64);
            (count, next) = (count + 1, at + 1);
            given.push(form);
            put_varint(&mut given, bytes.len() as u64);
            given.extend_from_slice(&bytes);
        }
        self.close(&head, count, &given, schema);
    }

    fn close(&mut self, head: &[u8], count: u64, given: &[u8], schema: &Arc<Schema>) {
        if self.parts.is_empty() {
            self.parts.push(Default::default());
        }
        let (part, schemas) = self.parts.last_mut().expect("pushed above where there was none");
        part.extend_from_slice(head);
        put_varint(part, count);
        part.extend_from_slice(given);
        schemas.push(schema.clone());
    }

    /// The frames, none where nothing was defined.
    pub(super) fn finish(self, packer: &mut Packer, stream: StreamId, volatile: bool) -> Vec<EncodedFrame> {
        let (kind, parts) = (FrameKind::Define, self.parts.len());
        let header = FrameHeader { volatile, ..FrameHeader::new(kind, stream, 0, Timestamp(0), Timestamp(0)) };
        let frame = |(at, (part, schemas)): (usize, (Vec<u8>, Vec<Arc<Schema>>))| {
            let header = FrameHeader { more: at + 1 < parts, continued: at > 0, ..header };
            let bytes = packer.frame(&header, &[&part]);
            EncodedFrame { kind, seq: 0, bytes, samples: 0, schemas, more: header.more }
        };
        self.parts.into_iter().enumerate().map(frame).collect()
    }
}

fn head(base: Option<&Schema>, schema: &Schema) -> Vec<u8> {
    let mut head = schema.hash().0.to_vec();
    head.push(u8::from(base.is_some()));
    if let Some(base) = base {
        head.extend_from_slice(&base.hash().0);
    }
    put_varint(&mut head, schema.chunks().len() as u64);
    head
}

/// The shorter way to tell a chunk.
fn chunk_form(base: Option<&Schema>, schema: &Schema, at: usize) -> (u8, Vec<u8>) {
    let mut whole = Vec::new();
    schema.chunks()[at].put_canonical(&mut whole);
    let patch = base.and_then(|base| encode_patch(base, schema, at));
    match patch.filter(|patch| patch.len() * PATCH_SHARE < whole.len()) {
        Some(patch) => (FORM_PATCH, patch),
        None => (FORM_WHOLE, whole),
    }
}

/// The schemas that a stream has defined, and the one that it is in the middle of.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    known: HashMap<SchemaHash, Arc<Schema>, RandomState>,
    /// The chunks of all known schemas: how many schemas have each, and the bytes that it takes.
    chunks: HashMap<ChunkHash, (usize, usize), RandomState>,
    /// Bytes that all known schemas take, with chunks that they share counted once.
    heap_bytes: usize,
    /// Slots of all known schemas.
    slots: usize,
    /// Defined since the last tick was whole, so perhaps not yet referred to.
    recent: HashSet<SchemaHash, RandomState>,
    pending: Option<Pending>,
}

/// A schema of which some parts are still to come.
#[derive(Clone, Debug)]
struct Pending {
    hash: SchemaHash,
    /// The base's chunks, and in their place those that were given so far.
    chunks: Vec<Option<Arc<Chunk>>>,
    /// Bytes that the given ones take.
    given_bytes: usize,
}

impl Definitions {
    pub(super) fn get(&self, hash: SchemaHash) -> Option<&Arc<Schema>> {
        self.known.get(&hash)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.known.values()
    }

    /// Keeps what `is_used` and what was defined since the last call.
    pub(super) fn retain(&mut self, used: impl Fn() -> HashSet<SchemaHash, RandomState>) {
        if self.recent.is_empty() {
            return;
        }
        let used = used();
        let recent = std::mem::take(&mut self.recent);
        let is_over = |hash: &&SchemaHash| !used.contains(hash) && !recent.contains(hash);
        let over: Vec<SchemaHash> = self.known.keys().filter(is_over).copied().collect();
        over.into_iter().for_each(|hash| self.forget(hash));
    }

    /// Takes a frame's definitions in order. What is refused leaves those before it: each stands by itself.
    pub(super) fn define(
        &mut self,
        frame: &Frame<'_>,
        limits: &FrameLimits,
        cache: &SchemaCache,
    ) -> Result<(), ApplyError> {
        let raw = frame.unpack().map_err(|reason| ApplyError::Packing { seq: 0, reason })?;
        let mut reader = Reader::new(&raw);
        let mut unknown = Vec::new();
        let mut goes_on = frame.header().continued;
        let mut before = self.pending.take();
        while reader.left() > 0 {
            let told = Told::read(&mut reader, limits).map_err(corrupt)?;
            let is_open = frame.header().more && reader.left() == 0;
            let pending = match std::mem::take(&mut goes_on) {
                true => before.take().filter(|before| before.is_of(&told)),
                false => self.begin(&told),
            };
            match pending {
                _ if self.known.contains_key(&told.hash) => {}
                Some(pending) => self.take(pending, &told, is_open, limits, cache).map_err(corrupt)?,
                None => unknown.push(told.hash),
            }
        }
        if unknown.is_empty() { Ok(()) } else { Err(ApplyError::UnknownSchemas(unknown)) }
    }

    /// What is there before the given chunks: nothing, or the base's. `None` where the base is missing.
    fn begin(&self, told: &Told<'_>) -> Option<Pending> {
        let mut chunks: Vec<Option<Arc<Chunk>>> = match told.base {
            Some(base) => self.get(base)?.chunks().iter().take(told.chunks).cloned().map(Some).collect(),
            None => Vec::new(),
        };
        chunks.resize(told.chunks, None);
        Some(Pending { hash: told.hash, chunks, given_bytes: 0 })
    }

    fn take(
        &mut self,
        mut pending: Pending,
        told: &Told<'_>,
        is_open: bool,
        limits: &FrameLimits,
        cache: &SchemaCache,
    ) -> Result<(), Malformed> {
        pending.take_chunks(told, self.heap_bytes, limits, cache)?;
        if is_open {
            self.pending = Some(pending);
            return Ok(());
        }
        let chunks: Option<Vec<Arc<Chunk>>> = pending.chunks.into_iter().collect();
        let schema = Schema::new(chunks.ok_or(Malformed::Short("schema"))?);
        if schema.hash() != told.hash {
            let number = |hash: SchemaHash| u128::from_be_bytes(hash.0);
            return Err(Malformed::WrongHash { announced: number(told.hash), found: number(schema.hash()) });
        }
        self.admit(cache.share_schema(schema), limits)
    }

    fn admit(&mut self, schema: Arc<Schema>, limits: &FrameLimits) -> Result<(), Malformed> {
        let slots = schema.chunks().len() * CHUNK_SLOTS;
        let (found, max) = (self.slots + slots, 2 * limits.slots_max + CHUNK_SLOTS);
        if found > max {
            let (found, max) = (found as u64, max as u64);
            return Err(Malformed::OutOfBounds { what: "slots of a stream's schemas", found, max });
        }
        self.slots = found;
        for chunk in schema.chunks() {
            let (schemas, bytes) = self.chunks.entry(chunk.hash()).or_insert_with(|| (0, chunk.heap_bytes()));
            self.heap_bytes += if *schemas == 0 { *bytes } else { 0 };
            *schemas += 1;
        }
        self.recent.insert(schema.hash());
        self.known.insert(schema.hash(), schema);
        Ok(())
    }

    fn forget(&mut self, hash: SchemaHash) {
        let Some(schema) = self.known.remove(&hash) else { return };
        self.slots -= schema.chunks().len() * CHUNK_SLOTS;
        for chunk in schema.chunks() {
            let Some((schemas, bytes)) = self.chunks.get_mut(&chunk.hash()) else { continue };
            *schemas -= 1;
            if *schemas == 0 {
                self.heap_bytes -= *bytes;
                self.chunks.remove(&chunk.hash());
            }
        }
    }
}

fn corrupt(reason: Malformed) -> ApplyError {
    ApplyError::Corrupt { seq: 0, reason }
}

/// A definition as it stands in a frame.
struct Told<'a> {
    hash: SchemaHash,
    base: Option<SchemaHash>,
    chunks: usize,
    /// Place, form and bytes.
    given: Vec<(usize, u8, &'a [u8])>,
}

impl<'a> Told<'a> {
    fn read(reader: &mut Reader<'a>, limits: &FrameLimits) -> Result<Told<'a>, Malformed> {
        let hash = SchemaHash(reader.array("schema hash")?);
        let base = match reader.byte("base")? {
            0 => None,
            1 => Some(SchemaHash(reader.array("base hash")?)),
            found => return Err(Malformed::Unknown { what: "base", found: u64::from(found) }),
        };
        let chunks = reader.bounded("chunks of a schema", limits.slots_max.div_ceil(CHUNK_SLOTS) as u64)?;
        let mut given = Vec::with_capacity(reader.count("given chunks", chunks as u64, 3)?);
        let mut next = 0usize;
        for _ in 0..given.capacity() {
            let left = chunks.checked_sub(next + 1).ok_or(Malformed::OutOfPlace("chunk"))?;
            let at = next + reader.bounded("chunk", left as u64)?;
            next = at + 1;
            let form = reader.byte("chunk form")?;
            let length = reader.count("chunk", u64::from(u32::MAX), 1)?;
            given.push((at, form, reader.take(length, "chunk")?));
        }
        Ok(Told { hash, base, chunks, given })
    }
}

impl Pending {
    fn is_of(&self, told: &Told<'_>) -> bool {
        self.hash == told.hash && self.chunks.len() == told.chunks
    }

    /// Reads chunks into their places; `known_bytes` are taken by what the stream has defined before.
    fn take_chunks(
        &mut self,
        told: &Told<'_>,
        known_bytes: usize,
        limits: &FrameLimits,
        cache: &SchemaCache,
    ) -> Result<(), Malformed> {
        for (at, form, content) in &told.given {
            let chunk = match (*form, &self.chunks[*at]) {
                (FORM_WHOLE, _) => whole_chunk(content, cache)?,
                (FORM_PATCH, Some(old)) => cache.share_chunk(decode_patch(old, &self.chunks, content)?),
                (FORM_PATCH, None) => return Err(Malformed::OutOfPlace("chunk patch")),
                (found, _) => return Err(Malformed::Unknown { what: "chunk form", found: u64::from(found) }),
            };
            self.given_bytes += chunk.heap_bytes();
            let (found, max) = (known_bytes + self.given_bytes, limits.schema_bytes_max);
            if found > max {
                let (found, max) = (found as u64, max as u64);
                return Err(Malformed::OutOfBounds { what: "bytes of a stream's schemas", found, max });
            }
            self.chunks[*at] = Some(chunk);
        }
        Ok(())
    }
}

fn whole_chunk(bytes: &[u8], cache: &SchemaCache) -> Result<Arc<Chunk>, Malformed> {
    let hash = ChunkHash(hash_128(bytes));
    if let Some(chunk) = cache.chunk(hash) {
        return Ok(chunk);
    }
    Ok(cache.share_chunk(Chunk::pack(&Tables::parse(bytes)?, bytes, hash)?))
}
