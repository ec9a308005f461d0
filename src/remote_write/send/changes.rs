//! From one view of a cluster to the next: which samples are new, and which series ended.
//!
//! | a series that had a sample | ends |
//! |---|---|
//! | and has none after the next scrape of its target (vanished, or the scrape failed) | at that scrape's time |
//! | whose target is gone: removed, its collector silent, its stream replaced | a millisecond after its last sample |
//! | whose labels are others from now on, because the inventory's or the target's changed | a millisecond after its last sample |
//! | whose samples bring their own timestamps | never by a marker, as in Prometheus |
//! | that was written to the gateway by remote write | at the time of its sender's marker; without one a millisecond after its last sample, or by no marker where the lookback is over anyway |
//!
//! Series are compared slot by slot where the slots are those of before, and by their labels where they are not (a collector that started
//! again numbers them anew). So steady targets cost one look at their columns, and nothing is marked as ended that goes on elsewhere in its
//! target.
//!
//! Invariant: the marker of a series is later than its last sample and not later than any that may follow, whatever the clocks say.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::labels::{Kinship, Labelling, PreparedTarget};
use super::rows::{End, FrameSamples, ScrapeSamples, is_histogram};
use crate::model::{Labels, MetricType, Timestamp, is_stale};
use crate::remote_write::receive::LOOKBACK;
use crate::snapshot::{CHUNK_SLOTS, Outcome, StreamId};
use crate::store::{ClusterPolicy, ClusterView, SCRAPE_FAMILIES, StreamView, TargetView, scrape_values};

/// How long after its last sample a series ends of which nothing more is known.
const AFTER_LAST: Duration = Duration::from_millis(1);

/// What was seen last of one cluster, or of the rules.
#[derive(Debug, Default)]
pub struct Followed {
    targets: HashMap<Arc<Labels>, Held>,
    streams: HashMap<StreamId, Arc<StreamView>>,
    /// Numbers the views.
    round: u64,
}

#[derive(Debug)]
struct Held {
    stream: StreamId,
    /// The view that last had it.
    round: u64,
    view: Arc<TargetView>,
    prepared: Arc<PreparedTarget>,
}

impl Followed {
    /// Goes on to a cluster's next view and says what it brings.
    pub fn follow(&mut self, view: &ClusterView, labelling: &Labelling) -> FrameSamples {
        self.round += 1;
        let mut frame = FrameSamples::default();
        for stream in &view.streams {
            if self.streams.get(&stream.id).is_some_and(|known| Arc::ptr_eq(known, stream)) {
                self.keep(stream.id);
                continue;
            }
            for target in stream.targets.iter() {
                self.target(stream.id, target, Some(&view.policy), labelling, &mut frame);
            }
        }
        self.streams = view.streams.iter().map(|stream| (stream.id, stream.clone())).collect();
        self.end_others(&mut frame);
        frame
    }

    /// The same of what rules recorded: each rule's target, whose labels are empty but which `name` tells from the others.
    pub fn follow_recorded<'a>(
        &mut self,
        targets: impl Iterator<Item = (Arc<Labels>, &'a Arc<TargetView>)>,
        labelling: &Labelling,
    ) -> FrameSamples {
        self.round += 1;
        let mut frame = FrameSamples::default();
        for (name, view) in targets {
            self.named(name, StreamId([0; 16]), view, None, labelling, &mut frame);
        }
        self.end_others(&mut frame);
        frame
    }

    /// Every target with its series' labels, for what is told of families now and then.
    pub fn targets(&self) -> impl Iterator<Item = (&Arc<TargetView>, &Arc<PreparedTarget>)> {
        self.targets.values().map(|held| (&held.view, &held.prepared))
    }

    fn keep(&mut self, stream: StreamId) {
        let round = self.round;
        self.targets.values_mut().filter(|held| held.stream == stream).for_each(|held| held.round = round);
    }

    fn target(
        &mut self,
        stream: StreamId,
        view: &Arc<TargetView>,
        policy: Option<&Arc<ClusterPolicy>>,
        labelling: &Labelling,
        frame: &mut FrameSamples,
    ) {
        self.named(view.labels.clone(), stream, view, policy, labelling, frame);
    }

