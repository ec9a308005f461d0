//! What is worked out once for an expression and used again at its next evaluation.
//!
//! Invariant: a plan changes how long an evaluation takes and nothing else. Everything in it is looked up by the identity of
//! the rows that it was made from, so it can neither be stale nor be used for the wrong rows. It keeps none of these alive; rows that it
//! made of them hold their blocks until the next evaluation makes others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::ast::Span;
use super::keys::{KeyLabels, KeySpace};
use super::rows::Rows;

/// Kept beside an expression that is evaluated again and again, such as a rule's.
#[derive(Debug)]
pub struct Plan {
    is_lasting: bool,
    /// One for all nodes whose keys are of the same labels: what passes from one to the next is keyed once.
    spaces: Mutex<HashMap<KeyLabels, SharedSpace>>,
    /// By the place of the node in the source.
    derived: Mutex<HashMap<Span, Derived>>,
}

/// Locked while a node works. Who holds one takes no other but that of [`KeyLabels::AllBut`] some.
pub(super) type SharedSpace = Arc<Mutex<KeySpace>>;

/// Rows made from those of both sides.
#[derive(Debug)]
struct Derived {
    from: [Weak<Rows>; 2],
    rows: Arc<Rows>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::new(true)
    }
}

impl Plan {
    fn new(is_lasting: bool) -> Plan {
        Plan { is_lasting, spaces: Mutex::default(), derived: Mutex::default() }
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
}

/// A panic elsewhere leaves keys at worst without rows that they could have had.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
