//! Admission: what the inventory makes of a target's labels and series.
//!
//! Invariant: the final labels of a series are a pure function of its pushed labels and the cluster's policy: a pushed
//! label equal to the inventory's is no conflict and is stripped; one that differs is renamed to `exported_<name>`
//! (prefixed again until free), kept or refused, as the policy says. No two series of a target end with the same labels.
//!
//! The work is done chunk by chunk and kept with the chunk's address: a schema change costs what changed, and a chunk
//! in which nothing conflicts (nearly all) is shared as it came. Dropping a series only leaves it out of the chunk's
//! index; renaming alone builds a new chunk, with every slot where it was, so that values stay beside their series.

use std::sync::Arc;

use super::drops::{DropCounts, DropReason};
use super::facts::is_gateway_name;
use super::inventory::{CLUSTER, ClusterPolicy, ENVIRONMENT, LabelConflict};
use super::layout::{IndexedChunk, Layouts, pairs_of};
use super::relabelled::{OwnPairs, with_pairs};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME};
use crate::snapshot::{CHUNK_SLOTS, Chunk, SERIES_LABELS_MAX};

const EXPORTED: &str = "exported_";

/// Applies the policy to all labels of one series (or of a target alone).
pub fn resolve_conflicts(policy: &ClusterPolicy, labels: &mut LabelsBuilder) -> Result<(), DropReason> {
    for (name, stamped) in &policy.labels {
        let pushed = labels.get(name).to_owned();
        if pushed.is_empty() {
            continue;
        }
        let is_bound = name == CLUSTER || name == ENVIRONMENT;
        match policy.on_label_conflict {
            _ if pushed == stamped => {}
            LabelConflict::Keep if !is_bound => continue,
            LabelConflict::Reject => return Err(DropReason::LabelConflict),
            LabelConflict::Keep | LabelConflict::Rename => {
                let free = free_name(policy, labels, name);
                labels.set(&free, &pushed);
            }
        }
        labels.remove(name);
    }
    Ok(())
}

fn free_name(policy: &ClusterPolicy, labels: &LabelsBuilder, name: &str) -> String {
    let mut exported = format!("{EXPORTED}{name}");
    while !labels.get(&exported).is_empty() || policy.labels.get(&exported).is_some() {
        exported.insert_str(0, EXPORTED);
    }
    exported
}

/// The reason why one label is over the policy's bounds.
fn over_bounds(policy: &ClusterPolicy, name: &str, value: &str) -> Option<DropReason> {
    if name.len() > policy.limits.label_name_bytes {
        return Some(DropReason::LabelName);
    }
    (value.len() > policy.limits.label_value_bytes).then_some(DropReason::LabelValue)
}

/// A policy applied to one target: what its chunks are then judged by.
#[derive(Debug)]
pub(super) struct TargetRules {
    policy: Arc<ClusterPolicy>,
    pushed: Arc<Labels>,
    /// The target's labels as readers see them.
    pub(super) labels: Arc<Labels>,
    /// Why nothing of the target is admitted.
    refused: Option<DropReason>,
}

impl TargetRules {
    pub(super) fn new(policy: &Arc<ClusterPolicy>, pushed: &Arc<Labels>) -> TargetRules {
        let mut labels = LabelsBuilder::from_labels(pushed);
        let conflict = resolve_conflicts(policy, &mut labels).err();
        let over = pushed.iter().find_map(|(name, value)| over_bounds(policy, name, value));
        let admitted = labels.build();
        let labels = if admitted == **pushed { pushed.clone() } else { Arc::new(admitted) };
        TargetRules { policy: policy.clone(), pushed: pushed.clone(), labels, refused: conflict.or(over) }
    }

    /// Whether these rules are those of `policy` for a target that was pushed with `labels`.
    pub(super) fn is_for(&self, policy: &Arc<ClusterPolicy>, labels: &Labels) -> bool {
        Arc::ptr_eq(&self.policy, policy) && self.is_of(labels)
    }

