//! What the gateway knows of a cluster and of a scrape without being sent a series for it.
//!
//! Invariant: every cluster of the inventory has its [`ClusterFacts`] at any time, also one that never pushed; so a
//! silent cluster is a 0, never an absence. What is not known yet is the value that makes a comparison with it do no
//! harm: NaN for a skew or an expiry, +Inf for a lag, 0 for a time that never was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arrival::CollectorSeen;
use super::view::{ClusterView, StreamView};
use crate::model::{MetricType, Timestamp};
use crate::snapshot::{Outcome, Report};

/// One collector of a cluster, known since its first push.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectorFacts {
    /// The identity that it pushed with.
    pub collector: Arc<str>,
    /// Whether it pushed within twice the cluster's `expect_every`.
    pub up: bool,
}

/// The always-there series of one cluster, as values.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterFacts {
    /// Whether any collector pushed within twice `expect_every`.
    pub up: bool,
    /// Its collectors, by name.
    pub collectors: Vec<CollectorFacts>,
    /// Sender's clock less the gateway's when it last pushed a state frame; NaN before it.
    pub clock_skew_seconds: f64,
    /// The latest among the ticks that its collectors sent last; 0 before the first.
    pub last_snapshot: Timestamp,
    /// How far the newest snapshot lies behind the gateway's clock.
    pub lag_seconds: f64,
    /// Live series that readers see.
    pub series: u64,
    /// First expiry among the certificates that pushed last.
    pub certificate_expiry_seconds: f64,
    /// Whether a planned outage is on.
    pub maintenance: bool,
}

/// Name, type and help of a series that the gateway makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactFamily {
    /// The metric name.
    pub name: &'static str,
    /// Always gauge: they go both ways.
    pub kind: MetricType,
    /// One line for people.
    pub help: &'static str,
}

const fn gauge(name: &'static str, help: &'static str) -> FactFamily {
    FactFamily { name, kind: MetricType::Gauge, help }
}

/// The collector's own family; its rows carry the label `collector`.
pub const COLLECTOR_UP: FactFamily =
    gauge("fedgate_collector_up", "Whether this collector pushed within twice its cluster's expect_every.");

/// The cluster's families, in the order of [`ClusterFacts::values`].
pub const CLUSTER_FAMILIES: [FactFamily; 7] = [
    gauge("fedgate_cluster_up", "Whether any collector of the cluster pushed within twice its expect_every."),
    gauge("fedgate_cluster_clock_skew_seconds", "The sender's clock less the gateway's, at the last push."),
    gauge("fedgate_cluster_last_snapshot_timestamp_seconds", "Tick of the newest snapshot, 0 before the first."),
    gauge("fedgate_cluster_lag_seconds", "How far the newest snapshot lies behind the gateway's clock."),
    gauge("fedgate_cluster_series", "Live series of the cluster."),
    gauge("fedgate_cluster_certificate_expiry_timestamp_seconds", "When the first of its certificates expires."),
    gauge("fedgate_cluster_maintenance", "Whether a planned outage of the cluster is on."),
];

impl ClusterFacts {
    /// The values of [`CLUSTER_FAMILIES`], in their order.
    pub fn values(&self) -> [f64; CLUSTER_FAMILIES.len()] {
        [
            f64::from(u8::from(self.up)),
            self.clock_skew_seconds,
            self.last_snapshot.as_seconds(),
            self.lag_seconds,
            self.series as f64,
            self.certificate_expiry_seconds,
            f64::from(u8::from(self.maintenance)),
        ]
    }
}

/// The series of each scrape, in the order of [`scrape_values`]: five always, three where the collector sends them.
pub const SCRAPE_FAMILIES: [FactFamily; 8] = [
    gauge("up", "Whether the last scrape of the target succeeded."),
    gauge("scrape_duration_seconds", "How long the last scrape took."),
    gauge("scrape_samples_scraped", "Samples that the target exposed."),
    gauge("scrape_samples_post_metric_relabeling", "Samples left after metric relabelling."),
    gauge("scrape_series_added", "About how many series are new in this scrape."),
    gauge("scrape_body_size_bytes", "Size of the last page before decompression; -1 where it was too large."),
    gauge("scrape_timeout_seconds", "The scrape time-out of the target."),
    gauge("scrape_sample_limit", "The sample limit of the target."),
];

/// The values of [`SCRAPE_FAMILIES`]; `None` where the scrape does not have the series. A gone target has none, nor
/// one whose samples others wrote: its own series of these names are among them.
pub fn scrape_values(outcome: Outcome, duration: Duration, report: &Report) -> [Option<f64>; SCRAPE_FAMILIES.len()] {
    if matches!(outcome, Outcome::Gone | Outcome::Written) {
        return [None; SCRAPE_FAMILIES.len()];
    }
    [
        Some(f64::from(u8::from(outcome == Outcome::Up))),
        Some(duration.as_secs_f64()),
        Some(report.samples_scraped as f64),
        Some(report.samples_post_relabel as f64),
        Some(report.series_added as f64),
        report.body_bytes.map(|bytes| bytes as f64),
        report.timeout.map(|timeout| timeout.as_secs_f64()),
        report.sample_limit.map(|limit| limit as f64),
    ]
}

/// Whether only the gateway may make series of this name; a push of one is refused.
pub fn is_gateway_name(name: &str) -> bool {
    name == COLLECTOR_UP.name || GATEWAY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const GATEWAY_PREFIXES: [&str; 3] = ["fedgate_cluster_", "fedgate_push_", "fedgate_gateway_"];

impl ClusterView {
    /// The always-there facts at this moment.
    pub fn facts(&self, wall: Timestamp, monotonic: Instant) -> ClusterFacts {
        let is_fresh =
            |seen: &CollectorSeen| monotonic.saturating_duration_since(seen.heard) <= self.policy.fresh_within();
        let collectors: Vec<CollectorFacts> = self
            .collectors
            .iter()
            .map(|seen| CollectorFacts { collector: seen.collector.clone(), up: is_fresh(seen) })
            .collect();
        let told = || self.collectors.iter().filter_map(|seen| Some((seen.heard, seen.told?)));
        let newest = told().max_by_key(|(heard, _)| *heard);
        let tick = told().map(|(_, told)| told.tick).max();
        let expiries = self.collectors.iter().map(|seen| seen.certificate_expires.as_seconds());
        ClusterFacts {
            up: collectors.iter().any(|collector| collector.up),
            collectors,
            clock_skew_seconds: newest.map_or(f64::NAN, |(_, told)| told.clock_skew_ms as f64 / 1000.0),
            last_snapshot: tick.unwrap_or_default(),
            lag_seconds: tick.map_or(f64::INFINITY, |tick| wall.since(tick).as_secs_f64()),
            series: self.live_streams(monotonic).map(|stream| stream_series(stream)).sum(),
            certificate_expiry_seconds: expiries.fold(f64::NAN, f64::min),
            maintenance: self.policy.in_maintenance(wall),
        }
    }
}

fn stream_series(stream: &StreamView) -> u64 {
    stream.targets.iter().map(|target| target.layout.live() as u64).sum()
}
