//! `fedgate check`: what can be found wrong before it matters.

use std::process::ExitCode;

use super::{check_config, check_metrics, check_push, check_rules};

/// Check files, pages and the way to the gateway before they matter.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to check.
    #[command(subcommand)]
    pub command: Command,
}

/// What `fedgate check` can look at.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check configuration files of collectors and gateways; every fault is shown with its place.
    Config(check_config::Args),
    /// Check a page of metrics: does it parse, are the names as they should be?
    Metrics(check_metrics::Args),
    /// Go the collector's way to its gateway step by step, and say what to fix.
    Push(check_push::Args),
    /// Check rule files: syntax, expressions, templates, names; every fault is shown with its place.
    Rules(check_rules::Args),
}

/// Checks, prints what was found, exits with 1 if anything is wrong.
pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Config(args) => check_config::run(args),
        Command::Metrics(args) => check_metrics::run(args),
        Command::Push(args) => check_push::run(args),
        Command::Rules(args) => check_rules::run(args),
    }
}
