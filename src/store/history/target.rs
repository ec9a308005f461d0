//! The history of one target: a strip for each time that some of its series are kept.
//!
//! Invariant: after [`TargetHistory::follow`] the strips have a column for exactly the series of the layout that the keeper names;
//! after [`TargetHistory::append`] the newest row is what readers see of the target now. Both cost O(what changed, and a copy of
//! each value that is kept).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::columns::Writer;
use super::keep::{Keeper, KeptSlots};
use super::row::{Row, RowBeside};
use super::strip::Strip;
use super::usage::Usage;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, Timestamp, stale_nan};
use crate::snapshot::{Beside, CHUNK_SLOTS, Column, SlotSet};
use crate::store::facts::SCRAPE_FAMILIES;
use crate::store::layout::{IndexedChunk, Layout};
use crate::store::pick::Unsaid;

/// A target's strips as readers have them.
pub type Strips = Arc<[Arc<Strip>]>;

/// No slot at all, and all of them.
const NO_SLOTS: SlotSet = [0; 4];
const ALL_SLOTS: SlotSet = [u64::MAX; 4];

/// The history of a target, written.
#[derive(Debug)]
pub(in crate::store) struct TargetHistory {
    keeper: Arc<Keeper>,
    layout: Layout,
    has_facts: bool,
    /// By the time that they are kept.
    strips: BTreeMap<i64, Writer>,
    shown: Strips,
}

impl Default for TargetHistory {
    fn default() -> TargetHistory {
        let (keeper, layout, shown) = (Arc::default(), Layout::default(), [].into());
        TargetHistory { keeper, layout, has_facts: false, strips: BTreeMap::new(), shown }
    }
}

/// What one scrape brings.
#[derive(Clone, Copy)]
pub(in crate::store) struct Scraped<'a> {
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) column: &'a Column,
    pub(in crate::store) beside: &'a Beside,
    /// Values of [`SCRAPE_FAMILIES`].
    pub(in crate::store) facts: [Option<f64>; SCRAPE_FAMILIES.len()],
}

impl TargetHistory {
    /// The strips as they are now.
    pub(in crate::store) fn shown(&self) -> &Strips {
        &self.shown
    }

    fn publish(&mut self) {
        self.shown = self.strips.values().map(|writer| Arc::new(writer.strip.clone())).collect();
    }

    /// Follows a change of the series, or of what is kept.
    pub(in crate::store) fn follow(
        &mut self,
        layout: &Layout,
        unsaid: &Unsaid<'_>,
        keeper: &Arc<Keeper>,
        usage: &Arc<Usage>,
    ) {
        let is_same_keeper = Arc::ptr_eq(&self.keeper, keeper);
        if self.strips.is_empty() && !is_same_keeper {
            (self.layout, self.has_facts) = (Layout::default(), false);
        }
        if self.strips.is_empty() && keeper.keeps().is_empty() {
            return;
        }
        if is_same_keeper && self.layout.is_same(layout) {
            return;
        }
        if is_same_keeper || self.strips.is_empty() {
            self.keeper = keeper.clone();
            self.follow_layout(layout, unsaid);
        } else {
            self.follow_layout(layout, unsaid);
            self.keep_otherwise(unsaid, keeper, usage);
        }
        self.publish();
    }

    fn follow_layout(&mut self, layout: &Layout, unsaid: &Unsaid<'_>) {
        let old = std::mem::replace(&mut self.layout, layout.clone());
        let changed: Vec<Changed> = (0..old.chunks().len().max(layout.chunks().len()))
            .filter_map(|number| Changed::between(number, &old, layout, &self.keeper, unsaid))
            .collect();
        let times: BTreeSet<i64> = changed.iter().flat_map(|changed| changed.kept.keys()).copied().collect();
        for keep_ms in times {
            self.strips.entry(keep_ms).or_insert_with(|| Writer::new(keep_ms));
        }
        for (keep_ms, writer) in &mut self.strips {
            for one in &changed {
                writer.end_chunk(one.number, one.slots(*keep_ms), &one.redefined, |slot| one.old_labels(slot, unsaid));
            }
            writer.retire();
            for one in &changed {
                writer.take_chunk(one.number, one.slots(*keep_ms), &one.redefined, |slot| one.new_labels(slot, unsaid));
            }
            writer.strip.chunks.truncate(layout.chunks().len());
        }
        self.follow_facts(unsaid);
    }

