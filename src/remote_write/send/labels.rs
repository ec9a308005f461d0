//! The final labels of series, worked out once a layout and not once a sample.
//!
//! Final are a series' own labels over its target's, then the inventory's and then the gateway's external labels where it lacks
//! them, then whatever `write_relabel_configs` makes of that. How own labels and the others interleave depends on names alone, so a
//! chunk of 256 series has a few [`Pattern`]s, and a series is two bytes: the number of its pattern. Where there are relabelling
//! steps, they are applied to each series once, and only what they change is kept.
//!
//! Invariant: what is walked ascends by label name, has no name twice and no empty value.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Labels, LabelsBuilder, METRIC_NAME};
use crate::relabel::{self, Steps};
use crate::remote_write::message::put_label;
use crate::snapshot::{CHUNK_SLOTS, Chunk, PairId, SlotSet};
use crate::store::{ClusterPolicy, IndexedChunk, Layout, SCRAPE_FAMILIES, TargetView};

/// What is done to all labels on their way out.
#[derive(Clone, Debug, Default)]
pub struct Labelling {
    /// The gateway's own labels, for series that lack them.
    pub external_labels: Labels,
    /// `write_relabel_configs`.
    pub steps: Steps,
}

/// Labels that the series of a target have without saying so.
#[derive(Debug, PartialEq, Eq)]
pub struct Base {
    /// Seen where a series says nothing: the target's, or else the stamped ones. Ascending by name.
    shown: Vec<BaseLabel>,
    /// The stamped ones alone, for series that lack a label of their target. Ascending by name.
    stamped: Vec<BaseLabel>,
}

/// One label, with its bytes in a 1.0 series.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BaseLabel {
    pub(super) name: Box<str>,
    pub(super) value: Box<str>,
    pub(super) encoded: Box<[u8]>,
}

impl BaseLabel {
    fn new(name: &str, value: &str) -> BaseLabel {
        let mut encoded = Vec::new();
        put_label(&mut encoded, name, value);
        BaseLabel { name: name.into(), value: value.into(), encoded: encoded.into() }
    }
}

impl Base {
    /// Of a target: its labels over `stamped`.
    pub fn new(target: &Labels, stamped: &Labels) -> Base {
        let lacking = stamped.iter().filter(|(name, _)| target.get(name).is_none());
        let mut shown: Vec<BaseLabel> =
            target.iter().chain(lacking).map(|(name, value)| BaseLabel::new(name, value)).collect();
        shown.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        Base { shown, stamped: stamped.iter().map(|(name, value)| BaseLabel::new(name, value)).collect() }
    }

    fn find(list: &[BaseLabel], name: &str) -> Option<u16> {
        list.binary_search_by(|label| (*label.name).cmp(name)).ok().map(|at| at as u16)
    }
}

/// A series' next label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The metric name.
    Name,
    /// Of the series' own pairs, by place.
    Own(u16),
    /// Of [`Base::shown`].
    Shown(u16),
    /// Of [`Base::stamped`].
    Stamped(u16),
}

type Pattern = Box<[Step]>;

/// Where a label of a series stands.
pub(super) enum Source<'a> {
    /// The metric name.
    Name,
    /// The pair of the chunk with this number.
    Pair(u16),
    /// The target's or a stamped one; numbers are those of [`PreparedTarget::base_labels`].
    Base(usize, &'a BaseLabel),
}

/// What relabelling made of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Relabelled {
    Dropped,
    Other(Labels),
}

/// How a chunk of a target stands to the one that was in its place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kinship {
    /// The very same.
    Same,
    /// The same series but in these slots.
    But(SlotSet),
}

impl Kinship {
    /// Whether a slot may hold another series than before.
    pub(super) fn is_redefined(&self, slot: usize) -> bool {
        match self {
            Kinship::Same => false,
            Kinship::But(slots) => slots[slot / 64] >> (slot % 64) & 1 == 1,
        }
    }
}

/// One chunk of a target.
#[derive(Debug)]
struct PreparedChunk {
    indexed: Arc<IndexedChunk>,
    patterns: Vec<Pattern>,
    /// By slot; [`NO_PATTERN`] where nothing is sent.
    of_slot: Box<[u16; CHUNK_SLOTS]>,
    /// What relabelling changed, by slot.
    others: HashMap<u8, Labels>,
}

const NO_PATTERN: u16 = u16::MAX;
/// The labels stand in [`PreparedChunk::others`].
const OTHER: u16 = u16::MAX - 1;

/// The labels of a series.
pub(super) enum SeriesLabels<'a> {
    /// Piece by piece.
    Pieces(Pieces<'a>),
    /// As relabelling left them.
    Whole(&'a Labels),
}

/// A series' labels as the places where they stand.
pub(super) struct Pieces<'a> {
    base: &'a Base,
    pattern: &'a [Step],
    pairs: &'a [PairId],
}

