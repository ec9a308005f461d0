//! One cluster: its streams, who owns which target, and the view that readers load.
//!
//! Invariant: everything that changes happens under one mutex, frame by frame, and ends with a new [`ClusterView`] that
//! replaces the old one at once; a frame that is refused, or that says MORE follows, changes no target that readers see.
//! Two frames of one cluster are so applied one after the other, those of different clusters side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::arrival::{Accepted, Arrival, CollectorSeen, Taken, Told};
use super::departed::DepartedTargets;
use super::drops::DropCounts;
use super::history::{Keeper, TargetHistory, Usage};
use super::inventory::ClusterPolicy;
use super::lanes::{Lanes, VOLATILE_MAX};
use super::layout::Layouts;
use super::owners::{Claim, Claimant, Owner, Owners};
use super::refusal::Refusal;
use super::returns::{Departed, Missing, Publication};
use super::stream::Stream;
use super::target::Kept;
use super::view::{ClusterView, Generation};
use crate::model::Timestamp;
use crate::snapshot::{ApplyError, Frame, FrameHeader, FrameLimits, Outcome, SchemaCache, StreamId, TargetState};

/// Where no clock was read: as late as can be, so that nothing is forgotten too early.
const NO_CLOCK: Timestamp = Timestamp(i64::MAX);

pub(super) struct Cluster {
    /// Guarded: everything that frames change.
    state: Mutex<ClusterState>,
    /// Written under the mutex, read without it.
    view: ArcSwap<ClusterView>,
}

/// What the whole store shares.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) limits: FrameLimits,
    pub(super) schemas: SchemaCache,
    pub(super) layouts: Layouts,
    /// Whose samples are kept; replaced with the rules.
    pub(super) keeper: ArcSwap<Keeper>,
    pub(super) usage: Arc<Usage>,
    /// The number given last.
    pub(super) generations: AtomicU64,
}

impl Shared {
    fn next_generation(&self) -> Generation {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }
}

struct ClusterState {
    policy: Arc<ClusterPolicy>,
    streams: BTreeMap<StreamId, Stream>,
    owners: Owners,
    collectors: BTreeMap<Arc<str>, CollectorSeen>,
    /// Series of all owned targets: what the cluster's bound is kept by.
    series: usize,
    /// Of the view that is published next, or was last.
    generation: Generation,
    departed: Departed,
    histories: DepartedTargets,
    lanes: Lanes,
}

impl Cluster {
    pub(super) fn new(policy: Arc<ClusterPolicy>) -> Cluster {
        let view = ClusterView {
            policy: policy.clone(),
            streams: Vec::new(),
            generation: 0,
            departed: [].into(),
            collectors: Vec::new(),
        };
        let state = ClusterState {
            policy,
            streams: BTreeMap::new(),
            owners: Owners::default(),
            collectors: BTreeMap::new(),
            series: 0,
            generation: 0,
            departed: Departed::default(),
            histories: DepartedTargets::default(),
            lanes: Lanes::default(),
        };
        Cluster { state: Mutex::new(state), view: ArcSwap::from_pointee(view) }
    }

