//! Where a gateway keeps what it acknowledged, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::text::{ByteSize, Ratio, duration};

/// The section `journal`. Without a directory nothing outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalConfig {
    /// A directory of the gateway's own, made if it is not there. Default none: a push is acknowledged from memory.
    pub dir: Option<PathBuf>,
    /// When a push is acknowledged. Default strict.
    pub durability: JournalDurability,
    /// The shortest time between two commits; all that comes meanwhile is committed together. Default 10ms.
    #[serde(with = "duration")]
    pub commit_interval: Duration,
    /// What the journal may take on the disk. Default 20GB.
    pub bytes_max: ByteSize,
    /// Records older than this go, whoever still wants them. Default 2d.
    #[serde(with = "duration")]
    pub age_max: Duration,
    /// The share of the disk that stays free. Default 0.1.
    pub free_disk_min_ratio: Ratio,
    /// What gives way where the journal is full. Default drop_oldest.
    pub on_full: JournalFull,
    /// The journal is a row of files; one of them has about this size. What goes, goes by whole files. Default 64MB.
    pub segment_bytes: ByteSize,
}

impl Default for JournalConfig {
    fn default() -> JournalConfig {
        JournalConfig {
            dir: None,
            durability: JournalDurability::Strict,
            commit_interval: Duration::from_millis(10),
            bytes_max: ByteSize::mib(20 << 10),
            age_max: Duration::from_secs(48 * 3600),
            free_disk_min_ratio: Ratio::per_mille(100),
            on_full: JournalFull::DropOldest,
            segment_bytes: ByteSize::mib(64),
        }
    }
}

/// When a push is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalDurability {
    /// When it is on the disk: it survives a power cut.
    #[default]
    Strict,
    /// When the operating system has it: it survives the end of the process; synced within a second.
    Relaxed,
}

/// What gives way where the journal is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalFull {
    /// The oldest records, also where an endpoint of remote write has not taken them yet: one dead endpoint stops nobody.
    #[default]
    DropOldest,
    /// Pushes, as long as an endpoint has not taken the oldest records: collectors keep what they have.
    Refuse,
}
