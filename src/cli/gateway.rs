//! `fedgate gateway`: the command; the role itself is assembled in [`role`].

mod history;
mod journal;
pub(super) mod reload;
pub mod role;

use std::path::PathBuf;
use std::process::ExitCode;

use super::start::{Origin, run_role};
use crate::config::load_gateway;
use crate::runtime::cores;
use role::Gateway;

/// Run the gateway: take in the collectors' snapshots, serve the site.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; config/gateway.yml is a commented example.
    #[arg(long, value_name = "FILE", alias = "config.file")]
    pub config: PathBuf,
    /// Let POST /-/reload read the configuration again (SIGHUP always does).
    #[arg(long = "enable-reload", alias = "web.enable-lifecycle")]
    pub enable_reload: bool,
}

/// Runs until SIGTERM, SIGINT or a fault.
pub fn run(args: Args) -> ExitCode {
    let loaded = match load_gateway(&args.config) {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::FAILURE;
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    run_role(cores(), async |shutdown| {
        let origin = Origin { file: args.config, enable_reload: args.enable_reload };
        let gateway = Gateway::start(loaded.config, Some(origin), shutdown).await?;
        tracing::info!(readers = %gateway.readers, push = %gateway.push, "gateway started");
        Ok(())
    })
}
