//! The samples of some series of one target, all kept for the same time.
//!
//! ```text
//!  columns    0 1 2 3 4 …      one a series, given anew once its series is gone and nothing of it is kept
//!  ┌ blocks ─ [ 4–32 rows, compressed ] [ … ] [ … ]      oldest first
//!  └ head ─── [ row ] [ row ]                            raw; the newest sample is among them
//! ```
//!
//! Invariant: a strip is immutable once readers have it; a scrape makes a new one that shares all blocks and rows with the one
//! before. Times ascend over blocks and head. A column without a series holds stale markers from the time on at which its
//! series ended.

use std::sync::Arc;

use super::block::{self, Block};
use super::row::Row;
use super::usage::Usage;
use crate::model::{Labels, Timestamp};

/// Milliseconds that samples are kept beyond what is asked for: an evaluation looks a little back from the newest.
pub(super) const MARGIN_MS: i64 = 15_000;
/// Scrapes of which at least the samples are kept, so that an evaluation at `t` finds the newest that is not later than `t`.
const NEWEST: usize = 2;
/// Up to so many milliseconds blocks are short: what is kept too long because it is in one block with what is not is little.
const SHORT_KEEP_MS: i64 = 15 * 60_000;
const MIDDLE_KEEP_MS: i64 = 2 * 3_600_000;
/// Rows of a block by how long a strip is kept.
const BLOCK_ROWS: [usize; 3] = [4, 16, 32];

/// The columns of one chunk's slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkColumns {
    /// Slots of the chunk that are kept, ascending.
    pub(super) slots: Box<[u8]>,
    /// The column of each.
    pub(super) columns: Box<[u32]>,
}

impl ChunkColumns {
    pub(super) fn column_of(&self, slot: u8) -> Option<u32> {
        if self.slots.len() == 256 {
            return Some(self.columns[usize::from(slot)]);
        }
        self.slots.binary_search(&slot).ok().map(|at| self.columns[at])
    }
}

/// Series that ended together.
#[derive(Clone, Debug)]
pub struct Retired {
    /// The last time at which one of them can have had a sample, in milliseconds.
    pub at: i64,
    /// Columns, ascending, with all labels but the inventory's.
    pub series: Vec<(u32, Labels)>,
}

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Strip {
    pub(super) keep_ms: i64,
    pub(super) blocks: Vec<Arc<Block>>,
    pub(super) head: Vec<Arc<Row>>,
    /// Beside the target's chunks.
    pub(super) chunks: Vec<Arc<ChunkColumns>>,
    /// Series of the scrape itself: their number among [`SCRAPE_FAMILIES`](crate::store::SCRAPE_FAMILIES), and the column.
    pub(super) facts: Arc<[(u8, u32)]>,
    pub(super) retired: Vec<Arc<Retired>>,
    pub(super) columns: u32,
    /// The time of the last row that was dropped for its age.
    dropped: i64,
}

impl Strip {
    pub(super) fn new(keep_ms: i64) -> Strip {
        let (blocks, head, chunks, retired) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Strip { keep_ms, blocks, head, chunks, facts: [].into(), retired, columns: 0, dropped: i64::MIN }
    }

    /// The column of a slot's series, where its samples are kept.
    pub fn column_of(&self, chunk: u32, slot: u8) -> Option<u32> {
        self.chunks.get(chunk as usize)?.column_of(slot)
    }

    /// The columns of a chunk's slots, best asked for in ascending order.
    pub fn columns_of<'a>(&'a self, chunk: u32, slots: &'a [u8]) -> impl Iterator<Item = Option<u32>> + 'a {
        let kept = self.chunks.get(chunk as usize);
        let (own, columns) = kept.map_or((&[][..], &[][..]), |kept| (&kept.slots, &kept.columns));
        let mut next = 0;
        slots.iter().map(move |slot| {
            if next > 0 && own[next - 1] >= *slot {
                next = 0;
            }
            next += own[next..].iter().take_while(|own| *own < slot).count();
            own.get(next).filter(|own| *own == slot).map(|_| columns[next])
        })
    }

    /// The column of one of the scrape's own series.
    pub fn fact_column(&self, family: u8) -> Option<u32> {
        self.facts.iter().find(|(own, _)| *own == family).map(|(_, column)| *column)
    }

    /// Whether all samples later than `from` are there.
    pub fn has_all_after(&self, from: Timestamp) -> bool {
        self.dropped <= from.0
    }

    /// Whether the newest samples that are not later than `at` are there.
    pub fn has_newest_at(&self, at: Timestamp) -> bool {
        self.dropped == i64::MIN || self.oldest().is_some_and(|oldest| oldest <= at.0)
    }

    /// Series that ended, of which something is still kept.
    pub fn retired(&self) -> &[Arc<Retired>] {
        &self.retired
    }

    /// The time of the newest samples.
    pub(super) fn newest(&self) -> Option<i64> {
        self.head.last().map(|row| row.time)
    }

    /// The time of the oldest row.
    pub(super) fn oldest(&self) -> Option<i64> {
        let first = self.blocks.first().map(|block| block.times()[0]);
        first.or_else(|| self.head.first().map(|row| row.time))
    }

    /// Takes the row of a scrape later than all that are there.
    pub(super) fn append(&mut self, row: Arc<Row>, usage: &Arc<Usage>) {
        debug_assert!(self.newest().is_none_or(|newest| newest < row.time));
        self.forget_before(row.time - usage.kept_ms(self.keep_ms) - MARGIN_MS);
        self.head.push(row);
        let rows = self.block_rows();
        if self.head.len() > rows.max(NEWEST) {
            let block = block::encode(&self.head[..rows], &self.head[rows], usage);
            self.blocks.push(Arc::new(block));
            self.head.drain(..rows);
        }
    }

    /// Whether a row of this time is one of those that were let go, or would be at once.
    pub(super) fn is_forgotten(&self, time: i64, usage: &Usage) -> bool {
        let too_old = |newest: i64| time <= newest - usage.kept_ms(self.keep_ms) - MARGIN_MS;
        let is_first = self.oldest().is_none_or(|oldest| time < oldest);
        is_first && (time <= self.dropped || self.newest().is_none_or(too_old))
    }

    fn block_rows(&self) -> usize {
        let longer = [SHORT_KEEP_MS, MIDDLE_KEEP_MS].iter().filter(|keep_ms| self.keep_ms > **keep_ms).count();
        BLOCK_ROWS[longer]
    }

    /// Lets go of what is not later than `time`, but of the newest samples; one more row is about to come.
    fn forget_before(&mut self, time: i64) {
        let is_old = |block: &Arc<Block>| block.times().last().is_some_and(|last| *last <= time);
        let old = self.blocks.iter().take_while(|block| is_old(block)).count();
        let dropped = self.blocks.drain(..old).next_back().and_then(|block| block.times().last().copied());
        self.dropped = dropped.unwrap_or(self.dropped);
        if self.blocks.is_empty() {
            let most = self.head.len().saturating_sub(NEWEST - 1);
            let old = self.head.iter().take_while(|row| row.time <= time).count();
            let dropped = self.head.drain(..old.min(most)).next_back().map(|row| row.time);
            self.dropped = dropped.unwrap_or(self.dropped);
        }
        let oldest = self.oldest().unwrap_or(i64::MIN);
        self.retired.retain(|retired| retired.at >= oldest);
    }

    /// Whether nothing is left that someone could ask for at this time.
    pub(super) fn is_over(&self, time: i64) -> bool {
        self.newest().is_none_or(|newest| newest <= time - self.keep_ms - MARGIN_MS)
    }
}
