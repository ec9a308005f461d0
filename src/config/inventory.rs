//! The inventory: which certificate speaks for which cluster, and what that cluster may send.
//!
//! Deny by default: an identity that stands nowhere is refused. An identity stands in one cluster only, so a certificate
//! can never choose among labels.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::text::{LabelMap, duration};

/// One cluster of `push.clusters`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Unique name; becomes `cluster` on every series. Required.
    pub cluster: String,
    /// Becomes `environment` on every series. Default none.
    pub environment: String,
    /// SAN URIs or DNS names of the certificates that speak for this cluster. At least one; each in one cluster only.
    pub identities: Vec<String>,
    /// Further labels for every series.
    pub external_labels: LabelMap,
    /// What happens to a series that carries an inventory label with another value. Default `rename`.
    pub on_label_conflict: OnLabelConflict,
    /// How much the cluster may send.
    pub limits: ClusterLimits,
    /// How often a snapshot is expected; silence beyond twice this is `fedgate_cluster_up 0`. Default 15s.
    #[serde(with = "duration")]
    pub expect_every: Duration,
    /// The label by which an HA pair of remote-write senders tells its replicas apart: one replica's samples are taken, the
    /// other's acknowledged and left out until the first is silent for 30 s; the label is dropped. Default none.
    pub ha_replica_label: String,
    /// Announced work; `fedgate_cluster_maintenance` is 1 until it ends. Default none.
    pub maintenance: Option<Maintenance>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            cluster: String::new(),
            environment: String::new(),
            identities: Vec::new(),
            external_labels: LabelMap::new(),
            on_label_conflict: OnLabelConflict::Rename,
            limits: ClusterLimits::default(),
            expect_every: Duration::from_secs(15),
            ha_replica_label: String::new(),
            maintenance: None,
        }
    }
}

impl ClusterConfig {
    /// Every label that the inventory stamps, `cluster` and `environment` included.
    pub fn stamped_labels(&self) -> LabelMap {
        let mut labels = self.external_labels.clone();
        labels.insert("cluster".to_owned(), self.cluster.clone());
        if !self.environment.is_empty() {
            labels.insert("environment".to_owned(), self.environment.clone());
        }
        labels
    }
}

/// Whose label wins, and what becomes of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLabelConflict {
    /// The series keeps its own value as `exported_…`.
    #[default]
    Rename,
    /// The series is dropped, counted.
    Reject,
    /// The series keeps its own value and the inventory's is not stamped; `cluster` and `environment` are renamed all the same.
    Keep,
}

/// How much one cluster may send. Series beyond a limit are dropped, counted by reason; a rate is answered with 429.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterLimits {
    /// Most live series. Default 1000000.
    pub series: usize,
    /// Most samples a second, averaged over a minute. Default 200000.
    pub samples_per_second: u64,
    /// Most labels of a series, the inventory's included. Default 64.
    pub labels_per_series: usize,
    /// Longest label name in bytes. Default 256.
    pub label_name_bytes_max: usize,
    /// Longest label value in bytes. Default 4096.
    pub label_value_bytes_max: usize,
    /// Most collectors' runs held at once. Default 16.
    pub streams: usize,
}

impl Default for ClusterLimits {
    fn default() -> Self {
        ClusterLimits {
            series: 1_000_000,
            samples_per_second: 200_000,
            labels_per_series: 64,
            label_name_bytes_max: 256,
            label_value_bytes_max: 4096,
            streams: 16,
        }
    }
}

/// Announced work on a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// When it ends, RFC 3339. Required.
    pub until: Timestamp,
    /// Why, for people. Default empty.
    #[serde(default)]
    pub reason: String,
}
