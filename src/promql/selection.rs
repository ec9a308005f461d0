//! Which rows a selector has in the site's views, kept from one evaluation to the next.
//!
//! Invariant: for a target whose layout, labels and policy are the very same as the last time nothing is looked at but these
//! three pointers; of one that changed, only the chunks that are new. What did not change keeps its [`Block`]s, and where
//! nothing at all changed the [`Rows`] are the same, too. A plan holds what it compares with, so no address can be used anew.
//!
//! At most [`PLANS_MAX`] selectors are kept; the one that was asked for the longest time ago goes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rows::{Block, Rows};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, Matcher};
use crate::store::{
    CLUSTER_FAMILIES, COLLECTOR, COLLECTOR_UP, ClusterPolicy, FactRow, IndexedChunk, Layout, Picker, Retired,
    SCRAPE_FAMILIES, SiteTarget, SiteView, Strip, TargetView, Unsaid, scrape_values,
};

/// Selectors whose plans are kept.
const PLANS_MAX: usize = 4096;

/// The plans of selectors, by their matchers.
#[derive(Debug, Default)]
pub struct SelectionCache {
    plans: Mutex<Plans>,
}

#[derive(Debug, Default)]
struct Plans {
    by_matchers: HashMap<String, (u64, Arc<Mutex<Planned>>)>,
    /// Counts the questions: the age of a plan.
    asked: u64,
}

/// What is kept of one selector.
#[derive(Debug, Default)]
struct Planned {
    selected: Arc<Selected>,
    /// By the address of the series that ended together, which are held as long.
    ended: HashMap<usize, (Arc<Retired>, Arc<EndedRows>), foldhash::fast::FixedState>,
    joined: Joined,
}

/// The rows of a selection and, behind them, those of series that ended.
#[derive(Debug, Default)]
struct Joined {
    /// What they were made of.
    from: (Arc<Rows>, Vec<Arc<EndedRows>>),
    rows: Arc<Rows>,
}

impl Joined {
    fn is_of(&self, selected: &Arc<Rows>, ended: &[Arc<EndedRows>]) -> bool {
        let (own, own_ended) = &self.from;
        let are_same = own_ended.len() == ended.len() && own_ended.iter().zip(ended).all(|(a, b)| Arc::ptr_eq(a, b));
        Arc::ptr_eq(own, selected) && are_same
    }
}

/// Of series that ended together, those that a selector names.
#[derive(Debug)]
pub(super) struct EndedRows {
    /// Their columns, ascending.
    pub(super) columns: Vec<u32>,
    /// Their label sets.
    pub(super) block: Arc<Block>,
}

/// Series that ended, and where their samples are kept.
pub(super) struct Ended<'a> {
    /// Of these.
    pub(super) retired: &'a Arc<Retired>,
    /// In this strip.
    pub(super) strip: &'a Strip,
    /// Of this cluster, if of any.
    pub(super) policy: Option<&'a ClusterPolicy>,
}

/// The rows of a selector in one view.
#[derive(Debug, Default)]
pub(super) struct Selected {
    /// All label sets.
    pub(super) rows: Arc<Rows>,
    /// Beside the view's targets.
    targets: Vec<PlannedTarget>,
    /// Of the clusters; without rows where none is named.
    facts: ClusterRows,
    /// Where each block's samples are, in the order of the rows.
    pub(super) parts: Vec<RowPart>,
}

/// One block of rows and where their samples are.
#[derive(Clone, Debug)]
pub(super) struct RowPart {
    /// Index into the view's targets; of no meaning for [`Place::Clusters`].
    pub(super) target: u32,
    /// Row of the first.
    pub(super) first: usize,
    /// Where in the target.
    pub(super) place: Place,
    block: Arc<Block>,
}

impl RowPart {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.block.len()
    }
}

/// Where samples are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In these slots of a chunk.
    Slots {
        /// Its number.
        chunk: u32,
        /// Within the chunk.
        slots: Arc<[u8]>,
    },
    /// In the facts of a scrape: numbers of [`SCRAPE_FAMILIES`].
    Scrape(Arc<[u8]>),
    /// In the facts of clusters and collectors.
    Clusters(Arc<[FactRow]>),
}

/// What a selector has in one target.
#[derive(Clone, Debug)]
struct PlannedTarget {
    labels: Arc<Labels>,
    layout: Layout,
    policy: Option<Arc<ClusterPolicy>>,
    families: [bool; SCRAPE_FAMILIES.len()],
    scrape: Option<(Arc<[u8]>, Arc<Block>)>,
    chunks: Arc<[PlannedChunk]>,
}

