//! Which stream of a cluster a target is read from.
//!
//! Invariant: a target (told by its final labels) has at most one owner, so no series is shown twice and none steps back
//! in time while two collectors scrape the same target. A later run of the same collector takes over at once: it is the
//! same collector after a restart. Another collector takes over only when the owner has been silent for twice the
//! expected interval, and then keeps the target until it falls silent itself.
//!
//! A volatile stream shows the newest state ahead of its collector's backlog. It takes over while its tick is later, and gives way to
//! whichever stream of that collector has reached its tick, never to one that is behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Labels, Timestamp};
use crate::snapshot::StreamId;

/// Whose a target is: the stream, and the target's number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) stream: StreamId,
    pub(super) target: u32,
}

/// What decides between two streams.
#[derive(Clone, Debug)]
pub(super) struct Claimant {
    pub(super) collector: Arc<str>,
    pub(super) started: Timestamp,
    pub(super) heard: Instant,
    /// Of the last whole snapshot.
    pub(super) tick: Timestamp,
    pub(super) is_volatile: bool,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The claimant owns the target, and did before or nobody did.
    Owned,
    /// It owns the target now; this one did before.
    TakenFrom(Owner),
    /// Somebody else goes on owning it.
    Refused,
}

#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<Arc<Labels>, Owner, foldhash::fast::FixedState>);

impl Owners {
    /// `rival` knows the stream of the present owner; `None` where it is gone.
    pub(super) fn claim(
        &mut self,
        labels: &Arc<Labels>,
        claimed: Owner,
        claimant: &Claimant,
        rival: impl FnOnce(StreamId) -> Option<Claimant>,
        patience: Duration,
    ) -> Claim {
        let Some(owner) = self.0.get_mut(labels) else {
            self.0.insert(labels.clone(), claimed);
            return Claim::Owned;
        };
        if *owner == claimed {
            return Claim::Owned;
        }
        let gives_way = owner.stream != claimed.stream
            && rival(owner.stream).is_none_or(|rival| rival.gives_way_to(claimant, patience));
        if !gives_way {
            return Claim::Refused;
        }
        Claim::TakenFrom(std::mem::replace(owner, claimed))
    }

    /// Whose the target is.
    pub(super) fn owner(&self, labels: &Labels) -> Option<Owner> {
        self.0.get(labels).copied()
    }

    /// The target is gone, or has other labels now; says whether it was this owner's.
    pub(super) fn release(&mut self, labels: &Labels, owner: Owner) -> bool {
        let is_owner = self.0.get(labels) == Some(&owner);
        if is_owner {
            self.0.remove(labels);
        }
        is_owner
    }
}

impl Claimant {
    fn gives_way_to(&self, other: &Claimant, patience: Duration) -> bool {
        if self.collector != other.collector {
            return other.heard.saturating_duration_since(self.heard) > patience;
        }
        match (self.is_volatile, other.is_volatile) {
            (false, false) => {
                other.started > self.started || other.heard.saturating_duration_since(self.heard) > patience
            }
            (true, false) => other.tick >= self.tick,
            (_, true) => other.tick > self.tick,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn claimant(collector: &str, started: i64, heard: Instant) -> Claimant {
        let tick = Timestamp(started);
        Claimant { collector: collector.into(), started: Timestamp(started), heard, tick, is_volatile: false }
    }

    fn at_tick(tick: i64, is_volatile: bool) -> Claimant {
        Claimant { tick: Timestamp(tick), is_volatile, ..claimant("a", 1, Instant::now()) }
    }

    fn claim_between(owner: &Claimant, claimant: &Claimant) -> Claim {
        let (first, second) =
            (Owner { stream: StreamId([1; 16]), target: 0 }, Owner { stream: StreamId([2; 16]), target: 3 });
        let labels = Arc::new(Labels::from_pairs([("job", "node")]));
        let mut owners = Owners::default();
        assert_eq!(owners.claim(&labels, first, owner, |_| None, PATIENCE), Claim::Owned);
        owners.claim(&labels, second, claimant, |_| Some(owner.clone()), PATIENCE)
    }

    #[test]
    fn a_later_run_of_the_same_collector_takes_over_at_once() {
        let now = Instant::now();
        let taken = claim_between(&claimant("a", 1, now), &claimant("a", 2, now));
        assert_eq!(taken, Claim::TakenFrom(Owner { stream: StreamId([1; 16]), target: 0 }));
        assert_eq!(claim_between(&claimant("a", 2, now), &claimant("a", 1, now)), Claim::Refused);
    }

    #[test]
    fn a_run_whose_clock_went_back_waits_for_silence_only() {
        let (now, later) = (Instant::now(), Instant::now() + 2 * PATIENCE);
        assert_eq!(claim_between(&claimant("a", 2, now), &claimant("a", 1, now)), Claim::Refused);
        assert!(matches!(claim_between(&claimant("a", 2, now), &claimant("a", 1, later)), Claim::TakenFrom(_)));
    }

    #[test]
    fn a_volatile_stream_has_a_target_while_it_is_ahead() {
        let took =
            |owner: &Claimant, claimant: &Claimant| matches!(claim_between(owner, claimant), Claim::TakenFrom(_));
        assert!(took(&at_tick(5, false), &at_tick(6, true)) && took(&at_tick(5, true), &at_tick(6, true)));
        assert!(!took(&at_tick(6, false), &at_tick(6, true)), "there is nothing newer to show");
        assert!(took(&at_tick(6, true), &at_tick(6, false)), "reached");
        let late = Claimant { heard: Instant::now() + 2 * PATIENCE, ..at_tick(5, false) };
        assert!(!took(&at_tick(6, true), &late), "what is behind waits, however silent the other is");
    }

    #[test]
    fn another_collector_waits_for_silence() {
        let now = Instant::now();
        assert_eq!(claim_between(&claimant("a", 1, now), &claimant("b", 2, now + PATIENCE)), Claim::Refused);
        let later = claimant("b", 2, now + PATIENCE + Duration::from_millis(1));
        assert!(matches!(claim_between(&claimant("a", 1, now), &later), Claim::TakenFrom(_)));
    }
}
