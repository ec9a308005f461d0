//! The gateway's parts, put together.
//!
//! Start in the order of need: what can be refused (addresses, certificates, passwords, the inventory) before anything
//! is served; then the readers' listener, which says that the gateway is not ready while the journal is read; then the push
//! listener and the rules. Shutdown in the order of harm: the listeners stop first, with the requests
//! that are under way answered, which takes the journal; the journal, the sweep and the watchers last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::reload::{Reloadable, external_url};
use super::{history, journal};
use crate::cli::start::{self, ListenerNames, Origin, StartError};
use crate::config::GatewayConfig;
use crate::http::auth::{Access, Guard};
use crate::http::health::Awaited;
use crate::http::push::push_routes;
use crate::http::reload::ReloadQueue;
use crate::http::routes::{guarded, index_route, lifecycle_routes};
use crate::http::turns::in_turn;
use crate::http::whole::{when_restored, when_whole};
use crate::http::{Routes, api, federate, metrics};
use crate::journal::{DiskFiles, Files};
use crate::net::{Server, ServerLimits};
use crate::promql::{Engine, SelectionCache};
use crate::push::receive::{BodyLimits, Receiver};
use crate::remote_write::receive::WriteReceiver;
use crate::rules::manager::{self, Manager};
use crate::rules::metrics as rule_metrics;
use crate::rules::storage::SiteStorage;
use crate::runtime::{CpuPool, Shutdown, Stage, Tasks, clock, cores};
use crate::snapshot::FrameLimits;
use crate::store::{HistoryTotals, Store};
use crate::telemetry::{GatewayMetrics, Kind, Registry};
use crate::tls::{ServerFiles, ServerTls};
use crate::wal::{Restored, Wal, metrics as wal_metrics};

/// How often streams that ended by silence are freed. Readers do not see them before that either.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

const LISTENERS: ListenerNames = ListenerNames {
    accepted: "fedgate_gateway_connections",
    open: "fedgate_gateway_connections_open",
    refused: "fedgate_gateway_connections_refused",
};

const PATHS: &[(&str, &str)] = &[
    ("/federate?match[]=up", "series by selector, for Prometheus's federation"),
    ("/metrics", "every live series of the site with type and help; /metrics/CLUSTER for one cluster"),
    ("/metrics/self", "the gateway's own metrics"),
    (
        "/api/v1/query?query=up",
        "PromQL, as Prometheus's API has it; query_range for a range, format_query for its form",
    ),
    ("/api/v1/rules", "the rules and how they fared; /api/v1/alerts for what is active"),
    ("/-/healthy", "200 while the process answers"),
    ("/-/ready", "200 once every cluster has pushed or had its time to"),
];

/// A gateway that serves.
pub struct Gateway {
    /// Where readers find it.
    pub readers: SocketAddr,
    /// Where collectors find it.
    pub push: SocketAddr,
    /// What it holds.
    pub store: Arc<Store>,
}

