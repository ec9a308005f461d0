//! Finished scrapes on their way to the next tick.
//!
//! Bounded by the values they hold, not by their number, because a page may have ten series or a million. When it is
//! full the oldest scrape goes, counted: each scrape holds every value of its target, so a newer one of the same
//! target replaces what is lost for a reader, and no scrape loop ever waits for a slow tick. The news that a target is
//! gone holds no values and stays.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::snapshot::{Outcome, Scrape};

/// Values that may wait: 16 million, 128 MiB.
pub(super) const VALUES_MAX: usize = 16 << 20;
/// What a scrape counts for beside its values.
const VALUES_PER_SCRAPE: usize = 32;

/// The waiting scrapes; loops add to it, the tick empties it.
#[derive(Debug, Default)]
pub(super) struct Finished {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    scrapes: VecDeque<Scrape>,
    values: usize,
}

fn weight(scrape: &Scrape) -> usize {
    scrape.values.len() + VALUES_PER_SCRAPE
}

impl Finished {
    /// Adds a scrape; how many older ones had to go for it.
    pub(super) fn push(&self, mut scrape: Scrape) -> u64 {
        if scrape.outcome == Outcome::Gone {
            scrape.values = Vec::new();
        }
        let mut waiting = self.lock();
        waiting.values += weight(&scrape);
        waiting.scrapes.push_back(scrape);
        let mut dropped = 0;
        let mut at = 0;
        while waiting.values > VALUES_MAX && at + 1 < waiting.scrapes.len() {
            if waiting.scrapes[at].outcome == Outcome::Gone {
                at += 1;
                continue;
            }
            let oldest = waiting.scrapes.remove(at).expect("`at` is within the queue");
            waiting.values -= weight(&oldest);
            dropped += 1;
        }
        dropped
    }

    /// Takes everything, in the order in which it was finished.
    pub(super) fn take(&self) -> Vec<Scrape> {
        let mut waiting = self.lock();
        waiting.values = 0;
        std::mem::take(&mut waiting.scrapes).into()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Neither step can panic half-way, so a poisoned queue is whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::model::{Labels, Timestamp};
    use crate::snapshot::{Beside, Report, SlotTable};

    fn scrape(started: i64, values: usize, outcome: Outcome) -> Scrape {
        Scrape {
            target: Arc::new(Labels::empty()),
            started: Timestamp(started),
            duration: Duration::ZERO,
            outcome,
            report: Report::default(),
            schema: SlotTable::new().schema(),
            values: vec![0.0; values],
            beside: Beside::default(),
        }
    }

    #[test]
    fn the_oldest_go_but_the_news_of_an_end_stays() {
        let finished = Finished::default();
        assert_eq!(finished.push(scrape(1, VALUES_MAX / 2, Outcome::Up)), 0);
        assert_eq!(finished.push(scrape(2, 0, Outcome::Gone)), 0);
        assert_eq!(finished.push(scrape(3, VALUES_MAX / 2, Outcome::Up)), 1);
        assert_eq!(finished.push(scrape(4, VALUES_MAX / 2, Outcome::Up)), 1);
        let left: Vec<i64> = finished.take().iter().map(|scrape| scrape.started.0).collect();
        assert_eq!(left, [2, 4]);
        assert_eq!(finished.push(scrape(5, VALUES_MAX / 2, Outcome::Up)), 0, "taken room is free again");
    }

    #[test]
    fn one_scrape_larger_than_the_bound_still_passes() {
        let finished = Finished::default();
        assert_eq!(finished.push(scrape(1, VALUES_MAX + 1, Outcome::Up)), 0);
        assert_eq!(finished.take().len(), 1);
    }
}