    fn follow_facts(&mut self, unsaid: &Unsaid<'_>) {
        if std::mem::replace(&mut self.has_facts, true) {
            return;
        }
        for (family, keep_ms) in self.keeper.facts(unsaid) {
            let writer = self.strips.entry(keep_ms).or_insert_with(|| Writer::new(keep_ms));
            let column = writer.take(|| fact_labels(unsaid.target, family));
            writer.strip.facts = writer.strip.facts.iter().copied().chain([(family, column)]).collect();
        }
    }

    /// Other series are kept, or for other times: what is there moves to where it belongs now.
    fn keep_otherwise(&mut self, unsaid: &Unsaid<'_>, keeper: &Arc<Keeper>, usage: &Arc<Usage>) {
        let old = std::mem::take(&mut self.strips);
        let layout = std::mem::take(&mut self.layout);
        (self.keeper, self.has_facts) = (keeper.clone(), false);
        self.follow_layout(&layout, unsaid);
        let old: Vec<OldStrip> = old.into_values().map(|writer| OldStrip::new(writer.strip, usage)).collect();
        self.take_retired(&old, unsaid);
        for writer in self.strips.values_mut() {
            let sources = sources_of(&writer.strip, &old);
            let times: BTreeSet<i64> = old.iter().flat_map(|old| old.rows.iter().map(|row| row.time)).collect();
            let rows = times.into_iter().map(|time| Arc::new(moved_row(time, &sources, &old, usage))).collect();
            writer.refill(rows, usage);
        }
    }

    /// Series that ended go on being kept, if anyone wants them.
    fn take_retired(&mut self, old: &[OldStrip], unsaid: &Unsaid<'_>) {
        for retired in old.iter().flat_map(|old| old.strip.retired.iter()) {
            for (_, labels) in &retired.series {
                let whole = whole_labels(labels, unsaid);
                let Some(keep_ms) = self.keeper.keeps_series(&whole, unsaid.policy.is_none()) else { continue };
                let writer = self.strips.entry(keep_ms).or_insert_with(|| Writer::new(keep_ms));
                let column = writer.take(|| labels.clone());
                writer.retire_at(retired.at, &mut vec![(column, labels.clone())]);
            }
        }
    }

    /// Whether nothing is kept.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.strips.is_empty()
    }

    /// Takes a scrape's samples.
    pub(in crate::store) fn append(&mut self, scraped: &Scraped<'_>, usage: &Arc<Usage>) {
        if self.strips.is_empty() {
            return;
        }
        for writer in self.strips.values_mut() {
            let row = row_of(&writer.strip, scraped, usage);
            writer.append(row, usage);
        }
        self.publish();
    }

    /// Takes a scrape of before the newest one, told under a layout of its own. A slot that holds another series there has no sample.
    pub(in crate::store) fn append_late(&mut self, layout: &Layout, scraped: &Scraped<'_>, usage: &Arc<Usage>) {
        let chunks = self.layout.chunks().iter().enumerate();
        let differing = chunks.map(|(number, chunk)| match layout.chunks().get(number) {
            Some(late) if Arc::ptr_eq(late.chunk(), chunk.chunk()) => NO_SLOTS,
            Some(late) => late.chunk().redefined(chunk.chunk()),
            None => ALL_SLOTS,
        });
        let differing: Vec<SlotSet> = differing.collect();
        if differing.iter().all(|slots| *slots == NO_SLOTS) {
            return self.append(scraped, usage);
        }
        let (mut column, mut beside) = (scraped.column.clone(), scraped.beside.clone());
        for slot in slots_of(&differing).take_while(|slot| *slot < scraped.column.len()) {
            column.set(slot, stale_nan());
        }
        let holds = |slot: u32| {
            differing[slot as usize / CHUNK_SLOTS][slot as usize % CHUNK_SLOTS / 64] >> (slot % 64) & 1 == 1
        };
        beside.retain(|slot| slot as usize / CHUNK_SLOTS < differing.len() && !holds(slot));
        self.append(&Scraped { column: &column, beside: &beside, ..*scraped }, usage);
    }

    /// The target is gone, or belongs to another stream from now on: all its series end a moment after their last sample.
    pub(in crate::store) fn depart(&mut self, unsaid: &Unsaid<'_>, usage: &Arc<Usage>) {
        self.follow_layout(&Layout::default(), unsaid);
        for writer in self.strips.values_mut() {
            writer.end_facts(|family| fact_labels(unsaid.target, family));
            writer.retire();
            if let Some(newest) = writer.strip.newest() {
                writer.append(Row::new(newest + 1, Vec::new(), None, usage), usage);
            }
        }
        self.has_facts = false;
        self.publish();
    }

    /// Whether nothing is kept any more that someone could ask for at `now`.
    pub(in crate::store) fn is_over(&self, now: Timestamp) -> bool {
        self.strips.values().all(|writer| writer.strip.is_over(now.0))
    }
}

