//! What the gateway counts. Names are promises to users; everything the gateway refuses adds to one of them.
//!
//! The label `cluster` only ever holds names from the inventory, or nothing where the sender is not in it, and `reason`
//! only fixed words, so that a peer cannot make series.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::registry::Registry;
use crate::model::Timestamp;

/// Labelled with `cluster`, and with `reason` where there are several.
type ByCluster = Family<Vec<(&'static str, String)>, Counter>;

/// Bounds of the push histogram in seconds: 250 µs to 8 s, each double the one before.
const PUSH_SECONDS_BOUNDS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
];

/// The gateway's event counters; clones count into the same series.
#[derive(Clone, Debug)]
pub struct GatewayMetrics {
    received_bytes: ByCluster,
    received_samples: ByCluster,
    frames_applied: ByCluster,
    frames_duplicate: ByCluster,
    dropped_samples: ByCluster,
    refused: ByCluster,
    evicted_streams: ByCluster,
    frames_outrun: ByCluster,
    left_out: ByCluster,
    push_seconds: Histogram,
    reload: ReloadMetrics,
}

impl GatewayMetrics {
    /// Registers everything under its name, build and process metrics included.
    pub fn new(registry: &mut Registry) -> GatewayMetrics {
        let metrics = GatewayMetrics {
            received_bytes: ByCluster::default(),
            received_samples: ByCluster::default(),
            frames_applied: ByCluster::default(),
            frames_duplicate: ByCluster::default(),
            dropped_samples: ByCluster::default(),
            refused: ByCluster::default(),
            evicted_streams: ByCluster::default(),
            frames_outrun: ByCluster::default(),
            left_out: ByCluster::default(),
            push_seconds: Histogram::new(PUSH_SECONDS_BOUNDS),
            reload: ReloadMetrics::new(registry, "gateway"),
        };
        let mut add = |name, help, family: &ByCluster| registry.register(name, help, family);
        add("fedgate_push_received_bytes", "Bytes of push request bodies by cluster", &metrics.received_bytes);
        add(
            "fedgate_push_received_samples",
            "Samples that the scrapes in accepted frames delivered, unchanged ones included",
            &metrics.received_samples,
        );
        add("fedgate_push_applied_frames", "State frames applied", &metrics.frames_applied);
        add("fedgate_push_duplicate_frames", "State frames that had been applied before", &metrics.frames_duplicate);
        add(
            "fedgate_push_dropped_samples",
            "Samples in accepted frames that readers do not see, by reason",
            &metrics.dropped_samples,
        );
        add("fedgate_push_refused", "Pushes answered with another status than 200, by reason", &metrics.refused);
        add(
            "fedgate_push_evicted_streams",
            "Streams that a new one took the place of, because the cluster had as many as it may have",
            &metrics.evicted_streams,
        );
        add(
            "fedgate_push_outrun_frames",
            "Frames of a run whose collector had begun a later one: two processes push with one certificate",
            &metrics.frames_outrun,
        );
        registry.register(
            "fedgate_page_left_out_samples",
            "Samples that were selected for a page and have no form in its format, by reason",
            &metrics.left_out,
        );
        metrics.native_histograms_left_out();
        registry.register(
            "fedgate_push_duration_seconds",
            "Time from a push body being read to its verdict",
            &metrics.push_seconds,
        );
        super::process::register(registry, "fedgate_gateway_");
        build(registry);
        metrics
    }

    /// Counts a request body of `bytes`, whatever becomes of it.
    pub fn body_received(&self, cluster: &str, bytes: usize) {
        self.received_bytes.get_or_create(&by(cluster)).inc_by(bytes as u64);
    }

    /// Counts one state frame that changed the view.
    pub fn frame_applied(&self, cluster: &str, samples: u64) {
        self.frames_applied.get_or_create(&by(cluster)).inc();
        self.received_samples.get_or_create(&by(cluster)).inc_by(samples);
    }

    /// Counts one state frame that had been applied before.
    pub fn frame_duplicate(&self, cluster: &str) {
        self.frames_duplicate.get_or_create(&by(cluster)).inc();
    }

    /// Counts a push that was not acknowledged; `cluster` is empty where the sender is unknown.
    pub fn push_refused(&self, cluster: &str, reason: &'static str) {
        self.refused.get_or_create(&for_reason(cluster, reason)).inc();
    }

