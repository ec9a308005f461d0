//! What people see of the endpoints: `fedgate_remote_write_…`, by endpoint. Names follow Prometheus's own.
//!
//! Invariant: an endpoint is shown from when it is configured until it is no more; its numbers begin at zero then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counts::{EndpointCounts, Totals};
use super::verdict::LossReason;
use crate::runtime::clock;
use crate::telemetry::{Emit, Kind, Registry};

/// The numbers of all endpoints, by name. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SenderCounts {
    endpoints: Arc<Mutex<BTreeMap<String, Arc<EndpointCounts>>>>,
}

/// The three kinds of things, as metric names have them.
const KINDS: [&str; 3] = ["samples", "histograms", "exemplars"];

impl SenderCounts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<EndpointCounts>>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of an endpoint, new if it was not there.
    pub fn of(&self, name: &str) -> Arc<EndpointCounts> {
        self.lock().entry(name.to_owned()).or_default().clone()
    }

    /// Forgets an endpoint.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// What an endpoint said when it refused something last.
    pub fn last_refusal(&self, name: &str) -> Option<String> {
        Some(self.lock().get(name)?.last_refusal())
    }

    /// Registers everything that is shown.
    pub fn register(&self, registry: &mut Registry) {
        for (at, kind) in KINDS.into_iter().enumerate() {
            let delivered = "Delivered to the endpoint; exemplars and histograms have series of their own";
            self.total(registry, kind, delivered, move |counts| counts.delivered.read()[at]);
            let again = "Sent again because the endpoint did not take them, once for each time";
            self.total(registry, &format!("{kind}_retried"), again, move |counts| counts.again.read()[at]);
            self.dropped(registry, kind, at);
        }
        let one = |registry: &mut Registry, name, help, read: fn(&EndpointCounts) -> &AtomicU64| {
            self.total(registry, name, help, move |counts| read(counts).load(Ordering::Relaxed));
        };
        one(registry, "metadata", "Families of which type and help were told to an endpoint of 1.0", |one| {
            &one.metadata
        });
        one(registry, "bytes", "Bytes of request bodies, compressed", |one| &one.bytes);
        one(registry, "requests", "Requests, those that were sent again included", |one| &one.requests);
        let help = "Journal bytes that were dropped or damaged before they were sent";
        one(registry, "journal_lost_bytes", help, |one| &one.journal_bytes_lost);
        self.gauge(registry, "samples_pending", "Samples read from the journal and not delivered yet", |one| {
            one.rows.load(Ordering::Relaxed) as f64
        });
        self.gauge(registry, "shards", "Requests that may be under way at once", |one| {
            one.shards.load(Ordering::Relaxed) as f64
        });
        let help = "Whether the endpoint refuses every request, so that nothing is sent: see the log";
        self.gauge(registry, "refused", help, |one| one.is_misconfigured.load(Ordering::Relaxed) as f64);
        let help = "How old the oldest sample is that was read and not delivered; 0 where there is none";
        self.gauge(registry, "oldest_pending_age_seconds", help, |one| {
            let oldest = one.oldest_ms.load(Ordering::Relaxed);
            if oldest == 0 { 0.0 } else { clock::now().since(crate::model::Timestamp(oldest)).as_secs_f64() }
        });
        let help = "Time of the newest sample that was delivered, 0 before the first";
        self.gauge(registry, "queue_highest_sent_timestamp_seconds", help, |one| {
            one.highest_ms.load(Ordering::Relaxed) as f64 / 1000.0
        });
    }

    fn each(&self, mut show: impl FnMut(&str, &EndpointCounts)) {
        self.lock().iter().for_each(|(name, counts)| show(name, counts));
    }

    fn total(
        &self,
        registry: &mut Registry,
        name: &str,
        help: &'static str,
        read: impl Fn(&EndpointCounts) -> u64 + Send + Sync + 'static,
    ) {
        let own = self.clone();
        registry.derive(&format!("fedgate_remote_write_{name}"), help, Kind::Counter, move |emit| {
            own.each(|name, counts| emit.series(&[("endpoint", name)], read(counts) as f64));
        });
    }

    fn gauge(&self, registry: &mut Registry, name: &str, help: &'static str, read: fn(&EndpointCounts) -> f64) {
        let own = self.clone();
        registry.derive(&format!("fedgate_remote_write_{name}"), help, Kind::Gauge, move |emit| {
            own.each(|name, counts| emit.series(&[("endpoint", name)], read(counts)));
        });
    }

    fn dropped(&self, registry: &mut Registry, kind: &'static str, at: usize) {
        let (own, help) = (self.clone(), "Lost to the endpoint, by reason");
        registry.derive(&format!("fedgate_remote_write_{kind}_dropped"), help, Kind::Counter, move |emit| {
            own.each(|name, counts| show_dropped(emit, name, &counts.lost, at));
        });
    }
}

fn show_dropped(emit: &mut Emit<'_, '_>, name: &str, lost: &[Totals], at: usize) {
    for (reason, totals) in LossReason::ALL.iter().zip(lost) {
        emit.series(&[("endpoint", name), ("reason", reason.as_str())], totals.read()[at] as f64);
    }
}
