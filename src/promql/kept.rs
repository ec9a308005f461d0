//! Samples from before the newest: what the store's history has of a selector's rows.
//!
//! Invariant: a row is handed over at most once. First come the rows of the selection, each from the strip that keeps it; one that no
//! strip keeps has its newest sample and no other. Behind them stand series that ended, from retired columns; those have rows of
//! their own, and only where they have samples to give.
//!
//! Columns are read in ascending order, so a block is decoded from its beginning to its end once, whatever is selected of it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::notes::{Budget, EvalError};
use super::rows::Rows;
use super::selection::{Ended, EndedRows, Place, RowPart, Selected, SelectionCache};
use super::source::RangeReading;
use super::store_source::{histogram_of, newest_of};
use crate::model::{HISTOGRAM_NAN, Labels, Matcher, Timestamp};
use crate::store::{ClusterPolicy, KeptSamples, SiteView, Strip};

/// What is handed over of samples.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Those of a range.
    Range(RangeReading),
    /// All, stale markers too.
    WithEnds,
}

/// Reads the rows of one selector within one range of time.
pub(super) struct KeptRows<'a> {
    pub(super) view: &'a SiteView,
    pub(super) budget: &'a Budget<'a>,
    /// Later than this.
    pub(super) from: Timestamp,
    /// The first step, where ends are wanted: what is looked for is the newest sample before it, too.
    pub(super) first: Timestamp,
    /// Not later than this.
    pub(super) to: Timestamp,
    pub(super) reading: Reading,
    /// Set where something was asked for that is not kept as long.
    pub(super) is_beyond: &'a AtomicBool,
}

/// Takes the samples of some rows, each of which has one.
pub(super) type Each<'e> = dyn FnMut(&[u32], KeptSamples<'_>) + 'e;

/// Columns of a strip with their rows, in the order of the columns.
#[derive(Default)]
struct Wanted {
    columns: Vec<u32>,
    rows: Vec<u32>,
}

impl Wanted {
    fn push(&mut self, column: u32, row: usize) {
        self.columns.push(column);
        self.rows.push(row as u32);
    }

    /// Columns of rows that follow each other.
    fn push_all(&mut self, columns: &[u32], row: &mut usize) {
        self.columns.extend_from_slice(columns);
        self.rows.extend((*row..*row + columns.len()).map(|row| row as u32));
        *row += columns.len();
    }

    fn sort(&mut self) {
        if self.columns.is_sorted() {
            return;
        }
        // Numbers are sorted faster than pairs.
        let pair = |(column, row): (&u32, &u32)| u64::from(*column) << 32 | u64::from(*row);
        let mut pairs: Vec<u64> = self.columns.iter().zip(&self.rows).map(pair).collect();
        pairs.sort_unstable();
        (self.columns, self.rows) = pairs.into_iter().map(|pair| ((pair >> 32) as u32, pair as u32)).unzip();
    }
}