/// What it has in a chunk; chunks without are not listed.
#[derive(Clone, Debug)]
struct PlannedChunk {
    number: u32,
    chunk: Arc<IndexedChunk>,
    slots: Arc<[u8]>,
    block: Arc<Block>,
}

#[derive(Clone, Debug, Default)]
struct ClusterRows {
    /// What the rows were made of: policies and collectors.
    made_of: Vec<(Arc<ClusterPolicy>, Vec<Arc<str>>)>,
    rows: Arc<[FactRow]>,
    block: Option<Arc<Block>>,
}

impl SelectionCache {
    /// No plan yet.
    pub fn new() -> SelectionCache {
        SelectionCache::default()
    }

    /// The rows of `matchers` in `view`.
    pub(super) fn select(&self, view: &SiteView, matchers: &[Matcher]) -> Arc<Selected> {
        let plan = lock(&self.plans).plan(matchers);
        let mut plan = lock(&plan);
        if let Some(selected) = Selected::after(&plan.selected, view, matchers) {
            plan.selected = Arc::new(selected);
        }
        plan.selected.clone()
    }

    /// Which of these are named, beside them. What was not asked for now is forgotten.
    pub(super) fn select_ended(&self, ended: &[Ended<'_>], matchers: &[Matcher]) -> Vec<Arc<EndedRows>> {
        let plan = lock(&self.plans).plan(matchers);
        let mut plan = lock(&plan);
        let mut known = std::mem::take(&mut plan.ended);
        let picker = Picker::new(matchers);
        let rows = ended.iter().map(|one| {
            let address = Arc::as_ptr(one.retired).addr();
            let kept = known.remove(&address).unwrap_or_else(|| (one.retired.clone(), one.rows(&picker)));
            let rows = kept.1.clone();
            plan.ended.insert(address, kept);
            rows
        });
        rows.collect()
    }

    /// The rows of a selection and those of series that ended: the same `Arc` as long as these are the same.
    pub(super) fn joined(&self, matchers: &[Matcher], selected: &Arc<Rows>, ended: &[Arc<EndedRows>]) -> Arc<Rows> {
        if ended.iter().all(|rows| rows.columns.is_empty()) {
            return selected.clone();
        }
        let plan = lock(&self.plans).plan(matchers);
        let mut plan = lock(&plan);
        if !plan.joined.is_of(selected, ended) {
            let blocks = Rows::new(ended.iter().map(|rows| rows.block.clone()));
            let rows = Arc::new(Rows::joined(selected, &blocks));
            plan.joined = Joined { from: (selected.clone(), ended.to_vec()), rows };
        }
        plan.joined.rows.clone()
    }
}

/// A panic while a plan was made left the one before it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plans {
    fn plan(&mut self, matchers: &[Matcher]) -> Arc<Mutex<Planned>> {
        self.asked += 1;
        let key = format!("{matchers:?}");
        if self.by_matchers.len() >= PLANS_MAX && !self.by_matchers.contains_key(&key) {
            self.forget_oldest();
        }
        let (asked, plan) = self.by_matchers.entry(key).or_default();
        *asked = self.asked;
        plan.clone()
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_matchers.iter().min_by_key(|(_, (asked, _))| *asked).map(|(key, _)| key.clone());
        oldest.and_then(|key| self.by_matchers.remove(&key));
    }
}

impl EndedRows {
    /// Only these rows, by their numbers.
    pub(super) fn some(&self, rows: &[usize]) -> EndedRows {
        let columns = rows.iter().map(|row| self.columns[*row]).collect();
        let labels = rows.iter().map(|row| self.block.labels(*row)).collect();
        EndedRows { columns, block: Arc::new(Block::built(labels)) }
    }
}

impl Ended<'_> {
    fn rows(&self, picker: &Picker<'_>) -> Arc<EndedRows> {
        let inventory = self.policy.map_or_else(Labels::empty, |policy| policy.labels.clone());
        let whole = self.retired.series.iter().map(|(column, labels)| {
            let mut builder = LabelsBuilder::from_labels(&inventory);
            labels.iter().for_each(|(name, value)| {
                builder.set(name, value);
            });
            (*column, builder.build())
        });
        let (columns, labels) = whole.filter(|(_, labels)| picker.names(labels)).unzip();
        Arc::new(EndedRows { columns, block: Arc::new(Block::built(labels)) })
    }
}

