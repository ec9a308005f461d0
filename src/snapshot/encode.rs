//! The collector's end of a stream: scrapes in, frames out.
//!
//! Invariant: the encoder knows what a decoder knows that has applied all its frames, and writes each scrape against that. A
//! KEY is written against nothing, and brings both ends to the same state whatever the decoder knew.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::beside::Beside;
use super::chunk::CHUNK_SLOTS;
use super::column::{ColumnChunk, check_chunks};
use super::define::DefinitionWriter;
use super::facts::Facts;
use super::frame::{FrameHeader, FrameKind, FrameLimits, Packer, StreamId};
use super::fresh::{Fresh, LeftOut};
use super::histograms::weight;
use super::part::{EntryWriter, FLAG_CARRIED, FLAG_EXTRA, FLAG_SCHEMA, Part};
use super::schema::{Schema, SchemaHash, redefined};
use super::scrape::{Outcome, Scrape, are_target_labels};
use super::sparse;
use super::values::{Basis, ChunkState};
use crate::model::{Labels, Timestamp, stale_nan};

/// Every so many frames a DELTA says what its targets' columns hash to.
const CHECK_EVERY: u64 = 16;

/// A finished frame and what its sender must know of it.
#[derive(Clone, Debug)]
pub struct EncodedFrame {
    /// What it is for.
    pub kind: FrameKind,
    /// Its place in the stream; 0 for definitions, which go before the frame that follows them.
    pub seq: u64,
    /// The frame.
    pub bytes: Bytes,
    /// Samples that the scrapes in it delivered.
    pub samples: u64,
    /// Schemas it defines or refers to: what a gateway that lost its state may ask for.
    pub schemas: Vec<Arc<Schema>>,
    /// Another part of the same tick or definition follows.
    pub more: bool,
}

/// What is known of one target at both ends.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) labels: Arc<Labels>,
    pub(super) schema: Arc<Schema>,
    pub(super) values: Vec<ColumnChunk>,
    pub(super) states: Vec<ChunkState>,
    pub(super) facts: Facts,
    pub(super) beside: Beside,
    /// Memory that its histograms take at the other end.
    histogram_bytes: usize,
    /// The decoder has heard of it.
    pub(super) is_told: bool,
}

impl Target {
    fn new(labels: Arc<Labels>, tick: Timestamp) -> Target {
        Target {
            labels,
            schema: Arc::new(Schema::new(Vec::new())),
            values: Vec::new(),
            states: Vec::new(),
            facts: Facts::new(tick),
            beside: Beside::default(),
            histogram_bytes: 0,
            is_told: false,
        }
    }

    /// Goes over to another schema: slots that hold another series are as new.
    fn adopt(&mut self, schema: &Arc<Schema>) {
        let chunks = schema.chunks().len();
        let redefined = redefined(&self.schema, schema);
        self.values.resize(chunks, [stale_nan(); CHUNK_SLOTS]);
        self.states.resize(chunks, ChunkState::default());
        for (at, slots) in &redefined {
            self.states[*at].forget(slots, &mut self.values[*at]);
        }
        sparse::forget(&mut self.beside, schema.slots(), &redefined);
        self.schema = schema.clone();
    }

    /// What a KEY says of it when it was not scraped.
    fn carried(&self, tick: Timestamp) -> Fresh<'static> {
        Fresh {
            facts: Facts { tick, ..self.facts },
            schema: self.schema.clone(),
            values: self.values.concat().into(),
            beside: Cow::Owned(self.beside.clone()),
            is_carried: true,
            left_out: LeftOut::default(),
        }
    }
}

/// How far a volatile stream was told: what [`Encoder::newest`] goes on from.
pub struct Ahead {
    stream: StreamId,
    next_seq: u64,
    defined: HashMap<SchemaHash, Arc<Schema>>,
}

impl Ahead {
    /// A stream of which nobody knows anything yet.
    pub fn new(stream: StreamId) -> Ahead {
        Ahead { stream, next_seq: 1, defined: HashMap::new() }
    }

    /// Its id.
    pub fn stream(&self) -> StreamId {
        self.stream
    }
}