impl Gateway {
    /// Starts all parts; their tasks belong to `shutdown`.
    pub async fn start(
        config: Arc<GatewayConfig>,
        origin: Option<Origin>,
        shutdown: &Shutdown,
    ) -> Result<Gateway, StartError> {
        let (mut registry, began) = (Registry::new(), clock::monotonic());
        let metrics = GatewayMetrics::new(&mut registry);
        let threads = if config.limits.cpu_threads == 0 { cores() } else { config.limits.cpu_threads };
        let pool = CpuPool::new(threads)?;
        let store = Arc::new(Store::new(frame_limits(&config)));
        let rest = shutdown.tasks(Stage::Rest);
        let wal = config.journal.dir.as_ref();
        let files: Arc<dyn Files> = Arc::new(DiskFiles);
        let wal = wal.map(|dir| Wal::open(&files, dir, &config.journal, store.frame_limits(), &rest, clock::now()));
        let wal = wal.transpose()?;
        let receiver = Receiver::new(store.clone(), pool.clone(), metrics.clone(), body_limits(&config));
        let receiver = Arc::new(receiver.journalling(wal.as_ref().map(|wal| wal.frames.clone())));
        let written = Arc::new(WriteReceiver::new(receiver.clone(), frame_limits(&config).raw_bytes_max));
        let evaluations = CpuPool::new(threads)?;
        let pools = (pool.clone(), evaluations.clone());
        let parts = Reloadable::new(&config, receiver.clone(), metrics, store.clone(), pools)?;

        let rules = manager::load(&config, &external_url(&config)).map_err(StartError::Rules)?;
        let kept = history::configured(&config.history).map_err(StartError::Pages)?;
        history::keep(&store, &config, kept, &rules);
        let push_limits = ServerLimits::of_push(&config.push.limits);
        let push = Server::bind(&config.push.listen, Some(parts.push_tls.clone()), push_limits).await?;
        let readers =
            Server::bind(&config.http.listen, parts.readers_tls.clone(), ServerLimits::of_readers(&config.http))
                .await?;
        let gateway = Gateway { readers: readers.address(), push: push.address(), store: store.clone() };

        let counts = vec![("push", push.counts()), ("readers", readers.counts())];
        start::register_listener(&mut registry, &LISTENERS, counts);
        register_parts(&mut registry, &parts, &pool);
        let restored = Arc::new(Restored::default());
        if let Some(wal) = &wal {
            wal_metrics::register(&mut registry, wal, &restored);
            parts.prepare_senders(wal, &config, (&pool, &shutdown.tasks(Stage::Drain)), &mut registry);
        }
        let intake = shutdown.tasks(Stage::Intake);
        let recorded = wal.as_ref().map(|wal| wal.recorded.clone());
        let storage = (store.clone(), rule_storage(&config, &store).logging(recorded));
        let manager = Manager::start(rules, storage, evaluations, (&intake, &shutdown.tasks(Stage::Drain)));
        rule_metrics::register(&manager, &mut registry);
        // Nobody else sets it, and a second manager would be of no use.
        let _ = parts.rules.set(manager.clone());
        // From here on nothing registers any more: pages are written from what is there.
        parts.registry.set(registry).expect("the registry is set once, here");
        let (reloads, queue) = ReloadQueue::new(origin.as_ref().is_some_and(|origin| origin.enable_reload));
        let is_restored = Arc::new(AtomicBool::new(wal.is_none()));
        let routes = readers_routes(&parts, &store, reloads, (began, is_restored.clone()), &config);
        let routes = guarded(routes, Guard { access: parts.access.clone(), pool: pool.clone() });
        start::serve(&intake, "readers' listener", readers, routes);
        if let Some(wal) = wal {
            // Until then readers are told to wait, and collectors' connections wait to be accepted.
            let threads = (&pool, threads);
            if !journal::restore(&wal, &store, threads, &restored, shutdown.ending()).await? {
                return Ok(gateway);
            }
            is_restored.store(true, Ordering::Release);
            parts.configure_senders(&config).map_err(StartError::Pages)?;
            journal::keep_within_limits(&rest, wal, store.clone(), pool.clone());
        }
        manager.begin();
        start::serve(&intake, "push listener", push, push_routes(receiver, written));
        start::watch_certificates(&rest, parts.push_tls.clone());
        if let Some(tls) = &parts.readers_tls {
            start::watch_certificates(&rest, tls.clone());
        }
        sweep(&rest, store, pool.clone());
        if let Some(origin) = origin {
            start::reload_on_request(&intake, pool, queue, move || parts.reload(&origin.file))?;
        }
        Ok(gateway)
    }
}

/// Rules read what queries read, within the same bounds.
fn rule_storage(config: &GatewayConfig, store: &Arc<Store>) -> SiteStorage {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let engine = Engine {
        lookback: millis(config.query.lookback_delta),
        samples_max: config.query.max_samples,
        default_subquery_step: millis(config.global.evaluation_interval),
    };
    SiteStorage::new(store.clone(), Arc::new(SelectionCache::new()), engine, config.query.timeout)
}

fn readers_routes(
    parts: &Reloadable,
    store: &Arc<Store>,
    reloads: ReloadQueue,
    (began, is_restored): (Instant, Arc<AtomicBool>),
    config: &GatewayConfig,
) -> Routes {
    let store = store.clone();
    let own = is_restored.clone();
    let awaited: Awaited = Arc::new(move || match own.load(Ordering::Acquire) {
        true => awaited(&store, began, clock::monotonic()),
        false => vec!["the journal".to_owned()],
    });
    let pages = federate::routes(parts.readers.clone()).merge(metrics::routes(parts.readers.clone()));
    let pages = when_restored(in_turn(pages, config.http.federate.concurrent_max), is_restored.clone());
    let pages = when_whole(pages, awaited.clone());
    let queries = in_turn(api::routes(parts.queries.clone()), config.query.max_concurrency);
    let queries = when_restored(queries, is_restored);
    let index = index_route("fedgate gateway", PATHS);
    let routes = lifecycle_routes(awaited, reloads).merge(index).merge(pages).merge(queries);
    match parts.rules.get() {
        Some(manager) => routes.merge(api::rule_routes(manager.clone())),
        None => routes,
    }
}

/// Clusters of the inventory that have not told how they stand though their time to do so is not over.
fn awaited(store: &Store, began: Instant, now: Instant) -> Vec<String> {
    let waited = now.saturating_duration_since(began);
    let inventory = store.inventory();
    let late = inventory.iter().filter(|policy| waited <= policy.fresh_within());
    let has_pushed = |cluster: &str| {
        let view = store.cluster(cluster);
        view.is_some_and(|view| view.is_current(clock::now()))
    };
    late.filter(|policy| !has_pushed(&policy.cluster)).map(|policy| policy.cluster.clone()).collect()
}

