//! Checks of the inventory: one identity, one cluster; no label that a cluster could use to pass for another.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::names::{check_duration, check_labels, check_range};
use crate::config::report::At;
use crate::config::{ClusterConfig, ClusterLimits, OnLabelConflict};

const EXPECT_MIN: Duration = Duration::from_secs(1);
const EXPECT_MAX: Duration = Duration::from_secs(3600);
/// A DNS name and its label, in bytes (RFC 1035 §2.3.4).
const DNS_NAME_BYTES_MAX: usize = 253;
const DNS_LABEL_BYTES_MAX: usize = 63;
/// Labels that the inventory has keys of its own for.
const OWN_KEYS: [&str; 2] = ["cluster", "environment"];

/// Every cluster, and that neither a name nor an identity stands twice.
pub(super) fn check_inventory(clusters: &[ClusterConfig], at: &At<'_>) {
    let (mut names, mut identities) = (BTreeMap::new(), BTreeMap::new());
    for (nth, cluster) in clusters.iter().enumerate() {
        let at = at.index(nth);
        check_name(cluster, &at);
        if names.insert(cluster.cluster.as_str(), nth).is_some() && !cluster.cluster.is_empty() {
            at.key("cluster").fault(format!("a cluster {:?} stands above already", cluster.cluster));
        }
        for (place, identity) in cluster.identities.iter().enumerate() {
            let at = at.key("identities").index(place);
            check_identity(identity, &at);
            // DNS names do not differ by case, and neither do the scheme and host of a URI.
            if let Some(other) = identities.insert(identity.to_ascii_lowercase(), &cluster.cluster) {
                at.fault(format!("{identity:?} speaks for cluster {other:?} already"));
            }
        }
        check_cluster(cluster, &at);
    }
    if clusters.is_empty() {
        at.warn("the inventory is empty: every push will be refused");
    }
}

fn check_name(cluster: &ClusterConfig, at: &At<'_>) {
    let name = &cluster.cluster;
    at.key("cluster").require(!name.is_empty(), "a cluster needs a name");
    at.key("cluster").require(!name.contains(char::is_control), "expected a name without control characters");
}

fn check_cluster(cluster: &ClusterConfig, at: &At<'_>) {
    at.key("identities").require(!cluster.identities.is_empty(), "expected at least one identity");
    check_labels(&cluster.external_labels, &at.key("external_labels"));
    for own in OWN_KEYS.iter().filter(|own| cluster.external_labels.contains_key(**own)) {
        at.key("external_labels").key(own).fault(format!("{own} is a key of the cluster itself"));
    }
    if cluster.on_label_conflict == OnLabelConflict::Keep && cluster.external_labels.is_empty() {
        at.key("on_label_conflict").warn(
            "cluster and environment are never kept, and there are no other labels: \
                                          this acts as rename",
        );
    }
    check_duration(cluster.expect_every, EXPECT_MIN, EXPECT_MAX, &at.key("expect_every"));
    check_limits(&cluster.limits, &at.key("limits"));
}

/// A URI (`spiffe://…`) or a DNS name, whole: no wildcards.
fn check_identity(identity: &str, at: &At<'_>) {
    let is_uri = identity.contains("://") && Url::parse(identity).is_ok();
    let is_name = identity.len() <= DNS_NAME_BYTES_MAX && identity.split('.').all(is_dns_label);
    let expected = "expected a URI like spiffe://DOMAIN/collector/NAME or a DNS name without wildcards";
    at.require(is_uri || is_name, format!("found {identity:?}, {expected}"));
}

fn is_dns_label(label: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=DNS_LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(legal) && !label.starts_with('-')
}

fn check_limits(limits: &ClusterLimits, at: &At<'_>) {
    check_range(limits.series, 1, 100_000_000, &at.key("series"));
    check_range(limits.samples_per_second, 1, 1_000_000_000, &at.key("samples_per_second"));
    check_range(limits.labels_per_series, 4, 1024, &at.key("labels_per_series"));
    check_range(limits.label_name_bytes_max, 16, 65_536, &at.key("label_name_bytes_max"));
    check_range(limits.label_value_bytes_max, 16, 65_536, &at.key("label_value_bytes_max"));
    check_range(limits.streams, 1, 1024, &at.key("streams"));
}
