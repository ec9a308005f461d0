//! One frame's scrapes, read into clones of the targets that they touch.
//!
//! Invariant: nothing of the stream's state is written here; [`Work::finish`] hands over what takes its place. See
//! `part.rs` for what an entry holds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::chunk::CHUNK_SLOTS;
use super::column::check_chunks;
use super::decode::{Applied, OpenScrape, Target};
use super::define::Definitions;
use super::frame::{FrameHeader, FrameKind, FrameLimits};
use super::histograms::weight;
use super::lists::{ListReader, has_its_histograms};
use super::part::{FLAG_BESIDE, FLAG_CARRIED, FLAG_EXTRA, FLAG_RANGE, FLAG_SCHEMA};
use super::payload::Sections;
use super::reader::Malformed;
use super::schema::{Schema, SchemaHash, redefined};
use super::scrape::{Outcome, are_target_labels};
use super::sparse::{self, read_labels};
use super::values::{Basis, ChunkState};

/// All flags that an entry may have.
const FLAGS: u8 = 3 | FLAG_CARRIED | FLAG_SCHEMA | FLAG_RANGE | FLAG_EXTRA | FLAG_BESIDE;
/// Labels of one target.
const TARGET_LABELS_MAX: u64 = 1024;

/// What a frame makes of the state.
pub(super) struct Changes {
    /// The targets that it touched; `None` where one is gone.
    pub(super) targets: BTreeMap<u32, Option<Target>>,
    pub(super) slots: usize,
    /// Memory that the histograms of all targets take.
    pub(super) histogram_bytes: usize,
    pub(super) open: Option<OpenScrape>,
}

/// The state in the middle of a frame.
pub(super) struct Work<'a> {
    before: &'a BTreeMap<u32, Target>,
    definitions: &'a Definitions,
    header: &'a FrameHeader,
    limits: &'a FrameLimits,
    changes: Changes,
    /// Targets of the stream as of now.
    targets: usize,
    /// Slots that the frame's entries have covered.
    covered: usize,
    applied: Applied,
}

/// One entry as it stands in its column.
struct Entry {
    number: u32,
    flags: u8,
    outcome: Outcome,
    range: Option<(usize, usize)>,
    /// Which lists beside the column changed.
    lists: u8,
}

impl Entry {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn is_first(&self) -> bool {
        self.range.is_none_or(|(from, _)| from == 0)
    }

    fn read(next_number: u32, sections: &mut Sections<'_>) -> Result<Entry, Malformed> {
        let entries = &mut sections.entries;
        let number = i64::from(next_number).wrapping_add(entries.zigzag("target number")?);
        let max = u64::from(u32::MAX);
        let number = u32::try_from(number).map_err(|_| Malformed::OutOfBounds {
            what: "target number",
            found: number as u64,
            max,
        })?;
        let flags = entries.byte("entry flags")?;
        if flags & !FLAGS != 0 {
            return Err(Malformed::Unknown { what: "entry flags", found: u64::from(flags) });
        }
        let outcome = match flags & 3 {
            0 => Outcome::Up,
            1 => Outcome::Failed,
            2 => Outcome::Gone,
            _ => Outcome::Written,
        };
        let range = match flags & FLAG_RANGE {
            0 => None,
            _ => Some((entries.bounded("first chunk", max)?, entries.bounded("chunks of an entry", max)?)),
        };
        let lists = if flags & FLAG_BESIDE == 0 { 0 } else { entries.byte("lists beside a column")? };
        Ok(Entry { number, flags, outcome, range, lists })
    }
}