    /// A panic while a frame is applied may leave a half-changed stream; its cluster starts again from KEYs.
    fn lock(&self) -> MutexGuard<'_, ClusterState> {
        self.state.lock().unwrap_or_else(|poisoned: PoisonError<MutexGuard<'_, ClusterState>>| {
            let mut state = poisoned.into_inner();
            state.streams.clear();
            state.owners = Owners::default();
            state.series = 0;
            self.state.clear_poison();
            state
        })
    }

    pub(super) fn view(&self) -> Arc<ClusterView> {
        self.view.load_full()
    }

    pub(super) fn apply<R>(
        &self,
        frame: &Frame<'_>,
        arrival: &Arrival,
        shared: &Shared,
        then: impl FnOnce(Taken<'_>) -> R,
    ) -> Result<(Accepted, R), Refusal> {
        let mut state = self.lock();
        let accepted = state.apply(frame, arrival, shared)?;
        let stream = state.streams.get(&frame.header().stream).map(Stream::state);
        let then = then(Taken { accepted: &accepted, policy: &state.policy, stream });
        self.view.store(Arc::new(state.to_view()));
        Ok((accepted, then))
    }

    /// Until this moment nobody could push: silence is counted from it on.
    pub(super) fn resume(&self, at: Instant) {
        self.lock().resume(at);
    }

    /// What the latest stream of a collector holds that others wrote; nothing where it has no such stream.
    pub(super) fn written_by(&self, collector: &str) -> Vec<TargetState> {
        let state = self.lock();
        let own = state.streams.values().filter(|stream| !stream.is_volatile && *stream.collector == *collector);
        let written = own.map(|stream| {
            let targets = stream.state().targets().filter(|target| target.outcome == Outcome::Written);
            (stream.state().started(), targets.cloned().collect::<Vec<_>>())
        });
        let latest = written.filter(|(_, targets)| !targets.is_empty()).max_by_key(|(started, _)| *started);
        latest.map_or_else(Vec::new, |(_, targets)| targets)
    }

    /// Frames of a stream are missing for good: its next KEY begins it anew.
    pub(super) fn forget_frames(&self, id: StreamId) {
        self.lock().streams.get_mut(&id).into_iter().for_each(Stream::forget_frames);
    }

    /// Labels, limits and time-outs change for all streams at once.
    pub(super) fn set_policy(&self, policy: &Arc<ClusterPolicy>, shared: &Shared) {
        let mut state = self.lock();
        if *state.policy != **policy {
            state.set_policy(policy, shared);
            self.view.store(Arc::new(state.to_view()));
        }
    }

    /// Follows a change of what is kept.
    pub(super) fn keep(&self, shared: &Shared) {
        let mut state = self.lock();
        state.remember(shared);
        self.view.store(Arc::new(state.to_view()));
    }

    /// Frees the streams whose series ended by silence.
    pub(super) fn sweep(&self, monotonic: Instant, shared: &Shared) {
        let mut state = self.lock();
        if state.end_silent(monotonic, shared) {
            self.view.store(Arc::new(state.to_view()));
        }
    }
}

impl ClusterState {
    fn apply(&mut self, frame: &Frame<'_>, arrival: &Arrival, shared: &Shared) -> Result<Accepted, Refusal> {
        let header = frame.header();
        let id = header.stream;
        self.generation = shared.next_generation();
        self.end_silent(arrival.monotonic, shared);
        self.admit_collector(arrival)?;
        if header.volatile && !header.kind.is_definition() && !self.is_overtaking(header, arrival) {
            self.note_collector(arrival, header, true);
            return Ok(Accepted { acked: header.seq, is_duplicate: true, ..Accepted::default() });
        }
        let leaving = self.admit_stream(header, arrival)?;
        let is_new = !self.streams.contains_key(&id);
        let stream = self.streams.entry(id).or_insert_with(|| Stream::new(id, arrival, header.volatile));
        let result = stream.decode(frame, shared);
        let mut accepted = match result {
            Ok(accepted) => accepted,
            Err(refusal) => {
                if is_new {
                    self.streams.remove(&id);
                }
                return Err(refusal);
            }
        };
        stream.heard = arrival.monotonic;
        accepted.is_outrun = !header.kind.is_definition() && self.is_outrun(id);
        accepted.has_evicted = leaving.is_some() && !header.volatile;
        let missing = Missing::View(self.generation);
        leaving.into_iter().for_each(|leaving| self.remove_stream(leaving, missing, shared));
        self.note_collector(arrival, header, accepted.is_duplicate);
        if self.streams[&id].is_whole() {
            let dropped = self.publish(id, arrival.wall, shared);
            // The ordered frames bring the same samples, and count them.
            accepted.dropped = if header.volatile { DropCounts::default() } else { dropped };
            self.settle(id, shared);
        } else {
            self.touch(id);
        }
        Ok(accepted)
    }

    /// Forgets the streams that readers see no more because they are silent; says whether there were any.
    fn end_silent(&mut self, monotonic: Instant, shared: &Shared) -> bool {
        let end_after = self.policy.series_end_after();
        let is_over = |stream: &Stream| monotonic.saturating_duration_since(stream.silent_since()) > end_after;
        let over = self.streams.iter().filter(|(_, stream)| is_over(stream));
        let over: Vec<(StreamId, Instant)> =
            over.map(|(id, stream)| (*id, stream.silent_since() + end_after)).collect();
        over.iter().for_each(|(id, ended)| self.remove_stream(*id, Missing::Moment(*ended), shared));
        !over.is_empty()
    }

    /// A stream that readers do not see because nobody could push goes on where it was; readers may have marked its series as ended.
    fn resume(&mut self, at: Instant) {
        let end_after = self.policy.series_end_after();
        for stream in self.streams.values_mut() {
            stream.spared = Some(at);
            let ended = stream.heard + end_after;
            if ended < at {
                let hidden = stream.targets.values_mut().filter(|held| held.is_owned);
                hidden.for_each(|held| self.departed.note(held.hide(), Missing::Moment(ended)));
            }
        }
    }

