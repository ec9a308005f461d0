//! Which series a list of selectors names, without looking at most of them.
//!
//! Invariant: a series is in a [`Selection`] once, however many selectors name it, and the selection depends on the view
//! and the selectors alone, order included: names in byte order, under each the targets in the view's order, in each
//! the slots ascending.
//!
//! A matcher is decided as early as its label allows: on `cluster` and `environment` once a cluster, whose targets are then
//! not looked at; by metric name once a name for the whole site, and once a list of names that chunks have in common; by
//! the target and its cluster where no series of a chunk has the label; by the chunk's table of pairs (each pair once);
//! and only what is then open, slot by slot. A series' own label stands before its target's, and that before the inventory's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::facts::{CLUSTER_FAMILIES, COLLECTOR_UP, FactFamily, SCRAPE_FAMILIES, scrape_values};
use super::inventory::{CLUSTER, ENVIRONMENT};
use super::layout::{IndexedChunk, NameList, NameRun};
use super::view::{SiteTarget, SiteView, TargetView};
use crate::model::{Labels, METRIC_NAME, Matcher};
use crate::snapshot::{NameId, PairId};

/// The label of `fedgate_collector_up` that names the identity.
pub const COLLECTOR: &str = "collector";

/// One selector: all its matchers must hold. Without any it selects nothing, as in Prometheus.
pub type Selector = Vec<Matcher>;

/// Slots of one name in one chunk of one target.
#[derive(Clone, Copy, Debug)]
pub struct PickedRun {
    /// Index into [`SiteView::targets`].
    pub target: u32,
    /// Index into the target's chunks.
    pub chunk: u32,
    run: u16,
    count: u16,
    first: u32,
}

impl PickedRun {
    /// How many slots there are.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }
}

/// [`PickedRun::first`] where the whole run is meant.
const WHOLE_RUN: u32 = u32::MAX;

/// A series that the gateway makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactRow {
    /// Of a target's scrape: its index into [`SiteView::targets`] and into [`SCRAPE_FAMILIES`].
    Scrape(u32, u8),
    /// Of a cluster: its index into [`SiteView::clusters`] and into [`CLUSTER_FAMILIES`].
    Cluster(u32, u8),
    /// Of a collector: its cluster's index and its own there.
    Collector(u32, u32),
}

/// Everything selected under one metric name.
#[derive(Clone, Debug)]
pub struct NamedRows {
    /// The metric name.
    pub name: Arc<str>,
    /// Series that were pushed.
    pub runs: Vec<PickedRun>,
    /// Series of the gateway's own making.
    pub facts: Vec<FactRow>,
}

/// What a list of selectors names in one view.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// By metric name, in byte order.
    pub names: Vec<NamedRows>,
    slots: Vec<u8>,
}

impl Selection {
    /// How many series there are: pushed ones, whether or not they have a sample now, and the gateway's own.
    pub fn series(&self) -> usize {
        let pushed = |rows: &NamedRows| rows.runs.iter().map(PickedRun::count).sum::<usize>();
        self.names.iter().map(|rows| pushed(rows) + rows.facts.len()).sum()
    }

    /// The number of a run's metric name in its chunk.
    pub fn name_id(&self, view: &SiteView, run: &PickedRun) -> NameId {
        let chunk = &view.targets[run.target as usize].target.layout.chunks()[run.chunk as usize];
        chunk.runs()[usize::from(run.run)].id
    }

    /// Equal for runs of one name that say the same of its family: hash of the chunk's families, number there.
    pub fn family_key(&self, view: &SiteView, run: &PickedRun) -> (u64, u16) {
        let chunk = &view.targets[run.target as usize].target.layout.chunks()[run.chunk as usize];
        (chunk.families_hash(), run.run)
    }

    /// The slots that a run stands for, ascending, within its chunk.
    pub fn slots_of<'a>(&'a self, view: &'a SiteView, run: &PickedRun) -> &'a [u8] {
        if run.first == WHOLE_RUN {
            let chunk = &view.targets[run.target as usize].target.layout.chunks()[run.chunk as usize];
            return chunk.slots_of(&chunk.runs()[usize::from(run.run)]);
        }
        &self.slots[run.first as usize..][..run.count()]
    }
}

/// Finds every series that any of `selectors` names.
pub fn select(view: &SiteView, selectors: &[Selector]) -> Selection {
    let mut search = Search::new(view, selectors);
    let open: Vec<Vec<bool>> = view.clusters.iter().map(|cluster| search.open_in(&cluster.policy.labels)).collect();
    for (index, target) in view.targets.iter().enumerate() {
        match open.get(target.cluster as usize) {
            Some(open) if open.contains(&true) => search.target(index as u32, target, open),
            Some(_) => {}
            None => search.recorded(index as u32, target),
        }
    }
    search.finish()
}

