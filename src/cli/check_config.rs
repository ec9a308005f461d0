//! `fedgate check config`: every fault of configuration files, before a start or a reload meets it.
//!
//! Loading finds what is wrong with the text. What only its users can tell (a key that is not its certificate's, a selector
//! that is none) is asked of them here, for a start would ask the same.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::gateway::reload::external_url;
use super::{counted, print};
use crate::config::{self, CollectorConfig, Fault, Faults, GatewayConfig, Loaded, Role, TlsClientConfig};
use crate::http::auth::Access;
use crate::http::selectors::parse_selector;
use crate::journal::{self, DiskFiles, Journal};
use crate::rules::{manager, packs};
use crate::runtime::clock;
use crate::tls::{ClientFiles, ClientTls, ServerFiles, ServerTls};
use crate::wal;

/// Which files to check.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration files; the role is recognised by their sections.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Checks every file, also after one with faults, and fails if one has any; warnings are no faults.
pub fn run(args: Args) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        let (is_sound, verdict) = verdict(file);
        print(&verdict);
        if !is_sound {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Whether a file can be used, and what to say about it.
fn verdict(file: &Path) -> (bool, String) {
    let name = file.display();
    match check_file(file) {
        Ok((role, warnings)) => {
            let shown: String = warnings.iter().map(|warning| format!("warning: {warning}\n\n")).collect();
            (true, format!("{shown}{name}: valid {role} configuration, {}\n", counted(warnings.len(), "warning")))
        }
        Err(Faults(faults)) => {
            let shown: String = faults.iter().map(|fault| format!("error: {fault}\n\n")).collect();
            (false, format!("{shown}{name}: {}\n", counted(faults.len(), "error")))
        }
    }
}

fn check_file(file: &Path) -> Result<(&'static str, Vec<Fault>), Faults> {
    let mut found = Found { file, faults: Vec::new(), warnings: Vec::new() };
    let role = match config::role_of(file)? {
        Role::Collector => {
            let Loaded { config, warnings } = config::load_collector(file)?;
            found.warnings = warnings;
            try_collector(&config, &mut found);
            "collector"
        }
        Role::Gateway => {
            let Loaded { config, warnings } = config::load_gateway(file)?;
            found.warnings = warnings;
            try_gateway(&config, &mut found);
            "gateway"
        }
    };
    match found.faults.is_empty() {
        true => Ok((role, found.warnings)),
        false => Err(Faults(found.faults)),
    }
}

/// What the users of a configuration say of it.
struct Found<'f> {
    file: &'f Path,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Found<'_> {
    /// Keeps the error as a fault of the section at `keys`.
    fn take<T, E: ToString>(&mut self, keys: &[&str], outcome: Result<T, E>) -> Option<T> {
        outcome.map_err(|error| self.faults.push(config::place_fault(self.file, keys, error.to_string()))).ok()
    }
}

fn try_collector(config: &CollectorConfig, found: &mut Found<'_>) {
    try_push_tls(&["push", "tls_config"], &config.push.tls_config, found);
    for (nth, further) in config.push.urls.iter().enumerate() {
        if let Some(tls) = &further.tls_config {
            try_push_tls(&["push", "urls", &nth.to_string(), "tls_config"], tls, found);
        }
    }
    if let Some(dir) = &config.spool.dir {
        found.take(&["spool", "dir"], Journal::check(&DiskFiles, dir, journal::Role::Spool));
    }
    for (nth, job) in config.scrape_configs.iter().enumerate() {
        let tls = ClientTls::read(&ClientFiles::of(&job.tls_config, job.enable_http2));
        found.take(&["scrape_configs", &nth.to_string(), "tls_config"], tls);
    }
}

/// A section that no gateway is reached by is left out by whoever writes only `push.urls`.
fn try_push_tls(keys: &[&str], tls: &TlsClientConfig, found: &mut Found<'_>) {
    if tls.cert_file.is_none() && tls.ca_file.is_none() {
        return;
    }
    if let Some(tls) = found.take(keys, ClientTls::read(&ClientFiles::of_push(tls)))
        && let Err(outdated) = tls.check_validity(clock::now())
    {
        found.warnings.push(config::place_fault(found.file, keys, outdated.to_string()));
    }
}

fn try_gateway(config: &GatewayConfig, found: &mut Found<'_>) {
    let (push, http, now) = (&config.push, &config.http, clock::now());
    found.take(&["push", "tls_config"], ServerTls::load(ServerFiles::of_push(&push.tls_config), now));
    if let Some(tls) = &http.tls_server_config {
        found.take(&["http", "tls_server_config"], ServerTls::load(ServerFiles::of_readers(tls), now));
    }
    found.take(&["http", "bearer_token_files"], Access::load(&http.basic_auth_users, &http.bearer_token_files));
    for (nth, selector) in http.metrics.matches.iter().enumerate() {
        found.take(&["http", "metrics", "match", &nth.to_string()], parse_selector(selector));
    }
    for (key, series) in [("series", &config.history.series), ("recorded", &config.history.recorded)] {
        for (nth, one) in series.iter().enumerate() {
            found.take(&["history", key, &nth.to_string(), "match"], parse_selector(&one.selector));
        }
    }
    if let Some(dir) = &config.journal.dir {
        found.take(&["journal", "dir"], wal::check(dir));
    }
    try_rules(config, found);
}

/// Packs by name and rule files as they are: a fault of a file stands there with its own place.
fn try_rules(config: &GatewayConfig, found: &mut Found<'_>) {
    if found.take(&["rule_packs"], packs::load(&config.rule_packs, &config.rules.health_weights)).is_some() {
        let rules = found.take(&["rule_files"], manager::load(config, &external_url(config)));
        found.warnings.extend(rules.iter().flat_map(|rules| rules.warnings()).cloned());
    }
}
