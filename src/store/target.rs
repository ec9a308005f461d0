//! One target of one stream: what admission made of it, kept from frame to frame.
//!
//! Invariant: `layout` lists exactly the series that readers may see, so that no two have the same labels and there are
//! no more than the cluster had room for. It changes only with the schema, the policy or that room; a frame that
//! brings values alone costs a view of the same layout with another column.

use std::collections::HashSet;
use std::sync::Arc;

use super::admit::{AdmittedChunk, TargetRules};
use super::drops::{DropCounts, DropReason};
use super::facts::scrape_values;
use super::history::{Keeper, Scraped, TargetHistory, Usage};
use super::inventory::ClusterPolicy;
use super::layout::{IndexedChunk, Layout, Layouts};
use super::pick::Unsaid;
use super::returns::{Absence, Arrived, Publication, Returns};
use super::view::TargetView;
use crate::model::{Labels, Timestamp, is_stale, stale_nan};
use crate::snapshot::{Beside, CHUNK_SLOTS, Column, Outcome, Schema, TargetState, redefined};

/// What of a target's samples is kept, and what that takes.
#[derive(Clone, Copy)]
pub(super) struct Kept<'a> {
    pub(super) policy: &'a ClusterPolicy,
    pub(super) keeper: &'a Arc<Keeper>,
    pub(super) usage: &'a Arc<Usage>,
}

#[derive(Debug)]
pub(super) struct HeldTarget {
    rules: TargetRules,
    schema: Arc<Schema>,
    chunks: Vec<AdmittedChunk>,
    /// All admitted series, before the cluster's bound.
    admitted: Layout,
    /// What readers see: `admitted`, or as much of it as there was room for.
    layout: Layout,
    dropped: DropCounts,
    /// Relabelling gave two series one label set: which of them is seen depends on which has a sample.
    has_twins: bool,
    /// Whether readers see this target here, and not in another stream.
    pub(super) is_owned: bool,
    pub(super) view: Option<Arc<TargetView>>,
    returns: Returns,
    /// Written while the target is owned; goes over to the next owner.
    pub(super) history: TargetHistory,
    /// What was kept of another target, which had this one's number before.
    left: Option<(Arc<Labels>, TargetHistory)>,
    /// Whether nobody has seen it here yet.
    is_new: bool,
    arrived: Arrived,
}

impl HeldTarget {
    pub(super) fn new(state: &TargetState, policy: &Arc<ClusterPolicy>, layouts: &Layouts) -> HeldTarget {
        let rules = TargetRules::new(policy, &state.labels);
        let mut held = HeldTarget {
            rules,
            schema: state.schema.clone(),
            chunks: Vec::new(),
            admitted: Layout::default(),
            layout: Layout::default(),
            dropped: DropCounts::default(),
            has_twins: false,
            is_owned: false,
            view: None,
            returns: Returns::default(),
            history: TargetHistory::default(),
            left: None,
            is_new: true,
            arrived: Arrived::default(),
        };
        held.admit_chunks(&state.column, layouts);
        held
    }

    /// Follows a change of schema or policy; true where labels of the target itself changed.
    pub(super) fn refresh(&mut self, state: &TargetState, policy: &Arc<ClusterPolicy>, layouts: &Layouts) -> bool {
        let before = self.rules.labels.clone();
        if !self.is_of(state) {
            (self.view, self.returns, self.is_new) = (None, Returns::default(), true);
        }
        if !self.rules.is_for(policy, &state.labels) {
            self.rules = TargetRules::new(policy, &state.labels);
            self.chunks.clear();
        } else if Arc::ptr_eq(&self.schema, &state.schema) && !self.has_twins {
            return false;
        }
        self.returns.forget(&redefined(&self.schema, &state.schema));
        self.schema = state.schema.clone();
        self.admit_chunks(&state.column, layouts);
        if before == self.rules.labels {
            return false;
        }
        self.left = Some((before, std::mem::take(&mut self.history)));
        true
    }

    /// What is kept of the target that this was before its labels changed.
    pub(super) fn take_left(&mut self) -> Option<(Arc<Labels>, TargetHistory)> {
        self.left.take()
    }

    /// Whether this is what became of the target in `state`, and not of another one before it under its number.
    pub(super) fn is_of(&self, state: &TargetState) -> bool {
        self.rules.is_of(&state.labels)
    }

