//! How far ahead of its backlog a collector has shown its state.
//!
//! After an outage a collector sends its newest state at once, as a volatile stream, and what it could not deliver behind it, in order.
//! Both tell of the same targets. The volatile stream owns them, with their history, while it is ahead; frames that are behind it
//! change what is kept of the past (their rows stand before the volatile ones), and nothing that readers see now. The stream whose
//! tick reaches the volatile one's takes its targets over, in the same view in which the volatile one goes.
//!
//! Invariant: what was shown up to a tick is remembered until an ordered stream has reached it, longer than the volatile stream may
//! live. So no series steps back in time for a reader, even if the volatile stream ends by silence.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::Timestamp;

/// Volatile streams that a collector may have at once: the one that it sends, and what it gave up or earlier runs left, which may still show
/// targets that were not scraped again yet.
pub(super) const VOLATILE_MAX: usize = 4;

/// The ticks up to which volatile streams were shown, by collector; only while nothing has reached them.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<Arc<str>, Timestamp>);

impl Lanes {
    /// A volatile stream of the collector was shown as of this tick.
    pub(super) fn shown(&mut self, collector: &Arc<str>, tick: Timestamp) {
        let known = self.0.entry(collector.clone()).or_insert(tick);
        *known = tick.max(*known);
    }

    /// Whether readers have seen a later state of this collector.
    pub(super) fn is_behind(&self, collector: &str, tick: Timestamp) -> bool {
        self.0.get(collector).is_some_and(|shown| tick < *shown)
    }

    /// An ordered stream of the collector stands at this tick: says whether it has just caught up.
    pub(super) fn reach(&mut self, collector: &str, tick: Timestamp) -> bool {
        !self.is_behind(collector, tick) && self.0.remove(collector).is_some()
    }

    /// Forgets who may push no more.
    pub(super) fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.0.retain(|collector, _| keeps(collector));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_remembered_until_it_is_reached() {
        let (mut lanes, alpha): (Lanes, Arc<str>) = (Lanes::default(), "alpha".into());
        assert!(!lanes.is_behind(&alpha, Timestamp(1)) && !lanes.reach(&alpha, Timestamp(1)));
        lanes.shown(&alpha, Timestamp(5));
        lanes.shown(&alpha, Timestamp(4));
        assert!(lanes.is_behind(&alpha, Timestamp(4)) && !lanes.reach(&alpha, Timestamp(4)));
        assert!(!lanes.is_behind("beta", Timestamp(4)));
        assert!(lanes.reach(&alpha, Timestamp(5)) && !lanes.reach(&alpha, Timestamp(5)), "once");
    }
}