    /// Who pushed was looked up in the inventory of that moment; a reload since then may have revoked it.
    fn admit_collector(&self, arrival: &Arrival) -> Result<(), Refusal> {
        if self.policy.names(&arrival.collector) {
            return Ok(());
        }
        let (cluster, collector) = (self.policy.cluster.clone(), arrival.collector.to_string());
        Err(Refusal::UnknownCollector { cluster, collector })
    }

    /// Whether a frame of this stream may be decoded, and the stream that a good one takes the place of.
    ///
    /// Room for a new stream is made by the longest silent earlier run of the same collector, so that one that starts again
    /// and again never locks itself out; else by the stream that has been silent longest, if it is silent at all.
    ///
    /// Volatile streams take no room: what they show is the others', too.
    fn admit_stream(&self, header: &FrameHeader, arrival: &Arrival) -> Result<Option<StreamId>, Refusal> {
        if let Some(known) = self.streams.get(&header.stream) {
            let (owner, found) = (known.collector.to_string(), arrival.collector.to_string());
            return match owner == found {
                true if known.is_volatile == header.volatile => Ok(None),
                true => Err(ApplyError::WrongKind.into()),
                false => Err(Refusal::ForeignStream { owner, found }),
            };
        }
        let others = || self.streams.iter().filter(|(_, stream)| stream.is_volatile == header.volatile);
        if header.volatile {
            let own = others().filter(|(_, stream)| stream.collector == arrival.collector);
            let leaving = own.clone().min_by_key(|(_, stream)| (stream.shows_any(), stream.heard)).map(|(id, _)| *id);
            return Ok(leaving.filter(|_| own.count() >= VOLATILE_MAX));
        }
        let max = self.policy.limits.streams.max(1);
        if others().count() < max {
            return Ok(None);
        }
        let fresh_within = self.policy.fresh_within();
        let is_silent =
            |stream: &Stream| arrival.monotonic.saturating_duration_since(stream.silent_since()) > fresh_within;
        let leaving = others()
            .filter(|(_, stream)| stream.collector == arrival.collector || is_silent(stream))
            .min_by_key(|(_, stream)| (stream.collector != arrival.collector, stream.heard))
            .map(|(id, _)| *id);
        leaving.map(Some).ok_or(Refusal::TooManyStreams { max })
    }

    /// Whether a volatile frame tells something newer than the ordered streams of its collector, and than this clock's future.
    fn is_overtaking(&self, header: &FrameHeader, arrival: &Arrival) -> bool {
        let ordered =
            self.streams.values().filter(|stream| !stream.is_volatile && stream.collector == arrival.collector);
        ordered.map(|stream| stream.tick).all(|tick| tick < header.tick)
            && header.tick <= arrival.wall + self.policy.limits.ahead_max
    }

    /// Whether a later run of the stream's collector has begun.
    fn is_outrun(&self, id: StreamId) -> bool {
        let own = self.streams[&id].claimant();
        let later = |other: &Stream| {
            let other = other.claimant();
            !other.is_volatile && other.collector == own.collector && other.started > own.started
        };
        !own.is_volatile && self.streams.values().any(later)
    }

    /// Definitions have no clock, and that of a frame that came again, or late, has been read before.
    fn note_collector(&mut self, arrival: &Arrival, header: &FrameHeader, is_duplicate: bool) {
        // The frame's own clock is as old as the frame, which may have waited in a queue.
        let clock_skew_ms = || header.clock.as_millis().saturating_sub(arrival.wall.as_millis());
        let clock_skew_ms = arrival.clock_skew_ms.unwrap_or_else(clock_skew_ms);
        let told = Told { tick: header.tick, clock_skew_ms };
        let before = self.collectors.get(&arrival.collector).and_then(|seen| seen.told);
        let is_late = !header.volatile && self.lanes.is_behind(&arrival.collector, header.tick);
        let is_told = !header.kind.is_definition() && !is_duplicate && !is_late;
        let seen = CollectorSeen {
            collector: arrival.collector.clone(),
            heard: arrival.monotonic,
            certificate_expires: arrival.certificate_expires,
            told: if is_told { Some(told) } else { before },
        };
        self.collectors.insert(arrival.collector.clone(), seen);
    }