impl<'a> Work<'a> {
    pub(super) fn new(
        before: &'a BTreeMap<u32, Target>,
        definitions: &'a Definitions,
        (slots, histogram_bytes): (usize, usize),
        open: Option<OpenScrape>,
        header: &'a FrameHeader,
        limits: &'a FrameLimits,
    ) -> Work<'a> {
        let changes = Changes { targets: BTreeMap::new(), slots, histogram_bytes, open };
        let (targets, covered, applied) = (before.len(), 0, Applied::default());
        Work { before, definitions, header, limits, changes, targets, covered, applied }
    }

    /// What takes the old state's place.
    pub(super) fn finish(mut self) -> (Changes, Applied) {
        self.applied.changed_targets.sort_unstable();
        self.applied.changed_targets.dedup();
        (self.changes, self.applied)
    }

    /// Reads all entries.
    pub(super) fn read(&mut self, sections: &mut Sections<'_>) -> Result<(), Malformed> {
        while sections.targets.left() > 0 {
            self.read_target(sections)?;
        }
        let has_checks = sections.checks.left() > 0;
        let mut next_number = 0;
        while sections.entries.left() > 0 {
            let entry = Entry::read(next_number, sections)?;
            next_number = entry.number.wrapping_add(1);
            self.read_entry(&entry, has_checks, sections)?;
        }
        if self.changes.open.is_some() && !self.header.more {
            return Err(Malformed::Short("scrape"));
        }
        let open = self.changes.open.map(|open| open.number);
        let is_untold = |(number, target): (&u32, &Option<Target>)| {
            target.as_ref().is_some_and(|target| !target.is_told) && open != Some(*number)
        };
        if self.changes.targets.iter().any(is_untold) {
            return Err(Malformed::Short("scrape of a new target"));
        }
        sections.end()
    }

    fn read_target(&mut self, sections: &mut Sections<'_>) -> Result<(), Malformed> {
        let reader = &mut sections.targets;
        let number = reader.bounded("target number", u64::from(u32::MAX))? as u32;
        let labels = read_labels(reader, TARGET_LABELS_MAX)?;
        if !are_target_labels(&labels) {
            return Err(Malformed::OutOfPlace("label of a target"));
        }
        let bytes_max = self.limits.target_label_bytes_max;
        bound("bytes of a target's labels", labels.as_bytes().len(), bytes_max)?;
        bound("targets", self.targets + 1, self.limits.targets_max)?;
        if self.before.contains_key(&number) || self.changes.targets.contains_key(&number) {
            return Err(Malformed::OutOfPlace("new target"));
        }
        self.targets += 1;
        self.changes.targets.insert(number, Some(Target::new(number, labels, self.header.tick)));
        Ok(())
    }

    /// A target to write to: a clone of what was before, or what the frame made of it already.
    fn take_target(&mut self, number: u32) -> Result<Target, Malformed> {
        let unknown = Malformed::OutOfPlace("entry of a target that is not known");
        match self.changes.targets.remove(&number) {
            Some(target) => target.ok_or(unknown),
            None => self.before.get(&number).cloned().ok_or(unknown),
        }
    }

    fn read_entry(&mut self, entry: &Entry, has_checks: bool, sections: &mut Sections<'_>) -> Result<(), Malformed> {
        let mut target = self.take_target(entry.number)?;
        // A KEY tells every target in full once; what follows in it is told against that.
        let is_full = self.header.kind == FrameKind::Key && !target.is_told;
        let basis = if is_full { Basis::Nothing } else { Basis::Before };
        if entry.is_first() {
            if self.changes.open.is_some() {
                return Err(Malformed::OutOfPlace("entry"));
            }
            self.read_head(entry, &mut target, sections)?;
            if entry.outcome == Outcome::Gone {
                self.changes.slots -= target.states.len() * CHUNK_SLOTS;
                self.changes.histogram_bytes -= target.histogram_bytes;
                self.targets -= 1;
                self.changes.targets.insert(entry.number, None);
                return Ok(());
            }
        }
        let chunks = self.chunks(entry, &target)?;
        self.read_chunks(entry, basis, &mut target, chunks.clone(), sections)?;
        self.changes.open = None;
        if chunks.end < target.states.len() {
            self.changes.open = Some(OpenScrape { number: entry.number, next_chunk: chunks.end });
        } else {
            if has_checks {
                check(&target, sections)?;
            }
            target.is_told = true;
            self.applied.changed_targets.push(entry.number);
        }
        self.changes.targets.insert(entry.number, Some(target));
        Ok(())
    }

    /// Facts and schema, which only a scrape's first entry has.
    fn read_head(&mut self, entry: &Entry, target: &mut Target, sections: &mut Sections<'_>) -> Result<(), Malformed> {
        if entry.has(FLAG_SCHEMA) {
            let hash = SchemaHash(sections.schemas.array("schema hash")?);
            let schema = self.definitions.get(hash).ok_or(Malformed::OutOfPlace("schema"))?;
            self.adopt(target, schema)?;
        }
        let tick = self.header.tick;
        let facts = target.facts().read_next(tick, entry.outcome, entry.has(FLAG_EXTRA), &mut sections.facts)?;
        target.set_facts(&facts);
        if entry.outcome == Outcome::Gone {
            self.applied.gone.push((entry.number, facts.started));
        }
        Ok(())
    }

    fn adopt(&mut self, target: &mut Target, schema: &Arc<Schema>) -> Result<(), Malformed> {
        let (old, new) = (target.states.len(), schema.chunks().len());
        let slots = self.changes.slots - old * CHUNK_SLOTS + new * CHUNK_SLOTS;
        bound("slots of a stream", slots, self.limits.slots_max)?;
        self.changes.slots = slots;
        let redefined = redefined(&target.shown.schema, schema);
        for (at, slots) in &redefined {
            Arc::make_mut(&mut target.states[*at]).forget(slots, target.shown.column.chunk_mut(*at));
        }
        target.shown.column.resize(schema.slots());
        target.states.resize_with(new, ChunkState::fresh);
        if !target.shown.beside.is_empty() {
            sparse::forget(Arc::make_mut(&mut target.shown.beside), schema.slots(), &redefined);
            let bytes = target.shown.beside.histograms.iter().map(|(_, sample)| weight(sample)).sum();
            self.changes.histogram_bytes -= std::mem::replace(&mut target.histogram_bytes, bytes) - bytes;
        }
        target.shown.schema = schema.clone();
        Ok(())
    }

    /// The chunks that an entry covers, compared with what its target has and with what was open.
    fn chunks(&mut self, entry: &Entry, target: &Target) -> Result<Range<usize>, Malformed> {
        let total = target.states.len();
        let (from, count) = entry.range.unwrap_or((0, total));
        bound("chunks of an entry", from.saturating_add(count), total)?;
        let expected = OpenScrape { number: entry.number, next_chunk: from };
        if from > 0 && self.changes.open != Some(expected) {
            return Err(Malformed::OutOfPlace("rest of a scrape"));
        }
        self.covered += count * CHUNK_SLOTS;
        bound("slots that a frame covers", self.covered, self.limits.frame_slots_max)?;
        Ok(from..from + count)
    }

    fn read_chunks(
        &mut self,
        entry: &Entry,
        basis: Basis,
        target: &mut Target,
        chunks: Range<usize>,
        sections: &mut Sections<'_>,
    ) -> Result<(), Malformed> {
        let mut samples = 0;
        for at in chunks.clone() {
            read_chunk(at, basis, target, sections)?;
            samples += u64::from(target.states[at].present);
        }
        let repeated = self.read_lists(entry, target, &chunks, sections)?;
        if !entry.has(FLAG_CARRIED) {
            self.applied.samples += samples - repeated;
        }
        Ok(())
    }

    /// Reads what stands beside the column; gives how many samples are no new ones.
    fn read_lists(
        &mut self,
        entry: &Entry,
        target: &mut Target,
        chunks: &Range<usize>,
        sections: &mut Sections<'_>,
    ) -> Result<u64, Malformed> {
        let others = self.changes.histogram_bytes - target.histogram_bytes;
        let lists = ListReader {
            beside: &mut target.shown.beside,
            column: &target.shown.column,
            started: target.shown.started,
            histogram_bytes: target.histogram_bytes,
            histogram_bytes_max: self.limits.histogram_bytes_max.saturating_sub(others),
        };
        let slots = chunks.start * CHUNK_SLOTS..chunks.end * CHUNK_SLOTS;
        let read = lists.read(entry.lists, slots, sections)?;
        target.histogram_bytes = read.histogram_bytes;
        self.changes.histogram_bytes = others + read.histogram_bytes;
        let shown = &target.shown;
        if std::mem::take(&mut sections.values.has_histograms) || !shown.beside.histograms.is_empty() {
            let is_right = |at: usize| has_its_histograms(at, &shown.column.chunks()[at][..], &shown.beside);
            if !chunks.clone().all(is_right) {
                return Err(Malformed::OutOfPlace("native histogram"));
            }
        }
        Ok(read.repeated)
    }
}