fn frame_limits(config: &GatewayConfig) -> FrameLimits {
    let limits = &config.push.limits;
    FrameLimits {
        frame_bytes_max: usize::try_from(limits.body_bytes_max.0).unwrap_or(usize::MAX),
        raw_bytes_max: usize::try_from(limits.frame_raw_bytes_max.0).unwrap_or(usize::MAX),
        ..FrameLimits::default()
    }
}

fn body_limits(config: &GatewayConfig) -> BodyLimits {
    let limits = &config.push.limits;
    BodyLimits {
        bytes_max: usize::try_from(limits.body_bytes_max.0).unwrap_or(usize::MAX),
        frames_max: limits.frames_per_body_max,
    }
}

fn register_parts(registry: &mut Registry, parts: &Reloadable, pool: &CpuPool) {
    let own = pool.clone();
    registry.derive(
        "fedgate_gateway_cpu_jobs_waiting",
        "Bodies and pages that wait for a CPU",
        Kind::Gauge,
        move |emit| {
            emit.series(&[], own.waiting() as f64);
        },
    );
    let readers = parts.readers.clone();
    registry.derive(
        "fedgate_gateway_samples_left_out",
        "Samples left out of a scraper's page because it marked their series as ended at a later time",
        Kind::Counter,
        move |emit| emit.series(&[], readers.samples_left_out() as f64),
    );
    let store = &parts.readers.store;
    history_fact(registry, store, "bytes", "Memory that the history takes", |totals| totals.bytes as f64);
    history_fact(registry, store, "samples", "Samples that the history holds", |totals| totals.samples as f64);
    let help = "How much of its time the history is kept: 1, or less where history.memory_max does not suffice";
    history_fact(registry, store, "kept_ratio", help, |totals| totals.share);
    let listeners: Vec<(&str, Arc<ServerTls>)> = std::iter::once(("push", parts.push_tls.clone()))
        .chain(parts.readers_tls.clone().map(|tls| ("readers", tls)))
        .collect();
    let tls = Arc::new(listeners);
    let own = tls.clone();
    registry.derive(
        "fedgate_gateway_certificate_expiry_timestamp_seconds",
        "When the listener's own certificate ends",
        Kind::Gauge,
        move |emit| {
            for (listener, tls) in own.iter() {
                emit.series(&[("listener", listener)], tls.certificate_not_after().as_seconds());
            }
        },
    );
    let own = tls.clone();
    registry.derive(
        "fedgate_gateway_revocation_list_next_update_timestamp_seconds",
        "When the revocation list should have a successor",
        Kind::Gauge,
        move |emit| {
            for (listener, tls) in own.iter() {
                if let Some(next) = tls.revocation_next_update() {
                    emit.series(&[("listener", listener)], next.as_seconds());
                }
            }
        },
    );
    registry.derive(
        "fedgate_gateway_certificate_reload_failures",
        "Changed certificate files that were not taken because they are bad",
        Kind::Counter,
        move |emit| {
            for (listener, tls) in tls.iter() {
                emit.series(&[("listener", listener)], tls.refresh_failures() as f64);
            }
        },
    );
}

fn history_fact(
    registry: &mut Registry,
    store: &Arc<Store>,
    what: &str,
    help: &'static str,
    fact: fn(&HistoryTotals) -> f64,
) {
    let (name, store) = (format!("fedgate_gateway_history_{what}"), store.clone());
    registry.derive(&name, help, Kind::Gauge, move |emit| emit.series(&[], fact(&store.history())));
}

fn sweep(tasks: &Tasks, store: Arc<Store>, pool: CpuPool) {
    let stop = tasks.stop().clone();
    tasks.spawn("sweep", async move {
        let key: Arc<str> = Arc::from("sweep");
        let mut was_short = false;
        while !start::sleeps_until(&stop, SWEEP_INTERVAL).await {
            let swept = store.clone();
            // A full pool only means that the next sweep frees more.
            let _ = pool.run(&key, move || swept.sweep(clock::monotonic())).await;
            let is_short = store.history().share < 1.0;
            if is_short && !was_short {
                tracing::warn!("history takes more than history.memory_max and is kept for a shorter time");
            }
            was_short = is_short;
        }
    });
}

/// Certificates and passwords of a configuration, read for the first time.
pub(super) fn load_tls(config: &GatewayConfig) -> Result<(Arc<ServerTls>, Option<Arc<ServerTls>>), StartError> {
    let now = clock::now();
    let push = ServerTls::load(ServerFiles::of_push(&config.push.tls_config), now)?;
    let readers = config.http.tls_server_config.as_ref();
    let readers = readers.map(|config| ServerTls::load(ServerFiles::of_readers(config), now)).transpose()?;
    Ok((Arc::new(push), readers.map(Arc::new)))
}

/// Who may read, as a configuration says.
pub(super) fn load_access(config: &GatewayConfig) -> Result<Arc<ArcSwap<Access>>, StartError> {
    let access = Access::load(&config.http.basic_auth_users, &config.http.bearer_token_files)?;
    Ok(Arc::new(ArcSwap::from_pointee(access)))
}
