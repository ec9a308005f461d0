//! What scraping and discovery count, as metrics of the collector.

use crate::scrape::Manager;
use crate::telemetry::{Kind, Registry};

/// Registers the families; they are read from the counters when a page is written.
pub(super) fn register(registry: &mut Registry, manager: &Manager) {
    totals(registry, manager);
    by_reason(registry, manager);
    let own = manager.clone();
    registry.derive("fedgate_collector_targets", "Targets by health", Kind::Gauge, move |emit| {
        let targets = own.targets();
        for health in ["unknown", "up", "down"] {
            let count = targets.iter().filter(|target| target.health.as_str() == health).count();
            emit.series(&[("health", health)], count as f64);
        }
    });
    let own = manager.clone();
    registry.derive("fedgate_collector_series", "Series of all targets", Kind::Gauge, move |emit| {
        emit.series(&[], own.series() as f64);
    });
}

fn totals(registry: &mut Registry, manager: &Manager) {
    let mut counter = |name, help, read: fn(&crate::scrape::Counters) -> u64| {
        let counters = manager.counters().clone();
        registry.derive(name, help, Kind::Counter, move |emit| emit.series(&[], read(&counters) as f64));
    };
    counter("fedgate_collector_scrapes", "Scrapes finished, failed ones included", |counters| counters.scrapes());
    counter("fedgate_collector_scraped_samples", "Samples on the pages that were read", |counters| counters.samples());
    counter(
        "fedgate_collector_scrapes_dropped",
        "Finished scrapes that no tick could take because too many waited",
        |counters| counters.scrapes_dropped(),
    );
    counter(
        "fedgate_collector_intervals_missed",
        "Intervals in which a target was not scraped because the scrape before was not over",
        |counters| counters.intervals_missed(),
    );
}

fn by_reason(registry: &mut Registry, manager: &Manager) {
    let counters = manager.counters().clone();
    registry.derive("fedgate_collector_scrape_failures", "Scrapes that ended as up 0", Kind::Counter, move |emit| {
        counters.failures().for_each(|(reason, count)| emit.series(&[("reason", reason)], count as f64));
    });
    let counters = manager.counters().clone();
    registry.derive(
        "fedgate_collector_samples_dropped",
        "Samples of good pages that were dropped",
        Kind::Counter,
        move |emit| {
            counters.dropped_samples().iter().for_each(|(reason, n)| emit.series(&[("reason", reason)], *n as f64));
        },
    );
    let counters = manager.counters().clone();
    registry.derive(
        "fedgate_collector_targets_refused",
        "Addresses that gave no target, at every change of targets",
        Kind::Counter,
        move |emit| {
            counters.refused_targets().iter().for_each(|(reason, n)| emit.series(&[("reason", reason)], *n as f64));
        },
    );
    let counters = manager.discovery_counters().clone();
    registry.derive(
        "fedgate_collector_discovery_failures",
        "Looks at a source of targets that failed and kept its targets",
        Kind::Counter,
        move |emit| {
            counters.faults().iter().for_each(|(source, count)| emit.series(&[("source", source)], *count as f64));
        },
    );
}
