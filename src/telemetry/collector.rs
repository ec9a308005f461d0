//! What the collector counts. Its page travels in its own snapshots as one more target, and stands at its listener.
//!
//! Every name begins with `fedgate_collector_` (but never is `fedgate_collector_up`, which the gateway owns), so that
//! it cannot meet a series of the gateway's.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::gateway::ReloadMetrics;
use super::registry::Registry;
use crate::model::Timestamp;

/// Bounds of the request histogram in seconds: 1 ms to 32 s, each double the one before.
const REQUEST_SECONDS_BOUNDS: [f64; 16] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384, 32.768];

type ByGateway<M> = Family<Vec<(&'static str, String)>, M>;

/// The collector's event counters; clones count into the same series.
#[derive(Clone, Debug)]
pub struct CollectorMetrics {
    frames: Counter,
    frame_bytes: Counter,
    queue_frames: Gauge,
    queue_bytes: Gauge,
    dropped_frames: ByGateway<Counter>,
    dropped_samples: ByGateway<Counter>,
    waiting_frames: ByGateway<Gauge>,
    waiting_samples: ByGateway<Gauge>,
    oldest_age: ByGateway<Gauge<f64, AtomicU64>>,
    overtaking: ByGateway<Gauge>,
    spool_bytes: Gauge,
    spool_limit_bytes: Gauge,
    spool_seconds_left: Gauge<f64, AtomicU64>,
    spool_failing: Gauge,
    not_spooled_frames: Counter,
    left_out_scrapes: Counter,
    left_out_exemplars: Counter,
    left_out_histograms: Counter,
    pushes: Family<Vec<(&'static str, String)>, Counter>,
    sent_bytes: Counter,
    acknowledged_time: Gauge<f64, AtomicU64>,
    request_seconds: Histogram,
    reload: ReloadMetrics,
}

impl CollectorMetrics {
    /// Registers everything under its name, build and process metrics included.
    pub fn new(registry: &mut Registry) -> CollectorMetrics {
        let metrics = CollectorMetrics {
            frames: Counter::default(),
            frame_bytes: Counter::default(),
            queue_frames: Gauge::default(),
            queue_bytes: Gauge::default(),
            dropped_frames: Family::default(),
            dropped_samples: Family::default(),
            waiting_frames: Family::default(),
            waiting_samples: Family::default(),
            oldest_age: Family::default(),
            overtaking: Family::default(),
            spool_bytes: Gauge::default(),
            spool_limit_bytes: Gauge::default(),
            spool_seconds_left: Gauge::default(),
            spool_failing: Gauge::default(),
            not_spooled_frames: Counter::default(),
            left_out_scrapes: Counter::default(),
            left_out_exemplars: Counter::default(),
            left_out_histograms: Counter::default(),
            pushes: Family::default(),
            sent_bytes: Counter::default(),
            acknowledged_time: Gauge::default(),
            request_seconds: Histogram::new(REQUEST_SECONDS_BOUNDS),
            reload: ReloadMetrics::new(registry, "collector"),
        };
        metrics.register_queue(registry);
        metrics.register_pushing(registry);
        metrics.register_deliveries(registry);
        metrics.register_spool(registry);
        super::process::register(registry, "");
        super::gateway::build(registry);
        metrics
    }

    fn register_queue(&self, registry: &mut Registry) {
        registry.register("fedgate_collector_frames", "Frames encoded", &self.frames);
        registry.register("fedgate_collector_frame_bytes", "Bytes of frames encoded", &self.frame_bytes);
        registry.register("fedgate_collector_queue_frames", "Frames kept in memory", &self.queue_frames);
        registry.register("fedgate_collector_queue_bytes", "Bytes of frames kept in memory", &self.queue_bytes);
        registry.register(
            "fedgate_collector_left_out_scrapes",
            "Scrapes in no frame because their targets are over what a gateway takes",
            &self.left_out_scrapes,
        );
        registry.register(
            "fedgate_collector_left_out_exemplars",
            "Exemplars in no frame because their labels are too long, or they are too many",
            &self.left_out_exemplars,
        );
        registry.register(
            "fedgate_collector_left_out_histograms",
            "Native histograms in no frame because they are bad or over what a gateway takes",
            &self.left_out_histograms,
        );
    }

    fn register_pushing(&self, registry: &mut Registry) {
        registry.register("fedgate_collector_pushes", "Push requests by result", &self.pushes);
        registry.register("fedgate_collector_push_sent_bytes", "Bytes of push request bodies sent", &self.sent_bytes);
        registry.register(
            "fedgate_collector_push_acknowledged_timestamp_seconds",
            "When the gateway last acknowledged a push",
            &self.acknowledged_time,
        );
        registry.register(
            "fedgate_collector_push_duration_seconds",
            "Time from sending a push to its verdict",
            &self.request_seconds,
        );
    }

    fn register_deliveries(&self, registry: &mut Registry) {
        registry.register(
            "fedgate_collector_push_dropped_frames",
            "Frames that a gateway will not get, by reason",
            &self.dropped_frames,
        );
        registry.register(
            "fedgate_collector_push_dropped_samples",
            "Samples in the frames that a gateway will not get, by reason",
            &self.dropped_samples,
        );
        registry.register(
            "fedgate_collector_push_unacknowledged_frames",
            "Frames that a gateway has not acknowledged yet",
            &self.waiting_frames,
        );
        registry.register(
            "fedgate_collector_push_unacknowledged_samples",
            "Samples in the frames that a gateway has not acknowledged yet",
            &self.waiting_samples,
        );
        registry.register(
            "fedgate_collector_push_oldest_unacknowledged_age_seconds",
            "Age of the oldest frame that a gateway has not acknowledged yet",
            &self.oldest_age,
        );
        registry.register(
            "fedgate_collector_push_overtaking",
            "Whether the newest state is sent to a gateway ahead of a backlog",
            &self.overtaking,
        );
    }

    fn register_spool(&self, registry: &mut Registry) {
        registry.register("fedgate_collector_spool_bytes", "Bytes that the spool takes on disk", &self.spool_bytes);
        registry.register(
            "fedgate_collector_spool_limit_bytes",
            "Bytes that the spool may take on disk",
            &self.spool_limit_bytes,
        );
        registry.register(
            "fedgate_collector_spool_seconds_left",
            "How long an outage may last from now on before the spool has to drop frames, at the present rate",
            &self.spool_seconds_left,
        );
        registry.register(
            "fedgate_collector_spool_failing",
            "Whether the spool's disk refuses to take frames",
            &self.spool_failing,
        );
        registry.register(
            "fedgate_collector_spool_missed_frames",
            "Frames that the spool could not take, and that went on from memory alone",
            &self.not_spooled_frames,
        );
    }

    /// Counts encoded frames.
    pub fn frame_encoded(&self, bytes: usize) {
        self.frames.inc();
        self.frame_bytes.inc_by(bytes as u64);
    }

    /// Counts what no frame could take.
    pub fn left_out(&self, scrapes: u64, exemplars: u64, histograms: u64) {
        self.left_out_scrapes.inc_by(scrapes);
        self.left_out_exemplars.inc_by(exemplars);
        self.left_out_histograms.inc_by(histograms);
    }

    /// Shows what the queue holds now.
    pub fn queue_holds(&self, frames: usize, bytes: usize) {
        self.queue_frames.set(frames as i64);
        self.queue_bytes.set(bytes as i64);
    }

    /// Counts frames, and samples in them, that a gateway will not get.
    pub fn dropped(&self, gateway: &str, reason: &'static str, frames: u64, samples: u64) {
        let labels = vec![("gateway", gateway.to_owned()), ("reason", reason.to_owned())];
        self.dropped_frames.get_or_create(&labels).inc_by(frames);
        self.dropped_samples.get_or_create(&labels).inc_by(samples);
    }

    /// Shows frames and samples that a gateway has not acknowledged, how old the oldest of them is, and whether the newest state
    /// overtakes them.
    pub fn waits(&self, gateway: &str, (frames, samples): (u64, u64), oldest: Duration, is_overtaken: bool) {
        let labels = of_gateway(gateway);
        self.waiting_frames.get_or_create(&labels).set(frames as i64);
        self.waiting_samples.get_or_create(&labels).set(samples as i64);
        self.oldest_age.get_or_create(&labels).set(oldest.as_secs_f64());
        self.overtaking.get_or_create(&labels).set(i64::from(is_overtaken));
    }

    /// Shows nothing more of a gateway that nothing is sent to; what was dropped stays counted.
    pub fn forget_gateway(&self, gateway: &str) {
        let labels = of_gateway(gateway);
        self.waiting_frames.remove(&labels);
        self.waiting_samples.remove(&labels);
        self.oldest_age.remove(&labels);
        self.overtaking.remove(&labels);
    }

    /// Shows what the spool takes and may take on disk, and how long an outage it has room for.
    pub fn spool_holds(&self, bytes: u64, bytes_max: u64, seconds_left: f64) {
        self.spool_bytes.set(bytes as i64);
        self.spool_limit_bytes.set(bytes_max as i64);
        self.spool_seconds_left.set(seconds_left);
    }

    /// Shows whether the spool's disk fails now.
    pub fn spool_failing(&self, is_failing: bool) {
        self.spool_failing.set(i64::from(is_failing));
    }

    /// Counts frames that are in no spool.
    pub fn not_spooled(&self, frames: u64) {
        self.not_spooled_frames.inc_by(frames);
    }

    /// Counts a finished request: `result` is a status code or a fixed word for what went wrong before one came.
    pub fn push_finished(&self, result: &str, sent_bytes: usize, took: Duration) {
        self.pushes.get_or_create(&vec![("result", result.to_owned())]).inc();
        self.sent_bytes.inc_by(sent_bytes as u64);
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// Shows when the gateway last acknowledged something.
    pub fn acknowledged(&self, now: Timestamp) {
        self.acknowledged_time.set(now.as_seconds());
    }

    /// How the last reload of the configuration went.
    pub fn reload(&self) -> &ReloadMetrics {
        &self.reload
    }
}

fn of_gateway(gateway: &str) -> Vec<(&'static str, String)> {
    vec![("gateway", gateway.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_own_name_has_the_collectors_prefix() {
        let mut registry = Registry::new();
        let metrics = CollectorMetrics::new(&mut registry);
        metrics.push_finished("200", 10, Duration::from_millis(3));
        metrics.left_out(2, 1, 0);
        let page = registry.page();
        for line in page.lines().filter(|line| line.starts_with("fedgate_")) {
            let own = line.starts_with("fedgate_collector_") || line.starts_with("fedgate_build_info");
            assert!(own && !line.starts_with("fedgate_collector_up"), "{line}");
        }
        assert!(page.contains("fedgate_collector_pushes_total{result=\"200\"} 1\n"), "{page}");
        assert!(page.contains("fedgate_collector_left_out_scrapes_total 2\n"), "{page}");
    }
}
