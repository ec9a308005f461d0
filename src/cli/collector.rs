//! `fedgate collector`: the command; the role itself is assembled in [`role`].

pub mod role;
mod self_metrics;

use std::path::PathBuf;
use std::process::ExitCode;

use super::start::{Origin, run_role};
use crate::config::load_collector;
use crate::runtime::{CpuPool, cores, memory};
use role::Collector;

/// Workers of each kind at most: one core reads millions of samples a second, and every thread has memory of its own.
const THREADS_MAX: usize = 4;

/// Run the collector: scrape a cluster's exporters, push snapshots.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; config/collector.yml is a commented example.
    #[arg(long, value_name = "FILE", alias = "config.file")]
    pub config: PathBuf,
    /// Let POST /-/reload read the configuration again (SIGHUP always does).
    #[arg(long = "enable-reload", alias = "web.enable-lifecycle")]
    pub enable_reload: bool,
}

/// Runs until SIGTERM, SIGINT or a fault.
pub fn run(args: Args) -> ExitCode {
    memory::use_small_pages();
    let loaded = match load_collector(&args.config) {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::FAILURE;
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    let threads = cores().min(THREADS_MAX);
    run_role(threads, async |shutdown| {
        let origin = Origin { file: args.config, enable_reload: args.enable_reload };
        let pool = CpuPool::new(threads)?;
        let listen = loaded.config.http.listen.clone();
        let collector = Collector::start(loaded.config, &pool, shutdown)?;
        let pages = collector.serve_pages(&listen, origin, &pool, shutdown).await?;
        tracing::info!(%pages, "collector started");
        Ok(())
    })
}
