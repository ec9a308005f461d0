//! What one sender wrote so far, and the stream of frames that is made of it.
//!
//! A request is a part of some scrapes. Its series are sorted into targets by `job` and `instance`; those without are a target of
//! their own. Each round holds at most one new sample a series and becomes one tick of the sender's stream; a series' second sample
//! of a request goes into the next round.
//!
//! | a series ends | when |
//! |---|---|
//! | by a stale marker | at once |
//! | without one | it had no sample for [`LOOKBACK`] by the newest sample of the sender, or the gateway's clock if that is earlier |
//! | with its sender | when silence ends the sender's stream, as for any collector |
//!
//! Invariant: what a series is known by is its label bytes' hash; it leads to a slot and to the number of times that slot was given
//! away, so a hash that outlived its series leads nowhere.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::families::{Families, family_of};
use super::fault::Refused;
use super::request::{Family, LabelBytes, Request, Sample, Series};
use super::target::Target;
use crate::journal::Position;
use crate::model::{Exemplar, INSTANCE, JOB, Labels, LabelsBuilder, Metadata, Timestamp};
use crate::snapshot::{EncodedFrame, Encoder, FrameLimits, OwnLabels, Scrape, StreamId, TargetState};
use crate::store::{ClusterPolicy, is_gateway_name, resolve_conflicts};

/// A series without a sample for so long has ended, as for a query.
pub const LOOKBACK: Duration = Duration::from_secs(300);
/// How often series that ended so are looked for, in the time of samples.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Hashes that are remembered for each series that the cluster may have: replicas and metadata make several of one.
const KNOWN_PER_SERIES: usize = 4;

#[derive(Clone, Copy)]
enum Known {
    Slot { target: u32, slot: u32, generation: u32 },
    Refused(Refused),
}

/// What of a request was taken, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// What was refused, by reason, with the labels of the first that was.
    pub refused: Vec<(Refused, u64, String)>,
}

impl Written {
    fn refuse(&mut self, reason: Refused, labels: impl FnOnce() -> String) {
        match self.refused.iter_mut().find(|(own, ..)| *own == reason) {
            Some((_, count, _)) => *count += 1,
            None => self.refused.push((reason, 1, labels())),
        }
    }

    fn take(&mut self, sample: &Sample) {
        if sample.is_histogram { self.histograms += 1 } else { self.samples += 1 }
    }
}

/// The state of one sender.
pub struct Sender {
    encoder: Encoder,
    limits: FrameLimits,
    policy: Arc<ClusterPolicy>,
    /// By number; `None` where one is gone.
    targets: Vec<Option<Target>>,
    numbers: HashMap<Arc<Labels>, u32>,
    known: HashMap<u128, Known, foldhash::fast::FixedState>,
    families: Families,
    /// Targets that the round in the making changes.
    changed: BTreeSet<u32>,
    /// Targets that the last one changed.
    last: BTreeSet<u32>,
    series: usize,
    newest: i64,
    swept: i64,
    tick: Timestamp,
    keyed: Timestamp,
    /// The last record of the journal that holds frames of it.
    pub(super) safe_after: Option<Position>,
}

/// How often a stream tells everything: as often as a collector's, at its usual tick.
const KEY_EVERY: Duration = Duration::from_secs(600);

impl Sender {
    /// Nothing is known yet.
    pub fn new(stream: StreamId, now: Timestamp, policy: Arc<ClusterPolicy>, limits: FrameLimits) -> Sender {
        Sender {
            encoder: Encoder::new(stream, now, limits.clone()),
            limits,
            policy,
            targets: Vec::new(),
            numbers: HashMap::new(),
            known: HashMap::default(),
            families: Families::default(),
            changed: BTreeSet::new(),
            last: BTreeSet::new(),
            series: 0,
            newest: i64::MIN,
            swept: i64::MIN,
            tick: Timestamp(i64::MIN),
            keyed: now,
            safe_after: None,
        }
    }

