//! What both roles share: how a process begins, listens, watches its certificates, reloads and ends.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::http::Routes;
use crate::http::auth::AccessError;
use crate::http::reload::ReloadRequest;
use crate::net::{BindError, Server, ServerCounts};
use crate::push::spool::SpoolError;
use crate::push::transport::TransportError;
use crate::runtime::{CpuPool, Shutdown, Tasks, clock, shutdown, signals};
use crate::scrape::ManagerError;
use crate::store::InventoryError;
use crate::telemetry::gateway::ReloadMetrics;
use crate::telemetry::{Kind, Registry};
use crate::tls::ca::CaError;
use crate::tls::{ServerTls, TlsError};
use crate::wal::WalError;

/// Where a configuration came from, so that it can be read again.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Whether HTTP may ask for it.
    pub enable_reload: bool,
}

/// Why a role could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address is taken or not this machine's.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Certificates of a listener cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The way to the gateway cannot be prepared.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// What earlier processes left in the spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A scrape job cannot be prepared.
    #[error(transparent)]
    Scraping(#[from] ManagerError),
    /// Passwords or tokens cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The inventory contradicts itself.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// Throwaway certificates cannot be made.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// The readers' pages cannot be configured so.
    #[error("{0}")]
    Pages(String),
    /// A rule file, or where alerts go, cannot be used.
    #[error("{0}")]
    Rules(String),
    /// The journal's directory cannot be used.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The journal cannot be read.
    #[error("{0}")]
    Journal(String),
    /// The system gives no threads or signals.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Starts a role on so many asynchronous workers and runs it until it is told to end. Faults at the start go to standard
/// error, code 1.
pub fn run_role(threads: usize, start: impl AsyncFnOnce(&Shutdown) -> Result<(), StartError>) -> ExitCode {
    let run = async {
        let shutdown = Shutdown::new();
        signals::end_on_signals(shutdown.ending())?;
        start(&shutdown).await?;
        Ok::<bool, StartError>(shutdown.run(shutdown::DEADLINE).await)
    };
    match crate::runtime::block_on(threads, run).map_err(StartError::from).flatten() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("fedgate: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Serves `routes` until the tasks' stage ends.
pub fn serve(tasks: &Tasks, name: &'static str, server: Server, routes: Routes) {
    let stop = tasks.stop().clone();
    tasks.spawn(name, server.serve(routes, stop));
}

/// Reads a listener's certificates again whenever their files change.
pub fn watch_certificates(tasks: &Tasks, tls: Arc<ServerTls>) {
    tasks.spawn("certificates", tls.watch(tasks.stop().clone()));
}

/// Waits; true if the wait was ended by `stop`.
pub async fn sleeps_until(stop: &CancellationToken, wait: Duration) -> bool {
    tokio::time::timeout(wait, stop.cancelled()).await.is_ok()
}

/// Runs `reload` for each SIGHUP and each request of the queue, one at a time.
pub fn reload_on_request(
    tasks: &Tasks,
    pool: CpuPool,
    mut queue: mpsc::Receiver<ReloadRequest>,
    reload: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> std::io::Result<()> {
    let mut hangups = signals::reload_requests()?;
    let (stop, reload) = (tasks.stop().clone(), Arc::new(reload));
    tasks.spawn("reload", async move {
        let key: Arc<str> = Arc::from("reload");
        loop {
            let request = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangups.recv() => None,
                Some(request) = queue.recv() => Some(request),
            };
            let reload = reload.clone();
            let outcome = pool.run(&key, move || reload()).await.unwrap_or_else(|fault| Err(fault.to_string()));
            if let Some(request) = request {
                // Who asked may have gone; the log has the outcome too.
                drop(request.send(outcome));
            }
        }
    });
    Ok(())
}

/// Says and counts how a reload went.
pub fn note_reload(metrics: &ReloadMetrics, file: &Path, outcome: &Result<(), String>) {
    match outcome {
        Ok(()) => {
            metrics.succeeded(clock::now());
            tracing::info!(file = %file.display(), "configuration reloaded");
        }
        Err(faults) => {
            metrics.failed();
            tracing::error!(file = %file.display(), %faults, "configuration not taken, the old one stays in force");
        }
    }
}

/// Shows a listener's connections under `fedgate_ROLE_…`; the names are given whole because they must be constants.
pub fn register_listener(
    registry: &mut Registry,
    names: &'static ListenerNames,
    listeners: Vec<(&'static str, Arc<ServerCounts>)>,
) {
    let counts = Arc::new(listeners);
    let own = counts.clone();
    registry.derive(names.accepted, "Connections accepted, refused ones included", Kind::Counter, move |emit| {
        own.iter().for_each(|(listener, counts)| emit.series(&[("listener", listener)], counts.accepted() as f64));
    });
    let own = counts.clone();
    registry.derive(names.open, "Connections that are open", Kind::Gauge, move |emit| {
        own.iter().for_each(|(listener, counts)| emit.series(&[("listener", listener)], counts.open() as f64));
    });
    registry.derive(
        names.refused,
        "Connections and requests refused before any route, by reason",
        Kind::Counter,
        move |emit| {
            for (listener, counts) in counts.iter() {
                for (reason, count) in counts.refused() {
                    emit.series(&[("listener", listener), ("reason", reason)], count as f64);
                }
            }
        },
    );
}

/// Metric names of a role's listeners, without `_total`.
pub struct ListenerNames {
    /// Counter.
    pub accepted: &'static str,
    /// Gauge.
    pub open: &'static str,
    /// Counter by reason.
    pub refused: &'static str,
}
