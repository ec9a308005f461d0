//! Opening both logs of a gateway, as its configuration says.
//!
//! Invariant: whatever is wrong with the directory (another process in it, a newer format, somebody's files) is found before anything is
//! written, and said as [`OpenError`] says it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::frames::FrameLog;
use super::recorded::RecordedLog;
use super::retention::{Logs, OnFull, Retention};
use crate::config::{JournalConfig, JournalDurability, JournalFull};
use crate::journal::{
    CommitOptions, Committer, Cursors, DiskFiles, Durability, Files, Journal, Limits, OpenError, Options, Role,
};
use crate::model::Timestamp;
use crate::runtime::Tasks;
use crate::snapshot::{FrameLimits, StreamId};

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// A directory cannot be used.
    #[error("journal.dir: {0}")]
    Open(#[from] OpenError),
    /// The system gives no thread.
    #[error("cannot start the journal: {0}")]
    Thread(#[from] io::Error),
    /// The system gives no random numbers.
    #[error("no random numbers for the name of a stream: {0}")]
    Random(#[from] getrandom::Error),
}

/// The logs of a gateway.
#[derive(Clone)]
pub struct Wal {
    /// What collectors pushed.
    pub frames: FrameLog,
    /// What rules gave.
    pub recorded: RecordedLog,
    /// How long both are kept.
    pub retention: Retention,
    /// What both may take, in bytes.
    pub bytes_max: u64,
}

impl Wal {
    /// Opens or makes the logs below `dir`. Their threads belong to `tasks`, and outlive all who append.
    pub fn open(
        files: &Arc<dyn Files>,
        dir: &Path,
        config: &JournalConfig,
        limits: &FrameLimits,
        tasks: &Tasks,
        now: Timestamp,
    ) -> Result<Wal, WalError> {
        let options = commit_options(config);
        let [frames, recorded] = [(Logs::Frames, Role::Frames), (Logs::Recorded, Role::Recorded)]
            .map(|(log, role)| open_log(files, &dir.join(log.as_str()), role, config, now));
        let (frames, recorded) = (frames?, recorded?);
        let frames = FrameLog::new(Committer::start(frames, options, tasks)?, options, limits.clone());
        let mut stream = [0; 16];
        getrandom::fill(&mut stream)?;
        let recorded = Committer::start(recorded, options, tasks)?;
        let recorded = RecordedLog::new(recorded, StreamId(stream), FrameLimits::default(), now);
        let cursors = Cursors::new(files.clone(), &dir.join(Logs::Frames.as_str()));
        let on_full = match config.on_full {
            JournalFull::DropOldest => OnFull::DropOldest,
            JournalFull::Refuse => OnFull::Refuse,
        };
        let retention = Retention::new((frames.clone(), recorded.clone()), cursors, limits_of(config), on_full);
        Ok(Wal { frames, recorded, retention, bytes_max: config.bytes_max.0 })
    }
}

/// Says what is wrong with the logs below `dir`, as a start would, and changes nothing. That a gateway runs is no fault.
pub fn check(dir: &Path) -> Result<(), OpenError> {
    for (log, role) in [(Logs::Frames, Role::Frames), (Logs::Recorded, Role::Recorded)] {
        Journal::check(&DiskFiles, &dir.join(log.as_str()), role)?;
    }
    Ok(())
}

fn open_log(
    files: &Arc<dyn Files>,
    dir: &Path,
    role: Role,
    config: &JournalConfig,
    now: Timestamp,
) -> Result<Journal, OpenError> {
    let options = Options { segment_bytes: config.segment_bytes.0, ..Options::new(role) };
    let (journal, recovery) = Journal::open(files.clone(), dir, options, now)?;
    for (lost, what) in [
        (
            recovery.cut,
            "the end of the log was not whole and was cut off: what was being written when the last run ended",
        ),
        (recovery.behind_cursor, "synced records are missing from the end of the log"),
    ] {
        if let Some(lost) = lost {
            tracing::warn!(dir = %dir.display(), bytes = lost.bytes(), what, "journal");
        }
    }
    Ok(journal)
}

fn commit_options(config: &JournalConfig) -> CommitOptions {
    let durability = match config.durability {
        JournalDurability::Strict => Durability::Strict,
        JournalDurability::Relaxed => Durability::Relaxed,
    };
    CommitOptions { interval: config.commit_interval, durability }
}

fn limits_of(config: &JournalConfig) -> Limits {
    let free_ratio_min = config.free_disk_min_ratio.as_f64();
    Limits { bytes_max: config.bytes_max.0, age_max: config.age_max, free_ratio_min }
}
