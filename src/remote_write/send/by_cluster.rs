//! The results of rules, told apart by the cluster that they carry: where the headers of requests name labels of a cluster, a request must
//! hold one cluster's series.
//!
//! Invariant: every row of a frame is in exactly one of those that are made of it, and which one follows from its labels alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::{FrameSamples, ScrapeSamples};
use crate::model::is_stale;
use crate::snapshot::CHUNK_SLOTS;
use crate::store::{CLUSTER, TargetView};

/// Frames by the value of their series' label `cluster`, `None` first: those without.
pub(super) fn by_cluster(frame: &FrameSamples) -> BTreeMap<Option<Arc<str>>, FrameSamples> {
    let mut frames: BTreeMap<Option<Arc<str>>, FrameSamples> = BTreeMap::new();
    for scrape in &frame.scrapes {
        for (cluster, slots) in slots_by_cluster(&scrape.view) {
            let own = ScrapeSamples { only: Some(slots.into()), ..scrape.clone() };
            frames.entry(cluster.map(Into::into)).or_default().scrapes.push(own);
        }
    }
    for end in &frame.ends {
        let cluster = end.labels.get(CLUSTER).filter(|cluster| !cluster.is_empty());
        frames.entry(cluster.map(Into::into)).or_default().ends.push(end.clone());
    }
    frames
}

fn slots_by_cluster(view: &TargetView) -> BTreeMap<Option<&str>, Vec<u32>> {
    let mut slots: BTreeMap<Option<&str>, Vec<u32>> = BTreeMap::new();
    for (slot, _) in view.column.iter().enumerate().filter(|(_, value)| !is_stale(*value)) {
        let Some(indexed) = view.layout.chunks().get(slot / CHUNK_SLOTS) else { break };
        let chunk = indexed.chunk();
        let mut pairs = chunk.pairs_of(slot % CHUNK_SLOTS).iter().map(|pair| chunk.pair(*pair));
        let cluster = pairs.find(|pair| pair.name == CLUSTER && !pair.value.is_empty()).map(|pair| pair.value);
        slots.entry(cluster).or_default().push(slot as u32);
    }
    slots
}
