//! One stream of a cluster: its decoder, its targets, and what readers see of them.
//!
//! Invariant: `view` shows the state at the end of the last whole snapshot. Parts of a snapshot that is cut in several
//! frames collect in `changed` until the last one has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::arrival::{Accepted, Arrival};
use super::cluster::Shared;
use super::drops::DropCounts;
use super::history::{TargetHistory, Usage};
use super::inventory::ClusterPolicy;
use super::layout::Layouts;
use super::owners::Claimant;
use super::refusal::Refusal;
use super::returns::Publication;
use super::target::{HeldTarget, Kept};
use super::view::{StreamView, TargetView};
use crate::model::{Labels, Timestamp};
use crate::snapshot::{ApplyError, Frame, StreamId, StreamState};

pub(super) struct Stream {
    id: StreamId,
    pub(super) collector: Arc<str>,
    pub(super) heard: Instant,
    /// Before this moment nobody could push.
    pub(super) spared: Option<Instant>,
    /// Shows the newest state ahead of a backlog; nothing else is made of it.
    pub(super) is_volatile: bool,
    /// Of the last whole snapshot.
    pub(super) tick: Timestamp,
    state: StreamState,
    pub(super) targets: BTreeMap<u32, HeldTarget>,
    /// Targets that the frames since the last publication changed.
    changed: BTreeSet<u32>,
    /// False while parts of a snapshot are missing.
    is_whole: bool,
    /// Whether targets came, went or changed their labels or owner since `order` was made.
    pub(super) is_reordered: bool,
    /// Owned targets, ascending by labels.
    order: Vec<u32>,
    /// What is kept of targets that are gone, until their cluster takes it.
    pub(super) departed: Vec<(Arc<Labels>, TargetHistory)>,
    pub(super) view: Option<Arc<StreamView>>,
}

impl Stream {
    pub(super) fn new(id: StreamId, arrival: &Arrival, is_volatile: bool) -> Stream {
        Stream {
            id,
            collector: arrival.collector.clone(),
            heard: arrival.monotonic,
            spared: None,
            is_volatile,
            tick: Timestamp::default(),
            state: StreamState::new(id),
            targets: BTreeMap::new(),
            changed: BTreeSet::new(),
            is_whole: false,
            is_reordered: true,
            order: Vec::new(),
            departed: Vec::new(),
            view: None,
        }
    }

    /// The decoder.
    pub(super) fn state(&self) -> &StreamState {
        &self.state
    }

    /// See [`StreamState::forget_frames`]. What readers see stays until the next KEY.
    pub(super) fn forget_frames(&mut self) {
        self.state.forget_frames();
        self.is_whole = false;
    }

    /// Since when it could have pushed and did not.
    pub(super) fn silent_since(&self) -> Instant {
        self.spared.map_or(self.heard, |spared| spared.max(self.heard))
    }

    pub(super) fn claimant(&self) -> Claimant {
        let (started, heard, tick) = (self.state.started(), self.silent_since(), self.tick);
        Claimant { collector: self.collector.clone(), started, heard, tick, is_volatile: self.is_volatile }
    }

    /// Decodes one frame; nothing changes where it is refused.
    pub(super) fn decode(&mut self, frame: &Frame<'_>, shared: &Shared) -> Result<Accepted, Refusal> {
        self.is_whole = false;
        if frame.header().kind.is_definition() {
            self.state.define(frame, &shared.limits, &shared.schemas)?;
            return Ok(self.accepted(0));
        }
        match self.state.apply(frame, &shared.limits) {
            Ok(applied) => {
                self.changed
                    .extend(applied.changed_targets.iter().chain(applied.gone.iter().map(|(target, _)| target)));
                if applied.key {
                    self.note_replaced();
                }
                self.is_whole = applied.publish;
                self.tick = if applied.publish { frame.header().tick } else { self.tick };
                Ok(self.accepted(applied.samples))
            }
            Err(ApplyError::Duplicate) => Ok(Accepted { is_duplicate: true, ..self.accepted(0) }),
            Err(error) => Err(error.into()),
        }
    }

