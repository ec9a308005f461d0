//! How long alerts had been pending when the gateway ended.
//!
//! As in Prometheus it is read from the series `ALERTS_FOR_STATE`, whose value says since when an alert is active: time in which no rule
//! was evaluated does not count as pending, an alert that had been pending long enough fires at once, and one that has little left is
//! pending for the grace period. Prometheus waits for a second evaluation before it looks, because at the first one its storage may
//! be empty; here all that was there is there, so the first one looks already, and the second one for alerts that the first did not give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Labels, METRIC_NAME, Timestamp, is_stale};
use crate::store::{RecordedResults, RuleId};

/// The series that says since when an alert is active.
pub const FOR_STATE: &str = "ALERTS_FOR_STATE";

/// What an outage may do to alerts; named as Prometheus's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// `for_outage_tolerance`: after a longer one all begin anew.
    pub tolerance: Duration,
    /// `for_grace_period`: what has a shorter `for` begins anew; what goes on is pending so long at least.
    pub grace: Duration,
}

/// One alert when the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForState {
    /// Since when it was active.
    pub active_at: Timestamp,
    /// The last evaluation.
    pub down_at: Timestamp,
}

/// Alerts by their labels.
pub type ForStates = Arc<BTreeMap<Labels, ForState>>;

/// All alerts that the recorded series tell of.
pub fn for_states(recorded: &[(RuleId, RecordedResults)]) -> ForStates {
    let mut states = BTreeMap::new();
    for (_, results) in recorded {
        let chunks = results.schema.chunks().iter();
        let slots = chunks.flat_map(|chunk| (0..chunk.len()).map(move |slot| chunk.labels(slot, &Labels::empty())));
        for (labels, value) in slots.zip(results.column.iter()) {
            let labels = labels.filter(|labels| labels.metric_name() == FOR_STATE && !is_stale(value));
            let Some(labels) = labels else { continue };
            let active_at = Timestamp((value as i64).saturating_mul(1000));
            states.insert(without_name(&labels), ForState { active_at, down_at: results.at });
        }
    }
    Arc::new(states)
}

fn without_name(labels: &Labels) -> Labels {
    Labels::from_pairs(labels.iter().filter(|(name, _)| *name != METRIC_NAME))
}

impl Outage {
    /// Since when an alert of a rule with `for: hold` counts as active that is there again at `at`; `None`: since then.
    pub fn active_at(&self, state: ForState, hold: Duration, at: Timestamp) -> Option<Timestamp> {
        if hold < self.grace || at.since(state.down_at) > self.tolerance {
            return None;
        }
        let left = hold.saturating_sub(state.down_at.since(state.active_at));
        Some(if left.is_zero() {
            state.active_at
        } else if left < self.grace {
            at + self.grace - hold
        } else {
            state.active_at + at.since(state.down_at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const OUTAGE: Outage = Outage { tolerance: Duration::from_secs(3600), grace: Duration::from_secs(600) };

    fn at(minute: i64) -> Timestamp {
        Timestamp(minute * MINUTE)
    }

    /// Active since minute 0, down at `down`, back at `up`: since which minute it counts as active.
    fn active_at(hold: u64, down: i64, up: i64) -> Option<i64> {
        let state = ForState { active_at: at(0), down_at: at(down) };
        OUTAGE.active_at(state, Duration::from_secs(60 * hold), at(up)).map(|active| active.0 / MINUTE)
    }

    #[test]
    fn time_without_evaluations_does_not_count() {
        assert_eq!(active_at(30, 5, 12), Some(7), "5 minutes pending, as before");
        assert_eq!(active_at(30, 29, 50), Some(30), "one minute was left; it is pending for the grace period");
        assert_eq!(active_at(30, 40, 50), Some(0), "it was firing");
        assert_eq!(active_at(9, 5, 6), None, "a short one begins anew");
        assert_eq!((active_at(30, 5, 65), active_at(30, 5, 66)), (Some(60), None));
    }
}