impl<'a> Pieces<'a> {
    /// The labels in ascending order of their names.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = Source<'a>> {
        let (base, pairs) = (self.base, self.pairs);
        self.pattern.iter().map(move |step| match *step {
            Step::Name => Source::Name,
            Step::Own(at) => Source::Pair(pairs[usize::from(at)].0),
            Step::Shown(at) => Source::Base(usize::from(at), &base.shown[usize::from(at)]),
            Step::Stamped(at) => Source::Base(base.shown.len() + usize::from(at), &base.stamped[usize::from(at)]),
        })
    }
}

/// A target's series with their final labels, for as long as its layout and its cluster's policy stay.
#[derive(Debug)]
pub struct PreparedTarget {
    layout: Layout,
    policy: Option<Arc<ClusterPolicy>>,
    base: Base,
    chunks: Vec<Arc<PreparedChunk>>,
    /// Of the scrape's own series, in the order of [`SCRAPE_FAMILIES`].
    facts: [Option<Labels>; SCRAPE_FAMILIES.len()],
}

impl PreparedTarget {
    /// Prepares a target's series; chunks that are the same as `before`, with the same labels around them, are kept. Recorded series
    /// belong to no cluster: they have their labels themselves, and there is no policy.
    pub fn new(
        view: &TargetView,
        policy: Option<&Arc<ClusterPolicy>>,
        labelling: &Labelling,
        before: Option<&PreparedTarget>,
    ) -> PreparedTarget {
        let base = Base::new(&view.labels, &stamped(policy, &labelling.external_labels));
        let known = before.filter(|known| known.base == base).map_or(&[][..], |known| &known.chunks);
        let chunks = view.layout.chunks().iter().enumerate().map(|(at, indexed)| match known.get(at) {
            Some(chunk) if Arc::ptr_eq(&chunk.indexed, indexed) => chunk.clone(),
            _ => Arc::new(PreparedChunk::new(indexed, &base, &labelling.steps)),
        });
        let chunks = chunks.collect();
        let facts = SCRAPE_FAMILIES.map(|family| fact_labels(family.name, &base, &labelling.steps));
        PreparedTarget { layout: view.layout.clone(), policy: policy.cloned(), base, chunks, facts }
    }

    /// Whether these are still the labels of `view`'s series.
    pub fn is_of(&self, view: &TargetView, policy: Option<&Arc<ClusterPolicy>>) -> bool {
        let is_same_policy = match (&self.policy, policy) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        };
        is_same_policy && self.layout.is_same(&view.layout)
    }

    /// Which slots of a chunk surely hold the same series in both.
    pub(super) fn kinship(&self, other: &PreparedTarget, chunk: usize) -> Kinship {
        match (self.chunks.get(chunk), other.chunks.get(chunk)) {
            (Some(own), Some(theirs)) if Arc::ptr_eq(own, theirs) => Kinship::Same,
            (Some(own), Some(theirs)) if self.base == other.base => {
                Kinship::But(own.indexed.chunk().redefined(theirs.indexed.chunk()))
            }
            _ => Kinship::But([u64::MAX; 4]),
        }
    }

    /// The labels of the series in a slot; `None` where it is not sent.
    #[inline]
    pub(super) fn labels_of(&self, chunk: usize, slot: usize) -> Option<SeriesLabels<'_>> {
        let chunk = self.chunks.get(chunk)?;
        match chunk.of_slot[slot] {
            NO_PATTERN => None,
            OTHER => chunk.others.get(&(slot as u8)).map(SeriesLabels::Whole),
            pattern => Some(SeriesLabels::Pieces(Pieces {
                base: &self.base,
                pattern: &chunk.patterns[usize::from(pattern)],
                pairs: chunk.indexed.chunk().pairs_of(slot),
            })),
        }
    }

    /// Whether the series in a slot is sent.
    #[inline]
    pub(super) fn is_sent(&self, chunk: usize, slot: usize) -> bool {
        self.chunks.get(chunk).is_some_and(|chunk| chunk.of_slot[slot] != NO_PATTERN)
    }

    /// The labels of the scrape's own series; `None` where relabelling drops it.
    pub(super) fn fact(&self, which: usize) -> Option<&Labels> {
        self.facts[which].as_ref()
    }

    /// A chunk's tables.
    #[inline]
    pub(super) fn chunk(&self, at: usize) -> &Chunk {
        self.chunks[at].indexed.chunk()
    }

    /// Whether a cluster's policy stamped them: recorded series have none, and no scrape.
    pub(super) fn has_policy(&self) -> bool {
        self.policy.is_some()
    }

    /// How many chunks there are.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// How many labels [`Source::Base`] counts.
    pub(super) fn base_labels(&self) -> usize {
        self.base.shown.len() + self.base.stamped.len()
    }

    /// The whole label set of a series, for those that end.
    pub(super) fn whole_labels(&self, chunk: usize, slot: usize) -> Option<Labels> {
        Some(match self.labels_of(chunk, slot)? {
            SeriesLabels::Whole(labels) => labels.clone(),
            SeriesLabels::Pieces(_) => self.chunks[chunk].unrelabelled(slot, &self.base)?.build(),
        })
    }
}