    /// Whether the target was pushed with these labels.
    pub(super) fn is_of(&self, labels: &Labels) -> bool {
        *self.pushed == *labels
    }

    /// Whether the target's scrape facts are refused with it.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether a pair of this label may take part in a conflict.
    fn is_touched(&self, label: &str) -> bool {
        self.policy.labels.get(label).is_some() || (label.starts_with(EXPORTED) && self.labels != self.pushed)
    }

    /// Judges one chunk.
    pub(super) fn admit(&self, chunk: &Arc<Chunk>, layouts: &Layouts) -> AdmittedChunk {
        let scan = ChunkScan::new(self, chunk);
        if scan.is_clean() {
            return AdmittedChunk::as_pushed(chunk, layouts);
        }
        let (mut dropped, mut relabelled) = ([None; CHUNK_SLOTS], Vec::new());
        for slot in (0..chunk.len()).filter(|slot| chunk.name_of(*slot).is_some()) {
            match self.judge(chunk, slot, &scan) {
                Ok(None) => {}
                Ok(Some(pairs)) => relabelled.push((slot, pairs)),
                Err(reason) => dropped[slot] = Some(reason),
            }
        }
        let seen = if relabelled.is_empty() { Some(chunk.clone()) } else { with_pairs(chunk, &relabelled) };
        if seen.is_none() {
            relabelled.iter().for_each(|(slot, _)| dropped[*slot] = Some(DropReason::LabelValue));
        }
        let seen = seen.unwrap_or_else(|| chunk.clone());
        AdmittedChunk::altered(chunk, &seen, &dropped, !relabelled.is_empty(), layouts)
    }

    /// `None` where the series stays as it is; else its pairs beside the admitted target's labels.
    fn judge(&self, chunk: &Chunk, slot: usize, scan: &ChunkScan) -> Result<Option<OwnPairs>, DropReason> {
        if let Some(reason) = self.refused {
            return Err(reason);
        }
        if let Some(reason) = scan.reason(chunk, slot) {
            return Err(reason);
        }
        let is_touched = chunk.pairs_of(slot).iter().any(|pair| scan.touched[usize::from(pair.0)]);
        if !is_touched && !scan.may_have_too_many {
            return Ok(None);
        }
        let mut labels = all_labels(&self.pushed, chunk, slot);
        resolve_conflicts(&self.policy, &mut labels)?;
        let stamped = self.policy.labels.iter().filter(|(name, _)| labels.get(name).is_empty()).count();
        if labels.iter().count() + stamped > self.policy.limits.labels_per_series {
            return Err(DropReason::LabelCount);
        }
        if !is_touched {
            return Ok(None);
        }
        let pairs = beside(&self.labels, &labels);
        if pairs.len() > SERIES_LABELS_MAX {
            return Err(DropReason::LabelCount);
        }
        Ok(Some(pairs))
    }
}

/// The labels of a series with its target's, metric name included.
fn all_labels(target: &Labels, chunk: &Chunk, slot: usize) -> LabelsBuilder {
    let mut labels = LabelsBuilder::from_labels(target);
    for pair in chunk.pairs_of(slot) {
        let pair = chunk.pair(*pair);
        labels.set(pair.name, pair.value);
    }
    labels.set(METRIC_NAME, chunk.name_of(slot).map_or("", |name| chunk.name(name)));
    labels
}

/// What a series must say of itself to have `labels` under a target with `target`.
fn beside(target: &Labels, labels: &LabelsBuilder) -> OwnPairs {
    let own = labels.iter().filter(|(name, value)| *name != METRIC_NAME && target.get(name) != Some(*value));
    let lacking = target.iter().filter(|(name, _)| labels.get(name).is_empty()).map(|(name, _)| (name, ""));
    let mut pairs: OwnPairs = own.chain(lacking).map(|(name, value)| (name.into(), value.into())).collect();
    pairs.sort_unstable();
    pairs
}