    /// Goes on from what the store has of the sender: its first frame tells all of it, so that parts of a scrape replace nothing.
    pub fn resume(&mut self, targets: &[TargetState]) {
        for state in targets {
            let number = self.number(Labels::clone(&state.labels));
            let target = Target::resumed(state);
            self.series += target.series();
            self.newest = self.newest.max(target.newest());
            self.targets[number as usize] = Some(target);
            self.changed.insert(number);
        }
    }

    /// Follows a change of the inventory: what was refused may not be any more.
    pub fn set_policy(&mut self, policy: &Arc<ClusterPolicy>) {
        if !Arc::ptr_eq(&self.policy, policy) {
            self.policy = policy.clone();
            self.known.retain(|_, known| matches!(known, Known::Slot { .. }));
        }
    }

    /// Takes a request, round by round: `apply` is given the frames of each.
    pub fn write<E>(
        &mut self,
        request: &Request<'_>,
        now: Timestamp,
        written: &mut Written,
        mut apply: impl FnMut(&mut Sender, Vec<EncodedFrame>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.take_families(request);
        let places: Vec<Result<(u32, u32), Refused>> =
            request.series.iter().map(|series| self.place(request, series)).collect();
        let rounds = request.series.iter().map(|series| series.samples.len()).max().unwrap_or(0);
        let mut live: Vec<usize> = (0..places.len()).collect();
        for round in 0..rounds {
            live.retain(|at| request.series[*at].samples.len() > round);
            for at in &live {
                let series = &request.series[*at];
                let sample = &request.samples[series.samples.start + round];
                if let Ok((target, slot)) = places[*at]
                    && self.target(target).must_wait(slot, sample)
                {
                    let frames = self.finish_round(now, false);
                    apply(self, frames)?;
                }
                self.put(request, series, places[*at], sample, now, written);
            }
            if round + 1 < rounds {
                let frames = self.finish_round(now, false);
                apply(self, frames)?;
            }
        }
        for (series, place) in request.series.iter().zip(&places) {
            self.put_exemplars(request, series, *place, written);
        }
        self.sweep(now);
        let frames = self.finish_round(now, now.since(self.keyed) >= KEY_EVERY);
        if frames.is_empty() { Ok(()) } else { apply(self, frames) }
    }

    fn put(
        &mut self,
        request: &Request<'_>,
        series: &Series<'_>,
        place: Result<(u32, u32), Refused>,
        sample: &Sample,
        now: Timestamp,
        written: &mut Written,
    ) {
        let result = place.and_then(|(target, slot)| {
            if sample.at > (now + self.policy.limits.ahead_max).0 {
                return Err(Refused::Ahead);
            }
            if sample.is_bad {
                return Err(Refused::Histogram);
            }
            let own = self.targets[target as usize].as_mut().expect("a place is in a target that is there");
            own.put(slot, sample)?;
            if own.is_changed {
                self.changed.insert(target);
            }
            self.newest = self.newest.max(sample.at);
            Ok(())
        });
        match result {
            Ok(()) => written.take(sample),
            Err(reason) => written.refuse(reason, || shown(request, series.labels)),
        }
    }

    fn put_exemplars(
        &mut self,
        request: &Request<'_>,
        series: &Series<'_>,
        place: Result<(u32, u32), Refused>,
        written: &mut Written,
    ) {
        for exemplar in &request.exemplars[series.exemplars.clone()] {
            let result = place.and_then(|(target, slot)| {
                let pairs = request.pairs(exemplar.labels).map_err(|_| Refused::Labels)?;
                let timestamp = (exemplar.at != 0).then_some(Timestamp(exemplar.at));
                let exemplar = Exemplar { labels: Labels::from_pairs(pairs), value: exemplar.value, timestamp };
                self.changed.insert(target);
                self.target_mut(target).put_exemplar(slot, exemplar)
            });
            match result {
                Ok(()) => written.exemplars += 1,
                Err(reason) => written.refuse(reason, || shown(request, series.labels)),
            }
        }
    }

    fn target(&self, number: u32) -> &Target {
        self.targets[number as usize].as_ref().expect("a place is in a target that is there")
    }

    fn target_mut(&mut self, number: u32) -> &mut Target {
        self.targets[number as usize].as_mut().expect("a place is in a target that is there")
    }

    /// The place of a series: by its hash, or by its labels where it is not known yet.
    fn place(&mut self, request: &Request<'_>, series: &Series<'_>) -> Result<(u32, u32), Refused> {
        match self.known.get(&series.key) {
            Some(Known::Slot { target, slot, generation }) => {
                let own = self.targets[*target as usize].as_ref();
                if own.is_some_and(|own| own.is_current(*slot, *generation)) {
                    return Ok((*target, *slot));
                }
            }
            Some(Known::Refused(reason)) => return Err(*reason),
            None => {}
        }
        let found = self.find(request, series);
        let known = match found {
            Ok((target, slot, generation)) => Known::Slot { target, slot, generation },
            // There may be room the next time.
            Err(Refused::SeriesLimit) => return Err(Refused::SeriesLimit),
            Err(reason) => Known::Refused(reason),
        };
        if self.known.len() >= self.known_max() {
            self.known.clear();
        }
        self.known.insert(series.key, known);
        found.map(|(target, slot, _)| (target, slot))
    }

    fn known_max(&self) -> usize {
        self.series_max().saturating_mul(KNOWN_PER_SERIES).max(1024)
    }

    fn series_max(&self) -> usize {
        usize::try_from(self.policy.limits.series).unwrap_or(usize::MAX)
    }

    fn find(&mut self, request: &Request<'_>, series: &Series<'_>) -> Result<(u32, u32, u32), Refused> {
        let labels = self.admit(request, series.labels)?;
        let target = Labels::from_pairs([JOB, INSTANCE].map(|name| (name, labels.get(name).unwrap_or_default())));
        let own = OwnLabels::between(&labels, &target);
        let name = labels.metric_name();
        let (family, metadata) = self.families.of(name, &series.family);
        let number = self.number(target);
        let is_full = self.series >= self.series_max();
        let held = self.target_mut(number);
        if is_full && !held.has(&own) {
            return Err(Refused::SeriesLimit);
        }
        let (slot, generation, is_new) = held.slot(own, &family, &metadata).ok_or(Refused::LabelLimit)?;
        self.series += usize::from(is_new);
        if !is_new && series.family.kind != Default::default() {
            self.target_mut(number).set_metadata(&family, &metadata, |member| member == name);
            self.changed.insert(number);
        }
        Ok((number, slot, generation))
    }

    fn number(&mut self, labels: Labels) -> u32 {
        if let Some(number) = self.numbers.get(&labels) {
            return *number;
        }
        let labels = Arc::new(labels);
        let free = self.targets.iter().position(Option::is_none).filter(|_| self.numbers.len() < self.targets.len());
        let number = free.unwrap_or(self.targets.len());
        if number == self.targets.len() {
            self.targets.push(None);
        }
        self.targets[number] = Some(Target::new(labels.clone()));
        self.numbers.insert(labels, number as u32);
        number as u32
    }

    /// The labels of a series without its replica's, if the cluster may send it.
    fn admit(&self, request: &Request<'_>, labels: LabelBytes<'_>) -> Result<Labels, Refused> {
        let pairs = request.pairs(labels).map_err(|_| Refused::Labels)?;
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        if names.iter().any(|name| name.is_empty()) || names.windows(2).any(|two| two[0] == two[1]) {
            return Err(Refused::Labels);
        }
        let limits = &self.policy.limits;
        let is_long = |(name, value): &(&str, &str)| {
            name.len() > limits.label_name_bytes || value.len() > limits.label_value_bytes
        };
        let pairs = pairs.iter().filter(|(name, _)| *name != self.policy.ha_replica_label);
        let labels = Labels::from_pairs(pairs.clone().copied());
        match labels.metric_name() {
            "" => return Err(Refused::NoName),
            name if is_gateway_name(name) => return Err(Refused::GatewayName),
            _ => {}
        }
        let mut resolved = LabelsBuilder::from_labels(&labels);
        resolve_conflicts(&self.policy, &mut resolved).map_err(|_| Refused::Conflict)?;
        let stamped = self.policy.labels.iter().filter(|(name, _)| resolved.get(name).is_empty()).count();
        if pairs.clone().any(is_long) || resolved.iter().count() + stamped > limits.labels_per_series {
            return Err(Refused::LabelLimit);
        }
        Ok(labels)
    }

    /// 1.0 tells of families in requests of their own.
    fn take_families(&mut self, request: &Request<'_>) {
        for family in &request.families {
            if !self.families.set(family) {
                continue;
            }
            let metadata = metadata_of(family);
            for (number, target) in self.targets.iter_mut().enumerate() {
                let Some(target) = target else { continue };
                target.set_metadata(family.name, &metadata, |name| family_of(name, metadata.kind) == family.name);
                if target.is_changed {
                    self.changed.insert(number as u32);
                }
            }
        }
    }

    /// Ends what had no sample for long, once in a while.
    fn sweep(&mut self, now: Timestamp) {
        let newest = self.newest.min(now.0);
        if Timestamp(newest).since(Timestamp(self.swept)) < SWEEP_EVERY {
            return;
        }
        self.swept = newest;
        let oldest = Timestamp(newest) - LOOKBACK;
        for (number, target) in self.targets.iter_mut().enumerate() {
            let Some(target) = target else { continue };
            self.series -= target.free_ended(oldest);
            target.forget_before(oldest);
            if target.is_changed || target.series() == 0 {
                self.changed.insert(number as u32);
            }
        }
        let targets = &self.targets;
        self.known.retain(|_, known| match known {
            Known::Slot { target, slot, generation } => {
                targets[*target as usize].as_ref().is_some_and(|own| own.is_current(*slot, *generation))
            }
            Known::Refused(_) => true,
        });
    }

    /// The frames of the round in the making; none where nothing changed.
    fn finish_round(&mut self, now: Timestamp, key: bool) -> Vec<EncodedFrame> {
        let mut scrapes = Vec::with_capacity(self.changed.len());
        self.last = std::mem::take(&mut self.changed);
        for number in &self.last {
            let Some(target) = &mut self.targets[*number as usize] else { continue };
            if target.series() > 0 {
                scrapes.push(target.take_scrape());
                continue;
            }
            scrapes.push(target.gone());
            self.numbers.remove(&target.labels);
            self.targets[*number as usize] = None;
        }
        if scrapes.is_empty() { Vec::new() } else { self.frames(now, &scrapes, key) }
    }

    fn frames(&mut self, now: Timestamp, scrapes: &[Scrape], key: bool) -> Vec<EncodedFrame> {
        self.tick = self.tick.max(Timestamp(self.newest.min(now.0)));
        if key {
            self.keyed = now;
        }
        self.encoder.tick(self.tick, now, scrapes, key)
    }

    /// A new stream that tells everything, for a gateway that knows nothing of the old one: silence ended it. What did not
    /// come with the request in hand has ended with it.
    pub fn begin_again(&mut self, stream: StreamId, now: Timestamp) -> Vec<EncodedFrame> {
        self.encoder = Encoder::new(stream, now, self.limits.clone());
        let mut scrapes = Vec::new();
        for (number, target) in self.targets.iter_mut().enumerate() {
            let Some(target) = target else { continue };
            if !self.last.contains(&(number as u32)) {
                target.forget_last();
            }
            target.keep_last_only();
            scrapes.push(target.take_scrape());
        }
        self.frames(now, &scrapes, true)
    }

    /// Series that have a slot.
    pub fn series(&self) -> usize {
        self.series
    }
}

/// A family's metadata as frames have it.
pub(super) fn metadata_of(family: &Family<'_>) -> Metadata {
    Metadata { kind: family.kind, help: family.help.into(), unit: family.unit.into() }
}

/// A series' labels for people, cut to a line.
fn shown(request: &Request<'_>, labels: LabelBytes<'_>) -> String {
    const SHOWN_BYTES: usize = 512;
    let pairs = request.pairs(labels).unwrap_or_default();
    let pairs = pairs.into_iter().filter(|(name, _)| !name.is_empty());
    let mut text = Labels::from_pairs(pairs).to_string();
    text.truncate(text.floor_char_boundary(SHOWN_BYTES));
    text
}
