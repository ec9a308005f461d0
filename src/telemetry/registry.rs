//! The register of fedgate's own metrics, and the page that shows them.
//!
//! Two ways in. Counters of events are registered once and incremented where the event happens. Facts that some other
//! part already keeps (the store's clusters, the process's memory) are *derived*: a function reads them at the moment
//! a page is written, so that there is no second copy that could be late or wrong.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Metric;

/// Whether a derived family only grows (a counter, whose name gets `_total`) or moves both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows until the process ends.
    Counter,
    /// May go up and down.
    Gauge,
}

/// All families of one process.
#[derive(Debug, Default)]
pub struct Registry {
    inner: prometheus_client::registry::Registry,
}

impl Registry {
    /// An empty register.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a metric that its owner increments. `name` comes without the `_total` of a counter.
    pub(super) fn register<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: &M) {
        self.inner.register(name, help.trim_end_matches('.'), metric.clone());
    }

    /// Adds a family whose series `read` emits each time a page is written. `name` comes without the `_total` of a
    /// counter, `help` without a full stop (the encoder adds it). `read` must be quick and must not block.
    pub fn derive<F>(&mut self, name: &str, help: &'static str, kind: Kind, read: F)
    where
        F: Fn(&mut Emit<'_, '_>) + Send + Sync + 'static,
    {
        self.inner.register_collector(Box::new(Derived { name: name.to_owned(), help, kind, read }));
    }

    /// The page of all families in OpenMetrics text, `# EOF` included.
    pub fn page(&self) -> String {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.inner).expect("writing to a string cannot fail");
        page
    }
}

/// Takes the series of one derived family.
pub struct Emit<'e, 'm> {
    encoder: &'e mut MetricEncoder<'m>,
    kind: Kind,
    outcome: fmt::Result,
}

impl Emit<'_, '_> {
    /// Writes one series of the family.
    pub fn series(&mut self, labels: &[(&str, &str)], value: f64) {
        if self.outcome.is_err() {
            return;
        }
        self.outcome = match labels {
            [] => write_value(self.encoder, self.kind, value),
            labels => {
                self.encoder.encode_family(&labels).and_then(|mut encoder| write_value(&mut encoder, self.kind, value))
            }
        };
    }
}

fn write_value(encoder: &mut MetricEncoder<'_>, kind: Kind, value: f64) -> fmt::Result {
    match kind {
        Kind::Gauge => encoder.encode_gauge(&value),
        Kind::Counter => encoder.encode_counter::<prometheus_client::encoding::NoLabelSet, f64, u64>(&value, None),
    }
}

struct Derived<F> {
    name: String,
    help: &'static str,
    kind: Kind,
    read: F,
}

impl<F> fmt::Debug for Derived<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "derived {}", self.name)
    }
}

impl<F: Fn(&mut Emit<'_, '_>) + Send + Sync + 'static> Collector for Derived<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        // The register adds a full stop to what it registers itself, but not to what a collector describes.
        let help = format!("{}.", self.help);
        let mut encoder = encoder.encode_descriptor(&self.name, &help, None, kind)?;
        let mut emit = Emit { encoder: &mut encoder, kind: self.kind, outcome: Ok(()) };
        (self.read)(&mut emit);
        emit.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_series_stand_in_the_page_with_type_and_help() {
        let mut registry = Registry::new();
        registry.derive("a_up", "Whether a is up", Kind::Gauge, |emit| {
            emit.series(&[("cluster", "al\"pha")], 1.0);
            emit.series(&[("cluster", "beta")], 0.0);
        });
        registry.derive("b", "Events", Kind::Counter, |emit| emit.series(&[], 3.0));
        let page = registry.page();
        assert!(
            page.contains("# HELP a_up Whether a is up.\n# TYPE a_up gauge\na_up{cluster=\"al\\\"pha\"} 1.0\n"),
            "{page}"
        );
        assert!(page.contains("# TYPE b counter\nb_total 3.0\n"), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}
