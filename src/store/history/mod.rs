//! History: what was shown before, of the series that someone will ask for.
//!
//! Nothing is kept unless a [`Keep`] names it. Of a target that has such series there is a [`Strip`] for each time that some
//! of them are kept, and every scrape that readers get to see adds a row to each: one copy a value, and a few nanoseconds to
//! compress it once the row is old. Which series a strip has follows the target's layout chunk by chunk. What ended stays readable for as
//! long as it would have been kept.
//!
//! Compressed, a sample takes a byte or two (see `block.rs`), and times are held once for all series of a strip.

mod block;
mod columns;
mod keep;
mod outer;
mod read;
mod row;
mod strip;
mod target;
mod usage;

pub use keep::Keep;
pub(super) use keep::Keeper;
pub use read::{KeptSamples, StripReader};
pub use strip::{Retired, Strip};
pub use target::Strips;
pub(super) use target::{Scraped, TargetHistory};
pub(super) use usage::Usage;
pub use usage::{HISTORY_BYTES_MAX, HistoryTotals};