/// Matchers by what decides them.
pub(super) struct Conditions<'a> {
    name: Vec<&'a Matcher>,
    /// Of labels that no push can have of its own: the inventory decides.
    cluster: Vec<&'a Matcher>,
    labels: Vec<&'a Matcher>,
    /// Both of these, for series that no inventory labels.
    all_labels: Vec<&'a Matcher>,
    /// Which of [`SCRAPE_FAMILIES`] the name matchers accept.
    pub(super) scrape_names: [bool; SCRAPE_FAMILIES.len()],
}

impl<'a> Conditions<'a> {
    pub(super) fn new(selector: &'a [Matcher]) -> Conditions<'a> {
        let (name, others): (Vec<_>, Vec<_>) = selector.iter().partition(|matcher| matcher.name == METRIC_NAME);
        let all_labels = others.clone();
        let (cluster, labels) =
            others.into_iter().partition(|matcher| matcher.name == CLUSTER || matcher.name == ENVIRONMENT);
        let scrape_names = SCRAPE_FAMILIES.map(|family| name.iter().all(|matcher| matcher.matches(family.name)));
        Conditions { name, cluster, labels, all_labels, scrape_names }
    }

    /// What is left to be decided of series whose cluster is accepted, or that belong to none.
    pub(super) fn labels_of(&self, is_recorded: bool) -> &[&'a Matcher] {
        if is_recorded { &self.all_labels } else { &self.labels }
    }

    pub(super) fn accept_name(&self, name: &str) -> bool {
        self.name.iter().all(|matcher| matcher.matches(name))
    }

    pub(super) fn accept_cluster(&self, inventory: &Labels) -> bool {
        self.cluster.iter().all(|matcher| matcher.matches(inventory.get(&matcher.name).unwrap_or_default()))
    }
}

/// What was decided of a metric name that some selector accepts.
#[derive(Clone)]
struct NameVerdict {
    /// Where its rows are collected.
    rows: usize,
    /// Selectors that accept it, by number.
    accepted: Arc<[u16]>,
}

/// The accepted ones of a list of names, each with its place there.
type ListVerdict = Arc<[(u16, NameVerdict)]>;

/// Verdicts by the address of what is interned.
pub(super) type Verdicts<T> = hashbrown::HashMap<usize, T, foldhash::fast::FixedState>;

struct Search<'a> {
    view: &'a SiteView,
    conditions: Vec<Conditions<'a>>,
    by_name: Verdicts<Option<NameVerdict>>,
    by_list: Verdicts<ListVerdict>,
    names: Vec<NamedRows>,
    facts: BTreeMap<&'static str, Vec<FactRow>>,
    slots: Vec<u8>,
}

