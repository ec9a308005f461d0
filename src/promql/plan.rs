//! What is worked out once for an expression and used again at its next evaluation.
//!
//! Invariant: a plan changes how long an evaluation takes and nothing else. Everything in it is looked up by the identity of
//! the rows that it was made from, so it can neither be stale nor be used for the wrong rows. It keeps none of these alive; rows that it
//! made of them hold their blocks until the next evaluation makes others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::ast::Span;
use super::call::BucketRows;
use super::keys::{KeyLabels, KeySpace};
use super::rows::{Block, Part, Rows};
use crate::model::Labels;

/// Kept beside an expression that is evaluated again and again, such as a rule's.
#[derive(Debug)]
pub struct Plan {
    is_lasting: bool,
    /// One for all nodes whose keys are of the same labels: what passes from one to the next is keyed once.
    spaces: Mutex<HashMap<KeyLabels, SharedSpace>>,
    /// By the place of the node in the source.
    derived: Mutex<HashMap<Span, Derived>>,
    relabelled: Mutex<HashMap<Span, Relabelled>>,
    buckets: Mutex<HashMap<Span, RowsBuckets>>,
}

/// Rows, and which of them are buckets of one histogram.
type RowsBuckets = (Weak<Rows>, Arc<BucketRows>);

/// Locked while a node works. Who holds one takes no other but that of [`KeyLabels::AllBut`] some.
pub(super) type SharedSpace = Arc<Mutex<KeySpace>>;

/// Rows made from those of both sides.
#[derive(Debug)]
struct Derived {
    from: [Weak<Rows>; 2],
    rows: Arc<Rows>,
}

/// Blocks made from blocks. By the address of the one that it was made from, which nobody else has while there is a pointer to
/// it, and whether the metric's name had been taken away.
type Relabelled = HashMap<(usize, bool), (Weak<Block>, Arc<Block>)>;

impl Default for Plan {
    fn default() -> Plan {
        Plan::new(true)
    }
}

impl Plan {
    fn new(is_lasting: bool) -> Plan {
        Plan {
            is_lasting,
            spaces: Mutex::default(),
            derived: Mutex::default(),
            relabelled: Mutex::default(),
            buckets: Mutex::default(),
        }
    }

    /// How many keys, and rows that it made itself, it holds.
    pub(super) fn rows(&self) -> usize {
        let keys: usize = lock(&self.spaces).values().map(|space| lock(space).len()).sum();
        let derived: usize = lock(&self.derived).values().map(|derived| derived.rows.len()).sum();
        let relabelled =
            lock(&self.relabelled).values().flat_map(HashMap::values).map(|(_, block)| block.len()).sum::<usize>();
        let buckets: usize = lock(&self.buckets).values().map(|(_, buckets)| buckets.len()).sum();
        keys + derived + relabelled + buckets
    }

    /// For a single evaluation: nothing is left with the blocks that it sees.
    pub(super) fn passing() -> Plan {
        Plan::new(false)
    }

    /// The keys of rows by these labels.
    pub(super) fn space(&self, labels: KeyLabels) -> SharedSpace {
        let make = || Arc::new(Mutex::new(KeySpace::new(labels.clone(), self.is_lasting)));
        lock(&self.spaces).entry(labels.clone()).or_insert_with(make).clone()
    }

    /// After an evaluation: begins those spaces anew of which most keys are dead.
    pub(super) fn forget_dead(&self) {
        lock(&self.spaces).values().for_each(|space| lock(space).forget_dead());
    }

    /// The rows that a node makes of both sides' rows: those of last time, if these are.
    pub(super) fn derived(
        &self,
        node: Span,
        one: &Arc<Rows>,
        other: &Arc<Rows>,
        make: impl FnOnce() -> Arc<Rows>,
    ) -> Arc<Rows> {
        let from = [Arc::downgrade(one), Arc::downgrade(other)];
        let is_same = |known: &&Derived| known.from.iter().zip(&from).all(|(own, other)| own.ptr_eq(other));
        let mut derived = lock(&self.derived);
        if let Some(known) = derived.get(&node).filter(is_same) {
            return known.rows.clone();
        }
        let rows = make();
        derived.insert(node, Derived { from, rows: rows.clone() });
        rows
    }

    /// Which of a node's rows are buckets of which histograms.
    pub(super) fn bucket_rows(&self, node: Span, rows: &Arc<Rows>) -> Arc<BucketRows> {
        let mut nodes = lock(&self.buckets);
        if let Some((_, known)) = nodes.get(&node).filter(|(from, _)| from.as_ptr() == Arc::as_ptr(rows)) {
            return known.clone();
        }
        let found = Arc::new(BucketRows::of(rows));
        nodes.insert(node, (Arc::downgrade(rows), found.clone()));
        found
    }

    /// Rows with the labels that `relabel` makes of those of `rows`, which are looked at once a block.
    pub(super) fn relabelled(
        &self,
        node: Span,
        rows: &Arc<Rows>,
        mut relabel: impl FnMut(&Labels) -> Labels,
    ) -> Arc<Rows> {
        self.derived(node, rows, rows, || {
            let mut nodes = lock(&self.relabelled);
            let known = nodes.entry(node).or_default();
            let mut used = Relabelled::with_capacity(rows.parts().len());
            for part in rows.parts() {
                let kept = known.remove(&address(part)).map(|(_, block)| block);
                let make = || Arc::new(relabelled_block(part, &mut relabel));
                let entry = used.entry(address(part));
                entry.or_insert_with(|| (Arc::downgrade(&part.block), kept.unwrap_or_else(make)));
            }
            *known = used;
            Arc::new(Rows::new(rows.parts().iter().map(|part| known[&address(part)].1.clone())))
        })
    }
}

fn address(part: &Part) -> (usize, bool) {
    (Arc::as_ptr(&part.block).addr(), part.is_nameless)
}

fn relabelled_block(part: &Part, relabel: &mut impl FnMut(&Labels) -> Labels) -> Block {
    let labels = part.block.all_labels(!part.is_nameless);
    Block::built((0..part.block.len()).map(|row| relabel(&labels.of(row))).collect())
}

/// A panic elsewhere leaves keys at worst without rows that they could have had.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LabelsBuilder;

    #[test]
    fn only_new_blocks_are_relabelled() {
        let block = |name: &str| Arc::new(Block::built(vec![Labels::from_pairs([("a", name)])]));
        let (one, two, three) = (block("1"), block("2"), block("3"));
        let rows = |blocks: [&Arc<Block>; 2]| Arc::new(Rows::new(blocks.map(Arc::clone)));
        let plan = Plan::default();
        let mut seen = Vec::new();
        for rows in [rows([&one, &two]), rows([&one, &three]), rows([&two, &one])] {
            let relabelled = plan.relabelled(Span::default(), &rows, |labels| {
                seen.push(labels.get("a").unwrap_or_default().to_owned());
                LabelsBuilder::from_labels(labels).set("b", "x").build()
            });
            assert_eq!(relabelled.labels(1).get("a"), rows.labels(1).get("a"));
            assert_eq!(relabelled.labels(1).get("b"), Some("x"));
        }
        assert_eq!(seen, ["1", "2", "3", "2"], "what a plan no longer sees it forgets");
    }
}