    /// Chunks that are still the same keep what was decided of them.
    fn admit_chunks(&mut self, column: &Column, layouts: &Layouts) {
        let mut known = std::mem::take(&mut self.chunks).into_iter();
        self.chunks = self
            .schema
            .chunks()
            .iter()
            .map(|chunk| match known.next() {
                Some(admitted) if Arc::ptr_eq(&admitted.pushed, chunk) => admitted,
                _ => self.rules.admit(chunk, layouts),
            })
            .collect();
        (self.dropped, self.has_twins) = (DropCounts::default(), false);
        self.chunks.iter().for_each(|chunk| self.dropped.add_all(&chunk.dropped));
        let indexed = self.chunks.iter().map(|chunk| chunk.indexed.clone()).collect();
        self.admitted = if self.chunks.iter().any(|chunk| chunk.is_relabelled) {
            self.without_twins(indexed, column, layouts)
        } else {
            Layout::new(indexed)
        };
        self.layout = self.admitted.clone();
    }

    /// Relabelling may give two series one label set. Of those with a sample the one in the lower slot is seen.
    fn without_twins(&mut self, mut indexed: Vec<Arc<IndexedChunk>>, column: &Column, layouts: &Layouts) -> Layout {
        let (mut known, mut seen) = (HashSet::new(), HashSet::new());
        for (number, (chunk, index)) in self.chunks.iter().zip(&mut indexed).enumerate() {
            let mut hashes: Vec<(u8, u64)> = chunk.label_hashes(&self.rules.labels).collect();
            hashes.sort_unstable();
            let mut shown = [false; CHUNK_SLOTS];
            for (slot, hash) in &hashes {
                self.has_twins |= !known.insert(*hash);
                let at = number * CHUNK_SLOTS + usize::from(*slot);
                let has_sample = at < column.len() && !is_stale(column.get(at));
                shown[usize::from(*slot)] = !has_sample || seen.insert(*hash);
            }
            let twins = hashes.len() - shown.iter().filter(|is_shown| **is_shown).count();
            if twins > 0 {
                self.dropped.add(DropReason::Duplicate, twins);
                *index = layouts.index_some(index.chunk(), |slot| shown[slot]);
            }
        }
        Layout::new(indexed)
    }

    /// The target's labels as readers see them.
    pub(super) fn labels(&self) -> &Arc<Labels> {
        &self.rules.labels
    }

    /// Series that readers see.
    pub(super) fn series(&self) -> usize {
        self.layout.live()
    }

    /// Takes as many series as there is room for, the lower slots first.
    pub(super) fn fit(&mut self, room: usize, layouts: &Layouts) {
        let wanted = self.admitted.live().min(room);
        if self.layout.live() != wanted || (wanted == self.admitted.live() && !self.layout.is_same(&self.admitted)) {
            self.layout = first_series(&self.admitted, wanted, layouts);
        }
    }

    /// Samples that this delivery lost, by reason.
    pub(super) fn losses(&self) -> DropCounts {
        let mut dropped = self.dropped;
        dropped.add(DropReason::SeriesLimit, self.admitted.live() - self.layout.live());
        dropped
    }

    /// Shows the state to readers, except what lies ahead of the clock: then what was shown before stays.
    pub(super) fn show(
        &mut self,
        state: &TargetState,
        latest: Timestamp,
        now: Publication,
        kept: &Kept<'_>,
    ) -> DropCounts {
        let mut losses = self.losses();
        if self.rules.is_refused() {
            self.view = None;
            return losses;
        }
        if state.started > latest {
            losses.add(DropReason::Ahead, self.series());
            return losses;
        }
        let (column, beside, ahead) = without_ahead(state, latest);
        losses.add(DropReason::Ahead, ahead);
        let before = self.view.as_ref();
        let started = state.started;
        let back = before.map(|view| self.returns.follow(&view.column, (started, &column), now)).unwrap_or_default();
        self.view = Some(Arc::new(TargetView {
            labels: self.rules.labels.clone(),
            layout: self.layout.clone(),
            recorded: None,
            column,
            started: state.started,
            duration: state.duration,
            outcome: state.outcome,
            report: state.report,
            beside,
            back,
            history: [].into(),
            absence: self.arrived.at(started),
        }));
        self.remember(kept);
        losses
    }

