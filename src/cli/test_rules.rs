//! `fedgate test rules`: unit tests of rules, in promtool's files.

use std::path::PathBuf;
use std::process::ExitCode;

use super::print;
use crate::rules::unit::test_file;

/// Run unit tests of rule files, written as promtool reads them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files with tests; the rule files that they name are looked for beside them.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Runs all files, prints what differs, exits with 1 if anything does.
pub fn run(args: Args) -> ExitCode {
    let mut has_failed = false;
    for path in &args.files {
        let verdict = test_file(path);
        let mut text = format!("Unit testing: {}\n", path.display());
        verdict.warnings.iter().for_each(|warning| text.push_str(&format!("  WARNING: {warning}\n")));
        if verdict.failures.is_empty() {
            text.push_str(&format!("  SUCCESS: {} tests\n", verdict.tests));
        } else {
            text.push_str("  FAILED:\n");
            verdict.failures.iter().for_each(|failure| text.push_str(&format!("{failure}\n")));
            has_failed = true;
        }
        print(&text);
    }
    if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
