//! What is kept of targets that are gone.
//!
//! Invariant: a target that is here is in no stream of its cluster's view. Who takes it up again takes its history with it, so that a
//! collector that starts anew goes on where the one before it ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::history::{TargetHistory, Usage};
use super::inventory::ClusterPolicy;
use super::pick::Unsaid;
use super::view::DepartedTarget;
use crate::model::{Labels, Timestamp};

/// Histories by their targets' labels.
#[derive(Debug)]
pub(super) struct DepartedTargets {
    histories: BTreeMap<Arc<Labels>, TargetHistory>,
    shown: Arc<[DepartedTarget]>,
}

impl Default for DepartedTargets {
    fn default() -> DepartedTargets {
        DepartedTargets { histories: BTreeMap::new(), shown: [].into() }
    }
}

impl DepartedTargets {
    /// As readers have them.
    pub(super) fn shown(&self) -> Arc<[DepartedTarget]> {
        self.shown.clone()
    }

    /// The target is gone: its series end.
    pub(super) fn add(
        &mut self,
        labels: Arc<Labels>,
        mut history: TargetHistory,
        policy: &ClusterPolicy,
        usage: &Arc<Usage>,
    ) {
        if history.is_empty() {
            return;
        }
        history.depart(&Unsaid { target: &labels, policy: Some(policy) }, usage);
        self.histories.insert(labels, history);
        self.publish();
    }

    /// Whether something is kept of a target that is gone.
    pub(super) fn has(&self, labels: &Labels) -> bool {
        self.histories.contains_key(labels)
    }

    /// The target is back.
    pub(super) fn take(&mut self, labels: &Labels) -> Option<TargetHistory> {
        let history = self.histories.remove(labels)?;
        self.publish();
        Some(history)
    }

    /// Forgets what nobody can ask for any more.
    pub(super) fn forget_old(&mut self, now: Timestamp) {
        let before = self.histories.len();
        self.histories.retain(|_, history| !history.is_over(now));
        if self.histories.len() < before {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let shown = self
            .histories
            .iter()
            .map(|(labels, history)| DepartedTarget { labels: labels.clone(), history: history.shown().clone() });
        self.shown = shown.collect();
    }
}
