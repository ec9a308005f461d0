//! When a target is scraped: at the same point of every interval, another one for each target.
//!
//! The point is a hash of the target, not a random number: after a restart each target keeps its place, so `rate()` sees
//! even spacing, and a thousand targets do not start together. Start times are aligned to it where the timer was only a
//! little late, because samples at even distances take less room in every store (Prometheus does the same).

use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

use crate::discovery::Target;
use crate::model::Timestamp;

/// How late a timer may be for its scrape to count as on time; never over 1 % of the interval.
const ALIGN_TOLERANCE: Duration = Duration::from_millis(2);

/// Where in its interval a target is scraped.
pub fn offset(target: &Target) -> Duration {
    let mut hash = Xxh3::new();
    hash.update(target.labels.as_bytes());
    hash.update(&[0xff]);
    hash.update(target.url.as_bytes());
    Duration::from_millis(hash.digest() % interval_ms(target.interval) as u64)
}

/// The first start at or after `now`.
pub fn first_start(now: Timestamp, interval: Duration, offset: Duration) -> Timestamp {
    let (interval, offset) = (interval_ms(interval), offset.as_millis() as i64);
    let late = (now.0 - offset).rem_euclid(interval);
    Timestamp(if late == 0 { now.0 } else { now.0 + interval - late })
}

/// The timestamp of a scrape that started at `now` and was due at `due`, or whole intervals later.
pub(super) fn aligned(now: Timestamp, due: Timestamp, interval: Duration) -> Timestamp {
    let tolerance = (interval / 100).min(ALIGN_TOLERANCE).as_millis() as i64;
    let late = (now.0 - due.0).rem_euclid(interval_ms(interval));
    if now >= due && late <= tolerance { Timestamp(now.0 - late) } else { now }
}

fn interval_ms(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1)
}
