//! What only few slots have beside their value: timestamps of their own, exemplars, native histograms, start timestamps.
//!
//! Invariant: each list ascends by slot and has a slot at most once, so it is searched by halving and compared by merging. A
//! column stays eight bytes a slot whatever its samples carry, and a target whose lists are empty shares one empty [`Beside`].

use std::sync::{Arc, LazyLock};

use crate::model::{Exemplar, HistogramSample, Timestamp};

/// The lists of one target after one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// Timestamps of the samples that bring their own. A slot whose timestamp is the one of the scrape before brings no new
    /// sample.
    pub timestamps: Vec<(u32, Timestamp)>,
    /// Exemplars of float samples.
    pub exemplars: Vec<(u32, Exemplar)>,
    /// Native histograms: exactly those of the slots whose column value has the bits [`crate::model::HISTOGRAM_NAN`].
    pub histograms: Vec<(u32, Arc<HistogramSample>)>,
    /// When counters, histograms and summaries began to count, on every slot that is a part of one.
    pub starts: Vec<(u32, Timestamp)>,
}

static NOTHING: LazyLock<Arc<Beside>> = LazyLock::new(Arc::default);

impl Beside {
    /// The empty lists that all targets share which have nothing to say.
    pub fn nothing() -> Arc<Beside> {
        NOTHING.clone()
    }

    /// Whether no slot has anything.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty() && self.exemplars.is_empty() && self.histograms.is_empty() && self.starts.is_empty()
    }

    /// Leaves out what the slots have of which `keeps` says no.
    pub fn retain(&mut self, keeps: impl Fn(u32) -> bool) {
        self.timestamps.retain(|(slot, _)| keeps(*slot));
        self.exemplars.retain(|(slot, _)| keeps(*slot));
        self.histograms.retain(|(slot, _)| keeps(*slot));
        self.starts.retain(|(slot, _)| keeps(*slot));
    }

    /// The sample's own timestamp; without one it has that of its scrape.
    #[inline]
    pub fn timestamp_of(&self, slot: u32) -> Option<Timestamp> {
        find(&self.timestamps, slot).copied()
    }

    /// The exemplar of a float sample.
    #[inline]
    pub fn exemplar_of(&self, slot: u32) -> Option<&Exemplar> {
        find(&self.exemplars, slot)
    }

    /// The native histogram, where the column says that the sample is one.
    #[inline]
    pub fn histogram_of(&self, slot: u32) -> Option<&Arc<HistogramSample>> {
        find(&self.histograms, slot)
    }

    /// When the slot's counter, histogram or summary began, as far as the page says.
    #[inline]
    pub fn start_of(&self, slot: u32) -> Option<Timestamp> {
        find(&self.starts, slot).copied()
    }
}

#[inline]
fn find<T>(entries: &[(u32, T)], slot: u32) -> Option<&T> {
    if entries.is_empty() {
        return None;
    }
    let at = entries.binary_search_by_key(&slot, |(own, _)| *own).ok()?;
    Some(&entries[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_without_an_entry_have_nothing() {
        let beside = Beside { starts: vec![(3, Timestamp(1)), (700, Timestamp(2))], ..Beside::default() };
        let found: Vec<_> = [0, 3, 4, 700, 701].iter().map(|slot| beside.start_of(*slot)).collect();
        assert_eq!(found, [None, Some(Timestamp(1)), None, Some(Timestamp(2)), None]);
        assert_eq!((beside.timestamp_of(3), beside.is_empty(), Beside::nothing().is_empty()), (None, false, true));
    }
}
