//! The command line: one file a subcommand.
//!
//! Arguments come in two stages. The `Args` structs are what was typed, and their doc comments are the manual; each `run`
//! turns them into what is meant and says with its exit code how it went: 0 done, 1 what was checked is bad or the work
//! failed, 2 the command line itself was wrong (clap's own code); 3 is `check metrics`'s alone, as it is promtool's.

pub mod certs;
pub mod check;
pub mod check_config;
pub mod check_metrics;
pub mod check_push;
pub mod check_rules;
pub mod collector;
pub mod demo;
pub mod gateway;
mod lint;
pub mod man;
pub mod query;
pub mod start;
pub mod test;
pub mod test_rules;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::telemetry::logs;

/// Federating aggregation gateway: many clusters' metrics behind one /federate, over mTLS.
///
/// A collector in each cluster scrapes the exporters there and pushes snapshots to the gateway, which knows each
/// collector by its certificate and serves the merged site to Prometheus.
///
/// Exit codes: 0 done; 1 what was checked is bad, or the work failed; 2 wrong usage; 3 a page parses but lints.
#[derive(Debug, Parser)]
#[command(name = "fedgate", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// How log lines are written (to standard error).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Logfmt, env = "FEDGATE_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace; or by module, like info,fedgate::scrape=debug.
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info", env = "FEDGATE_LOG_LEVEL", value_parser = parse_log_level)]
    pub log_level: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Levels by themselves or by module. A lone unknown word would pass for a module's name and silence everything else.
fn parse_log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level_of = |part: &str| part.rsplit('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    match text.split(',').find(|part| !LEVELS.contains(&level_of(part).as_str())) {
        Some(part) => Err(format!("found {part:?}, expected error, warn, info, debug, trace or MODULE=LEVEL")),
        None => Ok(text.to_owned()),
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `ts=… level=… msg=…`
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole simulated site in one process, with throwaway certificates.
    Demo(demo::Args),
    /// Run the gateway: take in the collectors' snapshots, serve the site.
    Gateway(gateway::Args),
    /// Run a collector: scrape a cluster's exporters, push snapshots.
    Collector(collector::Args),
    /// Keep a small private CA for collectors and gateway.
    Certs(certs::Args),
    /// Check files, pages and the way to the gateway before they matter.
    Check(check::Args),
    /// Try out rules on series that a file gives.
    Test(test::Args),
    /// Evaluate a PromQL expression on a server: at one time, or over a range.
    Query(Box<query::Args>),
    /// Print the completion script of a shell.
    Completions(man::CompletionsArgs),
    /// Write the manual pages.
    Man(man::ManArgs),
}

/// The exit code of a wrong command line, clap's own.
const USAGE: u8 = 2;

impl From<LogFormat> for crate::telemetry::LogFormat {
    fn from(typed: LogFormat) -> Self {
        match typed {
            LogFormat::Logfmt => crate::telemetry::LogFormat::Logfmt,
            LogFormat::Json => crate::telemetry::LogFormat::Json,
        }
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(fault) = logs::init(cli.log_format.into(), &cli.log_level) {
        eprintln!("fedgate: {fault}");
        return ExitCode::from(USAGE);
    }
    match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Gateway(args) => gateway::run(args),
        Command::Collector(args) => collector::run(args),
        Command::Certs(args) => certs::run(args),
        Command::Check(args) => check::run(args),
        Command::Test(args) => test::run(args),
        Command::Query(args) => query::run(*args),
        Command::Completions(args) => man::completions(args),
        Command::Man(args) => man::manual(args),
    }
}

/// Writes to standard output. A reader that closes early, like `head`, has what it wanted; `println!` would panic then.
pub(crate) fn print(text: &str) {
    let mut output = io::stdout().lock();
    // There is nobody left to tell if this fails.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// `no errors`, `1 error`, `2 errors`
fn counted(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