/// The numbers of slots that are given chunk by chunk, ascending.
fn slots_of(sets: &[SlotSet]) -> impl Iterator<Item = usize> + '_ {
    let within = |slots: &SlotSet, slot: usize| slots[slot / 64] >> (slot % 64) & 1 == 1;
    (0..sets.len() * CHUNK_SLOTS).filter(move |slot| within(&sets[slot / CHUNK_SLOTS], slot % CHUNK_SLOTS))
}

/// A chunk that is not what it was.
struct Changed<'a> {
    number: usize,
    old: Option<&'a Arc<IndexedChunk>>,
    new: Option<&'a Arc<IndexedChunk>>,
    redefined: SlotSet,
    kept: KeptSlots,
}

impl<'a> Changed<'a> {
    fn between(
        number: usize,
        old: &'a Layout,
        new: &'a Layout,
        keeper: &Keeper,
        unsaid: &Unsaid<'_>,
    ) -> Option<Changed<'a>> {
        let (old, new) = (old.chunks().get(number), new.chunks().get(number));
        let redefined = match (old, new) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => return None,
            (Some(old), Some(new)) if Arc::ptr_eq(old.chunk(), new.chunk()) => NO_SLOTS,
            (Some(old), Some(new)) => old.chunk().redefined(new.chunk()),
            _ => ALL_SLOTS,
        };
        let kept = new.map(|chunk| keeper.slots(chunk, unsaid)).unwrap_or_default();
        Some(Changed { number, old, new, redefined, kept })
    }

    fn slots(&self, keep_ms: i64) -> &[u8] {
        self.kept.get(&keep_ms).map_or(&[], Vec::as_slice)
    }

    fn old_labels(&self, slot: u8, unsaid: &Unsaid<'_>) -> Option<Labels> {
        self.old?.chunk().labels(usize::from(slot), unsaid.target)
    }

    fn new_labels(&self, slot: u8, unsaid: &Unsaid<'_>) -> Option<Labels> {
        self.new?.chunk().labels(usize::from(slot), unsaid.target)
    }
}

/// Labels without the inventory's.
fn fact_labels(target: &Labels, family: u8) -> Labels {
    LabelsBuilder::from_labels(target).set(METRIC_NAME, SCRAPE_FAMILIES[usize::from(family)].name).build()
}

fn whole_labels(labels: &Labels, unsaid: &Unsaid<'_>) -> Labels {
    let inventory = unsaid.policy.map_or_else(Labels::empty, |policy| policy.labels.clone());
    let mut builder = LabelsBuilder::from_labels(&inventory);
    labels.iter().for_each(|(name, value)| {
        builder.set(name, value);
    });
    builder.build()
}

