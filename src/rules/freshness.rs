//! Which clusters have told how they stood at an evaluation's time.
//!
//! Clusters push at their own pace, so at the very time of an evaluation most of their snapshots are still on the way. A group can
//! wait for them, within a bound; what is then still missing is counted beside the results.

use std::time::Duration;

use crate::model::Timestamp;
use crate::runtime::clock;
use crate::store::Store;

/// How often it is looked whether all have come.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The clusters of a store at an evaluation's time.
pub(super) struct Clusters<'a> {
    pub(super) store: &'a Store,
    pub(super) at: Timestamp,
}

/// How many clusters have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reporting {
    /// Those whose newest snapshot is of the time asked about, or later.
    pub(super) reporting: u64,
    /// Those of the inventory.
    pub(super) expected: u64,
}

impl Clusters<'_> {
    /// Waits until all have told that are not silent, `wait` at most.
    pub(super) async fn wait(&self, wait: Duration) -> Reporting {
        let deadline = clock::monotonic() + wait;
        loop {
            let (reporting, is_one_late) = self.look();
            if !is_one_late || clock::monotonic() >= deadline {
                return reporting;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// How many have told, and whether one has not that is up.
    fn look(&self) -> (Reporting, bool) {
        let (wall, monotonic) = (clock::now(), clock::monotonic());
        let (mut found, mut is_one_late) = (Reporting { reporting: 0, expected: 0 }, false);
        for policy in self.store.inventory().iter() {
            found.expected += 1;
            let facts = self.store.cluster(&policy.cluster).map(|cluster| cluster.facts(wall, monotonic));
            match facts {
                Some(facts) if facts.last_snapshot >= self.at => found.reporting += 1,
                Some(facts) => is_one_late |= facts.up,
                None => {}
            }
        }
        (found, is_one_late)
    }
}
