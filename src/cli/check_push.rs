//! `fedgate check push`: the collector's way to its gateway, step by step.
//!
//! Each step is told when it is done, so that one that hangs is seen hanging; the first that fails ends the walk, and says
//! what to fix. The last two go through the collector's own transport: what passes here passes there.

mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::print;
use crate::config::{Faults, load_collector};
use crate::runtime::block_on;

/// Go the collector's way to its gateway step by step, and say what to fix.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The collector's configuration.
    #[arg(long, value_name = "FILE", alias = "config.file")]
    pub config: PathBuf,
}

/// What is known after a step.
struct Told {
    step: &'static str,
    found: String,
    /// What had better be changed though the step went well.
    advice: Option<String>,
}

impl Told {
    fn fine(step: &'static str, found: impl Into<String>) -> Told {
        Told { step, found: found.into(), advice: None }
    }
}

/// Why the walk ended early.
struct Failed {
    step: &'static str,
    found: String,
    fix: String,
}

/// Prints a line a step; fails with the first step that does.
pub fn run(args: Args) -> ExitCode {
    match walk(&args.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            tell("FAILED", failed.step, &failed.found, Some(("to fix:", &failed.fix)));
            ExitCode::FAILURE
        }
    }
}

fn walk(file: &Path) -> Result<(), Failed> {
    let loaded = load_collector(file).map_err(|faults| bad_configuration(file, &faults))?;
    let mut say = |told: Told| {
        let mark = if told.advice.is_some() { "warning" } else { "ok" };
        tell(mark, told.step, &told.found, told.advice.as_deref().map(|advice| ("better:", advice)));
    };
    say(Told::fine("configuration", file.display().to_string()));
    let all = block_on(1, steps::walk(&loaded.config.push, &mut say));
    let unable = |fault: std::io::Error| Failed {
        step: "system",
        found: fault.to_string(),
        fix: "threads and sockets are short on this machine".to_owned(),
    };
    all.map_err(unable)?
}

fn bad_configuration(file: &Path, Faults(faults): &Faults) -> Failed {
    let found = faults.first().map_or_else(|| file.display().to_string(), ToString::to_string);
    Failed { step: "configuration", found, fix: format!("`fedgate check config {}` shows all faults", file.display()) }
}

fn tell(mark: &str, step: &str, found: &str, more: Option<(&str, &str)>) {
    // A fault of the configuration comes with its lines; they stay together under the first.
    let found = found.replace('\n', "\n                          ");
    let mut text = format!("{mark:<8} {step:<16} {found}\n");
    if let Some((what, how)) = more {
        text.push_str(&format!("         {what:<16} {how}\n"));
    }
    print(&text);
}
