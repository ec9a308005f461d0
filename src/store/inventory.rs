//! Who may push, and what the gateway stamps on it.
//!
//! Invariant: a cluster's name and a collector's identity each occur once, and the labels of a cluster always hold
//! `cluster`; so an identity names exactly one cluster, whatever a body says of itself. Everything not listed is
//! refused. An [`Inventory`] is immutable: a reload builds a new one and the store takes it over whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Labels, METRIC_NAME, Timestamp};

/// The label that names the cluster; never kept from a push.
pub const CLUSTER: &str = "cluster";
/// The label that names the environment; never kept from a push.
pub const ENVIRONMENT: &str = "environment";

/// What becomes of a pushed label that the inventory stamps with another value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelConflict {
    /// The pushed label moves to `exported_<name>`, as Prometheus does without `honor_labels`.
    #[default]
    Rename,
    /// The series is dropped and counted.
    Reject,
    /// The pushed label wins; `cluster` and `environment` are renamed all the same.
    Keep,
}

/// Bounds on what one cluster may hold and send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterLimits {
    /// Live series of the cluster, all collectors together.
    pub series: u64,
    /// Samples a second, averaged; the push endpoint keeps it.
    pub samples_per_second: u64,
    /// Labels of one series, its metric name and the inventory's included.
    pub labels_per_series: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value, metric names included.
    pub label_value_bytes: usize,
    /// Collectors' runs held at once.
    pub streams: usize,
    /// How far a sample may lie ahead of the gateway's clock.
    pub ahead_max: Duration,
}

impl Default for ClusterLimits {
    fn default() -> Self {
        ClusterLimits {
            series: 1_000_000,
            samples_per_second: 200_000,
            labels_per_series: 64,
            label_name_bytes: 256,
            label_value_bytes: 4096,
            streams: 16,
            ahead_max: AHEAD_MAX,
        }
    }
}

/// A planned outage: alerts on the cluster stay quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// When it ends; without it, when the operator removes the entry.
    pub until: Option<Timestamp>,
    /// For people.
    pub reason: String,
}

/// One entry of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Its name, unique in the inventory.
    pub cluster: String,
    /// Everything stamped on its series: `cluster`, `environment`, external labels.
    pub labels: Labels,
    /// Certificates' SAN URIs or DNS names that push for it.
    pub identities: Vec<String>,
    /// What wins where a push already has such a label.
    pub on_label_conflict: LabelConflict,
    /// Its bounds.
    pub limits: ClusterLimits,
    /// How often its collectors push; silence is measured in it.
    pub expect_every: Duration,
    /// Tells replicas of remote-write senders apart; empty where there are none.
    pub ha_replica_label: String,
    /// A planned outage.
    pub maintenance: Option<Maintenance>,
}

impl ClusterPolicy {
    /// Whether this identity may push for the cluster.
    pub fn names(&self, identity: &str) -> bool {
        self.identities.iter().any(|own| own == identity)
    }

    /// An entry with defaults; `labels` gain `cluster`.
    pub fn new(cluster: &str, environment: &str) -> ClusterPolicy {
        ClusterPolicy {
            cluster: cluster.to_owned(),
            labels: Labels::from_pairs([(CLUSTER, cluster), (ENVIRONMENT, environment)]),
            identities: Vec::new(),
            on_label_conflict: LabelConflict::default(),
            limits: ClusterLimits::default(),
            expect_every: Duration::from_secs(15),
            ha_replica_label: String::new(),
            maintenance: None,
        }
    }

    /// Silence beyond this is `fedgate_cluster_up 0`, and another collector may take a target over.
    pub fn fresh_within(&self) -> Duration {
        self.expect_every * 2
    }

    /// Silence beyond this ends a stream's series.
    pub fn series_end_after(&self) -> Duration {
        (self.expect_every * 4).max(SERIES_END_MIN)
    }

    /// Whether a planned outage is on at `now`.
    pub fn in_maintenance(&self, now: Timestamp) -> bool {
        self.maintenance.as_ref().is_some_and(|planned| planned.until.is_none_or(|until| now < until))
    }
}

/// As in Prometheus (`scrape.maxAheadTime`).
const AHEAD_MAX: Duration = Duration::from_secs(600);
/// Series outlive their collector's silence by at least this, however short its interval.
const SERIES_END_MIN: Duration = Duration::from_secs(60);

