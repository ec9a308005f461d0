//! What a gateway writes down so that nothing it acknowledged ends with the process: two logs in `journal.dir`.
//!
//! ```text
//!  push ── store ──► FrameLog ────► frames/     what collectors pushed, verbatim ──► replay at the start, senders of remote write
//!  rules ─ store ──► RecordedLog ─► recorded/   what rules gave, as frames of a stream of the gateway's own ──► the same two
//! ```
//!
//! # Records
//!
//! | log | kind | payload |
//! |---|---:|---|
//! | frames | 1 EPOCH | a cluster's policy, JSON (see `epoch.rs`) |
//! | frames | 2 FRAME | an envelope (see `envelope.rs`), then a frame |
//! | frames | 3 RESUMED | i64, milliseconds since the epoch: a gateway begins to take frames |
//! | recorded | 4 RECORDED | i64, milliseconds since the epoch: when it was written; then a frame |
//!
//! # Where one can begin to read
//!
//! Invariant: from the beginning of any segment on, every stream can be decoded from its first KEY in that segment. For that an epoch
//! stands in each segment before the first frame that names it, and before a stream's first KEY there stand, as DEFINE frames,
//! all schemas that its decoder holds. So no state has to be written down beside the logs: a restart reads them again from the
//! segment in which the last KEYs of all live streams, and as much of the past as the history wants, have begun
//! ([`StreamOrigins`]), and a sender of remote write does the same for its own decoders.
//!
//! A frame is first applied, then appended in the same order, under the same lock, and acknowledged when it is synced.

mod envelope;
mod epoch;
mod frames;
pub mod metrics;
mod open;
mod origins;
mod reader;
mod recorded;
mod recorded_reader;
mod replay;
mod retention;
mod segments;

pub use envelope::{Envelope, EnvelopeError};
pub use epoch::{EPOCH_BYTES_MAX, EpochError, EpochId, decode_epoch, encode_epoch};
pub use frames::{FrameLog, NoRoom, NotDurable, is_kept};
pub use metrics::Restored;
pub use open::{Wal, WalError, check};
pub use origins::StreamOrigins;
pub use reader::{Entry, FrameReader, FrameRecord};
pub use recorded::RecordedLog;
pub use recorded_reader::{RecordedEntry, RecordedFrame, RecordedReader, RuleChange, RuleChanges};
pub use replay::{Now, ReplayCounts, Replayed, reaching_back, replay_frames, replay_recorded};
pub use retention::{CHECKPOINT, Logs, OnFull, Retention, RoundError};

/// Kinds of records; see the module's page.
mod kind {
    pub(super) const EPOCH: u8 = 1;
    pub(super) const FRAME: u8 = 2;
    pub(super) const RESUMED: u8 = 3;
    pub(super) const RECORDED: u8 = 4;
}
