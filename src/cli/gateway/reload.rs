//! What a gateway takes from its file again without a restart: inventory, certificates, passwords, pages' settings.
//!
//! Invariant: all or nothing. Everything that can be refused is built first; certificates, which are checked and taken in
//! one step, are put back if a later step refuses. On a fault the old configuration stays whole in force.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::history;
use super::role::{load_access, load_tls};
use crate::cli::start::{StartError, note_reload};
use crate::config::{GatewayConfig, load_gateway};
use crate::http::api::{Queries, QueryOptions};
use crate::http::auth::Access;
use crate::http::readers::{ReaderOptions, Readers};
use crate::http::selectors::parse_selector;
use crate::model::Labels;
use crate::promql::{Engine, ParseOptions};
use crate::push::receive::Receiver;
use crate::remote_write::send::{SenderCounts, Senders};
use crate::rules::manager::{self, Manager};
use crate::runtime::{CpuPool, Tasks, clock};
use crate::store::Store;
use crate::telemetry::{GatewayMetrics, Registry};
use crate::tls::{Refresh, ServerFiles, ServerTls};
use crate::wal::Wal;

/// The parts that a reload reaches.
pub(super) struct Reloadable {
    /// The configuration in force.
    config: ArcSwap<GatewayConfig>,
    /// Takes the inventory.
    receiver: Arc<Receiver>,
    /// The push listener's certificates.
    pub(super) push_tls: Arc<ServerTls>,
    /// The readers' listener's, where it speaks TLS.
    pub(super) readers_tls: Option<Arc<ServerTls>>,
    /// Who may read.
    pub(super) access: Arc<ArcSwap<Access>>,
    /// `/federate` and `/metrics`.
    pub(super) readers: Arc<Readers>,
    /// `/api/v1/query` and `query_range`.
    pub(super) queries: Arc<Queries>,
    /// fedgate's own metrics; set once at the start, when every part has registered.
    pub(super) registry: Arc<OnceLock<Registry>>,
    /// The groups at work; set once at the start.
    pub(super) rules: OnceLock<Manager>,
    /// The endpoints of remote write; set once at the start, where there is a journal.
    pub(super) senders: OnceLock<Senders>,
    metrics: GatewayMetrics,
}

impl Reloadable {
    /// Reads everything for the first time and takes the inventory into force.
    pub(super) fn new(
        config: &Arc<GatewayConfig>,
        receiver: Arc<Receiver>,
        metrics: GatewayMetrics,
        store: Arc<Store>,
        (pool, evaluations): (CpuPool, CpuPool),
    ) -> Result<Reloadable, StartError> {
        let (push_tls, readers_tls) = load_tls(config)?;
        let access = load_access(config)?;
        let registry: Arc<OnceLock<Registry>> = Arc::default();
        let own = registry.clone();
        let own_metrics = Box::new(move || own.get().map(Registry::page).unwrap_or_default());
        let options = reader_options(config).map_err(StartError::Pages)?;
        let readers = Readers::new(store, pool, options, own_metrics);
        let readers = Arc::new(readers.counting(metrics.native_histograms_left_out()));
        let queries = Arc::new(Queries::new(readers.clone(), evaluations, query_options(config)));
        receiver.set_inventory(crate::push::inventory(config)?);
        metrics.reload().succeeded(clock::now());
        let config = ArcSwap::new(config.clone());
        let (rules, senders) = (OnceLock::new(), OnceLock::new());
        Ok(Reloadable {
            config,
            receiver,
            push_tls,
            readers_tls,
            access,
            readers,
            queries,
            registry,
            rules,
            senders,
            metrics,
        })
    }

    /// Reads `file` again; says and counts how that went.
    pub(super) fn reload(&self, file: &Path) -> Result<(), String> {
        let loaded = load_gateway(file).map_err(|faults| faults.to_string());
        let outcome = loaded.and_then(|loaded| {
            loaded.warnings.iter().for_each(|warning| tracing::warn!(%warning, "configuration"));
            self.take(loaded.config)
        });
        note_reload(self.metrics.reload(), file, &outcome);
        outcome
    }

    fn take(&self, config: Arc<GatewayConfig>) -> Result<(), String> {
        let inventory = crate::push::inventory(&config).map_err(|fault| fault.to_string())?;
        let access = Access::load(&config.http.basic_auth_users, &config.http.bearer_token_files)
            .map_err(|fault| fault.to_string())?;
        let options = reader_options(&config)?;
        let rules = manager::load(&config, &external_url(&config))?;
        let kept = history::configured(&config.history)?;
        self.take_certificates(&config)?;
        self.configure_senders(&config)?;
        self.readers.options.store(Arc::new(options));
        self.queries.options.store(Arc::new(query_options(&config)));
        self.receiver.set_inventory(inventory);
        history::keep(&self.readers.store, &config, kept, &rules);
        self.access.store(Arc::new(access));
        if let Some(manager) = self.rules.get() {
            manager.take(rules);
        }
        let before = self.config.swap(config.clone());
        warn_of_fixed(&before, &config);
        Ok(())
    }