impl Selected {
    /// What `view` makes of the plan `before`; `None` where all is as it was.
    fn after(before: &Selected, view: &SiteView, matchers: &[Matcher]) -> Option<Selected> {
        let is_known = |(known, site): (&PlannedTarget, &SiteTarget)| known.is_of(view, site);
        let facts_are_known = before.facts.is_of(view);
        let is_same_length = before.targets.len() == view.targets.len();
        if is_same_length && facts_are_known && before.targets.iter().zip(&view.targets).all(is_known) {
            return None;
        }
        let mut planner = Planner { view, before, picker: Picker::new(matchers), moved: None };
        let targets = view.targets.iter().enumerate().map(|(at, site)| planner.target(at, site)).collect();
        let facts = if facts_are_known { before.facts.clone() } else { ClusterRows::new(view, &planner.picker) };
        Some(Selected::of(targets, facts))
    }

    /// The rows of recorded series.
    pub(super) fn recorded_rows(&self) -> impl Iterator<Item = usize> + '_ {
        let is_recorded = |part: &&RowPart| match part.place {
            Place::Clusters(_) => false,
            _ => self.targets[part.target as usize].policy.is_none(),
        };
        self.parts.iter().filter(is_recorded).flat_map(|part| part.first..part.first + part.len())
    }

    fn of(targets: Vec<PlannedTarget>, facts: ClusterRows) -> Selected {
        let (mut parts, mut first) = (Vec::new(), 0);
        let mut add = |target: usize, place: Place, block: &Arc<Block>| {
            parts.push(RowPart { target: target as u32, first, place, block: block.clone() });
            first += block.len();
        };
        for (at, target) in targets.iter().enumerate() {
            for PlannedChunk { number, slots, block, .. } in target.chunks.iter() {
                add(at, Place::Slots { chunk: *number, slots: slots.clone() }, block);
            }
            if let Some((families, block)) = &target.scrape {
                add(at, Place::Scrape(families.clone()), block);
            }
        }
        if let Some(block) = &facts.block {
            add(0, Place::Clusters(facts.rows.clone()), block);
        }
        let rows = Arc::new(Rows::new(parts.iter().map(|part| part.block.clone())));
        Selected { rows, targets, facts, parts }
    }
}

/// One planning of a view.
struct Planner<'a> {
    view: &'a SiteView,
    before: &'a Selected,
    picker: Picker<'a>,
    /// Targets of the plan before by the address of their labels; made at the first that is not where it was.
    moved: Option<HashMap<usize, usize, foldhash::fast::FixedState>>,
}

impl<'a> Planner<'a> {
    fn target(&mut self, at: usize, site: &SiteTarget) -> PlannedTarget {
        let before = self.before.targets.get(at).filter(|known| Arc::ptr_eq(&known.labels, &site.target.labels));
        let before = before.or_else(|| self.find_moved(&site.target.labels));
        match before {
            Some(known) if known.is_of(self.view, site) => known.clone(),
            known => self.plan(site, known),
        }
    }

