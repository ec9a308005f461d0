//! What rules record: series without a scrape, kept as the targets of clusters are.
//!
//! Invariant: each rule's results are a target of their own, whose labels are empty and whose sample time is that of the
//! evaluation; so a series that an evaluation did not give ends with it, and what other rules gave stays. A rule's series have
//! exactly the labels that PromQL gave them. Pages show them with another layout, slot by slot the same, in which series that
//! carry a known `cluster` have that cluster's other labels from the inventory where they lack them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::cluster::Shared;
use super::facts::SCRAPE_FAMILIES;
use super::history::{Scraped, TargetHistory};
use super::inventory::{CLUSTER, Inventory};
use super::layout::{IndexedChunk, Layout, Layouts};
use super::pick::Unsaid;
use super::view::{DepartedTarget, TargetView};
use crate::model::{
    HISTOGRAM_NAN, HistogramSample, Labels, LabelsBuilder, METRIC_NAME, Metadata, NativeHistogram, Timestamp, is_stale,
};
use crate::snapshot::{
    Beside, CHUNK_SLOTS, Chunk, ChunkBuilder, Column, NameId, Outcome, OwnLabels, Report, Schema, SlotError, SlotTable,
};

/// Who records: a rule of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId {
    /// The group, by whatever tells it from all others.
    pub group: Arc<str>,
    /// The rule's place in it, from 0.
    pub rule: u32,
}

/// A recorded sample.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordedSample {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<NativeHistogram>),
}

/// What a rule gave at one time, slot by slot: what is written down of it.
#[derive(Clone, Debug)]
pub struct RecordedResults {
    /// When it was evaluated: the time of all samples.
    pub at: Timestamp,
    /// The series, with exactly the labels that PromQL gave them.
    pub schema: Arc<Schema>,
    /// Their values; the stale marker where a series ended.
    pub column: Column,
    /// Native histograms.
    pub beside: Arc<Beside>,
}

/// Why an evaluation's results were not taken; then nothing of them was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The rule recorded at this time, or later, before.
    #[error("evaluation at {at}, expected later than {last}")]
    OutOfOrder {
        /// Of the results.
        at: Timestamp,
        /// Of those that are there.
        last: Timestamp,
    },
    /// A series that cannot be kept.
    #[error(transparent)]
    Series(#[from] SlotError),
}

/// The results of all rules.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Held while results are taken or the inventory changes.
    rules: Mutex<Rules>,
    /// What readers see; replaced under the mutex.
    shown: ArcSwap<ShownRecords>,
}

#[derive(Debug, Default)]
struct Rules {
    rules: BTreeMap<RuleId, RecordedRule>,
    /// What is kept of rules that are gone.
    departed: BTreeMap<RuleId, TargetHistory>,
}

/// What readers see of all rules.
#[derive(Debug, Default)]
pub(super) struct ShownRecords {
    /// By rule.
    pub(super) targets: Vec<Arc<TargetView>>,
    /// Of rules that are gone.
    pub(super) departed: Vec<DepartedTarget>,
}

#[derive(Debug, Default)]
struct RecordedRule {
    table: SlotTable,
    /// Slots with a sample.
    present: Vec<u32>,
    schema: Option<Arc<Schema>>,
    /// Chunk by chunk beside the schema: as recorded, and as shown.
    chunks: Vec<(Arc<IndexedChunk>, Arc<IndexedChunk>)>,
    layouts: (Layout, Layout),
    history: TargetHistory,
    view: Option<Arc<TargetView>>,
    /// The series are those of an earlier run: `table` and `present` do not know them yet.
    is_restored: bool,
}