impl<'a> Search<'a> {
    fn new(view: &'a SiteView, selectors: &'a [Selector]) -> Search<'a> {
        let conditions =
            selectors.iter().filter(|selector| !selector.is_empty()).map(|one| Conditions::new(one)).collect();
        let (by_name, by_list) = (Verdicts::default(), Verdicts::default());
        Search { view, conditions, by_name, by_list, names: Vec::new(), facts: BTreeMap::new(), slots: Vec::new() }
    }

    /// Which selectors may name series of a cluster with these labels.
    fn open_in(&self, inventory: &Labels) -> Vec<bool> {
        self.conditions.iter().map(|one| one.accept_cluster(inventory)).collect()
    }

    fn target(&mut self, index: u32, site: &SiteTarget, open: &[bool]) {
        let inventory = &self.view.clusters[site.cluster as usize].policy.labels;
        let scope = Scope { target: &site.target.labels, inventory };
        let fallbacks: Vec<Option<Vec<bool>>> =
            self.conditions.iter().zip(open).map(|(one, open)| open.then(|| scope.fallbacks(&one.labels))).collect();
        self.scrape_facts(index, &site.target, &fallbacks);
        for (number, chunk) in site.target.layout.chunks().iter().enumerate() {
            self.chunk((index, number as u32), chunk, &scope, &fallbacks, false);
        }
    }

    /// Recorded series have all their labels themselves, and no scrape.
    fn recorded(&mut self, index: u32, site: &SiteTarget) {
        let scope = Scope { target: &site.target.labels, inventory: &Labels::empty() };
        let fallbacks: Vec<Option<Vec<bool>>> =
            self.conditions.iter().map(|one| Some(scope.fallbacks(one.labels_of(true)))).collect();
        for (number, chunk) in site.target.layout.chunks().iter().enumerate() {
            self.chunk((index, number as u32), chunk, &scope, &fallbacks, true);
        }
    }

    fn chunk(
        &mut self,
        (target, number): (u32, u32),
        chunk: &IndexedChunk,
        scope: &Scope<'_>,
        fallbacks: &[Option<Vec<bool>>],
        is_recorded: bool,
    ) {
        let verdict = self.verdict_of(chunk.names());
        if verdict.is_empty() {
            return;
        }
        let of_each = self.conditions.iter().zip(fallbacks);
        let filters: Vec<Filter> = of_each
            .map(|(one, known)| {
                known
                    .as_ref()
                    .map_or(Filter::Nothing, |known| Filter::new(chunk, one.labels_of(is_recorded), known, scope))
            })
            .collect();
        if filters.iter().all(|filter| matches!(filter, Filter::Nothing)) {
            return;
        }
        for (number_of_run, name) in &*verdict {
            let run = &chunk.runs()[usize::from(*number_of_run)];
            let open = name.accepted.iter().map(|selector| &filters[usize::from(*selector)]);
            let (first, count) = pick(&mut self.slots, chunk, run, open);
            if count > 0 {
                let run = PickedRun { target, chunk: number, run: *number_of_run, count, first };
                self.names[name.rows].runs.push(run);
            }
        }
    }

    fn verdict_of(&mut self, list: &NameList) -> ListVerdict {
        let address = list.as_ptr().addr();
        if let Some(known) = self.by_list.get(&address) {
            return known.clone();
        }
        let names = list.iter().enumerate();
        let accepted = names.filter_map(|(at, name)| Some((at as u16, self.verdict_of_name(name)?)));
        let verdict: ListVerdict = accepted.collect();
        self.by_list.insert(address, verdict.clone());
        verdict
    }

    fn verdict_of_name(&mut self, name: &Arc<str>) -> Option<NameVerdict> {
        let (conditions, names) = (&self.conditions, &mut self.names);
        let decide = || {
            let accepted = (0..conditions.len()).filter(|at| conditions[*at].accept_name(name)).map(|at| at as u16);
            let accepted: Arc<[u16]> = accepted.collect();
            if accepted.is_empty() {
                return None;
            }
            names.push(NamedRows { name: name.clone(), runs: Vec::new(), facts: Vec::new() });
            Some(NameVerdict { rows: names.len() - 1, accepted })
        };
        self.by_name.entry(Arc::as_ptr(name).addr()).or_insert_with(decide).clone()
    }

    /// The series of the scrape itself: their labels are the target's alone.
    fn scrape_facts(&mut self, index: u32, target: &TargetView, fallbacks: &[Option<Vec<bool>>]) {
        let holds = |known: &Option<Vec<bool>>| known.as_ref().is_some_and(|known| !known.contains(&false));
        let open: Vec<usize> = (0..fallbacks.len()).filter(|at| holds(&fallbacks[*at])).collect();
        if open.is_empty() {
            return;
        }
        let values = scrape_values(target.outcome, target.duration, &target.report);
        for (which, family) in SCRAPE_FAMILIES.iter().enumerate().filter(|(which, _)| values[*which].is_some()) {
            if open.iter().any(|at| self.conditions[*at].scrape_names[which]) {
                self.facts.entry(family.name).or_default().push(FactRow::Scrape(index, which as u8));
            }
        }
    }

    fn cluster_facts(&mut self) {
        for (at, cluster) in self.view.clusters.iter().enumerate() {
            let labels = &cluster.policy.labels;
            for (which, family) in CLUSTER_FAMILIES.iter().enumerate() {
                self.fact(family, labels, None, FactRow::Cluster(at as u32, which as u8));
            }
            for (which, collector) in cluster.facts.collectors.iter().enumerate() {
                let row = FactRow::Collector(at as u32, which as u32);
                self.fact(&COLLECTOR_UP, labels, Some(&collector.collector), row);
            }
        }
    }

    fn fact(&mut self, family: &FactFamily, labels: &Labels, collector: Option<&str>, row: FactRow) {
        let value_of = |name: &str| match collector {
            Some(collector) if name == COLLECTOR => collector,
            _ => labels.get(name).unwrap_or_default(),
        };
        let named = self.conditions.iter().any(|one| {
            let mut labels = one.cluster.iter().chain(&one.labels);
            one.accept_name(family.name) && labels.all(|matcher| matcher.matches(value_of(&matcher.name)))
        });
        if named {
            self.facts.entry(family.name).or_default().push(row);
        }
    }

    fn finish(mut self) -> Selection {
        self.cluster_facts();
        self.names.retain(|rows| !rows.runs.is_empty());
        for (name, facts) in self.facts {
            match self.names.iter_mut().find(|rows| &*rows.name == name) {
                Some(rows) => rows.facts = facts,
                None => self.names.push(NamedRows { name: name.into(), runs: Vec::new(), facts }),
            }
        }
        self.names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Selection { names: self.names, slots: self.slots }
    }
}