fn read_chunk(at: usize, basis: Basis, target: &mut Target, sections: &mut Sections<'_>) -> Result<(), Malformed> {
    let columns = &mut sections.values;
    // Nothing changed lately and nothing changes now: the chunk stays shared.
    if basis == Basis::Before && target.states[at].is_quiet() && columns.changes.rest().first() == Some(&0) {
        columns.changes.byte("change set")?;
        return Ok(());
    }
    let state = Arc::make_mut(&mut target.states[at]);
    let slots = target.shown.schema.chunks()[at].len();
    let changed = state.decode_changes(basis, slots, columns)?;
    if changed == [0; 4] {
        return Ok(());
    }
    state.decode_values(basis, &changed, target.shown.column.chunk_mut(at), columns)
}

/// Compares a finished scrape's column with what its sender says of it.
fn check(target: &Target, sections: &mut Sections<'_>) -> Result<(), Malformed> {
    let expected = u64::from_le_bytes(sections.checks.array("check")?);
    let found = check_chunks(target.shown.column.chunks().iter().map(|chunk| &chunk[..]), &target.shown.beside);
    if found == expected { Ok(()) } else { Err(Malformed::Drift { target: target.shown.number }) }
}

fn bound(what: &'static str, found: usize, max: usize) -> Result<(), Malformed> {
    let (found, max) = (found as u64, max as u64);
    if found <= max { Ok(()) } else { Err(Malformed::OutOfBounds { what, found, max }) }
}
