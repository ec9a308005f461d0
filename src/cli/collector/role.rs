//! The collector's parts, put together.
//!
//! Shutdown in three steps: the scrape loops stop, what they finished goes out as a last tick with an END frame, and
//! only then do the collector's own pages go.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::self_metrics;
use crate::cli::start::{self, Origin, StartError};
use crate::config::{CollectorConfig, load_collector};
use crate::exposition::Format;
use crate::http::own::{OwnPages, own_routes};
use crate::http::reload::ReloadQueue;
use crate::http::routes::{index_route, lifecycle_routes};
use crate::journal::{CommitOptions, Committer, Cursors, DiskFiles, Files, Journal};
use crate::model::Labels;
use crate::net::{Server, ServerLimits};
use crate::push::client::{PushClient, PushClientParts, Reconfigured, StatusBoard, limits_of, spool_options};
use crate::push::spool::{Spool, SpoolError};
use crate::push::transport::{Transport, TransportError};
use crate::runtime::{CpuPool, Shutdown, Stage, Tasks, clock};
use crate::scrape::{Manager, OwnTarget};
use crate::snapshot::Scrape;
use crate::telemetry::{CollectorMetrics, Registry};

/// Reloads that the push client may have before it; it takes them at once.
const RECONFIGURATIONS_MAX: usize = 4;

const PATHS: &[(&str, &str)] = &[
    ("/metrics", "the collector's own metrics"),
    ("/targets", "what is scraped, and what went wrong last, as JSON"),
    ("/-/healthy", "200 while the process answers"),
    ("/-/ready", "200 once the gateway has acknowledged a push"),
];

/// A collector that scrapes and pushes.
pub struct Collector {
    manager: Manager,
    registry: Arc<Registry>,
    metrics: CollectorMetrics,
    status: StatusBoard,
    reconfigure: mpsc::Sender<Reconfigured>,
    spool_dir: Option<PathBuf>,
}

impl Collector {
    /// Starts scraping and pushing; the tasks belong to `shutdown`.
    pub fn start(config: Arc<CollectorConfig>, pool: &CpuPool, shutdown: &Shutdown) -> Result<Collector, StartError> {
        let transports = transports(&config)?;
        for fault in transports.iter().filter_map(|transport| transport.check_validity(clock::now()).err()) {
            tracing::warn!(%fault, "the gateway will refuse this collector's certificate");
        }
        let spool = open_spool(&config, &shutdown.tasks(Stage::Rest))?;
        let manager = Manager::start(&config, &shutdown.tasks(Stage::Intake), pool)?;
        let mut registry = Registry::new();
        let metrics = CollectorMetrics::new(&mut registry);
        self_metrics::register(&mut registry, &manager);
        metrics.reload().succeeded(clock::now());
        let registry = Arc::new(registry);
        let (reconfigure, reconfigured) = mpsc::channel(RECONFIGURATIONS_MAX);
        let (status, spool_dir) = (StatusBoard::default(), config.spool.dir.clone());
        let collector = Collector { manager, registry, metrics, status, reconfigure, spool_dir };
        let external = config.global.external_labels.iter();
        let external = Labels::from_pairs(external.map(|(name, value)| (name.as_str(), value.as_str())));
        let own = collector.manager.own_target(&own_instance(&config.http.listen), &external);
        let finished = collector.manager.clone();
        let client = PushClient::new(PushClientParts {
            config: config.push.clone(),
            transports,
            spool,
            limits: limits_of(&config.spool),
            pool: pool.clone(),
            take_finished: Box::new(move || finished.take_finished()),
            scrape_own: Box::new(scrape_own(collector.registry.clone(), own)),
            metrics: collector.metrics.clone(),
            status: collector.status.clone(),
            reconfigured,
        })?;
        let tasks = shutdown.tasks(Stage::Drain);
        tasks.spawn("push", client.run(tasks.stop().clone()));
        Ok(collector)
    }

    /// How pushing goes.
    pub fn push_status(&self) -> &StatusBoard {
        &self.status
    }