/// Adds the slots of a run that one of the filters lets pass, and says where and how many; a whole run is not written out.
#[inline]
fn pick<'f>(
    slots: &mut Vec<u8>,
    chunk: &IndexedChunk,
    run: &NameRun,
    open: impl Iterator<Item = &'f Filter> + Clone,
) -> (u32, u16) {
    if open.clone().any(|filter| matches!(filter, Filter::All)) {
        return (WHOLE_RUN, run.count());
    }
    let first = slots.len();
    let passes = |slot: u8| open.clone().any(|filter| filter.passes(chunk, usize::from(slot)));
    slots.extend(chunk.slots_of(run).iter().filter(|slot| passes(**slot)));
    (first as u32, (slots.len() - first) as u16)
}

/// The labels that a series has without saying so.
pub(super) struct Scope<'a> {
    pub(super) target: &'a Labels,
    pub(super) inventory: &'a Labels,
}

impl Scope<'_> {
    /// Whether each matcher holds for a series that does not have its label.
    pub(super) fn fallbacks(&self, matchers: &[&Matcher]) -> Vec<bool> {
        let value_of = |name: &str| self.target.get(name).or_else(|| self.inventory.get(name)).unwrap_or_default();
        matchers.iter().map(|matcher| matcher.matches(value_of(&matcher.name))).collect()
    }

    /// The value seen where a series has `value` for `name`; empty means that it lacks the target's label.
    pub(super) fn seen<'v>(&'v self, name: &str, value: &'v str) -> &'v str {
        if value.is_empty() { self.inventory.get(name).unwrap_or_default() } else { value }
    }
}

/// What a selector's label matchers come down to in one chunk.
pub(super) enum Filter {
    All,
    Nothing,
    Slots(Vec<PairVerdicts>),
}

/// One matcher: what each pair of the chunk decides, and what holds for a series without the label.
pub(super) struct PairVerdicts {
    by_pair: Vec<Option<bool>>,
    fallback: bool,
}

impl Filter {
    pub(super) fn new(chunk: &IndexedChunk, matchers: &[&Matcher], fallbacks: &[bool], scope: &Scope<'_>) -> Filter {
        let mut open = Vec::new();
        for (matcher, fallback) in matchers.iter().zip(fallbacks) {
            match PairVerdicts::new(chunk, matcher, *fallback, scope) {
                Some(verdicts) if verdicts.by_pair.iter().flatten().all(|holds| *holds == *fallback) => {
                    if !fallback {
                        return Filter::Nothing;
                    }
                }
                Some(verdicts) => open.push(verdicts),
                None if *fallback => {}
                None => return Filter::Nothing,
            }
        }
        if open.is_empty() { Filter::All } else { Filter::Slots(open) }
    }

    pub(super) fn passes(&self, chunk: &IndexedChunk, slot: usize) -> bool {
        match self {
            Filter::All => true,
            Filter::Nothing => false,
            Filter::Slots(open) => open.iter().all(|verdicts| verdicts.hold(chunk, slot)),
        }
    }
}

impl PairVerdicts {
    /// `None` where no series of the chunk has the label.
    fn new(chunk: &IndexedChunk, matcher: &Matcher, fallback: bool, scope: &Scope<'_>) -> Option<PairVerdicts> {
        let label = chunk.labels().binary_search_by(|name| (**name).cmp(&matcher.name)).ok()? as u16;
        let value_of = |pair: usize| chunk.chunk().pair(PairId(pair as u16)).value;
        let decide = |pair| matcher.matches(scope.seen(&matcher.name, value_of(pair)));
        let labels = chunk.pair_labels().iter().enumerate();
        let by_pair = labels.map(|(pair, of)| (*of == label).then(|| decide(pair))).collect();
        Some(PairVerdicts { by_pair, fallback })
    }

    fn hold(&self, chunk: &IndexedChunk, slot: usize) -> bool {
        let own = chunk.chunk().pairs_of(slot).iter().find_map(|pair| self.by_pair[usize::from(pair.0)]);
        own.unwrap_or(self.fallback)
    }
}