    /// Brings what the frames since the last publication changed before the readers.
    fn publish(&mut self, id: StreamId, wall: Timestamp, shared: &Shared) -> DropCounts {
        let mut changed = self.stream(id).take_changed();
        let mut losses = DropCounts::default();
        self.histories.forget_old(wall);
        changed.retain(|target| self.refresh(id, *target, shared));
        let mut waiting: BTreeSet<u32> = self.stream(id).waiting().collect();
        waiting.extend(&changed);
        waiting.retain(|target| self.claim(id, *target, wall));
        for target in &changed {
            waiting.remove(target);
            losses.add_all(&self.show(id, *target, wall, shared));
            self.remember_late(id, *target, shared);
        }
        // What another stream owned so far is shown with its history, though nothing new is told of it.
        for target in waiting {
            self.show(id, target, wall, shared);
        }
        self.touch(id);
        losses
    }

    /// A sample of a target of which readers see a newer state, or that it does not know any more: it enters what is kept of the past,
    /// with whoever shows the target, or here until somebody does. Of what readers saw end nothing more is remembered.
    fn remember_late(&mut self, id: StreamId, target: u32, shared: &Shared) {
        let held = self.stream(id).targets.get(&target).filter(|held| !held.is_owned);
        let Some(late) = held.and_then(|held| held.view.clone()) else { return };
        match self.owners.owner(&late.labels) {
            Some(owner) => {
                if let Some(ahead) = self.streams.get_mut(&owner.stream).filter(|stream| stream.is_volatile) {
                    ahead.remember_late(owner.target, &late, &shared.usage);
                }
            }
            None if self.histories.has(&late.labels) => {}
            None => {
                let (policy, keeper) = (self.policy.clone(), shared.keeper.load());
                let kept = Kept { policy: &policy, keeper: &keeper, usage: &shared.usage };
                self.stream(id).remember_unseen(target, &kept);
            }
        }
    }

    /// Follows how far each of a collector's two lanes has come; a volatile stream that was reached goes.
    fn settle(&mut self, id: StreamId, shared: &Shared) {
        let Claimant { collector, tick, is_volatile, .. } = self.streams[&id].claimant();
        if is_volatile {
            return self.lanes.shown(&collector, tick);
        }
        let has_reached = self.lanes.reach(&collector, tick);
        let volatile =
            self.streams.iter_mut().filter(|(_, stream)| stream.is_volatile && stream.collector == collector);
        let mut reached = Vec::new();
        for (id, stream) in volatile {
            stream.rebuild_view();
            reached.extend(has_reached.then_some(*id));
        }
        let missing = Missing::View(self.generation);
        reached.into_iter().for_each(|id| self.remove_stream(id, missing, shared));
    }

    fn stream(&mut self, id: StreamId) -> &mut Stream {
        self.streams.get_mut(&id).expect("the stream was looked up by its caller")
    }

    /// Follows a target's schema and labels; false where it is gone.
    fn refresh(&mut self, id: StreamId, target: u32, shared: &Shared) -> bool {
        let policy = self.policy.clone();
        let stream = self.streams.get_mut(&id).expect("the stream was looked up by its caller");
        let refreshed = stream.refresh(target, &policy, &shared.layouts);
        for (labels, history) in std::mem::take(&mut stream.departed) {
            self.histories.add(labels, history, &policy, &shared.usage);
        }
        let Some((labels, before, is_there)) = refreshed else { return true };
        self.series -= before;
        if self.owners.release(&labels, Owner { stream: id, target }) && !is_there {
            self.departed.note(labels, Missing::View(self.generation));
        }
        is_there
    }

    /// Says whether readers see the target here from now on, and did not before.
    fn claim(&mut self, id: StreamId, target: u32, wall: Timestamp) -> bool {
        let patience = self.policy.fresh_within();
        let stream = &self.streams[&id];
        let Some(labels) = stream.targets.get(&target).map(|held| held.labels().clone()) else { return false };
        let (rival, claimant) = (|id: StreamId| self.streams.get(&id).map(Stream::claimant), stream.claimant());
        let is_behind = !stream.is_volatile && self.lanes.is_behind(&stream.collector, stream.tick);
        if is_behind && self.owners.owner(&labels).is_none() {
            // In the newer state it is gone, or not there yet.
            return false;
        }
        let owner = Owner { stream: id, target };
        let claim = self.owners.claim(&labels, owner, &claimant, rival, patience);
        let history = match claim {
            Claim::TakenFrom(before) => self.disown(before),
            Claim::Owned => self.histories.take(&labels),
            Claim::Refused => None,
        };
        let (departed, now) = (&mut self.departed, self.generation);
        let stream = self.streams.get_mut(&id).expect("it was there above");
        let held = stream.targets.get_mut(&target).expect("it was there above");
        if let Some(history) = history.filter(|_| held.history.is_empty()) {
            held.history = history;
        }
        match claim {
            Claim::Owned => held.arrive(wall, || departed.take(&labels, now)),
            Claim::TakenFrom(_) => held.arrive(wall, || None),
            Claim::Refused => {}
        }
        let is_taken = claim != Claim::Refused && !held.is_owned;
        if is_taken {
            held.is_owned = true;
            let series = held.series();
            stream.is_reordered = true;
            self.series += series;
        }
        is_taken
    }

