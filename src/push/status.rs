//! How pushing goes, for a status page.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::Timestamp;

/// How pushing to all gateways goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushStatus {
    /// When a gateway last acknowledged something.
    pub acknowledged: Option<Timestamp>,
    /// What is wrong since a gateway last did, by its address.
    pub faults: BTreeMap<Arc<str>, String>,
}

/// Shared with whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard {
    status: Arc<Mutex<PushStatus>>,
}

impl StatusBoard {
    /// How pushing goes now.
    pub fn read(&self) -> PushStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn write(&self, change: impl FnOnce(&mut PushStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A gateway acknowledged something; gives what was wrong with it before.
    pub(super) fn acknowledged(&self, gateway: &Arc<str>, now: Timestamp) -> Option<String> {
        let mut before = None;
        self.write(|status| {
            status.acknowledged = Some(now);
            before = status.faults.remove(gateway);
        });
        before
    }

    pub(super) fn failed(&self, gateway: &Arc<str>, fault: &str) {
        self.write(|status| drop(status.faults.insert(gateway.clone(), fault.to_owned())));
    }
}
