//! How many samples a second a cluster may send: an allowance that fills at its rate and that accepted samples empty.
//!
//! A frame is never cut: what a body brought is taken from the allowance after it was applied, if need be below zero,
//! and the next body is refused until it is above zero again. So no frame can be too large to ever pass, the average
//! keeps to the rate, and a refusal costs neither decoding nor memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An idle cluster saves up samples of this time.
const SAVED: Duration = Duration::from_secs(60);
/// The longest wait that is asked for; beyond it the collector asks again.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The shortest: `Retry-After` counts whole seconds.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// The allowances of all clusters.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// By cluster; written by every push. Holds clusters of the inventory only.
    allowances: Mutex<HashMap<String, Allowance>>,
}

#[derive(Clone, Copy, Debug)]
struct Allowance {
    samples: f64,
    filled: Instant,
}

impl Allowance {
    fn fill(&mut self, samples_per_second: u64, now: Instant) {
        let rate = samples_per_second as f64;
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.samples = (self.samples + rate * since).min(rate * SAVED.as_secs_f64());
        self.filled = now;
    }
}

impl Rates {
    /// Whether the cluster may push at `now`; if not, how long it has to wait.
    pub(super) fn check(&self, cluster: &str, samples_per_second: u64, now: Instant) -> Result<(), Duration> {
        let mut allowances = self.lock();
        let Some(allowance) = allowances.get_mut(cluster) else { return Ok(()) };
        allowance.fill(samples_per_second, now);
        if allowance.samples >= 0.0 {
            return Ok(());
        }
        let wait = -allowance.samples / (samples_per_second.max(1) as f64);
        Err(Duration::from_secs_f64(wait.min(WAIT_MAX.as_secs_f64())).max(WAIT_MIN))
    }

    /// Takes what was applied.
    pub(super) fn take(&self, cluster: &str, samples_per_second: u64, samples: u64, now: Instant) {
        let mut allowances = self.lock();
        let full = || Allowance { samples: samples_per_second as f64 * SAVED.as_secs_f64(), filled: now };
        let allowance = allowances.entry(cluster.to_owned()).or_insert_with(full);
        allowance.fill(samples_per_second, now);
        allowance.samples -= samples as f64;
    }

    /// Forgets clusters that `keep` does not know.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|cluster, _| keep(cluster));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Allowance>> {
        self.allowances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_keeps_to_the_rate() {
        let (rates, start) = (Rates::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(rates.check("a", 100, at(0)), Ok(()), "nothing was sent yet");
        rates.take("a", 100, 6_000, at(0));
        assert_eq!(rates.check("a", 100, at(0)), Ok(()), "a minute may be sent at once");
        rates.take("a", 100, 500, at(0));
        assert_eq!(rates.check("a", 100, at(0)), Err(Duration::from_secs(5)));
        assert_eq!(rates.check("b", 100, at(0)), Ok(()), "another cluster has an allowance of its own");
        assert_eq!(rates.check("a", 100, at(5)), Ok(()));
    }

    #[test]
    fn waits_are_bounded() {
        let (rates, now) = (Rates::default(), Instant::now());
        rates.take("a", 1, 1_000_000, now);
        assert_eq!(rates.check("a", 1, now), Err(WAIT_MAX));
        rates.take("b", 0, 1, now);
        assert_eq!(rates.check("b", 0, now), Err(WAIT_MIN), "a rate of nothing divides by nothing");
        rates.retain(|cluster| cluster == "b");
        assert_eq!(rates.check("a", 1, now), Ok(()));
    }
}
