//! The part of a tick that is being written: entries, one a scrape, into the columns of one frame.
//!
//! Invariant: a part is closed before its frame can break a limit. So many bytes are left free for it that one chunk at its worst
//! still fits, and a scrape that does not is continued in the next part, between two chunks.
//!
//! ## An entry of KEY and DELTA
//!
//! One a scrape, in the order in which they apply; of a KEY the first entry of each target is its whole state (of a scrape that
//! finished since the last tick, or CARRIED over), later ones are told against it. All other columns (see `payload.rs`) follow the
//! order of the entries.
//!
//! | field | content |
//! |---|---|
//! | target | zigzag: its number minus that of the entry before, minus 1 (the first: minus 0) |
//! | flags | bits 0–1 outcome (0 up, 1 failed, 2 gone), 4 CARRIED, 8 SCHEMA, 16 RANGE, 32 EXTRA, 64 TIMESTAMPS, 128 EXEMPLARS |
//! | with RANGE: chunks | varints: first chunk, how many. Without it the entry covers all |
//!
//! An entry that begins behind chunk 0 goes on with the scrape of the part before, and has no facts and no schema of its own. An
//! entry of a target that is gone has no chunks, and its number is given again from the next tick on.
//!
//! When a scrape brings another schema, a slot that holds the same series in both keeps what is known of it; any other is as
//! new, and what it held has ended there and then, with a marker.

use std::borrow::Cow;
use std::sync::Arc;

use super::beside::Beside;
use super::chunk::CHUNK_SLOTS;
use super::column::{ColumnChunk, is_absent};
use super::encode::Target;
use super::facts::Facts;
use super::frame::FrameLimits;
use super::payload::Columns;
use super::reader::{put_string, put_varint, put_zigzag};
use super::schema::Schema;
use super::scrape::Scrape;
use super::sparse::{self, EXEMPLAR_BYTES_MAX};
use super::values::{Basis, ChunkState};
use crate::model::{Exemplar, Labels, Timestamp};

pub(super) const FLAG_CARRIED: u8 = 4;
pub(super) const FLAG_SCHEMA: u8 = 8;
pub(super) const FLAG_RANGE: u8 = 16;
pub(super) const FLAG_EXTRA: u8 = 32;
pub(super) const FLAG_TIMESTAMPS: u8 = 64;
pub(super) const FLAG_EXEMPLARS: u8 = 128;

/// What an entry is to say: a scrape, or a target's own state once more.
pub(super) struct Fresh<'a> {
    pub(super) facts: Facts,
    pub(super) schema: Arc<Schema>,
    pub(super) values: Cow<'a, [f64]>,
    pub(super) beside: Cow<'a, Beside>,
    pub(super) is_carried: bool,
    pub(super) exemplars_left_out: u64,
}

impl<'a> Fresh<'a> {
    pub(super) fn of(scrape: &'a Scrape, tick: Timestamp) -> Fresh<'a> {
        let mut beside = sparse::sorted(&scrape.beside);
        let fits = |(_, exemplar): &(u32, Exemplar)| exemplar.labels.as_bytes().len() <= EXEMPLAR_BYTES_MAX;
        let exemplars_left_out = beside.exemplars.iter().filter(|entry| !fits(entry)).count() as u64;
        if exemplars_left_out > 0 {
            beside.to_mut().exemplars.retain(fits);
        }
        Fresh {
            facts: Facts {
                started: scrape.started,
                duration: scrape.duration,
                outcome: scrape.outcome,
                report: scrape.report,
                tick,
            },
            schema: scrape.schema.clone(),
            values: (&scrape.values[..]).into(),
            beside,
            is_carried: false,
            exemplars_left_out,
        }
    }
}

/// The part that is being written.
pub(super) struct Part {
    pub(super) seq: u64,
    pub(super) columns: Columns,
    pub(super) samples: u64,
    pub(super) schemas: Vec<Arc<Schema>>,
    /// Slots that its entries cover.
    pub(super) slots: usize,
    pub(super) next_number: u32,
}

impl Part {
    pub(super) fn new(seq: u64, stream_started: Option<Timestamp>) -> Part {
        let mut columns = Columns::default();
        if let Some(started) = stream_started {
            put_zigzag(&mut columns.stream, started.0);
        }
        Part { seq, columns, samples: 0, schemas: Vec::new(), slots: 0, next_number: 0 }
    }

    pub(super) fn is_full(&self, limits: &FrameLimits) -> bool {
        let bytes_max = limits.frame_bytes_max.min(limits.raw_bytes_max) / 8 * 3;
        self.columns.len() >= bytes_max || self.slots >= limits.frame_slots_max / 2
    }