fn row_of(strip: &Strip, scraped: &Scraped<'_>, usage: &Arc<Usage>) -> Row {
    let mut values = vec![stale_nan(); strip.columns as usize];
    for (chunk, cells) in strip.chunks.iter().zip(scraped.column.chunks()) {
        for (slot, column) in chunk.slots.iter().zip(&chunk.columns) {
            values[*column as usize] = cells[usize::from(*slot)];
        }
    }
    for (family, column) in strip.facts.iter() {
        values[*column as usize] = scraped.facts[usize::from(*family)].unwrap_or_else(stale_nan);
    }
    Row::new(scraped.at.0, values, beside_of(strip, scraped.beside), usage)
}

fn beside_of(strip: &Strip, beside: &Beside) -> Option<Arc<RowBeside>> {
    if beside.timestamps.is_empty() && beside.histograms.is_empty() {
        return None;
    }
    let column_of = |slot: u32| strip.column_of(slot / CHUNK_SLOTS as u32, (slot % CHUNK_SLOTS as u32) as u8);
    let stamps = beside.timestamps.iter().filter_map(|(slot, at)| Some((column_of(*slot)?, at.0)));
    let histograms = beside.histograms.iter().filter_map(|(slot, one)| Some((column_of(*slot)?, one.clone())));
    sorted(RowBeside { stamps: stamps.collect(), histograms: histograms.collect() })
}

fn sorted(mut beside: RowBeside) -> Option<Arc<RowBeside>> {
    beside.stamps.sort_unstable_by_key(|(column, _)| *column);
    beside.histograms.sort_by_key(|(column, _)| *column);
    (!beside.is_empty()).then(|| Arc::new(beside))
}

/// A strip that is taken apart.
struct OldStrip {
    strip: Strip,
    rows: Vec<Arc<Row>>,
}

impl OldStrip {
    fn new(strip: Strip, usage: &Arc<Usage>) -> OldStrip {
        let rows = strip.reader(Timestamp(i64::MIN), Timestamp(i64::MAX)).rows(usage);
        OldStrip { strip, rows }
    }
}

/// From which column of which old strip each column of a new one comes.
fn sources_of(strip: &Strip, old: &[OldStrip]) -> Vec<Option<(usize, u32)>> {
    let mut sources = vec![None; strip.columns as usize];
    let find = |column_in: &dyn Fn(&Strip) -> Option<u32>| {
        old.iter().enumerate().find_map(|(at, old)| Some((at, column_in(&old.strip)?)))
    };
    for (number, chunk) in strip.chunks.iter().enumerate() {
        for (slot, column) in chunk.slots.iter().zip(&chunk.columns) {
            sources[*column as usize] = find(&|old| old.column_of(number as u32, *slot));
        }
    }
    for (family, column) in strip.facts.iter() {
        sources[*column as usize] = find(&|old| old.fact_column(*family));
    }
    for (column, labels) in strip.retired.iter().flat_map(|retired| &retired.series) {
        sources[*column as usize] = find(&|old| {
            let mut series = old.retired.iter().rev().flat_map(|retired| &retired.series);
            series.find(|(_, own)| own == labels).map(|(column, _)| *column)
        });
    }
    sources
}

fn moved_row(time: i64, sources: &[Option<(usize, u32)>], old: &[OldStrip], usage: &Arc<Usage>) -> Row {
    let rows: Vec<Option<&Arc<Row>>> = old
        .iter()
        .map(|old| old.rows.binary_search_by_key(&time, |row| row.time).ok().map(|at| &old.rows[at]))
        .collect();
    let (mut values, mut beside) = (vec![stale_nan(); sources.len()], RowBeside::default());
    for (column, source) in sources.iter().enumerate() {
        let Some((row, from)) = source.and_then(|(at, from)| Some((rows[at]?, from))) else { continue };
        values[column] = row.values.get(from as usize).copied().unwrap_or_else(stale_nan);
        if let Some(own) = &row.beside {
            beside.stamps.extend(own.stamp_of(from).map(|at| (column as u32, at)));
            beside.histograms.extend(own.histogram_of(from).map(|one| (column as u32, one.clone())));
        }
    }
    Row::new(time, values, sorted(beside), usage)
}
