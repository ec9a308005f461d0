//! What history takes, and how much of it is kept where it takes too much.
//!
//! Invariant: what is counted is there. Rows and blocks hold their own share of the count, so it falls when the last reader lets
//! go of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// [`Usage::keep_share`] where everything is kept as long as it should be.
const WHOLE: u32 = 1 << 16;
/// What is left of the share each time there is too much.
const LESS: u32 = 15;
const OF: u32 = 16;
/// The share never falls below it.
const LEAST: u32 = WHOLE / 256;

/// Counts of the whole store.
#[derive(Debug)]
pub(in crate::store) struct Usage {
    bytes: AtomicUsize,
    samples: AtomicUsize,
    bytes_max: AtomicUsize,
    /// How much of the time that history should be kept it is kept, in parts of [`WHOLE`].
    share: AtomicU32,
}

/// What history takes in the whole store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistoryTotals {
    /// Memory.
    pub bytes: usize,
    /// Samples, stale markers among them.
    pub samples: usize,
    /// How much of the time that samples should be kept they are kept: 1, or less where memory did not suffice.
    pub share: f64,
}

/// Default of `history.memory_max`.
pub const HISTORY_BYTES_MAX: usize = 1 << 30;

impl Default for Usage {
    fn default() -> Usage {
        let (bytes, samples, bytes_max) = (AtomicUsize::new(0), AtomicUsize::new(0), HISTORY_BYTES_MAX.into());
        Usage { bytes, samples, bytes_max, share: WHOLE.into() }
    }
}

/// A share of the count, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    bytes: usize,
    samples: usize,
    usage: Arc<Usage>,
}

impl Usage {
    pub(super) fn count(self: &Arc<Usage>, bytes: usize, samples: usize) -> Counted {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.samples.fetch_add(samples, Ordering::Relaxed);
        Counted { bytes, samples, usage: self.clone() }
    }

    /// Bytes and samples that are kept.
    pub(in crate::store) fn kept(&self) -> (usize, usize) {
        (self.bytes.load(Ordering::Relaxed), self.samples.load(Ordering::Relaxed))
    }

    pub(in crate::store) fn set_max(&self, bytes: usize) {
        self.bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// How long something is kept that should be kept so many milliseconds.
    pub(super) fn kept_ms(&self, keep_ms: i64) -> i64 {
        match self.share.load(Ordering::Relaxed) {
            WHOLE => keep_ms,
            share => (i128::from(keep_ms) * i128::from(share) / i128::from(WHOLE)) as i64,
        }
    }

    /// How much of its time everything is kept: 1 where there is room for all.
    pub(in crate::store) fn share(&self) -> f64 {
        f64::from(self.share.load(Ordering::Relaxed)) / f64::from(WHOLE)
    }

    /// Keeps everything for a shorter time while there is too much, and for longer again where there is room. Says how much of its
    /// time everything is kept, 1 for all.
    pub(in crate::store) fn balance(&self) -> f64 {
        let (bytes, max) = (self.kept().0, self.bytes_max.load(Ordering::Relaxed));
        let share = self.share.load(Ordering::Relaxed);
        let share = if bytes > max {
            (share * LESS / OF).max(LEAST)
        } else if bytes < max / OF as usize * (LESS as usize - 2) {
            (share + share / OF + 1).min(WHOLE)
        } else {
            share
        };
        self.share.store(share, Ordering::Relaxed);
        self.share()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.usage.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.usage.samples.fetch_sub(self.samples, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_shortens_what_is_kept_until_there_is_room_again() {
        let usage = Arc::new(Usage::default());
        usage.set_max(1_000);
        let counted = usage.count(1_001, 1);
        assert!(usage.balance() < 1.0);
        assert_eq!(usage.kept_ms(16_000), 15_000);
        drop(counted);
        assert_eq!((usage.kept(), usage.balance()), ((0, 0), 0.996_109_008_789_062_5));
        assert_eq!((usage.balance(), usage.kept_ms(16_000)), (1.0, 16_000));
    }
}
