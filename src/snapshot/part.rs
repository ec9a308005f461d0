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
//! | flags | bits 0–1 outcome (0 up, 1 failed, 2 gone, 3 written by others), 4 CARRIED, 8 SCHEMA, 16 RANGE, 32 EXTRA, 64 BESIDE |
//! | with RANGE: chunks | varints: first chunk, how many. Without it the entry covers all |
//! | with BESIDE: which | byte: the lists that stand beside the column and changed (see `lists.rs`) |
//!
//! An entry that begins behind chunk 0 goes on with the scrape of the part before, and has no facts and no schema of its own. An
//! entry of a target that is gone has no chunks, and its number is given again from the next tick on.
//!
//! When a scrape brings another schema, a slot that holds the same series in both keeps what is known of it; any other is as
//! new, and what it held has ended there and then, with a marker.

use std::sync::Arc;

use super::chunk::CHUNK_SLOTS;
use super::column::ColumnChunk;
use super::encode::Target;
use super::frame::FrameLimits;
use super::fresh::Fresh;
use super::lists::ListChanges;
use super::payload::Columns;
use super::reader::{put_string, put_varint, put_zigzag};
use super::schema::Schema;
use super::values::{Basis, ChunkState};
use crate::model::{Labels, Timestamp};

pub(super) const FLAG_CARRIED: u8 = 4;
pub(super) const FLAG_SCHEMA: u8 = 8;
pub(super) const FLAG_RANGE: u8 = 16;
pub(super) const FLAG_EXTRA: u8 = 32;
pub(super) const FLAG_BESIDE: u8 = 64;

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

    pub(super) fn put_entry(&mut self, number: u32, flags: u8, range: Option<(usize, usize)>, lists: u8) {
        let out = &mut self.columns.entries;
        put_zigzag(out, i64::from(number) - i64::from(self.next_number));
        self.next_number = number.wrapping_add(1);
        let ranged = if range.is_some() { FLAG_RANGE } else { 0 };
        out.push(flags | ranged | if lists != 0 { FLAG_BESIDE } else { 0 });
        if let Some((first, count)) = range {
            put_varint(out, first as u64);
            put_varint(out, count as u64);
        }
        if lists != 0 {
            out.push(lists);
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
    pub(super) lists: ListChanges<'a>,
    pub(super) next_chunk: usize,
}

impl<'a> EntryWriter<'a> {
    pub(super) fn new(target: &'a mut Target, fresh: &'a Fresh<'a>, basis: Basis) -> EntryWriter<'a> {
        let lists = ListChanges::between(&target.beside, &fresh.beside);
        EntryWriter { values: &mut target.values, states: &mut target.states, fresh, basis, lists, next_chunk: 0 }
    }

    /// Writes at least one chunk, if there is one, and as many more as the part takes.
    pub(super) fn write_chunks(&mut self, part: &mut Part, limits: &FrameLimits) {
        let from = self.next_chunk;
        let mut list_bytes = 0;
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
            list_bytes += self.lists.bytes_max(&slots);
            if part.is_full(limits) || part.columns.len() + list_bytes > bytes_max {
                break;
            }
        }
        self.write_lists(from, part);
    }

    fn write_lists(&self, from: usize, part: &mut Part) {
        let slots = from * CHUNK_SLOTS..self.next_chunk * CHUNK_SLOTS;
        self.lists.put(&slots, self.fresh.facts.started, &mut part.columns);
        if !self.fresh.is_carried {
            part.samples -= self.lists.repeated(&self.fresh.beside, &slots, self.values);
        }
    }
}
