//! One selector, asked of one target after the other: for those who keep what it named and ask again only where something changed.
//!
//! Invariant: what a [`Picker`] finds in a chunk depends on the selector, the chunk and its [`Scope`] alone, so it may be kept
//! for as long as these are. It finds what [`select`](super::select()) finds.

use super::facts::SCRAPE_FAMILIES;
use super::inventory::ClusterPolicy;
use super::layout::{IndexedChunk, NameList};
use super::select::{Conditions, Filter, Scope, Verdicts};
use crate::model::{Labels, Matcher};

/// A chunk with so many pairs for each slot that may be named is decided slot by slot.
const FEW_SLOTS: usize = 8;

/// A selector made ready. It remembers verdicts by address: the chunks that it is asked of must outlive it.
pub struct Picker<'a> {
    conditions: Conditions<'a>,
    matchers: &'a [Matcher],
    by_list: Verdicts<Box<[u16]>>,
}

/// What the series of a target have without saying so.
#[derive(Clone, Copy, Debug)]
pub struct Unsaid<'a> {
    /// The target's labels.
    pub target: &'a Labels,
    /// The cluster's; `None` where series belong to none.
    pub policy: Option<&'a ClusterPolicy>,
}

impl<'a> Picker<'a> {
    /// Of a selector with at least one matcher.
    pub fn new(matchers: &'a [Matcher]) -> Picker<'a> {
        Picker { conditions: Conditions::new(matchers), matchers, by_list: Verdicts::default() }
    }

    /// Whether series of a cluster with these labels may be named at all.
    pub fn is_open_in(&self, inventory: &Labels) -> bool {
        self.conditions.accept_cluster(inventory)
    }

    /// Whether a whole label set is named.
    pub fn names(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or_default()))
    }

    /// The slots named in a chunk, by metric name, under each ascending.
    pub fn slots(&mut self, chunk: &IndexedChunk, unsaid: &Unsaid<'_>) -> Vec<u8> {
        if self.accepted(chunk.names()).is_empty() {
            return Vec::new();
        }
        let nothing = Labels::empty();
        let inventory = unsaid.policy.map_or(&nothing, |policy| &policy.labels);
        let matchers = self.conditions.labels_of(unsaid.policy.is_none());
        let scope = Scope { target: unsaid.target, inventory };
        let fallbacks = scope.fallbacks(matchers);
        let runs = self.by_list[&address(chunk.names())].iter().map(|number| &chunk.runs()[usize::from(*number)]);
        let slots = runs.flat_map(|run| chunk.slots_of(run)).copied();
        if slots.clone().count() * FEW_SLOTS < chunk.pair_labels().len() {
            let labels = SlotLabels { chunk, scope: &scope, matchers, fallbacks: &fallbacks };
            return slots.filter(|slot| labels.are_named(*slot)).collect();
        }
        let filter = Filter::new(chunk, matchers, &fallbacks, &scope);
        slots.filter(|slot| filter.passes(chunk, usize::from(*slot))).collect()
    }

    /// Which of a list's names the selector accepts, by number.
    fn accepted(&mut self, names: &NameList) -> &[u16] {
        let conditions = &self.conditions;
        self.by_list.entry(address(names)).or_insert_with(|| {
            let accepted = names.iter().enumerate().filter(|(_, name)| conditions.accept_name(name));
            accepted.map(|(number, _)| number as u16).collect()
        })
    }

    /// Which of [`SCRAPE_FAMILIES`] are named of a scraped target.
    pub fn scrape_families(&self, target: &Labels, policy: &ClusterPolicy) -> [bool; SCRAPE_FAMILIES.len()] {
        let scope = Scope { target, inventory: &policy.labels };
        if scope.fallbacks(self.conditions.labels_of(false)).contains(&false) {
            return [false; SCRAPE_FAMILIES.len()];
        }
        self.conditions.scrape_names
    }
}

/// For so few slots that to decide each of the chunk's pairs first is not worth it.
struct SlotLabels<'a> {
    chunk: &'a IndexedChunk,
    scope: &'a Scope<'a>,
    matchers: &'a [&'a Matcher],
    /// Beside the matchers: whether they hold for a series without their label.
    fallbacks: &'a [bool],
}

impl SlotLabels<'_> {
    fn are_named(&self, slot: u8) -> bool {
        let own = |name: &str| {
            let pairs = self.chunk.chunk().pairs_of(usize::from(slot)).iter();
            pairs.map(|pair| self.chunk.chunk().pair(*pair)).find(|pair| pair.name == name)
        };
        self.matchers.iter().zip(self.fallbacks).all(|(matcher, fallback)| match own(&matcher.name) {
            Some(pair) => matcher.matches(self.scope.seen(&matcher.name, pair.value)),
            None => *fallback,
        })
    }
}

fn address(names: &NameList) -> usize {
    names.as_ptr().addr()
}