impl Recorded {
    fn lock(&self) -> MutexGuard<'_, Rules> {
        // A panic may leave a half-changed rule: it begins anew.
        self.rules.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut rules = poisoned.into_inner();
            *rules = Rules::default();
            self.rules.clear_poison();
            rules
        })
    }

    /// Every rule's results.
    pub(super) fn shown(&self) -> Arc<ShownRecords> {
        self.shown.load_full()
    }

    /// Takes what an evaluation at `at` gave, in place of what the rule gave before.
    pub(super) fn record(
        &self,
        id: &RuleId,
        at: Timestamp,
        series: &mut dyn Iterator<Item = (Labels, RecordedSample)>,
        (shared, inventory): (&Shared, &Inventory),
    ) -> Result<RecordedResults, RecordError> {
        let mut rules = self.lock();
        let rules = &mut *rules;
        let rule = rules.rule(id);
        if let Some(last) = rule.view.as_ref().map(|view| view.started).filter(|last| *last >= at) {
            return Err(RecordError::OutOfOrder { at, last });
        }
        rule.record(at, series, &shared.layouts, inventory)?;
        rule.remember(shared);
        let results = rule.results();
        rules.departed.retain(|_, history| !history.is_over(at));
        self.publish(rules);
        Ok(results.expect("the rule has just recorded"))
    }

    /// Takes what a rule of an earlier run gave, as [`Recorded::record`] took it then. What is not later than what is there is passed
    /// over. Readers see it with the next [`Recorded::show`].
    pub(super) fn restore(&self, id: &RuleId, results: &RecordedResults, (shared, inventory): (&Shared, &Inventory)) {
        let mut rules = self.lock();
        let rule = rules.rule(id);
        if rule.view.as_ref().is_none_or(|view| view.started < results.at) {
            rule.is_restored = true;
            rule.take_schema(results.schema.clone(), &shared.layouts, inventory);
            rule.show(results.at, results.column.clone(), results.beside.clone());
            rule.remember(shared);
        }
    }

    /// Brings what was restored before the readers.
    pub(super) fn show(&self) {
        self.publish(&self.lock());
    }

    /// Ends all series of the rules that `keeps` does not name; gives what these gave last.
    pub(super) fn retain(&self, keeps: impl Fn(&RuleId) -> bool, shared: &Shared) -> Vec<(RuleId, RecordedResults)> {
        let mut rules = self.lock();
        let gone: Vec<RuleId> = rules.rules.keys().filter(|id| !keeps(id)).cloned().collect();
        let mut ended = Vec::new();
        for id in gone {
            let Some(mut rule) = rules.rules.remove(&id) else { continue };
            ended.extend(rule.results().map(|results| (id.clone(), results)));
            if !rule.history.is_empty() {
                rule.history.depart(&Unsaid { target: &Labels::empty(), policy: None }, &shared.usage);
                rules.departed.insert(id, rule.history);
            }
        }
        self.publish(&rules);
        ended
    }

    /// What every rule gave last.
    pub(super) fn all(&self) -> Vec<(RuleId, RecordedResults)> {
        let rules = self.lock();
        rules.rules.iter().filter_map(|(id, rule)| Some((id.clone(), rule.results()?))).collect()
    }

    /// Follows a change of what is kept.
    pub(super) fn keep(&self, shared: &Shared) {
        let mut rules = self.lock();
        rules.rules.values_mut().for_each(|rule| rule.remember(shared));
        self.publish(&rules);
    }

    /// Clusters' labels may have changed.
    pub(super) fn set_inventory(&self, layouts: &Layouts, inventory: &Inventory) {
        let mut rules = self.lock();
        rules.rules.values_mut().for_each(|rule| rule.show_anew(layouts, inventory));
        self.publish(&rules);
    }

    fn publish(&self, rules: &Rules) {
        let targets = rules.rules.values().filter_map(|rule| rule.view.clone()).collect();
        let departed = rules.departed.values();
        let departed =
            departed.map(|history| DepartedTarget { labels: Arc::default(), history: history.shown().clone() });
        self.shown.store(Arc::new(ShownRecords { targets, departed: departed.collect() }));
    }
}

