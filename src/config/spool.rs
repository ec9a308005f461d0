//! The collector's spool: what it could not deliver yet, on disk.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::text::{ByteSize, Ratio, duration};

/// Where undelivered frames are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// A directory of its own; its parent must exist. Default none: frames are kept in memory, and lost with the process.
    pub dir: Option<PathBuf>,
    /// What it may take on disk; beyond it the oldest frames go, counted. Default 4GB; 1MB to 1TB.
    pub bytes_max: ByteSize,
    /// Older frames go, counted. Default 7d; at least 1m.
    #[serde(with = "duration")]
    pub age_max: Duration,
    /// Where less of the disk than this part is free, the oldest frames go, counted. Default 0.1.
    pub free_disk_min_ratio: Ratio,
}

impl Default for SpoolConfig {
    fn default() -> SpoolConfig {
        SpoolConfig {
            dir: None,
            bytes_max: ByteSize::mib(4096),
            age_max: Duration::from_secs(7 * 86_400),
            free_disk_min_ratio: Ratio::per_mille(100),
        }
    }
}