/// Turns scrapes into the frames of one stream.
pub struct Encoder {
    stream: StreamId,
    started: Timestamp,
    limits: FrameLimits,
    packer: Packer,
    next_seq: u64,
    targets: BTreeMap<u32, Target>,
    numbers: HashMap<Arc<Labels>, u32>,
    free_numbers: Vec<u32>,
    next_number: u32,
    /// Slots of all targets.
    slots: usize,
    /// Memory that the histograms of all targets take at the other end.
    histogram_bytes: usize,
    /// Definitions that a decoder keeps: those that a target has.
    defined: HashMap<SchemaHash, Arc<Schema>>,
    needs_key: bool,
    has_gap: bool,
    is_volatile: bool,
    left_out: LeftOut,
}

impl Encoder {
    /// A new stream, which begins with a KEY. `started` is when its collector started.
    pub fn new(stream: StreamId, started: Timestamp, limits: FrameLimits) -> Encoder {
        Encoder {
            stream,
            started,
            limits,
            packer: Packer::new(),
            next_seq: 1,
            targets: BTreeMap::new(),
            numbers: HashMap::new(),
            free_numbers: Vec::new(),
            next_number: 0,
            slots: 0,
            histogram_bytes: 0,
            defined: HashMap::new(),
            needs_key: true,
            has_gap: false,
            is_volatile: false,
            left_out: LeftOut::default(),
        }
    }

    /// Another stream that begins with a KEY of all that this one knows, whatever was told of it here.
    pub fn anew(&self, stream: StreamId, started: Timestamp) -> Encoder {
        let (next_number, free_numbers) = (self.next_number, self.free_numbers.clone());
        let (slots, histogram_bytes, left_out) = (self.slots, self.histogram_bytes, self.left_out);
        let (targets, numbers) = (self.targets.clone(), self.numbers.clone());
        let new = Encoder::new(stream, started, self.limits.clone());
        Encoder { targets, numbers, free_numbers, next_number, slots, histogram_bytes, left_out, ..new }
    }

    /// All that is known now, as a KEY of a volatile stream; this stream goes on as if nothing had been.
    pub fn newest(&self, ahead: &mut Ahead, tick: Timestamp, clock: Timestamp) -> Vec<EncodedFrame> {
        let mut encoder = self.anew(ahead.stream, self.started);
        (encoder.next_seq, encoder.is_volatile) = (ahead.next_seq, true);
        encoder.defined = std::mem::take(&mut ahead.defined);
        // Whoever missed some of these KEYs takes this one all the same.
        encoder.mark_gap();
        let frames = encoder.tick(tick, clock, &[], true);
        (ahead.next_seq, ahead.defined) = (encoder.next_seq, encoder.defined);
        frames
    }

    /// Its id.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// What was left out since the start.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// The next tick is a KEY that says that frames before it were dropped.
    pub fn mark_gap(&mut self) {
        (self.needs_key, self.has_gap) = (true, true);
    }

    /// The frames of one tick: definitions first, then one KEY (`key`, and always at the stream's start) or DELTA, in parts
    /// where it is too big; without scrapes it says that the collector lives. A target's second scrape goes into a DELTA behind
    /// the one with its first: a frame is one state, and what it does not hold no history and no endpoint will see.
    pub fn tick(&mut self, tick: Timestamp, clock: Timestamp, scrapes: &[Scrape], key: bool) -> Vec<EncodedFrame> {
        let rounds = rounds(scrapes);
        let round = |(nth, round): (usize, &Vec<&Scrape>)| self.round(tick, clock, round, key && nth == 0);
        rounds.iter().enumerate().flat_map(round).collect()
    }