    fn named(
        &mut self,
        name: Arc<Labels>,
        stream: StreamId,
        view: &Arc<TargetView>,
        policy: Option<&Arc<ClusterPolicy>>,
        labelling: &Labelling,
        frame: &mut FrameSamples,
    ) {
        let round = self.round;
        let Some(held) = self.targets.get_mut(&name) else {
            let prepared = Arc::new(PreparedTarget::new(view, policy, labelling, None));
            frame.scrapes.push(scraped(view, &prepared, policy.is_some()));
            self.targets.insert(name, Held { stream, round, view: view.clone(), prepared });
            return;
        };
        (held.stream, held.round) = (stream, round);
        if Arc::ptr_eq(&held.view, view) {
            return;
        }
        let prepared = match held.prepared.is_of(view, policy) {
            true => held.prepared.clone(),
            false => Arc::new(PreparedTarget::new(view, policy, labelling, Some(&held.prepared))),
        };
        let step = Step::new((&held.view, &held.prepared), (view, &prepared));
        step.ends(policy.is_some(), &mut frame.ends);
        if step.is_scraped() {
            let mut scrape = scraped(view, &prepared, policy.is_some());
            step.note_repeats(&mut scrape);
            frame.scrapes.push(scrape);
        }
        (held.view, held.prepared) = (view.clone(), prepared);
    }

    /// Ends what is in no stream any more.
    fn end_others(&mut self, frame: &mut FrameSamples) {
        let round = self.round;
        let gone: Vec<Arc<Labels>> =
            self.targets.iter().filter(|(_, held)| held.round != round).map(|(name, _)| name.clone()).collect();
        for name in gone {
            if let Some(held) = self.targets.remove(&name) {
                end_target(&held, &mut frame.ends);
            }
        }
    }
}

fn scraped(view: &Arc<TargetView>, prepared: &Arc<PreparedTarget>, has_facts: bool) -> ScrapeSamples {
    let (view, prepared) = (view.clone(), prepared.clone());
    ScrapeSamples { view, prepared, repeated: Vec::new(), known_exemplars: Vec::new(), has_facts, only: None }
}

/// The slots that have a sample which is sent.
fn sampled<'a>(
    view: &'a TargetView,
    prepared: &'a PreparedTarget,
    chunk: usize,
) -> impl Iterator<Item = (usize, f64)> + 'a {
    let values = view.column.chunks().get(chunk).map_or(&[][..], |values| &values[..]);
    let values = values.iter().copied().enumerate().filter(|(_, value)| !is_stale(*value));
    values.filter(move |(slot, _)| prepared.is_sent(chunk, *slot))
}

fn own_timestamp(view: &TargetView, chunk: usize, slot: usize) -> Option<Timestamp> {
    if view.beside.timestamps.is_empty() {
        return None;
    }
    view.beside.timestamp_of((chunk * CHUNK_SLOTS + slot) as u32)
}

fn end_of(
    (view, prepared): (&TargetView, &PreparedTarget),
    place: (usize, usize),
    value: f64,
    at: Timestamp,
) -> Option<End> {
    let at = match own_timestamp(view, place.0, place.1) {
        None => at,
        Some(last) if view.outcome == Outcome::Written && at.since(last) < LOOKBACK => last + AFTER_LAST,
        Some(_) => return None,
    };
    end_at(prepared, place, value, at)
}

fn end_at(prepared: &PreparedTarget, (chunk, slot): (usize, usize), value: f64, at: Timestamp) -> Option<End> {
    let tables = prepared.chunk(chunk);
    let kind = tables.name_of(slot).map_or(MetricType::Unknown, |name| tables.family_of(name).kind);
    Some(End { labels: prepared.whole_labels(chunk, slot)?, at, is_histogram: is_histogram(value), kind })
}

fn end_target(held: &Held, ends: &mut Vec<End>) {
    let (view, prepared) = (&*held.view, &*held.prepared);
    let at = view.started + AFTER_LAST;
    for chunk in 0..prepared.chunks() {
        let all = sampled(view, prepared, chunk);
        ends.extend(all.filter_map(|(slot, value)| end_of((view, prepared), (chunk, slot), value, at)));
    }
    if view.recorded.is_none() && prepared.has_policy() {
        ends.extend(fact_ends((view, prepared), at, |_| true));
    }
}

/// The ends of the scrape's own series that were there and that `ended` names.
fn fact_ends(
    (view, prepared): (&TargetView, &PreparedTarget),
    at: Timestamp,
    ended: impl Fn(usize) -> bool,
) -> Vec<End> {
    let values = scrape_values(view.outcome, view.duration, &view.report);
    let was_there = (0..values.len()).filter(|which| values[*which].is_some() && ended(*which));
    let end = |which: usize| {
        let kind = SCRAPE_FAMILIES[which].kind;
        Some(End { labels: prepared.fact(which)?.clone(), at, is_histogram: false, kind })
    };
    was_there.filter_map(end).collect()
}

