//! When to try again: what the other side asks for, and a pause that grows.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::model::Timestamp;

/// The wait that an answer asks for (RFC 9110 §10.2.3): seconds, or a date, which counts from `now`. A date that is
/// past is a wait of zero; what is neither is nothing.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp(date.timestamp().as_millisecond()).since(now))
}

/// Pauses that double from `first` to `max`, each off by up to a tenth, so that those who failed together do not come
/// back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `first`.
    pub fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { first, max, next: first.min(max) }
    }

    /// The pause before the next try.
    pub fn pause(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.max);
        jittered(base, getrandom::u32().unwrap_or(u32::MAX / 2))
    }

    /// It worked: the next failure begins with the first pause.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.max);
    }
}

/// `base` off by a tenth at most: `random` from 0 to its maximum spans 90 % to 110 %.
fn jittered(base: Duration, random: u32) -> Duration {
    base.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        retry_after(&headers, Timestamp(784_111_770_000))
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO), "past");
        for neither in ["soon", "-1", "1.5", ""] {
            assert_eq!(asked(neither), None, "{neither}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp(0)), None);
    }

    #[test]
    fn pauses_double_to_their_bound_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(300));
        for expected in [50.0, 100.0, 200.0, 300.0, 300.0] {
            let pause = backoff.pause().as_secs_f64() * 1000.0;
            assert!((0.899 * expected..=1.101 * expected).contains(&pause), "{pause} for {expected}");
        }
        backoff.reset();
        assert!(backoff.pause() < Duration::from_millis(56));
        assert_eq!(jittered(Duration::from_secs(10), 0), Duration::from_secs(9));
        assert_eq!(jittered(Duration::from_secs(10), u32::MAX), Duration::from_secs(11));
    }
}