    /// A KEY may have come without a target that was there, or with another one under its number.
    fn note_replaced(&mut self) {
        let is_same =
            |target: &u32, held: &HeldTarget| self.state.target(*target).is_some_and(|state| held.is_of(state));
        self.changed
            .extend(self.targets.iter().filter(|(target, held)| !is_same(target, held)).map(|(target, _)| target));
    }

    fn accepted(&self, samples: u64) -> Accepted {
        Accepted { acked: self.state.last_seq(), samples, ..Accepted::default() }
    }

    /// Whether the last frame completed a snapshot.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether readers see any target here.
    pub(super) fn shows_any(&self) -> bool {
        self.targets.values().any(|held| held.is_owned)
    }

    pub(super) fn take_changed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// Targets that another stream owned so far.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> + '_ {
        self.targets.iter().filter(|(_, held)| !held.is_owned).map(|(target, _)| *target)
    }

    /// Follows a target's state. Where its place among the targets changed: its old labels, the series it gives back, and
    /// whether it is still there.
    pub(super) fn refresh(
        &mut self,
        target: u32,
        policy: &Arc<ClusterPolicy>,
        layouts: &Layouts,
    ) -> Option<(Arc<Labels>, usize, bool)> {
        let state = self.state.target(target).filter(|state| !HeldTarget::is_gone(state));
        let Some(state) = state else {
            let held = self.targets.remove(&target)?;
            self.is_reordered = true;
            let owned = if held.is_owned { held.series() } else { 0 };
            let labels = held.labels().clone();
            self.departed.push((labels.clone(), held.history));
            return Some((labels, owned, false));
        };
        let Some(held) = self.targets.get_mut(&target) else {
            self.targets.insert(target, HeldTarget::new(state, policy, layouts));
            self.is_reordered = true;
            return None;
        };
        let (labels, owned) = (held.labels().clone(), if held.is_owned { held.series() } else { 0 });
        if !held.refresh(state, policy, layouts) && owned == held.series() {
            return None;
        }
        self.departed.extend(held.take_left());
        held.is_owned = false;
        self.is_reordered = true;
        Some((labels, owned, true))
    }

    pub(super) fn show(&mut self, target: u32, latest: Timestamp, now: Publication, kept: &Kept<'_>) -> DropCounts {
        match (self.targets.get_mut(&target), self.state.target(target)) {
            (Some(held), Some(state)) => held.show(state, latest, now, kept),
            _ => DropCounts::default(),
        }
    }

    pub(super) fn show_layouts(&mut self) {
        self.targets.values_mut().for_each(HeldTarget::show_layout);
    }

    /// Follows a change of what is kept.
    pub(super) fn remember(&mut self, kept: &Kept<'_>) {
        self.targets.values_mut().for_each(|held| held.remember(kept));
    }

    /// Adds a late sample to what is kept of a target; readers see it with the next view.
    pub(super) fn remember_late(&mut self, target: u32, late: &TargetView, usage: &Arc<Usage>) {
        if let Some(held) = self.targets.get_mut(&target) {
            held.remember_late(late, usage);
        }
    }

    /// Begins the history of a target that nobody shows yet.
    pub(super) fn remember_unseen(&mut self, target: u32, kept: &Kept<'_>) {
        if let Some(held) = self.targets.get_mut(&target) {
            held.remember_unseen(kept);
        }
    }

    pub(super) fn rebuild_view(&mut self) {
        if self.is_reordered {
            let owned = self.targets.iter().filter(|(_, held)| held.is_owned);
            let mut order: Vec<(&Arc<Labels>, u32)> = owned.map(|(target, held)| (held.labels(), *target)).collect();
            order.sort_unstable();
            (self.order, self.is_reordered) = (order.into_iter().map(|(_, target)| target).collect(), false);
        }
        let shown = self.order.iter().filter_map(|target| self.targets[target].view.clone());
        let targets: Arc<[Arc<TargetView>]> = shown.collect();
        let (id, collector, heard) = (self.id, self.collector.clone(), self.heard);
        self.view = Some(Arc::new(StreamView { id, collector, heard, targets }));
    }
}