/// Why a list of clusters is no inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// Two entries of one name.
    #[error("cluster {0:?} is listed twice, expected each cluster once")]
    ClusterTwice(String),
    /// One certificate for two clusters.
    #[error("identity {identity:?} is listed for clusters {first:?} and {second:?}, expected one cluster an identity")]
    IdentityTwice {
        /// The SAN.
        identity: String,
        /// Where it stood first.
        first: String,
        /// Where it stood again.
        second: String,
    },
    /// The stamped labels do not name the cluster, or stamp a metric name.
    #[error("labels {labels} of cluster {cluster:?} must hold cluster={cluster:?} and no __name__")]
    Labels {
        /// The entry.
        cluster: String,
        /// As written.
        labels: Labels,
    },
}

/// Where an identity belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The cluster's policy.
    pub policy: Arc<ClusterPolicy>,
    /// The identity that matched: the `collector` label of `fedgate_collector_up`.
    pub collector: Arc<str>,
}

/// The clusters of the site and who speaks for them.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    clusters: BTreeMap<String, Arc<ClusterPolicy>>,
    identities: HashMap<Arc<str>, Arc<ClusterPolicy>>,
}

impl Inventory {
    /// Checks that names and identities are unique and the labels name their cluster.
    pub fn new(policies: impl IntoIterator<Item = ClusterPolicy>) -> Result<Inventory, InventoryError> {
        let mut inventory = Inventory::default();
        for policy in policies {
            inventory.insert(Arc::new(policy))?;
        }
        Ok(inventory)
    }

    fn insert(&mut self, policy: Arc<ClusterPolicy>) -> Result<(), InventoryError> {
        let cluster = policy.cluster.clone();
        if policy.labels.get(CLUSTER) != Some(&cluster) || policy.labels.get(METRIC_NAME).is_some() {
            return Err(InventoryError::Labels { cluster, labels: policy.labels.clone() });
        }
        for identity in &policy.identities {
            if let Some(first) = self.identities.insert(identity.as_str().into(), policy.clone()) {
                let (identity, first) = (identity.clone(), first.cluster.clone());
                return Err(InventoryError::IdentityTwice { identity, first, second: cluster });
            }
        }
        match self.clusters.insert(cluster, policy) {
            None => Ok(()),
            Some(first) => Err(InventoryError::ClusterTwice(first.cluster.clone())),
        }
    }

    /// The cluster of the first of these names that is listed; pass SAN URIs before DNS names.
    pub fn identify<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<Membership> {
        names.into_iter().find_map(|name| {
            let (collector, policy) = self.identities.get_key_value(name)?;
            Some(Membership { policy: policy.clone(), collector: collector.clone() })
        })
    }

    /// The entry of one cluster.
    pub fn get(&self, cluster: &str) -> Option<&Arc<ClusterPolicy>> {
        self.clusters.get(cluster)
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ClusterPolicy>> {
        self.clusters.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(cluster: &str, identity: &str) -> ClusterPolicy {
        ClusterPolicy { identities: vec![identity.to_owned()], ..ClusterPolicy::new(cluster, "test") }
    }

    #[test]
    fn an_identity_names_one_cluster() {
        let inventory = Inventory::new([policy("a", "spiffe://a"), policy("b", "b.example")]).unwrap();
        assert_eq!(inventory.identify(["x", "b.example"]).unwrap().policy.cluster, "b");
        assert_eq!(inventory.identify(["x"]), None, "deny by default");
        let twice = Inventory::new([policy("a", "i"), policy("b", "i")]).unwrap_err();
        assert!(matches!(twice, InventoryError::IdentityTwice { .. }), "{twice}");
        let cluster = Inventory::new([policy("a", "i"), policy("a", "j")]).unwrap_err();
        assert_eq!(cluster, InventoryError::ClusterTwice("a".to_owned()));
    }

    #[test]
    fn labels_must_name_their_cluster() {
        let wrong = ClusterPolicy { labels: Labels::from_pairs([(CLUSTER, "b")]), ..ClusterPolicy::new("a", "test") };
        assert!(matches!(Inventory::new([wrong]), Err(InventoryError::Labels { .. })));
    }

    #[test]
    fn series_outlive_short_silence() {
        let quick = ClusterPolicy { expect_every: Duration::from_secs(1), ..ClusterPolicy::new("a", "test") };
        assert_eq!((quick.fresh_within().as_secs(), quick.series_end_after().as_secs()), (2, 60));
        let slow = ClusterPolicy { expect_every: Duration::from_secs(60), ..quick };
        assert_eq!(slow.series_end_after().as_secs(), 240);
    }
}