    /// Makes room for the endpoints of remote write, and for their numbers; none is started yet.
    pub(super) fn prepare_senders(
        &self,
        wal: &Wal,
        config: &GatewayConfig,
        (pool, tasks): (&CpuPool, &Tasks),
        registry: &mut Registry,
    ) {
        let Some(dir) = &config.journal.dir else { return };
        let counts = SenderCounts::default();
        counts.register(registry);
        // Nobody else sets it.
        let _ = self.senders.set(Senders::new(wal.clone(), dir, pool.clone(), tasks.clone(), counts));
    }

    /// Starts, changes and ends the endpoints of remote write as a configuration says.
    pub(super) fn configure_senders(&self, config: &GatewayConfig) -> Result<(), String> {
        let Some(senders) = self.senders.get() else { return Ok(()) };
        let labels = external_labels(config);
        senders.configure(&config.remote_write, &labels).map_err(|fault| fault.to_string())
    }

    fn take_certificates(&self, config: &GatewayConfig) -> Result<(), String> {
        let now = clock::now();
        let push = ServerFiles::of_push(&config.push.tls_config);
        if let Refresh::Kept(fault) = self.push_tls.reconfigure(push, now) {
            return Err(fault.to_string());
        }
        let (Some(tls), Some(readers)) = (&self.readers_tls, &config.http.tls_server_config) else { return Ok(()) };
        if let Refresh::Kept(fault) = tls.reconfigure(ServerFiles::of_readers(readers), now) {
            let old = ServerFiles::of_push(&self.config.load().push.tls_config);
            self.push_tls.reconfigure(old, now);
            return Err(fault.to_string());
        }
        Ok(())
    }
}

/// Where users reach the readers' listener.
pub(in crate::cli) fn external_url(config: &GatewayConfig) -> String {
    if let Some(url) = &config.http.external_url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = if config.http.tls_server_config.is_some() { "https" } else { "http" };
    let host = if config.http.listen.starts_with(':') { "localhost" } else { "" };
    format!("{scheme}://{host}{}", config.http.listen)
}

/// The gateway's own labels.
fn external_labels(config: &GatewayConfig) -> Labels {
    let external = config.global.external_labels.iter();
    Labels::from_pairs(external.map(|(name, value)| (name.as_str(), value.as_str())))
}

/// What the readers' pages are told.
fn reader_options(config: &GatewayConfig) -> Result<ReaderOptions, String> {
    let matches = config.http.metrics.matches.iter();
    let selector =
        |text: &String| parse_selector(text).map_err(|fault| format!("http.metrics.match {text:?}: {fault}"));
    Ok(ReaderOptions {
        external_labels: external_labels(config),
        lookback: config.query.lookback_delta,
        selectors_max: config.http.federate.matches_max,
        metrics_match: matches.map(selector).collect::<Result<_, _>>()?,
    })
}

/// What evaluations are told.
fn query_options(config: &GatewayConfig) -> QueryOptions {
    let query = &config.query;
    let lookback = i64::try_from(query.lookback_delta.as_millis()).expect("checked: a day at most");
    QueryOptions {
        engine: Engine { lookback, samples_max: query.max_samples, ..Engine::default() },
        parse: ParseOptions { experimental: query.experimental_functions },
        timeout: query.timeout,
    }
}

/// Says what a reload cannot change.
fn warn_of_fixed(before: &GatewayConfig, after: &GatewayConfig) {
    let fixed = [
        ("push.listen", before.push.listen != after.push.listen),
        ("push.limits", before.push.limits != after.push.limits),
        ("http.listen", before.http.listen != after.http.listen),
        (
            "http.tls_server_config (on or off)",
            before.http.tls_server_config.is_some() != after.http.tls_server_config.is_some(),
        ),
        ("journal", before.journal != after.journal),
        ("limits.cpu_threads", before.limits.cpu_threads != after.limits.cpu_threads),
        ("query.max_concurrency", before.query.max_concurrency != after.query.max_concurrency),
        ("http.federate.concurrent_max", before.http.federate.concurrent_max != after.http.federate.concurrent_max),
    ];
    for (key, _) in fixed.into_iter().filter(|(_, has_changed)| *has_changed) {
        tracing::warn!(key, "changed, but takes effect at the next start only");
    }
}
