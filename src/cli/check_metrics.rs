//! `fedgate check metrics`: would a collector take this page, and are its names as they should be?
//!
//! Exit codes as promtool's: 0 nothing found, 1 the page cannot be parsed, 3 it parses but lints.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::lint::lint;
use super::print;
use crate::exposition::{Format, ParseError};

/// The page parses, but something about it could be better.
const EXIT_LINTS: u8 = 3;

/// Which page to check.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The page, text format or (ending in "# EOF") OpenMetrics. Default: standard input.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Prints the fault or the findings.
pub fn run(args: Args) -> ExitCode {
    let name = args.file.as_deref().map_or_else(|| "standard input".to_owned(), |file| file.display().to_string());
    let (code, verdict) = match read_page(args.file.as_deref()) {
        Ok(page) => verdict(&name, &page),
        Err(error) => (ExitCode::FAILURE, format!("error: cannot read {name}: {error}\n")),
    };
    print(&verdict);
    code
}

fn verdict(name: &str, page: &[u8]) -> (ExitCode, String) {
    match lint(format_of(page), page) {
        Err(ParseError { line, column, found, expected }) => {
            let fault = format!("error: {name}:{line}:{column}: found {found}, expected {expected}\n");
            (ExitCode::FAILURE, fault)
        }
        Ok(findings) if findings.is_empty() => (ExitCode::SUCCESS, String::new()),
        Ok(findings) => {
            let lines = findings.iter().map(|finding| format!("{} {}\n", finding.metric, finding.text));
            (ExitCode::from(EXIT_LINTS), lines.collect())
        }
    }
}

fn read_page(file: Option<&Path>) -> io::Result<Vec<u8>> {
    match file {
        Some(file) => fs::read(file),
        None => {
            let mut page = Vec::new();
            io::stdin().lock().read_to_end(&mut page)?;
            Ok(page)
        }
    }
}

/// A page on disk has no Content-Type; only OpenMetrics ends in this line.
fn format_of(page: &[u8]) -> Format {
    match page.trim_ascii_end().ends_with(b"# EOF") {
        true => Format::OpenMetrics,
        false => Format::Text1,
    }
}