    fn find_moved(&mut self, labels: &Arc<Labels>) -> Option<&'a PlannedTarget> {
        let targets = &self.before.targets;
        let moved = self.moved.get_or_insert_with(|| {
            targets.iter().enumerate().map(|(at, known)| (Arc::as_ptr(&known.labels).addr(), at)).collect()
        });
        moved.get(&Arc::as_ptr(labels).addr()).map(|at| &targets[*at])
    }

    fn plan(&mut self, site: &SiteTarget, before: Option<&PlannedTarget>) -> PlannedTarget {
        let policy = self.view.cluster_of(site).map(|cluster| cluster.policy.clone());
        let before = before.filter(|known| is_same_policy(&known.policy, policy.as_ref()));
        let layout = site.target.queried().clone();
        let is_open = policy.as_ref().is_none_or(|policy| self.picker.is_open_in(&policy.labels));
        let chunks = if is_open { self.chunks(site, policy.as_deref(), before) } else { Arc::default() };
        let families = families_of(&site.target);
        let scrape = policy.as_ref().filter(|_| is_open).and_then(|policy| match before {
            Some(known) if known.families == families => known.scrape.clone(),
            _ => self.scrape(site, policy, families),
        });
        PlannedTarget { labels: site.target.labels.clone(), layout, policy, families, scrape, chunks }
    }

    fn chunks(
        &mut self,
        site: &SiteTarget,
        policy: Option<&ClusterPolicy>,
        before: Option<&PlannedTarget>,
    ) -> Arc<[PlannedChunk]> {
        let target = &site.target.labels;
        let inventory = Arc::new(policy.map_or_else(Labels::empty, |policy| policy.labels.clone()));
        let unsaid = Unsaid { target, policy };
        let mut known = before.map_or(&[][..], |known| &known.chunks).iter().peekable();
        let mut planned = Vec::new();
        for (number, chunk) in site.target.queried().chunks().iter().enumerate() {
            let number = number as u32;
            while known.next_if(|known| known.number < number).is_some() {}
            let known = known.next_if(|known| known.number == number);
            if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.chunk, chunk)) {
                planned.push(known.clone());
                continue;
            }
            let slots = self.picker.slots(chunk, &unsaid);
            if !slots.is_empty() {
                let (own, target, inventory) = (slots.clone().into(), target.clone(), inventory.clone());
                let block = match known {
                    Some(known) => Block::following(&known.block, chunk.clone(), own, target, inventory),
                    None => Block::slots(chunk.clone(), own, target, inventory),
                };
                let (chunk, block) = (chunk.clone(), Arc::new(block));
                planned.push(PlannedChunk { number, chunk, slots: slots.into(), block });
            }
        }
        planned.into()
    }

    fn scrape(
        &self,
        site: &SiteTarget,
        policy: &ClusterPolicy,
        families: [bool; SCRAPE_FAMILIES.len()],
    ) -> Option<(Arc<[u8]>, Arc<Block>)> {
        let named = self.picker.scrape_families(&site.target.labels, policy);
        let rows: Arc<[u8]> = (0..named.len()).filter(|at| named[*at] && families[*at]).map(|at| at as u8).collect();
        let mut builder = LabelsBuilder::from_labels(&policy.labels);
        site.target.labels.iter().for_each(|(name, value)| {
            builder.set(name, value);
        });
        let mut labels = |row: &u8| builder.set(METRIC_NAME, SCRAPE_FAMILIES[usize::from(*row)].name).build();
        let block = Block::built(rows.iter().map(&mut labels).collect());
        (!rows.is_empty()).then(|| (rows, Arc::new(block)))
    }
}

fn families_of(target: &TargetView) -> [bool; SCRAPE_FAMILIES.len()] {
    scrape_values(target.outcome, target.duration, &target.report).map(|value| value.is_some())
}

fn is_same_policy(known: &Option<Arc<ClusterPolicy>>, policy: Option<&Arc<ClusterPolicy>>) -> bool {
    match (known, policy) {
        (Some(known), Some(policy)) => Arc::ptr_eq(known, policy),
        (None, None) => true,
        _ => false,
    }
}

impl PlannedTarget {
    /// Whether the target is as it was.
    fn is_of(&self, view: &SiteView, site: &SiteTarget) -> bool {
        Arc::ptr_eq(&self.labels, &site.target.labels)
            && self.layout.is_same(site.target.queried())
            && is_same_policy(&self.policy, view.cluster_of(site).map(|cluster| &cluster.policy))
            && self.families == families_of(&site.target)
    }
}

impl ClusterRows {
    fn is_of(&self, view: &SiteView) -> bool {
        let is_same = |(policy, collectors): &(Arc<ClusterPolicy>, Vec<Arc<str>>), at: usize| {
            let cluster = &view.clusters[at];
            let names = cluster.facts.collectors.iter().map(|one| &one.collector);
            Arc::ptr_eq(policy, &cluster.policy) && collectors.iter().eq(names)
        };
        self.made_of.len() == view.clusters.len()
            && self.made_of.iter().enumerate().all(|(at, made_of)| is_same(made_of, at))
    }

    fn new(view: &SiteView, picker: &Picker<'_>) -> ClusterRows {
        let (mut rows, mut all, mut made_of) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |row: FactRow, labels: Labels| {
            if picker.names(&labels) {
                rows.push(row);
                all.push(labels);
            }
        };
        for (at, cluster) in view.clusters.iter().enumerate() {
            let mut builder = LabelsBuilder::from_labels(&cluster.policy.labels);
            for (which, family) in CLUSTER_FAMILIES.iter().enumerate() {
                add(FactRow::Cluster(at as u32, which as u8), builder.set(METRIC_NAME, family.name).build());
            }
            builder.set(METRIC_NAME, COLLECTOR_UP.name);
            let collectors = cluster.facts.collectors.iter().map(|one| one.collector.clone());
            let collectors: Vec<Arc<str>> = collectors.collect();
            for (which, collector) in collectors.iter().enumerate() {
                add(FactRow::Collector(at as u32, which as u32), builder.set(COLLECTOR, collector).build());
            }
            made_of.push((cluster.policy.clone(), collectors));
        }
        let block = (!all.is_empty()).then(|| Arc::new(Block::built(all)));
        ClusterRows { made_of, rows: rows.into(), block }
    }
}