impl KeptRows<'_> {
    /// The parts of one target.
    pub(super) fn target(&self, parts: &[RowPart], each: &mut Each<'_>) -> Result<(), EvalError> {
        let Some(first) = parts.first() else { return Ok(()) };
        let site = match &first.place {
            Place::Clusters(_) => None,
            _ => self.view.targets.get(first.target as usize),
        };
        let strips = site.map_or(&[][..], |site| &site.target.history);
        let mut wanted: Vec<Wanted> = strips.iter().map(|_| Wanted::default()).collect();
        let mut rest: Vec<(&RowPart, usize)> = Vec::new();
        for part in parts {
            let mut is_kept = vec![false; part.len()];
            for (strip, wanted) in strips.iter().zip(&mut wanted) {
                for_columns(strip, part, |row, column| {
                    if !std::mem::replace(&mut is_kept[row], true) {
                        wanted.push(column, part.first + row);
                    }
                });
            }
            rest.extend((0..part.len()).filter(|row| !is_kept[*row]).map(|row| (part, row)));
        }
        for (strip, wanted) in strips.iter().zip(wanted) {
            self.strip(strip, wanted, each)?;
        }
        self.budget.take(rest.len())?;
        rest.into_iter().for_each(|(part, row)| self.newest(part, row, each));
        Ok(())
    }

    /// Columns of a strip, with their rows.
    fn strip(&self, strip: &Strip, mut wanted: Wanted, each: &mut Each<'_>) -> Result<(), EvalError> {
        if wanted.columns.is_empty() {
            return Ok(());
        }
        let is_there = match self.reading {
            Reading::WithEnds => strip.has_newest_at(self.first),
            Reading::Range(_) => strip.has_all_after(self.from),
        };
        if !is_there {
            self.is_beyond.store(true, Ordering::Relaxed);
        }
        wanted.sort();
        let mut reader = strip.reader(self.from, self.to);
        self.budget.take(wanted.columns.len().saturating_mul(reader.samples_max()))?;
        let hand_over = |some: Range<usize>, samples: KeptSamples<'_>| each(&wanted.rows[some], samples);
        match self.reading {
            Reading::Range(RangeReading::All) => reader.read(&wanted.columns, hand_over),
            Reading::Range(RangeReading::Outer) => reader.read_outer(&wanted.columns, hand_over),
            Reading::WithEnds => reader.with_ends().read(&wanted.columns, hand_over),
        }
        Ok(())
    }

    /// A row that is not kept.
    fn newest(&self, part: &RowPart, row: usize, each: &mut Each<'_>) {
        let Some((at, value)) = newest_of(self.view, part, row) else { return };
        if self.first < at {
            self.is_beyond.store(true, Ordering::Relaxed);
        }
        if self.from >= at || at > self.to {
            return;
        }
        let histogram = (value.to_bits() == HISTOGRAM_NAN).then(|| histogram_of(self.view, part, row)).flatten();
        let histograms = histogram.map(|histogram| (0, histogram));
        let samples = KeptSamples {
            times: &[at.0],
            values: &[value],
            stride: 1,
            is_outer: false,
            histograms: histograms.as_slice(),
        };
        each(&[(part.first + row) as u32], samples);
    }

    /// Series that ended; gives all rows, those of the selection first.
    pub(super) fn ended(
        &self,
        cache: &SelectionCache,
        matchers: &[Matcher],
        selected: &Selected,
        each: &mut Each<'_>,
    ) -> Result<Arc<Rows>, EvalError> {
        let ended = self.all_ended();
        if ended.is_empty() {
            return Ok(selected.rows.clone());
        }
        let rows = cache.select_ended(&ended, matchers);
        let rows = without_repeated(&ended, rows, selected);
        let mut row = selected.rows.len();
        let mut ended_rows = ended.iter().zip(&rows).peekable();
        while let Some((one, rows)) = ended_rows.next() {
            let mut wanted = Wanted::default();
            wanted.push_all(&rows.columns, &mut row);
            // What ended in one strip is read together, whenever it ended.
            while let Some((_, rows)) = ended_rows.next_if(|(next, _)| std::ptr::eq(next.strip, one.strip)) {
                wanted.push_all(&rows.columns, &mut row);
            }
            self.strip(one.strip, wanted, each)?;
        }
        Ok(cache.joined(matchers, &selected.rows, &rows))
    }

    /// All series of the site that ended and can have samples in the range.
    fn all_ended(&self) -> Vec<Ended<'_>> {
        let view = self.view;
        let live = view.targets.iter().map(|site| (site.cluster, &site.target.history));
        let departed = view.departed.iter().map(|(cluster, target)| (*cluster, &target.history));
        let mut ended = Vec::new();
        for (cluster, strips) in live.chain(departed) {
            let policy = view.clusters.get(cluster as usize).map(|cluster| &*cluster.policy);
            strips.iter().for_each(|strip| self.add_ended(strip, policy, &mut ended));
        }
        ended
    }

    fn add_ended<'s>(&self, strip: &'s Strip, policy: Option<&'s ClusterPolicy>, ended: &mut Vec<Ended<'s>>) {
        let retired = strip.retired().iter().filter(|retired| retired.at > self.from.0);
        ended.extend(retired.map(|retired| Ended { retired, strip, policy }));
    }
}

/// The rows of a part that a strip keeps, with their columns.
fn for_columns(strip: &Strip, part: &RowPart, mut each: impl FnMut(usize, u32)) {
    let mut each = |(row, column): (usize, Option<u32>)| column.into_iter().for_each(|column| each(row, column));
    match &part.place {
        Place::Slots { chunk, slots } => strip.columns_of(*chunk, slots).enumerate().for_each(&mut each),
        Place::Scrape(families) => {
            families.iter().map(|family| strip.fact_column(*family)).enumerate().for_each(&mut each);
        }
        Place::Clusters(_) => {}
    }
}

/// A recorded series can have gone over to another rule: then what the rule before gave is left out.
fn without_repeated(ended: &[Ended<'_>], rows: Vec<Arc<EndedRows>>, selected: &Selected) -> Vec<Arc<EndedRows>> {
    let is_recorded = |at: usize| ended[at].policy.is_none() && !rows[at].columns.is_empty();
    if !(0..rows.len()).any(is_recorded) {
        return rows;
    }
    let mut known: HashSet<Labels> = selected.recorded_rows().map(|row| selected.rows.labels(row)).collect();
    let mut kept = Vec::with_capacity(rows.len());
    // The latest first.
    for (one, rows) in ended.iter().zip(&rows).rev() {
        let is_new = |row: &usize| one.policy.is_some() || known.insert(rows.block.labels(*row));
        let new: Vec<usize> = (0..rows.columns.len()).filter(is_new).collect();
        kept.push(if new.len() == rows.columns.len() { rows.clone() } else { Arc::new(rows.some(&new)) });
    }
    kept.reverse();
    kept
}

/// Parts that belong together: those of one target.
pub(super) fn by_target(parts: &[RowPart]) -> impl Iterator<Item = (Range<usize>, &[RowPart])> {
    let is_same = |one: &RowPart, other: &RowPart| {
        let is_of_target = |part: &RowPart| !matches!(part.place, Place::Clusters(_));
        one.target == other.target && is_of_target(one) == is_of_target(other)
    };
    parts.chunk_by(is_same).map(|parts| {
        let last = &parts[parts.len() - 1];
        (parts[0].first..last.first + last.len(), parts)
    })
}
