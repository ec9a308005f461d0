//! Which series a list of selectors names, without looking at most of them.
//!
//! Invariant: a series is in a [`Selection`] once, however many selectors name it, and the selection depends on the view
//! and the selectors alone, order included: names in byte order, under each the targets in the view's order, in each
//! the slots ascending.
//!
//! A matcher is decided as early as its label allows: by metric name once a name for the whole site; by the target and
//! its cluster where no series of a chunk has the label; by the chunk's table of pairs (each pair once); and only what
//! is then open, slot by slot. A series' own label stands before its target's, and that before the inventory's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::facts::{CLUSTER_FAMILIES, COLLECTOR_UP, FactFamily, SCRAPE_FAMILIES, scrape_values};
use super::layout::{IndexedChunk, NameRun, pairs_of};
use super::view::{SiteTarget, SiteView, TargetView};
use crate::model::{Labels, METRIC_NAME, Matcher};
use crate::snapshot::NameId;

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
    picked: u16,
    first: u32,
}

/// [`PickedRun::picked`] where the whole run is meant.
const WHOLE_RUN: u16 = u16::MAX;

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
    pub fn series(&self, view: &SiteView) -> usize {
        let pushed = |rows: &NamedRows| rows.runs.iter().map(|run| self.slots_of(view, run).len()).sum::<usize>();
        self.names.iter().map(|rows| pushed(rows) + rows.facts.len()).sum()
    }

    /// The number of a run's metric name in its chunk.
    pub fn name_id(&self, view: &SiteView, run: &PickedRun) -> NameId {
        let chunk = &view.targets[run.target as usize].target.layout.chunks()[run.chunk as usize];
        chunk.runs()[usize::from(run.run)].id
    }

    /// The slots that a run stands for, ascending, within its chunk.
    pub fn slots_of<'a>(&'a self, view: &'a SiteView, run: &PickedRun) -> &'a [u8] {
        if run.picked == WHOLE_RUN {
            let chunk = &view.targets[run.target as usize].target.layout.chunks()[run.chunk as usize];
            return chunk.slots_of(&chunk.runs()[usize::from(run.run)]);
        }
        &self.slots[run.first as usize..][..usize::from(run.picked)]
    }
}

/// Finds every series that any of `selectors` names.
pub fn select(view: &SiteView, selectors: &[Selector]) -> Selection {
    let mut search = Search::new(view, selectors);
    for (index, target) in view.targets.iter().enumerate() {
        search.target(index as u32, target);
    }
    search.finish()
}

/// Name matchers apart from the others: they are decided once a name.
struct Conditions<'a> {
    name: Vec<&'a Matcher>,
    labels: Vec<&'a Matcher>,
    /// Which of [`SCRAPE_FAMILIES`] the name matchers accept.
    scrape_names: [bool; SCRAPE_FAMILIES.len()],
}

impl<'a> Conditions<'a> {
    fn new(selector: &'a Selector) -> Conditions<'a> {
        let (name, labels): (Vec<_>, Vec<_>) = selector.iter().partition(|matcher| matcher.name == METRIC_NAME);
        let scrape_names = SCRAPE_FAMILIES.map(|family| name.iter().all(|matcher| matcher.matches(family.name)));
        Conditions { name, labels, scrape_names }
    }

    fn accept_name(&self, name: &str) -> bool {
        self.name.iter().all(|matcher| matcher.matches(name))
    }
}

/// What was decided of a metric name.
struct NameVerdict {
    /// Selectors that accept it, by number.
    accepted: Box<[u16]>,
    /// Where its rows are collected, once there are any.
    rows: Option<usize>,
}

struct Search<'a> {
    view: &'a SiteView,
    conditions: Vec<Conditions<'a>>,
    /// By the interned name's address.
    verdicts: hashbrown::HashMap<usize, NameVerdict, foldhash::fast::FixedState>,
    names: Vec<NamedRows>,
    facts: BTreeMap<&'static str, Vec<FactRow>>,
    slots: Vec<u8>,
}