    /// Adds what is shown to the history, where this target is the one that readers see.
    pub(super) fn remember(&mut self, kept: &Kept<'_>) {
        if self.is_owned {
            self.remember_unseen(kept);
        }
    }

    /// The same of a target that nobody shows to readers yet.
    pub(super) fn remember_unseen(&mut self, kept: &Kept<'_>) {
        let Some(view) = &self.view else { return };
        let unsaid = Unsaid { target: &view.labels, policy: Some(kept.policy) };
        self.history.follow(&view.layout, &unsaid, kept.keeper, kept.usage);
        self.history.append(&scraped(view), kept.usage);
        self.show_history();
    }

    /// Adds what another stream tells of a time before what is shown.
    pub(super) fn remember_late(&mut self, late: &TargetView, usage: &Arc<Usage>) {
        self.history.append_late(&late.layout, &scraped(late), usage);
        self.show_history();
    }

    fn show_history(&mut self) {
        if let Some(view) = &mut self.view
            && !Arc::ptr_eq(&view.history, self.history.shown())
        {
            Arc::make_mut(view).history = self.history.shown().clone();
        }
    }

    /// Readers see it from now on, for the first time here; what they saw of it before was `absence` ago.
    pub(super) fn arrive(&mut self, wall: Timestamp, absence: impl FnOnce() -> Option<Absence>) {
        if std::mem::take(&mut self.is_new)
            && let Some(absence) = absence()
        {
            self.arrived = Arrived::after(absence, wall);
            if let Some(view) = &mut self.view {
                Arc::make_mut(view).absence = Some(absence);
            }
        }
    }

    /// Readers do not see it until something comes; its labels.
    pub(super) fn hide(&mut self) -> Arc<Labels> {
        self.is_new = true;
        self.labels().clone()
    }

    /// After a change of layout alone: the same sample under the new layout.
    pub(super) fn show_layout(&mut self) {
        if let Some(view) = &self.view {
            let mut view = TargetView::clone(view);
            view.layout = self.layout.clone();
            view.labels = self.rules.labels.clone();
            self.view = (!self.rules.is_refused()).then(|| Arc::new(view));
        }
    }

    /// Whether the scrape's target is no more.
    pub(super) fn is_gone(state: &TargetState) -> bool {
        state.outcome == Outcome::Gone
    }
}

fn scraped(view: &TargetView) -> Scraped<'_> {
    Scraped {
        at: view.started,
        column: &view.column,
        beside: &view.beside,
        facts: scrape_values(view.outcome, view.duration, &view.report),
    }
}

/// Samples whose own timestamp lies ahead are taken out, one by one, with all that stands beside them.
fn without_ahead(state: &TargetState, latest: Timestamp) -> (Column, Arc<Beside>, usize) {
    let explicit = &state.beside.timestamps;
    let ahead: Vec<u32> = explicit.iter().filter(|(_, at)| *at > latest).map(|(slot, _)| *slot).collect();
    if ahead.is_empty() {
        return (state.column.clone(), state.beside.clone(), 0);
    }
    let mut column = state.column.clone();
    ahead.iter().for_each(|slot| column.set(*slot as usize, stale_nan()));
    let mut beside = Beside::clone(&state.beside);
    beside.retain(|slot| ahead.binary_search(&slot).is_err());
    (column, Arc::new(beside), ahead.len())
}

/// The first `wanted` series in the order of slots.
fn first_series(layout: &Layout, wanted: usize, layouts: &Layouts) -> Layout {
    if wanted >= layout.live() {
        return layout.clone();
    }
    let mut room = wanted;
    let chunks = layout.chunks().iter().map(|chunk| {
        let taken = room.min(chunk.live());
        room -= taken;
        if taken == chunk.live() {
            return chunk.clone();
        }
        let mut slots = [false; CHUNK_SLOTS];
        let mut order = chunk.slots().to_vec();
        order.sort_unstable();
        order.iter().take(taken).for_each(|slot| slots[usize::from(*slot)] = true);
        layouts.index_some(chunk.chunk(), |slot| slots[slot])
    });
    Layout::new(chunks.collect())
}