/// What a look at a chunk's tables says before any slot is read.
struct ChunkScan {
    names: Vec<Option<DropReason>>,
    pairs: Vec<Option<DropReason>>,
    touched: Vec<bool>,
    may_have_too_many: bool,
    is_refused: bool,
}

impl ChunkScan {
    fn new(rules: &TargetRules, chunk: &Chunk) -> ChunkScan {
        let policy = &*rules.policy;
        let longest = (0..chunk.len()).map(|slot| chunk.pairs_of(slot).len()).max().unwrap_or(0);
        ChunkScan {
            names: super::layout::names_of(chunk).map(|name| name_reason(policy, name)).collect(),
            pairs: pairs_of(chunk).map(|(_, pair)| over_bounds(policy, pair.name, pair.value)).collect(),
            touched: pairs_of(chunk).map(|(_, pair)| rules.is_touched(pair.name)).collect(),
            may_have_too_many: longest + rules.pushed.len() + 1 + policy.labels.len() > policy.limits.labels_per_series,
            is_refused: rules.is_refused(),
        }
    }

    fn is_clean(&self) -> bool {
        let is_refused = self.is_refused || self.names.iter().chain(&self.pairs).any(|reason| reason.is_some());
        !is_refused && !self.may_have_too_many && !self.touched.contains(&true)
    }

    fn reason(&self, chunk: &Chunk, slot: usize) -> Option<DropReason> {
        let name = chunk.name_of(slot).and_then(|name| self.names[usize::from(name.0)]);
        name.or_else(|| chunk.pairs_of(slot).iter().find_map(|pair| self.pairs[usize::from(pair.0)]))
    }
}

fn name_reason(policy: &ClusterPolicy, name: &str) -> Option<DropReason> {
    if is_gateway_name(name) {
        return Some(DropReason::GatewayName);
    }
    over_bounds(policy, METRIC_NAME, name)
}

/// One chunk after admission.
#[derive(Clone, Debug)]
pub(super) struct AdmittedChunk {
    /// As pushed: its address is the key under which this is kept.
    pub(super) pushed: Arc<Chunk>,
    /// As readers see it.
    pub(super) indexed: Arc<IndexedChunk>,
    /// Series left out, by reason.
    pub(super) dropped: DropCounts,
    /// Whether labels were changed, so that they may now equal another series'.
    pub(super) is_relabelled: bool,
}

impl AdmittedChunk {
    fn as_pushed(chunk: &Arc<Chunk>, layouts: &Layouts) -> AdmittedChunk {
        let indexed = layouts.index(chunk);
        AdmittedChunk { pushed: chunk.clone(), indexed, dropped: DropCounts::default(), is_relabelled: false }
    }

    fn altered(
        chunk: &Arc<Chunk>,
        seen: &Arc<Chunk>,
        dropped: &[Option<DropReason>; CHUNK_SLOTS],
        is_relabelled: bool,
        layouts: &Layouts,
    ) -> AdmittedChunk {
        let mut counts = DropCounts::default();
        dropped.iter().flatten().for_each(|reason| counts.add(*reason, 1));
        let indexed = if counts == DropCounts::default() {
            layouts.index(seen)
        } else {
            layouts.index_some(seen, |slot| dropped[slot].is_none())
        };
        AdmittedChunk { pushed: chunk.clone(), indexed, dropped: counts, is_relabelled }
    }

    /// Hashes of the series' final labels, with their slots.
    pub(super) fn label_hashes<'a>(&'a self, target: &'a Labels) -> impl Iterator<Item = (u8, u64)> + 'a {
        self.indexed.slots().iter().map(|slot| {
            let labels = all_labels(target, self.indexed.chunk(), usize::from(*slot)).build();
            (*slot, xxhash_rust::xxh3::xxh3_64(labels.as_bytes()))
        })
    }
}
