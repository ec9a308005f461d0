//! The samples of one family in one target, gathered so that those of one label set stand together.
//!
//! Invariant: after [`Gathered::sort`] samples with the same labels (but a bucket's `le` and a quantile) are neighbours, in the
//! order of their roles, bounds ascending. Labels are compared as the bytes that a page would have for them, which lie in
//! one arena: nothing is allocated for a sample.

use std::ops::Range;
use std::sync::Arc;

use super::family::Family;
use crate::exposition::{parse_value, write_label_pair, write_openmetrics_value};
use crate::model::{Exemplar, Labels, MetricType, Timestamp};
use crate::snapshot::{CHUNK_SLOTS, Chunk, PairId};
use crate::store::{PickedRun, SiteView};

/// What a sample is to its label set, in the order of a message's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// A native histogram.
    Native,
    /// A bucket or a quantile.
    Bound,
    /// `_count`
    Count,
    /// `_sum`
    Sum,
    /// None of these, or a bound that a reader would write in another way.
    Other,
}

/// Where a sample is from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// A slot of a chunk of a target.
    Slot { target: u32, chunk: u32, slot: u8 },
    /// One of fedgate's own: the metric's number and its own in there.
    Own { metric: usize, number: usize },
}

/// A sample and what is needed to find and write it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) role: Role,
    /// Number of its metric name in the family.
    pub(super) member: usize,
    pub(super) bound: f64,
    /// The label that says the bound.
    pub(super) bound_pair: Option<PairId>,
    pub(super) value: f64,
    pub(super) source: Source,
    labels: (u32, u32),
}

impl Sample {
    /// The same with its bound among its labels.
    pub(super) fn alone(&self) -> Sample {
        Sample { bound_pair: None, ..self.clone() }
    }

    /// The slot in its target.
    pub(super) fn slot(&self) -> Option<u32> {
        match self.source {
            Source::Slot { chunk, slot, .. } => Some(chunk * CHUNK_SLOTS as u32 + u32::from(slot)),
            Source::Own { .. } => None,
        }
    }

    /// Its exemplar, where the target brought one.
    pub(super) fn exemplar<'a>(&self, view: &'a SiteView) -> Option<&'a Exemplar> {
        let Source::Slot { target, .. } = self.source else { return None };
        view.targets[target as usize].target.beside.exemplar_of(self.slot()?)
    }

    /// When it began to count.
    pub(super) fn start(&self, view: &SiteView) -> Option<Timestamp> {
        let Source::Slot { target, .. } = self.source else { return None };
        view.targets[target as usize].target.beside.start_of(self.slot()?)
    }
}

/// What one metric name is in a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartOf {
    role: Role,
    /// The label that makes a bound of such a sample.
    bound_label: Option<&'static str>,
}

/// A slot of a run's chunk.
type SlotOf<'a> = (&'a PickedRun, &'a Arc<Chunk>, u8);

/// The samples; used again and again.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    samples: Vec<Sample>,
    labels: Vec<u8>,
    /// Of one bound, to see whether it is written as readers write it.
    bound_text: Vec<u8>,
}

impl Gathered {
    /// What `metric` is in `family`.
    pub(super) fn part_of(family: &Family, metric: &str) -> PartOf {
        let part = |role, bound_label| PartOf { role, bound_label };
        match (family.kind, metric.strip_prefix(family.name.as_str())) {
            (MetricType::Histogram | MetricType::GaugeHistogram, Some("_bucket")) => part(Role::Bound, Some("le")),
            (MetricType::Summary, Some("")) => part(Role::Bound, Some("quantile")),
            (_, Some("_count")) => part(Role::Count, None),
            (_, Some("_sum")) => part(Role::Sum, None),
            _ => part(Role::Other, None),
        }
    }