/// The inventory's labels over the gateway's own.
fn stamped(policy: Option<&Arc<ClusterPolicy>>, external: &Labels) -> Labels {
    let Some(policy) = policy else { return external.clone() };
    let mut builder = LabelsBuilder::from_labels(&policy.labels);
    external.iter().for_each(|(name, value)| {
        builder.add(name, value);
    });
    builder.build()
}

fn fact_labels(name: &str, base: &Base, steps: &Steps) -> Option<Labels> {
    let mut builder = LabelsBuilder::default();
    base.shown.iter().for_each(|label| {
        builder.add(&label.name, &label.value);
    });
    builder.set(METRIC_NAME, name);
    relabel::process(steps, &mut builder).then(|| builder.build()).filter(|labels| !labels.is_empty())
}

impl PreparedChunk {
    fn new(indexed: &Arc<IndexedChunk>, base: &Base, steps: &Steps) -> PreparedChunk {
        let mut prepared = PreparedChunk {
            indexed: indexed.clone(),
            patterns: Vec::new(),
            of_slot: Box::new([NO_PATTERN; CHUNK_SLOTS]),
            others: HashMap::new(),
        };
        prepared.find_patterns(base);
        if !steps.is_empty() {
            prepared.relabel(base, steps);
        }
        prepared
    }

    fn find_patterns(&mut self, base: &Base) {
        let (indexed, mut known) = (self.indexed.clone(), HashMap::new());
        let chunk = indexed.chunk();
        let mut key: Vec<(u16, bool)> = Vec::new();
        for slot in indexed.slots() {
            let pairs = chunk.pairs_of(usize::from(*slot));
            key.clear();
            key.extend(
                pairs.iter().map(|id| (indexed.pair_labels()[usize::from(id.0)], chunk.pair(*id).value.is_empty())),
            );
            let number = match known.get(&key) {
                Some(number) => *number,
                None => {
                    let number = self.patterns.len() as u16;
                    self.patterns.push(pattern_of(indexed.labels(), &key, base));
                    known.insert(key.clone(), number);
                    number
                }
            };
            self.of_slot[usize::from(*slot)] = number;
        }
    }

    fn relabel(&mut self, base: &Base, steps: &Steps) {
        for slot in self.indexed.clone().slots() {
            match self.relabelled(usize::from(*slot), base, steps) {
                None => {}
                Some(Relabelled::Dropped) => self.of_slot[usize::from(*slot)] = NO_PATTERN,
                Some(Relabelled::Other(labels)) => {
                    self.of_slot[usize::from(*slot)] = OTHER;
                    self.others.insert(*slot, labels);
                }
            }
        }
    }

    /// `None` where the steps leave a series as it is.
    fn relabelled(&self, slot: usize, base: &Base, steps: &Steps) -> Option<Relabelled> {
        let mut builder = self.unrelabelled(slot, base)?;
        let before = builder.build();
        if !relabel::process(steps, &mut builder) || builder.is_empty() {
            return Some(Relabelled::Dropped);
        }
        let after = builder.build();
        (after != before).then_some(Relabelled::Other(after))
    }

    fn unrelabelled(&self, slot: usize, base: &Base) -> Option<LabelsBuilder> {
        let chunk = self.indexed.chunk();
        let pairs = chunk.pairs_of(slot);
        let pattern = self.patterns.get(usize::from(self.of_slot[slot]))?;
        let mut builder = LabelsBuilder::default();
        for source in (Pieces { base, pattern, pairs }).iter() {
            match source {
                Source::Name => builder.add(METRIC_NAME, chunk.name(chunk.name_of(slot)?)),
                Source::Pair(id) => {
                    let pair = chunk.pair(PairId(id));
                    builder.add(pair.name, pair.value)
                }
                Source::Base(_, label) => builder.add(&label.name, &label.value),
            };
        }
        Some(builder)
    }
}

/// `key` lists a series' own labels, by number in `names`, and whether each is empty.
fn pattern_of(names: &[Arc<str>], key: &[(u16, bool)], base: &Base) -> Pattern {
    let mut steps: Vec<(&str, Step)> = vec![(METRIC_NAME, Step::Name)];
    let own = |name: &str| key.iter().any(|(number, _)| &*names[usize::from(*number)] == name);
    for (at, (number, is_empty)) in key.iter().enumerate() {
        let name = &*names[usize::from(*number)];
        match is_empty {
            false => steps.push((name, Step::Own(at as u16))),
            // It lacks the target's label, and so has the stamped one, if any.
            true => steps.extend(Base::find(&base.stamped, name).map(|at| (name, Step::Stamped(at)))),
        }
    }
    let shown = base.shown.iter().enumerate().filter(|(_, label)| !own(&label.name));
    steps.extend(shown.map(|(at, label)| (&*label.name, Step::Shown(at as u16))));
    steps.sort_unstable_by_key(|(name, _)| *name);
    steps.into_iter().map(|(_, step)| step).collect()
}