impl Rules {
    /// The rule, new where it is not known; what is kept of it goes on.
    fn rule(&mut self, id: &RuleId) -> &mut RecordedRule {
        let departed = &mut self.departed;
        self.rules.entry(id.clone()).or_insert_with(|| RecordedRule {
            history: departed.remove(id).unwrap_or_default(),
            ..RecordedRule::default()
        })
    }
}

impl RecordedRule {
    fn record(
        &mut self,
        at: Timestamp,
        series: &mut dyn Iterator<Item = (Labels, RecordedSample)>,
        layouts: &Layouts,
        inventory: &Inventory,
    ) -> Result<(), RecordError> {
        self.know_restored();
        let samples = self.slots_of(series)?;
        let schema = self.table.schema();
        self.take_schema(schema, layouts, inventory);
        let mut column = Column::stale(self.table.len());
        let mut beside = Beside::default();
        for (slot, sample) in samples {
            column.set(slot as usize, number_of(&sample));
            if let RecordedSample::Histogram(histogram) = sample {
                let (histogram, exemplars) = (NativeHistogram::clone(&histogram), Vec::new());
                beside.histograms.push((slot, Arc::new(HistogramSample { histogram, exemplars })));
            }
        }
        let beside = if beside.is_empty() { Beside::nothing() } else { Arc::new(beside) };
        self.show(at, column, beside);
        Ok(())
    }

    fn show(&mut self, at: Timestamp, column: Column, beside: Arc<Beside>) {
        let labels = self.view.as_ref().map_or_else(Arc::default, |view| view.labels.clone());
        self.view = Some(Arc::new(TargetView {
            labels,
            layout: self.layouts.1.clone(),
            recorded: Some(self.layouts.0.clone()),
            column,
            started: at,
            duration: Duration::ZERO,
            outcome: Outcome::Up,
            report: Report::default(),
            beside,
            back: [].into(),
            history: [].into(),
            absence: None,
        }));
    }

    fn results(&self) -> Option<RecordedResults> {
        let (view, schema) = (self.view.as_ref()?, self.schema.clone()?);
        Some(RecordedResults { at: view.started, schema, column: view.column.clone(), beside: view.beside.clone() })
    }

    /// Gives the series of an earlier run their slots, before the first evaluation of this one looks for them there.
    fn know_restored(&mut self) {
        if std::mem::take(&mut self.is_restored)
            && let (Some(schema), Some(view)) = (&self.schema, &self.view)
        {
            let has_sample =
                |slot: u32| (slot as usize) < view.column.len() && !is_stale(view.column.get(slot as usize));
            self.table = SlotTable::from_schema(schema, has_sample);
            self.present = (0..view.column.len() as u32).filter(|slot| has_sample(*slot)).collect();
        }
    }

    /// Adds what is shown to the history.
    fn remember(&mut self, shared: &Shared) {
        let Some(view) = &mut self.view else { return };
        let unsaid = Unsaid { target: &view.labels, policy: None };
        self.history.follow(view.queried(), &unsaid, &shared.keeper.load(), &shared.usage);
        let facts = [None; SCRAPE_FAMILIES.len()];
        let scraped = Scraped { at: view.started, column: &view.column, beside: &view.beside, facts };
        self.history.append(&scraped, &shared.usage);
        Arc::make_mut(view).history = self.history.shown().clone();
    }

    /// Gives every series its slot, and ends those that are not among them. Nothing changes for readers yet.
    fn slots_of(
        &mut self,
        series: &mut dyn Iterator<Item = (Labels, RecordedSample)>,
    ) -> Result<BTreeMap<u32, RecordedSample>, SlotError> {
        let mut samples = BTreeMap::new();
        let nothing = Labels::empty();
        for (labels, sample) in series {
            let own = OwnLabels::between(&labels, &nothing);
            match self.table.insert(own, labels.metric_name(), &Metadata::default()) {
                Ok(slot) => samples.insert(slot, sample),
                Err(error) => {
                    let new = samples.keys().filter(|slot| self.present.binary_search(slot).is_err());
                    new.for_each(|slot| self.table.remove(*slot));
                    return Err(error);
                }
            };
        }
        let gone = self.present.iter().filter(|slot| !samples.contains_key(slot));
        gone.for_each(|slot| self.table.remove(*slot));
        self.present = samples.keys().copied().collect();
        Ok(samples)
    }