/// A target before and after.
struct Step<'a> {
    old: (&'a TargetView, &'a PreparedTarget),
    new: (&'a TargetView, &'a PreparedTarget),
    /// By chunk, of both.
    kinships: Vec<Kinship>,
}

impl<'a> Step<'a> {
    fn new(old: (&'a TargetView, &'a PreparedTarget), new: (&'a TargetView, &'a PreparedTarget)) -> Step<'a> {
        let chunks = old.1.chunks().max(new.1.chunks());
        Step { old, new, kinships: (0..chunks).map(|chunk| old.1.kinship(new.1, chunk)).collect() }
    }

    /// Whether it was scraped in between; else only its layout or its labels changed.
    fn is_scraped(&self) -> bool {
        self.old.0.started != self.new.0.started
    }

    /// When what vanished ended.
    fn ended_at(&self) -> Timestamp {
        let last = self.old.0.started + AFTER_LAST;
        // A clock that was set back must not mark what was sent before.
        if self.is_scraped() { self.new.0.started.max(last) } else { last }
    }

    fn ends(&self, has_facts: bool, ends: &mut Vec<End>) {
        let at = self.ended_at();
        let (old, new) = (self.old, self.new);
        let mut moved: Vec<(usize, usize, f64)> = Vec::new();
        for chunk in 0..old.1.chunks() {
            let kinship = &self.kinships[chunk];
            let values = new.0.column.chunks().get(chunk);
            for (slot, value) in sampled(old.0, old.1, chunk) {
                if kinship.is_redefined(slot) {
                    moved.push((chunk, slot, value));
                } else if values.is_none_or(|values| is_stale(values[slot])) || !new.1.is_sent(chunk, slot) {
                    ends.extend(match self.marked_at(chunk, slot) {
                        Some(at) => end_at(old.1, (chunk, slot), value, at),
                        None => end_of(old, (chunk, slot), value, at),
                    });
                }
            }
        }
        if !moved.is_empty() {
            let there = self.redefined_labels();
            let ended = moved.into_iter().filter_map(|(chunk, slot, value)| end_of(old, (chunk, slot), value, at));
            ends.extend(ended.filter(|end| !there.contains(&end.labels)));
        }
        if has_facts {
            let values = scrape_values(new.0.outcome, new.0.duration, &new.0.report);
            let is_over = |which: usize| values[which].is_none() || old.1.fact(which) != new.1.fact(which);
            ends.extend(fact_ends(old, at, is_over));
        }
    }

    /// The time of the stale marker that a sender of remote write wrote for a series.
    fn marked_at(&self, chunk: usize, slot: usize) -> Option<Timestamp> {
        let values = self.new.0.column.chunks().get(chunk)?;
        if is_stale(values[slot]) { own_timestamp(self.new.0, chunk, slot) } else { None }
    }

    /// The labels of what has a sample now in slots that are not those of before.
    fn redefined_labels(&self) -> HashSet<Labels> {
        let (view, prepared) = self.new;
        let mut there = HashSet::new();
        for chunk in 0..prepared.chunks() {
            let kinship = &self.kinships[chunk];
            let redefined = sampled(view, prepared, chunk).filter(|(slot, _)| kinship.is_redefined(*slot));
            there.extend(redefined.filter_map(|(slot, _)| prepared.whole_labels(chunk, slot)));
        }
        there
    }

    /// Whether a slot held the same series, with a sample, before.
    fn is_same_series(&self, slot: u32) -> bool {
        let (chunk, within) = (slot as usize / CHUNK_SLOTS, slot as usize % CHUNK_SLOTS);
        let had_sample = self.old.0.column.chunks().get(chunk).is_some_and(|values| !is_stale(values[within]));
        had_sample && !self.kinships[chunk].is_redefined(within)
    }

    fn note_repeats(&self, scrape: &mut ScrapeSamples) {
        let (old, new) = (&self.old.0.beside, &self.new.0.beside);
        let is_repeated = |slot: u32, at: Timestamp| old.timestamp_of(slot) == Some(at) && self.is_same_series(slot);
        let repeated = new.timestamps.iter().filter(|(slot, at)| is_repeated(*slot, *at));
        scrape.repeated = repeated.map(|(slot, _)| *slot).collect();
        let is_known = |slot: u32, exemplar| old.exemplar_of(slot) == Some(exemplar) && self.is_same_series(slot);
        let known = new.exemplars.iter().filter(|(slot, exemplar)| is_known(*slot, exemplar));
        scrape.known_exemplars = known.map(|(slot, _)| *slot).collect();
    }
}
