//! `fedgate check push`: the collector's way to its gateway, step by step.
//!
//! Each step is told when it is done, so that one that hangs is seen hanging; the first that fails ends the walk, and says
//! what to fix. The last two go through the collector's own transport: what passes here passes there.

mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::print;
use crate::config::{CollectorConfig, Faults, load_collector};
use crate::journal::{DiskFiles, Journal, Role};
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
    let all = block_on(1, walk_all(&loaded.config, &mut say));
    let unable = |fault: std::io::Error| Failed {
        step: "system",
        found: fault.to_string(),
        fix: "threads and sockets are short on this machine".to_owned(),
    };
    all.map_err(unable)?
}

/// The spool, then the way to each gateway; one that cannot be reached does not keep the others from being tried.
async fn walk_all(config: &CollectorConfig, say: &mut (dyn FnMut(Told) + Send)) -> Result<(), Failed> {
    if let Some(dir) = &config.spool.dir {
        let fix = "spool.dir must be a directory that this fedgate's collector alone writes";
        Journal::check(&DiskFiles, dir, Role::Spool).map_err(|fault| Failed {
            step: "spool",
            found: fault.to_string(),
            fix: fix.to_owned(),
        })?;
        say(Told::fine("spool", dir.display().to_string()));
    }
    let gateways = config.push.gateways();
    if let [gateway] = &gateways[..] {
        return steps::walk(gateway, say).await;
    }
    let mut unreached = 0;
    for gateway in &gateways {
        say(Told::fine("gateway", gateway.url.to_string()));
        if let Err(Failed { step, found, fix }) = steps::walk(gateway, say).await {
            tell("FAILED", step, &found, Some(("to fix:", &fix)));
            unreached += 1;
        }
    }
    let found = format!("{unreached} of {} cannot be pushed to", gateways.len());
    let fix = "what failed stands above".to_owned();
    if unreached == 0 { Ok(()) } else { Err(Failed { step: "gateways", found, fix }) }
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