    /// The same of scrapes of different targets.
    fn round(&mut self, tick: Timestamp, clock: Timestamp, scrapes: &[&Scrape], key: bool) -> Vec<EncodedFrame> {
        let key = std::mem::take(&mut self.needs_key) || key;
        let kind = if key { FrameKind::Key } else { FrameKind::Delta };
        let mut freed = Vec::new();
        let planned = self.plan(tick, scrapes, &mut freed);
        let mut frames = self.define(&planned, key);
        let mut writer =
            TickWriter { tick, clock, kind, frames: &mut frames, is_continued: false, part: self.part(kind) };
        if key {
            self.write_key(&planned, &mut writer);
        }
        // A KEY tells of what is gone as a DELTA does.
        for planned in planned.iter().filter(|planned| !key || planned.is_gone()) {
            self.write(planned.number, planned.fresh(tick, &self.limits), Basis::Before, &mut writer);
        }
        self.seal(&mut writer, false);
        self.forget_gone(freed);
        self.has_gap = false;
        frames
    }

    /// The frame that says that the stream stops on purpose.
    pub fn end(&mut self, tick: Timestamp, clock: Timestamp) -> EncodedFrame {
        let header = FrameHeader::new(FrameKind::End, self.stream, self.next_seq, tick, clock);
        self.next_seq += 1;
        let bytes = self.packer.frame(&header, &[]);
        EncodedFrame { kind: header.kind, seq: header.seq, bytes, samples: 0, schemas: Vec::new(), more: false }
    }