    /// Counts samples of an accepted frame that a limit or a label conflict keeps from readers.
    pub fn samples_dropped(&self, cluster: &str, reason: &'static str, samples: u64) {
        self.dropped_samples.get_or_create(&for_reason(cluster, reason)).inc_by(samples);
    }

    /// Counts a stream that had to make room for a new one.
    pub fn stream_evicted(&self, cluster: &str) {
        self.evicted_streams.get_or_create(&by(cluster)).inc();
    }

    /// Counts a frame of a run whose collector had begun a later one.
    pub fn frame_outrun(&self, cluster: &str) {
        self.frames_outrun.get_or_create(&by(cluster)).inc();
    }

    /// Counts the native histograms that pages of text cannot show.
    pub fn native_histograms_left_out(&self) -> LeftOut {
        LeftOut(self.left_out.get_or_create(&vec![("reason", "native_histogram".to_owned())]).clone())
    }

    /// Observes the time that one push body took.
    pub fn push_took(&self, duration: Duration) {
        self.push_seconds.observe(duration.as_secs_f64());
    }

    /// How the last reload of the configuration went.
    pub fn reload(&self) -> &ReloadMetrics {
        &self.reload
    }

    /// Makes the series of a cluster of the inventory exist with 0, so that a rate over its first event is seen.
    pub fn know_cluster(&self, cluster: &str) {
        let by_cluster = [
            &self.received_bytes,
            &self.received_samples,
            &self.frames_applied,
            &self.frames_duplicate,
            &self.evicted_streams,
            &self.frames_outrun,
        ];
        by_cluster.into_iter().for_each(|family| drop(family.get_or_create(&by(cluster))));
    }
}

/// Counts samples that a page leaves out for one reason; clones count into the same series, a default one into none.
#[derive(Clone, Debug, Default)]
pub struct LeftOut(Counter);

impl LeftOut {
    /// Counts `samples` more.
    pub fn add(&self, samples: u64) {
        self.0.inc_by(samples);
    }
}

fn by(cluster: &str) -> Vec<(&'static str, String)> {
    vec![("cluster", cluster.to_owned())]
}

fn for_reason(cluster: &str, reason: &'static str) -> Vec<(&'static str, String)> {
    vec![("cluster", cluster.to_owned()), ("reason", reason.to_owned())]
}

/// The last reload, under the names `fedgate_ROLE_config_last_reload_…` as Prometheus has them for itself.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    successful: Gauge,
    success_time: Gauge<f64, AtomicU64>,
    failures: Counter,
}

impl ReloadMetrics {
    pub(super) fn new(registry: &mut Registry, role: &str) -> ReloadMetrics {
        let metrics = ReloadMetrics {
            successful: Gauge::default(),
            success_time: Gauge::default(),
            failures: Counter::default(),
        };
        let name = |rest: &str| format!("fedgate_{role}_config_{rest}");
        registry.register(
            &name("last_reload_successful"),
            "Whether the last reload of the configuration was taken",
            &metrics.successful,
        );
        registry.register(
            &name("last_reload_success_timestamp_seconds"),
            "When a configuration was last taken",
            &metrics.success_time,
        );
        registry.register(
            &name("reload_failures"),
            "Reloads that kept the old configuration because the new one has faults",
            &metrics.failures,
        );
        metrics
    }

    /// The configuration was taken at `now`.
    pub fn succeeded(&self, now: Timestamp) {
        self.successful.set(1);
        self.success_time.set(now.as_seconds());
    }

    /// The configuration was refused and the old one kept.
    pub fn failed(&self) {
        self.successful.set(0);
        self.failures.inc();
    }
}

/// `fedgate_build_info`, always 1, with the version as a label.
pub(super) fn build(registry: &mut Registry) {
    registry.derive("fedgate_build_info", "The version of this program", super::Kind::Gauge, |emit| {
        emit.series(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_promised_ones() {
        let mut registry = Registry::new();
        let metrics = GatewayMetrics::new(&mut registry);
        metrics.body_received("alpha", 100);
        metrics.frame_applied("alpha", 7);
        metrics.push_refused("", "unknown_identity");
        let page = registry.page();
        for line in [
            "fedgate_push_received_bytes_total{cluster=\"alpha\"} 100\n",
            "fedgate_push_received_samples_total{cluster=\"alpha\"} 7\n",
            "fedgate_push_refused_total{cluster=\"\",reason=\"unknown_identity\"} 1\n",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