impl<'a> Search<'a> {
    fn new(view: &'a SiteView, selectors: &'a [Selector]) -> Search<'a> {
        let conditions = selectors.iter().filter(|selector| !selector.is_empty()).map(Conditions::new).collect();
        let verdicts = hashbrown::HashMap::with_hasher(foldhash::fast::FixedState::default());
        Search { view, conditions, verdicts, names: Vec::new(), facts: BTreeMap::new(), slots: Vec::new() }
    }

    fn target(&mut self, index: u32, site: &SiteTarget) {
        let inventory = &self.view.clusters[site.cluster as usize].policy.labels;
        let scope = Scope { target: &site.target.labels, inventory };
        let fallbacks: Vec<Vec<bool>> = self.conditions.iter().map(|one| scope.fallbacks(&one.labels)).collect();
        self.scrape_facts(index, &site.target, &fallbacks);
        for (number, chunk) in site.target.layout.chunks().iter().enumerate() {
            self.chunk(index, number as u32, chunk, &scope, &fallbacks);
        }
    }

    fn chunk(&mut self, target: u32, number: u32, chunk: &IndexedChunk, scope: &Scope<'_>, fallbacks: &[Vec<bool>]) {
        let mut filters: Vec<Filter> = Vec::new();
        for (run_number, run) in chunk.runs().iter().enumerate() {
            let verdict = verdict_of(&mut self.verdicts, &self.conditions, &run.name);
            if verdict.accepted.is_empty() {
                continue;
            }
            if filters.is_empty() {
                let of_each = self.conditions.iter().zip(fallbacks);
                filters = of_each.map(|(one, known)| Filter::new(chunk, &one.labels, known, scope)).collect();
                if filters.iter().all(|filter| matches!(filter, Filter::Nothing)) {
                    return;
                }
            }
            let first = self.slots.len() as u32;
            let open = verdict.accepted.iter().map(|selector| &filters[usize::from(*selector)]);
            let picked = pick(&mut self.slots, chunk, run, open);
            if picked > 0 {
                let names = &mut self.names;
                let rows = *verdict.rows.get_or_insert_with(|| {
                    names.push(NamedRows { name: run.name.clone(), runs: Vec::new(), facts: Vec::new() });
                    names.len() - 1
                });
                let run = PickedRun { target, chunk: number, run: run_number as u16, picked, first };
                self.names[rows].runs.push(run);
            }
        }
    }

    /// The series of the scrape itself: their labels are the target's alone.
    fn scrape_facts(&mut self, index: u32, target: &TargetView, fallbacks: &[Vec<bool>]) {
        let open: Vec<usize> = (0..fallbacks.len()).filter(|at| fallbacks[*at].iter().all(|holds| *holds)).collect();
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
            one.accept_name(family.name) && one.labels.iter().all(|matcher| matcher.matches(value_of(&matcher.name)))
        });
        if named {
            self.facts.entry(family.name).or_default().push(row);
        }
    }

    fn finish(mut self) -> Selection {
        self.cluster_facts();
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

/// Adds the slots of a run that one of the filters lets pass, and says how many; a whole run is not written out.
fn pick<'f>(
    slots: &mut Vec<u8>,
    chunk: &IndexedChunk,
    run: &NameRun,
    open: impl Iterator<Item = &'f Filter> + Clone,
) -> u16 {
    if open.clone().any(|filter| matches!(filter, Filter::All)) {
        return WHOLE_RUN;
    }
    let before = slots.len();
    let passes = |slot: u8| open.clone().any(|filter| filter.passes(chunk, usize::from(slot)));
    slots.extend(chunk.slots_of(run).iter().filter(|slot| passes(**slot)));
    (slots.len() - before) as u16
}

type Verdicts = hashbrown::HashMap<usize, NameVerdict, foldhash::fast::FixedState>;

fn verdict_of<'a>(verdicts: &'a mut Verdicts, conditions: &[Conditions<'_>], name: &Arc<str>) -> &'a mut NameVerdict {
    verdicts.entry(Arc::as_ptr(name).addr()).or_insert_with(|| {
        let accepted = (0..conditions.len()).filter(|at| conditions[*at].accept_name(name)).map(|at| at as u16);
        NameVerdict { accepted: accepted.collect(), rows: None }
    })
}

/// The labels that a series has without saying so.
struct Scope<'a> {
    target: &'a Labels,
    inventory: &'a Labels,
}

impl Scope<'_> {
    /// Whether each matcher holds for a series that does not have its label.
    fn fallbacks(&self, matchers: &[&Matcher]) -> Vec<bool> {
        let value_of = |name: &str| self.target.get(name).or_else(|| self.inventory.get(name)).unwrap_or_default();
        matchers.iter().map(|matcher| matcher.matches(value_of(&matcher.name))).collect()
    }

    /// The value seen where a series has `value` for `name`; empty means that it lacks the target's label.
    fn seen<'v>(&'v self, name: &str, value: &'v str) -> &'v str {
        if value.is_empty() { self.inventory.get(name).unwrap_or_default() } else { value }
    }
}

/// What a selector's label matchers come down to in one chunk.
enum Filter {
    All,
    Nothing,
    Slots(Vec<PairVerdicts>),
}

/// One matcher: what each pair of the chunk decides, and what holds for a series without the label.
struct PairVerdicts {
    by_pair: Vec<Option<bool>>,
    fallback: bool,
}

impl Filter {
    fn new(chunk: &IndexedChunk, matchers: &[&Matcher], fallbacks: &[bool], scope: &Scope<'_>) -> Filter {
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

    fn passes(&self, chunk: &IndexedChunk, slot: usize) -> bool {
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
        if !chunk.may_have_label(&matcher.name) {
            return None;
        }
        let by_pair = pairs_of(chunk.chunk())
            .map(|(_, pair)| (pair.name == matcher.name).then(|| matcher.matches(scope.seen(pair.name, pair.value))))
            .collect();
        Some(PairVerdicts { by_pair, fallback })
    }

    fn hold(&self, chunk: &IndexedChunk, slot: usize) -> bool {
        let own = chunk.chunk().pairs_of(slot).iter().find_map(|pair| self.by_pair[usize::from(pair.0)]);
        own.unwrap_or(self.fallback)
    }
}