    /// Gives every scrape its target's number, new ones to new targets; leaves out what is over the limits.
    fn plan<'a>(&mut self, tick: Timestamp, scrapes: &[&'a Scrape], freed: &mut Vec<u32>) -> Vec<Planned<'a>> {
        let mut planned = Vec::with_capacity(scrapes.len());
        for &scrape in scrapes {
            let number = match self.numbers.get(&scrape.target) {
                Some(number) => Some(*number),
                None if scrape.outcome == Outcome::Gone => continue,
                None => self.admit_target(scrape, tick),
            };
            let Some(number) = number.filter(|number| self.admit_slots(*number, scrape)) else {
                self.left_out.scrapes += 1;
                continue;
            };
            if scrape.outcome == Outcome::Gone {
                self.numbers.remove(&scrape.target);
                freed.push(number);
            }
            planned.push(Planned { number, scrape, has_room: self.admit_histograms(scrape) });
        }
        planned
    }

    fn admit_target(&mut self, scrape: &Scrape, tick: Timestamp) -> Option<u32> {
        let is_too_long = scrape.target.as_bytes().len() > self.limits.target_label_bytes_max;
        if is_too_long || !are_target_labels(&scrape.target) || self.targets.len() >= self.limits.targets_max {
            return None;
        }
        let number = self.free_numbers.pop().unwrap_or_else(|| {
            self.next_number += 1;
            self.next_number - 1
        });
        self.numbers.insert(scrape.target.clone(), number);
        self.targets.insert(number, Target::new(scrape.target.clone(), tick));
        Some(number)
    }

    /// Whether the stream stays within its slots with this scrape. What it counts is the most that a tick may hold at once.
    fn admit_slots(&mut self, number: u32, scrape: &Scrape) -> bool {
        let own = self.targets[&number].schema.chunks().len() * CHUNK_SLOTS;
        let new = scrape.schema.chunks().len() * CHUNK_SLOTS;
        let is_within = scrape.outcome == Outcome::Gone || self.slots - own + new <= self.limits.slots_max;
        if is_within {
            self.slots += new.saturating_sub(own);
        }
        is_within
    }

    /// Whether the stream has room for the scrape's histograms. While a tick is told they may lie beside those that they replace.
    fn admit_histograms(&mut self, scrape: &Scrape) -> bool {
        let bytes: usize = scrape.beside.histograms.iter().map(|(_, sample)| weight(sample)).sum();
        let is_within = self.histogram_bytes + bytes <= self.limits.histogram_bytes_max;
        self.histogram_bytes += if is_within { bytes } else { 0 };
        is_within
    }

    /// Defines the schemas that the decoder does not have yet.
    fn define(&mut self, planned: &[Planned<'_>], key: bool) -> Vec<EncodedFrame> {
        let mut definitions = DefinitionWriter::new(&self.limits);
        // A stream that was made of another one has targets that nobody defined in it.
        let targets = self.targets.values().filter(|_| key).map(|target| &target.schema);
        for schema in targets.filter(|schema| !schema.chunks().is_empty()) {
            if self.defined.insert(schema.hash(), schema.clone()).is_none() {
                definitions.put(None, schema);
            }
        }
        for Planned { number, scrape, .. } in planned.iter().filter(|planned| !planned.is_gone()) {
            let schema = &scrape.schema;
            if schema.chunks().is_empty() || self.defined.contains_key(&schema.hash()) {
                continue;
            }
            let base = Some(&*self.targets[number].schema).filter(|base| self.defined.contains_key(&base.hash()));
            definitions.put(base, schema);
            self.defined.insert(schema.hash(), schema.clone());
        }
        definitions.finish(&mut self.packer, self.stream, self.is_volatile)
    }

    /// Writes every target in full: its scrape of the round, or what it had.
    fn write_key(&mut self, planned: &[Planned<'_>], writer: &mut TickWriter<'_>) {
        let scraped = planned.iter().filter(|planned| !planned.is_gone());
        let scraped: HashMap<u32, &Planned<'_>> = scraped.map(|planned| (planned.number, planned)).collect();
        let numbers: Vec<u32> = self.targets.keys().copied().collect();
        for number in numbers {
            let fresh = match scraped.get(&number) {
                Some(planned) => planned.fresh(writer.tick, &self.limits),
                None => self.targets[&number].carried(writer.tick),
            };
            self.write(number, fresh, Basis::Nothing, writer);
        }
    }

    /// Writes one entry, or several where one is too long for a part.
    fn write(&mut self, number: u32, fresh: Fresh<'_>, basis: Basis, writer: &mut TickWriter<'_>) {
        if writer.part.is_full(&self.limits) {
            self.seal(writer, true);
        }
        // Taken out for the while, so that sealing a part in the middle of it may borrow the rest.
        let Some(mut target) = self.targets.remove(&number) else { return };
        if basis == Basis::Nothing {
            target.is_told = false;
            target.beside = Beside::default();
        }
        if !target.is_told {
            writer.part.put_target(number, &target.labels);
            target.facts = Facts::new(writer.tick);
        }
        if fresh.facts.outcome == Outcome::Gone && !fresh.is_carried {
            fresh.facts.put(&target.facts, &mut writer.part.columns.facts);
            writer.part.put_entry(number, Outcome::Gone as u8, None, 0);
            return;
        }
        self.write_scrape(number, &mut target, &fresh, basis, writer);
        target.beside = fresh.beside.into_owned();
        target.histogram_bytes = target.beside.histograms.iter().map(|(_, sample)| weight(sample)).sum();
        (target.facts, target.is_told) = (fresh.facts, true);
        self.targets.insert(number, target);
    }

    fn write_scrape(
        &mut self,
        number: u32,
        target: &mut Target,
        fresh: &Fresh<'_>,
        basis: Basis,
        writer: &mut TickWriter<'_>,
    ) {
        let has_schema = match basis {
            Basis::Before => fresh.schema.hash() != target.schema.hash(),
            Basis::Nothing => !fresh.schema.chunks().is_empty(),
        };
        if fresh.schema.hash() != target.schema.hash() {
            target.adopt(&fresh.schema);
        }
        if has_schema {
            writer.part.put_schema(&fresh.schema);
        }
        fresh.facts.put(&target.facts, &mut writer.part.columns.facts);
        let mut entry = EntryWriter::new(target, fresh, basis);
        let flags = fresh.facts.outcome as u8 | if fresh.is_carried { FLAG_CARRIED } else { 0 };
        let lists = entry.lists.which();
        let first_only =
            if has_schema { FLAG_SCHEMA } else { 0 } | if fresh.facts.has_extra() { FLAG_EXTRA } else { 0 };
        let chunks = fresh.schema.chunks().len();
        loop {
            let from = entry.next_chunk;
            entry.write_chunks(&mut writer.part, &self.limits);
            let to = entry.next_chunk;
            let range = (from > 0 || to < chunks).then_some((from, to - from));
            writer.part.put_entry(number, flags | if from == 0 { first_only } else { 0 }, range, lists);
            if to == chunks {
                break;
            }
            self.seal(writer, true);
        }
        self.left_out.exemplars += fresh.left_out.exemplars;
        self.left_out.histograms += fresh.left_out.histograms;
        if writer.kind == FrameKind::Delta && writer.part.seq.is_multiple_of(CHECK_EVERY) {
            let check = check_chunks(target.values.iter().map(|chunk| &chunk[..]), &fresh.beside);
            writer.part.columns.checks.extend_from_slice(&check.to_le_bytes());
        }
    }

    fn part(&self, kind: FrameKind) -> Part {
        Part::new(self.next_seq, (kind == FrameKind::Key).then_some(self.started))
    }

    /// Makes a frame of the part and begins the next one.
    fn seal(&mut self, writer: &mut TickWriter<'_>, more: bool) {
        let header = FrameHeader {
            more,
            continued: std::mem::replace(&mut writer.is_continued, true),
            gap: self.has_gap,
            volatile: self.is_volatile,
            ..FrameHeader::new(writer.kind, self.stream, self.next_seq, writer.tick, writer.clock)
        };
        self.next_seq += 1;
        let next = self.part(writer.kind);
        let mut part = std::mem::replace(&mut writer.part, next);
        let pieces = part.columns.pieces();
        let bytes = self.packer.frame(&header, &pieces.each_ref().map(|piece| &piece[..]));
        let Part { seq, samples, schemas, .. } = part;
        writer.frames.push(EncodedFrame { kind: header.kind, seq, bytes, samples, schemas, more });
    }

    /// Numbers of targets that are gone can be given again, and schemas that no target has are forgotten.
    fn forget_gone(&mut self, freed: Vec<u32>) {
        self.free_numbers.extend(freed);
        self.slots = self.targets.values().map(|target| target.schema.chunks().len() * CHUNK_SLOTS).sum();
        self.histogram_bytes = self.targets.values().map(|target| target.histogram_bytes).sum();
        let used: HashSet<SchemaHash> = self.targets.values().map(|target| target.schema.hash()).collect();
        self.defined.retain(|hash, _| used.contains(hash));
    }
}

/// A scrape that is to be told.
struct Planned<'a> {
    number: u32,
    scrape: &'a Scrape,
    /// The stream has room for its histograms.
    has_room: bool,
}