    /// Follows a change of the series; chunks that are still the same keep their indices.
    fn take_schema(&mut self, schema: Arc<Schema>, layouts: &Layouts, inventory: &Inventory) {
        if self.schema.as_ref().is_some_and(|known| Arc::ptr_eq(known, &schema)) {
            return;
        }
        let mut known = std::mem::take(&mut self.chunks).into_iter();
        let chunks = schema.chunks().iter().map(|chunk| match known.next() {
            Some(pair) if Arc::ptr_eq(pair.0.chunk(), chunk) => pair,
            _ => (layouts.index(chunk), shown_as(chunk, layouts, inventory)),
        });
        self.chunks = chunks.collect();
        self.schema = Some(schema.clone());
        self.lay_out();
    }

    fn lay_out(&mut self) {
        let (recorded, shown) = self.chunks.iter().cloned().unzip();
        self.layouts = (Layout::new(recorded), Layout::new(shown));
    }

    fn show_anew(&mut self, layouts: &Layouts, inventory: &Inventory) {
        for (recorded, shown) in &mut self.chunks {
            *shown = shown_as(recorded.chunk(), layouts, inventory);
        }
        self.lay_out();
        if let Some(view) = &mut self.view {
            let view = Arc::make_mut(view);
            (view.recorded, view.layout) = (Some(self.layouts.0.clone()), self.layouts.1.clone());
        }
    }
}

fn number_of(sample: &RecordedSample) -> f64 {
    match sample {
        RecordedSample::Float(value) => *value,
        RecordedSample::Histogram(_) => f64::from_bits(HISTOGRAM_NAN),
    }
}

/// The chunk with the labels that pages show; the same where no series has more.
fn shown_as(chunk: &Arc<Chunk>, layouts: &Layouts, inventory: &Inventory) -> Arc<IndexedChunk> {
    let nothing = Labels::empty();
    let mut lacking: HashMap<usize, Labels> = HashMap::new();
    for slot in 0..chunk.len() {
        let Some(labels) = chunk.labels(slot, &nothing) else { continue };
        let Some(policy) = labels.get(CLUSTER).and_then(|cluster| inventory.get(cluster)) else { continue };
        let mut builder = LabelsBuilder::from_labels(&policy.labels);
        labels.iter().for_each(|(name, value)| {
            builder.set(name, value);
        });
        let shown = builder.build();
        if shown != labels {
            lacking.insert(slot, shown);
        }
    }
    if lacking.is_empty() {
        return layouts.index(chunk);
    }
    let built = with_labels(chunk, &lacking).map(Arc::new);
    layouts.index(built.as_ref().unwrap_or(chunk))
}

/// The chunk with other labels for some slots; `None` where it would grow too big.
fn with_labels(chunk: &Chunk, others: &HashMap<usize, Labels>) -> Option<Chunk> {
    debug_assert!(chunk.len() <= CHUNK_SLOTS);
    let mut builder = ChunkBuilder::default();
    for slot in 0..chunk.len() {
        let Some(name) = chunk.name_of(slot) else {
            builder.push_free();
            continue;
        };
        let (text, family) = (chunk.name(name), chunk.family_of(NameId(name.0)));
        match others.get(&slot) {
            Some(labels) => builder.push(text, family, labels.iter().filter(|(label, _)| *label != METRIC_NAME)),
            None => {
                let pairs = chunk.pairs_of(slot).iter().map(|pair| chunk.pair(*pair));
                builder.push(text, family, pairs.map(|pair| (pair.name, pair.value)));
            }
        }
    }
    builder.finish().ok()
}