    /// Takes a target from its stream; gives what is kept of it.
    fn disown(&mut self, owner: Owner) -> Option<TargetHistory> {
        let stream = self.streams.get_mut(&owner.stream)?;
        let held = stream.targets.get_mut(&owner.target)?;
        held.is_owned = false;
        let history = std::mem::take(&mut held.history);
        self.series -= held.series();
        stream.is_reordered = true;
        stream.rebuild_view();
        Some(history)
    }

    /// Gives the target as much room as the cluster has left and shows it.
    fn show(&mut self, id: StreamId, target: u32, wall: Timestamp, shared: &Shared) -> DropCounts {
        self.fit(id, target, shared);
        let latest = wall + self.policy.limits.ahead_max;
        let now = Publication { generation: self.generation, wall };
        let (policy, keeper) = (self.policy.clone(), shared.keeper.load());
        let kept = Kept { policy: &policy, keeper: &keeper, usage: &shared.usage };
        self.stream(id).show(target, latest, now, &kept)
    }

    fn fit(&mut self, id: StreamId, target: u32, shared: &Shared) {
        let limit = usize::try_from(self.policy.limits.series).unwrap_or(usize::MAX);
        let series = self.series;
        let Some(held) = self.stream(id).targets.get_mut(&target) else { return };
        let others = if held.is_owned { series - held.series() } else { 0 };
        held.fit(limit.saturating_sub(others), &shared.layouts);
        if held.is_owned {
            let own = held.series();
            self.series = others + own;
        }
    }

    /// The stream's view after a change, or with nothing but a newer sign of life.
    fn touch(&mut self, id: StreamId) {
        self.stream(id).rebuild_view();
    }

    fn remember(&mut self, shared: &Shared) {
        let (policy, keeper) = (self.policy.clone(), shared.keeper.load());
        let kept = Kept { policy: &policy, keeper: &keeper, usage: &shared.usage };
        for stream in self.streams.values_mut() {
            stream.remember(&kept);
            stream.rebuild_view();
        }
    }

    fn remove_stream(&mut self, id: StreamId, missing: Missing, shared: &Shared) {
        let Some(stream) = self.streams.remove(&id) else { return };
        for (target, held) in stream.targets {
            if held.is_owned {
                self.series -= held.series();
                self.owners.release(held.labels(), Owner { stream: id, target });
                self.departed.note(held.labels().clone(), missing);
                self.histories.add(held.labels().clone(), held.history, &self.policy, &shared.usage);
            }
        }
    }

    /// Judges every target again. Owners stay, where the labels by which targets are told apart do.
    fn set_policy(&mut self, policy: &Arc<ClusterPolicy>, shared: &Shared) {
        self.policy = policy.clone();
        self.collectors.retain(|collector, _| policy.names(collector));
        self.lanes.retain(|collector| policy.names(collector));
        let revoked = |stream: &Stream| !policy.names(&stream.collector);
        let over: Vec<StreamId> =
            self.streams.iter().filter(|(_, stream)| revoked(stream)).map(|(id, _)| *id).collect();
        self.generation = shared.next_generation();
        let missing = Missing::View(self.generation);
        over.into_iter().for_each(|id| self.remove_stream(id, missing, shared));
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in &ids {
            for target in self.stream(*id).targets.keys().copied().collect::<Vec<_>>() {
                self.refresh(*id, target, shared);
                self.claim(*id, target, NO_CLOCK);
            }
        }
        for id in ids {
            for target in self.stream(id).targets.keys().copied().collect::<Vec<_>>() {
                self.fit(id, target, shared);
            }
            self.stream(id).show_layouts();
            self.touch(id);
        }
        self.remember(shared);
    }

    fn to_view(&self) -> ClusterView {
        let streams = self.streams.values().filter_map(|stream| stream.view.clone()).collect();
        let collectors = self.collectors.values().cloned().collect();
        let departed = self.histories.shown();
        ClusterView { policy: self.policy.clone(), streams, generation: self.generation, departed, collectors }
    }
}