impl<'a> Planned<'a> {
    fn fresh(&self, tick: Timestamp, limits: &FrameLimits) -> Fresh<'a> {
        Fresh::of(self.scrape, tick, self.has_room, limits)
    }

    fn is_gone(&self) -> bool {
        self.scrape.outcome == Outcome::Gone
    }
}

/// The scrapes so that no round has two of one target, and each target's stand in their order; at least one round.
fn rounds(scrapes: &[Scrape]) -> Vec<Vec<&Scrape>> {
    let mut rounds = vec![Vec::with_capacity(scrapes.len())];
    let mut counts: HashMap<&Labels, usize> = HashMap::with_capacity(scrapes.len());
    for scrape in scrapes {
        let count = counts.entry(&scrape.target).or_default();
        if *count == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[*count].push(scrape);
        *count += 1;
    }
    rounds
}

/// The frames of one tick as they come into being.
struct TickWriter<'a> {
    tick: Timestamp,
    clock: Timestamp,
    kind: FrameKind,
    frames: &'a mut Vec<EncodedFrame>,
    is_continued: bool,
    part: Part,
}

/// A schema in full, in parts where it is too big: for a gateway that does not know it.
pub fn encode_schema(stream: StreamId, schema: &Arc<Schema>, limits: &FrameLimits) -> Vec<EncodedFrame> {
    encode_schemas(stream, [schema], limits)
}

/// Schemas in full, as few frames as they fit into: for a reader that begins here.
pub fn encode_schemas<'s>(
    stream: StreamId,
    schemas: impl IntoIterator<Item = &'s Arc<Schema>>,
    limits: &FrameLimits,
) -> Vec<EncodedFrame> {
    let mut definitions = DefinitionWriter::new(limits);
    schemas.into_iter().filter(|schema| !schema.chunks().is_empty()).for_each(|schema| definitions.put(None, schema));
    definitions.finish(&mut Packer::new(), stream, false)
}
