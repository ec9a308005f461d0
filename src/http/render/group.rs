//! The samples of one target in a family of several names, put in order: label set by label set, in each its buckets by
//! bound and then count, sum, created.
//!
//! Invariant: what is sorted at once is bounded by [`GROUP_SERIES`] whatever a target holds: one with more is divided by a
//! hash of the label set, so that a set stays whole. Samples are taken in the order of their slots, which is that of the
//! scraped page and so nearly the right one; sorting then costs about a comparison a sample.

use std::cmp::Ordering;
use std::sync::Arc;

use super::untyped::Samples;
use crate::model::Timestamp;
use crate::snapshot::PairId;
use crate::store::{IndexedChunk, PickedRun, Selection, SiteView};

/// Series that are sorted at once, on average: 48 bytes each.
const GROUP_SERIES: usize = 16 << 10;

/// All samples of a target, or those of the label sets in one of `parts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    target: u32,
    part: u32,
    parts: u32,
    /// About how many series there are.
    pub(super) series: usize,
}

/// One name of the family.
pub(super) struct Member<'a> {
    /// The caller's number for it.
    pub(super) metric: usize,
    pub(super) name: &'a str,
    pub(super) runs: &'a [PickedRun],
}

/// A family by its names.
pub(super) struct Groups<'a> {
    pub(super) view: &'a SiteView,
    pub(super) selection: &'a Selection,
    pub(super) members: Vec<Member<'a>>,
}

/// A sample to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) metric: usize,
    pub(super) target: u32,
    pub(super) chunk: u32,
    pub(super) slot: u8,
    pub(super) value: f64,
    part: u8,
    /// The pair that gives `bound`, and is not of the label set.
    bound_pair: Option<PairId>,
    bound: f64,
}

impl Groups<'_> {
    /// The groups, targets in the view's order.
    pub(super) fn divide(&self) -> Vec<Group> {
        let (mut at, mut groups) = (vec![0; self.members.len()], Vec::new());
        let next =
            |at: &[usize]| self.members.iter().zip(at).filter_map(|(one, at)| Some(one.runs.get(*at)?.target)).min();
        while let Some(target) = next(&at) {
            let mut series = 0;
            for (member, at) in self.members.iter().zip(&mut at) {
                let runs = runs_of(&member.runs[*at..], target);
                series += runs.iter().map(PickedRun::count).sum::<usize>();
                *at += runs.len();
            }
            let parts = series.div_ceil(GROUP_SERIES).max(1);
            let group = |part| Group { target, part: part as u32, parts: parts as u32, series: series / parts };
            groups.extend((0..parts).map(group));
        }
        groups
    }

    /// The samples of a group that are shown, in the order of slots.
    pub(super) fn collect(&self, group: &Group, oldest: Option<Timestamp>) -> Vec<Line> {
        let mut lines = Vec::with_capacity(group.series);
        let chunks = self.chunks(group);
        for Member { metric, name, runs } in &self.members {
            let (part, first) = (part_of(name), runs.partition_point(|run| run.target < group.target));
            for run in runs_of(&runs[first..], group.target) {
                let Some(samples) = Samples::of(self.view, run, oldest) else { continue };
                for (slot, value) in samples.of_slots(self.selection.slots_of(self.view, run)) {
                    let (metric, target, chunk) = (*metric, group.target, run.chunk);
                    let (bound_pair, bound) = bound_of(&chunks[chunk as usize], slot);
                    let line = Line { metric, target, chunk, slot, value, part, bound_pair, bound };
                    if group.parts == 1 || hash_of(chunks, &line) % u64::from(group.parts) == u64::from(group.part) {
                        lines.push(line);
                    }
                }
            }
        }
        lines.sort_unstable_by_key(|line| (line.chunk, line.slot));
        lines
    }

    /// The same in the page's order.
    pub(super) fn sorted(&self, group: &Group, oldest: Option<Timestamp>) -> Vec<Line> {
        let (mut lines, chunks) = (self.collect(group, oldest), self.chunks(group));
        lines.sort_by(|one, two| {
            let by_set = compare_sets(chunks, one, two).then(one.part.cmp(&two.part));
            by_set.then(one.bound.total_cmp(&two.bound))
        });
        lines
    }

    fn chunks(&self, group: &Group) -> &[Arc<IndexedChunk>] {
        self.view.targets[group.target as usize].target.layout.chunks()
    }
}

/// Of runs that begin with a target's, those of this target.
fn runs_of(runs: &[PickedRun], target: u32) -> &[PickedRun] {
    let end = runs.iter().position(|run| run.target != target);
    &runs[..end.unwrap_or(runs.len())]
}

/// Which part of a label set a metric is: buckets and quantiles first.
pub(super) fn part_of(metric: &str) -> u8 {
    let parts: [&[&str]; 3] = [&["_count", "_gcount"], &["_sum", "_gsum"], &["_created"]];
    let part = parts.iter().position(|suffixes| suffixes.iter().any(|suffix| metric.ends_with(suffix)));
    part.map_or(0, |part| part as u8 + 1)
}

/// The bound of a bucket or the quantile, where a label is one.
pub(super) fn bound_in(name: &str, value: &str) -> Option<f64> {
    if matches!(name, "le" | "quantile") { value.parse().ok() } else { None }
}

fn bound_of(chunk: &IndexedChunk, slot: u8) -> (Option<PairId>, f64) {
    let pairs = chunk.chunk().pairs_of(usize::from(slot)).iter().map(|id| (*id, chunk.chunk().pair(*id)));
    let mut bounds = pairs.filter_map(|(id, pair)| Some((Some(id), bound_in(pair.name, pair.value)?)));
    bounds.next_back().unwrap_or((None, 0.0))
}

fn set_of<'a>(chunks: &'a [Arc<IndexedChunk>], line: &'a Line) -> impl Iterator<Item = PairId> + 'a {
    let pairs = chunks[line.chunk as usize].chunk().pairs_of(usize::from(line.slot));
    pairs.iter().copied().filter(|pair| line.bound_pair != Some(*pair))
}

fn compare_sets(chunks: &[Arc<IndexedChunk>], one: &Line, two: &Line) -> Ordering {
    if one.chunk == two.chunk && set_of(chunks, one).eq(set_of(chunks, two)) {
        return Ordering::Equal;
    }
    let [one, two] = [one, two].map(|line| {
        let chunk = chunks[line.chunk as usize].chunk();
        set_of(chunks, line).map(move |pair| chunk.pair(pair)).map(|pair| (pair.name, pair.value))
    });
    one.cmp(two)
}

fn hash_of(chunks: &[Arc<IndexedChunk>], line: &Line) -> u64 {
    let chunk = chunks[line.chunk as usize].chunk();
    let hash = |pair| xxhash_rust::xxh3::xxh3_64(chunk.pair(pair).text.as_bytes());
    set_of(chunks, line).map(hash).fold(0, u64::wrapping_add)
}
