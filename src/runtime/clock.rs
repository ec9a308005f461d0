//! The only reader of the clocks.
//!
//! Two of them, never mixed: [`now`] is the wall clock, which stamps samples and may jump; [`monotonic`] measures how
//! long something took or was silent, and knows no date.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// The wall clock.
pub fn now() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    Timestamp(millis)
}

/// The monotonic clock.
pub fn monotonic() -> Instant {
    Instant::now()
}
