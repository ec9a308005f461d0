//! `fedgate test`: what can be tried out without a site.

use std::process::ExitCode;

use super::test_rules;

/// Try out rules on series that a file gives.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to test.
    #[command(subcommand)]
    pub command: Command,
}

/// What `fedgate test` can run.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run unit tests of rule files, written as promtool reads them.
    Rules(test_rules::Args),
}

/// Runs the tests, exits with 1 if any fails.
pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Rules(args) => test_rules::run(args),
    }
}
