//! Scraping: from a target to a finished [`crate::snapshot::Scrape`] every interval, with the semantics of Prometheus 3.5.
//!
//! Three layers. [`PageCache`] is pure: the bytes of a page in, slots and a value column out; it knows no socket and no
//! clock. A target's loop fetches a page at the target's own point of each interval and gives it to the cache. The
//! [`Manager`] runs one loop a target, starts and ends them as discovery and reloads say, and keeps what they finished
//! until the next tick takes it.

mod bodies;
mod cache;
mod convert;
mod counters;
mod error;
mod exposed;
mod families;
mod fetch;
mod finished;
mod job;
mod keys;
mod manager;
mod metadata_lines;
mod offset;
mod own;
mod page_reader;
mod rules;
mod series;
mod status;
mod target_loop;

pub use cache::{PageCache, Reading, Timing};
pub use counters::Counters;
pub use error::{PageError, ScrapeError};
pub use job::JobError;
pub use manager::{Manager, ManagerError};
pub use offset::{first_start, offset};
pub use own::{OWN_JOB, OwnTarget};
pub use rules::{HistogramRules, Rules};
pub use series::SeriesBudget;
pub use status::{Health, TargetStatus};
