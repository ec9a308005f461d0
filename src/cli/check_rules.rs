//! `fedgate check rules`: every fault of rule files, before a gateway meets it.
//!
//! The same reading that a gateway does, with the same words as promtool's; what is only doubtful is a warning.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{counted, print};
use crate::config::Faults;
use crate::promql::ParseOptions;
use crate::rules::file;

/// Which files to check.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rule files, in Prometheus's format.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Allow what Prometheus has behind its feature flag promql-experimental-functions.
    #[arg(long)]
    pub experimental_functions: bool,
}

/// Checks every file, also after one with faults, and fails if one has any; warnings are no faults.
pub fn run(args: Args) -> ExitCode {
    let options = ParseOptions { experimental: args.experimental_functions };
    let mut code = ExitCode::SUCCESS;
    for path in &args.files {
        match verdict(path, &options) {
            Ok(text) => print(&text),
            Err(text) => {
                print(&text);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// What to say about a file; `Err` if it cannot be used.
fn verdict(path: &Path, options: &ParseOptions) -> Result<String, String> {
    let name = path.display();
    match file::load(path, options) {
        Ok((file, warnings)) => {
            let shown: String = warnings.iter().map(|warning| format!("warning: {warning}\n\n")).collect();
            let rules: usize = file.groups.iter().map(|group| group.rules.len()).sum();
            let (rules, warnings) = (counted(rules, "rule"), counted(warnings.len(), "warning"));
            Ok(format!("{shown}{name}: SUCCESS: {rules} found, {warnings}\n"))
        }
        Err(Faults(faults)) => {
            let shown: String = faults.iter().map(|fault| format!("error: {fault}\n\n")).collect();
            Err(format!("{shown}{name}: FAILED: {}\n", counted(faults.len(), "error")))
        }
    }
}
