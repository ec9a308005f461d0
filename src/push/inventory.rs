//! The inventory as configured becomes the inventory as enforced.

use std::time::Duration;

use crate::config::{ClusterConfig, GatewayConfig, OnLabelConflict};
use crate::model::{Labels, Timestamp};
use crate::store::{ClusterLimits, ClusterPolicy, Inventory, InventoryError, LabelConflict, Maintenance};

/// Builds the inventory of a gateway's configuration.
pub fn inventory(config: &GatewayConfig) -> Result<Inventory, InventoryError> {
    Inventory::new(config.push.clusters.iter().map(|cluster| policy(cluster, config.limits.future_max)))
}

fn policy(config: &ClusterConfig, ahead_max: Duration) -> ClusterPolicy {
    let stamped = config.stamped_labels();
    ClusterPolicy {
        cluster: config.cluster.clone(),
        labels: Labels::from_pairs(stamped.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        identities: config.identities.clone(),
        on_label_conflict: match config.on_label_conflict {
            OnLabelConflict::Rename => LabelConflict::Rename,
            OnLabelConflict::Reject => LabelConflict::Reject,
            OnLabelConflict::Keep => LabelConflict::Keep,
        },
        limits: ClusterLimits {
            series: config.limits.series as u64,
            samples_per_second: config.limits.samples_per_second,
            labels_per_series: config.limits.labels_per_series,
            label_name_bytes: config.limits.label_name_bytes_max,
            label_value_bytes: config.limits.label_value_bytes_max,
            streams: config.limits.streams,
            ahead_max,
        },
        expect_every: config.expect_every,
        ha_replica_label: config.ha_replica_label.clone(),
        maintenance: config.maintenance.as_ref().map(|planned| Maintenance {
            until: Some(Timestamp(planned.until.as_millisecond())),
            reason: planned.reason.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hold_cluster_environment_and_what_else_is_configured() {
        let mut config = ClusterConfig { cluster: "alpha".into(), environment: "prod".into(), ..Default::default() };
        config.external_labels.insert("site".into(), "north".into());
        let expected = Labels::from_pairs([("cluster", "alpha"), ("environment", "prod"), ("site", "north")]);
        assert_eq!(policy(&config, Duration::ZERO).labels, expected);
    }
}