    /// Serves the collector's own pages at `listen`, and reloads from `origin` on request.
    pub async fn serve_pages(
        self,
        listen: &str,
        origin: Origin,
        pool: &CpuPool,
        shutdown: &Shutdown,
    ) -> Result<SocketAddr, StartError> {
        let server = Server::bind(listen, None, ServerLimits::default()).await?;
        let address = server.address();
        let (reloads, queue) = ReloadQueue::new(origin.enable_reload);
        let status = self.status.clone();
        let awaited = Arc::new(move || match status.read().acknowledged {
            Some(_) => Vec::new(),
            None => vec!["the gateway's first acknowledgement".to_owned()],
        });
        let pages =
            OwnPages { registry: self.registry.clone(), manager: self.manager.clone(), push: self.status.clone() };
        let routes =
            lifecycle_routes(awaited, reloads).merge(index_route("fedgate collector", PATHS)).merge(own_routes(pages));
        start::serve(&shutdown.tasks(Stage::Rest), "own listener", server, routes);
        let intake = shutdown.tasks(Stage::Intake);
        start::reload_on_request(&intake, pool.clone(), queue, move || self.reload(&origin.file))?;
        Ok(address)
    }

    /// Reads `file` again; says and counts how that went. On a fault nothing changes.
    fn reload(&self, file: &Path) -> Result<(), String> {
        let loaded = load_collector(file).map_err(|faults| faults.to_string());
        let outcome = loaded.and_then(|loaded| {
            loaded.warnings.iter().for_each(|warning| tracing::warn!(%warning, "configuration"));
            self.take(&loaded.config)
        });
        start::note_reload(self.metrics.reload(), file, &outcome);
        outcome
    }

    fn take(&self, config: &CollectorConfig) -> Result<(), String> {
        // Certificates are read here once, so that bad ones are refused before targets change.
        transports(config).map_err(|fault| fault.to_string())?;
        if config.spool.dir != self.spool_dir {
            return Err("spool.dir changes with a restart only".to_owned());
        }
        let room = self.reconfigure.try_reserve().map_err(|_| "the push client takes no reload now".to_owned())?;
        self.manager.reload(config).map_err(|fault| fault.to_string())?;
        room.send(Reconfigured { config: config.push.clone(), spool: config.spool.clone() });
        Ok(())
    }
}

fn transports(config: &CollectorConfig) -> Result<Vec<Transport>, TransportError> {
    config.push.gateways().iter().map(Transport::new).collect()
}

/// What earlier processes left, and the thread that makes it durable.
fn open_spool(config: &CollectorConfig, tasks: &Tasks) -> Result<(Spool, Option<Committer>), StartError> {
    let Some(dir) = &config.spool.dir else { return Ok((Spool::in_memory(), None)) };
    let files: Arc<dyn Files> = Arc::new(DiskFiles);
    let options = spool_options(&config.spool);
    let (journal, recovery) = Journal::open(files.clone(), dir, options, clock::now()).map_err(SpoolError::from)?;
    for lost in recovery.cut.iter().chain(&recovery.behind_cursor) {
        tracing::warn!(dir = %dir.display(), ?lost, "a part of the spool is lost");
    }
    let spool = Spool::on_disk(journal.log().clone(), Cursors::new(files, dir))?;
    let committer = Committer::start(journal, CommitOptions::default(), tasks)?;
    Ok((spool, Some(committer)))
}

/// The collector's own metrics as one more target: written and read in the process.
fn scrape_own(registry: Arc<Registry>, mut own: OwnTarget) -> impl FnMut() -> Scrape + Send + 'static {
    move || {
        let (started, since) = (clock::now(), clock::monotonic());
        let page = registry.page();
        let took = clock::monotonic().saturating_duration_since(since);
        own.scrape(page.as_bytes(), Format::OpenMetrics, started, took)
    }
}

/// The `instance` of the collector's own metrics: the machine's name, because every collector listens on loopback.
fn own_instance(listen: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    let port = listen.rsplit(':').next().unwrap_or_default();
    format!("{host}:{port}")
}