    /// Adds a float.
    pub(super) fn add_slot(&mut self, part: &PartOf, member: usize, at: SlotOf<'_>, value: f64) {
        let (run, chunk, slot) = at;
        let pairs = chunk.pairs_of(usize::from(slot));
        let is_bound = |pair: &&PairId| Some(chunk.pair(**pair).name) == part.bound_label;
        let bound_pair = pairs.iter().find(is_bound).copied();
        let bound = bound_pair.and_then(|pair| self.read_bound(chunk.pair(pair).value));
        let bound_pair = bound_pair.filter(|_| bound.is_some());
        let shown = pairs.iter().filter(|pair| Some(**pair) != bound_pair).map(|pair| chunk.pair(*pair));
        let labels = self.put_labels(shown.map(|pair| (pair.name, pair.value)));
        let source = Source::Slot { target: run.target, chunk: run.chunk, slot };
        self.push(part, Sample { role: part.role, member, bound: 0.0, bound_pair, value, source, labels }, bound);
    }

    /// Adds a native histogram.
    pub(super) fn add_native(&mut self, member: usize, (run, chunk, slot): SlotOf<'_>) {
        let pairs = chunk.pairs_of(usize::from(slot)).iter().map(|pair| chunk.pair(*pair));
        let labels = self.put_labels(pairs.map(|pair| (pair.name, pair.value)));
        let source = Source::Slot { target: run.target, chunk: run.chunk, slot };
        let (role, bound_pair) = (Role::Native, None);
        self.samples.push(Sample { role, member, bound: 0.0, bound_pair, value: 0.0, source, labels });
    }

    /// Adds one of fedgate's own series.
    pub(super) fn add_own(
        &mut self,
        part: &PartOf,
        member: usize,
        (metric, number): (usize, usize),
        own: &Labels,
        value: f64,
    ) {
        let bound = part.bound_label.and_then(|label| self.read_bound(own.get(label)?));
        let labels = self.put_labels(own.iter().filter(|(name, _)| bound.is_none() || Some(*name) != part.bound_label));
        let source = Source::Own { metric, number };
        self.push(part, Sample { role: part.role, member, bound: 0.0, bound_pair: None, value, source, labels }, bound);
    }

    fn push(&mut self, part: &PartOf, sample: Sample, bound: Option<f64>) {
        let role = if part.role == Role::Bound && bound.is_none() { Role::Other } else { part.role };
        self.samples.push(Sample { role, bound: bound.unwrap_or_default(), ..sample });
    }

    /// A bound in the one form that readers of protobuf give it.
    fn read_bound(&mut self, text: &str) -> Option<f64> {
        let bound = parse_value(text.as_bytes()).filter(|bound| !bound.is_nan())?;
        self.bound_text.clear();
        write_openmetrics_value(&mut self.bound_text, bound);
        (self.bound_text == text.as_bytes()).then_some(bound)
    }

    fn put_labels<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> (u32, u32) {
        let start = self.labels.len() as u32;
        pairs.for_each(|(name, value)| write_label_pair(&mut self.labels, name, value));
        (start, self.labels.len() as u32)
    }

    /// Brings samples of one label set together.
    pub(super) fn sort(&mut self) {
        let labels = &self.labels;
        let of = |sample: &Sample| &labels[range(sample)];
        self.samples.sort_by(|a, b| {
            let by_role = || a.role.cmp(&b.role).then(a.bound.total_cmp(&b.bound)).then(a.member.cmp(&b.member));
            of(a).cmp(of(b)).then_with(by_role)
        });
    }

    /// The label sets, each with its samples.
    pub(super) fn sets(&self) -> impl Iterator<Item = &[Sample]> {
        self.samples.chunk_by(|a, b| self.labels[range(a)] == self.labels[range(b)])
    }

    /// Forgets the samples and keeps the room.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
        self.labels.clear();
    }
}

fn range(sample: &Sample) -> Range<usize> {
    sample.labels.0 as usize..sample.labels.1 as usize
}