    pub(super) fn put_target(&mut self, number: u32, labels: &Labels) {
        let out = &mut self.columns.targets;
        put_varint(out, u64::from(number));
        put_varint(out, labels.len() as u64);
        for (name, value) in labels {
            put_string(out, name);
            put_string(out, value);
        }
    }

    pub(super) fn put_entry(&mut self, number: u32, flags: u8, range: Option<(usize, usize)>) {
        let out = &mut self.columns.entries;
        put_zigzag(out, i64::from(number) - i64::from(self.next_number));
        self.next_number = number.wrapping_add(1);
        out.push(flags | if range.is_some() { FLAG_RANGE } else { 0 });
        if let Some((first, count)) = range {
            put_varint(out, first as u64);
            put_varint(out, count as u64);
        }
    }

    pub(super) fn put_schema(&mut self, schema: &Arc<Schema>) {
        self.columns.schemas.extend_from_slice(&schema.hash().0);
        self.schemas.push(schema.clone());
    }
}

/// Writes the chunks of one scrape, as many at a time as a part takes.
pub(super) struct EntryWriter<'a> {
    pub(super) values: &'a mut [ColumnChunk],
    pub(super) states: &'a mut [ChunkState],
    pub(super) fresh: &'a Fresh<'a>,
    pub(super) basis: Basis,
    pub(super) timestamps: Vec<sparse::Change<'a, Timestamp>>,
    pub(super) exemplars: Vec<sparse::Change<'a, Exemplar>>,
    pub(super) next_chunk: usize,
}

impl<'a> EntryWriter<'a> {
    pub(super) fn new(target: &'a mut Target, fresh: &'a Fresh<'a>, basis: Basis) -> EntryWriter<'a> {
        let timestamps = sparse::changes(&target.beside.timestamps, &fresh.beside.timestamps);
        let exemplars = sparse::changes(&target.beside.exemplars, &fresh.beside.exemplars);
        EntryWriter {
            values: &mut target.values,
            states: &mut target.states,
            fresh,
            basis,
            timestamps,
            exemplars,
            next_chunk: 0,
        }
    }

    pub(super) fn sparse_flags(&self) -> u8 {
        let timestamps = if self.timestamps.is_empty() { 0 } else { FLAG_TIMESTAMPS };
        timestamps | if self.exemplars.is_empty() { 0 } else { FLAG_EXEMPLARS }
    }

    /// Writes at least one chunk, if there is one, and as many more as the part takes.
    pub(super) fn write_chunks(&mut self, part: &mut Part, limits: &FrameLimits) {
        let from = self.next_chunk;
        let mut sparse_bytes = 0;
        let bytes_max = limits.frame_bytes_max.min(limits.raw_bytes_max) / 8 * 3;
        while self.next_chunk < self.states.len() {
            let at = self.next_chunk;
            let slots = at * CHUNK_SLOTS..(at + 1) * CHUNK_SLOTS;
            let values = self.fresh.values.get(slots.start..).unwrap_or_default();
            let values = &values[..values.len().min(CHUNK_SLOTS)];
            self.states[at].encode(self.basis, &mut self.values[at], values, &mut part.columns.values);
            part.samples += if self.fresh.is_carried { 0 } else { u64::from(self.states[at].present) };
            part.slots += CHUNK_SLOTS;
            self.next_chunk += 1;
            sparse_bytes += sparse::bytes_max(sparse::within(&self.timestamps, &slots))
                + sparse::bytes_max(sparse::within(&self.exemplars, &slots));
            if part.is_full(limits) || part.columns.len() + sparse_bytes > bytes_max {
                break;
            }
        }
        self.write_sparse(from, part);
    }

    pub(super) fn write_sparse(&self, from: usize, part: &mut Part) {
        let slots = from * CHUNK_SLOTS..self.next_chunk * CHUNK_SLOTS;
        let (first, base) = (slots.start as u32, self.fresh.facts.started);
        let changed = sparse::within(&self.timestamps, &slots);
        if !self.timestamps.is_empty() {
            sparse::put_changes(changed, first, base, &mut part.columns.timestamps);
        }
        if !self.exemplars.is_empty() {
            let exemplars = sparse::within(&self.exemplars, &slots);
            sparse::put_changes(exemplars, first, base, &mut part.columns.exemplars);
        }
        if !self.fresh.is_carried {
            let kept = sparse::unchanged(sparse::within(&self.fresh.beside.timestamps, &slots), changed);
            let is_present = |slot: &u32| {
                let slot = *slot as usize;
                !is_absent(self.values[slot / CHUNK_SLOTS][slot % CHUNK_SLOTS].to_bits())
            };
            part.samples -= kept.filter(is_present).count() as u64;
        }
    }
}
