//! Logs: structured lines on standard error, and a bound on how often the same thing is said.
//!
//! A collector that is refused tries again every few seconds for as long as the reason stands, and two hundred of them
//! may do so at once. [`Repeats`] lets the first line of a kind through, then one an interval with the number of those
//! left out; the counters have every one of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `level=info message=… key=value`, as Prometheus writes.
    #[default]
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is neither a word nor a list of `module=level`.
    #[error(
        "bad log level {level:?}, expected error, warn, info, debug, trace or a list like info,fedgate::push=debug"
    )]
    Level {
        /// What was given.
        level: String,
    },
    /// Something installed a subscriber before.
    #[error("logging is already set up")]
    Twice,
}

/// Sends all logs of the process to standard error; to be called once, before anything logs.
pub fn init(format: LogFormat, level: &str) -> Result<(), LogError> {
    let bad_level = || LogError::Level { level: level.to_owned() };
    let filter = EnvFilter::try_new(level).map_err(|_| bad_level())?;
    let lines = match format {
        LogFormat::Logfmt => tracing_logfmt::builder().layer().with_writer(std::io::stderr).boxed(),
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

/// How many different keys [`Repeats`] remembers; beyond it the table starts anew, which only means a line more.
const KEYS_MAX: usize = 4096;

/// Says once an interval what would be said all the time.
#[derive(Debug)]
pub struct Repeats {
    interval: Duration,
    /// By key: when it was last said, and how often it was left out since.
    said: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Repeats {
    /// Lets one line an `interval` through for each key.
    pub fn every(interval: Duration) -> Repeats {
        Repeats { interval, said: Mutex::default() }
    }

    /// Whether the line of `key` is due at `now`: then with the number of lines left out since the last one.
    pub fn due(&self, key: &str, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, left_out)) = said.get_mut(key) {
            if now.saturating_duration_since(*last) < self.interval {
                *left_out += 1;
                return None;
            }
            *last = now;
            return Some(std::mem::take(left_out));
        }
        if said.len() >= KEYS_MAX {
            said.clear();
        }
        said.insert(key.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_and_then_one_an_interval() {
        let repeats = Repeats::every(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(repeats.due("a", at(0)), Some(0));
        assert_eq!(repeats.due("a", at(1)), None);
        assert_eq!(repeats.due("b", at(1)), Some(0));
        assert_eq!(repeats.due("a", at(9)), None);
        assert_eq!(repeats.due("a", at(10)), Some(2));
        assert_eq!(repeats.due("a", at(20)), Some(0));
    }
}
