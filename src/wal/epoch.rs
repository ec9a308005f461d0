//! Epochs: the policy of a cluster that was in force while frames came in.
//!
//! Invariant: an epoch is named by the hash of its bytes, so one name means one policy for ever, whichever run wrote it, and a damaged
//! record cannot pass for another. What a frame was labelled with can so be told after any change of the inventory.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Labels, Timestamp};
use crate::store::{ClusterLimits, ClusterPolicy, LabelConflict, Maintenance};

/// Bytes of an epoch's record; inventories are far shorter.
pub const EPOCH_BYTES_MAX: usize = 1 << 20;

/// BLAKE3 of an epoch's bytes, cut to 8 bytes. Shown as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EpochId(pub [u8; 8]);

impl EpochId {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> EpochId {
        let mut id = [0; 8];
        id.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
        EpochId(id)
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why bytes are no epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// Longer than any.
    #[error("epoch of {0} bytes, expected at most {EPOCH_BYTES_MAX}")]
    TooLong(usize),
    /// No policy.
    #[error("epoch: {0}")]
    Json(String),
}

/// The fields of a policy under the names that stand on disk. What a newer version adds is passed over.
#[derive(Serialize, Deserialize)]
struct Epoch {
    cluster: String,
    labels: BTreeMap<String, String>,
    identities: Vec<String>,
    on_label_conflict: Conflict,
    limits: Limits,
    expect_every_ms: u64,
    maintenance: Option<Planned>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Conflict {
    Rename,
    Reject,
    Keep,
}

#[derive(Serialize, Deserialize)]
struct Limits {
    series: u64,
    samples_per_second: u64,
    labels_per_series: usize,
    label_name_bytes: usize,
    label_value_bytes: usize,
    streams: usize,
    ahead_max_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Planned {
    until_ms: Option<i64>,
    reason: String,
}

/// A policy's bytes; their hash is its name.
pub fn encode_epoch(policy: &ClusterPolicy) -> Vec<u8> {
    let ClusterLimits { series, samples_per_second, labels_per_series, label_name_bytes, label_value_bytes, .. } =
        policy.limits;
    let epoch = Epoch {
        cluster: policy.cluster.clone(),
        labels: policy.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        identities: policy.identities.clone(),
        on_label_conflict: match policy.on_label_conflict {
            LabelConflict::Rename => Conflict::Rename,
            LabelConflict::Reject => Conflict::Reject,
            LabelConflict::Keep => Conflict::Keep,
        },
        limits: Limits {
            series,
            samples_per_second,
            labels_per_series,
            label_name_bytes,
            label_value_bytes,
            streams: policy.limits.streams,
            ahead_max_ms: millis(policy.limits.ahead_max),
        },
        expect_every_ms: millis(policy.expect_every),
        maintenance: policy.maintenance.as_ref().map(|planned| Planned {
            until_ms: planned.until.map(Timestamp::as_millis),
            reason: planned.reason.clone(),
        }),
    };
    serde_json::to_vec(&epoch).expect("numbers and strings can always be written")
}

/// Reads what [`encode_epoch`] wrote.
pub fn decode_epoch(bytes: &[u8]) -> Result<ClusterPolicy, EpochError> {
    if bytes.len() > EPOCH_BYTES_MAX {
        return Err(EpochError::TooLong(bytes.len()));
    }
    let epoch: Epoch = serde_json::from_slice(bytes).map_err(|fault| EpochError::Json(fault.to_string()))?;
    let Limits { series, samples_per_second, labels_per_series, label_name_bytes, label_value_bytes, .. } =
        epoch.limits;
    Ok(ClusterPolicy {
        cluster: epoch.cluster,
        labels: Labels::from_pairs(epoch.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        identities: epoch.identities,
        on_label_conflict: match epoch.on_label_conflict {
            Conflict::Rename => LabelConflict::Rename,
            Conflict::Reject => LabelConflict::Reject,
            Conflict::Keep => LabelConflict::Keep,
        },
        limits: ClusterLimits {
            series,
            samples_per_second,
            labels_per_series,
            label_name_bytes,
            label_value_bytes,
            streams: epoch.limits.streams,
            ahead_max: Duration::from_millis(epoch.limits.ahead_max_ms),
        },
        expect_every: Duration::from_millis(epoch.expect_every_ms),
        // Replicas were told apart before frames were made.
        ha_replica_label: String::new(),
        maintenance: epoch
            .maintenance
            .map(|planned| Maintenance { until: planned.until_ms.map(Timestamp), reason: planned.reason }),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
