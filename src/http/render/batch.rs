//! Lines of many short runs, put together in steps.
//!
//! On a page ordered by node each chunk has about two series of a name, and a line's text, pairs and value lie where nobody
//! looked for long: written one after the other, each line would wait for memory some twenty times in turn. So a batch of
//! runs goes step by step: where all chunks are, all slots, all pairs, all texts; within a step nothing depends on
//! what stands before it, and the processor waits for many at once.
//!
//! Invariant: only the time differs. The lines are those of [`RunLines::write`], in the order of the runs and their slots.

use std::hint::black_box;

use super::line::{Lines, Part, RunLines};
use super::untyped::Samples;
use crate::model::Timestamp;
use crate::snapshot::PairId;
use crate::store::{PickedRun, Selection};

/// Series of a batch: so many that waiting overlaps, so few that what was fetched is still near when it is written.
const BATCH_SERIES: usize = 96;
/// A run with more series is written by itself: what it fetches serves many lines.
const SHORT_RUN: usize = 16;

/// Writes the runs of a page; its buffers serve one batch after the other.
pub(super) struct Batch<'a> {
    lines: &'a Lines,
    selection: &'a Selection,
    oldest: Option<Timestamp>,
    reached: Vec<Reached<'a>>,
    rows: Vec<Row<'a>>,
    parts: Vec<Part<'a>>,
}

/// A run whose chunk is found.
struct Reached<'a> {
    run: PickedRun,
    lines: RunLines<'a>,
    samples: Samples<'a>,
    slots: &'a [u8],
}

/// A sample to be shown.
struct Row<'a> {
    reached: usize,
    slot: u8,
    value: f64,
    pairs: &'a [PairId],
}

impl<'a> Batch<'a> {
    pub(super) fn new(lines: &'a Lines, selection: &'a Selection, oldest: Option<Timestamp>) -> Batch<'a> {
        Batch { lines, selection, oldest, reached: Vec::new(), rows: Vec::new(), parts: Vec::new() }
    }

    /// How many of `runs` are best written together.
    pub(super) fn fitting(runs: &[PickedRun]) -> usize {
        let (mut series, mut fitting) = (0, 0);
        for run in runs {
            series += run.count();
            if fitting > 0 && series > BATCH_SERIES {
                break;
            }
            fitting += 1;
            if run.count() > SHORT_RUN {
                break;
            }
        }
        fitting
    }

    /// Appends the lines of `runs`, at most `room`, and says how many; `after` may put something behind each.
    pub(super) fn write(
        &mut self,
        out: &mut Vec<u8>,
        open: &[u8],
        runs: &[PickedRun],
        room: usize,
        mut after: impl FnMut(&mut Vec<u8>, &PickedRun, u8),
    ) -> usize {
        if let [run] = runs {
            let Some(Reached { lines, samples, slots, .. }) = self.reach(run) else { return 0 };
            let mut written = 0;
            for (slot, value) in samples.of_slots(slots).take(room) {
                lines.write(out, open, run.chunk, slot, value);
                after(out, run, slot);
                written += 1;
            }
            return written;
        }
        self.fetch(runs, room);
        let mut parts = self.parts.iter();
        for Row { reached, slot, value, pairs } in &self.rows {
            let Reached { run, lines, .. } = &self.reached[*reached];
            lines.write_parts(out, open, run.chunk, *slot, *value, parts.by_ref().take(pairs.len()).copied());
            after(out, run, *slot);
        }
        self.rows.len()
    }

    fn reach(&self, run: &PickedRun) -> Option<Reached<'a>> {
        let view = self.lines.view();
        let samples = Samples::of(view, run, self.oldest)?;
        let (lines, slots) = (self.lines.run(run.target, run.chunk), self.selection.slots_of(view, run));
        Some(Reached { run: *run, lines, samples, slots })
    }

    /// The steps before the lines are written.
    fn fetch(&mut self, runs: &[PickedRun], room: usize) {
        self.reached.clear();
        self.rows.clear();
        self.parts.clear();
        for run in runs {
            let reached = self.reach(run);
            self.reached.extend(reached);
        }
        look_at(self.reached.iter().flat_map(Reached::slots_and_values));
        for (number, reached) in self.reached.iter().enumerate() {
            let row = |(slot, value)| Row { reached: number, slot, value, pairs: reached.lines.pairs_of(slot) };
            self.rows.extend(reached.samples.of_slots(reached.slots).map(row));
        }
        self.rows.truncate(room);
        look_at(self.rows.iter().map(|row| row.pairs.first().map_or(0, |pair| usize::from(pair.0))));
        look_at(self.rows.iter().flat_map(|row| {
            let lines = &self.reached[row.reached].lines;
            row.pairs.iter().map(|pair| lines.width(*pair))
        }));
        for row in &self.rows {
            let lines = &self.reached[row.reached].lines;
            self.parts.extend(row.pairs.iter().map(|pair| lines.part(*pair)));
        }
        look_at(self.parts.iter().map(|part| {
            let ends = part.text.first().zip(part.text.last());
            ends.map_or(0, |(first, last)| usize::from(first ^ last))
        }));
    }
}

impl Reached<'_> {
    /// Whatever says where its slots' pairs lie, and their values.
    fn slots_and_values(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().map(|slot| self.lines.pairs_of(*slot).len() ^ self.samples.bits(*slot) as usize)
    }
}

/// Reads all of them, so that they are near when they are needed. The loop does so little that many are under way at once.
#[inline]
fn look_at(numbers: impl Iterator<Item = usize>) {
    black_box(numbers.fold(0, |all, number| all ^ number));
}
